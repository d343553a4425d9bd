//! Packs weights: takes the blocks of a file apart and puts them into the panels that [`packed`](super::packed) draws.
//!
//! Each row is squeezed by itself before rows are put side by side. What 32 columns of one row take in a packed block
//! is a few words of four bytes, whatever the bits (of 4 bits: word j has columns `8j .. 8j + 4` in its low nibbles and
//! `8j + 4 .. 8j + 8` in the high ones), and a part of the packed block is that word of 16 rows, one after the other:
//!
//! ```text
//! row r of the file -> codes [256 columns] -> words [8 blocks, parts]         for 16 rows, a strip of 256 columns
//! words [16 rows, 8 blocks x parts] -> transposed -> packed [8 blocks, parts, 16 rows]
//! ```
//!
//! For 256 columns of Q4_K (144 bytes read, as many written) that is some 60 vector instructions for the codes, 16 for their
//! share of the transposition, and 32 scalar ones for the scales: by count about 40 cycles. `kernel_bench` has measured
//! 3.4 GB/s on one thread, with the time the system takes to clear fresh pages.

use std::marker::PhantomData;

use lair_quant::formats::{BlockFormat, FormatWork, with_format};
use lair_quant::{CodeShape, Codes};
use lair_simd::{Isa, LANES, Simd, Work};

use super::packed::{BLOCK, CodeBits, GROUP_BYTES, Layout, PANEL, ScaleForm, SubBits};
use super::panel::prefetch;
use crate::MatrixBytes;

/// Columns that are packed in one go: the longest block of a format, and a multiple of all others.
const STRIP: usize = 256;
/// Words of a row's strip where codes take eight bits.
const WORDS_MAX: usize = STRIP / 4;
/// Sub-blocks of a strip.
const SUBS_MAX: usize = STRIP / 16;

/// Packs one panel: rows `16 panel ..` of matrix `index`; those past the last are zero.
///
/// `codes_out` and `scales_out` are the panel's part of the packed matrix and hold zeros. Whatever the instruction set,
/// the result is the same.
///
/// # Panics
/// If the type is not a quantized one; `layout` was made from its shape.
pub(super) fn pack_panel(
    isa: Isa,
    source: &MatrixBytes,
    layout: &Layout,
    (index, panel): (usize, usize),
    (codes_out, scales_out): (&mut [u8], &mut [u8]),
) {
    let first_row = panel * PANEL;
    let row_count = PANEL.min(source.rows() - first_row);
    let row = |row: usize| if row < row_count { source.row(index, first_row + row) } else { &[] };
    let work =
        PackPanel { isa, rows: std::array::from_fn(row), columns: source.columns, layout, codes_out, scales_out };
    with_format(source.tensor_type, work).expect("a layout is made from the shape of a quantized format");
}

/// A panel to be packed.
struct PackPanel<'a> {
    isa: Isa,
    /// Those past the last row are empty.
    rows: [&'a [u8]; PANEL],
    columns: usize,
    layout: &'a Layout,
    codes_out: &'a mut [u8],
    scales_out: &'a mut [u8],
}

/// The same, of a certain format.
struct PackPanelOf<'a, F>(PackPanel<'a>, PhantomData<F>);

impl FormatWork for PackPanel<'_> {
    type Output = ();

    fn run<F: BlockFormat>(self) {
        self.isa.run(PackPanelOf::<F>(self, PhantomData));
    }
}

impl<F: BlockFormat> Work for PackPanelOf<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        const { assert!(STRIP.is_multiple_of(F::BLOCK_LENGTH) && F::BLOCK_LENGTH.is_multiple_of(BLOCK)) };
        let PackPanel { rows, columns, layout, codes_out, scales_out, .. } = self.0;
        let encoding = Encoding::of::<F>(layout);
        let mut strip = Strip::ZERO;
        let strip_codes = STRIP / BLOCK * layout.bits.block_bytes();
        let strip_scales = STRIP / layout.record_columns() * layout.record_bytes();
        let outs = codes_out.chunks_mut(strip_codes).zip(scales_out.chunks_mut(strip_scales));
        for (first_column, (codes_out, scales_out)) in (0..columns).step_by(STRIP).zip(outs) {
            let length = STRIP.min(columns - first_column);
            let first_byte = first_column / F::BLOCK_LENGTH * F::BLOCK_BYTES;
            let size_bytes = length / F::BLOCK_LENGTH * F::BLOCK_BYTES;
            for row in &rows {
                // Sixteen streams, each read in short pieces, are more than the machine's own prefetcher follows. Behind
                // the last strip of a panel stands the first of the next one, where all rows are used.
                let is_last = first_column + STRIP >= columns;
                let ahead = if is_last { (PANEL - 1) * row.len() + size_bytes } else { size_bytes };
                prefetch(row.as_ptr().wrapping_add(first_byte + ahead), size_bytes);
            }
            for (row, bytes) in rows.iter().enumerate().filter(|(_, bytes)| !bytes.is_empty()) {
                strip.take_row::<F, S>(s, row, &bytes[first_byte..][..size_bytes], layout, &encoding, scales_out);
            }
            strip.write_subs(layout, scales_out);
            strip.squeeze(layout.bits, length / BLOCK);
            interleave(s, &strip.words, codes_out);
            strip.write_floats(s, layout, length / layout.sub_length, scales_out);
        }
    }
}

