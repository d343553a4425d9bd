//! Activations as integers: blocks of 32 signed bytes with their scale and sums, one cache line each.
//!
//! One line of arithmetic: a product with 16 weight rows does 512 multiplications for each 64-byte block it reads.
//!
//! A byte leaves an error of up to half a step. As words, what is left is coded again, with a scale of its own: a row
//! is then two rows of bytes, whose products are added, and twice the arithmetic.

#![allow(unsafe_code)] // Blocks that hold numbers of another kind, and columns of them that several threads write.

use lair_simd::{Isa, LANES, Simd, vectorize};

use super::memory::{Parts, ROWS_AHEAD};
use super::panel::CHUNK_OFFSET;
use crate::MatrixRole;

/// Elements of a block.
pub(super) const BLOCK: usize = 32;
/// The largest code: symmetric, so that no product of the byte kernels overflows.
const CODE_MAX: f32 = 127.0;

/// What activations are multiplied as, where weights are quantised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ActivationType {
    /// Signed bytes, with a scale for every 32 of them.
    #[default]
    Bytes,
    /// Two signed bytes: what the first leaves over is coded again. About fifteen bits.
    Words,
    /// As they are: many times slower, and what the others are compared with.
    F32,
}

/// What activations are multiplied as, by what a product is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActivationTypes {
    /// By the head.
    pub head: ActivationType,
    /// By queries, keys and values of attention.
    pub attention_input: ActivationType,
    /// By all else.
    pub others: ActivationType,
}

/// Models narrower than this multiply words throughout. Measured on WikiText-2 (docs/decisions/0012-precision.md): bytes
/// cost 0.40 % of perplexity at a width of 576.
const WORDS_BELOW: usize = 1024;
/// Models narrower than this multiply words by queries, keys and values. Bytes throughout cost 0.12 % of perplexity at a
/// width of 1536, with these and the head as words 0.04 %.
const WORDS_OF_ATTENTION_BELOW: usize = 2048;

impl ActivationTypes {
    /// The same for all products.
    pub const fn all(activations: ActivationType) -> ActivationTypes {
        ActivationTypes { head: activations, attention_input: activations, others: activations }
    }

    /// What a model whose residual stream has this width needs: the narrower it is, the less do errors of single
    /// elements average out, and the less there is to multiply. Two fifths of the error of bytes come from the head,
    /// which costs least as words: of a prompt it has one row only.
    pub fn for_hidden_size(hidden_size: usize) -> ActivationTypes {
        let below = |limit| if hidden_size < limit { ActivationType::Words } else { ActivationType::Bytes };
        ActivationTypes {
            head: ActivationType::Words,
            attention_input: below(WORDS_OF_ATTENTION_BELOW),
            others: below(WORDS_BELOW),
        }
    }

    /// By the product of a matrix in this role.
    pub(super) fn of(self, role: MatrixRole) -> ActivationType {
        match role {
            MatrixRole::Head => self.head,
            MatrixRole::AttentionInput => self.attention_input,
        }
    }

    /// The greatest form that rows of a whole step are prepared in.
    pub(super) fn form(self) -> InputForm {
        self.attention_input.form().max(self.others.form())
    }
}

impl From<ActivationType> for ActivationTypes {
    fn from(activations: ActivationType) -> ActivationTypes {
        ActivationTypes::all(activations)
    }
}

impl ActivationType {
    /// The form in which quantised weights take them.
    pub(super) fn form(self) -> InputForm {
        match self {
            ActivationType::Bytes => InputForm::Bytes,
            ActivationType::Words => InputForm::Words,
            ActivationType::F32 => InputForm::Numbers,
        }
    }
}

/// What else than numbers a row of activations is prepared as. Products that share a row take the greatest of what each
/// asks for, and read the numbers themselves where that is not theirs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum InputForm {
    /// Nothing.
    #[default]
    Numbers,
    /// BF16, for weights of 16 bits.
    Brains,
    /// Signed bytes.
    Bytes,
    /// Two signed bytes.
    Words,
}

impl InputForm {
    /// Blocks that 32 elements become.
    pub(super) fn block_rows(self) -> usize {
        match self {
            InputForm::Numbers => 0,
            InputForm::Brains | InputForm::Bytes => 1,
            InputForm::Words => 2,
        }
    }

