//! IQ1_S: 256 elements in groups of eight from a grid of 2,048 ternary points, shifted a little up or down; a 3-bit scale
//! for 32 elements.
//!
//! ```text
//!   0..2   super scale, f16
//!   2..34  byte g: lower eight bits of the grid point of group g
//!  34..50  u16 i for 32 elements each: bits 3g to 3g + 2 are the upper three bits of the grid point of group 4 i + g,
//!          bits 12 to 14 the scale, bit 15 set for a shift downwards
//!
//! value = super scale * (2 scale + 1) * (grid + shift)      shift = 1/8 or -1/8
//! ```
//!
//! Source: ggml, `block_iq1_s`.

use std::sync::LazyLock;

use lair_gguf::TensorType;
use lair_simd::Simd;

use super::{block_format::BlockFormat, fields, iq_grids};
use crate::{
    codes::{CodeShape, Codes},
    encode::{
        BlockInput, EncodeBlock,
        grid::{self, Grid, Layout},
        half_bytes, ternary, weights,
    },
};

/// The format of this file.
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)] // The field's own spelling.
pub struct IQ1_S;

impl BlockFormat for IQ1_S {
    const TENSOR_TYPE: TensorType = TensorType::IQ1_S;
    const BLOCK_LENGTH: usize = 256;
    const BLOCK_BYTES: usize = 50;
    const SHAPE: CodeShape = CodeShape {
        sub_length: 32,
        code_range: -9..=9,
        scale_range: 1..=15,
        min_range: 0..=0,
        code_table: Some(&SHIFTED_LEVELS),
    };

    #[inline(always)]
    fn unpack(block: &[u8], codes: &mut Codes) {
        // Codes are eighths, so that shifted points are integers.
        codes.super_scale = fields::half(block, 0) * 0.125;
        codes.set_no_mins();
        let low = fields::bytes::<32>(block, 2);
        for sub in 0..8 {
            let word = fields::word16(block, 34 + 2 * sub);
            codes.scales[sub] = 2 * i32::from(word >> 12 & 7) + 1;
            for group in 0..4 {
                let point = usize::from(low[4 * sub + group]) | usize::from(word >> (3 * group) & 7) << 8;
                codes.codes.as_chunks_mut().0[4 * sub + group] = shifted(&iq_grids::IQ1[point], word >> 15 != 0);
            }
        }
    }
}

/// Every code of the IQ1 formats.
pub(super) const SHIFTED_LEVELS: [i8; 6] = [-9, -7, -1, 1, 7, 9];

/// A ternary point in eighths, shifted by one eighth.
#[inline(always)]
pub(super) fn shifted(point: &[i8; 8], is_down: bool) -> [i8; 8] {
    point.map(|element| 8 * element + if is_down { -1 } else { 1 })
}

/// Half a step of a grid of eighths, in whole steps.
pub(super) const SHIFTS: [f32; 2] = [0.125, -0.125];
pub(super) const SETS: [ternary::Shifted; 2] = [ternary::Shifted(0.125), ternary::Shifted(-0.125)];
pub(super) static GRID: LazyLock<Grid> = LazyLock::new(|| Grid::new(&iq_grids::IQ1, &[-1, 0, 1], 3));

impl EncodeBlock for IQ1_S {
    #[inline(always)]
    fn encode<S: Simd>(s: S, input: &BlockInput<'_>, block: &mut [u8]) {
        let layout = layout(32);
        let points = search::<S, 32>(s, &layout, input);
        block[..2].copy_from_slice(&half_bytes(points.super_scale));
        for (sub, bytes) in block[34..].as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let upper = (0..4).fold(0, |bits, group| bits | points.points[4 * sub + group] >> 8 << (3 * group));
            let shift = u16::from(points.shifts[4 * sub]);
            *bytes = (upper | u16::from(points.steps[sub]) << 12 | shift << 15).to_le_bytes();
        }
        for (byte, point) in block[2..34].iter_mut().zip(points.points) {
            *byte = point as u8;
        }
    }
}

/// The layout of the IQ1 formats.
pub(super) fn layout(sub_length: usize) -> Layout<'static> {
    let has_shift_for_each_group = sub_length == 16;
    Layout { grid: &GRID, sub_length, unit: 1.0, step_max: 7, shifts: &SHIFTS, has_shift_for_each_group }
}

/// The search of the IQ1 formats.
#[inline(always)]
pub(super) fn search<S: Simd, const SUB: usize>(s: S, layout: &Layout<'_>, input: &BlockInput<'_>) -> grid::Points {
    let mut weights = [0.0; 256];
    weights::fill(s, input, weights::Plain::Spread, weights::Known::WithBlock(2.0), SUB, &mut weights);
    let values = input.block();
    let guesses = grid::guesses::<S, _, SUB>(s, &SETS, &ternary::TARGETS, values, &weights);
    layout.encode(s, &guesses[..256 / SUB], values, &weights)
}
