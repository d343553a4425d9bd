//! TQ2_0: 256 elements of two bits, meant to be ternary, one scale.
//!
//! ```text
//!   0..64  pairs of bits: two halves of 32 bytes for 128 elements each; in a half, bits 2p and 2p + 1 of byte i hold
//!          element 32 p + i
//!  64..66  scale, f16
//!
//! value = scale * (pair - 1)
//! ```
//!
//! A pair of 3 should not occur; it is read as 2.
//!
//! Source: ggml, `block_tq2_0`.

use lair_gguf::TensorType;
use lair_simd::Simd;

use super::{block_format::BlockFormat, fields, pack::pack_pairs, tq1_0::ternary_digits};
use crate::{
    codes::{CodeShape, Codes},
    encode::{BlockInput, EncodeBlock, half_bytes},
};

/// The format of this file.
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)] // The field's own spelling.
pub struct TQ2_0;

impl BlockFormat for TQ2_0 {
    const TENSOR_TYPE: TensorType = TensorType::TQ2_0;
    const BLOCK_LENGTH: usize = 256;
    const BLOCK_BYTES: usize = 66;
    const SHAPE: CodeShape =
        CodeShape { sub_length: 32, code_range: -1..=2, scale_range: 1..=1, min_range: 0..=0, code_table: None };

    #[inline(always)]
    fn unpack(block: &[u8], codes: &mut Codes) {
        codes.set_one_scale(fields::half(block, 64));
        fields::spread_pairs::<32>(fields::bytes(block, 0), &mut codes.codes);
        fields::spread_pairs::<32>(fields::bytes(block, 32), &mut codes.codes[128..]);
        fields::offset(&mut codes.codes, -1);
    }
}

impl EncodeBlock for TQ2_0 {
    /// The largest magnitude becomes 1; for weights that are ternary already.
    #[inline(always)]
    fn encode<S: Simd>(s: S, input: &BlockInput<'_>, block: &mut [u8]) {
        let (scale, digits) = ternary_digits(s, input.block());
        pack_pairs(|i| digits[i], &mut block[..32]);
        pack_pairs(|i| digits[128 + i], &mut block[32..64]);
        block[64..].copy_from_slice(&half_bytes(scale));
    }
}
