//! Make tokens that would continue a repetition less likely, the more the longer it is.

use super::{Changes, Dry};

/// Room for what is found.
#[derive(Default)]
pub(super) struct Room {
    /// The history backwards, the newest token first.
    backwards: Vec<u32>,
    /// `lengths[k]`: how many of the newest tokens stand also `k` tokens earlier.
    lengths: Vec<usize>,
    /// Tokens that would continue a repetition, with its length.
    continued: Vec<(u32, usize)>,
}

pub(super) fn apply(dry: &Dry, history: &[u32], room: &mut Room, logits: &mut [f32], changes: &mut Changes) {
    if dry.multiplier == 0.0 || dry.base < 1.0 {
        return;
    }
    let Room { backwards, lengths, continued } = room;
    backwards.clear();
    backwards.extend(history.iter().rev().take(dry.last_n));
    if backwards.len() <= dry.allowed_length {
        return;
    }
    let length_max = unbroken_length(dry, backwards);
    if length_max < dry.allowed_length {
        return;
    }
    common_prefix_lengths(backwards, lengths);
    continued.clear();
    for earlier in 1..backwards.len() {
        let length = lengths[earlier].min(length_max);
        if length >= dry.allowed_length {
            continued.push((backwards[earlier - 1], length));
        }
    }
    // The longest of each token comes last.
    continued.sort_unstable();
    for run in continued.chunk_by(|left, right| left.0 == right.0) {
        let (token, length) = run[run.len() - 1];
        if !dry.breakers.iter().any(|breaker| breaker[..] == [token]) {
            changes.change(logits, token, |logit| logit - penalty(dry, length));
        }
    }
}

/// How many of the newest tokens come after the last breaker.
fn unbroken_length(dry: &Dry, backwards: &[u32]) -> usize {
    for newest in 0..backwards.len() {
        // A breaker that begins at this token must end at or before the newest.
        let longest =
            dry.breakers.iter().filter(|breaker| !breaker.is_empty() && breaker.len() <= newest + 1).filter(
                |breaker| breaker.iter().enumerate().all(|(offset, &token)| backwards[newest - offset] == token),
            );
        if let Some(length) = longest.map(Vec::len).max() {
            return newest + 1 - length;
        }
    }
    backwards.len()
}

/// `lengths[k]` is the length of the longest common prefix of `tokens` and `tokens[k..]` (the Z function: Gusfield,
/// "Algorithms on Strings, Trees, and Sequences", section 1.4). Linear in the number of tokens.
fn common_prefix_lengths(tokens: &[u32], lengths: &mut Vec<usize>) {
    lengths.clear();
    lengths.resize(tokens.len(), 0);
    let (mut begin, mut end) = (0, 0);
    for k in 1..tokens.len() {
        let mut length = if k < end { lengths[k - begin].min(end - k) } else { 0 };
        while k + length < tokens.len() && tokens[length] == tokens[k + length] {
            length += 1;
        }
        lengths[k] = length;
        if k + length > end {
            (begin, end) = (k, k + length);
        }
    }
}

/// Largest exponent of `e` that f32 holds.
const EXPONENT_MAX: f32 = 88.0;

fn penalty(dry: &Dry, length: usize) -> f32 {
    let exponent = (length - dry.allowed_length) as f32 * dry.base.ln();
    // A product beyond f32 would be infinite, and an infinite logit is no penalty but a ban.
    (dry.multiplier * exponent.min(EXPONENT_MAX).exp()).min(f32::MAX / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_prefixes_are_those_of_the_naive_search() {
        let mut state = 1u32;
        for length in 0..60 {
            let tokens: Vec<u32> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    state >> 31
                })
                .collect();
            let mut lengths = Vec::new();
            common_prefix_lengths(&tokens, &mut lengths);
            for k in 1..tokens.len() {
                let expected = tokens.iter().zip(&tokens[k..]).take_while(|(left, right)| left == right).count();
                assert_eq!(lengths[k], expected, "{tokens:?} at {k}");
            }
        }
    }
}