/// How a code becomes what is stored.
enum Encoding {
    /// The code is moved to begin at 0.
    Offset(u8),
    /// The file's places stay, but places of equal codes become the first of them.
    Places([u8; 16]),
    /// The code is moved, and its place is the number of these levels that it reaches.
    Levels { offset: u8, levels: [u8; 15], count: usize },
}

impl Encoding {
    fn of<F: BlockFormat>(layout: &Layout) -> Encoding {
        let offset = layout.offset as u8;
        let CodeShape { code_table, .. } = F::SHAPE;
        match (&layout.table, code_table) {
            (Some(table), Some(_)) if F::HAS_PLACES => {
                let first = |code: &u8| table.iter().position(|other| other == code).unwrap_or(0) as u8;
                Encoding::Places(std::array::from_fn(|place| first(&table[place])))
            }
            (Some(table), Some(codes)) => {
                // The first level is reached by all.
                let count = codes.len() - 1;
                let levels = std::array::from_fn(|i| table[i + 1]);
                Encoding::Levels { offset, levels, count }
            }
            _ => {
                assert!(!F::HAS_PLACES, "a format that stores places is packed with its table");
                Encoding::Offset(offset)
            }
        }
    }

    /// Codes of a row into what is stored.
    #[inline(always)]
    fn encode<S: Simd>(&self, s: S, codes: &[i8], out: &mut [u8]) {
        let offset = match self {
            Encoding::Offset(offset) | Encoding::Levels { offset, .. } => *offset,
            Encoding::Places(_) => 0,
        };
        for (out, &code) in out.iter_mut().zip(codes) {
            *out = (code as u8).wrapping_add(offset);
        }
        let (blocks, _) = out.as_chunks_mut::<32>();
        match self {
            Encoding::Offset(_) => {}
            Encoding::Places(first) => blocks.iter_mut().for_each(|places| s.look_up(first, places)),
            Encoding::Levels { levels, count, .. } => {
                for bytes in blocks {
                    let mut places = [0; 32];
                    for level in &levels[..*count] {
                        for (place, byte) in places.iter_mut().zip(bytes.iter()) {
                            *place += u8::from(byte >= level);
                        }
                    }
                    *bytes = places;
                }
            }
        }
    }
}

/// What lies between the file's blocks and the packed ones, for 256 columns of 16 rows.
#[repr(C, align(64))]
struct Strip {
    /// `[row, column]`: what is stored of each element.
    codes: [[u8; STRIP]; PANEL],
    /// `[row, block, part]`: the same in as few bits as they take.
    words: [[u32; WORDS_MAX]; PANEL],
    /// `[scales or mins, sub-block, row]`, where they are stored as floats.
    floats: [[[f32; PANEL]; SUBS_MAX]; 2],
    /// `[scale or min, row]`, four a group, where they are stored as small integers.
    subs: [[u8; GROUP_BYTES]; 2 * SUBS_MAX * PANEL / GROUP_BYTES],
}

impl Strip {
    const ZERO: Strip = Strip {
        codes: [[0; STRIP]; PANEL],
        words: [[0; WORDS_MAX]; PANEL],
        floats: [[[0.0; PANEL]; SUBS_MAX]; 2],
        subs: [[0; GROUP_BYTES]; 2 * SUBS_MAX * PANEL / GROUP_BYTES],
    };

    /// Takes the blocks of one row apart. Numbers that 256 columns share go straight to their record.
    #[inline(always)]
    fn take_row<F: BlockFormat, S: Simd>(
        &mut self,
        s: S,
        row: usize,
        bytes: &[u8],
        layout: &Layout,
        encoding: &Encoding,
        scales_out: &mut [u8],
    ) {
        let subs = F::BLOCK_LENGTH / F::SHAPE.sub_length;
        let mut codes = Codes::new();
        let (blocks, outs) = (bytes.chunks_exact(F::BLOCK_BYTES), self.codes[row].chunks_exact_mut(F::BLOCK_LENGTH));
        for (index, (block, out)) in blocks.zip(outs).enumerate() {
            F::unpack_places(block, &mut codes);
            encoding.encode(s, &codes.codes[..F::BLOCK_LENGTH], out);
            if layout.scale_form.super_bytes().is_some() {
                take_subs(&codes, (row, subs), layout, &mut self.subs, scales_out);
                continue;
            }
            for sub in 0..subs {
                let place = index * subs + sub;
                self.floats[0][place][row] = codes.super_scale * codes.scales[sub] as f32;
                if layout.has_mins {
                    self.floats[1][place][row] = codes.super_min * codes.mins[sub] as f32;
                }
            }
        }
    }

