//! Requests for embeddings: which inputs are computed in a step, and what becomes of their hidden states.

use std::collections::VecDeque;
use std::sync::Arc;

use lair_compute::{Batch, PageId, SequenceRows, StateSlot};
use lair_model::Pooling;

use super::pooler::Pooler;
use super::{EmbedRequest, Embedded, EmbeddingShape, Outcome};
use crate::sequence::{Sequence, pages_for};
use crate::{Engine, Refusal, Runner, SequenceError, SequenceId, step::borrow_for_step};

/// Rows of a step that several inputs share: more make it no faster, and others wait for its end. An input that is longer
/// and has to be computed in one step has a step of its own.
const SHARED_ROWS_MAX: usize = 512;

/// All requests for embeddings that have not ended.
#[derive(Default)]
pub(crate) struct EmbeddingQueue {
    /// The next one to give an input stands first; one that has given goes to the end.
    jobs: VecDeque<Job>,
    /// Inputs that are computed now, in the order they were taken up.
    running: Vec<Running>,
    /// `[rows, hidden_size]`; grows with the first embeddings, since most models never make one.
    states: Vec<f32>,
    /// Whether an input waits for pages or for a slot: then no new sequence is taken up, or it might wait for ever.
    awaits_room: bool,
    /// Of a model with recurrent layers, whether inputs were taken up since sequences were computed last.
    had_turn: bool,
}

struct Job {
    id: SequenceId,
    pooling: Pooling,
    adapter_scales: Arc<[f32]>,
    /// Emptied as they are taken up.
    inputs: Vec<Vec<u32>>,
    /// Indices of the inputs that are still to be taken up.
    pending: VecDeque<usize>,
    open_count: usize,
    result: Embedded,
}

struct Running {
    job: SequenceId,
    input: usize,
    tokens: Vec<u32>,
    computed: usize,
    /// Rows in this step.
    rows: usize,
    page_table: Vec<PageId>,
    state_slot: Option<StateSlot>,
    adapter_scales: Arc<[f32]>,
    pooler: Pooler,
}

impl EmbeddingQueue {
    pub(crate) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether sequences that wait have to go on waiting: an input waits for room, or holds a slot that was kept for
    /// one of them.
    pub(crate) fn blocks_admission(&self) -> bool {
        self.awaits_room || self.running.iter().any(|running| running.state_slot.is_some())
    }

    /// Pages and slots that are held, for the check that all are accounted for.
    pub(crate) fn held(&self) -> (impl Iterator<Item = PageId>, impl Iterator<Item = StateSlot>) {
        let pages = self.running.iter().flat_map(|running| running.page_table.iter().copied());
        (pages, self.running.iter().filter_map(|running| running.state_slot))
    }

    fn job(&mut self, id: SequenceId) -> &mut Job {
        self.jobs.iter_mut().find(|job| job.id == id).expect("an input that is computed belongs to a request")
    }
}

impl<R: Runner> Engine<R> {
    /// Takes a request for embeddings, or says why not. It is computed by the steps to come, which give what came of it
    /// to [`Engine::take_embedded`].
    pub fn submit_embedding(&mut self, request: EmbedRequest) -> Result<SequenceId, Refusal> {
        self.check_room()?;
        request.check(&self.limits)?;
        let shape = self.limits.embedding.expect("the request was checked");
        let id = self.name();
        let EmbedRequest { inputs, pooling, adapter_scales } = request;
        let token_count = inputs.iter().map(Vec::len).sum();
        let result = Embedded { vectors: vec![Vec::new(); inputs.len()], width: shape.width(pooling), token_count };
        let (pending, open_count) = ((0..inputs.len()).collect(), inputs.len());
        self.embeddings.jobs.push_back(Job {
            id,
            pooling,
            adapter_scales: adapter_scales.into(),
            inputs,
            pending,
            open_count,
            result,
        });
        Ok(id)
    }

