//! Inner products by AVX-512 VNNI with few tokens: a panel's codes go from memory through registers into the products.
//!
//! Writing codes out and reading them back would cost as much as the products. Taking 4-bit codes apart costs 4 loads and
//! 12 other instructions a block, scales some 8: with one token about 45 instructions for 288 bytes, which a core does in
//! a third of the time in which it gets them from memory (110 GB/s from the second-level cache, at most 40 from memory).
//!
//! So all that counts is that memory never waits for the next request. It answers after 150 ns and more, in which a core
//! could have got 6 KiB; hence codes and scales are asked for so far ahead, a few lines with every block, and scales are
//! taken apart in small pieces (256 columns) between them.
#![allow(unsafe_code)] // Intrinsics.
#![allow(clippy::needless_range_loop)] // Indices run over several arrays of registers at once.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use lair_simd::Isa;

use super::kernel::STRIP_MAX;
use super::kernel_avx512::{GROUPS, STRIP_OF_SUBS, add_block};
use super::packed::{BLOCK, CodeBits, GROUP_BYTES, Layout, PANEL, ScaleForm, SubBits};
use super::panel::{Chunk, reads_ahead_itself};
use super::quantise::QuantisedBlock;

/// Blocks whose scales are taken apart at a time: those that share a number, in formats that have such.
const SPAN: usize = 256 / BLOCK;
/// How far ahead of the products packed codes are asked for. Decode of a 1.1B model in Q4_K_M, tokens/s in three alternating
/// runs on a Zen 5: 52 to 67 with 2 KiB, 55 to 79 with 6, 50 to 73 with 18. On a Zen 4 and one thread 37.5 with 5 KiB, 40.5 with
/// 6, 43.2 with 7, 42.6 with 9, 41.7 with 13, and 31.7 with 4 (`bench/results/2026-11-22-panels-in-runs.md`).
///
/// They are asked for into the second-level cache. Into the first, a core of a Zen 4 can wait for so few lines at a time that it gets
/// half of what its memory gives: 55 tokens/s where this has 69 (`bench/results/2026-11-22-prefetch.md`).
const AHEAD_BYTES: usize = 7168;

/// Adds the products of panels with every token to `sums`, `[panel, token, row]`: as many panels as that has room for, one behind
/// the other in codes and in scales, each of so many columns.
///
/// `tokens` are whole rows of activations, of at most [`STRIP_MAX`] tokens; `chunk` is room for scales.
pub(super) fn multiply_panels(
    isa: Isa,
    layout: &Layout,
    (codes, scales): (&[u8], &[u8]),
    columns: usize,
    chunk: &mut Chunk,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    assert!(matches!(isa, Isa::Avx512Vnni(_)));
    assert!(!tokens.is_empty() && tokens.len() <= STRIP_MAX && sums.len().is_multiple_of(tokens.len()));
    assert!(tokens.iter().all(|blocks| blocks.len() >= columns / BLOCK));
    // Only the last span may be shorter, and only where its records serve a block each.
    assert!(columns.is_multiple_of(layout.record_columns()));
    let (panels, (code_bytes, scale_bytes)) = (sums.len() / tokens.len(), layout.panel_bytes(columns));
    assert!(codes.len() >= panels * code_bytes && scales.len() >= panels * scale_bytes);
    let bytes = (codes.as_ptr(), scales.as_ptr());
    // SAFETY: the instruction set was found on this machine; there are activations, codes and scales for all columns and panels.
    unsafe {
        match layout.bits {
            CodeBits::Two => by_length::<2>(layout, bytes, columns, chunk, tokens, sums),
            CodeBits::Three => by_length::<3>(layout, bytes, columns, chunk, tokens, sums),
            CodeBits::Four => by_length::<4>(layout, bytes, columns, chunk, tokens, sums),
            CodeBits::Five => by_length::<5>(layout, bytes, columns, chunk, tokens, sums),
            CodeBits::Six => by_length::<6>(layout, bytes, columns, chunk, tokens, sums),
            CodeBits::Eight => by_length::<8>(layout, bytes, columns, chunk, tokens, sums),
        }
    }
}

