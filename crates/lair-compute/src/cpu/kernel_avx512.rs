//! Inner products by AVX-512 VNNI: one instruction multiplies a group (16 rows x 4 columns) with four activations.
//!
//! For many tokens: weights come expanded from a chunk, in the first-level cache. With few they come packed from memory
//! ([`super::kernel_avx512_direct`]).
//!
//! Per block of 32 columns and token: 8 `vpdpbusd` (512 multiplications) and about four other vector instructions.
//! Two of the former a cycle would be 128 multiplications a cycle; the epilogue takes a third of that. With two panels
//! at a time an activation that was spread over a register serves 32 rows, so that loads (two a cycle) are no limit.
#![allow(unsafe_code)] // Intrinsics.
#![allow(clippy::needless_range_loop)] // Indices run over several arrays of registers at once.

use std::arch::x86_64::*;

use lair_simd::Isa;

use super::kernel::STRIP_MAX;
use super::packed::{BLOCK, GROUP_BYTES, Layout, PANEL};
use super::panel::Chunk;
use super::quantise::QuantisedBlock;

/// Groups of a block.
pub(super) const GROUPS: usize = BLOCK / 4;
/// See [`super::kernel::multiply`].
pub(super) fn multiply(
    isa: Isa,
    layout: &Layout,
    chunk: &Chunk,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    assert!(matches!(isa, Isa::Avx512Vnni(_)));
    assert!(tokens.iter().all(|blocks| blocks.len() >= chunk.block_count));
    // SAFETY: the instruction set was found on this machine; tokens have as many blocks as the chunk.
    unsafe {
        if layout.sub_length == BLOCK {
            by_count::<1>(layout, chunk, tokens, sums);
        } else {
            by_count::<2>(layout, chunk, tokens, sums);
        }
    }
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

/// Up to [`STRIP_MAX`] tokens with one panel.
///
/// # Safety
/// Every token must have as many blocks as the chunk.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn by_count<const PARTS: usize>(
    layout: &Layout,
    chunk: &Chunk,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    const { assert!(STRIP_MAX == 8) };
    // SAFETY: the caller's promise.
    unsafe {
        match tokens.len() {
            0 => {}
            1 => strip::<PARTS, 1>(layout, chunk, tokens, sums),
            2 => strip::<PARTS, 2>(layout, chunk, tokens, sums),
            3 => strip::<PARTS, 3>(layout, chunk, tokens, sums),
            4 => strip::<PARTS, 4>(layout, chunk, tokens, sums),
            5 => strip::<PARTS, 5>(layout, chunk, tokens, sums),
            6 => strip::<PARTS, 6>(layout, chunk, tokens, sums),
            7 => strip::<PARTS, 7>(layout, chunk, tokens, sums),
            _ => strip::<PARTS, 8>(layout, chunk, tokens, sums),
        }
    }
}

/// `PARTS` sub-blocks a block, `T` tokens.
///
/// # Safety
/// As [`by_count`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn strip<const PARTS: usize, const T: usize>(
    layout: &Layout,
    chunk: &Chunk,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    assert!(tokens.len() == T && sums.len() == T);
    let starts: [*const QuantisedBlock; T] = std::array::from_fn(|t| tokens[t].as_ptr());
    // SAFETY: the caller promised activations; codes, scales and mins have a row of 64 bytes for every group and
    // sub-block of the chunk's blocks.
    unsafe {
        let mut totals: [__m512; T] = std::array::from_fn(|t| _mm512_loadu_ps(sums[t].as_ptr()));
        for index in 0..chunk.block_count {
            let weights = chunk.codes[index].each_ref().map(|group| _mm512_loadu_si512(group.as_ptr().cast()));
            for part in 0..PARTS {
                let sub = index * PARTS + part;
                let mins = if layout.has_mins { Some(&chunk.mins[sub]) } else { None };
                let scales = (&chunk.scales[sub], mins);
                let blocks = starts.map(|start| start.add(index));
                add_part::<PARTS, T>(layout.offset, part, &weights, scales, blocks, &mut totals);
            }
        }
        for t in 0..T {
            _mm512_storeu_ps(sums[t].as_mut_ptr(), totals[t]);
        }
    }
}

/// Adds the products of part `part` of a block in registers with some tokens.
///
/// # Safety
/// Every one of `blocks` must be there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn add_part<const PARTS: usize, const T: usize>(
    offset: i32,
    part: usize,
    weights: &[__m512i; GROUPS],
    (scales, mins): (&[f32; PANEL], Option<&[f32; PANEL]>),
    blocks: [*const QuantisedBlock; T],
    totals: &mut [__m512; T],
) {
    let place = if PARTS == 1 { 0 } else { 1 + part };
    // SAFETY: the caller's promise; a row of scales has 64 bytes.
    unsafe {
        let mut products = [_mm512_setzero_si512(); T];
        if offset != 0 {
            for t in 0..T {
                products[t] = _mm512_set1_epi32((*blocks[t]).sums[place] * -offset);
            }
        }
        for group in part * (GROUPS / PARTS)..(part + 1) * (GROUPS / PARTS) {
            for t in 0..T {
                let four = (*blocks[t]).codes.as_ptr().add(4 * group).cast::<i32>().read_unaligned();
                products[t] = _mm512_dpbusd_epi32(products[t], weights[group], _mm512_set1_epi32(four));
            }
        }
        let scales = _mm512_loadu_ps(scales.as_ptr());
        for t in 0..T {
            let factor = _mm512_mul_ps(scales, _mm512_set1_ps((*blocks[t]).scale));
            totals[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products[t]), factor, totals[t]);
        }
        if let Some(mins) = mins {
            let mins = _mm512_loadu_ps(mins.as_ptr());
            for t in 0..T {
                let weighted = _mm512_set1_ps((*blocks[t]).weighted[place]);
                totals[t] = _mm512_fnmadd_ps(mins, weighted, totals[t]);
            }
        }
    }
}
