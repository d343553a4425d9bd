//! Log-probabilities of the model's own distribution: before bias, penalties, temperature and filters.

use super::{NonFiniteLogits, greatest};
use crate::TokenLogprob;

/// The natural logarithm of the sum of exponentials; a token's log-probability is its logit less this.
///
/// Exponentials in f32 relative to the greatest, the sum in f64 and in the order of tokens: the error is below 1e-6.
pub fn log_sum_exp(logits: &[f32]) -> Result<f64, NonFiniteLogits> {
    let (_, greatest) = greatest(logits)?;
    let sum: f64 = logits.iter().map(|&logit| f64::from((logit - greatest).exp())).sum();
    Ok(f64::from(greatest) + sum.ln())
}

/// The `count` most likely tokens, best first, lower tokens first of equals.
pub fn top_logprobs(logits: &[f32], log_sum_exp: f64, count: usize) -> Vec<TokenLogprob> {
    let mut top: Vec<TokenLogprob> = Vec::with_capacity(count.saturating_add(1).min(logits.len() + 1));
    if count == 0 {
        return top;
    }
    for (token, &logit) in logits.iter().enumerate() {
        if top.len() == count && top.last().is_some_and(|last| logit <= last.logprob) {
            continue;
        }
        let place = top.partition_point(|better| better.logprob >= logit);
        top.insert(place, TokenLogprob { token: token as u32, logprob: logit });
        top.truncate(count);
    }
    for entry in &mut top {
        entry.logprob = (f64::from(entry.logprob) - log_sum_exp) as f32;
    }
    top
}