/// # Safety
/// There must be as many panels as `sums` has room for, of so many columns in codes of `BITS` bits, and every token has as many.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn by_length<const BITS: usize>(
    layout: &Layout,
    bytes: (*const u8, *const u8),
    columns: usize,
    chunk: &mut Chunk,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    // SAFETY: the caller's promise.
    unsafe {
        if layout.sub_length == BLOCK {
            by_count::<BITS, 1>(layout, bytes, columns, chunk, tokens, sums);
        } else if tokens.len() <= STRIP_OF_SUBS {
            by_count::<BITS, 2>(layout, bytes, columns, chunk, tokens, sums);
        } else {
            // The second part of the tokens finds the panel in a near cache.
            let (code_bytes, scale_bytes) = layout.panel_bytes(columns);
            for (panel, sums) in sums.chunks_exact_mut(tokens.len()).enumerate() {
                let bytes = (bytes.0.add(panel * code_bytes), bytes.1.add(panel * scale_bytes));
                for (tokens, sums) in tokens.chunks(STRIP_OF_SUBS).zip(sums.chunks_mut(STRIP_OF_SUBS)) {
                    by_count::<BITS, 2>(layout, bytes, columns, chunk, tokens, sums);
                }
            }
        }
    }
}

/// # Safety
/// As [`by_length`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn by_count<const BITS: usize, const PARTS: usize>(
    layout: &Layout,
    bytes: (*const u8, *const u8),
    columns: usize,
    chunk: &mut Chunk,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    const { assert!(STRIP_MAX == 8) };
    // SAFETY: the caller's promise.
    unsafe {
        match tokens.len() {
            0 => {}
            1 if has_unsigned_supers_and_mins(layout) => {
                one_with_mins::<BITS, PARTS>(layout, bytes, columns, tokens[0], sums);
            }
            1 => strip::<BITS, PARTS, 1>(layout, bytes, columns, chunk, tokens, sums),
            2 => strip::<BITS, PARTS, 2>(layout, bytes, columns, chunk, tokens, sums),
            3 => strip::<BITS, PARTS, 3>(layout, bytes, columns, chunk, tokens, sums),
            4.. if PARTS == 2 => strip::<BITS, PARTS, STRIP_OF_SUBS>(layout, bytes, columns, chunk, tokens, sums),
            4 => strip::<BITS, PARTS, 4>(layout, bytes, columns, chunk, tokens, sums),
            5 => strip::<BITS, PARTS, 5>(layout, bytes, columns, chunk, tokens, sums),
            6 => strip::<BITS, PARTS, 6>(layout, bytes, columns, chunk, tokens, sums),
            7 => strip::<BITS, PARTS, 7>(layout, bytes, columns, chunk, tokens, sums),
            _ => strip::<BITS, PARTS, 8>(layout, bytes, columns, chunk, tokens, sums),
        }
    }
}