    /// Blocks for a row of this width and what is left free behind it.
    pub(super) fn blocks_a_row(self, width: usize) -> usize {
        self.block_rows() * block_stride(width)
    }

    /// Writes a row in this form into the blocks for it; the second row of words begins in the middle of them.
    pub(super) fn write(self, isa: Isa, values: &[f32], blocks: &mut [QuantisedBlock]) {
        let count = values.len() / BLOCK;
        match self {
            InputForm::Numbers => {}
            InputForm::Brains => round_row(isa, values, &mut blocks[..count]),
            InputForm::Bytes => quantise_row(isa, values, &mut blocks[..count]),
            InputForm::Words => {
                let (coarse, fine) = blocks.split_at_mut(blocks.len() / 2);
                quantise_parts(isa, values, &mut coarse[..count], &mut fine[..count]);
            }
        }
    }
}

impl InputForm {
    /// Writes one block of each of `rows`: block `column` of rows of `blocks_a_row` each. As bytes, or words.
    ///
    /// # Safety
    /// No other thread may use that column of these rows meanwhile.
    pub(super) unsafe fn write_column(
        self,
        isa: Isa,
        values: &[[f32; BLOCK]],
        (blocks, blocks_a_row): (&Parts<'_, QuantisedBlock>, usize),
        (rows, column): (&[u32], usize),
    ) {
        assert!(self >= InputForm::Bytes && values.len() == rows.len() && column < blocks_a_row);
        let fine = (self == InputForm::Words).then_some(blocks_a_row / 2);
        vectorize!(isa, write_column_with,
            values: &[[f32; BLOCK]] = values,
            blocks: &Parts<'_, QuantisedBlock> = blocks,
            rows: &[u32] = rows,
            place: (usize, usize) = (blocks_a_row, column),
            fine: Option<usize> = fine,
        );
    }
}

#[inline(always)]
fn write_column_with<S: Simd>(
    s: S,
    values: &[[f32; BLOCK]],
    blocks: &Parts<'_, QuantisedBlock>,
    rows: &[u32],
    (blocks_a_row, column): (usize, usize),
    fine: Option<usize>,
) {
    for (values, &row) in values.iter().zip(rows) {
        let place = row as usize * blocks_a_row + column;
        blocks.ask_for(place + ROWS_AHEAD * blocks_a_row);
        // SAFETY: the caller has this column of these rows to itself, and borrows one block at a time.
        let block = unsafe { blocks.element(place) };
        quantise_block(s, values, block);
        if let Some(fine) = fine {
            let rest = left_over(s, values, block);
            // SAFETY: as above; the second half of a row of words is not the first.
            quantise_block(s, &rest, unsafe { blocks.element(place + fine) });
        }
    }
}

/// Blocks from one row of blocks to the next: an odd number, each of them a line of the cache.
///
/// Lines a multiple of 4 KiB apart share the same eight or twelve places of a first-level cache. Rows of 2048 columns without anything
/// between them are such, and a kernel reads the same columns of twelve rows at a time: on a Zen 4 products of F16 with 512 tokens were
/// a tenth slower than with 2080 columns (`bench/results/2026-11-22-row-stride.md`).
pub(super) fn block_stride(width: usize) -> usize {
    width.div_ceil(BLOCK) | 1
}

/// 1.5 * 2^23: where integers of magnitude up to 2^22 are added to its bits, these are a number that is as much greater.
pub(super) const START: f32 = 12_582_912.0;

/// 32 elements: `value[i] = scale * codes[i]`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct QuantisedBlock {
    pub(super) codes: [i8; BLOCK],
    pub(super) scale: f32,
    /// -128 times the sum of the codes of the block, and of each half of it: what a product with codes that are 128 too high
    /// ([`CHUNK_OFFSET`](super::panel::CHUNK_OFFSET)) starts at.
    pub(super) starts: [i32; 3],
    /// `scale` times the sum of the codes of the block, and of each half of it.
    pub(super) weighted: [f32; 3],
    /// The first of `starts`, where sums are counted by the last bits of a number: [`START`] and so much.
    pub(super) start: f32,
}

impl QuantisedBlock {
    pub(super) const ZERO: QuantisedBlock =
        QuantisedBlock { codes: [0; BLOCK], scale: 0.0, starts: [0; 3], weighted: [0.0; 3], start: START };

