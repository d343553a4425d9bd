//! IQ3_XXS: 256 elements in groups of four from a grid of 256 points, with signs; a 4-bit scale for 32 elements.
//!
//! ```text
//!   0..2   super scale, f16
//!   2..66  byte g: grid point of group g
//!  66..98  eight u32, one for 32 elements each: bits 7p to 7p + 6 are the signs of groups 2p and 2p + 1 together (see
//!          `signs_of_seven`), bits 28 to 31 the scale
//!
//! value = super scale * (scale + 1/2) / 2 * grid * sign
//! ```
//!
//! Source: ggml, `block_iq3_xxs`.

use std::sync::LazyLock;

use lair_gguf::TensorType;
use lair_simd::Simd;

use super::{
    block_format::BlockFormat,
    fields, iq_grids,
    iq2_xxs::{layout, signed, signs_of_seven},
};
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
pub struct IQ3_XXS;

impl BlockFormat for IQ3_XXS {
    const TENSOR_TYPE: TensorType = TensorType::IQ3_XXS;
    const BLOCK_LENGTH: usize = 256;
    const BLOCK_BYTES: usize = 98;
    const SHAPE: CodeShape = CodeShape {
        sub_length: 32,
        code_range: -62..=62,
        scale_range: 1..=31,
        min_range: 0..=0,
        code_table: Some(&SIGNED_LEVELS),
    };

    #[inline(always)]
    fn unpack(block: &[u8], codes: &mut Codes) {
        // (scale + 1/2) / 2 is (2 scale + 1) / 4.
        codes.super_scale = fields::half(block, 0) * 0.25;
        codes.set_no_mins();
        let points = fields::bytes::<64>(block, 2);
        for sub in 0..8 {
            let word = fields::word32(block, 66 + 4 * sub);
            codes.scales[sub] = 2 * (word >> 28) as i32 + 1;
            for pair in 0..4 {
                let signs = signs_of_seven(word >> (7 * pair) & 127);
                let first = 8 * sub + 2 * pair;
                let pair_of_points = [usize::from(points[first]), usize::from(points[first + 1])];
                codes.codes.as_chunks_mut().0[4 * sub + pair] =
                    signed(&join(&iq_grids::IQ3_XXS, pair_of_points), signs);
            }
        }
    }
}

const SIGNED_LEVELS: [i8; 16] = [-62, -52, -44, -36, -28, -20, -12, -4, 4, 12, 20, 28, 36, 44, 52, 62];

/// Two grid points of four elements, one after the other.
#[inline(always)]
pub(super) fn join<const COUNT: usize>(grid: &[[i8; 4]; COUNT], points: [usize; 2]) -> [i8; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (grid[points[0]], grid[points[1]]);
    [a, b, c, d, e, f, g, h]
}

const LEVELS: [i8; 8] = [4, 12, 20, 28, 36, 44, 52, 62];
const SET: scaled::Table = scaled::Table { sorted: &LEVELS, zoom: 2.0, nearest: &NEAREST };
static NEAREST: [f32; 256] = scaled::nearest_table(&LEVELS, 2);
const TARGETS: scaled::Targets = scaled::targets_above(50.0, 1.0);

static GRID: LazyLock<Grid> = LazyLock::new(|| Grid::new(&iq_grids::IQ3_XXS, &LEVELS, 2));

impl EncodeBlock for IQ3_XXS {
    #[inline(always)]
    fn encode<S: Simd>(s: S, input: &BlockInput<'_>, block: &mut [u8]) {
        let layout = Layout { unit: 0.25, ..layout(&GRID, 32) };
        let (points, signs) = search(s, &layout, SET, &TARGETS, Signs::Even, input);
        block[..2].copy_from_slice(&half_bytes(points.super_scale));
        for (byte, point) in block[2..66].iter_mut().zip(points.points) {
            *byte = point as u8;
        }
        for (sub, bytes) in block[66..].as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let signs = (0..4).fold(0, |bits, pair| bits | u32::from(signs[4 * sub + pair] & 127) << (7 * pair));
            *bytes = (signs | u32::from(points.steps[sub]) << 28).to_le_bytes();
        }
    }
}

/// The search of the IQ3 formats: points of the magnitudes, and the signs of each eight elements.
#[inline(always)]
pub(super) fn search<S: Simd>(
    s: S,
    layout: &Layout<'_>,
    set: scaled::Table,
    targets: &scaled::Targets,
    rule: Signs,
    input: &BlockInput<'_>,
) -> (grid::Points, [u8; 32]) {
    let (mut weights, mut magnitudes) = ([0.0; 256], [0.0; 256]);
    weights::fill(s, input, weights::Plain::Spread, weights::Known::WithBlock(2.0), 32, &mut weights);
    let signs = grid::split_signs(rule, input.block(), &weights, &mut magnitudes);
    let guesses = grid::guesses::<S, _, 32>(s, &[set], targets, &magnitudes, &weights);
    (layout.encode(s, &guesses[..8], &magnitudes, &weights), signs)
}
