//! Log-probabilities of the model's own distribution: before bias, penalties, temperature and filters.

use lair_simd::{Exponentials, Isa, IsaChoice, LANES, Range, Simd, vectorize};

use super::{NonFiniteLogits, greatest};
use crate::TokenLogprob;

/// The natural logarithm of the sum of exponentials; a token's log-probability is its logit less this.
///
/// Exponentials in f32 relative to the greatest, where those that count have a relative error of some 2e-7, counted in multiples of
/// 2^-40. The error is below 1e-6 for up to half a million tokens, and the result the same on all machines.
pub fn log_sum_exp(logits: &[f32]) -> Result<f64, NonFiniteLogits> {
    let (_, greatest) = greatest(logits)?;
    let mut sums = Vec::with_capacity(1);
    let how = Exponentials { greatest, scale: 1.0, range: Range::ALL, fraction_bits: 40 };
    how.sum_blocks(Isa::detect(IsaChoice::Auto), logits, logits.len(), &mut sums);
    Ok(f64::from(greatest) + sums.iter().sum::<f64>().ln())
}

/// The `count` most likely tokens, best first, lower tokens first of equals.
pub fn top_logprobs(logits: &[f32], log_sum_exp: f64, count: usize) -> Vec<TokenLogprob> {
    let count = count.min(logits.len());
    let mut top: Vec<TokenLogprob> = Vec::with_capacity(if count == 0 { 0 } else { count + 1 });
    if count > 0 {
        let isa = Isa::detect(IsaChoice::Auto);
        vectorize!(isa, collect_top, logits: &[f32] = logits, count: usize = count, top: &mut Vec<TokenLogprob> = &mut top);
    }
    for entry in &mut top {
        entry.logprob = (f64::from(entry.logprob) - log_sum_exp) as f32;
    }
    top
}

/// The greatest logits in `top`, as log-probabilities before anything is taken off.
#[inline(always)]
fn collect_top<S: Simd>(s: S, logits: &[f32], count: usize, top: &mut Vec<TokenLogprob>) {
    for (index, lanes) in logits.chunks(LANES).enumerate() {
        if top.len() == count {
            let x = match lanes.first_chunk() {
                Some(lanes) => s.load(lanes),
                None => s.load_part(lanes, f32::NEG_INFINITY),
            };
            // After some thousand tokens hardly any is among the best.
            if s.at_least(x, s.splat(top[count - 1].logprob)) == 0 {
                continue;
            }
        }
        for (lane, &logit) in lanes.iter().enumerate() {
            if top.len() == count && logit <= top[count - 1].logprob {
                continue;
            }
            let place = top.partition_point(|better| better.logprob >= logit);
            top.insert(place, TokenLogprob { token: (index * LANES + lane) as u32, logprob: logit });
            top.truncate(count);
        }
    }
}
