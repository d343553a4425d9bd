//! IQ3_S: 256 elements in groups of four from a grid of 512 points, with signs; a 4-bit scale for 32 elements.
//!
//! ```text
//!    0..2    super scale, f16
//!    2..66   byte g: lower eight bits of the grid point of group g
//!   66..74   bit g of byte i: ninth bit of the grid point of group 8 i + g
//!   74..106  byte p: signs of groups 2p and 2p + 1, bit i for their element i, set for minus
//!  106..110  byte i: scales of sub-blocks 2 i (low nibble) and 2 i + 1 (high)
//!
//! value = super scale * (2 scale + 1) * grid * sign
//! ```
//!
//! Source: ggml, `block_iq3_s`.

use std::sync::LazyLock;

use lair_gguf::TensorType;
use lair_simd::Simd;

use super::{
    block_format::BlockFormat,
    fields, iq_grids,
    iq2_xs::{pack_steps, unpack_odd_scales},
    iq2_xxs::{layout, signed},
    iq3_xxs::{join, search},
};
use crate::{
    codes::{CodeShape, Codes},
    encode::{
        BlockInput, EncodeBlock,
        grid::{Grid, Layout, Signs},
        half_bytes, scaled,
    },
};

/// The format of this file.
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)] // The field's own spelling.
pub struct IQ3_S;

impl BlockFormat for IQ3_S {
    const TENSOR_TYPE: TensorType = TensorType::IQ3_S;
    const BLOCK_LENGTH: usize = 256;
    const BLOCK_BYTES: usize = 110;
    const SHAPE: CodeShape = CodeShape {
        sub_length: 32,
        code_range: -15..=15,
        scale_range: 1..=31,
        min_range: 0..=0,
        code_table: Some(&SIGNED_LEVELS),
    };

    #[inline(always)]
    fn unpack(block: &[u8], codes: &mut Codes) {
        codes.super_scale = fields::half(block, 0);
        codes.set_no_mins();
        unpack_odd_scales(fields::bytes::<4>(block, 106), codes);
        let low = fields::bytes::<64>(block, 2);
        let high = fields::bytes::<8>(block, 66);
        let signs = fields::bytes::<32>(block, 74);
        let point = |group: usize| usize::from(low[group]) | usize::from(high[group / 8] >> (group % 8) & 1) << 8;
        for (pair, codes) in codes.codes.as_chunks_mut().0.iter_mut().enumerate() {
            *codes = signed(&join(&iq_grids::IQ3_S, [point(2 * pair), point(2 * pair + 1)]), signs[pair]);
        }
    }
}

const SIGNED_LEVELS: [i8; 16] = [-15, -13, -11, -9, -7, -5, -3, -1, 1, 3, 5, 7, 9, 11, 13, 15];

const LEVELS: [i8; 8] = [1, 3, 5, 7, 9, 11, 13, 15];
const SET: scaled::Table = scaled::Table { sorted: &LEVELS, zoom: 8.0, nearest: &NEAREST };
static NEAREST: [f32; 256] = scaled::nearest_table(&LEVELS, 8);
const TARGETS: scaled::Targets = scaled::targets_above(12.2, 0.25);

static GRID: LazyLock<Grid> = LazyLock::new(|| Grid::new(&iq_grids::IQ3_S, &LEVELS, 2));

impl EncodeBlock for IQ3_S {
    #[inline(always)]
    fn encode<S: Simd>(s: S, input: &BlockInput<'_>, block: &mut [u8]) {
        let layout = Layout { unit: 1.0, ..layout(&GRID, 32) };
        let (points, signs) = search(s, &layout, SET, &TARGETS, Signs::Free, input);
        block.fill(0);
        block[..2].copy_from_slice(&half_bytes(points.super_scale));
        for (group, point) in points.points.iter().enumerate() {
            block[2 + group] = *point as u8;
            block[66 + group / 8] |= ((point >> 8) as u8) << (group % 8);
        }
        block[74..106].copy_from_slice(&signs);
        pack_steps(&points.steps, &mut block[106..]);
    }
}