/// `PARTS` sub-blocks a block, `T` tokens. Panels follow each other without anything else between them, so that the processor can look
/// into the next one while it ends one.
///
/// # Safety
/// As [`by_length`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn strip<const BITS: usize, const PARTS: usize, const T: usize>(
    layout: &Layout,
    bytes: (*const u8, *const u8),
    columns: usize,
    chunk: &mut Chunk,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    let block_bytes = BITS * GROUP_BYTES;
    let record_bytes = SPAN * BLOCK / layout.record_columns() * layout.record_bytes();
    let (code_bytes, scale_bytes) = layout.panel_bytes(columns);
    let starts: [*const QuantisedBlock; T] = std::array::from_fn(|t| tokens[t].as_ptr());
    let table = (BITS <= 4 && layout.table.is_some()).then(|| spread_table(layout));
    let block_count = columns / BLOCK;
    // One token, or two where codes are whole bytes, leave instructions so few that the processor looks far ahead by itself. GB/s of a
    // core of a Zen 4, not asked ahead and asked: one token 30 to 35 and 29 to 33 in codes of 4 bits, 30 to 33 and 20 to 29 in 6 and 8
    // bits; three tokens 14 and 25 (`bench/results/2026-11-22-short-scales.md`).
    let asks_ahead = T > 1 + BITS / 8 || !reads_ahead_itself();
    // SAFETY: the caller promised codes, scales and activations of all columns and panels.
    unsafe {
        for (panel, sums) in sums.as_chunks_mut::<T>().0.iter_mut().enumerate() {
            let (codes, scales) = (bytes.0.add(panel * code_bytes), bytes.1.add(panel * scale_bytes));
            let mut totals: [__m512; T] = std::array::from_fn(|t| _mm512_loadu_ps(sums[t].as_ptr()));
            for first in (0..block_count).step_by(SPAN) {
                let count = SPAN.min(block_count - first);
                let scales = scales.add(first / SPAN * record_bytes);
                fill_scales::<PARTS>(layout, scales, count, chunk);
                for index in 0..count {
                    let at = codes.add((first + index) * block_bytes);
                    if asks_ahead {
                        ask_ahead::<BITS>(at, (scales, record_bytes), index);
                    }
                    let mut weights = expand::<BITS>(at);
                    if let Some(table) = table {
                        weights = weights.map(|places| _mm512_shuffle_epi8(table, places));
                    }
                    let blocks = starts.map(|start| start.add(first + index));
                    let codes = (layout.offset, layout.has_mins);
                    let of_chunk = (
                        |part: usize| _mm512_loadu_ps(chunk.scales[index * PARTS + part].as_ptr()),
                        |part: usize| _mm512_loadu_ps(chunk.mins[index * PARTS + part].as_ptr()),
                    );
                    add_block::<PARTS, T>(codes, &weights, of_chunk, blocks, &mut totals);
                }
            }
            for t in 0..T {
                _mm512_storeu_ps(sums[t].as_mut_ptr(), totals[t]);
            }
        }
    }
}

/// Whether [`one_with_mins`] can do it: Q4_K, Q5_K and Q2_K.
fn has_unsigned_supers_and_mins(layout: &Layout) -> bool {
    let has_supers = layout.scale_form.super_bytes().is_some();
    has_supers && layout.has_mins && !layout.is_signed && layout.offset == 0 && layout.table.is_none()
}

/// [`strip`] for one token where blocks have mins and the scales of a span a number in common. A scale is used once then, and made where it is:
/// to write it and read it back took 3 to 6 % of the time of codes of 4 and 5 bits, and a tenth with those of 2, from the second-level cache
/// of a Zen 4. Without mins this was slower.
///
/// # Safety
/// As [`by_length`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn one_with_mins<const BITS: usize, const PARTS: usize>(
    layout: &Layout,
    bytes: (*const u8, *const u8),
    columns: usize,
    token: &[QuantisedBlock],
    sums: &mut [[f32; PANEL]],
) {
    let block_bytes = BITS * GROUP_BYTES;
    let (code_bytes, scale_bytes) = layout.panel_bytes(columns);
    let record_bytes = layout.record_bytes();
    let asks_ahead = !reads_ahead_itself();
    let mut room = MaybeUninit::<Groups>::uninit();
    // SAFETY: the caller promised codes, scales and activations of all columns and panels.
    unsafe {
        for (panel, sums) in sums.iter_mut().enumerate() {
            let (codes, records) = (bytes.0.add(panel * code_bytes), bytes.1.add(panel * scale_bytes));
            let mut totals = [_mm512_loadu_ps(sums.as_ptr())];
            for span in 0..columns / (SPAN * BLOCK) {
                let record = records.add(span * record_bytes);
                let ([scale, min], small) = open_supers(layout, SPAN * PARTS, record, room.as_mut_ptr());
                let number = |factor, sub: usize| {
                    let small = _mm512_cvtepu8_epi32(_mm_loadu_si128(small.add(sub * PANEL).cast()));
                    _mm512_mul_ps(factor, _mm512_cvtepi32_ps(small))
                };
                for index in 0..SPAN {
                    let at = codes.add((span * SPAN + index) * block_bytes);
                    if asks_ahead {
                        ask_ahead::<BITS>(at, (record, record_bytes), index);
                    }
                    let of_record = (
                        |part: usize| number(scale, index * PARTS + part),
                        |part: usize| number(min, (SPAN + index) * PARTS + part),
                    );
                    let block = [token.as_ptr().add(span * SPAN + index)];
                    add_block::<PARTS, 1>((0, true), &expand::<BITS>(at), of_record, block, &mut totals);
                }
            }
            _mm512_storeu_ps(sums.as_mut_ptr(), totals[0]);
        }
    }
}

