//! Q5_K: 256 elements of 5 bits in sub-blocks of 32, each with a 6-bit scale and a 6-bit min.
//!
//! ```text
//!   0..2    super scale, f16
//!   2..4    super min, f16
//!   4..16   scales and mins, as in Q4_K
//!  16..48   fifth bits: bit s of byte i belongs to element 32 s + i
//!  48..176  nibbles, as in Q4_K
//!
//! value = (super scale * scale) * (nibble + 16 * fifth) - (super min * min)
//! ```
//!
//! Source: ggml, `block_q5_K`.

use lair_gguf::TensorType;
use lair_simd::Simd;

use super::{
    block_format::BlockFormat,
    fields,
    q4_k::{pack_nibbles_of_64, pack_scales_and_mins, search_with_min, unpack_scales_and_mins},
};
use crate::{
    codes::{CodeShape, Codes},
    encode::{BlockInput, EncodeBlock, affine},
};

/// The format of this file.
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)] // The field's own spelling.
pub struct Q5_K;

impl BlockFormat for Q5_K {
    const TENSOR_TYPE: TensorType = TensorType::Q5_K;
    const BLOCK_LENGTH: usize = 256;
    const BLOCK_BYTES: usize = 176;
    const SHAPE: CodeShape =
        CodeShape { sub_length: 32, code_range: 0..=31, scale_range: 0..=63, min_range: 0..=63, code_table: None };

    #[inline(always)]
    fn unpack(block: &[u8], codes: &mut Codes) {
        codes.super_scale = fields::half(block, 0);
        codes.super_min = fields::half(block, 2);
        unpack_scales_and_mins(fields::bytes(block, 4), codes);
        let fifths = fields::bytes::<32>(block, 16);
        for sub in 0..8 {
            let nibbles = fields::bytes::<32>(block, 48 + 32 * (sub / 2));
            fields::set_codes(&mut codes.codes[32 * sub..], |i| {
                nibbles[i] >> (4 * (sub % 2)) & 15 | (fifths[i] >> sub & 1) << 4
            });
        }
    }
}

impl EncodeBlock for Q5_K {
    #[inline(always)]
    fn encode<S: Simd>(s: S, input: &BlockInput<'_>, block: &mut [u8]) {
        let codes = search_with_min(s, 31.0, (-0.9, 0.1), input);
        affine::store_supers(&codes, block);
        block[4..16].copy_from_slice(&pack_scales_and_mins(&codes));
        let code = |i: usize| codes.codes[i] as u8;
        for (i, fifths) in block[16..48].iter_mut().enumerate() {
            *fifths = (0..8).fold(0, |bits, sub| bits | code(32 * sub + i) >> 4 << sub);
        }
        for (part, bytes) in block[48..].as_chunks_mut::<32>().0.iter_mut().enumerate() {
            pack_nibbles_of_64(|i| code(64 * part + i), bytes);
        }
    }
}
