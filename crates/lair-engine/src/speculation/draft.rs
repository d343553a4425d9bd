//! A second, smaller model of the same vocabulary that guesses (Leviathan et al., "Fast Inference from Transformers via
//! Speculative Decoding", 2023; here with greedy guesses, which are right if they are the tokens drawn).
//!
//! The draft model has pages of its own and its own prefix cache over them. What it has computed of a sequence catches up
//! with the sequence whenever it is asked: after a prompt, after tokens that came without it, and after wrong guesses,
//! which are forgotten by not counting them.

use lair_compute::{Batch, PAGE_LENGTH, PageId, SequenceRows};

use super::{GUESSES_MAX, Guesses};
use crate::{
    EngineError, Runner,
    pages::{PagePool, Parent},
    sampler::{greatest, log_sum_exp},
    sequence::{Sequence, pages_for},
    step::borrow_for_step,
};

/// How a draft model guesses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DraftOptions {
    /// Tokens that are guessed in a step at most.
    pub tokens_max: usize,
    /// Fewer guesses than this are not computed with.
    pub tokens_min: usize,
    /// Guessing ends at a token that the draft model itself gives less than this probability.
    pub probability_min: f32,
    /// What a step of the draft model costs, one of the model itself being 1: about the size of its weights to those.
    pub step_cost: f32,
}

impl DraftOptions {
    /// More tokens than this are not guessed in a step, whatever is asked for.
    pub const TOKENS_MAX: usize = GUESSES_MAX;
}

impl Default for DraftOptions {
    fn default() -> Self {
        Self { tokens_max: 8, tokens_min: 0, probability_min: 0.5, step_cost: 0.2 }
    }
}

/// The draft model with its memory.
pub(crate) struct Draft {
    runner: Box<dyn Runner>,
    pub(super) options: DraftOptions,
    pool: PagePool,
    prefix_cache: bool,
    /// What it is asked for in this step.
    asked: Vec<Asked>,
    /// Tokens of a pass.
    tokens: Vec<u32>,
    rows_wanted: Vec<usize>,
    /// `[sequences_max, vocabulary_size]`.
    logits: Vec<f32>,
    /// Empty between passes; kept for its memory.
    sequences: Vec<SequenceRows<'static>>,
}

/// A sequence that wants guesses.
struct Asked {
    place: usize,
    /// Guesses that it wants at most.
    count: usize,
    /// Its rows in the pass that is planned.
    rows: usize,
}

/// What the draft model has of a sequence.
#[derive(Clone, Debug, Default)]
pub(crate) struct DraftState {
    /// Tokens whose keys and values it has; between steps, wrong guesses are not among them.
    computed: usize,
    page_table: Vec<PageId>,
    published: usize,
}

impl Draft {
    /// Refuses a model that cannot guess.
    pub(crate) fn new(
        runner: Box<dyn Runner>,
        options: DraftOptions,
        sequences_max: usize,
        prefix_cache: bool,
    ) -> Result<Self, EngineError> {
        if runner.state_slot_count() > 0 {
            return Err(EngineError::RecurrentLayers { which: "draft model" });
        }
        let rows_max = runner.rows_max();
        if rows_max < sequences_max {
            return Err(EngineError::TooFewRows { rows_max, sequences_max });
        }
        Ok(Self {
            pool: PagePool::new(runner.page_count()),
            prefix_cache,
            asked: Vec::with_capacity(sequences_max),
            tokens: Vec::with_capacity(rows_max),
            rows_wanted: Vec::with_capacity(sequences_max),
            logits: vec![0.0; sequences_max * runner.vocabulary_size()],
            sequences: Vec::with_capacity(sequences_max),
            options,
            runner,
        })
    }

    /// Asks for up to `count` guesses for the sequence at `place`.
    pub(super) fn ask(&mut self, place: usize, count: usize) {
        self.asked.push(Asked { place, count, rows: 0 });
    }

