//! What a step costs by its rows, and how many guessed rows are worth it.

/// A guessed row that is on offer: `sequence` may take it if it has taken all before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Offer {
    /// Place of the sequence.
    pub(crate) sequence: usize,
    /// How many rows before it are guessed, too.
    pub(crate) depth: usize,
    /// The chance that it saves a step: that it and all before it come true.
    pub(crate) chance: f32,
}

/// Rows that are multiplied with the weights as they stream by; more take the way of a prefill, at a price of its own.
const STREAMED_ROWS: usize = 8;
/// What leaving that way costs, in steps of one row.
const PREFILL_COST: f32 = 1.1;
/// What each row adds: its multiply-adds as far as they do not hide behind the reading, its attention, its token's choice.
const ROW_COST: f32 = 0.1;
/// What guessing must promise over not guessing before it is done: the promise itself is a guess.
const GAIN_MIN: f32 = 1.05;

/// The cost of a step of so many rows, that of one row being 1.
///
/// Measured (`examples/step_cost.rs`, two Zen 5 cores, 512 tokens deep): with Qwen2.5-Coder 1.5B Q4_K_M 4 rows cost 1.13,
/// 8 rows 1.46, 9 rows 2.75 and 16 rows 3.34. It is not measured while it runs, so that what is computed hangs on tokens
/// alone, not on clocks.
pub(crate) fn step_cost(rows: usize) -> f32 {
    let left_stream = if rows > STREAMED_ROWS { PREFILL_COST } else { 0.0 };
    1.0 + rows.saturating_sub(1) as f32 * ROW_COST + left_stream
}

/// How many rows one of `decoding` sequences should guess whose guesses have these chances, each if those before it come
/// true, and how much faster that is than guessing nothing. A guess costs `guess_cost` before it is computed with.
pub(crate) fn best_rate(chances: &[f32], decoding: usize, guess_cost: f32) -> (usize, f32) {
    let (count, alone) = (decoding as f32, step_cost(decoding));
    let (mut chance, mut expected) = (1.0, count);
    let mut best = (0, GAIN_MIN);
    for (place, next) in chances.iter().enumerate() {
        let taken = place + 1;
        chance *= next;
        expected += chance;
        // A pass of the model that guesses serves all sequences.
        let guessing = guess_cost * taken as f32 / count;
        let rate = expected * alone / (count * (step_cost(decoding + taken) + guessing));
        if rate > best.1 {
            best = (taken, rate);
        }
    }
    best
}

/// How many of the offers to take, which must be sorted by chance, the greatest first.
///
/// `decoding` sequences get a token each in any case; the step has `rows` rows without guesses, prefill among them. The
/// most tokens for the cost win: `(decoding + expected) / (cost(decoding) + cost(rows + taken) - cost(rows))`, which is
/// tokens for the whole step if nothing is prefilled, and otherwise bears only what decoding adds.
pub(crate) fn worthwhile(offers: &[Offer], decoding: usize, rows: usize) -> usize {
    debug_assert!(offers.is_sorted_by(|left, right| left.chance >= right.chance));
    let alone = step_cost(decoding);
    let mut best = (0, GAIN_MIN * decoding as f32 / alone);
    let mut expected = decoding as f32;
    for (place, offer) in offers.iter().enumerate() {
        let taken = place + 1;
        expected += offer.chance;
        let rate = expected / (alone + step_cost(rows + taken) - step_cost(rows));
        if rate > best.1 {
            best = (taken, rate);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers(chances: &[f32]) -> Vec<Offer> {
        chances.iter().map(|&chance| Offer { sequence: 0, depth: 0, chance }).collect()
    }

    #[test]
    fn takes_what_pays() {
        // Fifteen guesses of each of so many streams that come true 85 times in a hundred.
        let sure = |streams: usize| {
            let chances: Vec<f32> =
                (1..=15).flat_map(|depth| std::iter::repeat_n(0.85f32.powi(depth), streams)).collect();
            offers(&chances)
        };
        assert_eq!(worthwhile(&sure(1), 1, 1), STREAMED_ROWS - 1);
        assert_eq!(worthwhile(&sure(4), 4, 4), STREAMED_ROWS - 4);
        // Sixteen have left the stream already; eight would for a few.
        assert!(worthwhile(&sure(16), 16, 16) >= 16);
        assert_eq!(worthwhile(&sure(8)[..3], 8, 8), 0);
        assert_eq!(worthwhile(&offers(&[0.01; 5]), 1, 1), 0);
        assert_eq!(worthwhile(&offers(&[0.5, 0.25, 0.125, 0.06]), 1, 1), 2);
        assert_eq!(worthwhile(&[], 3, 3), 0);
    }

    #[test]
    fn beside_a_prefill_only_what_is_added_counts() {
        let sure = offers(&[0.9; 6]);
        assert_eq!(worthwhile(&sure, 1, 257), 6);
        assert_eq!(worthwhile(&offers(&[0.05; 6]), 1, 257), 0);
    }

    #[test]
    fn a_guess_that_costs_must_promise_more() {
        assert_eq!(best_rate(&[], 1, 0.0), (0, GAIN_MIN));
        let (count, rate) = best_rate(&[0.8; 10], 1, 0.0);
        let (dear_count, dear_rate) = best_rate(&[0.8; 10], 1, 0.2);
        assert!(count > dear_count && dear_count > 1 && rate > dear_rate && dear_rate > 1.3);
        assert_eq!(best_rate(&[0.8; 10], 1, 1.0).0, 0);
        assert_eq!(best_rate(&[0.2; 10], 1, 0.2).0, 0);
        // Others share the passes of the model that guesses, but also the rows.
        assert!(best_rate(&[0.8; 10], 4, 0.2).1 < dear_rate);
    }
}