    /// The requests for embeddings that ended since this was asked last.
    pub fn take_embedded(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.embedded)
    }

    /// Ends a request for embeddings. Returns whether it was there.
    pub(crate) fn cancel_embedding(&mut self, id: SequenceId) -> bool {
        let Some(place) = self.embeddings.jobs.iter().position(|job| job.id == id) else { return false };
        self.embeddings.jobs.remove(place);
        let (gone, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.embeddings.running).into_iter().partition(|running| running.job == id);
        self.embeddings.running = kept;
        gone.into_iter().for_each(|running| self.free_running(running));
        self.embeddings.awaits_room &= !self.embeddings.is_empty();
        true
    }

    /// One step of embeddings, if any are asked for.
    pub(crate) fn embed(&mut self) {
        let Some(shape) = self.limits.embedding.filter(|_| !self.embeddings.is_empty()) else { return };
        // As with prompts, the next token of others does not wait for long.
        let rows_max = match self.active.is_empty() {
            true => SHARED_ROWS_MAX,
            false => self.options.prefill_rows_while_decoding.min(SHARED_ROWS_MAX),
        };
        let rows_max = rows_max.min(self.options.rows_max);
        self.take_up_inputs(&shape, rows_max);
        self.compute_states(&shape, rows_max);
        self.finish_inputs(&shape);
    }

    /// Takes up inputs in turn over the requests while rows, pages and slots last.
    fn take_up_inputs(&mut self, shape: &EmbeddingShape, rows_max: usize) {
        self.embeddings.awaits_room = false;
        if self.states.is_used() && !self.has_turn_of_slots() {
            return;
        }
        let pending = |running: &Running| running.tokens.len() - running.computed;
        let mut rows_left = rows_max.saturating_sub(self.embeddings.running.iter().map(pending).sum());
        while rows_left > 0 {
            let has_inputs = |job: &Job| !job.pending.is_empty();
            let Some(place) = self.embeddings.jobs.iter().position(has_inputs) else { return };
            let job = &self.embeddings.jobs[place];
            let length = job.inputs[job.pending[0]].len();
            if shape.needs_whole_sequences && length > rows_left && !self.embeddings.running.is_empty() {
                return;
            }
            if !self.has_room_for_input(length) {
                self.embeddings.awaits_room = true;
                return;
            }
            let mut job = self.embeddings.jobs.remove(place).expect("the place was found");
            let input = job.pending.pop_front().expect("it has inputs");
            let running = self.begin_input(&mut job, input, shape);
            self.embeddings.jobs.push_back(job);
            self.embeddings.running.push(running);
            rows_left = rows_left.saturating_sub(length);
        }
    }

    /// Slots are kept for sequences that generate, so of a model with recurrent layers inputs and sequences take turns:
    /// inputs while no sequence is computed, and then sequences that wait.
    fn has_turn_of_slots(&mut self) -> bool {
        let queue = &mut self.embeddings;
        if !self.active.is_empty() {
            queue.had_turn = false;
            queue.awaits_room = true;
            return false;
        }
        // What was taken up before may go on over several steps.
        let is_turn = !queue.had_turn || self.waiting.is_empty();
        queue.had_turn = true;
        is_turn
    }

    /// Whether pages suffice beside what the sequences that are computed still need for their tokens, and a slot is free.
    fn has_room_for_input(&self, length: usize) -> bool {
        if self.states.is_used() && self.embeddings.running.len() >= self.options.sequences_max {
            return false;
        }
        let promised: usize = self.active.iter().map(Sequence::pages_missing).sum();
        self.pool.available() >= promised + pages_for(length)
    }

    fn begin_input(&mut self, job: &mut Job, input: usize, shape: &EmbeddingShape) -> Running {
        let tokens = std::mem::take(&mut job.inputs[input]);
        let page_table = (0..pages_for(tokens.len())).map(|_| self.take_page()).collect();
        let state_slot = self.states.is_used().then(|| {
            let slot = self.states.take();
            self.runner.clear_state(slot);
            slot
        });
        let pooler = Pooler::new(row_pooling(job.pooling, shape), shape.hidden_size);
        Running {
            job: job.id,
            input,
            tokens,
            computed: 0,
            rows: 0,
            page_table,
            state_slot,
            adapter_scales: Arc::clone(&job.adapter_scales),
            pooler,
        }
    }

    /// Runs the step and pools its rows.
    fn compute_states(&mut self, shape: &EmbeddingShape, rows_max: usize) {
        if self.embeddings.running.is_empty() {
            return;
        }
        let room = &mut self.room;
        room.tokens.clear();
        let mut sequences = borrow_for_step(std::mem::take(&mut room.sequences));
        let mut rows_left = if shape.needs_whole_sequences { self.options.rows_max } else { rows_max };
        for running in &mut self.embeddings.running {
            running.rows = rows_left.min(running.tokens.len() - running.computed);
            rows_left -= running.rows;
        }
        for running in self.embeddings.running.iter().filter(|running| running.rows > 0) {
            let first_row = room.tokens.len();
            room.tokens.extend_from_slice(&running.tokens[running.computed..running.computed + running.rows]);
            sequences.push(SequenceRows {
                first_row,
                row_count: running.rows,
                first_position: running.computed,
                page_table: &running.page_table,
                state_slot: running.state_slot,
                adapter_scales: &running.adapter_scales,
            });
        }
        let length = room.tokens.len() * shape.hidden_size;
        if self.embeddings.states.len() < length {
            self.embeddings.states.resize(length, 0.0);
        }
        let states = &mut self.embeddings.states[..length];
        let batch = Batch { tokens: &room.tokens, sequences: &sequences };
        batch.assert_consistent();
        self.runner.hidden_states(&batch, states);
        self.counters.steps += 1;
        self.counters.rows += room.tokens.len() as u64;
        room.sequences = borrow_for_step(sequences);
        let mut rest = &*states;
        for running in self.embeddings.running.iter_mut().filter(|running| running.rows > 0) {
            let (rows, behind) = rest.split_at(running.rows * shape.hidden_size);
            running.pooler.add(rows);
            running.computed += running.rows;
            rest = behind;
        }
    }

    /// Frees the inputs that are computed, and ends the requests that have all of theirs.
    fn finish_inputs(&mut self, shape: &EmbeddingShape) {
        let (done, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.embeddings.running)
            .into_iter()
            .partition(|running| running.computed == running.tokens.len());
        self.embeddings.running = rest;
        for mut running in done {
            let (id, input) = (running.job, running.input);
            let pooler = std::mem::replace(&mut running.pooler, Pooler::new(Pooling::None, shape.hidden_size));
            self.free_running(running);
            if !self.embeddings.jobs.iter().any(|job| job.id == id) {
                // Another input of the request has failed it.
                continue;
            }
            let pooling = self.embeddings.job(id).pooling;
            let vector = match pooling {
                Pooling::None => pooler.finish(),
                Pooling::Rank => self.runner.scores(&pooler.finish()),
                Pooling::Mean | Pooling::First | Pooling::Last => self.runner.embedding(pooler.finish()),
            };
            let lost = self.runner.damage().map(|cause| SequenceError::WeightsLost { cause });
            let non_finite = || vector.iter().position(|value| !value.is_finite());
            if let Some(error) =
                lost.or_else(|| Some(SequenceError::NonFiniteEmbedding { input, place: non_finite()? }))
            {
                self.cancel_embedding(id);
                self.embedded.push((id, Err(error)));
                continue;
            }
            let job = self.embeddings.job(id);
            job.result.vectors[input] = vector;
            job.open_count -= 1;
            if job.open_count == 0 {
                let result = std::mem::take(&mut job.result);
                self.embeddings.jobs.retain(|job| job.id != id);
                self.embedded.push((id, Ok(result)));
            }
        }
    }

    /// Has the youngest input begin anew later, because sequences that generate need its pages. `false` if there is none.
    pub(crate) fn give_up_input(&mut self) -> bool {
        let Some(mut running) = self.embeddings.running.pop() else { return false };
        let job = self.embeddings.job(running.job);
        job.inputs[running.input] = std::mem::take(&mut running.tokens);
        job.pending.push_front(running.input);
        self.free_running(running);
        self.embeddings.awaits_room = true;
        true
    }

    fn free_running(&mut self, running: Running) {
        running.page_table.into_iter().for_each(|page| self.pool.release(page));
        if let Some(slot) = running.state_slot {
            self.states.release(slot);
        }
    }
}

/// What is kept of an input's rows.
fn row_pooling(pooling: Pooling, shape: &EmbeddingShape) -> Pooling {
    match pooling {
        Pooling::Rank => shape.classifier_pooling,
        other => other,
    }
}
