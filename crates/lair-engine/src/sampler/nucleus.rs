//! How far from the most likely tokens a filter has to look that keeps a share of the whole weight.
//!
//! Top-p and typical-p keep tokens in an order of their own until those have enough weight. To list all tokens first costs ten
//! times what their weights cost. So the distance at which they have enough is reckoned from a sample, and only tokens
//! within it are listed. What is left out cannot change the outcome: whoever asks checks that the last token that is kept
//! lies within the distance, and lists all if not.

use lair_simd::Isa;

use super::candidates::Bins;
use super::survey::{BLOCK, Survey};
use super::weights;

/// Of so many blocks of logits one is looked into. What it has beside its greatest stands for all of them.
const STRIDE: usize = 32;
/// Fewer blocks than this are not worth a sample.
const BLOCKS_MIN: usize = 2 * STRIDE;
/// Bins beyond the one where the sample has enough: what it may be wrong by.
const MARGIN: usize = 3;

/// The distance within which tokens are reckoned to have enough weight, relative to `greatest`; `None` if a sample cannot
/// tell. `distance` is that of a token with this logit.
///
/// The greatest of each block counts as it is, so that a few likely tokens are never missed; the others are sampled.
pub(super) fn reach(
    survey: &Survey,
    logits: &[f32],
    greatest: f32,
    distance: impl Fn(f32) -> f64,
    is_enough: impl Fn(f64) -> bool,
) -> Option<f64> {
    let maxima = survey.maxima();
    if maxima.len() < BLOCKS_MIN {
        return None;
    }
    let mut bins = Bins::new();
    let mut add = |logits: &[f32], factor: f64| add_block(survey.isa, logits, greatest, &distance, factor, &mut bins);
    maxima.chunks(BLOCK).for_each(|maxima| add(maxima, 1.0));
    for (index, block) in logits.chunks(BLOCK).enumerate().step_by(STRIDE) {
        add(block, STRIDE as f64);
        // It has been counted by itself.
        add(&maxima[index..=index], -(STRIDE as f64));
    }
    let (bin, _) = bins.first_reaching(is_enough)?;
    Some(Bins::end(bin + MARGIN)).filter(|end| end.is_finite())
}

fn add_block(isa: Isa, logits: &[f32], greatest: f32, distance: &impl Fn(f32) -> f64, factor: f64, bins: &mut Bins) {
    let weights = weights::of_block(isa, logits, (greatest, 1.0));
    for (&logit, weight) in logits.iter().zip(weights).filter(|(_, weight)| *weight > 0.0) {
        bins.add(distance(logit), factor * weight);
    }
}
