//! Q2_K: 256 elements of 2 bits in sub-blocks of 16, each with a 4-bit scale and a 4-bit min.
//!
//! ```text
//!   0..16  byte s: scale (low nibble) and min (high nibble) of sub-block s
//!  16..80  pairs of bits: two halves of 32 bytes for 128 elements each; in a half, bits 2p and 2p + 1 of byte i hold
//!          element 32 p + i
//!  80..82  super scale, f16
//!  82..84  super min, f16
//!
//! value = (super scale * scale) * pair - (super min * min)
//! ```
//!
//! Source: ggml, `block_q2_K`.

use lair_gguf::TensorType;
use lair_simd::Simd;

use super::{block_format::BlockFormat, fields, pack::pack_pairs};
use crate::{
    codes::{CodeShape, Codes},
    encode::{BlockInput, EncodeBlock, affine, weights},
};

/// The format of this file.
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)] // The field's own spelling.
pub struct Q2_K;

impl BlockFormat for Q2_K {
    const TENSOR_TYPE: TensorType = TensorType::Q2_K;
    const BLOCK_LENGTH: usize = 256;
    const BLOCK_BYTES: usize = 84;
    const SHAPE: CodeShape =
        CodeShape { sub_length: 16, code_range: 0..=3, scale_range: 0..=15, min_range: 0..=15, code_table: None };

    #[inline(always)]
    fn unpack(block: &[u8], codes: &mut Codes) {
        codes.super_scale = fields::half(block, 80);
        codes.super_min = fields::half(block, 82);
        for (sub, byte) in fields::bytes::<16>(block, 0).iter().enumerate() {
            codes.scales[sub] = i32::from(byte & 15);
            codes.mins[sub] = i32::from(byte >> 4);
        }
        fields::spread_pairs::<32>(fields::bytes(block, 16), &mut codes.codes);
        fields::spread_pairs::<32>(fields::bytes(block, 48), &mut codes.codes[128..]);
    }
}

impl EncodeBlock for Q2_K {
    #[inline(always)]
    fn encode<S: Simd>(s: S, input: &BlockInput<'_>, block: &mut [u8]) {
        let mut weights = [0.0; 256];
        weights::fill(s, input, weights::Plain::Magnitude, weights::Known::WithBlock(1.0), 16, &mut weights);
        let values: &[f32; 256] = input.block();
        let mut fits = [affine::Fit::default(); 16];
        let subs = values.as_chunks::<16>().0.iter().zip(weights.as_chunks::<16>().0);
        for (fit, (values, weights)) in fits.iter_mut().zip(subs) {
            *fit = affine::search::<S, 16, 5>(s, 3.0, (-0.9, 0.05), values, weights);
        }
        let codes = affine::encode_super::<S, 16>(s, 3.0, 15, &fits, values, &weights);
        for (sub, byte) in block[..16].iter_mut().enumerate() {
            *byte = (codes.scales[sub] | codes.mins[sub] << 4) as u8;
        }
        let code = |i: usize| codes.codes[i] as u8;
        pack_pairs(code, &mut block[16..48]);
        pack_pairs(|i| code(128 + i), &mut block[48..80]);
        affine::store_supers(&codes, &mut block[80..]);
    }
}
