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

use lair_gguf::TensorType;

use super::{
    block_format::BlockFormat,
    fields, iq_grids,
    iq2_xxs::{signed, signs_of_seven},
};
use crate::codes::{CodeShape, Codes};

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
