//! One step: build the batch, compute it, publish what is full, choose tokens, free what ended.

use std::time::Instant;

use lair_compute::{Batch, PAGE_LENGTH, SequenceRows};

use crate::{
    Engine, Event, FinishReason, Runner, Sampler, SequenceError, TokenLogprob, TokenSet,
    constraint::ConstraintFault,
    pages::Parent,
    sampler::{Draws, NonFiniteLogits, greatest, log_sum_exp, top_logprobs},
    sequence::Sequence,
};

/// Generated tokens between two checkpoints of the recurrent state, of which a sequence keeps the last: what the next turn
/// of a conversation computes again at most. Copying a state, some 20 MB of a model of 1 GB, each 64 tokens costs less
/// than a thousandth of computing them.
const MOVING_CHECKPOINT_LENGTH: usize = 4 * PAGE_LENGTH;

impl<R: Runner> Engine<R> {
    /// Computes what was planned.
    pub(crate) fn compute(&mut self, events: &mut Vec<Event>) {
        if self.active.is_empty() {
            // All that could be taken up waits for an embedding to have its turn.
            return;
        }
        self.run_batch();
        if let Some(cause) = self.runner.damage() {
            self.fail_batch(&cause, events);
            return;
        }
        for place in 0..self.active.len() {
            let sequence = &mut self.active[place];
            sequence.computed += sequence.rows;
            if self.options.prefix_cache && sequence.rows > 0 {
                self.publish_full_pages(place);
                self.put_state_aside(place);
                self.note_finished_prompt(place);
            }
        }
        let any_ended = self.choose_tokens(events);
        self.settle_guesses();
        if any_ended {
            self.remove_ended();
        }
    }

    fn run_batch(&mut self) {
        self.encode_prompts();
        // Stays empty, and takes no memory, in a model without an encoder.
        let mut encoded = Vec::new();
        let has_encoder = self.limits.encoded_length.is_some();
        let room = &mut self.room;
        room.tokens.clear();
        room.rows_wanted.clear();
        let mut sequences = borrow_for_step(std::mem::take(&mut room.sequences));
        for sequence in self.active.iter().filter(|sequence| sequence.rows > 0) {
            let first_row = room.tokens.len();
            let (begin, end) = (sequence.computed, sequence.computed + sequence.rows);
            room.tokens.extend_from_slice(&sequence.tokens[begin..end]);
            room.tokens.extend_from_slice(&sequence.guesses.tokens);
            sequences.push(SequenceRows {
                first_row,
                row_count: sequence.rows + sequence.guesses.tokens.len(),
                first_position: begin,
                page_table: &sequence.page_table,
                state_slot: sequence.state_slot,
                adapter_scales: &sequence.adapter_scales,
            });
            if has_encoder {
                encoded.push(sequence.prompt.encoded());
            }
            room.rows_wanted.extend(sequence.positions_wanted().map(|position| first_row + position - begin));
        }
        let logits = &mut room.logits[..room.rows_wanted.len() * self.limits.vocabulary_size];
        let batch = Batch { tokens: &room.tokens, sequences: &sequences };
        batch.assert_consistent();
        let start = Instant::now();
        match has_encoder {
            true => self.runner.step_encoded(&batch, &encoded, &room.rows_wanted, logits),
            false => self.runner.step(&batch, &room.rows_wanted, logits),
        }
        self.pace.note(room.tokens.len(), start.elapsed());
        self.counters.steps += 1;
        self.counters.rows += room.tokens.len() as u64;
        room.sequences = borrow_for_step(sequences);
    }

    /// Makes the pages findable that this step filled. Where the same page was published by another sequence meanwhile,
    /// that one is held instead, so that a published page's holders always hold the pages before it.
    pub(crate) fn publish_full_pages(&mut self, place: usize) {
        let sequence = &mut self.active[place];
        while sequence.published < sequence.computed / PAGE_LENGTH {
            let page_index = sequence.published;
            let parent = match page_index.checked_sub(1) {
                None => Parent::Root(sequence.prefix_scope),
                Some(before) => {
                    let parent = self.pool.as_parent(sequence.page_table[before]);
                    parent.expect("the pages before one that is to be published are published")
                }
            };
            let page = sequence.page_table[page_index];
            let published = self.pool.publish(page, sequence.page_key(page_index, parent));
            if published != page {
                self.pool.retain(published);
                sequence.page_table[page_index] = published;
                self.pool.release(page);
            }
            sequence.published += 1;
        }
    }