/// Asks for codes and scales that are needed some time after those of block `index` of a span.
#[inline(always)]
fn ask_ahead<const BITS: usize>(codes: *const u8, (scales, record_bytes): (*const u8, usize), index: usize) {
    let spans_ahead = AHEAD_BYTES.div_ceil(SPAN * BITS * GROUP_BYTES);
    prefetch(codes.wrapping_add(AHEAD_BYTES), BITS);
    // Scales are needed from the beginning of their span on.
    for line in (index..record_bytes.div_ceil(64)).step_by(SPAN) {
        prefetch(scales.wrapping_add((spans_ahead + 1) * record_bytes + 64 * line), 1);
    }
}

/// Asks for so many cache lines. They may lie beyond what there is.
#[inline(always)]
fn prefetch(start: *const u8, lines: usize) {
    for line in 0..lines {
        // SAFETY: a prefetch reads nothing and faults at no address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(start.wrapping_add(64 * line).cast()) };
    }
}

/// Takes the scales and mins of the first `blocks` blocks of a span apart, each of `PARTS` sub-blocks: what [`Chunk::fill_scales`]
/// does for a chunk. Every form has code of its own, with nothing to be asked in it: for Q4_K some 100 instructions in place of some
/// 250 (counted by hand), beside 360 for the products with one token.
///
/// # Safety
/// At `at` there must be the records of so many blocks, at most [`SPAN`]; of all where they share a number.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn fill_scales<const PARTS: usize>(layout: &Layout, at: *const u8, blocks: usize, chunk: &mut Chunk) {
    // SAFETY: the caller's promise.
    unsafe {
        match (layout.scale_form, layout.has_mins) {
            (ScaleForm::Half, false) => fill_floats::<PARTS, false>(at, blocks, chunk, |bits| _mm512_cvtph_ps(bits)),
            (ScaleForm::Half, true) => fill_floats::<PARTS, true>(at, blocks, chunk, |bits| _mm512_cvtph_ps(bits)),
            (ScaleForm::Brain, false) => fill_floats::<PARTS, false>(at, blocks, chunk, |bits| widen_brains(bits)),
            (ScaleForm::Brain, true) => fill_floats::<PARTS, true>(at, blocks, chunk, |bits| widen_brains(bits)),
            (ScaleForm::Super | ScaleForm::HalfSuper, false) => fill_supers::<PARTS, false>(layout, at, chunk),
            (ScaleForm::Super | ScaleForm::HalfSuper, true) => fill_supers::<PARTS, true>(layout, at, chunk),
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn widen_brains(bits: __m256i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits)))
}

/// # Safety
/// As [`fill_scales`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn fill_floats<const PARTS: usize, const MINS: bool>(
    at: *const u8,
    blocks: usize,
    chunk: &mut Chunk,
    widen: impl Fn(__m256i) -> __m512,
) {
    let record_bytes = (1 + usize::from(MINS)) * PARTS * 2 * PANEL;
    for block in 0..blocks.min(SPAN) {
        for part in 0..PARTS {
            let sub = block * PARTS + part;
            // SAFETY: records lie side by side, and each has a part of 32 bytes for each sub-block, first scales, then mins.
            unsafe {
                let scales = at.add(block * record_bytes + part * 2 * PANEL);
                let widened = |part: *const u8| widen(_mm256_loadu_si256(part.cast()));
                _mm512_storeu_ps(chunk.scales[sub].as_mut_ptr(), widened(scales));
                if MINS {
                    _mm512_storeu_ps(chunk.mins[sub].as_mut_ptr(), widened(scales.add(PARTS * 2 * PANEL)));
                }
            }
        }
    }
}