    /// Writes the small integers of a record: the inverse of [`super::packed::expand_subs`].
    #[inline(always)]
    fn write_subs(&self, layout: &Layout, record: &mut [u8]) {
        if layout.scale_form.super_bytes().is_none() {
            return;
        }
        let groups = &self.subs[..layout.subs_a_record() * PANEL / GROUP_BYTES];
        let (parts, _) = record[layout.supers_bytes()..].as_chunks_mut::<GROUP_BYTES>();
        if layout.sub_bits == SubBits::Eight {
            parts.copy_from_slice(groups);
            return;
        }
        let (pairs, _) = groups.as_chunks::<2>();
        for (part, [low, high]) in parts.iter_mut().zip(pairs) {
            *part = std::array::from_fn(|i| low[i] & 15 | high[i] << 4);
        }
        if layout.sub_bits == SubBits::Six {
            let (fours, _) = groups.as_chunks::<4>();
            for (part, four) in parts[pairs.len()..].iter_mut().zip(fours) {
                *part = std::array::from_fn(|i| {
                    four[0][i] >> 4 | four[1][i] >> 4 << 2 | four[2][i] >> 4 << 4 | four[3][i] >> 4 << 6
                });
            }
        }
    }

    /// Puts codes into as few bits as they take, block by block.
    #[inline(always)]
    fn squeeze(&mut self, bits: CodeBits, block_count: usize) {
        match bits {
            CodeBits::Two => self.squeeze_with(block_count, pairs::<0>),
            CodeBits::Three => {
                self.squeeze_with(block_count, |codes| join::<2, 1, 3>(pairs::<0>(codes), single::<2>(codes)))
            }
            CodeBits::Four => self.squeeze_with(block_count, nibbles),
            CodeBits::Five => {
                self.squeeze_with(block_count, |codes| join::<4, 1, 5>(nibbles(codes), single::<4>(codes)))
            }
            CodeBits::Six => self.squeeze_with(block_count, |codes| join::<4, 2, 6>(nibbles(codes), pairs::<4>(codes))),
            CodeBits::Eight => self.squeeze_with(block_count, groups),
        }
    }

    #[inline(always)]
    fn squeeze_with<const PARTS: usize>(
        &mut self,
        block_count: usize,
        words_of: impl Fn(&[u8; BLOCK]) -> [u32; PARTS],
    ) {
        for (codes, words) in self.codes.iter().zip(&mut self.words) {
            let (blocks, _) = codes.as_chunks::<BLOCK>();
            let (words, _) = words.as_chunks_mut::<PARTS>();
            for (words, block) in words.iter_mut().zip(blocks).take(block_count) {
                *words = words_of(block);
            }
        }
    }

    /// Writes the records of scales that are stored as floats.
    #[inline(always)]
    fn write_floats<S: Simd>(&self, s: S, layout: &Layout, sub_count: usize, scales_out: &mut [u8]) {
        let subs_a_record = layout.record_columns() / layout.sub_length;
        let kinds = 1 + usize::from(layout.has_mins);
        if layout.scale_form.super_bytes().is_some() {
            return;
        }
        for (index, record) in scales_out.chunks_exact_mut(layout.record_bytes()).enumerate() {
            let subs = index * subs_a_record..((index + 1) * subs_a_record).min(sub_count);
            let (parts, _) = record.as_chunks_mut::<{ 2 * PANEL }>();
            for (floats, parts) in self.floats.iter().zip(parts.chunks_exact_mut(subs_a_record)).take(kinds) {
                for (floats, part) in floats[subs.clone()].iter().zip(parts) {
                    narrow(s, layout.scale_form, floats, part);
                }
            }
        }
    }
}

