//! The codes of the IQ1 formats as a set: -1, 0 and 1, all shifted by the same.

use lair_simd::Simd;

use super::scaled::{CodeSet, Targets, targets_above};

/// -1, 0 and 1, and what is added to them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shifted(pub f32);

impl CodeSet for Shifted {
    #[inline(always)]
    fn nearest<S: Simd>(self, s: S, values: [S::F; 4]) -> [S::F; 4] {
        let (shift, low, high) = (s.splat(self.0), s.splat(-1.0), s.splat(1.0));
        values.map(|x| s.add(s.min(s.max(s.round(s.sub(x, shift)), low), high), shift))
    }
    #[inline(always)]
    fn nearest_one(self, value: f32) -> i8 {
        (value - self.0).round_ties_even().clamp(-1.0, 1.0) as i8
    }
}

/// Scales by which the largest magnitude lies between 1 and about four times the largest code.
pub(crate) const TARGETS: Targets = targets_above(0.9, 0.1);
