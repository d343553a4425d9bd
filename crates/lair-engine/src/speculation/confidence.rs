//! How often guesses come true, as seen in the sequence itself.

use super::lookup::MATCH_LENGTH_MAX;

/// Upper ends of the match lengths that are counted together. A longer match is more likely to go on.
const CLASS_ENDS: [usize; 9] = [0, 1, 2, 3, 4, 6, 10, 20, MATCH_LENGTH_MAX];
/// What is believed of each class before anything was seen. About what was counted in six chat answers of
/// Qwen2.5-Coder 1.5B, where 0.12, 0.19, 0.26, 0.62, 0.71, 0.77, 0.8, 0.97 and 1 of the guesses came true.
const PRIOR: [f32; CLASS_ENDS.len()] = [0.15, 0.2, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95];
/// Observations that the prior is worth.
const PRIOR_WEIGHT: f32 = 3.0;
/// Observations that are remembered: an answer that turns from prose to a quotation is believed after a dozen tokens.
const MEMORY: f32 = 16.0;

/// The chance that the token after a match is the one that followed it before, by the length of the match.
///
/// Every guess counts whether or not it was computed with, as the token that follows is known in any case. So guesses
/// that stopped paying are taken up again when they would pay, without any being tried for it.
#[derive(Clone, Debug)]
pub(crate) struct Confidence {
    classes: [Belief; CLASS_ENDS.len()],
}

/// A chance as it was seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Belief {
    pub(crate) chance: f32,
    /// Observations that it rests on.
    weight: f32,
}

impl Belief {
    pub(crate) const fn new(chance: f32) -> Self {
        Self { chance, weight: PRIOR_WEIGHT }
    }

    /// Notes what was seen. Older observations count for less.
    pub(crate) fn note(&mut self, came_true: bool) {
        self.weight = (self.weight + 1.0).min(MEMORY);
        self.chance += (f32::from(u8::from(came_true)) - self.chance) / self.weight;
    }
}

impl Default for Confidence {
    fn default() -> Self {
        Self { classes: PRIOR.map(Belief::new) }
    }
}

impl Confidence {
    /// The chance after a match of this length.
    pub(crate) fn chance(&self, length: usize) -> f32 {
        self.classes[class(length)].chance
    }

    /// Notes whether the token after a match of this length was the expected one.
    pub(crate) fn note(&mut self, length: usize, came_true: bool) {
        self.classes[class(length)].note(came_true);
    }
}

fn class(length: usize) -> usize {
    CLASS_ENDS.partition_point(|&end| end < length).min(CLASS_ENDS.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_has_a_class_and_longer_ones_no_lower_one() {
        let classes: Vec<usize> = (0..100).map(class).collect();
        assert!(classes.is_sorted());
        assert_eq!((classes[0], classes[2], classes[5], classes[32], classes[99]), (0, 2, 5, 8, 8));
    }

    #[test]
    fn belief_follows_what_is_seen_and_can_turn() {
        let mut confidence = Confidence::default();
        (0..30).for_each(|_| confidence.note(2, false));
        assert!(confidence.chance(2) < 0.05);
        assert_eq!(confidence.chance(3), PRIOR[3]);
        (0..12).for_each(|_| confidence.note(2, true));
        assert!(confidence.chance(2) > 0.5, "{}", confidence.chance(2));
        (0..100).for_each(|_| confidence.note(2, true));
        assert!(confidence.chance(2) > 0.99 && confidence.chance(2) <= 1.0);
    }
}
