//! IQ4_XS: 256 elements of 4 bits that index the table of IQ4_NL, with a signed 6-bit scale for 32 elements.
//!
//! ```text
//!  0..2    super scale, f16
//!  2..4    u16: bits 2s and 2s + 1 are the upper two bits of scale s
//!  4..8    byte i: lower four bits of scales 2 i (low nibble) and 2 i + 1 (high)
//!  8..136  nibbles: eight parts of 16 bytes for 32 elements each; in a part, byte i holds element i (low) and
//!          element i + 16 (high)
//!
//! value = (super scale * (scale - 32)) * TABLE[nibble]
//! ```
//!
//! Source: ggml, `block_iq4_xs`.

use lair_gguf::TensorType;
use lair_simd::Simd;

use super::{
    block_format::BlockFormat,
    fields,
    iq4_nl::{SET, TABLE, TARGETS, place},
    pack::pack_nibbles,
};
use crate::{
    codes::{CodeShape, Codes},
    encode::{BlockInput, EncodeBlock, half_bytes, scaled, weights},
};

/// The format of this file.
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)] // The field's own spelling.
pub struct IQ4_XS;

impl BlockFormat for IQ4_XS {
    const TENSOR_TYPE: TensorType = TensorType::IQ4_XS;
    const BLOCK_LENGTH: usize = 256;
    const BLOCK_BYTES: usize = 136;
    const SHAPE: CodeShape = CodeShape {
        sub_length: 32,
        code_range: -127..=113,
        scale_range: -32..=31,
        min_range: 0..=0,
        code_table: Some(&TABLE),
    };

    const HAS_PLACES: bool = true;

    #[inline(always)]
    fn unpack(block: &[u8], codes: &mut Codes) {
        Self::unpack_places(block, codes);
        fields::look_up(&TABLE, &mut codes.codes);
    }

    #[inline(always)]
    fn unpack_places(block: &[u8], codes: &mut Codes) {
        codes.super_scale = fields::half(block, 0);
        codes.set_no_mins();
        let high = fields::word16(block, 2);
        let low = fields::bytes::<4>(block, 4);
        for sub in 0..8 {
            let high = high >> (2 * sub) & 3;
            let low = low[sub / 2] >> (4 * (sub % 2)) & 15;
            codes.scales[sub] = i32::from(high << 4 | u16::from(low)) - 32;
            fields::spread_nibbles::<16>(fields::bytes(block, 8 + 16 * sub), &mut codes.codes[32 * sub..]);
        }
    }
}

impl EncodeBlock for IQ4_XS {
    #[inline(always)]
    fn encode<S: Simd>(s: S, input: &BlockInput<'_>, block: &mut [u8]) {
        let steps = scaled::Steps { low: -32, high: 31 };
        let rules = (weights::Plain::Spread, weights::Known::WithBlock(2.0));
        let codes = scaled::search_super::<S, _, 32>(s, SET, &TARGETS, steps, rules, input);
        block.fill(0);
        block[..2].copy_from_slice(&half_bytes(codes.super_scale));
        for (sub, bytes) in codes.codes.as_chunks::<32>().0.iter().enumerate() {
            let scale = (codes.scales[sub] + 32) as u8;
            block[2 + sub / 4] |= scale >> 4 << (2 * (sub % 4));
            block[4 + sub / 2] |= (scale & 15) << (4 * (sub % 2));
            pack_nibbles(|i| place(bytes[i]), &mut block[8 + 16 * sub..]);
        }
    }
}
