//! What one sequence guesses, and what it has learnt about its guesses.

use super::{
    confidence::{Belief, Confidence},
    lookup::{Lookup, Match},
};

/// Guesses of a sequence in a step. After so many even good ones seldom all come true.
pub(crate) const GUESSES_MAX: usize = 15;
/// What is believed of a draft model's guess before any was seen.
const DRAFT_PRIOR: f32 = 0.7;
/// How much of the way back to the prior the belief in the draft model goes in a step that does not ask it: once it has
/// stopped paying it is tried again every few hundred tokens.
const DRAFT_FADING: f32 = 1.0 / 512.0;

/// The guesses of a sequence.
#[derive(Clone, Debug)]
pub(crate) struct Guesses {
    /// For the step that is planned, at most [`GUESSES_MAX`].
    pub(crate) tokens: Vec<u32>,
    /// The chance of each if those before it come true.
    pub(super) chances: Vec<f32>,
    /// How many of them the step computes with.
    pub(super) taken: usize,
    lookup: Lookup,
    confidence: Confidence,
    /// What lookup found in this step, and the first of its guesses, whether or not it is computed with.
    found: Option<(Match, u32)>,
    draft: Belief,
    is_drafted: bool,
    /// Whether the draft model stopped by itself.
    pub(super) has_given_up: bool,
}

impl Default for Guesses {
    fn default() -> Self {
        Self {
            tokens: Vec::new(),
            chances: Vec::new(),
            taken: 0,
            lookup: Lookup::default(),
            confidence: Confidence::default(),
            found: None,
            draft: Belief::new(DRAFT_PRIOR),
            is_drafted: false,
            has_given_up: false,
        }
    }
}

impl Guesses {
    /// Makes room for a sequence of at most `length_max` tokens, unless it has been made.
    pub(crate) fn reserve(&mut self, length_max: usize) {
        if self.tokens.capacity() == 0 {
            self.tokens.reserve(GUESSES_MAX);
            self.chances.reserve(GUESSES_MAX);
            self.lookup = Lookup::with_capacity(length_max);
        }
    }

    /// Guesses up to `count_max` tokens by what followed in `history` before.
    pub(super) fn look_up(&mut self, history: &[u32], count_max: usize) {
        let found = self.lookup.find(history);
        self.found = found.map(|found| (found, history[found.place]));
        let Some(Match { place, length }) = found else { return };
        for depth in 0..count_max {
            // Text that repeats itself goes on with what was just guessed.
            let token = history.get(place + depth).copied();
            let token = token.unwrap_or_else(|| self.tokens[place + depth - history.len()]);
            self.push(token, self.confidence.chance(length + depth));
        }
    }

    pub(super) fn push(&mut self, token: u32, chance: f32) {
        self.tokens.push(token);
        self.chances.push(chance);
    }

    /// None of the guesses is computed with.
    pub(super) fn drop_tokens(&mut self) {
        self.tokens.clear();
        self.chances.clear();
    }

    /// What is believed of a guess of the draft model.
    pub(super) fn draft_chance(&self) -> f32 {
        self.draft.chance
    }

    /// The draft model is not asked in this step.
    pub(super) fn pass_over_draft(&mut self) {
        self.draft.chance += (DRAFT_PRIOR - self.draft.chance) * DRAFT_FADING;
    }

    /// Guesses of the draft model take the place of those looked up.
    pub(super) fn begin_draft(&mut self) {
        self.drop_tokens();
        self.is_drafted = true;
        self.has_given_up = false;
    }

    /// Whether the guesses are the draft model's.
    pub(super) fn is_drafted(&self) -> bool {
        self.is_drafted
    }

    /// Learns from a step and forgets its guesses. `accepted` of them came true; `chosen` are the tokens that the step
    /// chose.
    pub(super) fn learn(&mut self, accepted: usize, chosen: &[u32]) {
        let was_refuted = accepted < self.tokens.len() && accepted < chosen.len();
        if self.is_drafted {
            (0..accepted).for_each(|_| self.draft.note(true));
            if was_refuted || self.has_given_up {
                self.draft.note(false);
            }
        }
        if let Some((Match { length, .. }, first)) = self.found.take() {
            if self.is_drafted || self.tokens.is_empty() {
                chosen.first().iter().for_each(|&&token| self.confidence.note(length, token == first));
            } else {
                (0..accepted).for_each(|depth| self.confidence.note(length + depth, true));
                if was_refuted {
                    self.confidence.note(length + accepted, false);
                }
            }
        }
        self.drop_tokens();
        (self.taken, self.is_drafted, self.has_given_up) = (0, false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guesses() -> Guesses {
        let mut guesses = Guesses::default();
        guesses.reserve(100);
        guesses
    }

    #[test]
    fn text_that_repeats_itself_is_guessed_beyond_its_end() {
        let mut guesses = guesses();
        guesses.look_up(&[9, 1, 2, 3, 1, 2, 3, 1, 2], 8);
        assert_eq!(guesses.tokens, [3, 1, 2, 3, 1, 2, 3, 1]);
        assert_eq!(guesses.chances.len(), 8);
    }

    #[test]
    fn a_guess_that_is_not_computed_with_is_learnt_from_all_the_same() {
        let history = [1, 2, 3, 9, 1, 2];
        for (chosen, is_right) in [(3, true), (4, false)] {
            let mut guesses = guesses();
            guesses.look_up(&history, 4);
            let before = guesses.chances[0];
            guesses.tokens.truncate(0);
            guesses.learn(0, &[chosen]);
            guesses.look_up(&history, 4);
            assert_eq!(guesses.chances[0] > before, is_right);
            assert_ne!(guesses.chances[0], before);
        }
    }

    #[test]
    fn what_came_after_the_end_of_a_step_refutes_nothing() {
        let mut guesses = guesses();
        guesses.look_up(&[1, 2, 3, 9, 1, 2], 3);
        let before = guesses.confidence.chance(3);
        // The guess came true, and a stop token ended the sequence there.
        guesses.learn(1, &[3]);
        assert_eq!(guesses.confidence.chance(3), before);
    }

    #[test]
    fn a_draft_model_that_was_given_up_is_believed_again_in_time() {
        let mut guesses = guesses();
        for _ in 0..40 {
            guesses.begin_draft();
            guesses.push(5, 0.9);
            guesses.learn(0, &[6]);
        }
        let low = guesses.draft_chance();
        assert!(low < 0.1);
        (0..300).for_each(|_| guesses.pass_over_draft());
        assert!(guesses.draft_chance() > 0.3 && guesses.draft_chance() < DRAFT_PRIOR);
    }
}
