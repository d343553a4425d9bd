//! Quantised weights as they lie in memory: 16 rows side by side, four elements of each at a time, whatever the format.
//!
//! ```text
//! matrix   [count, panels of 16 rows, blocks of 32 columns]
//! block    8 groups of 4 columns; a group is 64 bytes, 16 rows x 4 columns, one byte a code once it is expanded
//! packed   4 bits: 4 x 64 bytes, group 2j in the low nibbles and 2j + 1 in the high ones of part j
//!          2 bits: 2 x 64 bytes, groups 4p .. 4p + 3 in part p, two bits each; 1 bit: 64 bytes, group g in bit g
//!          3 = 2 + 1, 5 = 4 + 1, 6 = 4 + 2 bits; 8 bits: 8 x 64 bytes
//! scales   a stream of their own, in records ([`Layout::record_bytes`]): a number for each sub-block, or for 256 columns
//!          one and a small integer for each sub-block. Those of four sub-blocks and 16 rows are a group, packed as
//!          codes are in 4, 6 or 8 bits
//! ```
//!
//! Codes are kept unsigned (`code + offset`), so that products of unsigned with signed bytes serve every format. One
//! group is the width of an AVX-512 register, which multiplies it with four activations of a token in one instruction.

use std::ops::Range;

use lair_quant::{CodeShape, Format, TensorType};

use super::memory::{Lasting, Memory, Use};
use crate::{ComputeError, MatrixBytes, WeightBytes};

/// Rows of a panel.
pub(super) const PANEL: usize = 16;
/// Columns of a block.
pub(super) const BLOCK: usize = super::quantise::BLOCK;
/// Bytes of a group: four columns of a panel.
pub(super) const GROUP_BYTES: usize = 4 * PANEL;
/// Columns that share a super scale.
const SUPER: usize = 256;

/// How many bits a code takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CodeBits {
    Two,
    Three,
    Four,
    Five,
    Six,
    Eight,
}

impl CodeBits {
    /// The smallest that hold `code_count` different codes.
    pub(super) fn for_count(code_count: usize) -> CodeBits {
        match code_count {
            0..=4 => CodeBits::Two,
            5..=8 => CodeBits::Three,
            9..=16 => CodeBits::Four,
            17..=32 => CodeBits::Five,
            33..=64 => CodeBits::Six,
            _ => CodeBits::Eight,
        }
    }

    /// Bytes of a block of 16 rows.
    pub(super) fn block_bytes(self) -> usize {
        GROUP_BYTES
            * match self {
                CodeBits::Two => 2,
                CodeBits::Three => 3,
                CodeBits::Four => 4,
                CodeBits::Five => 5,
                CodeBits::Six => 6,
                CodeBits::Eight => 8,
            }
    }
}

/// How many bits the scale (or min) of a sub-block takes where 256 columns share a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SubBits {
    Four,
    Six,
    /// Of which some are signed.
    Eight,
}

/// How scales (and mins) of sub-blocks are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScaleForm {
    /// A half-precision number for each sub-block.
    Half,
    /// The upper half of an f32 for each sub-block: exact where scales are powers of two or small floats.
    Brain,
    /// A small integer for each sub-block ([`SubBits`]), times an f32 for each 256 columns.
    Super,
    /// The same with a half-precision number for each 256 columns, where the file has one and nothing else in it.
    HalfSuper,
}

impl ScaleForm {
    /// Bytes of a number that 256 columns share.
    pub(super) fn super_bytes(self) -> Option<usize> {
        match self {
            ScaleForm::Half | ScaleForm::Brain => None,
            ScaleForm::Super => Some(4),
            ScaleForm::HalfSuper => Some(2),
        }
    }
}

/// What holds for every block of a packed matrix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) bits: CodeBits,
    /// Where bits do not hold the code itself but its place here.
    pub(super) table: Option<[u8; 16]>,
    /// What was added to codes to make them unsigned.
    pub(super) offset: i32,
    /// The largest unsigned code.
    pub(super) code_max: u8,
    /// Columns that share a scale: 16 or 32.
    pub(super) sub_length: usize,
    pub(super) scale_form: ScaleForm,
    pub(super) has_mins: bool,
    pub(super) sub_bits: SubBits,
    /// Whether the small integers of [`ScaleForm::Super`] are signed.
    pub(super) is_signed: bool,
}

