//! Q1_0: 128 elements of one bit, plus or minus one scale.
//!
//! ```text
//!  0..2   scale, f16
//!  2..18  bits: bit i of byte j is element 8 j + i, set for plus
//!
//! value = scale * (2 bit - 1)
//! ```
//!
//! Source: ggml, `block_q1_0`.

use lair_gguf::TensorType;
use lair_simd::Simd;

use super::{block_format::BlockFormat, fields};
use crate::{
    codes::{CodeShape, Codes},
    encode::{BlockInput, EncodeBlock, as_half, half_bytes},
};

/// The format of this file.
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)] // The field's own spelling.
pub struct Q1_0;

impl BlockFormat for Q1_0 {
    const TENSOR_TYPE: TensorType = TensorType::Q1_0;
    const BLOCK_LENGTH: usize = 128;
    const BLOCK_BYTES: usize = 18;
    const SHAPE: CodeShape =
        CodeShape { sub_length: 32, code_range: -1..=1, scale_range: 1..=1, min_range: 0..=0, code_table: None };

    #[inline(always)]
    fn unpack(block: &[u8], codes: &mut Codes) {
        codes.set_one_scale(fields::half(block, 0));
        for (codes, byte) in codes.codes.as_chunks_mut::<8>().0.iter_mut().zip(fields::bytes::<16>(block, 2)) {
            *codes = std::array::from_fn(|i| 2 * (byte >> i & 1) as i8 - 1);
        }
    }
}

impl EncodeBlock for Q1_0 {
    /// The mean magnitude with the sign of each value.
    #[inline(always)]
    fn encode<S: Simd>(_: S, input: &BlockInput<'_>, block: &mut [u8]) {
        // In the order of the reference, one after the other, so that the mean is the same to the bit.
        let sum = input.values.iter().fold(0.0, |sum: f32, x| sum + x.abs());
        block[..2].copy_from_slice(&half_bytes(as_half(sum / 128.0)));
        for (byte, values) in block[2..].iter_mut().zip(input.values.as_chunks::<8>().0) {
            *byte = (0..8).fold(0, |bits, i| bits | u8::from(values[i] >= 0.0) << i);
        }
    }
}
