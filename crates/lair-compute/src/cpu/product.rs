//! Matrix products over panels: what one worker does with one panel, and how panels are dealt to workers.

use std::ops::Range;

use lair_simd::Isa;

use super::Cpu;
use super::brain_kernel::BrainRoom;
use super::floats::{Widened, brain_kind, multiply_brain_panels, multiply_panels};
use super::kernel::{STRIP_MAX, direct_tokens_max, multiply, multiply_direct, multiply_two};
use super::matrix::{Matrix, Weights};
use super::memory::Parts;
use super::numbers::{Columns, multiply_numbers};
use super::packed::{BLOCK, PANEL, Packed};
use super::panel::{CHUNK, Chunk, prefetch_far};
use super::pool::Pool;
use super::quantise::{InputForm, QuantisedBlock};
use crate::Linear;

/// Tokens whose sums are kept at a time. Their activations (64 bytes for 32 elements) stay in the second-level cache
/// while a panel after the other passes by.
pub(super) const TOKENS_MAX: usize = 256;

/// Panels that are multiplied at a time: what is read of an activation serves all of them.
pub(super) const PANELS_MAX: usize = 2;

/// Panels whose sums are kept until something is done with them, where tokens are few.
const PANELS_A_RUN: usize = 64;
const _: () = assert!(PANELS_A_RUN * STRIP_MAX <= 2 * TOKENS_MAX);

/// Sums of a panel: `[token, row]`, or `[token, 2, row]` where a token is two rows of bytes.
pub(super) type Sums = [[f32; PANEL]; 2 * TOKENS_MAX];

/// At the beginning of a cache line, so that no vector lies in two.
#[repr(C, align(64))]
pub(super) struct Aligned<T>(T);

impl<T> std::ops::Deref for Aligned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> std::ops::DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// What a worker needs for itself.
pub(super) struct WorkerScratch {
    pub(super) chunks: Box<[Chunk; PANELS_MAX]>,
    /// Two panels at a time: neighbours, or gate and up.
    pub(super) sums: Box<Aligned<[Sums; PANELS_MAX]>>,
    /// Two panels side by side: what becomes one block of each token.
    pub(super) column: Box<Aligned<[[f32; BLOCK]; TOKENS_MAX]>>,
    /// Weights as numbers, where activations stay numbers.
    columns: Box<Aligned<Columns>>,
    /// Plain weights of 16 bits as f32.
    widened: Box<Aligned<Widened>>,
    /// Weights of 16 bits in pairs of columns.
    pairs: Box<Aligned<BrainRoom>>,
    pub(super) attention: super::attention::Tile,
}

impl WorkerScratch {
    pub(super) fn new() -> WorkerScratch {
        WorkerScratch {
            chunks: Box::new([const { Chunk::new() }; PANELS_MAX]),
            sums: Box::new(Aligned([[[0.0; PANEL]; 2 * TOKENS_MAX]; PANELS_MAX])),
            column: Box::new(Aligned([[0.0; BLOCK]; TOKENS_MAX])),
            columns: Box::new(Aligned([[0.0; PANEL]; CHUNK])),
            widened: Box::new(Aligned([[0.0; PANEL]; _])),
            pairs: Box::new(Aligned(BrainRoom::new())),
            attention: super::attention::Tile::default(),
        }
    }

    /// Products of one or two panels with the given rows of `input`, into `sums[0]` and `sums[1]`.
    pub(super) fn multiply(&mut self, isa: Isa, panels: &[PanelOf<'_>], input: &Input<'_>, rows: &[u32]) {
        // What a matrix is multiplied with does not depend on which others share its input.
        let taken = |panel: &PanelOf<'_>| match panel.matrix.form() {
            form @ (InputForm::Bytes | InputForm::Words) if input.form == InputForm::Words => form,
            _ => InputForm::Numbers,
        };
        match panels {
            [a, b] if taken(a) != taken(b) => {
                self.multiply(isa, &[*b], input, rows);
                self.sums.swap(0, 1);
                self.multiply(isa, &[*a], input, rows);
            }
            [a, ..] if taken(a) == InputForm::Words => self.multiply_words(isa, panels, input, rows),
            [a, ..] if taken(a) == InputForm::Bytes => {
                let mut coarse = [0; TOKENS_MAX];
                coarse.iter_mut().zip(rows).for_each(|(coarse, row)| *coarse = 2 * row);
                self.multiply_rows(isa, panels, input, &coarse[..rows.len()]);
            }
            _ => self.multiply_rows(isa, panels, input, rows),
        }
    }

