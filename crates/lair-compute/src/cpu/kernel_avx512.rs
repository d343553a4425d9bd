//! Inner products by AVX-512 VNNI: one instruction multiplies a group (16 rows x 4 columns) with four activations.
//!
//! Two kernels in one: weights come expanded from a chunk (many tokens), or packed from memory and are taken apart in
//! registers (few tokens, where writing them out and reading them back would cost as much as the products).
//!
//! Per block of 32 columns and token: 8 `vpdpbusd` (512 multiplications) and about four other vector instructions.
//! Two of the former a cycle would be 128 multiplications a cycle; the epilogue takes a third of that. With two panels
//! at a time an activation that was spread over a register serves 32 rows, so that loads (two a cycle) are no limit.
//! Taking 4-bit codes apart costs 4 loads and 12 other instructions a block: with one token about 40 instructions for
//! 256 bytes of codes, some 20 bytes a cycle, which is more than a core gets from memory.
#![allow(unsafe_code)] // Intrinsics.
#![allow(clippy::needless_range_loop)] // Indices run over several arrays of registers at once.

use std::arch::x86_64::*;

use lair_simd::Isa;

use super::kernel::STRIP_MAX;
use super::packed::{BLOCK, CodeBits, GROUP_BYTES, Layout, PANEL};
use super::panel::Chunk;
use super::quantise::QuantisedBlock;

/// Groups of a block.
const GROUPS: usize = BLOCK / 4;
/// How far ahead of the products packed codes are asked for: a few hundred nanoseconds at the memory's pace. Decode of a
/// 1.1B model in Q4_K_M, tokens/s in three alternating runs: 52 to 67 with a third of it, 55 to 79 with this, 50 to 73
/// with three times it.
const PREFETCH_BYTES: usize = 6144;

/// See [`super::kernel::multiply`].
pub(super) fn multiply(
    isa: Isa,
    layout: &Layout,
    chunk: &Chunk,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    assert!(matches!(isa, Isa::Avx512Vnni(_)));
    let codes = chunk.codes.as_flattened().as_flattened();
    // SAFETY: the instruction set was found on this machine; the codes are those of all blocks of a chunk.
    unsafe { by_length::<8, false>(layout, chunk, codes, tokens, sums) }
}

/// [`multiply`] for two panels with the same layout and exactly [`STRIP_MAX`] tokens.
pub(super) fn multiply_two(
    isa: Isa,
    layout: &Layout,
    chunks: [&Chunk; 2],
    tokens: &[&[QuantisedBlock]; STRIP_MAX],
    [one, two]: [&mut [[f32; PANEL]; STRIP_MAX]; 2],
) {
    assert!(matches!(isa, Isa::Avx512Vnni(_)) && chunks[0].block_count == chunks[1].block_count);
    assert!(tokens.iter().all(|blocks| blocks.len() >= chunks[0].block_count));
    let sums = one.as_chunks_mut::<TILE>().0.iter_mut().zip(two.as_chunks_mut::<TILE>().0);
    for (tokens, (one, two)) in tokens.as_chunks::<TILE>().0.iter().zip(sums) {
        let (tokens, sums) = (tokens.map(<[QuantisedBlock]>::as_ptr), [one, two]);
        // SAFETY: the instruction set was found on this machine; tokens have as many blocks as the chunks.
        unsafe {
            match (layout.sub_length == BLOCK, layout.has_mins) {
                (true, false) => tile::<1, false>(layout, chunks, tokens, sums),
                (true, true) => tile::<1, true>(layout, chunks, tokens, sums),
                (false, false) => tile::<2, false>(layout, chunks, tokens, sums),
                (false, true) => tile::<2, true>(layout, chunks, tokens, sums),
            }
        }
    }
}

/// Tokens of a tile.
const TILE: usize = 4;

