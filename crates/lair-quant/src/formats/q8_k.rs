//! Q8_K: 256 elements of 8 bits, one f32 scale; made for activations, hardly ever found in files.
//!
//! ```text
//!    0..4    scale, f32
//!    4..260  elements, i8
//!  260..292  sums of 16 elements each, i16 (not needed to dequantize)
//!
//! value = scale * element
//! ```
//!
//! Source: ggml, `block_q8_K`.

use lair_gguf::TensorType;

use super::{block_format::BlockFormat, fields};
use crate::codes::{CodeShape, Codes};

/// The format of this file.
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)] // The field's own spelling.
pub struct Q8_K;

impl BlockFormat for Q8_K {
    const TENSOR_TYPE: TensorType = TensorType::Q8_K;
    const BLOCK_LENGTH: usize = 256;
    const BLOCK_BYTES: usize = 292;
    const SHAPE: CodeShape =
        CodeShape { sub_length: 32, code_range: -128..=127, scale_range: 1..=1, min_range: 0..=0, code_table: None };

    #[inline(always)]
    fn unpack(block: &[u8], codes: &mut Codes) {
        codes.set_one_scale(f32::from_le_bytes(*fields::bytes(block, 0)));
        fields::copy_signed::<256>(fields::bytes(block, 4), &mut codes.codes);
    }
}
