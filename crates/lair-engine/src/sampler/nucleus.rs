//! How far from the most likely tokens a filter has to look that keeps a share of the whole weight.
//!
//! Top-p and typical-p keep tokens in an order of their own until those have enough weight. To list all tokens first costs ten
//! times what their weights cost. So the distance at which they have enough is reckoned from a sample, and only tokens
//! within it are listed; where top-p is followed by nothing but bounds and a temperature, only those between what surely stays and
//! what surely goes ([`super::kept`]). What is left out cannot change the outcome: whoever asks checks that the last token that is kept
//! lies within the distance, and lists all if not.

use lair_simd::Isa;

use super::candidates::{BIN_COUNT, Bins};
use super::survey::{BLOCK, Survey};
use super::weights;

/// Of so many blocks of logits one is looked into. What it has beside its greatest stands for all of them.
const STRIDE: usize = 32;
/// Fewer blocks than this are not worth a sample.
const BLOCKS_MIN: usize = 2 * STRIDE;
/// Bins beyond the one where the sample has enough: what it may be wrong by.
const MARGIN: usize = 3;
/// By so much more weight than is missing, or too much, is gone from a bound whose weight is known.
const SURPLUS: f64 = 1.25;

/// Where tokens are reckoned to come to have enough weight, by their distance.
pub(super) struct Reach {
    /// What a sample says that tokens of each distance weigh.
    bins: Bins,
    /// Where they have enough.
    bin: usize,
}

impl Reach {
    /// The distance within which tokens are reckoned to have enough.
    pub(super) fn distance(&self) -> f64 {
        Bins::end(self.bin)
    }

    /// A distance within which they have enough even if the sample is a little wrong.
    pub(super) fn far(&self) -> f64 {
        Bins::end(self.bin + MARGIN)
    }

    /// The distances from and below which the token lies that makes the weight enough, where those within [`Reach::distance`]
    /// are known to have `weight`.
    pub(super) fn edge(&self, weight: f64, enough: f64) -> (f64, f64) {
        let passes = |missing: f64| {
            let mut gone = 0.0;
            move |bin: &usize| {
                gone += self.bins.weight(*bin);
                gone >= SURPLUS * missing
            }
        };
        if weight >= enough {
            let bin = (0..=self.bin).rev().find(passes(weight - enough)).unwrap_or(0);
            (bin.checked_sub(MARGIN + 1).map_or(0.0, Bins::end), self.distance())
        } else {
            let bin = (self.bin + 1..BIN_COUNT).find(passes(enough - weight)).unwrap_or(BIN_COUNT - 1);
            (self.distance(), Bins::end(bin + MARGIN))
        }
    }
}

/// Where tokens are reckoned to have enough weight of `total`; `None` if a sample cannot tell. `distance` is that of a
/// token with this logit.
///
/// The greatest of each block counts as it is, so that a few likely tokens are never missed; the others are sampled, and stand
/// for what the greatest leave of the whole.
pub(super) fn reach(
    survey: &Survey,
    logits: &[f32],
    (greatest, total): (f32, f64),
    distance: impl Fn(f32) -> f64,
    is_enough: impl Fn(f64) -> bool,
) -> Option<Reach> {
    let maxima = survey.maxima();
    if maxima.len() < BLOCKS_MIN {
        return None;
    }
    let (mut bins, mut others) = (Bins::new(), Bins::new());
    let add = |logits: &[f32], factor: f64, bins: &mut Bins| {
        add_block(survey.isa, logits, greatest, &distance, factor, bins);
    };
    maxima.chunks(BLOCK).for_each(|maxima| add(maxima, 1.0, &mut bins));
    for (index, block) in logits.chunks(BLOCK).enumerate().step_by(STRIDE) {
        add(block, 1.0, &mut others);
        // It has been counted by itself.
        add(&maxima[index..=index], -1.0, &mut others);
    }
    let sampled = others.total();
    if sampled > 0.0 {
        bins.add_all(&others, (total - bins.total()).max(0.0) / sampled);
    }
    let (bin, _) = bins.first_reaching(is_enough)?;
    Some(Reach { bins, bin }).filter(|reach| reach.far().is_finite())
}

fn add_block(isa: Isa, logits: &[f32], greatest: f32, distance: &impl Fn(f32) -> f64, factor: f64, bins: &mut Bins) {
    let weights = weights::of_block(isa, logits, (greatest, 1.0));
    // What weighs less than this is left out: a million of them would not move the bound by a bin.
    for (&logit, weight) in logits.iter().zip(weights).filter(|(_, weight)| *weight > 1e-9) {
        bins.add(distance(logit), factor * weight);
    }
}
