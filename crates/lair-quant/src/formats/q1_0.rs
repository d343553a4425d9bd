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

use super::{block_format::BlockFormat, fields};
use crate::codes::{CodeShape, Codes};

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
