//! Q4_0: 32 elements of 4 bits around zero, one scale.
//!
//! ```text
//!  0..2   scale, f16
//!  2..18  nibbles: byte i holds element i (low) and element i + 16 (high)
//!
//! value = scale * (nibble - 8)
//! ```
//!
//! Source: ggml, `block_q4_0`.

use half::f16;
use lair_gguf::TensorType;
use lair_simd::Simd;

use super::{
    block_format::{BlockFormat, QuantizeBlock},
    fields,
    pack::{inverse_or_zero, pack_nibbles, value_of_largest_magnitude},
};
use crate::{
    codes::{CodeShape, Codes},
    encode::{BlockInput, EncodeBlock, half_bytes, scaled, weights},
};

/// The format of this file.
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)] // The field's own spelling.
pub struct Q4_0;

impl BlockFormat for Q4_0 {
    const TENSOR_TYPE: TensorType = TensorType::Q4_0;
    const BLOCK_LENGTH: usize = 32;
    const BLOCK_BYTES: usize = 18;
    const SHAPE: CodeShape =
        CodeShape { sub_length: 32, code_range: -8..=7, scale_range: 1..=1, min_range: 0..=0, code_table: None };

    #[inline(always)]
    fn unpack(block: &[u8], codes: &mut Codes) {
        codes.set_one_scale(fields::half(block, 0));
        fields::spread_nibbles::<16>(fields::bytes(block, 2), &mut codes.codes);
        fields::offset(&mut codes.codes[..32], -8);
    }
}

impl QuantizeBlock for Q4_0 {
    /// The value of largest magnitude (the first of equals) becomes -8, whatever its sign.
    #[inline(always)]
    fn quantize_block(values: &[f32], block: &mut [u8]) {
        let scale = value_of_largest_magnitude(values) / -8.0;
        block[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
        let inverse = inverse_or_zero(scale);
        // Adding half a step and cutting off is how the reference rounds; it is not the same as rounding.
        let code = |i: usize| ((values[i] * inverse + 8.5) as u8).min(15);
        pack_nibbles(code, &mut block[2..]);
    }
}

const SET: scaled::Integers = scaled::Integers { low: -8.0, high: 7.0 };
const TARGETS: scaled::Targets = scaled::targets(-8.0, (-0.9, 0.1), (7.0, 0.1));

impl EncodeBlock for Q4_0 {
    #[inline(always)]
    fn encode<S: Simd>(s: S, input: &BlockInput<'_>, block: &mut [u8]) {
        if input.importance.is_none() {
            return Self::quantize_block(input.values, block);
        }
        let mut weights = [0.0; 32];
        weights::fill(s, input, weights::Plain::Spread, weights::Known::WithRow, 32, &mut weights);
        let (scale, codes) = scaled::encode_alone(s, SET, &TARGETS, input.block(), &weights);
        block[..2].copy_from_slice(&half_bytes(scale));
        pack_nibbles(|i| (codes[i] + 8) as u8, &mut block[2..]);
    }
}