    /// Takes a checkpoint of the recurrent state if one was planned here.
    pub(crate) fn put_state_aside(&mut self, place: usize) {
        let sequence = &mut self.active[place];
        let computed = sequence.computed;
        let Some(slot) = sequence.state_slot.filter(|_| self.states.has_checkpoints()) else { return };
        let planned = sequence.checkpoint_lengths.iter().position(|&length| length == computed);
        let moves = computed > sequence.prompt_length && computed.is_multiple_of(MOVING_CHECKPOINT_LENGTH);
        if let Some(planned) = planned {
            sequence.checkpoint_lengths.swap_remove(planned);
        } else if !moves {
            return;
        }
        let page = sequence.page_table[computed / PAGE_LENGTH - 1];
        if self.pool.checkpoint(page).is_some() {
            return;
        }
        if planned.is_none()
            && let Some(before) = sequence.moving_checkpoint.replace(page)
        {
            // It may have been lost to another one meanwhile; the page is still held, so it is still the same page.
            let checkpoint = self.pool.set_checkpoint(before, None);
            self.drop_checkpoint(checkpoint);
        }
        let (checkpoint, lost) = self.states.take_checkpoint(page);
        if let Some(lost) = lost {
            self.pool.set_checkpoint(lost, None);
        }
        self.pool.set_checkpoint(page, Some(checkpoint));
        self.runner.copy_state(slot, checkpoint);
    }

    /// Reads the logits in the order they were asked for. Returns whether any sequence is done.
    fn choose_tokens(&mut self, events: &mut Vec<Event>) -> bool {
        let now = Instant::now();
        let vocabulary_size = self.limits.vocabulary_size;
        // One field after the other, or the whole room would be taken.
        let crate::engine::StepRoom { logits, sampler, allowed, .. } = &mut self.room;
        let mut logits = logits.chunks_exact_mut(vocabulary_size);
        let mut any_ended = false;
        for sequence in self.active.iter_mut().filter(|sequence| sequence.rows > 0) {
            let prompt_rows = sequence.prompt_rows_computed();
            let is_caught_up = sequence.pending() == 0;
            let wants_token = is_caught_up && sequence.wants_token();
            let generated_before = sequence.usage.completion_tokens;
            let mut rows = logits.by_ref().take(prompt_rows + usize::from(wants_token) + sequence.guesses.tokens.len());
            let outcome = sequence.read_logits(&mut rows, prompt_rows, sampler, allowed, events);
            // What an error left unread belongs to this sequence too.
            rows.for_each(drop);
            let generated = sequence.usage.completion_tokens - generated_before;
            self.counters.generated_tokens += generated as u64;
            self.shares.charge(sequence.share, generated);
            if generated > 0 && sequence.clock.first_token.is_none() {
                sequence.clock.first_token = Some(now);
            }
            let (id, usage) = (sequence.id, sequence.usage);
            match outcome {
                Ok(None) => {
                    sequence.rows = 0;
                    continue;
                }
                Ok(Some(reason)) => {
                    events.push(Event::Finished { id, reason, usage, timings: sequence.clock.timings(now) })
                }
                Err(error) => events.push(Event::Failed { id, error }),
            }
            any_ended = true;
        }
        any_ended
    }

    /// Ends all sequences of this step. Nothing that it computed is found by others.
    fn fail_batch(&mut self, cause: &str, events: &mut Vec<Event>) {
        for sequence in self.active.iter().filter(|sequence| sequence.rows > 0) {
            let error = SequenceError::WeightsLost { cause: cause.to_owned() };
            events.push(Event::Failed { id: sequence.id, error });
        }
        self.remove_ended();
    }