    /// Guesses for the sequences that were asked for, all of them in each pass. Where it is so far behind that it has not
    /// caught up in the first one, the guesses stay as they are.
    pub(super) fn guess(&mut self, active: &mut [Sequence], vocabulary_size: usize) {
        let mut asked = std::mem::take(&mut self.asked);
        self.catch_up(&mut asked, active);
        while asked.iter().any(|asked| asked.rows > 0) {
            self.run(&asked, active);
            self.read(&mut asked, active, vocabulary_size);
        }
        for asked in asked.drain(..) {
            let guesses = &mut active[asked.place].guesses;
            if guesses.is_drafted() && guesses.tokens.len() < self.options.tokens_min {
                guesses.drop_tokens();
            }
        }
        self.asked = asked;
    }

    /// Takes the outcome of a step up: what was computed beyond the tokens that were chosen is forgotten.
    pub(super) fn settle(&mut self, sequence: &mut Sequence) {
        let state = &mut sequence.draft;
        state.computed = state.computed.min(sequence.computed);
        let kept = pages_for(state.computed).min(state.page_table.len());
        state.page_table.drain(kept..).rev().for_each(|page| self.pool.release(page));
        if self.prefix_cache {
            self.publish(sequence);
        }
    }

    /// Lets go of what it has of a sequence.
    pub(crate) fn forget(&mut self, state: &mut DraftState) {
        state.page_table.drain(..).rev().for_each(|page| self.pool.release(page));
        (state.computed, state.published) = (0, 0);
    }