/// Two panels by four tokens, `PARTS` sub-blocks a block: sums, totals, weights and activations all in registers.
///
/// A sub-block of 32 columns takes 64 `vpdpbusd` and 24 other multiplying instructions, two a cycle: 4096
/// multiplications in 44 cycles, and 48 loads in 24.
///
/// # Safety
/// Every token must have as many blocks as the chunks.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn tile<const PARTS: usize, const MINS: bool>(
    layout: &Layout,
    chunks: [&Chunk; 2],
    tokens: [*const QuantisedBlock; TILE],
    sums: [&mut [[f32; PANEL]; TILE]; 2],
) {
    let offset = _mm512_set1_epi32(-layout.offset & 0xffff);
    // SAFETY: activations are the caller's promise; codes, scales and mins have a row of 64 bytes for every group and
    // sub-block of the chunks' blocks.
    unsafe {
        let mut totals: [[__m512; TILE]; 2] =
            std::array::from_fn(|p| std::array::from_fn(|t| _mm512_loadu_ps(sums[p][t].as_ptr())));
        for index in 0..chunks[0].block_count {
            let blocks = tokens.map(|token| token.add(index));
            for part in 0..PARTS {
                let place = if PARTS == 1 { 0 } else { 1 + part };
                // Sums of codes and offsets fit 16 bits, and there is nothing in the upper half of an offset.
                let corrections: [__m512i; TILE] =
                    std::array::from_fn(|t| _mm512_madd_epi16(_mm512_set1_epi32((*blocks[t]).sums[place]), offset));
                let mut products = [corrections, corrections];
                let groups = part * (GROUPS / PARTS) * GROUP_BYTES;
                let codes = chunks.map(|chunk| chunk.codes.as_ptr().add(index).cast::<u8>().add(groups));
                let fours = blocks.map(|block| (*block).codes.as_ptr().add(part * (BLOCK / PARTS)));
                add_products::<PARTS>(codes, fours, &mut products);
                let sub = index * PARTS + part;
                for p in 0..2 {
                    let scales = _mm512_loadu_ps(chunks[p].scales.as_ptr().add(sub).cast());
                    let mins = _mm512_loadu_ps(chunks[p].mins.as_ptr().add(sub).cast());
                    for t in 0..TILE {
                        let factor = _mm512_mul_ps(scales, _mm512_set1_ps((*blocks[t]).scale));
                        totals[p][t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products[p][t]), factor, totals[p][t]);
                        if MINS {
                            let weighted = _mm512_set1_ps((*blocks[t]).weighted[place]);
                            totals[p][t] = _mm512_fnmadd_ps(mins, weighted, totals[p][t]);
                        }
                    }
                }
            }
        }
        for (sums, totals) in sums.into_iter().zip(totals) {
            for (sums, total) in sums.iter_mut().zip(totals) {
                _mm512_storeu_ps(sums.as_mut_ptr(), total);
            }
        }
    }
}

/// One group of [`add_products`]: `$g` counts from the part's first group.
macro_rules! group_of_tile {
    ($g:literal) => {
        concat!(
            "vmovdqa64 zmm28, [{c} + 64*",
            $g,
            "]\nvmovdqa64 zmm29, [{d} + 64*",
            $g,
            "]\n",
            "vpbroadcastd zmm30, [{t0} + 4*",
            $g,
            "]\nvpdpbusd {a0}, zmm28, zmm30\nvpdpbusd {b0}, zmm29, zmm30\n",
            "vpbroadcastd zmm31, [{t1} + 4*",
            $g,
            "]\nvpdpbusd {a1}, zmm28, zmm31\nvpdpbusd {b1}, zmm29, zmm31\n",
            "vpbroadcastd zmm30, [{t2} + 4*",
            $g,
            "]\nvpdpbusd {a2}, zmm28, zmm30\nvpdpbusd {b2}, zmm29, zmm30\n",
            "vpbroadcastd zmm31, [{t3} + 4*",
            $g,
            "]\nvpdpbusd {a3}, zmm28, zmm31\nvpdpbusd {b3}, zmm29, zmm31",
        )
    };
}

