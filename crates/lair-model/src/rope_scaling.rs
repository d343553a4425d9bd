//! Resolves a declared rotary embedding into one angle a pair: [`lair_compute::RopeTable`].
//!
//! Sources: Su et al., "RoFormer" (angles); Peng et al., "YaRN", sections 3.2 to 3.4 (ramp, magnitude); Ding et al.,
//! "LongRoPE" (factors); the Llama 3 model files (factors). The order of the corrections and the rounding of YaRN's
//! bounds follow what GGUF files are made for (llama.cpp, `ggml_rope_ext`).

use std::f32::consts::PI;

use lair_compute::RopeTable;

use crate::spec::{Rope, RopeScaling, ScalingKind};

/// The angles of `rope`; `factors`, one for each pair, divide them.
///
/// # Panics
/// If the number of factors is wrong: the loader has checked it.
pub fn rope_table(rope: &Rope, factors: Option<&[f32]>) -> RopeTable {
    let pair_count = rope.dimension_count / 2;
    assert!(factors.is_none_or(|factors| factors.len() == pair_count), "one factor for each pair");
    let scaling = &rope.scaling;
    let inverse_factor = match scaling.kind {
        ScalingKind::None => 1.0,
        _ => 1.0 / scaling.factor,
    };
    let ramp = Ramp::new(rope);
    let frequencies = (0..pair_count).map(|pair| {
        let base = f64::from(rope.theta).powf(-2.0 * pair as f64 / rope.dimension_count as f64) as f32;
        let extrapolated = base / factors.map_or(1.0, |factors| factors[pair]);
        let interpolated = extrapolated * inverse_factor;
        match &ramp {
            Some(ramp) => {
                let kept = ramp.kept(pair);
                interpolated * (1.0 - kept) + extrapolated * kept
            }
            None => interpolated,
        }
    });
    RopeTable { style: rope.style, frequencies: frequencies.collect(), magnitude: magnitude(scaling), first: 0 }
}

/// YaRN's ramp over the pairs: which share of a frequency is left as it is.
struct Ramp {
    start: f32,
    end: f32,
}

impl Ramp {
    fn new(rope: &Rope) -> Option<Ramp> {
        let scaling = &rope.scaling;
        if scaling.kind != ScalingKind::Yarn {
            return None;
        }
        // The pair that makes `turns` turns over the original context.
        let pair_of = |turns: f32| {
            let wave_length = scaling.original_context_length as f32 / (turns * 2.0 * PI);
            rope.dimension_count as f32 * wave_length.ln() / (2.0 * rope.theta.ln())
        };
        let start = pair_of(scaling.yarn_beta_fast).floor().max(0.0);
        let end = pair_of(scaling.yarn_beta_slow).ceil().min(rope.dimension_count as f32 - 1.0);
        Some(Ramp { start, end })
    }

    fn kept(&self, pair: usize) -> f32 {
        let position = (pair as f32 - self.start) / (self.end - self.start).max(0.001);
        1.0 - position.clamp(0.0, 1.0)
    }
}

/// Factor on cosine and sine.
pub(crate) fn magnitude(scaling: &RopeScaling) -> f32 {
    let yarn = match scaling.kind {
        ScalingKind::Yarn if scaling.yarn_log_multiplier != 0.0 => {
            yarn_magnitude(scaling.factor, 1.0) / yarn_magnitude(scaling.factor, scaling.yarn_log_multiplier)
        }
        ScalingKind::Yarn => yarn_magnitude(scaling.factor, 1.0),
        _ => 1.0,
    };
    yarn * scaling.attention_factor
}

/// `0.1 * slope * ln(factor) + 1` (YaRN, section 3.4).
fn yarn_magnitude(factor: f32, slope: f32) -> f32 {
    if factor <= 1.0 { 1.0 } else { 0.1 * slope * factor.ln() + 1.0 }
}

#[cfg(test)]
mod tests {
    use lair_compute::RopeStyle;

    use super::*;
    use crate::spec::RopeFactors;

    fn rope(scaling: RopeScaling) -> Rope {
        let style = RopeStyle::HalfSplit;
        Rope { style, theta: 10_000.0, dimension_count: 64, scaling, factors: RopeFactors::None }
    }

    #[test]
    fn plain_angles_are_powers_of_the_base() {
        let table = rope_table(&rope(RopeScaling::NONE), None);
        assert_eq!(table.frequencies.len(), 32);
        assert_eq!(table.frequencies[0], 1.0);
        assert!((table.frequencies[16] - 0.01).abs() < 1e-8);
        assert_eq!(table.magnitude, 1.0);
    }

    #[test]
    fn linear_scaling_divides_every_angle() {
        let plain = rope_table(&rope(RopeScaling::NONE), None);
        let linear = RopeScaling { kind: ScalingKind::Linear, factor: 8.0, ..RopeScaling::NONE };
        let scaled = rope_table(&rope(linear), None);
        for (plain, scaled) in plain.frequencies.iter().zip(&scaled.frequencies) {
            assert_eq!(plain / 8.0, *scaled);
        }
    }

    #[test]
    fn a_kind_of_none_ignores_the_factor() {
        let none = RopeScaling { factor: 8.0, ..RopeScaling::NONE };
        assert_eq!(rope_table(&rope(none), None), rope_table(&rope(RopeScaling::NONE), None));
    }

    #[test]
    fn factors_divide_their_own_angle() {
        let factors: Vec<f32> = (0..32).map(|pair| 1.0 + pair as f32).collect();
        let plain = rope_table(&rope(RopeScaling::NONE), None);
        let table = rope_table(&rope(RopeScaling::NONE), Some(&factors));
        assert_eq!(table.frequencies[3], plain.frequencies[3] / 4.0);
    }

    #[test]
    fn yarn_leaves_high_frequencies_and_divides_low_ones() {
        let yarn =
            RopeScaling { kind: ScalingKind::Yarn, factor: 4.0, original_context_length: 4096, ..RopeScaling::NONE };
        let plain = rope_table(&rope(RopeScaling::NONE), None);
        let table = rope_table(&rope(yarn), None);
        assert_eq!(table.frequencies[0], plain.frequencies[0]);
        assert_eq!(table.frequencies[31], plain.frequencies[31] / 4.0);
        // Between the pairs that turn 32 times (10) and once (23) over the original context.
        let middle = table.frequencies[16] / plain.frequencies[16];
        assert!(middle > 0.25 && middle < 1.0, "{middle}");
        assert!((table.magnitude - (1.0 + 0.1 * 4f32.ln())).abs() < 1e-6);
    }

    #[test]
    fn yarn_with_equal_slopes_has_no_magnitude() {
        let yarn = RopeScaling {
            kind: ScalingKind::Yarn,
            factor: 40.0,
            original_context_length: 4096,
            yarn_log_multiplier: 1.0,
            ..RopeScaling::NONE
        };
        assert_eq!(rope_table(&rope(yarn), None).magnitude, 1.0);
    }
}
