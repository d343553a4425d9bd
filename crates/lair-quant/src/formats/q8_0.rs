//! Q8_0: 32 elements of 8 bits, one scale.
//!
//! ```text
//!  0..2   scale, f16
//!  2..34  elements, i8
//!
//! value = scale * element
//! ```
//!
//! Source: ggml, `block_q8_0`.

use half::f16;
use lair_gguf::TensorType;
use lair_simd::Simd;

use super::{
    block_format::{BlockFormat, QuantizeBlock},
    fields,
    pack::inverse_or_zero,
};
use crate::{
    codes::{CodeShape, Codes},
    encode::{BlockInput, EncodeBlock},
};

/// The format of this file.
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)] // The field's own spelling.
pub struct Q8_0;

impl BlockFormat for Q8_0 {
    const TENSOR_TYPE: TensorType = TensorType::Q8_0;
    const BLOCK_LENGTH: usize = 32;
    const BLOCK_BYTES: usize = 34;
    const SHAPE: CodeShape =
        CodeShape { sub_length: 32, code_range: -128..=127, scale_range: 1..=1, min_range: 0..=0, code_table: None };

    #[inline(always)]
    fn unpack(block: &[u8], codes: &mut Codes) {
        codes.set_one_scale(fields::half(block, 0));
        fields::copy_signed::<32>(fields::bytes(block, 2), &mut codes.codes);
    }
}

impl QuantizeBlock for Q8_0 {
    /// The largest magnitude becomes 127; codes are rounded to nearest, halves away from zero.
    #[inline(always)]
    fn quantize_block(values: &[f32], block: &mut [u8]) {
        let largest = values.iter().fold(0.0, |largest: f32, value| largest.max(value.abs()));
        let scale = largest / 127.0;
        block[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
        let inverse = inverse_or_zero(scale);
        for (byte, value) in block[2..].iter_mut().zip(values) {
            *byte = (value * inverse).round() as i8 as u8;
        }
    }
}

impl EncodeBlock for Q8_0 {
    /// By the simple rule: eight bits leave nothing worth a search.
    #[inline(always)]
    fn encode<S: Simd>(_: S, input: &BlockInput<'_>, block: &mut [u8]) {
        Self::quantize_block(input.values, block);
    }
}
