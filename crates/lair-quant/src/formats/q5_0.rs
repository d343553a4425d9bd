//! Q5_0: 32 elements of 5 bits around zero, one scale.
//!
//! ```text
//!  0..2   scale, f16
//!  2..6   fifth bits, u32: bit i belongs to element i
//!  6..22  nibbles: byte i holds element i (low) and element i + 16 (high)
//!
//! value = scale * (nibble + 16 * fifth - 16)
//! ```
//!
//! Source: ggml, `block_q5_0`.

use half::f16;
use lair_gguf::TensorType;
use lair_simd::Simd;

use super::{
    block_format::{BlockFormat, QuantizeBlock},
    fields,
    pack::{fifth_bits, inverse_or_zero, pack_nibbles, value_of_largest_magnitude},
};
use crate::{
    codes::{CodeShape, Codes},
    encode::{BlockInput, EncodeBlock, half_bytes, scaled, weights},
};

/// The format of this file.
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)] // The field's own spelling.
pub struct Q5_0;

impl BlockFormat for Q5_0 {
    const TENSOR_TYPE: TensorType = TensorType::Q5_0;
    const BLOCK_LENGTH: usize = 32;
    const BLOCK_BYTES: usize = 22;
    const SHAPE: CodeShape =
        CodeShape { sub_length: 32, code_range: -16..=15, scale_range: 1..=1, min_range: 0..=0, code_table: None };

    #[inline(always)]
    fn unpack(block: &[u8], codes: &mut Codes) {
        codes.set_one_scale(fields::half(block, 0));
        fields::spread_nibbles::<16>(fields::bytes(block, 6), &mut codes.codes);
        fields::add_high_bits(fields::word32(block, 2), 16, &mut codes.codes);
        fields::offset(&mut codes.codes[..32], -16);
    }
}

impl QuantizeBlock for Q5_0 {
    /// The value of largest magnitude (the first of equals) becomes -16, whatever its sign.
    #[inline(always)]
    fn quantize_block(values: &[f32], block: &mut [u8]) {
        let scale = value_of_largest_magnitude(values) / -16.0;
        block[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
        let inverse = inverse_or_zero(scale);
        // Adding half a step and cutting off is how the reference rounds; it is not the same as rounding.
        let code = |i: usize| ((values[i] * inverse + 16.5) as u8).min(31);
        block[2..6].copy_from_slice(&fifth_bits(code).to_le_bytes());
        pack_nibbles(code, &mut block[6..]);
    }
}

const SET: scaled::Integers = scaled::Integers { low: -16.0, high: 15.0 };
const TARGETS: scaled::Targets = scaled::targets(-16.0, (-0.9, 0.1), (15.0, 0.1));

impl EncodeBlock for Q5_0 {
    #[inline(always)]
    fn encode<S: Simd>(s: S, input: &BlockInput<'_>, block: &mut [u8]) {
        if input.importance.is_none() {
            return Self::quantize_block(input.values, block);
        }
        let mut weights = [0.0; 32];
        weights::fill(s, input, weights::Plain::Spread, weights::Known::WithRow, 32, &mut weights);
        let (scale, codes) = scaled::encode_alone(s, SET, &TARGETS, input.block(), &weights);
        block[..2].copy_from_slice(&half_bytes(scale));
        let code = |i: usize| (codes[i] + 16) as u8;
        block[2..6].copy_from_slice(&fifth_bits(code).to_le_bytes());
        pack_nibbles(code, &mut block[6..]);
    }
}
