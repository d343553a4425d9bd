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
use lair_simd::Simd;

use super::{block_format::BlockFormat, fields};
use crate::{
    codes::{CodeShape, Codes},
    encode::{BlockInput, EncodeBlock, as_half, half_bytes, inverse_or_zero, scaled},
};

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

impl EncodeBlock for TQ1_0 {
    /// The largest magnitude becomes 1; for weights that are ternary already.
    #[inline(always)]
    fn encode<S: Simd>(s: S, input: &BlockInput<'_>, block: &mut [u8]) {
        let (scale, digits) = ternary_digits(s, input.block());
        gather_digits(&digits[..160], &mut block[..32]);
        gather_digits(&digits[160..240], &mut block[32..48]);
        gather_digits(&digits[240..], &mut block[48..52]);
        block[52..].copy_from_slice(&half_bytes(scale));
    }
}

/// The largest magnitude, and each value as 0, 1 or 2 for -1, 0 or 1 times it; halves away from zero.
#[inline(always)]
pub(super) fn ternary_digits<S: Simd>(s: S, values: &[f32; 256]) -> (f32, [u8; 256]) {
    let largest = scaled::value_of_largest_magnitude(s, values).abs();
    let inverse = inverse_or_zero(largest);
    (as_half(largest), values.map(|x| ((x * inverse).round() + 1.0) as u8))
}

/// The inverse of [`spread_digits`]; digits that are missing in the last byte's place are 0.
fn gather_digits(digits: &[u8], packed: &mut [u8]) {
    let length = packed.len();
    for (i, byte) in packed.iter_mut().enumerate() {
        let number =
            (0..5).fold(0, |number, digit| 3 * number + u16::from(*digits.get(digit * length + i).unwrap_or(&0)));
        // The next fraction of 256 that is not below number / 3^5.
        *byte = (u32::from(number) * 256).div_ceil(243) as u8;
    }
}
