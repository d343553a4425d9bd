//! Q3_K: 256 elements of 3 bits around zero in sub-blocks of 16, each with a signed 6-bit scale.
//!
//! ```text
//!    0..32   third bits: bit p of byte i belongs to element 32 p + i
//!   32..96   pairs of bits: two halves of 32 bytes for 128 elements each; in a half, bits 2p and 2p + 1 of byte i hold
//!            element 32 p + i
//!   96..108  scales: bytes 0..8 hold the low nibbles of scales 0..8 (low) and 8..16 (high);
//!            bits 2g and 2g + 1 of byte 8 + i are the upper two bits of scale 4 g + i
//!  108..110  super scale, f16
//!
//! value = (super scale * (scale - 32)) * (pair + 4 * third - 4)
//! ```
//!
//! Source: ggml, `block_q3_K`.

use lair_gguf::TensorType;
use lair_simd::Simd;

use super::{block_format::BlockFormat, fields, pack::pack_pairs};
use crate::{
    codes::{CodeShape, Codes},
    encode::{BlockInput, EncodeBlock, half_bytes, scaled, weights},
};

/// The format of this file.
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)] // The field's own spelling.
pub struct Q3_K;

impl BlockFormat for Q3_K {
    const TENSOR_TYPE: TensorType = TensorType::Q3_K;
    const BLOCK_LENGTH: usize = 256;
    const BLOCK_BYTES: usize = 110;
    const SHAPE: CodeShape =
        CodeShape { sub_length: 16, code_range: -4..=3, scale_range: -32..=31, min_range: 0..=0, code_table: None };

    #[inline(always)]
    fn unpack(block: &[u8], codes: &mut Codes) {
        codes.super_scale = fields::half(block, 108);
        codes.set_no_mins();
        let low = fields::bytes::<8>(block, 96);
        let high = fields::bytes::<4>(block, 104);
        for sub in 0..16 {
            let low = (low[sub % 8] >> (4 * (sub / 8))) & 15;
            let high = (high[sub % 4] >> (2 * (sub / 4))) & 3;
            codes.scales[sub] = i32::from(low | high << 4) - 32;
        }
        let thirds = fields::bytes::<32>(block, 0);
        for plane in 0..8 {
            let pairs = fields::bytes::<32>(block, 32 + 32 * (plane / 4));
            fields::set_codes(&mut codes.codes[32 * plane..], |i| {
                (pairs[i] >> (2 * (plane % 4)) & 3 | (thirds[i] >> plane & 1) << 2).wrapping_sub(4)
            });
        }
    }
}

const SET: scaled::Integers = scaled::Integers { low: -4.0, high: 3.0 };
const TARGETS: scaled::Targets = scaled::targets(-4.0, (-0.9, 0.1), (3.1, 0.1));

impl EncodeBlock for Q3_K {
    #[inline(always)]
    fn encode<S: Simd>(s: S, input: &BlockInput<'_>, block: &mut [u8]) {
        let steps = scaled::Steps { low: -32, high: 31 };
        let rules = (weights::Plain::Spread, weights::Known::WithBlock(2.0));
        let codes = scaled::search_super::<S, _, 16>(s, SET, &TARGETS, steps, rules, input);
        block.fill(0);
        for sub in 0..16 {
            let scale = (codes.scales[sub] + 32) as u8;
            block[96 + sub % 8] |= (scale & 15) << (4 * (sub / 8));
            block[104 + sub % 4] |= scale >> 4 << (2 * (sub / 4));
        }
        let code = |i: usize| (codes.codes[i] + 4) as u8;
        for (i, thirds) in block[..32].iter_mut().enumerate() {
            *thirds = (0..8).fold(0, |bits, plane| bits | code(32 * plane + i) >> 2 << plane);
        }
        pack_pairs(|i| code(i) & 3, &mut block[32..64]);
        pack_pairs(|i| code(128 + i) & 3, &mut block[64..96]);
        block[108..].copy_from_slice(&half_bytes(codes.super_scale));
    }
}