    /// Sum of the codes of the block (0), and of each half of it (1, 2).
    pub(super) fn sum(&self, place: usize) -> i32 {
        -self.correction(place, 1)
    }

    /// What a product with codes that are `offset` too high starts at: `-offset` times [`QuantisedBlock::sum`].
    #[inline(always)]
    pub(super) fn correction(&self, place: usize, offset: i32) -> i32 {
        (self.starts[place] >> 7) * offset
    }
}

/// Rounds a row to BF16, to the nearest and of two to the even one. A block takes as many bytes as 32 such numbers.
fn round_row(isa: Isa, values: &[f32], blocks: &mut [QuantisedBlock]) {
    let (chunks, rest) = values.as_chunks::<BLOCK>();
    assert!(rest.is_empty() && chunks.len() == blocks.len(), "no whole number of blocks");
    const { assert!(size_of::<QuantisedBlock>() == size_of::<[u16; BLOCK]>()) };
    // SAFETY: a block is 64 bytes of plain numbers, which may have any bits, and is aligned to more than two of them.
    let brains = unsafe { std::slice::from_raw_parts_mut(blocks.as_mut_ptr().cast::<[u16; BLOCK]>(), blocks.len()) };
    vectorize!(isa, round_row_with, chunks: &[[f32; BLOCK]] = chunks, brains: &mut [[u16; BLOCK]] = brains);
}

#[inline(always)]
fn round_row_with<S: Simd>(_: S, chunks: &[[f32; BLOCK]], brains: &mut [[u16; BLOCK]]) {
    for (values, brains) in chunks.iter().zip(brains) {
        for (value, brain) in values.iter().zip(brains) {
            let bits = value.to_bits();
            let rounded = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
            // Rounding could make an infinity of what is no number.
            *brain = if value.is_nan() { (bits >> 16) as u16 | 0x40 } else { rounded };
        }
    }
}

/// Quantises a row as bytes, or as words: then `blocks` has room for two rows, and what the first leaves over is in the
/// second. A block with an infinity or a NaN in it gets the scale NaN: faults are not hidden.
pub(super) fn quantise_row(isa: Isa, values: &[f32], blocks: &mut [QuantisedBlock]) {
    let (coarse, fine) = blocks.split_at_mut(values.len() / BLOCK);
    quantise_parts(isa, values, coarse, fine);
}

/// [`quantise_row`] with the second row, which may be empty, elsewhere.
fn quantise_parts(isa: Isa, values: &[f32], coarse: &mut [QuantisedBlock], fine: &mut [QuantisedBlock]) {
    vectorize!(isa, quantise_row_with,
        values: &[f32] = values,
        coarse: &mut [QuantisedBlock] = coarse,
        fine: &mut [QuantisedBlock] = fine,
    );
}

#[inline(always)]
fn quantise_row_with<S: Simd>(s: S, values: &[f32], coarse: &mut [QuantisedBlock], fine: &mut [QuantisedBlock]) {
    let (chunks, rest) = values.as_chunks::<BLOCK>();
    let is_whole = rest.is_empty() && coarse.len() == chunks.len();
    assert!(is_whole && (fine.is_empty() || fine.len() == chunks.len()), "no whole number of blocks");
    for (values, block) in chunks.iter().zip(&mut *coarse) {
        quantise_block(s, values, block);
    }
    for ((values, coarse), block) in chunks.iter().zip(coarse).zip(fine) {
        quantise_block(s, &left_over(s, values, coarse), block);
    }
}

/// What a block leaves of its values.
#[inline(always)]
fn left_over<S: Simd>(s: S, values: &[f32; BLOCK], block: &QuantisedBlock) -> [f32; BLOCK] {
    let step = s.splat(-block.scale);
    let mut rest = block.codes.map(f32::from);
    for (rest, values) in rest.as_chunks_mut::<LANES>().0.iter_mut().zip(values.as_chunks::<LANES>().0) {
        s.store(s.fma(step, s.load(rest), s.load(values)), rest);
    }
    rest
}