    /// Asserts that every page is accounted for.
    ///
    /// # Panics
    /// If not, which is a bug of the engine.
    pub(crate) fn check_integrity<'a>(&self, states: impl Iterator<Item = &'a DraftState>) {
        self.pool.check_integrity(states.flat_map(|state| state.page_table.iter().copied()));
    }

    /// Plans rows for the tokens that it has not computed, as many as a pass has room for.
    fn catch_up(&mut self, asked: &mut [Asked], active: &mut [Sequence]) {
        let mut rows_left = self.runner.rows_max();
        let vocabulary_size = self.runner.vocabulary_size();
        let mut others = asked.len();
        for asked in asked {
            others -= 1;
            let sequence = &mut active[asked.place];
            if sequence.draft.computed == 0 && self.prefix_cache {
                self.take_up_prefix(sequence);
            }
            let begin = sequence.draft.computed;
            // Each of the others can have a row, too.
            let end = sequence.tokens.len().min(begin + rows_left - others);
            let is_known = sequence.tokens[begin..end].iter().all(|&token| (token as usize) < vocabulary_size);
            if is_known && self.extend(&mut sequence.draft, end) {
                asked.rows = end - begin;
                rows_left -= asked.rows;
            }
        }
    }

    /// Finds pages up to a length. Returns whether there are enough.
    fn extend(&mut self, state: &mut DraftState, length: usize) -> bool {
        let missing = pages_for(length).saturating_sub(state.page_table.len());
        if length > self.runner.context_length() || missing > self.pool.available() {
            return false;
        }
        for _ in 0..missing {
            state.page_table.push(self.pool.take().expect("pages were counted").page);
        }
        true
    }

    fn run(&mut self, asked: &[Asked], active: &[Sequence]) {
        self.tokens.clear();
        self.rows_wanted.clear();
        let mut sequences = borrow_for_step(std::mem::take(&mut self.sequences));
        for asked in asked.iter().filter(|asked| asked.rows > 0) {
            let Sequence { draft, guesses, tokens, .. } = &active[asked.place];
            let (begin, end) = (draft.computed, draft.computed + asked.rows);
            let first_row = self.tokens.len();
            self.tokens.extend((begin..end).map(|position| match tokens.get(position) {
                Some(&token) => token,
                None => guesses.tokens[position - tokens.len()],
            }));
            if end >= tokens.len() {
                self.rows_wanted.push(self.tokens.len() - 1);
            }
            sequences.push(SequenceRows {
                first_row,
                row_count: asked.rows,
                first_position: begin,
                page_table: &draft.page_table,
                state_slot: None,
                adapter_scales: &[],
            });
        }
        let batch = Batch { tokens: &self.tokens, sequences: &sequences };
        batch.assert_consistent();
        let logits = &mut self.logits[..self.rows_wanted.len() * self.runner.vocabulary_size()];
        self.runner.step(&batch, &self.rows_wanted, logits);
        self.sequences = borrow_for_step(sequences);
    }

    /// Takes a guess from the logits of each sequence, and plans a row for it if another one may follow.
    fn read(&mut self, asked: &mut [Asked], active: &mut [Sequence], vocabulary_size: usize) {
        let mut next_logits = 0;
        for asked in asked.iter_mut().filter(|asked| asked.rows > 0) {
            let Sequence { draft, guesses, tokens, .. } = &mut active[asked.place];
            draft.computed += std::mem::take(&mut asked.rows);
            if draft.computed < tokens.len() {
                continue;
            }
            if draft.computed == tokens.len() {
                guesses.begin_draft();
            }
            let own_size = self.runner.vocabulary_size();
            let logits = &self.logits[next_logits * own_size..][..own_size];
            next_logits += 1;
            let goes_on = guesses.take_drafted(logits, vocabulary_size, self.options.probability_min);
            if goes_on && guesses.tokens.len() < asked.count {
                let end = tokens.len() + guesses.tokens.len();
                asked.rows = usize::from(self.extend(draft, end));
            }
        }
    }

    /// Takes up the pages that it has of the beginning of a sequence.
    fn take_up_prefix(&mut self, sequence: &mut Sequence) {
        let mut parent = Parent::Root(sequence.scope);
        // The last token is computed in any case: its logits are wanted.
        for page_index in sequence.draft.published..(sequence.tokens.len() - 1) / PAGE_LENGTH {
            let Some(page) = self.pool.find(&sequence.page_key(page_index, parent)) else { break };
            let Some(next) = self.pool.as_parent(page) else { break };
            self.pool.retain(page);
            sequence.draft.page_table.push(page);
            parent = next;
        }
        sequence.draft.published = sequence.draft.page_table.len();
        sequence.draft.computed = sequence.draft.published * PAGE_LENGTH;
    }

    /// Makes the full pages of a sequence findable; where others hold the same ones, those are shared.
    fn publish(&mut self, sequence: &mut Sequence) {
        while sequence.draft.published < sequence.draft.computed / PAGE_LENGTH {
            let page_index = sequence.draft.published;
            let parent = match page_index.checked_sub(1) {
                None => Parent::Root(sequence.scope),
                Some(before) => {
                    let parent = self.pool.as_parent(sequence.draft.page_table[before]);
                    parent.expect("the pages before one that is to be published are published")
                }
            };
            let page = sequence.draft.page_table[page_index];
            let published = self.pool.publish(page, sequence.page_key(page_index, parent));
            if published != page {
                self.pool.retain(published);
                sequence.draft.page_table[page_index] = published;
                self.pool.release(page);
            }
            sequence.draft.published += 1;
        }
    }
}

impl Guesses {
    /// Takes the draft model's likeliest token. Returns whether it is likely enough to go on.
    fn take_drafted(&mut self, logits: &[f32], vocabulary_size: usize, probability_min: f32) -> bool {
        let likeliest =
            greatest(logits).and_then(|(token, logit)| Ok((token, f64::from(logit) - log_sum_exp(logits)?)));
        // A draft model that computes no distribution guesses nothing; the tokens do not hang on it.
        let taken = likeliest
            .ok()
            .map(|(token, logprob)| (token, logprob.exp() as f32))
            .filter(|&(token, chance)| (token as usize) < vocabulary_size && chance >= probability_min);
        match taken {
            Some((token, chance)) => self.push(token, chance),
            None => self.has_given_up = true,
        }
        taken.is_some()
    }
}
