//! A part of a panel taken apart for the kernels: codes as bytes, scales as f32; small enough for the first-level cache.

use lair_simd::{Isa, LANES, Simd, vectorize};

use super::packed::{BLOCK, GROUP_BYTES, Layout, PANEL, ScaleForm, expand, expand_subs};

/// How much too high the codes of a [`Chunk`] are for AVX-512, whatever the layout's offset, if that is not 0. So what products
/// start at is the same for all layouts, and kept with activations (`QuantisedBlock::starts`).
pub(super) const CHUNK_OFFSET: i32 = 128;

/// Columns of a part. With 16 rows that is 8 KiB of codes, 4 KiB of scales and mins.
pub(super) const CHUNK: usize = 512;
const SUBS_MAX: usize = CHUNK / 16;

/// Up to [`CHUNK`] columns of 16 rows.
#[repr(C, align(64))]
pub(super) struct Chunk {
    /// `[block, group, row, column of the group]`.
    pub(super) codes: [[[u8; GROUP_BYTES]; 8]; CHUNK / BLOCK],
    /// `[sub-block, row]`.
    pub(super) scales: [[f32; PANEL]; SUBS_MAX],
    /// `[sub-block, row]`; means nothing where the layout has no mins.
    pub(super) mins: [[f32; PANEL]; SUBS_MAX],
    /// How many blocks are filled.
    pub(super) block_count: usize,
    /// How much too high codes are: the layout's offset, or [`CHUNK_OFFSET`].
    pub(super) offset: i32,
}

/// How many chunks ahead scales are asked for. They are a second stream beside the codes, read in short pieces that the
/// machine's own prefetcher does not foresee: without this a third of a decode run's samples stood there.
const CHUNKS_AHEAD: usize = 2;

/// Asks for the cache lines of a range of memory. The range may go beyond what there is.
#[inline(always)]
pub(super) fn prefetch(start: *const u8, bytes: usize) {
    ask_for::<true>(start, bytes);
}

/// [`prefetch`] into the second-level cache: for what is needed only after many other things have been read.
pub(super) fn prefetch_far(start: *const u8, bytes: usize) {
    ask_for::<false>(start, bytes);
}

/// Into the first-level cache if `NEAR`, else into the second.
#[allow(unsafe_code)] // An intrinsic that takes an address.
#[inline(always)]
fn ask_for<const NEAR: bool>(start: *const u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..bytes).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        let at = start.wrapping_add(line).cast();
        // SAFETY: a prefetch reads nothing and faults at no address.
        unsafe { if NEAR { _mm_prefetch::<_MM_HINT_T0>(at) } else { _mm_prefetch::<_MM_HINT_T1>(at) } };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, bytes);
}

/// Whether this processor gets weights from memory faster by its own prefetchers where there are few instructions to a line: as Zen 4
/// (family 25) does. There a core has 24 places for lines that are on their way, which lines that are asked for take as well.
#[cfg(target_arch = "x86_64")]
pub(super) fn reads_ahead_itself() -> bool {
    static IS_SO: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| lair_simd::amd_family() == Some(25));
    *IS_SO
}

impl Chunk {
    pub(super) const fn new() -> Chunk {
        Chunk {
            codes: [[[0; GROUP_BYTES]; 8]; CHUNK / BLOCK],
            scales: [[0.0; PANEL]; SUBS_MAX],
            mins: [[0.0; PANEL]; SUBS_MAX],
            block_count: 0,
            offset: 0,
        }
    }

    /// Fills in the blocks `first_block ..` of a panel, given its codes and scales.
    pub(super) fn fill(&mut self, isa: Isa, layout: &Layout, (codes, scales): (&[u8], &[u8]), blocks: (usize, usize)) {
        self.fill_scales(isa, layout, scales, blocks);
        #[cfg(target_arch = "x86_64")]
        if let Isa::Avx512Vnni(_) = isa {
            self.offset = if layout.offset == 0 { 0 } else { CHUNK_OFFSET };
            super::kernel_avx512::expand_codes(isa, layout, codes, blocks, self);
            return;
        }
        self.offset = layout.offset;
        vectorize!(isa, Chunk::fill_codes_with,
            chunk: &mut Chunk = self,
            layout: &Layout = layout,
            codes: &[u8] = codes,
            blocks: (usize, usize) = blocks,
        );
    }

    /// Fills in scales and mins of the blocks `first_block ..` alone, and asks for those of the chunks after it.
    pub(super) fn fill_scales(&mut self, isa: Isa, layout: &Layout, scales: &[u8], blocks: (usize, usize)) {
        let record = |block: usize| block * BLOCK / layout.record_columns() * layout.record_bytes();
        let (here, bytes) = (record(blocks.0), record(blocks.1));
        prefetch(scales.as_ptr().wrapping_add(here + CHUNKS_AHEAD * bytes), bytes);
        vectorize!(isa, Chunk::fill_scales_with,
            chunk: &mut Chunk = self,
            layout: &Layout = layout,
            scales: &[u8] = scales,
            blocks: (usize, usize) = blocks,
        );
    }

