//! IQ2_XXS: 256 elements in groups of eight from a grid of 256 points, with signs; a 4-bit scale for 32 elements.
//!
//! ```text
//!  0..2   super scale, f16
//!  2..66  eight parts of 8 bytes for 32 elements each:
//!         0..4  byte g: grid point of group g
//!         4..8  u32: bits 7g to 7g + 6 are the signs of group g (see `signs_of_seven`), bits 28 to 31 the scale
//!
//! value = super scale * (scale + 1/2) / 4 * grid * sign
//! ```
//!
//! Source: ggml, `block_iq2_xxs`.

use std::sync::LazyLock;

use lair_gguf::TensorType;
use lair_simd::Simd;

use super::{block_format::BlockFormat, fields, iq_grids};
use crate::{
    codes::{CodeShape, Codes},
    encode::{
        BlockInput, EncodeBlock,
        grid::{self, Grid, Layout, Signs},
        half_bytes, scaled, weights,
    },
};

/// The format of this file.
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)] // The field's own spelling.
pub struct IQ2_XXS;

impl BlockFormat for IQ2_XXS {
    const TENSOR_TYPE: TensorType = TensorType::IQ2_XXS;
    const BLOCK_LENGTH: usize = 256;
    const BLOCK_BYTES: usize = 66;
    const SHAPE: CodeShape = CodeShape {
        sub_length: 32,
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
        for sub in 0..8 {
            let points = fields::bytes::<4>(block, 2 + 8 * sub);
            let word = fields::word32(block, 6 + 8 * sub);
            codes.scales[sub] = 2 * (word >> 28) as i32 + 1;
            for (group, point) in points.iter().enumerate() {
                let signs = signs_of_seven(word >> (7 * group) & 127);
                codes.codes.as_chunks_mut().0[4 * sub + group] = signed(&iq_grids::IQ2_XXS[usize::from(*point)], signs);
            }
        }
    }
}

/// Every code of the IQ2 formats.
pub(super) const SIGNED_LEVELS: [i8; 6] = [-43, -25, -8, 8, 25, 43];

/// The signs of eight elements, of which seven are stored: the number of minus signs is always even.
#[inline(always)]
pub(super) fn signs_of_seven(bits: u32) -> u8 {
    (bits | (bits.count_ones() & 1) << 7) as u8
}

/// A grid point with the sign of element i turned where bit i of `signs` is set.
#[inline(always)]
pub(super) fn signed(point: &[i8; 8], signs: u8) -> [i8; 8] {
    std::array::from_fn(|i| {
        let mask = -((signs >> i & 1) as i8);
        (point[i] ^ mask) - mask
    })
}

/// The levels of the IQ2 grids, and where the largest value may lie among them.
pub(super) const LEVELS: [i8; 3] = [8, 25, 43];
pub(super) const SET: scaled::Table = scaled::Table { sorted: &LEVELS, zoom: 2.0, nearest: &NEAREST };
static NEAREST: [f32; 256] = scaled::nearest_table(&LEVELS, 2);
pub(super) const TARGETS: scaled::Targets = scaled::targets_above(36.0, 1.5);
/// The shifts of a format that has none.
pub(super) const NO_SHIFTS: [f32; 1] = [0.0];

static GRID: LazyLock<Grid> = LazyLock::new(|| Grid::new(&iq_grids::IQ2_XXS, &LEVELS, 2));

impl EncodeBlock for IQ2_XXS {
    #[inline(always)]
    fn encode<S: Simd>(s: S, input: &BlockInput<'_>, block: &mut [u8]) {
        let layout = layout(&GRID, 32);
        let (points, signs) = search::<S, 32>(s, &layout, weights::Known::WithBlock(1.0), Signs::Even, input);
        block[..2].copy_from_slice(&half_bytes(points.super_scale));
        for (sub, bytes) in block[2..].as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let mut word = u32::from(points.steps[sub]) << 28;
            for group in 0..4 {
                bytes[group] = points.points[4 * sub + group] as u8;
                word |= u32::from(signs[4 * sub + group] & 127) << (7 * group);
            }
            bytes[4..].copy_from_slice(&word.to_le_bytes());
        }
    }
}

/// The layout of the IQ2 formats.
pub(super) fn layout(grid: &Grid, sub_length: usize) -> Layout<'_> {
    let (unit, step_max) = (0.125, 15);
    Layout { grid, sub_length, unit, step_max, shifts: &NO_SHIFTS, has_shift_for_each_group: false }
}

/// The search of the IQ2 formats: points of the magnitudes, and the signs of each eight elements.
#[inline(always)]
pub(super) fn search<S: Simd, const SUB: usize>(
    s: S,
    layout: &Layout<'_>,
    known: weights::Known,
    rule: Signs,
    input: &BlockInput<'_>,
) -> (grid::Points, [u8; 32]) {
    let (mut weights, mut magnitudes) = ([0.0; 256], [0.0; 256]);
    weights::fill(s, input, weights::Plain::Spread, known, SUB, &mut weights);
    let signs = grid::split_signs(rule, input.block(), &weights, &mut magnitudes);
    let guesses = grid::guesses::<S, _, SUB>(s, &[SET], &TARGETS, &magnitudes, &weights);
    (layout.encode(s, &guesses[..256 / SUB], &magnitudes, &weights), signs)
}
