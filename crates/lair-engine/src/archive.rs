//! Pages of finished prompts beyond memory: kept when a prompt was computed, taken back instead of computing it again.
//!
//! The engine knows neither files nor digests: a [`PageArchive`] names pages and keeps their bytes. Both ways go page by
//! page beside the steps. A page taken back is reading some 400 KB (SmolLM2-135M, 16 tokens in half precision) where
//! computing it takes 20 ms and more; reading stops after [`RESTORE_TIME_MAX`] of a step, so that a slow disk is not felt
//! by those who decode. What is missing or damaged is computed: an archive cannot fail.
//!
//! A model with recurrent layers goes on from pages only where its state was put aside, so the checkpoints of a prompt are
//! kept beside its pages, and pages are taken back up to one. The state is taken back last: until then the sequence is
//! not computed, and if a page was missing after all, it is where it was before.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use lair_compute::{PAGE_LENGTH, PageId};

use crate::{Engine, PrefixScope, Runner, sequence::Sequence};

/// Time of a step that may go into taking pages back.
const RESTORE_TIME_MAX: Duration = Duration::from_millis(50);
/// Bytes that are copied for the archive between two steps; a millisecond or so.
const KEPT_BYTES_A_STEP: usize = 8 << 20;
/// Pages that wait to be kept. They are not held: one that is evicted meanwhile is not kept.
const QUEUE_MAX: usize = 1 << 16;

/// Names a prefix: all tokens up to the end of a page, whose they are, and which model computes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PrefixKey(pub [u8; 32]);

/// Keeps pages outside of the engine's memory.
///
/// It is called on the engine's thread, so it must not wait for what it writes. The bytes of a page are
/// [`Runner::page_bytes`], and mean something to the same model, settings and program only: telling these apart is the
/// archive's task, as is handing out nothing but the very bytes that were kept.
pub trait PageArchive: Send {
    /// Tokens of the shortest prompt that is kept: a shorter one is computed again sooner than a disk is worn.
    fn kept_tokens_min(&self) -> usize {
        16 * PAGE_LENGTH
    }

    /// The key of no tokens.
    fn root(&self, scope: PrefixScope) -> PrefixKey;

    /// The key of a prefix and one more page.
    fn extend(&self, prefix: PrefixKey, tokens: &[u32; PAGE_LENGTH]) -> PrefixKey;

    /// Whether the page that ends this prefix was kept, as far as is known: it is not kept again, and is in use.
    fn contains(&self, key: PrefixKey, page_index: usize) -> bool;

    /// Reads the page that ends this prefix, the `page_index`th of it. `false` if it is not there or damaged.
    fn load(&mut self, key: PrefixKey, page_index: usize, page: &mut [u8]) -> bool;

    /// Whether [`PageArchive::keep`] takes a page now.
    fn has_room(&self) -> bool;

    /// Keeps the page that ends this prefix.
    fn keep(&mut self, key: PrefixKey, page_index: usize, page: &[u8]);

    /// The key of the recurrent state behind this prefix, which is kept like a page of its own size.
    fn state_key(&self, prefix: PrefixKey) -> PrefixKey {
        // No vocabulary has this token.
        self.extend(prefix, &[u32::MAX; PAGE_LENGTH])
    }
}

/// How far the pages of a model with recurrent layers are taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum StateRestore {
    /// Nobody has looked.
    #[default]
    Unknown,
    /// From so many pages to so many, behind which the state was kept.
    Until { begin: usize, end: usize },
    /// There is nothing to take back, or it was.
    Done,
}

/// An archive and what is on the way to it.
pub(crate) struct Archiving {
    archive: Box<dyn PageArchive>,
    /// Room for a page.
    page: Vec<u8>,
    /// Room for a recurrent state; empty for a model without.
    state: Vec<u8>,
    queue: VecDeque<Kept>,
}

/// A page that is to be kept, if it still is what it was.
struct Kept {
    page: PageId,
    /// Under which it was published.
    number: u64,
    key: PrefixKey,
    page_index: usize,
    /// The state that was put aside behind the page, not the page itself.
    is_state: bool,
}

