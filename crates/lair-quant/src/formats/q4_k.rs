//! Q4_K: 256 elements of 4 bits in sub-blocks of 32, each with a 6-bit scale and a 6-bit min.
//!
//! ```text
//!   0..2    super scale, f16
//!   2..4    super min, f16
//!   4..16   scales and mins, see `unpack_scales_and_mins`
//!  16..144  nibbles: four parts of 32 bytes for 64 elements each; in a part, byte i holds element i (low) and
//!           element i + 32 (high)
//!
//! value = (super scale * scale) * nibble - (super min * min)
//! ```
//!
//! Source: ggml, `block_q4_K`.

use lair_gguf::TensorType;
use lair_simd::Simd;

use super::{block_format::BlockFormat, fields};
use crate::{
    codes::{CodeShape, Codes},
    encode::{BlockInput, EncodeBlock, affine, weights},
};

/// The format of this file.
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)] // The field's own spelling.
pub struct Q4_K;

impl BlockFormat for Q4_K {
    const TENSOR_TYPE: TensorType = TensorType::Q4_K;
    const BLOCK_LENGTH: usize = 256;
    const BLOCK_BYTES: usize = 144;
    const SHAPE: CodeShape =
        CodeShape { sub_length: 32, code_range: 0..=15, scale_range: 0..=63, min_range: 0..=63, code_table: None };

    #[inline(always)]
    fn unpack(block: &[u8], codes: &mut Codes) {
        codes.super_scale = fields::half(block, 0);
        codes.super_min = fields::half(block, 2);
        unpack_scales_and_mins(fields::bytes(block, 4), codes);
        for part in 0..4 {
            fields::spread_nibbles::<32>(fields::bytes(block, 16 + 32 * part), &mut codes.codes[64 * part..]);
        }
    }
}

/// The eight 6-bit scales and mins of Q4_K and Q5_K.
///
/// ```text
///  0..4   byte s: scale s (low 6 bits); above it the upper 2 bits of scale s + 4
///  4..8   byte s: min s (low 6 bits); above it the upper 2 bits of min s + 4
///  8..12  byte s: the low nibbles of scale s + 4 (low) and min s + 4 (high)
/// ```
#[inline(always)]
pub(super) fn unpack_scales_and_mins(packed: &[u8; 12], codes: &mut Codes) {
    for sub in 0..4 {
        let (scale, min, low) = (packed[sub], packed[sub + 4], packed[sub + 8]);
        codes.scales[sub] = i32::from(scale & 63);
        codes.mins[sub] = i32::from(min & 63);
        codes.scales[sub + 4] = i32::from(low & 15 | scale >> 6 << 4);
        codes.mins[sub + 4] = i32::from(low >> 4 | min >> 6 << 4);
    }
}

impl EncodeBlock for Q4_K {
    #[inline(always)]
    fn encode<S: Simd>(s: S, input: &BlockInput<'_>, block: &mut [u8]) {
        let codes = search_with_min(s, 15.0, (-1.0, 0.1), input);
        affine::store_supers(&codes, block);
        block[4..16].copy_from_slice(&pack_scales_and_mins(&codes));
        for (part, bytes) in block[16..].as_chunks_mut::<32>().0.iter_mut().enumerate() {
            pack_nibbles_of_64(|i| codes.codes[64 * part + i] as u8, bytes);
        }
    }
}

/// The search of Q4_K and Q5_K; `steps` are those of [`affine::search`].
#[inline(always)]
pub(super) fn search_with_min<S: Simd>(s: S, code_max: f32, steps: (f32, f32), input: &BlockInput<'_>) -> Codes {
    let mut weights = [0.0; 256];
    weights::fill(s, input, weights::Plain::AboveMean, weights::Known::WithBlock(2.0), 32, &mut weights);
    let values: &[f32; 256] = input.block();
    let mut fits = [affine::Fit::default(); 8];
    let subs = values.as_chunks::<32>().0.iter().zip(weights.as_chunks::<32>().0);
    for (fit, (values, weights)) in fits.iter_mut().zip(subs) {
        *fit = affine::search::<S, 32, 3>(s, code_max, steps, values, weights);
    }
    affine::encode_super::<S, 32>(s, code_max, 63, &fits, values, &weights)
}

/// The inverse of [`unpack_scales_and_mins`].
pub(super) fn pack_scales_and_mins(codes: &Codes) -> [u8; 12] {
    let mut packed = [0; 12];
    for sub in 0..4 {
        let (scale, min) = (codes.scales[sub] as u8, codes.mins[sub] as u8);
        let (upper_scale, upper_min) = (codes.scales[sub + 4] as u8, codes.mins[sub + 4] as u8);
        packed[sub] = scale | upper_scale >> 4 << 6;
        packed[sub + 4] = min | upper_min >> 4 << 6;
        packed[sub + 8] = upper_scale & 15 | upper_min << 4;
    }
    packed
}

/// Stores the low nibbles of 64 codes in 32 bytes: byte i holds element i (low) and element i + 32 (high).
pub(super) fn pack_nibbles_of_64(code: impl Fn(usize) -> u8, packed: &mut [u8; 32]) {
    for (i, byte) in packed.iter_mut().enumerate() {
        *byte = code(i) & 15 | code(i + 32) << 4;
    }
}