/// The instructions of [`add_products`] for a number of groups.
macro_rules! groups_of_tile {
    ($codes:expr, $tokens:expr, $sums:expr, $($g:literal)*) => {
        std::arch::asm!(
            $(group_of_tile!($g),)*
            c = in(reg) $codes[0], d = in(reg) $codes[1],
            t0 = in(reg) $tokens[0], t1 = in(reg) $tokens[1], t2 = in(reg) $tokens[2], t3 = in(reg) $tokens[3],
            out("zmm28") _, out("zmm29") _, out("zmm30") _, out("zmm31") _,
            a0 = inout(zmm_reg) $sums[0][0], a1 = inout(zmm_reg) $sums[0][1],
            a2 = inout(zmm_reg) $sums[0][2], a3 = inout(zmm_reg) $sums[0][3],
            b0 = inout(zmm_reg) $sums[1][0], b1 = inout(zmm_reg) $sums[1][1],
            b2 = inout(zmm_reg) $sums[1][2], b3 = inout(zmm_reg) $sums[1][3],
            options(pure, readonly, nostack, preserves_flags),
        )
    };
}

/// Adds the integer products of a part of a block of two panels with four tokens.
///
/// In assembly because the compiler moves all loads of a block to its beginning, runs out of registers and writes most
/// of them to the stack and back.
///
/// # Safety
/// `codes` must have the part's groups, aligned to 64 bytes, and every token four codes for each of them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn add_products<const PARTS: usize>(
    codes: [*const u8; 2],
    tokens: [*const i8; TILE],
    sums: &mut [[__m512i; TILE]; 2],
) {
    // SAFETY: the caller's promise.
    unsafe {
        if PARTS == 1 {
            groups_of_tile!(codes, tokens, sums, "0" "1" "2" "3" "4" "5" "6" "7");
        } else {
            groups_of_tile!(codes, tokens, sums, "0" "1" "2" "3");
        }
    }
}

/// See [`super::kernel::multiply_packed`].
pub(super) fn multiply_packed(
    isa: Isa,
    layout: &Layout,
    chunk: &Chunk,
    codes: &[u8],
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    assert!(matches!(isa, Isa::Avx512Vnni(_)));
    assert!(codes.len() == chunk.block_count * layout.bits.block_bytes());
    // SAFETY: the instruction set was found on this machine; there are codes for all blocks of the chunk.
    unsafe {
        match layout.bits {
            CodeBits::Two => by_length::<2, true>(layout, chunk, codes, tokens, sums),
            CodeBits::Three => by_length::<3, true>(layout, chunk, codes, tokens, sums),
            CodeBits::Four => by_length::<4, true>(layout, chunk, codes, tokens, sums),
            CodeBits::Five => by_length::<5, true>(layout, chunk, codes, tokens, sums),
            CodeBits::Six => by_length::<6, true>(layout, chunk, codes, tokens, sums),
            CodeBits::Eight => by_length::<8, true>(layout, chunk, codes, tokens, sums),
        }
    }
}

/// # Safety
/// `codes` must hold `chunk.block_count` blocks of `BITS` bits, and every token that many blocks.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn by_length<const BITS: usize, const PREFETCH: bool>(
    layout: &Layout,
    chunk: &Chunk,
    codes: &[u8],
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    // SAFETY: the caller's promise.
    unsafe {
        if layout.sub_length == BLOCK {
            by_count::<BITS, PREFETCH, 1>(layout, chunk, codes, tokens, sums);
        } else {
            by_count::<BITS, PREFETCH, 2>(layout, chunk, codes, tokens, sums);
        }
    }
}

