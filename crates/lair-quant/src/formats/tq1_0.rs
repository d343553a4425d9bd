//! TQ1_0: 256 ternary elements, five to a byte, one scale.
//!
//! ```text
//!   0..32  first 160 elements: digit d of byte i is element 32 d + i
//!  32..48  next 80 elements: digit d of byte i is element 160 + 16 d + i
//!  48..52  last 16 elements: digit d of byte i is element 240 + 4 d + i
//!  52..54  scale, f16
//!
//! value = scale * (digit - 1)
//! ```
//!
//! A byte is a fraction of 256; its ternary digits behind the point are the elements, the most significant first.
//!
//! Source: ggml, `block_tq1_0`.

use lair_gguf::TensorType;

use super::{block_format::BlockFormat, fields};
use crate::codes::{CodeShape, Codes};

/// The format of this file.
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)] // The field's own spelling.
pub struct TQ1_0;

impl BlockFormat for TQ1_0 {
    const TENSOR_TYPE: TensorType = TensorType::TQ1_0;
    const BLOCK_LENGTH: usize = 256;
    const BLOCK_BYTES: usize = 54;
    const SHAPE: CodeShape =
        CodeShape { sub_length: 32, code_range: -1..=1, scale_range: 1..=1, min_range: 0..=0, code_table: None };

    #[inline(always)]
    fn unpack(block: &[u8], codes: &mut Codes) {
        codes.set_one_scale(fields::half(block, 52));
        spread_digits::<32>(fields::bytes(block, 0), &mut codes.codes[..160]);
        spread_digits::<16>(fields::bytes(block, 32), &mut codes.codes[160..240]);
        spread_digits::<4>(fields::bytes(block, 48), &mut codes.codes[240..]);
    }
}

/// Digit by digit: all first digits, then all second ones, until `codes` is full.
#[inline(always)]
fn spread_digits<const LENGTH: usize>(packed: &[u8; LENGTH], codes: &mut [i8]) {
    let mut fractions = *packed;
    for codes in codes.chunks_exact_mut(LENGTH) {
        for (code, fraction) in codes.iter_mut().zip(&mut fractions) {
            // Three times the fraction: the digit moves in front of the point, the rest stays behind it.
            let product = u16::from(*fraction) * 3;
            *code = (product >> 8) as i8 - 1;
            *fraction = product as u8;
        }
    }
}
