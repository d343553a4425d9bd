//! Q4_K: 256 elements of 4 bits in sub-blocks of 32, each with a 6-bit scale and a 6-bit min.
//!
//! ```text
//!   0..2    super scale, f16
//!   2..4    super min, f16
//!   4..16   scales and mins, see `unpack_scales_and_mins`
//!  16..144  nibbles: four parts of 32 bytes for 64 elements each; in a part, byte i holds element i (low) and
//!           element i + 32 (high)
//!
//! value = (super scale * scale) * nibble - (super min * min)
//! ```
//!
//! Source: ggml, `block_q4_K`.

use lair_gguf::TensorType;

use super::{block_format::BlockFormat, fields};
use crate::codes::{CodeShape, Codes};

/// The format of this file.
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)] // The field's own spelling.
pub struct Q4_K;

impl BlockFormat for Q4_K {
    const TENSOR_TYPE: TensorType = TensorType::Q4_K;
    const BLOCK_LENGTH: usize = 256;
    const BLOCK_BYTES: usize = 144;
    const SHAPE: CodeShape =
        CodeShape { sub_length: 32, code_range: 0..=15, scale_range: 0..=63, min_range: 0..=63, code_table: None };

    #[inline(always)]
    fn unpack(block: &[u8], codes: &mut Codes) {
        codes.super_scale = fields::half(block, 0);
        codes.super_min = fields::half(block, 2);
        unpack_scales_and_mins(fields::bytes(block, 4), codes);
        for part in 0..4 {
            fields::spread_nibbles::<32>(fields::bytes(block, 16 + 32 * part), &mut codes.codes[64 * part..]);
        }
    }
}

/// The eight 6-bit scales and mins of Q4_K and Q5_K.
///
/// ```text
///  0..4   byte s: scale s (low 6 bits); above it the upper 2 bits of scale s + 4
///  4..8   byte s: min s (low 6 bits); above it the upper 2 bits of min s + 4
///  8..12  byte s: the low nibbles of scale s + 4 (low) and min s + 4 (high)
/// ```
#[inline(always)]
pub(super) fn unpack_scales_and_mins(packed: &[u8; 12], codes: &mut Codes) {
    for sub in 0..4 {
        let (scale, min, low) = (packed[sub], packed[sub + 4], packed[sub + 8]);
        codes.scales[sub] = i32::from(scale & 63);
        codes.mins[sub] = i32::from(min & 63);
        codes.scales[sub + 4] = i32::from(low & 15 | scale >> 6 << 4);
        codes.mins[sub + 4] = i32::from(low >> 4 | min >> 6 << 4);
    }
}