impl Layout {
    /// The layout that holds blocks of this format without changing a value.
    pub(super) fn of(format: &Format, shape: &CodeShape) -> Layout {
        let range = (i32::from(*shape.code_range.start()), i32::from(*shape.code_range.end()));
        let span = range.1 - range.0;
        // The byte kernels take what needs all eight bits as signed again, so there the offset is fixed.
        let offset = if span > 127 { 128 } else { -range.0 };
        let table = shape.code_table.filter(|table| table.len() < span as usize + 1 && table.len() <= 16);
        // The scales of MXFP4 (powers of two) and NVFP4 (E4M3) have few digits but a wide range.
        let scale_form = match format.tensor_type {
            TensorType::MXFP4 | TensorType::NVFP4 => ScaleForm::Brain,
            TensorType::Q2_K
            | TensorType::Q3_K
            | TensorType::Q4_K
            | TensorType::Q5_K
            | TensorType::Q6_K
            | TensorType::IQ4_XS => ScaleForm::HalfSuper,
            _ if format.block_length == SUPER => ScaleForm::Super,
            _ => ScaleForm::Half,
        };
        let is_signed = *shape.scale_range.start() < 0;
        let subs = (1 + usize::from(shape.has_mins())) * SUPER / shape.sub_length;
        let sub_bits = match (*shape.scale_range.end()).max(*shape.min_range.end()) {
            0..=15 if !is_signed && subs.is_multiple_of(8) => SubBits::Four,
            0..=63 if !is_signed && subs.is_multiple_of(16) => SubBits::Six,
            _ => SubBits::Eight,
        };
        Layout {
            bits: CodeBits::for_count(table.map_or(span as usize + 1, <[i8]>::len)),
            table: table
                .map(|table| std::array::from_fn(|i| table.get(i).map_or(0, |&code| (i32::from(code) + offset) as u8))),
            offset,
            code_max: (range.1 + offset) as u8,
            sub_length: shape.sub_length,
            scale_form,
            has_mins: shape.has_mins(),
            sub_bits,
            is_signed,
        }
    }

    /// Whether products with both are the same arithmetic, whatever their bits.
    pub(super) fn multiplies_like(&self, other: &Layout) -> bool {
        (self.sub_length, self.offset, self.has_mins) == (other.sub_length, other.offset, other.has_mins)
    }

    /// Columns that one record of scales serves.
    pub(super) fn record_columns(&self) -> usize {
        if self.scale_form.super_bytes().is_some() { SUPER } else { BLOCK }
    }

    /// Scales and mins of the sub-blocks of a record, for each row.
    pub(super) fn subs_a_record(&self) -> usize {
        (1 + usize::from(self.has_mins)) * self.record_columns() / self.sub_length
    }

    /// Bytes of what 256 columns of 16 rows share.
    pub(super) fn supers_bytes(&self) -> usize {
        (1 + usize::from(self.has_mins)) * self.scale_form.super_bytes().unwrap_or_default() * PANEL
    }

    /// Bytes of a record: for 16 rows, super scales and super mins, then the sub-blocks' scales, then their mins.
    pub(super) fn record_bytes(&self) -> usize {
        let subs = self.subs_a_record() * PANEL;
        match (self.scale_form.super_bytes(), self.sub_bits) {
            (None, _) => 2 * subs,
            (Some(_), SubBits::Four) => self.supers_bytes() + subs / 2,
            (Some(_), SubBits::Six) => self.supers_bytes() + subs / 4 * 3,
            (Some(_), SubBits::Eight) => self.supers_bytes() + subs,
        }
    }

    /// Bytes of a panel with so many columns: codes and scales.
    pub(super) fn panel_bytes(&self, columns: usize) -> (usize, usize) {
        let records = columns.div_ceil(self.record_columns());
        (columns / BLOCK * self.bits.block_bytes(), records * self.record_bytes())
    }
}

/// A stack of quantised matrices.
pub(super) struct Packed {
    pub(super) layout: Layout,
    pub(super) columns: usize,
    pub(super) panels: usize,
    codes: Lasting<u8>,
    scales: Lasting<u8>,
}

/// Room for quantised matrices, to be filled panel by panel.
pub(super) struct Room {
    pub(super) codes: Memory<u8>,
    pub(super) scales: Memory<u8>,
}

impl Packed {
    /// Bytes of codes and of scales of all matrices of `source`; `None` if nothing can have as many.
    fn sizes(source: &MatrixBytes, layout: &Layout) -> Option<(usize, usize)> {
        let panels = source.count.checked_mul(source.rows().div_ceil(PANEL))?;
        let blocks = panels.checked_mul(source.columns / BLOCK)?;
        let records = panels.checked_mul(source.columns.div_ceil(layout.record_columns()))?;
        Some((blocks.checked_mul(layout.bits.block_bytes())?, records.checked_mul(layout.record_bytes())?))
    }

    /// Room for the matrices of `source`, which has been checked.
    ///
    /// # Errors
    /// If the memory cannot be had.
    pub(super) fn room(source: &MatrixBytes, layout: &Layout) -> Result<Room, ComputeError> {
        let (codes, scales) = Packed::sizes(source, layout).unwrap_or((usize::MAX, 0));
        Ok(Room {
            codes: Memory::zeroed_for(Use::Whole, codes, "packed weights")?,
            scales: Memory::zeroed_for(Use::Whole, scales, "scales of packed weights")?,
        })
    }

    /// The matrices of `source` that were packed into this room.
    pub(super) fn filled(source: &MatrixBytes, layout: Layout, room: Room) -> Packed {
        Packed {
            layout,
            columns: source.columns,
            panels: source.rows().div_ceil(PANEL),
            codes: Lasting::Own(room.codes),
            scales: Lasting::Own(room.scales),
        }
    }

