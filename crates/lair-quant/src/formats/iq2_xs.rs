//! IQ2_XS: 256 elements in groups of eight from a grid of 512 points, with signs; a 4-bit scale for 16 elements.
//!
//! ```text
//!   0..2   super scale, f16
//!   2..66  u16 g: bits 0 to 8 grid point, bits 9 to 15 signs of group g (see `signs_of_seven`)
//!  66..74  byte i: scales of sub-blocks 2 i (low nibble) and 2 i + 1 (high)
//!
//! value = super scale * (scale + 1/2) / 4 * grid * sign
//! ```
//!
//! Source: ggml, `block_iq2_xs`.

use std::sync::LazyLock;

use lair_gguf::TensorType;
use lair_simd::Simd;

use super::{
    block_format::BlockFormat,
    fields, iq_grids,
    iq2_xxs::{LEVELS, SIGNED_LEVELS, layout, search, signed, signs_of_seven},
};
use crate::{
    codes::{CodeShape, Codes},
    encode::{
        BlockInput, EncodeBlock,
        grid::{Grid, Signs},
        half_bytes, weights,
    },
};

/// The format of this file.
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)] // The field's own spelling.
pub struct IQ2_XS;

impl BlockFormat for IQ2_XS {
    const TENSOR_TYPE: TensorType = TensorType::IQ2_XS;
    const BLOCK_LENGTH: usize = 256;
    const BLOCK_BYTES: usize = 74;
    const SHAPE: CodeShape = CodeShape {
        sub_length: 16,
        code_range: -43..=43,
        scale_range: 1..=31,
        min_range: 0..=0,
        code_table: Some(&SIGNED_LEVELS),
    };

    #[inline(always)]
    fn unpack(block: &[u8], codes: &mut Codes) {
        // (scale + 1/2) / 4 is (2 scale + 1) / 8.
        codes.super_scale = fields::half(block, 0) * 0.125;
        codes.set_no_mins();
        unpack_odd_scales(fields::bytes::<8>(block, 66), codes);
        for (group, codes) in codes.codes.as_chunks_mut().0.iter_mut().enumerate() {
            let word = fields::word16(block, 2 + 2 * group);
            let signs = signs_of_seven(u32::from(word >> 9));
            *codes = signed(&iq_grids::IQ2_XS[usize::from(word & 511)], signs);
        }
    }
}

/// Two scales a byte, the low nibble first; a nibble n stands for 2 n + 1.
#[inline(always)]
pub(super) fn unpack_odd_scales(packed: &[u8], codes: &mut Codes) {
    for (scales, byte) in codes.scales.as_chunks_mut::<2>().0.iter_mut().zip(packed) {
        *scales = [2 * i32::from(byte & 15) + 1, 2 * i32::from(byte >> 4) + 1];
    }
}

static GRID: LazyLock<Grid> = LazyLock::new(|| Grid::new(&iq_grids::IQ2_XS, &LEVELS, 2));

impl EncodeBlock for IQ2_XS {
    #[inline(always)]
    fn encode<S: Simd>(s: S, input: &BlockInput<'_>, block: &mut [u8]) {
        let layout = layout(&GRID, 16);
        let (points, signs) = search::<S, 16>(s, &layout, weights::Known::WithBlock(1.0), Signs::Even, input);
        block[..2].copy_from_slice(&half_bytes(points.super_scale));
        for (group, bytes) in block[2..66].as_chunks_mut::<2>().0.iter_mut().enumerate() {
            *bytes = (points.points[group] | u16::from(signs[group] & 127) << 9).to_le_bytes();
        }
        pack_steps(&points.steps, &mut block[66..]);
    }
}

/// Two steps a byte, the first in the low nibble.
pub(super) fn pack_steps(steps: &[u8; 16], packed: &mut [u8]) {
    for (byte, [low, high]) in packed.iter_mut().zip(steps.as_chunks::<2>().0) {
        *byte = low | high << 4;
    }
}