impl<R: Runner> Engine<R> {
    /// Adds an archive of pages.
    pub fn with_archive(mut self, archive: Box<dyn PageArchive>) -> Self {
        let page = vec![0; self.runner.page_bytes()];
        let state = vec![0; self.runner.state_bytes()];
        self.archiving = Some(Archiving { archive, page, state, queue: VecDeque::new() });
        self
    }

    /// Whether pages wait to be kept.
    pub fn has_pages_to_keep(&self) -> bool {
        self.archiving.as_ref().is_some_and(|archiving| !archiving.queue.is_empty())
    }

    /// Hands pages of finished prompts to the archive, as many as it takes without waiting and as cost no time.
    pub fn keep_pages(&mut self) {
        let Some(Archiving { archive, page: bytes, state, queue }) = &mut self.archiving else { return };
        let mut pages_left = (KEPT_BYTES_A_STEP / bytes.len().max(1)).max(1);
        while pages_left > 0 && archive.has_room() {
            let Some(Kept { page, number, key, page_index, is_state }) = queue.pop_front() else { return };
            if self.pool.number(page) != Some(number) {
                continue;
            }
            if !is_state {
                self.runner.read_page(page, bytes);
                archive.keep(key, page_index, bytes);
            } else if let Some(checkpoint) = self.pool.checkpoint(page) {
                self.runner.read_state(checkpoint, state);
                archive.keep(key, page_index, state);
            }
            pages_left -= 1;
        }
    }

    /// Takes back pages of prompts that are behind: one of each, then more in order of arrival, while there is time. What
    /// can go on being taken back is not computed in this step.
    pub(crate) fn restore(&mut self) {
        if self.archiving.is_none() || !self.options.prefix_cache {
            return;
        }
        let start = Instant::now();
        for place in 0..self.active.len() {
            let mut is_found = self.restore_page(place);
            while is_found && start.elapsed() < RESTORE_TIME_MAX {
                is_found = self.restore_page(place);
            }
            self.active[place].is_restored = is_found && self.restores_more(place);
        }
    }

    /// Whether the archive may have the next page of a sequence, and there is room for it.
    fn restores_more(&self, place: usize) -> bool {
        let sequence = &self.active[place];
        let page_index = sequence.computed / PAGE_LENGTH;
        sequence.archive_miss.is_none()
            && sequence.pending() > 1
            && sequence.published == page_index
            && sequence.page_table.len() == page_index
            && page_index < sequence.reusable_length() / PAGE_LENGTH
            && self.pool.available() > 0
    }

    /// Takes back the next page of a sequence, if the archive has it.
    fn restore_page(&mut self, place: usize) -> bool {
        if !self.restores_more(place) {
            return false;
        }
        if self.states.is_used() && !self.has_state_to_restore(place) {
            return false;
        }
        let Some(Archiving { archive, page: bytes, .. }) = &mut self.archiving else { return false };
        let sequence = &mut self.active[place];
        let page_index = sequence.page_table.len();
        let key = sequence.extend_prefix(page_index + 1, &**archive);
        if !archive.load(key, page_index, bytes) {
            sequence.archive_miss = Some(page_index);
            self.give_up_restoring(place);
            return false;
        }
        let page = self.take_page();
        let Some(Archiving { page: bytes, .. }) = &self.archiving else { return false };
        self.runner.write_page(page, bytes);
        let sequence = &mut self.active[place];
        sequence.page_table.push(page);
        sequence.computed += PAGE_LENGTH;
        self.publish_full_pages(place);
        if self.states.is_used() && !self.restore_state(place) {
            return false;
        }
        let sequence = &mut self.active[place];
        sequence.usage.cached_tokens = sequence.usage.cached_tokens.max(sequence.computed.min(sequence.prompt_length));
        self.counters.restored_tokens += PAGE_LENGTH as u64;
        true
    }

    /// Whether a state was kept behind pages to come; looks for the last one.
    fn has_state_to_restore(&mut self, place: usize) -> bool {
        let Some(Archiving { archive, .. }) = &mut self.archiving else { return false };
        let sequence = &mut self.active[place];
        if sequence.state_restore == StateRestore::Unknown {
            let begin = sequence.page_table.len();
            let mut end = None;
            for page_count in begin + 1..=sequence.reusable_length() / PAGE_LENGTH {
                let key = sequence.extend_prefix(page_count, &**archive);
                if archive.contains(archive.state_key(key), page_count - 1) {
                    end = Some(page_count);
                }
            }
            sequence.state_restore = end.map_or(StateRestore::Done, |end| StateRestore::Until { begin, end });
        }
        matches!(sequence.state_restore, StateRestore::Until { .. })
    }

