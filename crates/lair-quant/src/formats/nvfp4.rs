//! NVFP4: 64 elements of 4-bit floating point (E2M1), with an 8-bit floating point scale (unsigned E4M3) for 16 elements.
//!
//! ```text
//!  0..4   byte s: scale of sub-block s
//!  4..36  nibbles: four parts of 8 bytes for 16 elements each; in a part, byte i holds element i (low) and
//!         element i + 8 (high)
//!
//! value = scale / 2 * TABLE[nibble]
//! ```
//!
//! The table is that of MXFP4, twice the numbers that E2M1 means. The scale's sign bit is not looked at; 127, not a number
//! in E4M3, is read as 0.
//!
//! Source: ggml, `block_nvfp4` and `ggml_ue4m3_to_fp32`.

use lair_gguf::TensorType;
use lair_simd::Simd;

use super::{
    block_format::BlockFormat,
    fields,
    mxfp4::{SET, TABLE, place},
};
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
pub struct NVFP4;

impl BlockFormat for NVFP4 {
    const TENSOR_TYPE: TensorType = TensorType::NVFP4;
    const BLOCK_LENGTH: usize = 64;
    const BLOCK_BYTES: usize = 36;
    const SHAPE: CodeShape = CodeShape {
        sub_length: 16,
        code_range: -12..=12,
        scale_range: 0..=245_760,
        min_range: 0..=0,
        code_table: Some(&TABLE),
    };

    const HAS_PLACES: bool = true;

    #[inline(always)]
    fn unpack(block: &[u8], codes: &mut Codes) {
        Self::unpack_places(block, codes);
        fields::look_up(&TABLE, &mut codes.codes[..64]);
    }

    #[inline(always)]
    fn unpack_places(block: &[u8], codes: &mut Codes) {
        // The smallest step of E4M3 is 2^-9, the table is doubled.
        codes.super_scale = 1.0 / 1024.0;
        codes.set_no_mins();
        for (sub, scale) in fields::bytes::<4>(block, 0).iter().enumerate() {
            codes.scales[sub] = steps(*scale);
            fields::spread_nibbles::<8>(fields::bytes(block, 4 + 8 * sub), &mut codes.codes[16 * sub..]);
        }
    }
}

/// An unsigned E4M3 number as a multiple of 2^-9: four bits of exponent (bias 7) above three of mantissa.
#[inline(always)]
fn steps(scale: u8) -> i32 {
    let (exponent, mantissa) = (scale >> 3 & 15, i32::from(scale & 7));
    match (scale, exponent) {
        (0x7f, _) => 0,
        (_, 0) => mantissa,
        _ => (8 + mantissa) << (exponent - 1),
    }
}

impl EncodeBlock for NVFP4 {
    /// Of the scales around the one by which the largest value gets the largest code, the one of the smallest error.
    #[inline(always)]
    fn encode<S: Simd>(s: S, input: &BlockInput<'_>, block: &mut [u8]) {
        for (sub, values) in input.values.as_chunks::<16>().0.iter().enumerate() {
            let mut weights = [1.0; 16];
            if let Some(importance) = input.importance {
                weights.copy_from_slice(&importance[16 * sub..][..16]);
            }
            let largest = scaled::value_of_largest_magnitude(s, values).abs();
            let wanted = largest / 12.0 * 1024.0;
            let proposed = (0..=126).take_while(|scale| steps(*scale) as f32 <= wanted).last().unwrap_or(0);
            let scales = [0, 1, -1, 2, -2, -3, 3, -4].map(|by| (i32::from(proposed) + by).clamp(0, 126) as u8);
            let as_float = |scale: u8| steps(scale) as f32 / 1024.0;
            let errors = scaled::errors(s, SET, &scales.map(as_float), values, &weights);
            let mut best = 0;
            for (lane, error) in errors.into_iter().enumerate() {
                if error < errors[best] {
                    best = lane;
                }
            }
            block[sub] = scales[best];
            let inverse = inverse_or_zero(as_float(scales[best]));
            let code = |i: usize| place(SET.nearest_one(values[i] * inverse));
            for (i, byte) in block[4 + 8 * sub..][..8].iter_mut().enumerate() {
                *byte = code(i) | code(i + 8) << 4;
            }
        }
    }
}
