//! IQ2_S: 256 elements in groups of eight from a grid of 1,024 points, with signs; a 4-bit scale for 16 elements.
//!
//! ```text
//!   0..2   super scale, f16
//!   2..34  byte g: lower eight bits of the grid point of group g
//!  34..66  byte g: signs of group g, bit i for its element i, set for minus
//!  66..74  bits 2g and 2g + 1 of byte i: upper two bits of the grid point of group 4 i + g
//!  74..82  byte i: scales of sub-blocks 2 i (low nibble) and 2 i + 1 (high)
//!
//! value = super scale * (scale + 1/2) / 4 * grid * sign
//! ```
//!
//! Source: ggml, `block_iq2_s`.

use std::sync::LazyLock;

use lair_gguf::TensorType;
use lair_simd::Simd;

use super::{
    block_format::BlockFormat,
    fields, iq_grids,
    iq2_xs::{pack_steps, unpack_odd_scales},
    iq2_xxs::{LEVELS, SIGNED_LEVELS, layout, search, signed},
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
pub struct IQ2_S;

impl BlockFormat for IQ2_S {
    const TENSOR_TYPE: TensorType = TensorType::IQ2_S;
    const BLOCK_LENGTH: usize = 256;
    const BLOCK_BYTES: usize = 82;
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
        unpack_odd_scales(fields::bytes::<8>(block, 74), codes);
        let low = fields::bytes::<32>(block, 2);
        let signs = fields::bytes::<32>(block, 34);
        let high = fields::bytes::<8>(block, 66);
        for (group, codes) in codes.codes.as_chunks_mut().0.iter_mut().enumerate() {
            let high = high[group / 4] >> (2 * (group % 4)) & 3;
            let point = usize::from(low[group]) | usize::from(high) << 8;
            *codes = signed(&iq_grids::IQ2_S[point], signs[group]);
        }
    }
}

static GRID: LazyLock<Grid> = LazyLock::new(|| Grid::new(&iq_grids::IQ2_S, &LEVELS, 2));

impl EncodeBlock for IQ2_S {
    #[inline(always)]
    fn encode<S: Simd>(s: S, input: &BlockInput<'_>, block: &mut [u8]) {
        let layout = layout(&GRID, 16);
        let (points, signs) = search::<S, 16>(s, &layout, weights::Known::WithBlock(2.0), Signs::Free, input);
        block.fill(0);
        block[..2].copy_from_slice(&half_bytes(points.super_scale));
        block[34..66].copy_from_slice(&signs);
        for (group, point) in points.points[..32].iter().enumerate() {
            block[2 + group] = *point as u8;
            block[66 + group / 4] |= ((point >> 8) as u8) << (2 * (group % 4));
        }
        pack_steps(&points.steps, &mut block[74..]);
    }
}