    /// Behind the last page that is taken back, takes back the state. `false` if that fails.
    fn restore_state(&mut self, place: usize) -> bool {
        let sequence = &mut self.active[place];
        let StateRestore::Until { end, .. } = sequence.state_restore else { return true };
        if sequence.page_table.len() < end {
            return true;
        }
        let (Some(Archiving { archive, state, .. }), Some(slot)) = (&mut self.archiving, sequence.state_slot) else {
            return false;
        };
        let key = sequence.extend_prefix(end, &**archive);
        if !archive.load(archive.state_key(key), end - 1, state) {
            sequence.archive_miss = Some(end - 1);
            self.give_up_restoring(place);
            return false;
        }
        self.runner.write_state(slot, state);
        sequence.state_restore = StateRestore::Done;
        self.put_state_aside(place);
        // The state was not there at places that were passed over.
        let sequence = &mut self.active[place];
        sequence.checkpoint_lengths.retain(|&length| length > sequence.computed);
        true
    }

    /// Lets go of pages whose state is not to be had; the sequence is computed from where it was before.
    fn give_up_restoring(&mut self, place: usize) {
        let sequence = &mut self.active[place];
        let StateRestore::Until { begin, .. } = sequence.state_restore else { return };
        sequence.state_restore = StateRestore::Done;
        for page in sequence.page_table.drain(begin..).rev() {
            self.pool.release(page);
        }
        sequence.computed = begin * PAGE_LENGTH;
        sequence.published = begin;
        sequence.usage.cached_tokens = sequence.usage.cached_tokens.min(sequence.computed);
    }

    /// Notes the pages of a prompt that was just computed whole, and the states that were put aside behind them.
    pub(crate) fn note_finished_prompt(&mut self, place: usize) {
        let Some(Archiving { archive, queue, .. }) = &mut self.archiving else { return };
        let sequence = &mut self.active[place];
        if sequence.is_kept || sequence.pending() > 0 {
            return;
        }
        sequence.is_kept = true;
        if sequence.prompt_length < archive.kept_tokens_min() {
            return;
        }
        sequence.prefix_key = None;
        let full_pages = &sequence.page_table[..sequence.prompt_length / PAGE_LENGTH];
        let page_count = match self.states.is_used() {
            false => full_pages.len(),
            // Pages behind the last state are of no use without one.
            true => {
                full_pages.iter().rposition(|&page| self.pool.checkpoint(page).is_some()).map_or(0, |last| last + 1)
            }
        };
        for page_index in 0..page_count {
            let key = sequence.extend_prefix(page_index + 1, &**archive);
            let page = sequence.page_table[page_index];
            let Some(number) = self.pool.number(page) else { continue };
            // Behind a page that could not be taken back others may be damaged too, which nobody has looked at.
            let is_doubtful = sequence.archive_miss.is_some_and(|miss| miss <= page_index);
            let mut note = |key: PrefixKey, is_state: bool| {
                let is_new = is_doubtful || !archive.contains(key, page_index);
                if is_new && queue.len() < QUEUE_MAX {
                    queue.push_back(Kept { page, number, key, page_index, is_state });
                }
            };
            note(key, false);
            if self.pool.checkpoint(page).is_some() {
                note(archive.state_key(key), true);
            }
        }
    }
}

impl Sequence {
    /// The key of the first `page_count` pages, made from the last one that was asked for.
    fn extend_prefix(&mut self, page_count: usize, archive: &dyn PageArchive) -> PrefixKey {
        let known = self.prefix_key.filter(|&(known, _)| known <= page_count);
        let (known, mut key) = known.unwrap_or_else(|| (0, archive.root(self.prefix_scope)));
        for tokens in self.tokens.as_chunks().0.iter().take(page_count).skip(known) {
            key = archive.extend(key, tokens);
        }
        self.prefix_key = Some((page_count, key));
        key
    }
}
