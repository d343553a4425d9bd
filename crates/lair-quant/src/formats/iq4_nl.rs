//! IQ4_NL: 32 elements of 4 bits that index a table of unevenly spaced codes, one scale.
//!
//! ```text
//!  0..2   scale, f16
//!  2..18  nibbles: byte i holds element i (low) and element i + 16 (high)
//!
//! value = scale * TABLE[nibble]
//! ```
//!
//! Source: ggml, `block_iq4_nl` and `kvalues_iq4nl`.

use lair_gguf::TensorType;

use super::{block_format::BlockFormat, fields};
use crate::codes::{CodeShape, Codes};

/// The format of this file.
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)] // The field's own spelling.
pub struct IQ4_NL;

impl BlockFormat for IQ4_NL {
    const TENSOR_TYPE: TensorType = TensorType::IQ4_NL;
    const BLOCK_LENGTH: usize = 32;
    const BLOCK_BYTES: usize = 18;
    const SHAPE: CodeShape = CodeShape {
        sub_length: 32,
        code_range: -127..=113,
        scale_range: 1..=1,
        min_range: 0..=0,
        code_table: Some(&TABLE),
    };

    const HAS_PLACES: bool = true;

    #[inline(always)]
    fn unpack(block: &[u8], codes: &mut Codes) {
        Self::unpack_places(block, codes);
        fields::look_up(&TABLE, &mut codes.codes[..32]);
    }

    #[inline(always)]
    fn unpack_places(block: &[u8], codes: &mut Codes) {
        codes.set_one_scale(fields::half(block, 0));
        fields::spread_nibbles::<16>(fields::bytes(block, 2), &mut codes.codes);
    }
}

/// The codes of IQ4_NL and IQ4_XS.
pub(super) const TABLE: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
