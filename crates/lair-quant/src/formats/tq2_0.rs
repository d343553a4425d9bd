//! TQ2_0: 256 elements of two bits, meant to be ternary, one scale.
//!
//! ```text
//!   0..64  pairs of bits: two halves of 32 bytes for 128 elements each; in a half, bits 2p and 2p + 1 of byte i hold
//!          element 32 p + i
//!  64..66  scale, f16
//!
//! value = scale * (pair - 1)
//! ```
//!
//! A pair of 3 should not occur; it is read as 2.
//!
//! Source: ggml, `block_tq2_0`.

use lair_gguf::TensorType;

use super::{block_format::BlockFormat, fields};
use crate::codes::{CodeShape, Codes};

/// The format of this file.
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)] // The field's own spelling.
pub struct TQ2_0;

impl BlockFormat for TQ2_0 {
    const TENSOR_TYPE: TensorType = TensorType::TQ2_0;
    const BLOCK_LENGTH: usize = 256;
    const BLOCK_BYTES: usize = 66;
    const SHAPE: CodeShape =
        CodeShape { sub_length: 32, code_range: -1..=2, scale_range: 1..=1, min_range: 0..=0, code_table: None };

    #[inline(always)]
    fn unpack(block: &[u8], codes: &mut Codes) {
        codes.set_one_scale(fields::half(block, 64));
        fields::spread_pairs::<32>(fields::bytes(block, 0), &mut codes.codes);
        fields::spread_pairs::<32>(fields::bytes(block, 32), &mut codes.codes[128..]);
        fields::offset(&mut codes.codes, -1);
    }
}