    /// The sequences that ended still have rows.
    fn remove_ended(&mut self) {
        let mut place = 0;
        while place < self.active.len() {
            if self.active[place].rows > 0 {
                let mut sequence = self.active.remove(place);
                self.free_memory(&mut sequence);
                self.shares.leave(sequence.share);
            } else {
                place += 1;
            }
        }
    }
}

impl From<ConstraintFault> for SequenceError {
    fn from(fault: ConstraintFault) -> Self {
        match fault {
            ConstraintFault::Failed(cause) => Self::ConstraintFailed { cause },
            ConstraintFault::Panicked(cause) => Self::ConstraintPanicked { cause },
        }
    }
}

impl Sequence {
    /// Positions of the plan whose logits are read: those that tell about the prompt, the last one, and the guessed ones.
    fn positions_wanted(&self) -> impl Iterator<Item = usize> + use<> {
        let wanted = self.prompt_rows_wanted();
        let end = self.computed + self.rows;
        // The prompt's last token tells about the first generated one, so it is in one of the two at most.
        let last = (self.catches_up() && self.wants_token()).then(|| end - 1);
        (self.computed.max(wanted.start)..end.min(wanted.end)).chain(last).chain(end..end + self.guesses.tokens.len())
    }

    /// How many of the rows just computed tell about the prompt.
    fn prompt_rows_computed(&self) -> usize {
        let wanted = self.prompt_rows_wanted();
        self.computed.min(wanted.end).saturating_sub(wanted.start.max(self.computed - self.rows))
    }

