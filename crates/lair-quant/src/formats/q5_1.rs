//! Q5_1: 32 elements of 5 bits above a smallest value.
//!
//! ```text
//!  0..2   scale, f16
//!  2..4   smallest value, f16
//!  4..8   fifth bits, u32: bit i belongs to element i
//!  8..24  nibbles: byte i holds element i (low) and element i + 16 (high)
//!
//! value = scale * (nibble + 16 * fifth) + smallest
//! ```
//!
//! Source: ggml, `block_q5_1`.

use half::f16;
use lair_gguf::TensorType;
use lair_simd::Simd;

use super::{
    block_format::{BlockFormat, QuantizeBlock},
    fields,
    pack::{fifth_bits, inverse_or_zero, pack_nibbles},
};
use crate::{
    codes::{CodeShape, Codes},
    encode::{BlockInput, EncodeBlock, affine, half_bytes, weights},
};

/// The format of this file.
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)] // The field's own spelling.
pub struct Q5_1;

impl BlockFormat for Q5_1 {
    const TENSOR_TYPE: TensorType = TensorType::Q5_1;
    const BLOCK_LENGTH: usize = 32;
    const BLOCK_BYTES: usize = 24;
    const SHAPE: CodeShape =
        CodeShape { sub_length: 32, code_range: 0..=31, scale_range: 1..=1, min_range: 1..=1, code_table: None };

    #[inline(always)]
    fn unpack(block: &[u8], codes: &mut Codes) {
        codes.set_one_scale(fields::half(block, 0));
        // The file adds what the common formula subtracts.
        codes.super_min = -fields::half(block, 2);
        codes.mins[0] = 1;
        fields::spread_nibbles::<16>(fields::bytes(block, 8), &mut codes.codes);
        fields::add_high_bits(fields::word32(block, 4), 16, &mut codes.codes);
    }
}

impl QuantizeBlock for Q5_1 {
    /// The smallest value becomes 0, the largest 31.
    #[inline(always)]
    fn quantize_block(values: &[f32], block: &mut [u8]) {
        let smallest = values.iter().copied().fold(f32::MAX, f32::min);
        let largest = values.iter().copied().fold(f32::MIN, f32::max);
        let scale = (largest - smallest) / 31.0;
        block[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
        block[2..4].copy_from_slice(&f16::from_f32(smallest).to_le_bytes());
        let inverse = inverse_or_zero(scale);
        let code = |i: usize| (((values[i] - smallest) * inverse + 0.5) as u8).min(31);
        block[4..8].copy_from_slice(&fifth_bits(code).to_le_bytes());
        pack_nibbles(code, &mut block[8..]);
    }
}

impl EncodeBlock for Q5_1 {
    #[inline(always)]
    fn encode<S: Simd>(s: S, input: &BlockInput<'_>, block: &mut [u8]) {
        if input.importance.is_none() {
            return Self::quantize_block(input.values, block);
        }
        let mut weights = [0.0; 32];
        weights::fill(s, input, weights::Plain::Spread, weights::Known::WithRow, 32, &mut weights);
        let (fit, codes) = affine::encode_alone(s, 31.0, input.block(), &weights);
        block[..2].copy_from_slice(&half_bytes(fit.scale));
        block[2..4].copy_from_slice(&half_bytes(-fit.min));
        let code = |i: usize| codes[i];
        block[4..8].copy_from_slice(&fifth_bits(code).to_le_bytes());
        pack_nibbles(code, &mut block[8..]);
    }
}