#[inline(always)]
fn quantise_block<S: Simd>(s: S, values: &[f32; BLOCK], block: &mut QuantisedBlock) {
    let (chunks, _) = values.as_chunks::<LANES>();
    let vectors = [s.load(&chunks[0]), s.load(&chunks[1]), s.load(&chunks[2]), s.load(&chunks[3])];
    let [a, b, c, d] = vectors.map(|vector| s.abs(vector));
    let largest = s.largest(s.max(s.max(a, b), s.max(c, d)));
    let inverse = CODE_MAX / largest;
    // Zeros, and a tiny maximum, have no finite inverse: such a block is as good as zero.
    let has_inverse = inverse < f32::INFINITY;
    let (scale, inverse) = if has_inverse { (largest / CODE_MAX, inverse) } else { (0.0, 0.0) };
    // At most 127, but for rounding: what is as large as the largest.
    let scaled = vectors.map(|vector| s.mul(vector, s.splat(inverse)));
    // The inverse of an infinity is zero, their product is none; and a NaN stays one.
    let [a, b, c, d] = scaled;
    let sum = s.add(s.add(a, b), s.add(c, d));
    let has_fault = s.at_least(sum, sum) != (1 << LANES) - 1;
    block.scale = if has_fault { f32::NAN } else { scale };
    let [low, high] = s.store_i8_summed(scaled, &mut block.codes);
    let sums = [low + high, low, high];
    block.starts = sums.map(|sum| -CHUNK_OFFSET * sum);
    // Exact: less than 2^22 beside 1.5 * 2^23.
    block.start = f32::from_bits(START.to_bits().wrapping_add_signed(block.starts[0]));
    block.weighted = sums.map(|sum| block.scale * sum as f32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use lair_simd::IsaChoice;

    #[test]
    fn blocks_hold_their_values() {
        let values: Vec<f32> = (0..64).map(|i| ((i * 37 % 64) as f32 - 31.0) * 0.37).collect();
        for choice in [IsaChoice::Auto, IsaChoice::Scalar] {
            let mut blocks = [QuantisedBlock::ZERO; 2];
            quantise_row(Isa::detect(choice), &values, &mut blocks);
            for (index, value) in values.iter().enumerate() {
                let block = &blocks[index / BLOCK];
                assert!((block.scale * f32::from(block.codes[index % BLOCK]) - value).abs() <= block.scale * 0.5001);
            }
            assert_eq!(blocks[0].sum(0), blocks[0].sum(1) + blocks[0].sum(2));
        }
    }

    #[test]
    fn words_hold_their_values_to_fifteen_bits() {
        let mut values: Vec<f32> = (0..96).map(|i| ((i * 37 % 96) as f32 - 47.0) * 0.37).collect();
        // One outlier, zeros, and numbers whose rest has no scale.
        values[5] = 1e6;
        values[32..64].fill(0.0);
        values[64..].fill(1e-44);
        let mut results = Vec::new();
        for isa in Isa::available() {
            let mut blocks = [QuantisedBlock::ZERO; 6];
            quantise_row(isa, &values, &mut blocks);
            for (index, value) in values.iter().enumerate() {
                let part = |block: &QuantisedBlock| block.scale * f32::from(block.codes[index % BLOCK]);
                let (coarse, fine) = (&blocks[index / BLOCK], &blocks[3 + index / BLOCK]);
                let bound = coarse.scale * (0.5001 / 254.0) + 1e-43;
                assert!((part(coarse) + part(fine) - value).abs() <= bound, "{index}: {value} on {}", isa.name());
            }
            results.push(blocks.map(|block| (block.codes, block.scale.to_bits(), block.weighted.map(f32::to_bits))));
        }
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "instruction sets differ");
    }

    #[test]
    fn zeros_tiny_values_and_faults() {
        for choice in [IsaChoice::Auto, IsaChoice::Scalar] {
            let isa = Isa::detect(choice);
            let mut block = [QuantisedBlock::ZERO];
            quantise_row(isa, &[0.0; 32], &mut block);
            assert_eq!((block[0].scale, block[0].sum(0)), (0.0, 0));
            quantise_row(isa, &[1e-44; 32], &mut block);
            assert_eq!(block[0].scale, 0.0);
            for fault in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut values = [1.0; 32];
                values[7] = fault;
                let mut blocks = [QuantisedBlock::ZERO; 2];
                quantise_row(isa, &values, &mut blocks);
                assert!(blocks.iter().all(|block| block.scale.is_nan() && block.weighted[0].is_nan()));
            }
        }
    }
}
