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

use lair_gguf::TensorType;

use super::{block_format::BlockFormat, fields, iq_grids};
use crate::codes::{CodeShape, Codes};

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
