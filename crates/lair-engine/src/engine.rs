//! The engine: sequences that wait, sequences that are computed, and the memory they share.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
};

use lair_compute::{PAGE_LENGTH, StateSlot};
use lair_simd::AlignedF32;

use crate::{
    EngineError, EngineOptions, Event, Limits, Refusal, Request, Runner, Sampler, Sampling, SequenceId, TokenSet,
    archive::{Archiving, StateRestore},
    embedding::{EmbeddingQueue, Outcome},
    encoding::close_prompt,
    fairness::Shares,
    pace::Pace,
    pages::PagePool,
    sequence::{Sequence, pages_for},
    speculation::{Draft, DraftOptions, DraftState, GUESSES_MAX, Offer},
    states::StatePool,
};

/// Memory for logits. A step computes those of at most as many rows as fit (but of every sequence that decodes), which
/// only matters when the log-probabilities of whole prompts are asked for.
const LOGITS_BYTES: usize = 64 << 20;

/// Computes sequences step by step. What it does in a step is in `scheduler` (which rows) and `step` (the rest).
pub struct Engine<R: Runner> {
    pub(crate) runner: R,
    pub(crate) options: EngineOptions,
    pub(crate) limits: Limits,
    pub(crate) pool: PagePool,
    pub(crate) states: StatePool,
    pub(crate) draft: Option<Draft>,
    pub(crate) archiving: Option<Archiving>,
    /// Not computed now, in order of arrival.
    pub(crate) waiting: VecDeque<Sequence>,
    /// Computed now, in order of arrival.
    pub(crate) active: Vec<Sequence>,
    pub(crate) embeddings: EmbeddingQueue,
    /// Requests for embeddings that ended, until they are asked for.
    pub(crate) embedded: Vec<Outcome>,
    pub(crate) shares: Shares,
    pub(crate) pace: Pace,
    /// Passes over the waiting sequences.
    pub(crate) passes: u64,
    next_id: u64,
    seeds: RandomState,
    pub(crate) room: StepRoom,
    pub(crate) counters: Counters,
}

/// Room that steps use again and again.
pub(crate) struct StepRoom {
    pub(crate) sampler: Sampler,
    /// What a constraint allows.
    pub(crate) allowed: TokenSet,
    /// Tokens of the batch.
    pub(crate) tokens: Vec<u32>,
    pub(crate) rows_wanted: Vec<usize>,
    /// `[logits_rows_max, vocabulary_size]`.
    pub(crate) logits: AlignedF32,
    pub(crate) logits_rows_max: usize,
    /// Empty between steps; kept for its memory.
    pub(crate) sequences: Vec<lair_compute::SequenceRows<'static>>,
    /// Pages found for a waiting sequence.
    pub(crate) found: Vec<lair_compute::PageId>,
    /// Rows that sequences offer to guess.
    pub(crate) offers: Vec<Offer>,
}

/// What was counted since the engine was made.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) steps: u64,
    pub(crate) rows: u64,
    pub(crate) preemptions: u64,
    pub(crate) reused_tokens: u64,
    pub(crate) restored_tokens: u64,
    pub(crate) generated_tokens: u64,
    pub(crate) guessed_tokens: u64,
    pub(crate) accepted_tokens: u64,
}

/// The state of an engine between two steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Sequences that wait.
    pub waiting_count: usize,
    /// Of these, the ones whose tokens nobody takes.
    pub paused_count: usize,
    /// Sequences that are computed.
    pub active_count: usize,
    /// Pages there are.
    pub page_count: usize,
    /// Pages that sequences hold.
    pub held_page_count: usize,
    /// Pages that nobody holds, kept for prefixes to come.
    pub cached_page_count: usize,
    /// Checkpoints of recurrent state.
    pub checkpoint_count: usize,
    /// Steps since the engine was made.
    pub steps: u64,
    /// Rows that were computed in them.
    pub rows: u64,
    /// Times that a sequence lost its memory to an older one.
    pub preemptions: u64,
    /// Tokens that were not computed because the prefix cache had them.
    pub reused_tokens: u64,
    /// Tokens that were not computed because the archive had them.
    pub restored_tokens: u64,
    /// Tokens that were chosen.
    pub generated_tokens: u64,
    /// Tokens that were guessed and computed with.
    pub guessed_tokens: u64,
    /// Of these, the ones that were the tokens chosen.
    pub accepted_tokens: u64,
}