    #[inline(always)]
    fn fill_codes_with<S: Simd>(
        s: S,
        chunk: &mut Chunk,
        layout: &Layout,
        codes: &[u8],
        (first_block, block_count): (usize, usize),
    ) {
        let block_bytes = layout.bits.block_bytes();
        let blocks = codes[first_block * block_bytes..][..block_count * block_bytes].chunks_exact(block_bytes);
        for (packed, groups) in blocks.zip(&mut chunk.codes) {
            expand(layout, packed, groups);
            if let Some(table) = &layout.table {
                groups.as_flattened_mut().as_chunks_mut().0.iter_mut().for_each(|bytes| s.look_up(table, bytes));
            }
        }
    }

    #[inline(always)]
    fn fill_scales_with<S: Simd>(
        s: S,
        chunk: &mut Chunk,
        layout: &Layout,
        scales: &[u8],
        (first_block, block_count): (usize, usize),
    ) {
        chunk.block_count = block_count;
        let subs = block_count * BLOCK / layout.sub_length;
        let first_record = first_block * BLOCK / layout.record_columns();
        let records = scales[first_record * layout.record_bytes()..].chunks_exact(layout.record_bytes());
        let subs_a_record = layout.record_columns() / layout.sub_length;
        for (index, record) in records.enumerate().take(subs.div_ceil(subs_a_record)) {
            let range = index * subs_a_record..((index + 1) * subs_a_record).min(subs);
            let (scales, mins) = (&mut chunk.scales[range.clone()], &mut chunk.mins[range]);
            decode_record(s, layout, record, scales, mins);
        }
    }
}

/// The scales and mins of a record as f32.
#[inline(always)]
fn decode_record<S: Simd>(
    s: S,
    layout: &Layout,
    record: &[u8],
    scales: &mut [[f32; PANEL]],
    mins: &mut [[f32; PANEL]],
) {
    let subs_a_record = layout.record_columns() / layout.sub_length;
    match layout.scale_form {
        ScaleForm::Half => {
            let (parts, _) = record.as_chunks::<{ 2 * PANEL }>();
            parts.iter().zip(scales).for_each(|(part, out)| decode_halves(s, part, out));
            if layout.has_mins {
                parts[subs_a_record..].iter().zip(mins).for_each(|(part, out)| decode_halves(s, part, out));
            }
        }
        ScaleForm::Brain => {
            let (parts, _) = record.as_chunks::<{ 2 * PANEL }>();
            for (part, out) in parts.iter().zip(scales) {
                for (out, bits) in out.iter_mut().zip(part.as_chunks::<2>().0) {
                    *out = f32::from_bits(u32::from(u16::from_le_bytes(*bits)) << 16);
                }
            }
        }
        ScaleForm::Super | ScaleForm::HalfSuper => {
            let (supers, packed) = record.split_at(layout.supers_bytes());
            let mut groups = [[0; GROUP_BYTES]; 8];
            expand_subs(layout, packed, &mut groups);
            let (subs, _) = groups.as_flattened().as_chunks::<PANEL>();
            let mut factors = [[0.0; PANEL]; 2];
            if layout.scale_form == ScaleForm::Super {
                let (supers, _) = supers.as_chunks::<{ 4 * PANEL }>();
                supers.iter().zip(&mut factors).for_each(|(part, out)| *out = decode_floats(part));
            } else {
                let (supers, _) = supers.as_chunks::<{ 2 * PANEL }>();
                supers.iter().zip(&mut factors).for_each(|(part, out)| decode_halves(s, part, out));
            }
            let factor = factors[0];
            for (bytes, out) in subs[..subs_a_record].iter().zip(scales) {
                if layout.is_signed {
                    *out = std::array::from_fn(|row| factor[row] * f32::from(bytes[row] as i8));
                } else {
                    *out = std::array::from_fn(|row| factor[row] * f32::from(bytes[row]));
                }
            }
            if layout.has_mins {
                let factor = factors[1];
                for (bytes, out) in subs[subs_a_record..].iter().zip(mins) {
                    *out = std::array::from_fn(|row| factor[row] * f32::from(bytes[row]));
                }
            }
        }
    }
}

#[inline(always)]
fn decode_halves<S: Simd>(s: S, bytes: &[u8; 2 * PANEL], out: &mut [f32; PANEL]) {
    let (pairs, _) = bytes.as_chunks::<2>();
    let bits: [u16; PANEL] = std::array::from_fn(|row| u16::from_le_bytes(pairs[row]));
    for (bits, out) in bits.as_chunks::<LANES>().0.iter().zip(out.as_chunks_mut::<LANES>().0) {
        s.store(s.load_f16(bits), out);
    }
}

#[inline(always)]
fn decode_floats(bytes: &[u8; 4 * PANEL]) -> [f32; PANEL] {
    let (quads, _) = bytes.as_chunks::<4>();
    std::array::from_fn(|row| f32::from_le_bytes(quads[row]))
}
