//! Q8_1: Q8_0 with the sum of the block beside the scale; made for activations, hardly ever found in files.
//!
//! ```text
//!  0..2   scale, f16
//!  2..4   scale * sum of the elements, f16 (not needed to dequantize)
//!  4..36  elements, i8
//!
//! value = scale * element
//! ```
//!
//! Source: ggml, `block_q8_1`.

use lair_gguf::TensorType;

use super::{block_format::BlockFormat, fields};
use crate::codes::{CodeShape, Codes};

/// The format of this file.
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)] // The field's own spelling.
pub struct Q8_1;

impl BlockFormat for Q8_1 {
    const TENSOR_TYPE: TensorType = TensorType::Q8_1;
    const BLOCK_LENGTH: usize = 32;
    const BLOCK_BYTES: usize = 36;
    const SHAPE: CodeShape =
        CodeShape { sub_length: 32, code_range: -128..=127, scale_range: 1..=1, min_range: 0..=0, code_table: None };

    #[inline(always)]
    fn unpack(block: &[u8], codes: &mut Codes) {
        codes.set_one_scale(fields::half(block, 0));
        fields::copy_signed::<32>(fields::bytes(block, 4), &mut codes.codes);
    }
}
