//! MXFP4: 32 elements of 4-bit floating point (E2M1) that share a power of two (E8M0).
//!
//! ```text
//!  0..1   scale, the exponent of a power of two with bias 127
//!  1..17  nibbles: byte i holds element i (low) and element i + 16 (high)
//!
//! value = 2^(scale - 127) / 2 * TABLE[nibble]
//! ```
//!
//! The table holds twice the numbers that E2M1 means, so that they are integers. A scale of 255, not a number in the
//! specification, is read as the next power of two.
//!
//! Source: OCP Microscaling Formats (MX) v1.0; ggml, `block_mxfp4`.

use lair_gguf::TensorType;
use lair_simd::Simd;

use super::{block_format::BlockFormat, fields, pack::pack_nibbles};
use crate::{
    codes::{CodeShape, Codes},
    encode::{
        BlockInput, EncodeBlock, inverse_or_zero,
        scaled::{self, CodeSet},
    },
};

/// The format of this file.
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)] // The field's own spelling.
pub struct MXFP4;

impl BlockFormat for MXFP4 {
    const TENSOR_TYPE: TensorType = TensorType::MXFP4;
    const BLOCK_LENGTH: usize = 32;
    const BLOCK_BYTES: usize = 17;
    const SHAPE: CodeShape = CodeShape {
        sub_length: 32,
        code_range: -12..=12,
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
        codes.set_one_scale(half_power_of_two(block[0]));
        fields::spread_nibbles::<16>(fields::bytes(block, 1), &mut codes.codes);
    }
}

/// The doubled values of E2M1, the codes of MXFP4 and NVFP4.
pub(super) const TABLE: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// `2^(exponent - 128)`.
#[inline(always)]
fn half_power_of_two(exponent: u8) -> f32 {
    match exponent {
        // 2^-128 and 2^-127 are subnormal in f32.
        0 | 1 => f32::from_bits(0x0020_0000 << exponent),
        _ => f32::from_bits(u32::from(exponent - 1) << 23),
    }
}

/// The codes of the table in their order, each once.
const SORTED: [i8; 15] = [-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12];
pub(super) const SET: scaled::Table = scaled::Table { sorted: &SORTED, zoom: 8.0, nearest: &NEAREST };
static NEAREST: [f32; 256] = scaled::nearest_table(&SORTED, 8);

/// The place of a code in [`TABLE`].
#[inline(always)]
pub(super) fn place(code: i8) -> u8 {
    TABLE.iter().position(|other| *other == code).map_or(0, |place| place as u8)
}

impl EncodeBlock for MXFP4 {
    /// Of the powers of two around the one that the specification proposes, the one of the smallest error.
    #[inline(always)]
    fn encode<S: Simd>(s: S, input: &BlockInput<'_>, block: &mut [u8]) {
        let values: &[f32; 32] = input.block();
        let mut weights = [1.0; 32];
        if let Some(importance) = input.importance {
            weights.copy_from_slice(importance);
        }
        let largest = scaled::value_of_largest_magnitude(s, values);
        // The exponent of the largest value as f32 has it, so that the value is up to twice four.
        let proposed = (largest.to_bits() >> 23 & 255) as i32 - 2;
        let exponents = [0, 1, -1, 2, -2, 0, 0, 0].map(|by| (proposed + by).clamp(0, 254) as u8);
        let errors = scaled::errors(s, SET, &exponents.map(half_power_of_two), values, &weights);
        let mut best = 0;
        for (lane, error) in errors.into_iter().enumerate() {
            if error < errors[best] {
                best = lane;
            }
        }
        block[0] = if largest == 0.0 { 0 } else { exponents[best] };
        let inverse = inverse_or_zero(half_power_of_two(block[0]));
        pack_nibbles(|i| place(SET.nearest_one(values[i] * inverse)), &mut block[1..]);
    }
}
