//! Q6_K: 256 elements of 6 bits around zero in sub-blocks of 16, each with a signed 8-bit scale.
//!
//! ```text
//!    0..128  nibbles: two halves of 64 bytes for 128 elements each; in a half, byte i holds element i (low) and
//!            element i + 64 (high)
//!  128..192  upper pairs of bits: two halves of 32 bytes; in a half, bits 2p and 2p + 1 of byte i belong to
//!            element 32 p + i
//!  192..208  scales, i8
//!  208..210  super scale, f16
//!
//! value = (super scale * scale) * (nibble + 16 * pair - 32)
//! ```
//!
//! Source: ggml, `block_q6_K`.

use lair_gguf::TensorType;
use lair_simd::Simd;

use super::{block_format::BlockFormat, fields};
use crate::{
    codes::{CodeShape, Codes},
    encode::{BlockInput, EncodeBlock, half_bytes, scaled, weights},
};

/// The format of this file.
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)] // The field's own spelling.
pub struct Q6_K;

impl BlockFormat for Q6_K {
    const TENSOR_TYPE: TensorType = TensorType::Q6_K;
    const BLOCK_LENGTH: usize = 256;
    const BLOCK_BYTES: usize = 210;
    const SHAPE: CodeShape =
        CodeShape { sub_length: 16, code_range: -32..=31, scale_range: -128..=127, min_range: 0..=0, code_table: None };

    #[inline(always)]
    fn unpack(block: &[u8], codes: &mut Codes) {
        codes.super_scale = fields::half(block, 208);
        codes.set_no_mins();
        for (scale, byte) in codes.scales.iter_mut().zip(fields::bytes::<16>(block, 192)) {
            *scale = i32::from(*byte as i8);
        }
        for half in 0..2 {
            let nibbles = fields::bytes::<64>(block, 64 * half);
            let pairs = fields::bytes::<32>(block, 128 + 32 * half);
            for plane in 0..4 {
                let nibbles = &nibbles[32 * (plane % 2)..][..32];
                fields::set_codes(&mut codes.codes[128 * half + 32 * plane..], |i| {
                    let nibble = nibbles[i] >> (4 * (plane / 2)) & 15;
                    (nibble | (pairs[i] >> (2 * plane) & 3) << 4).wrapping_sub(32)
                });
            }
        }
    }
}

const SET: scaled::Integers = scaled::Integers { low: -32.0, high: 31.0 };
const TARGETS: scaled::Targets = scaled::targets(-32.0, (-0.9, 0.1), (31.1, 0.1));

impl EncodeBlock for Q6_K {
    #[inline(always)]
    fn encode<S: Simd>(s: S, input: &BlockInput<'_>, block: &mut [u8]) {
        let steps = scaled::Steps { low: -128, high: 127 };
        let rules = (weights::Plain::Spread, weights::Known::Alone);
        let codes = scaled::search_super::<S, _, 16>(s, SET, &TARGETS, steps, rules, input);
        let code = |i: usize| (codes.codes[i] + 32) as u8;
        for half in 0..2 {
            for i in 0..32 {
                let planes: [u8; 4] = std::array::from_fn(|plane| code(128 * half + 32 * plane + i));
                block[64 * half + i] = planes[0] & 15 | planes[2] << 4;
                block[64 * half + 32 + i] = planes[1] & 15 | planes[3] << 4;
                let pairs = planes.map(|code| code >> 4);
                block[128 + 32 * half + i] = pairs[0] | pairs[1] << 2 | pairs[2] << 4 | pairs[3] << 6;
            }
        }
        for (byte, scale) in block[192..208].iter_mut().zip(codes.scales) {
            *byte = scale as i8 as u8;
        }
        block[208..].copy_from_slice(&half_bytes(codes.super_scale));
    }
}