impl<R: Runner> Engine<R> {
    /// An engine without sequences. All memory that steps need is allocated here.
    pub fn new(runner: R, options: EngineOptions) -> Result<Self, EngineError> {
        let limits = options.check(&runner)?;
        // What a decoder computes depends on what was encoded, which pages are not found by.
        let options =
            EngineOptions { prefix_cache: options.prefix_cache && limits.encoded_length.is_none(), ..options };
        let vocabulary_size = limits.vocabulary_size;
        let fitting = LOGITS_BYTES / (4 * vocabulary_size);
        // One for each sequence, and one more, so that a prompt's logits are read however many sequences decode.
        let logits_rows_min = options.sequences_max + 1;
        let logits_rows_max = match limits.generates {
            true => fitting.clamp(logits_rows_min, options.rows_max.max(logits_rows_min)),
            false => 0,
        };
        let room = StepRoom {
            sampler: Sampler::new(vocabulary_size),
            allowed: TokenSet::all(vocabulary_size),
            tokens: Vec::with_capacity(options.rows_max),
            rows_wanted: Vec::with_capacity(logits_rows_max),
            logits: AlignedF32::zeros(logits_rows_max * vocabulary_size),
            logits_rows_max,
            sequences: Vec::with_capacity(options.sequences_max),
            found: Vec::with_capacity(runner.page_count()),
            offers: Vec::with_capacity(options.sequences_max * GUESSES_MAX),
        };
        Ok(Self {
            pool: PagePool::new(runner.page_count()),
            states: StatePool::new(runner.state_slot_count(), options.sequences_max),
            draft: None,
            archiving: None,
            waiting: VecDeque::new(),
            active: Vec::with_capacity(options.sequences_max),
            embeddings: EmbeddingQueue::default(),
            embedded: Vec::new(),
            shares: Shares::default(),
            pace: Pace::new(options.step_time_max),
            passes: 0,
            next_id: 0,
            seeds: RandomState::new(),
            counters: Counters::default(),
            room,
            limits,
            options,
            runner,
        })
    }

    /// Adds a second model that guesses tokens, for [`Speculation::Draft`](crate::Speculation::Draft). It should have the
    /// same vocabulary: other tokens are wrong guesses. All memory that it needs is allocated here.
    pub fn with_draft(mut self, runner: Box<dyn Runner>, options: DraftOptions) -> Result<Self, EngineError> {
        if self.states.is_used() {
            return Err(EngineError::RecurrentLayers { which: "model" });
        }
        if self.limits.encoded_length.is_some() || runner.encoder_frame().is_some() {
            return Err(EngineError::EncoderBeforeDraft);
        }
        let options = DraftOptions { tokens_max: options.tokens_max.min(GUESSES_MAX), ..options };
        self.draft = Some(Draft::new(runner, options, self.options.sequences_max, self.options.prefix_cache)?);
        Ok(self)
    }

    /// What requests are checked against.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// What computes.
    pub fn runner(&self) -> &R {
        &self.runner
    }

