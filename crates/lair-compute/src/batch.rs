//! A step's batch: rows of tokens of many sequences, each with its own pages and state.

/// Token positions that one page of keys and values holds.
pub const PAGE_LENGTH: usize = 16;

/// Index of a page: [`PAGE_LENGTH`] positions of keys and values on every attention layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PageId(pub u32);

/// Index of a slot of recurrent state: the state of one sequence on every recurrent layer, or a checkpoint of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateSlot(pub u32);

/// The rows of one sequence in a batch: consecutive tokens at consecutive positions.
#[derive(Clone, Debug)]
pub struct SequenceRows<'a> {
    /// First row in the batch.
    pub first_row: usize,
    /// How many rows; at least 1.
    pub row_count: usize,
    /// Position of the first row's token in its sequence.
    pub first_position: usize,
    /// Page `i` holds positions `i * PAGE_LENGTH ..`; it covers every position up to the last row's.
    pub page_table: &'a [PageId],
    /// Where the sequence's recurrent state lies; `None` in a model without recurrent layers.
    pub state_slot: Option<StateSlot>,
    /// The factor on what each of the model's low-rank adapters adds; empty uses none of them.
    pub adapter_scales: &'a [f32],
}

/// What one step computes. Rows of one sequence are adjacent, sequences follow each other without a gap.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    /// Token of each row.
    pub tokens: &'a [u32],
    /// The sequences, in the order of their rows.
    pub sequences: &'a [SequenceRows<'a>],
}

impl Batch<'_> {
    /// Rows in the batch.
    pub fn row_count(&self) -> usize {
        self.tokens.len()
    }

    /// The position of every row's token, row by row.
    pub fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        self.sequences.iter().flat_map(|rows| rows.first_position..rows.first_position + rows.row_count)
    }

    /// Asserts what every backend relies on: rows without gap or overlap, page tables that cover them.
    ///
    /// # Panics
    /// If the batch was built wrongly, which is a bug of the engine.
    pub fn assert_consistent(&self) {
        let mut next_row = 0;
        for rows in self.sequences {
            assert!(rows.row_count > 0, "a sequence without rows stands in the batch");
            assert_eq!(rows.first_row, next_row, "rows of a batch have a gap or overlap");
            next_row += rows.row_count;
        }
        assert_eq!(next_row, self.tokens.len(), "rows and tokens of a batch differ in number");
    }
}
