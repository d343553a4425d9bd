//! Speculative decoding: guesses for the tokens to come are computed in the same step as the token they would follow.
//!
//! A decode step reads all weights for one row; a few more rows cost little. So a sequence may carry guessed tokens behind
//! its last one. Every one of these rows gives the logits that it would give in a step of its own, bit for bit, and from
//! each the sampler draws the token of its position, with the random numbers of its position. A guess is right if it is
//! that token; then the next row's logits hold, too. At the first wrong guess the step ends for the sequence: the token
//! that was drawn there stands, and what was computed behind it is forgotten by not counting it (keys and values of these
//! positions are written anew). So tokens, log-probabilities, stops and errors are those without guesses, whatever is
//! guessed, and however it is sampled.
//!
//! Recurrent state cannot be forgotten like that, so models that have one get no guesses.

mod confidence;
mod cost;
mod draft;
mod guesses;
mod lookup;

use lair_compute::PAGE_LENGTH;

use crate::{
    Engine, Runner,
    sequence::{Sequence, pages_for},
};

pub(crate) use cost::Offer;
use cost::{best_rate, worthwhile};
pub use draft::DraftOptions;
pub(crate) use draft::{Draft, DraftState};
pub(crate) use guesses::{GUESSES_MAX, Guesses};

/// Whether and how tokens are guessed ahead. The answers are the same in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speculation {
    /// Every token takes a step.
    Off,
    /// What followed in the sequence's own tokens where they were the same before, as far as that pays.
    Lookup,
    /// The same, or what the draft model says where that promises more (see [`Engine::with_draft`]).
    Draft,
}

impl Sequence {
    /// Whether the step gives the sequence one row, which tells its next token.
    fn decodes(&self) -> bool {
        self.rows == 1 && self.pending() == 1 && self.wants_token()
    }

    /// Guesses that may be computed with: another token is drawn after the last one.
    fn guesses_max(&self) -> usize {
        (self.length_max - self.tokens.len() - 1).min(GUESSES_MAX)
    }
}

impl<R: Runner> Engine<R> {
    /// Adds guessed rows to the step that is planned. They take only rows, logits and pages that are left over.
    pub(crate) fn guess(&mut self) {
        if self.options.speculation == Speculation::Off || self.states.is_used() {
            return;
        }
        let mut decoding = 0;
        for sequence in self.active.iter_mut().filter(|sequence| sequence.decodes()) {
            decoding += 1;
            let count_max = sequence.guesses_max();
            sequence.guesses.look_up(&sequence.tokens, count_max);
        }
        if decoding > 0 {
            self.ask_draft(decoding);
            self.take_offers(decoding);
            self.assign_guess_pages();
        }
    }

    /// Asks the draft model where it promises more than lookup does.
    fn ask_draft(&mut self, decoding: usize) {
        let Some(draft) = self.draft.as_mut().filter(|_| self.options.speculation == Speculation::Draft) else {
            return;
        };
        for (place, sequence) in self.active.iter_mut().enumerate().filter(|(_, sequence)| sequence.decodes()) {
            let count_max = sequence.guesses_max().min(draft.options.tokens_max);
            let drafted = [sequence.guesses.draft_chance(); GUESSES_MAX];
            let (count, promised) = best_rate(&drafted[..count_max], decoding, draft.options.step_cost);
            let (_, looked_up) = best_rate(&sequence.guesses.chances, decoding, 0.0);
            if count > 0 && promised > looked_up {
                draft.ask(place, count);
            } else {
                sequence.guesses.pass_over_draft();
            }
        }
        draft.guess(&mut self.active, self.limits.vocabulary_size);
    }

    /// Keeps of the guesses what is worth its rows.
    fn take_offers(&mut self, decoding: usize) {
        let offers = &mut self.room.offers;
        offers.clear();
        let (mut rows, mut logits) = (0, 0);
        for (place, sequence) in self.active.iter().enumerate() {
            rows += sequence.rows;
            logits += sequence.prompt_logits_wanted() + usize::from(sequence.rows > 0);
            let mut chance = 1.0;
            for (depth, next) in sequence.guesses.chances.iter().enumerate() {
                chance *= next;
                offers.push(Offer { sequence: place, depth, chance });
            }
        }
        // A sequence's own offers stay in order: chances only fall with depth.
        let order = |offer: &Offer| (offer.depth, offer.sequence);
        offers.sort_unstable_by(|left, right| {
            right.chance.total_cmp(&left.chance).then_with(|| order(left).cmp(&order(right)))
        });
        offers.truncate((self.options.rows_max - rows).min(self.room.logits_rows_max - logits));
        for offer in &offers[..worthwhile(offers, decoding, rows)] {
            self.active[offer.sequence].guesses.taken += 1;
        }
        for Sequence { guesses, .. } in &mut self.active {
            guesses.tokens.truncate(guesses.taken);
        }
    }

    /// Finds pages for the guesses, or shortens them to the pages there are.
    fn assign_guess_pages(&mut self) {
        for place in 0..self.active.len() {
            let sequence = &self.active[place];
            if sequence.guesses.tokens.is_empty() {
                continue;
            }
            let end = sequence.computed + sequence.rows;
            let missing = pages_for(end + sequence.guesses.tokens.len()).saturating_sub(sequence.page_table.len());
            for _ in 0..missing.min(self.pool.available()) {
                let page = self.take_page();
                self.active[place].page_table.push(page);
            }
            let sequence = &mut self.active[place];
            let room = sequence.page_table.len() * PAGE_LENGTH - end;
            sequence.guesses.tokens.truncate(room);
        }
    }

    /// Takes the outcome of the guesses up: pages that right ones filled are published, those that wrong ones took go back.
    pub(crate) fn settle_guesses(&mut self) {
        for place in 0..self.active.len() {
            let sequence = &mut self.active[place];
            let accepted = std::mem::take(&mut sequence.accepted);
            let guessed = sequence.guesses.tokens.len();
            // The first of the tokens that were chosen stands where the step's first guess would.
            let chosen = &sequence.tokens[sequence.computed - accepted..];
            sequence.guesses.learn(accepted, chosen);
            if let Some(draft) = &mut self.draft {
                draft.settle(sequence);
            }
            if guessed == 0 {
                continue;
            }
            self.counters.guessed_tokens += guessed as u64;
            self.counters.accepted_tokens += accepted as u64;
            let kept = pages_for(sequence.computed);
            for page in sequence.page_table.drain(kept..).rev() {
                self.pool.release(page);
            }
            if self.options.prefix_cache {
                self.publish_full_pages(place);
            }
        }
    }
}
