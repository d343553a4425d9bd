//! A block taken apart into integers and its one or two scales, the common shape of every quantized format.
//!
//! Every format here is affine: a block of `block_length` elements is cut into sub-blocks of 16 or 32, and
//!
//! ```text
//! value[i] = (super_scale * scales[s]) * codes[i] - (super_min * mins[s])      s = i / sub_length
//! ```
//!
//! in f32, in exactly this order. Grid formats (IQ1 to IQ3) fit it too: their codes are the signed grid entries, and
//! the halves and eighths of their scales move into `super_scale`. That changes no bit: a half-precision scale (11 bits)
//! times a sub-block scale (5) times a code (6) never needs more than the 24 bits of an f32.
//!
//! `super_scale` and `super_min` are half-precision numbers of the file, with these exceptions: the grid formats' are
//! divided by 4 or 8, MXFP4's is a power of two, NVFP4's a constant, and Q8_K's an f32.

use std::ops::RangeInclusive;

/// The longest block of any format.
pub const BLOCK_LENGTH_MAX: usize = 256;
/// The shortest sub-block of any format.
pub const SUB_LENGTH_MIN: usize = 16;
const SUB_COUNT_MAX: usize = BLOCK_LENGTH_MAX / SUB_LENGTH_MIN;

/// One block as integers; see the formula at the head of this file. Made to be filled again and again.
///
/// What lies behind the block's own `block_length` codes and `block_length / sub_length` scales and mins is left over
/// from before and means nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Codes {
    /// What all sub-block scales are multiples of.
    pub super_scale: f32,
    /// What all sub-block mins are multiples of; +0 in formats without mins.
    pub super_min: f32,
    /// `[block_length]`: one integer an element, in the order of the elements.
    pub codes: [i8; BLOCK_LENGTH_MAX],
    /// `[block_length / sub_length]`: 1 in formats whose block has only one scale.
    pub scales: [i32; SUB_COUNT_MAX],
    /// `[block_length / sub_length]`: 0 in formats without mins.
    pub mins: [i32; SUB_COUNT_MAX],
}

impl Codes {
    /// All zero, ready to be unpacked into.
    pub const fn new() -> Codes {
        Codes {
            super_scale: 0.0,
            super_min: 0.0,
            codes: [0; BLOCK_LENGTH_MAX],
            scales: [0; SUB_COUNT_MAX],
            mins: [0; SUB_COUNT_MAX],
        }
    }

    /// Sets the scales of a block that has one scale for all its elements and no min.
    #[inline(always)]
    pub(crate) fn set_one_scale(&mut self, scale: f32) {
        self.super_scale = scale;
        self.scales = [1; SUB_COUNT_MAX];
        self.set_no_mins();
    }

    /// Sets the mins of a block that has none.
    #[inline(always)]
    pub(crate) fn set_no_mins(&mut self) {
        self.super_min = 0.0;
        self.mins = [0; SUB_COUNT_MAX];
    }

    /// Multiplies the block out into `values`, a whole block of sub-blocks of `SUB_LENGTH`.
    #[inline(always)]
    pub(crate) fn multiply_out<const SUB_LENGTH: usize>(&self, has_mins: bool, values: &mut [f32]) {
        // In two passes: one over both kinds of number is unrolled as a whole and then put together badly.
        for (value, code) in values.iter_mut().zip(&self.codes) {
            *value = f32::from(*code);
        }
        let (values, []) = values.as_chunks_mut::<SUB_LENGTH>() else { unreachable!("blocks are whole sub-blocks") };
        for (sub, values) in values.iter_mut().enumerate() {
            let scale = self.super_scale * self.scales[sub] as f32;
            if has_mins {
                let min = self.super_min * self.mins[sub] as f32;
                for value in values {
                    *value = scale * *value - min;
                }
            } else {
                // Without mins the formula subtracts +0, which changes no f32.
                for value in values {
                    *value *= scale;
                }
            }
        }
    }
}

impl Default for Codes {
    fn default() -> Codes {
        Codes::new()
    }
}

/// What holds for the codes of every block of a format: how kernels choose a packed layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeShape {
    /// Elements that share a scale and a min: 16 or 32. Where the block has only one scale this is 32 and the scales
    /// are all 1.
    pub sub_length: usize,
    /// The codes that occur.
    pub code_range: RangeInclusive<i8>,
    /// The integer scales that occur.
    pub scale_range: RangeInclusive<i32>,
    /// The integer mins that occur; `0..=0` in formats without mins.
    pub min_range: RangeInclusive<i32>,
    /// For formats whose codes are not a range of integers: every code that occurs, at most 16, so that four bits can
    /// name it. Where the file itself stores four-bit indices this is its table, in its order; else it is sorted.
    pub code_table: Option<&'static [i8]>,
}

impl CodeShape {
    /// Whether blocks have mins.
    pub const fn has_mins(&self) -> bool {
        *self.min_range.start() != 0 || *self.min_range.end() != 0
    }
}
