//! Slots of recurrent state: one for each sequence that is computed, the rest for checkpoints.
//!
//! Recurrent layers keep one state, not a page for each stretch of tokens, so a prefix can be taken up only where the
//! state was put aside: at the end of a page that has a checkpoint. Checkpoints are few; the one used longest ago goes.

use lair_compute::{PageId, StateSlot};

struct Checkpoint {
    slot: StateSlot,
    /// Of which published page.
    page: PageId,
    last_used: u64,
}

/// All slots. Empty for a model without recurrent layers.
pub(crate) struct StatePool {
    free: Vec<StateSlot>,
    checkpoints: Vec<Checkpoint>,
    checkpoints_max: usize,
    uses: u64,
    slot_count: usize,
}

impl StatePool {
    /// `sequences_max` slots are kept for sequences.
    pub(crate) fn new(slot_count: usize, sequences_max: usize) -> Self {
        let checkpoints_max = slot_count.saturating_sub(sequences_max);
        Self {
            free: (0..slot_count as u32).rev().map(StateSlot).collect(),
            checkpoints: Vec::with_capacity(checkpoints_max),
            checkpoints_max,
            uses: 0,
            slot_count,
        }
    }

    /// Whether the model has recurrent layers.
    pub(crate) fn is_used(&self) -> bool {
        self.slot_count > 0
    }

    /// Whether checkpoints can be taken at all.
    pub(crate) fn has_checkpoints(&self) -> bool {
        self.checkpoints_max > 0
    }

    pub(crate) fn checkpoint_count(&self) -> usize {
        self.checkpoints.len()
    }

    /// A slot for a sequence; there is always one, for no more sequences are computed than were reckoned with.
    pub(crate) fn take(&mut self) -> StateSlot {
        self.free.pop().expect("slots are kept for as many sequences as are computed")
    }

    pub(crate) fn release(&mut self, slot: StateSlot) {
        self.free.push(slot);
    }

    /// A slot for a new checkpoint of `page`, and the page whose checkpoint was lost for it.
    pub(crate) fn take_checkpoint(&mut self, page: PageId) -> (StateSlot, Option<PageId>) {
        debug_assert!(self.has_checkpoints());
        self.uses += 1;
        let last_used = self.uses;
        if self.checkpoints.len() < self.checkpoints_max {
            let slot = self.take();
            self.checkpoints.push(Checkpoint { slot, page, last_used });
            return (slot, None);
        }
        let oldest = self.checkpoints.iter_mut().min_by_key(|checkpoint| checkpoint.last_used);
        let oldest = oldest.expect("there is room for at least one checkpoint");
        let lost = std::mem::replace(&mut oldest.page, page);
        oldest.last_used = last_used;
        (oldest.slot, Some(lost))
    }

    /// Notes that a checkpoint was returned to.
    pub(crate) fn touch(&mut self, slot: StateSlot) {
        self.uses += 1;
        let checkpoint = self.checkpoints.iter_mut().find(|checkpoint| checkpoint.slot == slot);
        checkpoint.expect("a page names a checkpoint that is there").last_used = self.uses;
    }

    /// The page of a checkpoint was evicted.
    pub(crate) fn drop_checkpoint(&mut self, slot: StateSlot) {
        let place = self.checkpoints.iter().position(|checkpoint| checkpoint.slot == slot);
        self.checkpoints.swap_remove(place.expect("a page names a checkpoint that is there"));
        self.free.push(slot);
    }

    /// Asserts that every slot is in exactly one place; `of_pages` are the checkpoints that pages name.
    ///
    /// # Panics
    /// If not, which is a bug of the engine.
    pub(crate) fn check_integrity(&self, of_sequences: impl Iterator<Item = StateSlot>, mut of_pages: Vec<StateSlot>) {
        let mut named: Vec<StateSlot> = self.checkpoints.iter().map(|checkpoint| checkpoint.slot).collect();
        named.sort_unstable();
        of_pages.sort_unstable();
        assert_eq!(named, of_pages, "pages name other checkpoints than there are");
        let mut slots: Vec<StateSlot> = of_sequences.chain(of_pages).chain(self.free.iter().copied()).collect();
        slots.sort_unstable();
        assert!(slots.iter().copied().eq((0..self.slot_count as u32).map(StateSlot)), "a slot is lost or given twice");
    }
}
