//! IQ4_NL: 32 elements of 4 bits that index a table of unevenly spaced codes, one scale.
//!
//! ```text
//!  0..2   scale, f16
//!  2..18  nibbles: byte i holds element i (low) and element i + 16 (high)
//!
//! value = scale * TABLE[nibble]
//! ```
//!
//! Source: ggml, `block_iq4_nl` and `kvalues_iq4nl`.

use lair_gguf::TensorType;
use lair_simd::Simd;

use super::{block_format::BlockFormat, fields, pack::pack_nibbles};
use crate::{
    codes::{CodeShape, Codes},
    encode::{BlockInput, EncodeBlock, half_bytes, scaled, weights},
};

/// The format of this file.
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)] // The field's own spelling.
pub struct IQ4_NL;

impl BlockFormat for IQ4_NL {
    const TENSOR_TYPE: TensorType = TensorType::IQ4_NL;
    const BLOCK_LENGTH: usize = 32;
    const BLOCK_BYTES: usize = 18;
    const SHAPE: CodeShape = CodeShape {
        sub_length: 32,
        code_range: -127..=113,
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
        codes.set_one_scale(fields::half(block, 0));
        fields::spread_nibbles::<16>(fields::bytes(block, 2), &mut codes.codes);
    }
}

/// The codes of IQ4_NL and IQ4_XS.
pub(super) const TABLE: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

pub(super) const SET: scaled::Table = scaled::Table { sorted: &TABLE, zoom: 1.0, nearest: &NEAREST };
pub(super) const TARGETS: scaled::Targets = scaled::targets(-127.0, (-9.0, 0.8), (117.0, 3.0));
static NEAREST: [f32; 256] = scaled::nearest_table(&TABLE, 1);

/// The place of a code in [`TABLE`].
#[inline(always)]
pub(super) fn place(code: i8) -> u8 {
    TABLE.partition_point(|other| *other < code) as u8
}

impl EncodeBlock for IQ4_NL {
    #[inline(always)]
    fn encode<S: Simd>(s: S, input: &BlockInput<'_>, block: &mut [u8]) {
        let mut weights = [0.0; 32];
        weights::fill(s, input, weights::Plain::Spread, weights::Known::WithBlock(2.0), 32, &mut weights);
        let (scale, codes) = scaled::encode_alone(s, SET, &TARGETS, input.block(), &weights);
        block[..2].copy_from_slice(&half_bytes(scale));
        pack_nibbles(|i| place(codes[i]), &mut block[2..]);
    }
}
