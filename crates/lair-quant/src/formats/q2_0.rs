//! Q2_0: 64 elements of two bits, -1 to 2 times one scale.
//!
//! ```text
//!  0..2   scale, f16
//!  2..18  pairs of bits: bits 2i and 2i + 1 of byte j are element 4 j + i
//!
//! value = scale * (pair - 1)
//! ```
//!
//! Source: ggml, `block_q2_0`.

use lair_gguf::TensorType;
use lair_simd::Simd;

use super::{block_format::BlockFormat, fields};
use crate::{
    codes::{CodeShape, Codes},
    encode::{BlockInput, EncodeBlock, as_half, half_bytes, inverse_or_zero},
};

/// The format of this file.
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)] // The field's own spelling.
pub struct Q2_0;

impl BlockFormat for Q2_0 {
    const TENSOR_TYPE: TensorType = TensorType::Q2_0;
    const BLOCK_LENGTH: usize = 64;
    const BLOCK_BYTES: usize = 18;
    const SHAPE: CodeShape =
        CodeShape { sub_length: 32, code_range: -1..=2, scale_range: 1..=1, min_range: 0..=0, code_table: None };

    #[inline(always)]
    fn unpack(block: &[u8], codes: &mut Codes) {
        codes.set_one_scale(fields::half(block, 0));
        for (codes, byte) in codes.codes.as_chunks_mut::<4>().0.iter_mut().zip(fields::bytes::<16>(block, 2)) {
            *codes = std::array::from_fn(|i| (byte >> (2 * i) & 3) as i8 - 1);
        }
    }
}

impl EncodeBlock for Q2_0 {
    /// The largest magnitude becomes 1 or -1; halves away from zero.
    #[inline(always)]
    fn encode<S: Simd>(_: S, input: &BlockInput<'_>, block: &mut [u8]) {
        let largest = input.values.iter().fold(0.0, |largest: f32, x| largest.max(x.abs()));
        block[..2].copy_from_slice(&half_bytes(as_half(largest)));
        let inverse = inverse_or_zero(largest);
        for (byte, values) in block[2..].iter_mut().zip(input.values.as_chunks::<4>().0) {
            let pair = |i: usize| ((values[i] * inverse).round() + 1.0) as u8;
            *byte = (0..4).fold(0, |bits, i| bits | pair(i) << (2 * i));
        }
    }
}
