//! Matrix products over panels: what one worker does with one panel, and how panels are dealt to workers.

use lair_simd::Isa;

use super::floats::{FLOAT_CHUNK, FloatChunk};
use super::kernel::{STRIP_MAX, multiply};
use super::matrix::{Matrix, Weights};
use super::memory::Parts;
use super::packed::{BLOCK, PANEL};
use super::panel::{CHUNK, Chunk};
use super::pool::Pool;
use super::quantise::QuantisedBlock;

/// Tokens whose sums are kept at a time. Their activations (64 bytes for 32 elements) stay in the second-level cache
/// while a panel after the other passes by.
pub(super) const TOKENS_MAX: usize = 128;

/// Sums of a panel: `[token, row]`.
pub(super) type Sums = [[f32; PANEL]; TOKENS_MAX];

/// What a worker needs for itself.
pub(super) struct WorkerScratch {
    pub(super) chunk: Box<Chunk>,
    float_chunk: Box<FloatChunk>,
    /// Two products at a time: gate and up.
    pub(super) sums: Box<[Sums; 2]>,
    pub(super) attention: super::attention::Tile,
}

impl WorkerScratch {
    pub(super) fn new() -> WorkerScratch {
        WorkerScratch {
            chunk: Box::new(Chunk::new()),
            float_chunk: Box::new([[0.0; PANEL]; FLOAT_CHUNK]),
            sums: Box::new([[[0.0; PANEL]; TOKENS_MAX]; 2]),
            attention: super::attention::Tile::default(),
        }
    }

    /// Products of `panel` of matrix `index` with the given rows of `input`, into `sums[which]`.
    pub(super) fn multiply(
        &mut self,
        isa: Isa,
        matrix: &Matrix,
        (index, panel): (usize, usize),
        input: &Input<'_>,
        rows: &[u32],
        which: usize,
    ) {
        let sums = &mut self.sums[which][..rows.len()];
        sums.fill([0.0; PANEL]);
        match &matrix.weights {
            Weights::Floats(floats) => {
                let token = |t: usize| input.row(rows[t] as usize);
                floats.multiply(isa, index * floats.panels + panel, &token, &mut self.float_chunk, sums);
            }
            Weights::Packed(packed) => {
                let bytes = packed.panel(index, panel);
                let block_count = packed.columns / BLOCK;
                for first in (0..block_count).step_by(CHUNK / BLOCK) {
                    let count = (CHUNK / BLOCK).min(block_count - first);
                    self.chunk.fill(isa, &packed.layout, bytes, (first, count));
                    for (rows, sums) in rows.chunks(STRIP_MAX).zip(sums.chunks_mut(STRIP_MAX)) {
                        let mut tokens: [&[QuantisedBlock]; STRIP_MAX] = [&[]; STRIP_MAX];
                        for (token, &row) in tokens.iter_mut().zip(rows) {
                            *token = &input.row_blocks(row as usize)[first..];
                        }
                        multiply(isa, &packed.layout, &self.chunk, &tokens[..rows.len()], sums);
                    }
                }
            }
        }
    }
}

/// The activations that a product reads: as f32, and as integers if a matrix asks for them.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    /// `[rows, width]`.
    pub(super) values: &'a [f32],
    pub(super) width: usize,
    /// `[rows, width / 32]`; empty if no product needs them.
    pub(super) blocks: &'a [QuantisedBlock],
}

impl<'a> Input<'a> {
    fn row(&self, row: usize) -> &'a [f32] {
        &self.values[row * self.width..][..self.width]
    }

    fn row_blocks(&self, row: usize) -> &'a [QuantisedBlock] {
        let count = self.width / BLOCK;
        &self.blocks[row * count..][..count]
    }
}

/// A matrix product's constant factor and bias.
#[derive(Clone, Copy)]
pub(super) struct Finish<'a> {
    pub(super) scale: f32,
    /// One element for each row of the matrix.
    pub(super) bias: Option<&'a [f32]>,
}

impl Finish<'_> {
    /// `scale * sum + bias` for the rows of a panel.
    #[inline]
    pub(super) fn apply(&self, panel: usize, sums: &mut [[f32; PANEL]]) {
        if self.scale != 1.0 {
            sums.as_flattened_mut().iter_mut().for_each(|sum| *sum *= self.scale);
        }
        if let Some(bias) = self.bias {
            let bias = &bias[panel * PANEL..];
            for sums in sums {
                sums.iter_mut().zip(bias).for_each(|(sum, bias)| *sum += bias);
            }
        }
    }
}

/// Calls `job(scratch, item)` for every item below `count`, on all workers.
#[allow(unsafe_code)] // Each worker takes its own scratch.
pub(super) fn for_each_item(
    pool: &Pool,
    workers: &mut [WorkerScratch],
    count: usize,
    job: &(dyn Fn(&mut WorkerScratch, usize) + Sync),
) {
    assert_eq!(workers.len(), pool.worker_count());
    let workers = Parts::new(workers);
    pool.split(count, &|worker, range| {
        // SAFETY: no two threads are the same worker.
        let scratch = unsafe { workers.element(worker) };
        range.for_each(|item| job(scratch, item));
    });
}