    /// The matrices of `source` as they were packed before; `None` if these bytes cannot be that.
    pub(super) fn kept(
        source: &MatrixBytes,
        layout: Layout,
        (codes, scales): (WeightBytes, WeightBytes),
    ) -> Option<Packed> {
        let (code_bytes, scale_bytes) = Packed::sizes(source, &layout)?;
        Some(Packed {
            layout,
            columns: source.columns,
            panels: source.rows().div_ceil(PANEL),
            codes: Lasting::elsewhere(codes, code_bytes)?,
            scales: Lasting::elsewhere(scales, scale_bytes)?,
        })
    }

    /// Bytes of one panel: codes and scales.
    fn panel_bytes(&self) -> (usize, usize) {
        self.layout.panel_bytes(self.columns)
    }

    /// All codes and all scales.
    pub(super) fn parts(&self) -> (&[u8], &[u8]) {
        (&self.codes, &self.scales)
    }

    /// Codes and scales of a panel of matrix `index`.
    pub(super) fn panel(&self, index: usize, panel: usize) -> (&[u8], &[u8]) {
        self.panels(index, panel..panel + 1)
    }

    /// Codes and scales of neighbouring panels of matrix `index`.
    pub(super) fn panels(&self, index: usize, panels: Range<usize>) -> (&[u8], &[u8]) {
        let (code_bytes, scale_bytes) = self.panel_bytes();
        let (place, count) = (index * self.panels + panels.start, panels.len());
        (
            &self.codes[place * code_bytes..][..count * code_bytes],
            &self.scales[place * scale_bytes..][..count * scale_bytes],
        )
    }

    /// Bytes held.
    pub(super) fn size_bytes(&self) -> usize {
        self.codes.len() + self.scales.len()
    }
}

/// Takes a block's codes out of its bits: the inverse of packing, before the table's lookup.
#[inline(always)]
pub(super) fn expand(layout: &Layout, packed: &[u8], groups: &mut [[u8; GROUP_BYTES]; 8]) {
    let (parts, _) = packed.as_chunks::<GROUP_BYTES>();
    match layout.bits {
        CodeBits::Two => expand_pairs::<0>(&parts[..2], groups),
        CodeBits::Three => {
            expand_pairs::<0>(&parts[..2], groups);
            add_singles::<2>(&parts[2], groups);
        }
        CodeBits::Four => expand_nibbles(&parts[..4], groups),
        CodeBits::Five => {
            expand_nibbles(&parts[..4], groups);
            add_singles::<4>(&parts[4], groups);
        }
        CodeBits::Six => {
            expand_nibbles(&parts[..4], groups);
            expand_pairs::<4>(&parts[4..6], groups);
        }
        CodeBits::Eight => groups.copy_from_slice(parts),
    }
}

/// Takes the scales and mins of a record's sub-blocks out of their bits: `[scale or min, row]`, four of them a group.
///
/// They lie as codes do: two groups share 64 bytes in nibbles, and the upper bits of four groups 64 more.
#[inline(always)]
pub(super) fn expand_subs(layout: &Layout, packed: &[u8], groups: &mut [[u8; GROUP_BYTES]; 8]) {
    let (parts, _) = packed.as_chunks::<GROUP_BYTES>();
    match layout.sub_bits {
        SubBits::Four => expand_nibbles(parts, groups),
        SubBits::Six => {
            let (nibbles, pairs) = parts.split_at(parts.len() / 3 * 2);
            expand_nibbles(nibbles, groups);
            expand_pairs::<4>(pairs, groups);
        }
        SubBits::Eight => groups.as_flattened_mut()[..packed.len()].copy_from_slice(packed),
    }
}

#[inline(always)]
fn expand_nibbles(parts: &[[u8; GROUP_BYTES]], groups: &mut [[u8; GROUP_BYTES]; 8]) {
    for (j, part) in parts.iter().enumerate() {
        for i in 0..GROUP_BYTES {
            groups[2 * j][i] = part[i] & 15;
            groups[2 * j + 1][i] = part[i] >> 4;
        }
    }
}

/// Sets two bits at `SHIFT` of every code, and where that is 0 clears the others.
#[inline(always)]
fn expand_pairs<const SHIFT: u8>(parts: &[[u8; GROUP_BYTES]], groups: &mut [[u8; GROUP_BYTES]; 8]) {
    for (p, part) in parts.iter().enumerate() {
        for q in 0..4 {
            for i in 0..GROUP_BYTES {
                let pair = (part[i] >> (2 * q) & 3) << SHIFT;
                groups[4 * p + q][i] = if SHIFT == 0 { pair } else { groups[4 * p + q][i] | pair };
            }
        }
    }
}

#[inline(always)]
fn add_singles<const SHIFT: u8>(part: &[u8; GROUP_BYTES], groups: &mut [[u8; GROUP_BYTES]; 8]) {
    for (g, group) in groups.iter_mut().enumerate() {
        for i in 0..GROUP_BYTES {
            group[i] |= (part[i] >> g & 1) << SHIFT;
        }
    }
}