    /// Both rows of bytes of each token as if they were tokens, and their sums added.
    fn multiply_words(&mut self, isa: Isa, panels: &[PanelOf<'_>], input: &Input<'_>, rows: &[u32]) {
        let mut both = [0; 2 * TOKENS_MAX];
        both.as_chunks_mut().0.iter_mut().zip(rows).for_each(|(both, row)| *both = [2 * row, 2 * row + 1]);
        self.multiply_rows(isa, panels, input, &both[..2 * rows.len()]);
        for sums in &mut self.sums[..panels.len()] {
            for token in 0..rows.len() {
                sums[token] = std::array::from_fn(|row| sums[2 * token][row] + sums[2 * token + 1][row]);
            }
        }
    }

    /// One row of bytes, or numbers, for each of `rows`.
    fn multiply_rows(&mut self, isa: Isa, panels: &[PanelOf<'_>], input: &Input<'_>, rows: &[u32]) {
        assert!((1..=PANELS_MAX).contains(&panels.len()));
        self.sums[..panels.len()].iter_mut().for_each(|sums| sums[..rows.len()].fill([0.0; PANEL]));
        if let [a, b] = panels
            && let (Weights::Packed(first), Weights::Packed(second)) = (&*a.matrix.weights, &*b.matrix.weights)
            && first.layout.multiplies_like(&second.layout)
            && first.columns == second.columns
            && a.matrix.form() != InputForm::Numbers
            && b.matrix.form() != InputForm::Numbers
            && rows.len() > direct_tokens_max(isa, &first.layout)
        {
            let [one, two] = &mut **self.sums;
            let parts = [(first, first.panel(a.index, a.panel)), (second, second.panel(b.index, b.panel))];
            multiply_two_expanded(isa, parts, &mut self.chunks, input, rows, [one, two]);
            return;
        }
        let token = |t: usize| input.row(rows[t] as usize);
        let brains = |t: usize| input.row_blocks(rows[t] as usize);
        if let [a, b] = panels
            && let (Weights::Floats(first), Weights::Floats(second)) = (&*a.matrix.weights, &*b.matrix.weights)
        {
            let sums = self.sums.each_mut().map(|sums| &mut sums[..rows.len()]);
            let panels = [first.panel(a.index, a.panel), second.panel(b.index, b.panel)];
            if let (true, Some(kind)) = (are_brains(&[*a, *b], input), brain_kind(&panels)) {
                return multiply_brain_panels(kind, panels, &brains, &mut self.pairs, sums);
            }
            if !are_brains(&[*a], input) && !are_brains(&[*b], input) {
                return multiply_panels(isa, panels, &token, &mut self.widened, sums);
            }
        }
        for (panel, sums) in panels.iter().zip(&mut **self.sums) {
            let sums = &mut sums[..rows.len()];
            match &*panel.matrix.weights {
                Weights::Floats(floats) => {
                    let one = [floats.panel(panel.index, panel.panel)];
                    if let (true, Some(kind)) = (are_brains(std::slice::from_ref(panel), input), brain_kind(&one)) {
                        multiply_brain_panels(kind, one, &brains, &mut self.pairs, [sums]);
                        continue;
                    }
                    multiply_panels(isa, [floats.panel(panel.index, panel.panel)], &token, &mut self.widened, [sums]);
                }
                Weights::Packed(packed) => {
                    let bytes = packed.panel(panel.index, panel.panel);
                    if panel.matrix.form() == InputForm::Numbers {
                        let room = (&mut self.chunks[0], &mut **self.columns);
                        multiply_numbers(isa, packed, bytes, room, &token, sums);
                    } else if rows.len() <= direct_tokens_max(isa, &packed.layout) {
                        // Strips after the first find the panel in a near cache.
                        for (rows, sums) in rows.chunks(STRIP_MAX).zip(sums.chunks_mut(STRIP_MAX)) {
                            let tokens = &strip_of(input, rows, 0)[..rows.len()];
                            let (layout, room) = (&packed.layout, &mut self.chunks[0]);
                            multiply_direct(isa, layout, bytes, packed.columns, room, tokens, sums);
                        }
                    } else {
                        multiply_expanded(isa, packed, bytes, &mut self.chunks[0], input, rows, sums);
                    }
                }
            }
        }
    }
}

impl WorkerScratch {
    /// Products of the panels of `pair` (two neighbours, or the last one alone) of a matrix with the given rows of
    /// `input`: calls `take(which of rows, first column, values)` for each of `rows` and panel.
    pub(super) fn multiply_pair(
        &mut self,
        isa: Isa,
        product: &Product<'_>,
        pair: usize,
        (input, rows): (&Input<'_>, &[u32]),
        mut take: impl FnMut(usize, usize, &[f32]),
    ) {
        let Product { matrix, index, finish } = *product;
        let first = pair * PANELS_MAX;
        let panels = [first, first + 1].map(|panel| PanelOf { matrix, index, panel });
        let count = PANELS_MAX.min(matrix.panels() - first);
        self.multiply(isa, &panels[..count], input, rows);
        for (panel, sums) in panels[..count].iter().zip(&mut **self.sums) {
            let sums = &mut sums[..rows.len()];
            finish.apply(panel.panel, sums);
            let column = panel.panel * PANEL;
            let width = PANEL.min(matrix.rows() - column);
            for (row, sums) in sums.iter().enumerate() {
                // The compiler sees the length of the first call: sums are copied in one instruction.
                if width == PANEL { take(row, column, &sums[..]) } else { take(row, column, &sums[..width]) }
            }
        }
    }
}

impl WorkerScratch {
    /// [`WorkerScratch::multiply_pair`] for neighbouring pairs, from the first to the last.
    ///
    /// Where codes come straight from memory, nothing stands between one panel and the next: what is done with sums waits until
    /// there are many. With some hundred other instructions after each panel the processor no longer asks for the next panel's
    /// codes while it finishes one, and reads a quarter less a second (bench/results/2026-11-22-panels-in-runs.md).
    pub(super) fn multiply_pairs(
        &mut self,
        isa: Isa,
        product: &Product<'_>,
        pairs: Range<usize>,
        (input, rows): (&Input<'_>, &[u32]),
        mut take: impl FnMut(usize, usize, &[f32]),
    ) {
        let Product { matrix, index, finish } = *product;
        let packed = match &*matrix.weights {
            Weights::Packed(packed)
                if rows.len() <= STRIP_MAX.min(direct_tokens_max(isa, &packed.layout))
                    && (matrix.form(), input.form) == (InputForm::Bytes, InputForm::Bytes) =>
            {
                packed
            }
            _ => {
                pairs.for_each(|pair| self.multiply_pair(isa, product, pair, (input, rows), &mut take));
                return;
            }
        };
        let tokens = &strip_of(input, rows, 0)[..rows.len()];
        let panels = pairs.start * PANELS_MAX..(pairs.end * PANELS_MAX).min(matrix.panels());
        let sums = &mut self.sums[0];
        for first in panels.clone().step_by(PANELS_A_RUN) {
            let run = first..(first + PANELS_A_RUN).min(panels.end);
            let sums = &mut sums[..run.len() * rows.len()];
            sums.fill([0.0; PANEL]);
            let (bytes, room) = (packed.panels(index, run.clone()), &mut self.chunks[0]);
            multiply_direct(isa, &packed.layout, bytes, packed.columns, room, tokens, sums);
            for (panel, sums) in run.zip(sums.chunks_exact_mut(rows.len())) {
                finish.apply(panel, sums);
                let column = panel * PANEL;
                let width = PANEL.min(matrix.rows() - column);
                for (row, sums) in sums.iter().enumerate() {
                    if width == PANEL { take(row, column, &sums[..]) } else { take(row, column, &sums[..width]) }
                }
            }
        }
    }
}

/// A product with one matrix of a stack.
#[derive(Clone, Copy)]
pub(super) struct Product<'a> {
    pub(super) matrix: &'a Matrix,
    pub(super) index: usize,
    pub(super) finish: Finish<'a>,
}

impl<'a> Product<'a> {
    /// With matrix `index` of a stack.
    pub(super) fn of(linear: &'a Linear<Cpu>, index: usize) -> Product<'a> {
        let rows = linear.weight.rows();
        let bias = linear.bias.as_ref().map(|bias| &bias[index * rows..][..rows]);
        Product { matrix: &linear.weight, index, finish: Finish { scale: linear.scale, bias } }
    }

    /// Pairs of panels: items of work.
    pub(super) fn pairs(&self) -> usize {
        self.matrix.panels().div_ceil(PANELS_MAX)
    }
}

/// Whether these panels take BF16, and have it.
fn are_brains(panels: &[PanelOf<'_>], input: &Input<'_>) -> bool {
    input.form == InputForm::Brains && panels.iter().all(|panel| panel.matrix.form() == InputForm::Brains)
}

/// A panel of a matrix.
#[derive(Clone, Copy)]
pub(super) struct PanelOf<'a> {
    pub(super) matrix: &'a Matrix,
    /// Which matrix of the stack.
    pub(super) index: usize,
    pub(super) panel: usize,
}

/// Codes and scales of a panel.
type PanelBytes<'a> = (&'a [u8], &'a [u8]);

/// The activations of a strip from block `first` on.
fn strip_of<'a>(input: &Input<'a>, rows: &[u32], first: usize) -> [&'a [QuantisedBlock]; STRIP_MAX] {
    let mut tokens: [&[QuantisedBlock]; STRIP_MAX] = [&[]; STRIP_MAX];
    for (token, &row) in tokens.iter_mut().zip(rows) {
        *token = &input.row_blocks(row as usize)[first..];
    }
    tokens
}

/// Many tokens: a part of the panel is expanded once for all of them.
fn multiply_expanded(
    isa: Isa,
    packed: &Packed,
    bytes: PanelBytes<'_>,
    chunk: &mut Chunk,
    input: &Input<'_>,
    rows: &[u32],
    sums: &mut [[f32; PANEL]],
) {
    let block_count = packed.columns / BLOCK;
    for first in (0..block_count).step_by(CHUNK / BLOCK) {
        chunk.fill(isa, &packed.layout, bytes, (first, (CHUNK / BLOCK).min(block_count - first)));
        for (rows, sums) in rows.chunks(STRIP_MAX).zip(sums.chunks_mut(STRIP_MAX)) {
            multiply(isa, &packed.layout, chunk, &strip_of(input, rows, first)[..rows.len()], sums);
        }
    }
}

/// [`multiply_expanded`] for two panels that multiply alike.
fn multiply_two_expanded(
    isa: Isa,
    parts: [(&Packed, PanelBytes<'_>); 2],
    chunks: &mut [Chunk; 2],
    input: &Input<'_>,
    rows: &[u32],
    [one, two]: [&mut Sums; 2],
) {
    let (layout, block_count) = (&parts[0].0.layout, parts[0].0.columns / BLOCK);
    let mut tokens: [&[QuantisedBlock]; 2 * TOKENS_MAX] = [&[]; 2 * TOKENS_MAX];
    tokens.iter_mut().zip(rows).for_each(|(token, &row)| *token = input.row_blocks(row as usize));
    let [(_, (one_codes, _)), (_, (two_codes, _))] = parts;
    // Where the two are neighbours, the second one is not what comes after the first.
    let panels_on = if one_codes.as_ptr_range().end == two_codes.as_ptr() { 2 } else { 1 };
    for first in (0..block_count).step_by(CHUNK / BLOCK) {
        for (chunk, (packed, bytes)) in chunks.iter_mut().zip(parts) {
            chunk.fill(isa, &packed.layout, bytes, (first, (CHUNK / BLOCK).min(block_count - first)));
            let (codes, chunk_bytes) = (bytes.0, CHUNK / BLOCK * packed.layout.bits.block_bytes());
            let next = (first / (CHUNK / BLOCK) + 1) * chunk_bytes;
            let next = if next < codes.len() { next } else { panels_on * codes.len() };
            prefetch_far(codes.as_ptr().wrapping_add(next), chunk_bytes);
        }
        let sums = [&mut one[..rows.len()], &mut two[..rows.len()]];
        multiply_two(isa, layout, chunks, (&tokens[..rows.len()], first), sums);
    }
}

/// The activations that a product reads: as f32, and as integers if a matrix asks for them.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    /// `[rows, width]`.
    pub(super) values: &'a [f32],
    pub(super) width: usize,
    /// `[rows, block rows, stride]`, of which `width / 32` are there: the same in this form; empty if no product needs it.
    pub(super) blocks: &'a [QuantisedBlock],
    /// Blocks from one row of blocks to the next.
    pub(super) stride: usize,
    /// What the blocks are.
    pub(super) form: InputForm,
}

impl<'a> Input<'a> {
    fn row(&self, row: usize) -> &'a [f32] {
        &self.values[row * self.width..][..self.width]
    }

    /// Row `row` of all rows of bytes.
    fn row_blocks(&self, row: usize) -> &'a [QuantisedBlock] {
        &self.blocks[row * self.stride..][..self.width / BLOCK]
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

/// A run of items as parts of blocks of `length` items each: which block, and which of its items.
pub(super) fn parts_of_blocks(run: Range<usize>, length: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
    let mut next = run.start;
    std::iter::from_fn(move || {
        (next < run.end).then(|| {
            let (block, first) = (next / length, next % length);
            let part = first..(first + run.end - next).min(length);
            next += part.len();
            (block, part)
        })
    })
}

/// Calls `job(scratch, item)` for every item below `count`, on all workers.
pub(super) fn for_each_item(
    pool: &Pool,
    workers: &mut [WorkerScratch],
    count: usize,
    job: &(dyn Fn(&mut WorkerScratch, usize) + Sync),
) {
    for_each_run(pool, workers, count, &|scratch, run| run.for_each(|item| job(scratch, item)));
}

/// Calls `job(scratch, run)` for runs of items that make up all below `count`, on all workers.
#[allow(unsafe_code)] // Each worker takes its own scratch.
pub(super) fn for_each_run(
    pool: &Pool,
    workers: &mut [WorkerScratch],
    count: usize,
    job: &(dyn Fn(&mut WorkerScratch, Range<usize>) + Sync),
) {
    assert_eq!(workers.len(), pool.worker_count());
    let workers = Parts::new(workers);
    pool.split(count, &|worker, run| {
        // SAFETY: no two threads are the same worker.
        job(unsafe { workers.element(worker) }, run);
    });
}
