//! Q2_K: 256 elements of 2 bits in sub-blocks of 16, each with a 4-bit scale and a 4-bit min.
//!
//! ```text
//!   0..16  byte s: scale (low nibble) and min (high nibble) of sub-block s
//!  16..80  pairs of bits: two halves of 32 bytes for 128 elements each; in a half, bits 2p and 2p + 1 of byte i hold
//!          element 32 p + i
//!  80..82  super scale, f16
//!  82..84  super min, f16
//!
//! value = (super scale * scale) * pair - (super min * min)
//! ```
//!
//! Source: ggml, `block_q2_K`.

use lair_gguf::TensorType;

use super::{block_format::BlockFormat, fields};
use crate::codes::{CodeShape, Codes};

/// The format of this file.
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)] // The field's own spelling.
pub struct Q2_K;

impl BlockFormat for Q2_K {
    const TENSOR_TYPE: TensorType = TensorType::Q2_K;
    const BLOCK_LENGTH: usize = 256;
    const BLOCK_BYTES: usize = 84;
    const SHAPE: CodeShape =
        CodeShape { sub_length: 16, code_range: 0..=3, scale_range: 0..=15, min_range: 0..=15, code_table: None };

    #[inline(always)]
    fn unpack(block: &[u8], codes: &mut Codes) {
        codes.super_scale = fields::half(block, 80);
        codes.super_min = fields::half(block, 82);
        for (sub, byte) in fields::bytes::<16>(block, 0).iter().enumerate() {
            codes.scales[sub] = i32::from(byte & 15);
            codes.mins[sub] = i32::from(byte >> 4);
        }
        fields::spread_pairs::<32>(fields::bytes(block, 16), &mut codes.codes);
        fields::spread_pairs::<32>(fields::bytes(block, 48), &mut codes.codes[128..]);
    }
}