/// # Safety
/// At `at` there must be a record.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn fill_supers<const PARTS: usize, const MINS: bool>(layout: &Layout, at: *const u8, chunk: &mut Chunk) {
    let subs = SPAN * PARTS;
    let mut room = MaybeUninit::<Groups>::uninit();
    // SAFETY: the caller's promise.
    unsafe {
        let (factors, bytes) = open_supers(layout, subs, at, room.as_mut_ptr());
        let of_sub = |sub: usize| _mm_loadu_si128(bytes.add(sub * PANEL).cast());
        let scales = |sub: usize, wide: __m512i| _mm512_mul_ps(factors[sub / subs], _mm512_cvtepi32_ps(wide));
        if layout.is_signed {
            store_scales(chunk, subs, MINS, |sub| scales(sub, _mm512_cvtepi8_epi32(of_sub(sub))));
        } else {
            store_scales(chunk, subs, MINS, |sub| scales(sub, _mm512_cvtepu8_epi32(of_sub(sub))));
        }
    }
}

/// A record's numbers for scales and for mins, and where its small integers are as bytes, `[scale or min, sub-block, row]`: in the
/// record, or in `room`.
///
/// # Safety
/// At `at` there must be a record of `subs` sub-blocks.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn open_supers(layout: &Layout, subs: usize, at: *const u8, room: *mut Groups) -> ([__m512; 2], *const u8) {
    let (groups, kinds) = (room.cast::<u8>(), 1 + usize::from(layout.has_mins));
    let group_count = kinds * subs * PANEL / GROUP_BYTES;
    // SAFETY: a record is numbers for 16 rows, first scales, then mins, and then the small integers of sub-blocks, for which there
    // is room: two of sixteen sub-blocks are eight groups.
    unsafe {
        let (factors, packed) = match layout.scale_form {
            ScaleForm::Super => {
                let load = |kind: usize| _mm512_loadu_ps(at.add(kind * 4 * PANEL).cast());
                ([load(0), load(kinds - 1)], at.add(kinds * 4 * PANEL))
            }
            _ => {
                let load = |kind: usize| _mm512_cvtph_ps(_mm256_loadu_si256(at.add(kind * 2 * PANEL).cast()));
                ([load(0), load(kinds - 1)], at.add(kinds * 2 * PANEL))
            }
        };
        let bytes = match layout.sub_bits {
            SubBits::Eight => packed,
            SubBits::Four => {
                spread_groups::<false>(packed, group_count, groups);
                groups
            }
            SubBits::Six => {
                spread_groups::<true>(packed, group_count, groups);
                groups
            }
        };
        (factors, bytes)
    }
}

/// Stores the scales of `subs` sub-blocks, and then their mins.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn store_scales(chunk: &mut Chunk, subs: usize, has_mins: bool, numbers: impl Fn(usize) -> __m512) {
    for (sub, scales) in chunk.scales[..subs].iter_mut().enumerate() {
        // SAFETY: a row has sixteen.
        unsafe { _mm512_storeu_ps(scales.as_mut_ptr(), numbers(sub)) };
    }
    if has_mins {
        for (sub, mins) in chunk.mins[..subs].iter_mut().enumerate() {
            // SAFETY: a row has sixteen.
            unsafe { _mm512_storeu_ps(mins.as_mut_ptr(), numbers(subs + sub)) };
        }
    }
}

/// The small integers of a record as bytes, `[scale or min, row]`, four of them a group.
#[repr(C, align(64))]
struct Groups([[u8; GROUP_BYTES]; GROUPS]);