    /// Whether a step would have nothing to do.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.active.is_empty() && self.embeddings.is_empty()
    }

    /// Whether a step would compute something: paused sequences alone do not.
    pub fn has_work(&self) -> bool {
        let is_waiting = self.waiting.iter().any(|sequence| !sequence.is_paused);
        is_waiting || !self.active.is_empty() || !self.embeddings.is_empty()
    }

    /// Takes a request, or says why not. It is computed by the steps to come.
    pub fn submit(&mut self, mut request: Request) -> Result<SequenceId, Refusal> {
        self.check_room()?;
        request.check(&self.limits)?;
        let frame = self.runner.encoder_frame();
        if let Some(frame) = frame {
            close_prompt(&mut request.tokens, frame);
        }
        let id = self.name();
        let decoder_start = frame.map(|frame| frame.decoder_start);
        let encoded = frame.map_or(0, |_| pages_for(request.tokens.len()) * PAGE_LENGTH);
        // The last token that is chosen needs no page.
        let length_max = self.limits.context_length.min(self.limits.memory_length.saturating_sub(encoded) + 1);
        let share = self.shares.enter(request.scope);
        self.waiting.push_back(Sequence::new(id, request, length_max, (self.seed(id), share), decoder_start));
        Ok(id)
    }

    /// A second sequence that has the tokens of `id` so far and goes its own way, under its own sampling.
    ///
    /// It shares all pages; the last one, which both would write, is copied when the first of them does.
    pub fn fork(&mut self, id: SequenceId, sampling: Sampling) -> Result<SequenceId, Refusal> {
        self.check_room()?;
        sampling.check()?;
        let fork = self.name();
        let seed = sampling.seed.unwrap_or_else(|| self.seed(fork));
        if let Some(source) = self.active.iter().find(|sequence| sequence.id == id)
            && self.active.len() < self.options.sequences_max
        {
            let state_slot = source.state_slot.map(|from| {
                let to = self.states.take();
                self.runner.copy_state(from, to);
                to
            });
            // The moving checkpoint stays the source's; two must not move one.
            let mut copy = Sequence {
                id: fork,
                sampling,
                seed,
                state_slot,
                moving_checkpoint: None,
                // The draft model finds the published ones of its pages again.
                draft: DraftState::default(),
                ..source.clone()
            };
            copy.page_table.iter().chain(&copy.prompt.pages).for_each(|&page| self.pool.retain(page));
            copy.share = self.shares.enter(copy.scope);
            copy.reserve();
            self.active.push(copy);
            return Ok(fork);
        }
        let source = self.waiting.iter().chain(&self.active).find(|sequence| sequence.id == id);
        let source = source.ok_or(Refusal::UnknownSequence { id })?;
        let mut copy = Sequence {
            id: fork,
            sampling,
            seed,
            is_paused: false,
            state_slot: None,
            page_table: Vec::new(),
            prompt: source.prompt.unread(),
            published: 0,
            computed: 0,
            checkpoint_lengths: Vec::new(),
            state_restore: StateRestore::default(),
            draft: DraftState::default(),
            moving_checkpoint: None,
            ..source.clone()
        };
        copy.share = self.shares.enter(copy.scope);
        copy.reserve();
        self.waiting.push_back(copy);
        Ok(fork)
    }

    /// Ends a sequence without an event. Returns whether it was there.
    pub fn cancel(&mut self, id: SequenceId) -> bool {
        if let Some(place) = self.waiting.iter().position(|sequence| sequence.id == id) {
            if let Some(sequence) = self.waiting.remove(place) {
                self.shares.leave(sequence.share);
            }
            return true;
        }
        let Some(place) = self.active.iter().position(|sequence| sequence.id == id) else {
            return self.cancel_embedding(id);
        };
        let mut sequence = self.active.remove(place);
        self.free_memory(&mut sequence);
        self.shares.leave(sequence.share);
        true
    }

    /// Has a sequence wait until [`Engine::resume`]: nobody takes its tokens. It gives its place and its memory to others;
    /// what the prefix cache still has of it then is not computed again. Returns whether it was there.
    pub fn pause(&mut self, id: SequenceId) -> bool {
        if let Some(place) = self.active.iter().position(|sequence| sequence.id == id) {
            self.put_back(place);
        }
        self.set_paused(id, true)
    }

    /// Lets a sequence go on. Returns whether it was there.
    pub fn resume(&mut self, id: SequenceId) -> bool {
        self.set_paused(id, false)
    }

    fn set_paused(&mut self, id: SequenceId, is_paused: bool) -> bool {
        let sequence = self.waiting.iter_mut().find(|sequence| sequence.id == id);
        sequence.map(|sequence| sequence.is_paused = is_paused).is_some()
    }

    /// Computes one step, and adds what happened to `events`. Does nothing if the engine is idle.
    pub fn step(&mut self, events: &mut Vec<Event>) {
        if !self.waiting.is_empty() || !self.active.is_empty() {
            self.admit();
            self.restore();
            self.plan();
            // All of a step's time may have gone into taking pages back.
            if self.active.iter().any(|sequence| sequence.rows > 0) {
                self.guess();
                self.compute(events);
            }
        }
        self.embed();
        self.keep_pages();
    }

    /// What can be seen from outside.
    pub fn stats(&self) -> EngineStats {
        EngineStats {
            waiting_count: self.waiting.len(),
            paused_count: self.waiting.iter().filter(|sequence| sequence.is_paused).count(),
            active_count: self.active.len(),
            page_count: self.pool.page_count(),
            held_page_count: self.pool.page_count() - self.pool.available(),
            cached_page_count: self.pool.evictable_count(),
            checkpoint_count: self.states.checkpoint_count(),
            steps: self.counters.steps,
            rows: self.counters.rows,
            preemptions: self.counters.preemptions,
            restored_tokens: self.counters.restored_tokens,
            reused_tokens: self.counters.reused_tokens,
            generated_tokens: self.counters.generated_tokens,
            guessed_tokens: self.counters.guessed_tokens,
            accepted_tokens: self.counters.accepted_tokens,
        }
    }

    /// Asserts that every page and slot is accounted for. For tests: it looks at all of them.
    ///
    /// # Panics
    /// If not, which is a bug of the engine.
    pub fn check_integrity(&self) {
        let held = self.active.iter().flat_map(|sequence| sequence.page_table.iter().chain(&sequence.prompt.pages));
        let held = held.copied();
        let (of_embeddings, slots_of_embeddings) = self.embeddings.held();
        let of_pages = self.pool.check_integrity(held.chain(of_embeddings));
        let slots = self.active.iter().filter_map(|sequence| sequence.state_slot).chain(slots_of_embeddings);
        self.states.check_integrity(slots, of_pages);
        if let Some(draft) = &self.draft {
            draft.check_integrity(self.active.iter().map(|sequence| &sequence.draft));
        }
        assert!(self.active.is_sorted_by_key(|sequence| sequence.id), "active sequences are not in order of arrival");
        assert!(self.waiting.iter().is_sorted_by_key(|sequence| sequence.id), "waiting sequences are not in order");
        let open = self.waiting.iter().chain(&self.active);
        self.shares.check_integrity(open.map(|sequence| (sequence.share, sequence.scope)));
        assert!(self.active.iter().all(|sequence| !sequence.is_paused), "a paused sequence has a place");
        for sequence in &self.waiting {
            assert!(sequence.page_table.is_empty() && sequence.state_slot.is_none() && sequence.computed == 0);
            assert!(sequence.prompt.pages.is_empty() && !sequence.prompt.is_read);
        }
    }

    /// Lets go of pages and state; the tokens stay.
    pub(crate) fn free_memory(&mut self, sequence: &mut Sequence) {
        // The last page first: it is the first to be evicted.
        for page in sequence.page_table.drain(..).rev().chain(sequence.prompt.pages.drain(..)) {
            self.pool.release(page);
        }
        sequence.prompt.is_read = false;
        if let Some(slot) = sequence.state_slot.take() {
            self.states.release(slot);
        }
        if let Some(draft) = &mut self.draft {
            draft.forget(&mut sequence.draft);
        }
        sequence.computed = 0;
        sequence.published = 0;
        sequence.rows = 0;
        sequence.is_restored = false;
        sequence.state_restore = StateRestore::default();
        sequence.checkpoint_lengths.clear();
        sequence.moving_checkpoint = None;
    }

    pub(crate) fn check_room(&self) -> Result<(), Refusal> {
        let requests_max = self.options.requests_max;
        if self.waiting.len() + self.active.len() + self.embeddings.len() < requests_max {
            Ok(())
        } else {
            Err(Refusal::QueueFull { requests_max })
        }
    }

    pub(crate) fn name(&mut self) -> SequenceId {
        self.next_id += 1;
        SequenceId(self.next_id)
    }

    fn seed(&self, id: SequenceId) -> u64 {
        self.seeds.hash_one(id)
    }

    /// Puts a slot back that came free with the page it belonged to.
    pub(crate) fn drop_checkpoint(&mut self, checkpoint: Option<StateSlot>) {
        if let Some(slot) = checkpoint {
            self.states.drop_checkpoint(slot);
        }
    }
}