/// # Safety
/// As [`by_length`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn by_count<const BITS: usize, const PREFETCH: bool, const PARTS: usize>(
    layout: &Layout,
    chunk: &Chunk,
    codes: &[u8],
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    const { assert!(STRIP_MAX == 8) };
    // SAFETY: the caller's promise.
    unsafe {
        match tokens.len() {
            0 => {}
            1 => strip::<BITS, PREFETCH, PARTS, 1>(layout, chunk, codes, tokens, sums),
            2 => strip::<BITS, PREFETCH, PARTS, 2>(layout, chunk, codes, tokens, sums),
            3 => strip::<BITS, PREFETCH, PARTS, 3>(layout, chunk, codes, tokens, sums),
            4 => strip::<BITS, PREFETCH, PARTS, 4>(layout, chunk, codes, tokens, sums),
            5 => strip::<BITS, PREFETCH, PARTS, 5>(layout, chunk, codes, tokens, sums),
            6 => strip::<BITS, PREFETCH, PARTS, 6>(layout, chunk, codes, tokens, sums),
            7 => strip::<BITS, PREFETCH, PARTS, 7>(layout, chunk, codes, tokens, sums),
            _ => strip::<BITS, PREFETCH, PARTS, 8>(layout, chunk, codes, tokens, sums),
        }
    }
}

/// `PARTS` sub-blocks a block, `T` tokens.
///
/// # Safety
/// As [`by_length`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn strip<const BITS: usize, const PREFETCH: bool, const PARTS: usize, const T: usize>(
    layout: &Layout,
    chunk: &Chunk,
    codes: &[u8],
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    assert!(tokens.len() == T && sums.len() == T && chunk.block_count * BITS * GROUP_BYTES <= codes.len());
    let starts: [*const QuantisedBlock; T] = std::array::from_fn(|t| tokens[t].as_ptr());
    let has_table = BITS <= 4 && layout.table.is_some();
    let table = spread_table(layout);
    // SAFETY: the caller promised codes and activations; scales and mins have a row of 64 bytes for every sub-block.
    unsafe {
        let mut totals: [__m512; T] = std::array::from_fn(|t| _mm512_loadu_ps(sums[t].as_ptr()));
        for index in 0..chunk.block_count {
            let at = codes.as_ptr().add(index * BITS * GROUP_BYTES);
            let mut weights = expand::<BITS, PREFETCH>(at);
            if has_table {
                weights = weights.map(|places| _mm512_shuffle_epi8(table, places));
            }
            for part in 0..PARTS {
                let place = if PARTS == 1 { 0 } else { 1 + part };
                let mut products = [_mm512_setzero_si512(); T];
                if layout.offset != 0 {
                    for t in 0..T {
                        products[t] = _mm512_set1_epi32((*starts[t].add(index)).sums[place] * -layout.offset);
                    }
                }
                for group in part * (GROUPS / PARTS)..(part + 1) * (GROUPS / PARTS) {
                    for t in 0..T {
                        let four = (*starts[t].add(index)).codes.as_ptr().add(4 * group).cast::<i32>().read_unaligned();
                        products[t] = _mm512_dpbusd_epi32(products[t], weights[group], _mm512_set1_epi32(four));
                    }
                }
                let sub = index * PARTS + part;
                let scales = _mm512_loadu_ps(chunk.scales[sub].as_ptr());
                for t in 0..T {
                    let factor = _mm512_mul_ps(scales, _mm512_set1_ps((*starts[t].add(index)).scale));
                    totals[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products[t]), factor, totals[t]);
                }
                if layout.has_mins {
                    let mins = _mm512_loadu_ps(chunk.mins[sub].as_ptr());
                    for t in 0..T {
                        let weighted = _mm512_set1_ps((*starts[t].add(index)).weighted[place]);
                        totals[t] = _mm512_fnmadd_ps(mins, weighted, totals[t]);
                    }
                }
            }
        }
        for t in 0..T {
            _mm512_storeu_ps(sums[t].as_mut_ptr(), totals[t]);
        }
    }
}

/// The table of codes in every lane of 16 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn spread_table(layout: &Layout) -> __m512i {
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
unsafe fn expand<const BITS: usize, const PREFETCH: bool>(at: *const u8) -> [__m512i; GROUPS] {
    // SAFETY: the caller's promise; parts are fewer than `BITS`.
    let load = |part: usize| unsafe { _mm512_loadu_si512(at.add(part * GROUP_BYTES).cast()) };
    for part in 0..if PREFETCH { BITS } else { 0 } {
        // A prefetch reads nothing that could fault.
        _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(PREFETCH_BYTES + part * GROUP_BYTES).cast());
    }
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