/// Takes one row's part of a record whose scales are small integers; the numbers they are multiples of are written.
#[inline(always)]
fn take_subs(
    codes: &Codes,
    (row, subs): (usize, usize),
    layout: &Layout,
    groups: &mut [[u8; GROUP_BYTES]],
    supers: &mut [u8],
) {
    let (places, _) = groups.as_flattened_mut().as_chunks_mut::<PANEL>();
    write_super(layout.scale_form, codes.super_scale, row, supers);
    for (place, scale) in places.iter_mut().zip(&codes.scales[..subs]) {
        place[row] = *scale as u8;
    }
    if layout.has_mins {
        write_super(layout.scale_form, codes.super_min, PANEL + row, supers);
        for (place, min) in places[subs..].iter_mut().zip(&codes.mins[..subs]) {
            place[row] = *min as u8;
        }
    }
}

/// Writes the number that 256 columns share at place `place`.
#[inline(always)]
fn write_super(form: ScaleForm, value: f32, place: usize, supers: &mut [u8]) {
    if form == ScaleForm::Super {
        supers.as_chunks_mut::<4>().0[place] = value.to_le_bytes();
    } else {
        supers.as_chunks_mut::<2>().0[place] = half::f16::from_f32(value).to_le_bytes();
    }
}

/// Floats of 16 rows as half-precision numbers, or as the upper halves of f32.
#[inline(always)]
fn narrow<S: Simd>(s: S, form: ScaleForm, floats: &[f32; PANEL], out: &mut [u8; 2 * PANEL]) {
    let mut bits = [0u16; PANEL];
    if form == ScaleForm::Half {
        for (floats, bits) in floats.as_chunks::<LANES>().0.iter().zip(bits.as_chunks_mut::<LANES>().0) {
            s.store_f16(s.load(floats), bits);
        }
    } else {
        bits = floats.map(|float| (float.to_bits() >> 16) as u16);
    }
    for (out, bits) in out.as_chunks_mut::<2>().0.iter_mut().zip(bits) {
        *out = bits.to_le_bytes();
    }
}

/// The groups of four codes of a row's block, as they are.
#[inline(always)]
fn groups(codes: &[u8; BLOCK]) -> [u32; 8] {
    let (quads, _) = codes.as_chunks::<4>();
    std::array::from_fn(|group| u32::from_le_bytes(quads[group]))
}

/// Eight codes at a time: those of two groups.
#[inline(always)]
fn eights(codes: &[u8; BLOCK]) -> [u64; 4] {
    let (eights, _) = codes.as_chunks::<8>();
    std::array::from_fn(|j| u64::from_le_bytes(eights[j]))
}

/// The lower four bits of each code: two groups a word.
#[inline(always)]
fn nibbles(codes: &[u8; BLOCK]) -> [u32; 4] {
    eights(codes).map(|both| {
        let both = both & 0x0f0f_0f0f_0f0f_0f0f;
        (both | both >> 28) as u32
    })
}

/// The two bits of each code from bit `SHIFT` on: four groups a word.
#[inline(always)]
fn pairs<const SHIFT: u32>(codes: &[u8; BLOCK]) -> [u32; 2] {
    let twos = eights(codes).map(|both| {
        let both = both >> SHIFT & 0x0303_0303_0303_0303;
        (both | both >> 30) as u32
    });
    [twos[0] | twos[1] << 4, twos[2] | twos[3] << 4]
}

/// Bit `SHIFT` of each code: all groups in a word.
#[inline(always)]
fn single<const SHIFT: u32>(codes: &[u8; BLOCK]) -> [u32; 1] {
    let twos = eights(codes).map(|both| {
        let both = both >> SHIFT & 0x0101_0101_0101_0101;
        (both | both >> 31) as u32
    });
    [twos[0] | twos[1] << 2 | twos[2] << 4 | twos[3] << 6]
}

#[inline(always)]
fn join<const A: usize, const B: usize, const SUM: usize>(first: [u32; A], second: [u32; B]) -> [u32; SUM] {
    const { assert!(A + B == SUM) };
    std::array::from_fn(|i| if i < A { first[i] } else { second[i - A] })
}

/// Puts the words of 16 rows side by side: `out` is `[word, row]`.
#[inline(always)]
fn interleave<S: Simd>(s: S, rows: &[[u32; WORDS_MAX]; PANEL], out: &mut [u8]) {
    let (out, _) = out.as_chunks_mut::<GROUP_BYTES>();
    let mut columns = [[0; LANES]; LANES];
    for (tile, out) in out.chunks_mut(LANES).enumerate() {
        for (half, rows) in rows.as_chunks::<LANES>().0.iter().enumerate() {
            let rows = rows.each_ref().map(|words| &words.as_chunks::<LANES>().0[tile]);
            s.transpose(rows, &mut columns);
            for (out, column) in out.iter_mut().zip(&columns) {
                let (quads, _) = out.as_chunks_mut::<4>();
                for (quad, word) in quads[half * LANES..].iter_mut().zip(column) {
                    *quad = word.to_le_bytes();
                }
            }
        }
    }
}