    /// Takes up the logits of this step: first those about the prompt, then those of the next token. Returns why the
    /// sequence ends, if it does.
    fn read_logits<'a>(
        &mut self,
        rows: &mut impl Iterator<Item = &'a mut [f32]>,
        prompt_rows: usize,
        sampler: &mut Sampler,
        allowed: &mut TokenSet,
        events: &mut Vec<Event>,
    ) -> Result<Option<FinishReason>, SequenceError> {
        for logits in rows.by_ref().take(prompt_rows) {
            self.read_prompt_logits(logits)?;
        }
        if self.pending() > 0 {
            return Ok(None);
        }
        if self.prompt_rows_wanted().is_empty()
            && let Some(found) = self.prompt_logprobs.take()
        {
            events.push(Event::PromptLogprobs { id: self.id, logprobs: found.logprobs, top: found.top });
        }
        match rows.next() {
            Some(logits) => {
                let outcome = self.choose_token(logits, sampler, allowed, events)?;
                match self.check_guesses(outcome, rows, sampler, allowed, events)? {
                    None => self.jump_ahead(events),
                    ended => Ok(ended),
                }
            }
            None => Ok(Some(self.reason_at_max)),
        }
    }

    /// Goes on with the rows of guessed tokens as long as the tokens chosen are the guessed ones.
    fn check_guesses<'a>(
        &mut self,
        mut outcome: Option<FinishReason>,
        rows: &mut impl Iterator<Item = &'a mut [f32]>,
        sampler: &mut Sampler,
        allowed: &mut TokenSet,
        events: &mut Vec<Event>,
    ) -> Result<Option<FinishReason>, SequenceError> {
        self.usage.guessed_tokens += self.guesses.tokens.len();
        for logits in rows {
            let is_right = self.tokens.last() == self.guesses.tokens.get(self.accepted);
            if outcome.is_some() || !is_right {
                break;
            }
            // The row was computed from this token, so its keys and values stand.
            self.computed += 1;
            self.accepted += 1;
            self.usage.accepted_tokens += 1;
            outcome = self.choose_token(logits, sampler, allowed, events)?;
        }
        Ok(outcome)
    }

    /// Takes the tokens that must follow; the next step computes them together. Who wants log-probabilities gets a step for
    /// each.
    fn jump_ahead(&mut self, events: &mut Vec<Event>) -> Result<Option<FinishReason>, SequenceError> {
        let Some(constraint) = self.constraint.as_ref().filter(|_| self.logprobs.is_none()) else { return Ok(None) };
        let mut forced = constraint.forced()?;
        while let Some(token) = forced {
            self.usage.completion_tokens += 1;
            if let Some(reason) = self.take_token(token, None, Vec::new(), events)? {
                return Ok(Some(reason));
            }
            forced = self.constraint.as_ref().map_or(Ok(None), |constraint| constraint.forced())?;
        }
        Ok(None)
    }

    fn read_prompt_logits(&mut self, logits: &[f32]) -> Result<(), SequenceError> {
        let Some(found) = &mut self.prompt_logprobs else { return Ok(()) };
        let position = found.logprobs.len() + 1;
        let total = log_sum_exp(logits).map_err(|cause| SequenceError::NonFiniteLogits { cause, position })?;
        let token = self.tokens[position];
        found.logprobs.push((f64::from(logits[token as usize]) - total) as f32);
        found.top.push(top_logprobs(logits, total, self.logprobs.unwrap_or(0)));
        Ok(())
    }

    fn choose_token(
        &mut self,
        logits: &mut [f32],
        sampler: &mut Sampler,
        allowed: &mut TokenSet,
        events: &mut Vec<Event>,
    ) -> Result<Option<FinishReason>, SequenceError> {
        let position = self.tokens.len();
        let failed = |cause: NonFiniteLogits| SequenceError::NonFiniteLogits { cause, position };
        // Of the model's own distribution, before a constraint or the sampler changes it.
        let mut top = Vec::new();
        let mut total = 0.0;
        if let Some(count) = self.logprobs {
            total = log_sum_exp(logits).map_err(failed)?;
            top = top_logprobs(logits, total, count);
        }
        let draws = Draws::new(self.seed, (position - self.prompt_length) as u64);
        let mut mirostat = self.mirostat;
        let mut choose = |logits: &mut [f32], draws| {
            mirostat = self.mirostat;
            sampler.sample_carrying(logits, &self.sampling, &self.tokens, draws, &mut mirostat).map_err(failed)
        };
        let mut token = choose(logits, draws)?;
        // A set of what may follow costs more than a draw, and mostly what is drawn may follow. A token drawn from all that
        // is taken where it may follow, and otherwise drawn again from those that may, is one drawn from those that may:
        // p + (1 - a) p / a = p / a, with `a` the share of those. Of the likeliest token the same is true.
        if let Some(constraint) = &mut self.constraint {
            let mut is_allowed = constraint.allows(token)?;
            if is_allowed != Some(true) {
                constraint.restrict(allowed)?;
                is_allowed = is_allowed.or(Some(allowed.contains(token)));
            }
            if is_allowed != Some(true) {
                allowed.mask(logits);
                greatest(logits).map_err(|_| SequenceError::NothingAllowed { position })?;
                token = choose(logits, draws.again())?;
            }
        }
        self.mirostat = mirostat;
        self.usage.completion_tokens += 1;
        // The sampler puts back what it changes, so this is still the model's logit.
        let logprob = self.logprobs.map(|_| (f64::from(logits[token as usize]) - total) as f32);
        self.take_token(token, logprob, top, events)
    }

    /// Goes on by a token.
    fn take_token(
        &mut self,
        token: u32,
        logprob: Option<f32>,
        top: Vec<TokenLogprob>,
        events: &mut Vec<Event>,
    ) -> Result<Option<FinishReason>, SequenceError> {
        if self.stop_tokens.contains(&token) {
            return Ok(Some(FinishReason::Stop { token }));
        }
        let mut is_over = false;
        if let Some(constraint) = &mut self.constraint {
            constraint.accept(token)?;
            is_over = constraint.is_over()?;
        }
        self.tokens.push(token);
        events.push(Event::Token { id: self.id, token, logprob, top });
        if is_over {
            return Ok(Some(FinishReason::Complete));
        }
        Ok((!self.wants_token()).then_some(self.reason_at_max))
    }
}

/// An empty vector of another lifetime with the same memory: the standard library collects in place.
pub(crate) fn borrow_for_step<'to>(mut sequences: Vec<SequenceRows<'_>>) -> Vec<SequenceRows<'to>> {
    sequences.clear();
    sequences.into_iter().map(|_| unreachable!("the vector is empty")).collect()
}
