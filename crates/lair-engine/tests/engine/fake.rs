//! A runner whose logits are a hash of the sequence as it is read back from pages and state, so that a wrong page table,
//! a stale page or a state out of step shows as other tokens; and what the same sequence gives without any engine.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc::Receiver,
    },
};

use lair_compute::{Batch, PAGE_LENGTH, PageId, StateSlot};
use lair_engine::{
    EmbeddingShape, Engine, EngineOptions, Event, FinishReason, PageArchive, Pooling, PrefixKey, PrefixScope, Request,
    Runner, Sampler, SequenceId, sampler::Draws,
};

pub const VOCABULARY_SIZE: usize = 48;

pub const HIDDEN_SIZE: usize = 3;

/// After this token, logits are not numbers.
pub const NAN_TOKEN: u32 = 46;

/// Computing this token panics.
pub const PANIC_TOKEN: u32 = 47;

pub struct FakeRunner {
    pages: Vec<[u64; PAGE_LENGTH]>,
    /// Hash of the tokens, and how many.
    states: Vec<(u64, usize)>,
    context_length: usize,
    rows_max: usize,
    /// Rows computed in all.
    pub rows: usize,
    pub page_copies: usize,
    /// Steps wait here until the other end sends or is dropped.
    pub gate: Option<Receiver<()>>,
    /// Whether other tokens than they should be are likely here and there.
    has_flaw: bool,
    /// Whether texts to be embedded must come whole.
    pub needs_whole_sequences: bool,
    shared_rows: Arc<AtomicUsize>,
}

impl FakeRunner {
    pub fn new(page_count: usize, state_slot_count: usize) -> Self {
        Self {
            pages: vec![[u64::MAX; PAGE_LENGTH]; page_count],
            states: vec![(u64::MAX, usize::MAX); state_slot_count],
            context_length: 4096,
            rows_max: 512,
            rows: 0,
            page_copies: 0,
            gate: None,
            has_flaw: false,
            needs_whole_sequences: false,
            shared_rows: Arc::default(),
        }
    }

    /// A draft model that errs.
    pub fn with_flaw(page_count: usize) -> Self {
        Self { has_flaw: true, ..Self::new(page_count, 0) }
    }

    /// Rows computed in all, to be read when the runner has been given away.
    pub fn rows_computed(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.shared_rows)
    }
}