/// What [`super::packed::expand_subs`] does, for fewer than eight bits: six if `SIX`, else four.
///
/// # Safety
/// At `packed` there must be all small integers of a record, and at `groups` room for so many groups.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn spread_groups<const SIX: bool>(packed: *const u8, count: usize, groups: *mut u8) {
    let low = _mm512_set1_epi8(15);
    // SAFETY: two groups share 64 bytes of nibbles; behind them, the upper bits of four groups share 64 bytes.
    unsafe {
        for group in (0..count).step_by(2) {
            let part = _mm512_loadu_si512(packed.add(group / 2 * GROUP_BYTES).cast());
            let mut both = [_mm512_and_si512(part, low), _mm512_and_si512(_mm512_srli_epi16::<4>(part), low)];
            if SIX {
                let pairs = packed.add((count / 2 + group / 4) * GROUP_BYTES);
                // The places of these two groups stand first, or in the upper halves of bytes.
                let part = _mm512_loadu_si512(pairs.cast());
                let part = if group % 4 == 0 { part } else { _mm512_srli_epi16::<4>(part) };
                both[0] = add_upper(_mm512_slli_epi16::<4>(part), both[0]);
                both[1] = add_upper(_mm512_slli_epi16::<2>(part), both[1]);
            }
            for (place, of_group) in both.into_iter().enumerate() {
                _mm512_storeu_si512(groups.add((group + place) * GROUP_BYTES).cast(), of_group);
            }
        }
    }
}

/// Adds bits 4 and 5 of `bits` to each byte. 0xEA is `a & b | c`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn add_upper(bits: __m512i, bytes: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0xEA>(bits, _mm512_set1_epi8(0x30), bytes)
}

/// The table of codes in every lane of 16 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn spread_table(layout: &Layout) -> __m512i {
    let table = layout.table.unwrap_or_default();
    // SAFETY: 16 bytes.
    _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(table.as_ptr().cast()) })
}

/// A block's groups in registers: what [`super::packed::expand`] does in memory.
///
/// # Safety
/// `at` must be followed by `BITS * 64` bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn expand<const BITS: usize>(at: *const u8) -> [__m512i; GROUPS] {
    // SAFETY: the caller's promise; parts are fewer than `BITS`.
    let load = |part: usize| unsafe { _mm512_loadu_si512(at.add(part * GROUP_BYTES).cast()) };
    match BITS {
        2 => pairs(load(0), load(1)),
        3 => add_singles::<4>(pairs(load(0), load(1)), load(2)),
        4 => nibbles(std::array::from_fn(load)),
        5 => add_singles::<16>(nibbles(std::array::from_fn(load)), load(4)),
        6 => add_pairs(nibbles(std::array::from_fn(load)), [load(4), load(5)]),
        _ => std::array::from_fn(load),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn nibbles(parts: [__m512i; 4]) -> [__m512i; GROUPS] {
    let low = _mm512_set1_epi8(15);
    std::array::from_fn(|group| {
        let part = parts[group / 2];
        _mm512_and_si512(if group % 2 == 0 { part } else { _mm512_srli_epi16::<4>(part) }, low)
    })
}

/// Shifts so that the two bits of place `q` stand at bit `to`; other bits are rubbish.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn shift_to(part: __m512i, from: usize, to: usize) -> __m512i {
    match (from, to) {
        _ if from == to => part,
        _ if from > to => _mm512_srl_epi16(part, _mm_cvtsi32_si128((from - to) as i32)),
        _ => _mm512_sll_epi16(part, _mm_cvtsi32_si128((to - from) as i32)),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn pairs(first: __m512i, second: __m512i) -> [__m512i; GROUPS] {
    let low = _mm512_set1_epi8(3);
    std::array::from_fn(|group| {
        _mm512_and_si512(shift_to(if group < 4 { first } else { second }, 2 * (group % 4), 0), low)
    })
}

/// Adds two bits above the four of each code. 0xEA is `a & b | c`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn add_pairs(groups: [__m512i; GROUPS], parts: [__m512i; 2]) -> [__m512i; GROUPS] {
    let mask = _mm512_set1_epi8(0x30);
    std::array::from_fn(|group| {
        _mm512_ternarylogic_epi32::<0xEA>(shift_to(parts[group / 4], 2 * (group % 4), 4), mask, groups[group])
    })
}

/// Adds the bit of value `VALUE` to each code.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn add_singles<const VALUE: i8>(groups: [__m512i; GROUPS], part: __m512i) -> [__m512i; GROUPS] {
    let mask = _mm512_set1_epi8(VALUE);
    std::array::from_fn(|group| {
        let bit = shift_to(part, group, VALUE.trailing_zeros() as usize);
        _mm512_ternarylogic_epi32::<0xEA>(bit, mask, groups[group])
    })
}
