//! Activations as integers: blocks of 32 signed bytes with their scale and sums, one cache line each.
//!
//! One line of arithmetic: a product with 16 weight rows does 512 multiplications for each 64-byte block it reads.

use lair_simd::{Isa, LANES, Simd, vectorize};

/// Elements of a block.
pub(super) const BLOCK: usize = 32;
/// The largest code: symmetric, so that no product of the byte kernels overflows.
const CODE_MAX: f32 = 127.0;

/// 32 elements: `value[i] = scale * codes[i]`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct QuantisedBlock {
    pub(super) codes: [i8; BLOCK],
    pub(super) scale: f32,
    /// Sum of the codes of the block, and of each half of it.
    pub(super) sums: [i32; 3],
    /// `scale` times each of the sums.
    pub(super) weighted: [f32; 3],
    padding: u32,
}

impl QuantisedBlock {
    pub(super) const ZERO: QuantisedBlock =
        QuantisedBlock { codes: [0; BLOCK], scale: 0.0, sums: [0; 3], weighted: [0.0; 3], padding: 0 };
}

/// Quantises a row. A block with an infinity or a NaN in it gets the scale NaN: faults are not hidden.
pub(super) fn quantise_row(isa: Isa, values: &[f32], blocks: &mut [QuantisedBlock]) {
    vectorize!(isa, quantise_row_with, values: &[f32] = values, blocks: &mut [QuantisedBlock] = blocks);
}

#[inline(always)]
fn quantise_row_with<S: Simd>(s: S, values: &[f32], blocks: &mut [QuantisedBlock]) {
    let (chunks, rest) = values.as_chunks::<BLOCK>();
    assert!(rest.is_empty() && blocks.len() == chunks.len(), "a row that is no whole number of blocks");
    for (values, block) in chunks.iter().zip(blocks) {
        quantise_block(s, values, block);
    }
}

#[inline(always)]
fn quantise_block<S: Simd>(s: S, values: &[f32; BLOCK], block: &mut QuantisedBlock) {
    let (chunks, _) = values.as_chunks::<LANES>();
    let zero = s.splat(0.0);
    let vectors = [s.load(&chunks[0]), s.load(&chunks[1]), s.load(&chunks[2]), s.load(&chunks[3])];
    let (mut largest, mut fault) = (zero, zero);
    for vector in vectors {
        largest = s.max(s.abs(vector), largest);
        fault = s.fma(vector, zero, fault);
    }
    let largest = s.largest(largest);
    let fault = s.sum(fault);
    let inverse = if largest > 0.0 { CODE_MAX / largest } else { 0.0 };
    let (factor, high, low) = (s.splat(inverse), s.splat(CODE_MAX), s.splat(-CODE_MAX));
    let mut scaled = vectors;
    for vector in &mut scaled {
        *vector = s.max(s.min(s.mul(*vector, factor), high), low);
    }
    s.store_i8(scaled, &mut block.codes);
    // A tiny maximum has no finite inverse: such a block is as good as zero.
    let scale = if inverse.is_finite() { largest / CODE_MAX } else { 0.0 };
    block.scale = scale + fault;
    let sum = |codes: &[i8]| codes.iter().map(|&code| i32::from(code)).sum::<i32>();
    let halves = [sum(&block.codes[..16]), sum(&block.codes[16..])];
    block.sums = [halves[0] + halves[1], halves[0], halves[1]];
    block.weighted = block.sums.map(|sum| block.scale * sum as f32);
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
            assert_eq!(blocks[0].sums[0], blocks[0].sums[1] + blocks[0].sums[2]);
        }
    }

    #[test]
    fn zeros_tiny_values_and_faults() {
        for choice in [IsaChoice::Auto, IsaChoice::Scalar] {
            let isa = Isa::detect(choice);
            let mut block = [QuantisedBlock::ZERO];
            quantise_row(isa, &[0.0; 32], &mut block);
            assert_eq!((block[0].scale, block[0].sums[0]), (0.0, 0));
            quantise_row(isa, &[1e-44; 32], &mut block);
            assert_eq!(block[0].scale, 0.0);
            for fault in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut values = [1.0; 32];
                values[7] = fault;
                quantise_row(isa, &values, &mut block);
                assert!(block[0].scale.is_nan() && block[0].weighted[0].is_nan());
            }
        }
    }
}