fn mix(left: u64, right: u64) -> u64 {
    let value = (left ^ right.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (value ^ (value >> 32)).wrapping_mul(0xc4ce_b9fe_1a85_ec53) ^ (value >> 29)
}

fn stored(token: u32, position: usize) -> u64 {
    mix(u64::from(token) + 1, position as u64)
}

fn fill_logits(context: u64, last: u32, logits: &mut [f32]) {
    for (token, logit) in logits.iter_mut().enumerate() {
        *logit = (mix(context, token as u64) >> 40) as f32 / (1 << 24) as f32 * 8.0 - 4.0;
    }
    // A habit, so that what followed before often follows again.
    if !mix(context, u64::MAX).is_multiple_of(8) {
        logits[(last * 7 + 3) as usize % 45] += 7.0;
    }
    // Tokens that mean trouble are not chosen by themselves.
    logits[NAN_TOKEN as usize] = f32::NEG_INFINITY;
    logits[PANIC_TOKEN as usize] = f32::NEG_INFINITY;
    if last == NAN_TOKEN {
        logits[3] = f32::NAN;
    }
}

impl FakeRunner {
    /// Stores the tokens of a batch, and gives each row with the hash of what is read back for it.
    fn contexts(&mut self, batch: &Batch<'_>, mut each: impl FnMut(usize, u64, u32)) {
        batch.assert_consistent();
        assert!(batch.row_count() > 0 && batch.row_count() <= self.rows_max);
        assert!(!batch.tokens.contains(&PANIC_TOKEN), "the runner was asked to panic");
        let mut written = HashSet::new();
        let mut slots = HashSet::new();
        self.rows += batch.row_count();
        self.shared_rows.fetch_add(batch.row_count(), Ordering::Relaxed);
        for rows in batch.sequences {
            assert_eq!(rows.state_slot.is_some(), !self.states.is_empty());
            assert!(rows.state_slot.is_none_or(|slot| slots.insert(slot)), "two sequences have one slot");
            for row in 0..rows.row_count {
                let position = rows.first_position + row;
                let token = batch.tokens[rows.first_row + row];
                let page = rows.page_table[position / PAGE_LENGTH];
                self.pages[page.0 as usize][position % PAGE_LENGTH] = stored(token, position);
                if row == 0 || position % PAGE_LENGTH == 0 {
                    assert!(written.insert(page), "two sequences write one page");
                }
                let keys =
                    (0..=position).map(|at| self.pages[rows.page_table[at / PAGE_LENGTH].0 as usize][at % PAGE_LENGTH]);
                let mut context = keys.fold(0, mix);
                if let Some(slot) = rows.state_slot {
                    let state = &mut self.states[slot.0 as usize];
                    *state = (mix(state.0, u64::from(token)), state.1.wrapping_add(1));
                    assert_eq!(state.1, position + 1, "the state is not at its position");
                    context = mix(context, state.0);
                }
                each(rows.first_row + row, context, token);
            }
        }
    }
}

/// The hidden state of a row.
fn hidden_state(context: u64, token: u32) -> [f32; HIDDEN_SIZE] {
    let part = |index: u64| (mix(context, index) >> 40) as f32 / (1 << 24) as f32 - 0.5;
    if token == NAN_TOKEN { [f32::NAN; HIDDEN_SIZE] } else { [part(0), part(1), part(2)] }
}

/// The hidden states of all tokens of a text, without pages.
pub fn hidden_states_of(tokens: &[u32], has_state: bool) -> Vec<[f32; HIDDEN_SIZE]> {
    let (mut keys, mut state) = (0, 0);
    let row = |(position, &token): (usize, &u32)| {
        keys = mix(keys, stored(token, position));
        state = mix(state, u64::from(token));
        hidden_state(if has_state { mix(keys, state) } else { keys }, token)
    };
    tokens.iter().enumerate().map(row).collect()
}

impl Runner for FakeRunner {
    fn vocabulary_size(&self) -> usize {
        VOCABULARY_SIZE
    }

    fn context_length(&self) -> usize {
        self.context_length
    }

    fn page_count(&self) -> usize {
        self.pages.len()
    }

    fn state_slot_count(&self) -> usize {
        self.states.len()
    }

    fn rows_max(&self) -> usize {
        self.rows_max
    }

    fn step(&mut self, batch: &Batch<'_>, rows_wanted: &[usize], logits: &mut [f32]) {
        if self.gate.as_ref().is_some_and(|gate| gate.recv().is_err()) {
            self.gate = None;
        }
        assert!(rows_wanted.is_sorted_by(|left, right| left < right));
        assert_eq!(logits.len(), rows_wanted.len() * VOCABULARY_SIZE);
        let has_flaw = self.has_flaw;
        self.contexts(batch, |row, context, token| {
            if let Ok(place) = rows_wanted.binary_search(&row) {
                let logits = &mut logits[place * VOCABULARY_SIZE..][..VOCABULARY_SIZE];
                fill_logits(context, token, logits);
                if has_flaw && context.is_multiple_of(4) {
                    logits[token as usize] += 20.0;
                }
            }
        });
    }

    fn embedding_shape(&self) -> Option<EmbeddingShape> {
        Some(EmbeddingShape {
            hidden_size: HIDDEN_SIZE,
            embedding_size: HIDDEN_SIZE,
            pooling: Pooling::Mean,
            classifier_pooling: Pooling::Last,
            class_count: 1,
            scores_are_shares: false,
            needs_whole_sequences: self.needs_whole_sequences,
        })
    }

    fn hidden_states(&mut self, batch: &Batch<'_>, states: &mut [f32]) {
        assert_eq!(states.len(), batch.row_count() * HIDDEN_SIZE);
        if self.needs_whole_sequences {
            assert!(batch.sequences.iter().all(|rows| rows.first_position == 0), "a sequence is continued");
        }
        self.contexts(batch, |row, context, token| {
            states[row * HIDDEN_SIZE..][..HIDDEN_SIZE].copy_from_slice(&hidden_state(context, token));
        });
    }

    fn scores(&self, pooled: &[f32]) -> Vec<f32> {
        vec![pooled.iter().sum()]
    }

    fn copy_page(&mut self, from: PageId, to: PageId) {
        self.pages[to.0 as usize] = self.pages[from.0 as usize];
        self.page_copies += 1;
    }

    fn page_bytes(&self) -> usize {
        8 * PAGE_LENGTH
    }

    fn read_page(&self, page: PageId, bytes: &mut [u8]) {
        for (word, value) in bytes.as_chunks_mut().0.iter_mut().zip(self.pages[page.0 as usize]) {
            *word = value.to_le_bytes();
        }
    }

    fn write_page(&mut self, page: PageId, bytes: &[u8]) {
        for (value, word) in self.pages[page.0 as usize].iter_mut().zip(bytes.as_chunks().0) {
            *value = u64::from_le_bytes(*word);
        }
    }

    fn state_bytes(&self) -> usize {
        if self.states.is_empty() { 0 } else { 16 }
    }

    fn read_state(&self, slot: StateSlot, bytes: &mut [u8]) {
        let (context, length) = self.states[slot.0 as usize];
        bytes.copy_from_slice(&[context.to_le_bytes(), (length as u64).to_le_bytes()].concat());
    }

    fn write_state(&mut self, slot: StateSlot, bytes: &[u8]) {
        let words: Vec<u64> = bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        self.states[slot.0 as usize] = (words[0], words[1] as usize);
    }

    fn clear_state(&mut self, slot: StateSlot) {
        self.states[slot.0 as usize] = (0, 0);
    }

    fn copy_state(&mut self, from: StateSlot, to: StateSlot) {
        self.states[to.0 as usize] = self.states[from.0 as usize];
    }
}

/// Pages that outlive an engine: clones hold the same ones.
#[derive(Clone, Default)]
pub struct MemoryArchive {
    pub pages: Arc<Mutex<HashMap<PrefixKey, Vec<u8>>>>,
    /// One page in so many is lost; none if 0.
    pub lost_one_in: u64,
    pub loads: Arc<AtomicUsize>,
}

impl MemoryArchive {
    pub fn page_count(&self) -> usize {
        self.pages.lock().unwrap().len()
    }

    /// Loses a page of those that are kept, whichever comes first by its key.
    pub fn lose_one(&self) {
        let mut pages = self.pages.lock().unwrap();
        let key = pages.keys().copied().min_by_key(|key| key.0).unwrap();
        pages.remove(&key);
    }

    /// Loses the `place`th part of those that are kept, by their keys.
    pub fn lose_nth(&self, place: usize) {
        let mut pages = self.pages.lock().unwrap();
        let mut keys: Vec<PrefixKey> = pages.keys().copied().collect();
        keys.sort_unstable_by_key(|key| key.0);
        pages.remove(&keys[place % keys.len()]);
    }
}

impl PageArchive for MemoryArchive {
    fn kept_tokens_min(&self) -> usize {
        PAGE_LENGTH
    }

    fn root(&self, scope: PrefixScope) -> PrefixKey {
        PrefixKey(scope.0)
    }

    fn extend(&self, prefix: PrefixKey, tokens: &[u32; PAGE_LENGTH]) -> PrefixKey {
        let mut key = prefix.0;
        for word in key.as_chunks_mut().0 {
            let value = tokens.iter().fold(u64::from_le_bytes(*word), |hash, &token| mix(hash, u64::from(token) + 1));
            *word = value.to_le_bytes();
        }
        PrefixKey(key)
    }

    fn contains(&self, key: PrefixKey, _: usize) -> bool {
        self.pages.lock().unwrap().contains_key(&key)
    }

    fn load(&mut self, key: PrefixKey, _: usize, page: &mut [u8]) -> bool {
        let pages = self.pages.lock().unwrap();
        let found = pages.get(&key).inspect(|kept| page.copy_from_slice(kept));
        self.loads.fetch_add(usize::from(found.is_some()), Ordering::Relaxed);
        found.is_some()
    }

    fn has_room(&self) -> bool {
        true
    }

    fn keep(&mut self, key: PrefixKey, _: usize, page: &[u8]) {
        if self.lost_one_in == 0 || !u64::from(key.0[0]).is_multiple_of(self.lost_one_in) {
            self.pages.lock().unwrap().insert(key, page.to_owned());
        }
    }
}

/// The logits after `tokens`, without pages.
pub fn logits_after(tokens: &[u32], has_state: bool) -> Vec<f32> {
    let mut context = tokens.iter().enumerate().map(|(position, &token)| stored(token, position)).fold(0, mix);
    if has_state {
        context = mix(context, tokens.iter().map(|&token| u64::from(token)).fold(0, mix));
    }
    let mut logits = vec![0.0; VOCABULARY_SIZE];
    fill_logits(context, tokens[tokens.len() - 1], &mut logits);
    logits
}

/// What a request gives by itself. Its sampling must have a seed.
pub fn alone(request: &Request, has_state: bool, length_max: usize) -> (Vec<u32>, FinishReason) {
    alone_from(request, &[], has_state, length_max)
}

/// The same when the first tokens have been generated already; they are part of the result.
pub fn alone_from(
    request: &Request,
    generated: &[u32],
    has_state: bool,
    length_max: usize,
) -> (Vec<u32>, FinishReason) {
    let mut tokens = [&request.tokens, generated].concat();
    let mut sampler = Sampler::new(VOCABULARY_SIZE);
    let prompt_length = request.tokens.len();
    loop {
        let generated = tokens.len() - prompt_length;
        let reason = if Some(generated) == request.max_tokens {
            Some(FinishReason::MaxTokens)
        } else if tokens.len() == length_max {
            Some(FinishReason::ContextFull)
        } else {
            let mut logits = logits_after(&tokens, has_state);
            let draws = Draws::new(request.sampling.seed.unwrap_or_default(), generated as u64);
            let token = sampler.sample(&mut logits, &request.sampling, &tokens, draws).expect("the logits are finite");
            let is_last = request.stop_tokens.contains(&token);
            if !is_last {
                tokens.push(token);
            }
            is_last.then_some(FinishReason::Stop { token })
        };
        if let Some(reason) = reason {
            return (tokens.split_off(prompt_length), reason);
        }
    }
}

pub fn engine(page_count: usize, state_slot_count: usize, options: EngineOptions) -> Engine<FakeRunner> {
    Engine::new(FakeRunner::new(page_count, state_slot_count), options).expect("the options are valid")
}

/// Steps until nothing is left to do; asserts integrity after each step.
pub fn run(engine: &mut Engine<FakeRunner>) -> Vec<Event> {
    let mut events = Vec::new();
    let mut steps = 0;
    while !engine.is_idle() {
        engine.step(&mut events);
        engine.check_integrity();
        steps += 1;
        assert!(steps < 100_000, "the engine does not come to an end");
    }
    events
}

/// The tokens that were delivered for a sequence.
pub fn tokens_of(events: &[Event], wanted: SequenceId) -> Vec<u32> {
    let token = |event: &Event| match event {
        Event::Token { id, token, .. } if *id == wanted => Some(*token),
        _ => None,
    };
    events.iter().filter_map(token).collect()
}

/// How a sequence ended.
pub fn end_of(events: &[Event], wanted: SequenceId) -> &Event {
    let mut ends = events.iter().filter(|event| event.is_last() && event.id() == wanted);
    let end = ends.next().expect("the sequence ended");
    assert!(ends.next().is_none(), "the sequence ended twice");
    end
}
