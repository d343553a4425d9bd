//! IQ1_M: 256 elements in groups of eight from the grid of IQ1_S, each group with its own shift; a 3-bit scale for 16
//! elements.
//!
//! ```text
//!   0..32  byte g: lower eight bits of the grid point of group g
//!  32..48  byte i: groups 2 i (low nibble) and 2 i + 1 (high); three bits are the upper bits of the grid point, the
//!          fourth is set for a shift downwards
//!  48..56  u16 i: bits 3s to 3s + 2 are the scale of sub-block 4 i + s, bits 12 to 15 are bits 4i to 4i + 3 of the
//!          super scale, f16
//!
//! value = super scale * (2 scale + 1) * (grid + shift)      shift = 1/8 or -1/8
//! ```
//!
//! Source: ggml, `block_iq1_m`.

use half::f16;
use lair_gguf::TensorType;
use lair_simd::Simd;

use super::{
    block_format::BlockFormat,
    fields, iq_grids,
    iq1_s::{SHIFTED_LEVELS, layout, search, shifted},
};
use crate::{
    codes::{CodeShape, Codes},
    encode::{BlockInput, EncodeBlock},
};

/// The format of this file.
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)] // The field's own spelling.
pub struct IQ1_M;

impl BlockFormat for IQ1_M {
    const TENSOR_TYPE: TensorType = TensorType::IQ1_M;
    const BLOCK_LENGTH: usize = 256;
    const BLOCK_BYTES: usize = 56;
    const SHAPE: CodeShape = CodeShape {
        sub_length: 16,
        code_range: -9..=9,
        scale_range: 1..=15,
        min_range: 0..=0,
        code_table: Some(&SHIFTED_LEVELS),
    };

    #[inline(always)]
    fn unpack(block: &[u8], codes: &mut Codes) {
        let low = fields::bytes::<32>(block, 0);
        let high = fields::bytes::<16>(block, 32);
        let mut super_scale = 0;
        for i in 0..4 {
            let word = fields::word16(block, 48 + 2 * i);
            super_scale |= word >> 12 << (4 * i);
            for sub in 0..4 {
                codes.scales[4 * i + sub] = 2 * i32::from(word >> (3 * sub) & 7) + 1;
            }
        }
        // Codes are eighths, so that shifted points are integers.
        codes.super_scale = f16::from_bits(super_scale).to_f32() * 0.125;
        codes.set_no_mins();
        for (group, codes) in codes.codes.as_chunks_mut().0.iter_mut().enumerate() {
            let nibble = high[group / 2] >> (4 * (group % 2)) & 15;
            let point = usize::from(low[group]) | usize::from(nibble & 7) << 8;
            *codes = shifted(&iq_grids::IQ1[point], nibble & 8 != 0);
        }
    }
}

impl EncodeBlock for IQ1_M {
    #[inline(always)]
    fn encode<S: Simd>(s: S, input: &BlockInput<'_>, block: &mut [u8]) {
        let points = search::<S, 16>(s, &layout(16), input);
        let super_scale = f16::from_f32(points.super_scale).to_bits();
        block.fill(0);
        for (group, point) in points.points[..32].iter().enumerate() {
            block[group] = *point as u8;
            block[32 + group / 2] |= ((point >> 8) as u8 | points.shifts[group] << 3) << (4 * (group % 2));
        }
        for (i, bytes) in block[48..].as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let steps = (0..4).fold(0, |bits, sub| bits | u16::from(points.steps[4 * i + sub]) << (3 * sub));
            *bytes = (steps | (super_scale >> (4 * i) & 15) << 12).to_le_bytes();
        }
    }
}
