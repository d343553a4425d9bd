//! Inner products by AVX-VNNI: `vpdpbusd` on 256 bits, for machines that have it without AVX-512.
//!
//! One instruction multiplies half a group (8 rows x 4 columns) with four activations and adds to 32 bits, where AVX2
//! takes two and a third (`vpmaddubsw`, `vpaddw`, and `vpmaddwd` with `vpaddd` once a fold) and its signed codes five.
//! Codes of 8 bits need no detour, for nothing saturates.
//!
//! Halves of the rows are walked one after the other, so that for four tokens the totals (4 registers), the integer
//! sums (4), the weights of 16 columns (4), a table and what is spread fit into the 16 registers. Per sub-block of 32
//! columns, half and token: 8 `vpdpbusd` (256 multiplications), 8 broadcasts, which take a load port only, and 4 to 6
//! instructions to finish. Where the tokens are few, codes are taken apart in registers: for 16 columns that is 6
//! instructions with 4 bits and about 14 with 5 or 6.
#![allow(unsafe_code)] // Intrinsics.
#![allow(clippy::needless_range_loop)] // Indices run over several arrays of registers at once.

use std::arch::x86_64::*;

use lair_simd::Isa;

use super::packed::{CodeBits, GROUP_BYTES, Layout, PANEL};
use super::panel::Chunk;
use super::quantise::QuantisedBlock;

/// Tokens a strip.
const STRIP: usize = 4;
/// Bytes of an expanded block.
const EXPANDED_BYTES: usize = 8 * GROUP_BYTES;

/// See [`super::kernel::multiply`].
pub(super) fn multiply(
    isa: Isa,
    layout: &Layout,
    chunk: &Chunk,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    assert!(matches!(isa, Isa::AvxVnni(_)));
    // Codes of 8 bits are packed as they are expanded.
    let codes = &chunk.codes.as_flattened().as_flattened()[..chunk.block_count * EXPANDED_BYTES];
    // SAFETY: the instruction set was found on this machine.
    unsafe { by_length::<8, false>(&Job { layout, chunk, codes }, tokens, sums) };
}

/// Few tokens: see [`super::kernel::multiply_direct`].
pub(super) fn multiply_packed(
    isa: Isa,
    layout: &Layout,
    chunk: &Chunk,
    codes: &[u8],
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    assert!(matches!(isa, Isa::AvxVnni(_)));
    let job = &Job { layout, chunk, codes };
    // SAFETY: the instruction set was found on this machine.
    unsafe {
        match (layout.bits, layout.table.is_some()) {
            (CodeBits::Two, false) => by_length::<2, false>(job, tokens, sums),
            (CodeBits::Two, true) => by_length::<2, true>(job, tokens, sums),
            (CodeBits::Three, false) => by_length::<3, false>(job, tokens, sums),
            (CodeBits::Three, true) => by_length::<3, true>(job, tokens, sums),
            (CodeBits::Four, false) => by_length::<4, false>(job, tokens, sums),
            (CodeBits::Four, true) => by_length::<4, true>(job, tokens, sums),
            (CodeBits::Five, _) => by_length::<5, false>(job, tokens, sums),
            (CodeBits::Six, _) => by_length::<6, false>(job, tokens, sums),
            (CodeBits::Eight, _) => by_length::<8, false>(job, tokens, sums),
        }
    }
}

/// Up to a chunk of a panel.
struct Job<'a> {
    layout: &'a Layout,
    /// Of which only scales and mins are read.
    chunk: &'a Chunk,
    codes: &'a [u8],
}

#[target_feature(enable = "avx2,fma,avxvnni")]
fn by_length<const BITS: usize, const TABLE: bool>(
    job: &Job<'_>,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    assert!(job.codes.len() == job.chunk.block_count * BITS * GROUP_BYTES);
    assert!(BITS <= 4 || !TABLE);
    for (tokens, sums) in tokens.chunks(STRIP).zip(sums.chunks_mut(STRIP)) {
        // SAFETY: there are codes for every block of the chunk.
        unsafe {
            if job.layout.sub_length == 16 {
                by_count::<BITS, TABLE, 2>(job, tokens, sums);
            } else {
                by_count::<BITS, TABLE, 1>(job, tokens, sums);
            }
        }
    }
}

/// # Safety
/// The job must have `BITS * 64` bytes of codes for every block of its chunk.
#[target_feature(enable = "avx2,fma,avxvnni")]
unsafe fn by_count<const BITS: usize, const TABLE: bool, const PARTS: usize>(
    job: &Job<'_>,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    const { assert!(STRIP == 4) };
    // SAFETY: the caller's promise.
    unsafe {
        match tokens.len() {
            0 => {}
            1 => strip::<BITS, TABLE, PARTS, 1>(job, tokens, sums),
            2 => strip::<BITS, TABLE, PARTS, 2>(job, tokens, sums),
            3 => strip::<BITS, TABLE, PARTS, 3>(job, tokens, sums),
            _ => strip::<BITS, TABLE, PARTS, 4>(job, tokens, sums),
        }
    }
}

/// `PARTS` sub-blocks a block, `T` tokens.
///
/// # Safety
/// As [`by_count`].
#[target_feature(enable = "avx2,fma,avxvnni")]
unsafe fn strip<const BITS: usize, const TABLE: bool, const PARTS: usize, const T: usize>(
    job: &Job<'_>,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    let Job { layout, chunk, codes } = *job;
    assert!(tokens.len() == T && sums.len() == T);
    let starts: [*const QuantisedBlock; T] = std::array::from_fn(|t| tokens[t].as_ptr());
    let table = layout.table.unwrap_or_default();
    for rows in 0..2 {
        let lane = 8 * rows;
        // SAFETY: `multiply` was given `block_count` blocks of every token, and the caller promised codes; a sub-block
        // has 16 scales and mins, a token 16 sums: two vectors each.
        unsafe {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            let mut totals: [__m256; T] = std::array::from_fn(|t| _mm256_loadu_ps(sums[t].as_ptr().add(lane)));
            for index in 0..chunk.block_count {
                let packed = codes.as_ptr().add(index * BITS * GROUP_BYTES + 32 * rows);
                let mut products = [_mm256_setzero_si256(); T];
                for half in 0..2 {
                    let place = if PARTS == 1 { 0 } else { 1 + half };
                    if PARTS == 2 || half == 0 {
                        for t in 0..T {
                            products[t] = _mm256_set1_epi32((*starts[t].add(index)).sums[place] * -layout.offset);
                        }
                    }
                    let mut weights = expand::<BITS>(packed, half);
                    if TABLE {
                        weights = weights.map(|places| _mm256_shuffle_epi8(table, places));
                    }
                    for group in 0..4 {
                        for t in 0..T {
                            let codes = (*starts[t].add(index)).codes.as_ptr().add(16 * half + 4 * group);
                            let four = _mm256_set1_epi32(codes.cast::<i32>().read_unaligned());
                            products[t] = _mm256_dpbusd_avx_epi32(products[t], weights[group], four);
                        }
                    }
                    if PARTS == 2 || half == 1 {
                        let sub = if PARTS == 2 { 2 * index + half } else { index };
                        let scales = _mm256_loadu_ps(chunk.scales[sub].as_ptr().add(lane));
                        let mins = _mm256_loadu_ps(chunk.mins[sub].as_ptr().add(lane));
                        for t in 0..T {
                            let block = &*starts[t].add(index);
                            let factor = _mm256_mul_ps(scales, _mm256_set1_ps(block.scale));
                            totals[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(products[t]), factor, totals[t]);
                            if layout.has_mins {
                                totals[t] = _mm256_fnmadd_ps(mins, _mm256_set1_ps(block.weighted[place]), totals[t]);
                            }
                        }
                    }
                }
            }
            for t in 0..T {
                _mm256_storeu_ps(sums[t].as_mut_ptr().add(lane), totals[t]);
            }
        }
    }
}

/// Eight rows of the four groups of half a block: what [`super::packed::expand`] does in memory.
///
/// # Safety
/// `at`, where the rows begin in the block's first 64 bytes, must be followed by `BITS * 64` bytes less as many as
/// precede it there.
#[inline]
#[target_feature(enable = "avx2,fma,avxvnni")]
unsafe fn expand<const BITS: usize>(at: *const u8, half: usize) -> [__m256i; 4] {
    // SAFETY: the caller's promise; parts are fewer than `BITS`.
    let load = |part: usize| unsafe { _mm256_loadu_si256(at.add(part * GROUP_BYTES).cast()) };
    match BITS {
        2 => pairs(load(half)),
        3 => insert::<1, 2>(pairs(load(half)), load(2), 4 * half),
        4 => nibbles([load(2 * half), load(2 * half + 1)]),
        5 => insert::<1, 4>(nibbles([load(2 * half), load(2 * half + 1)]), load(4), 4 * half),
        6 => insert::<2, 4>(nibbles([load(2 * half), load(2 * half + 1)]), load(4 + half), 0),
        _ => std::array::from_fn(|group| load(4 * half + group)),
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,avxvnni")]
fn nibbles(parts: [__m256i; 2]) -> [__m256i; 4] {
    std::array::from_fn(|group| take::<4>(parts[group / 2], 4 * (group % 2), 0))
}

#[inline]
#[target_feature(enable = "avx2,fma,avxvnni")]
fn pairs(part: __m256i) -> [__m256i; 4] {
    std::array::from_fn(|group| take::<2>(part, 2 * group, 0))
}

/// Puts `COUNT` bits of `part` for each group, from bit `first` on, above the lower `LOW` bits of the codes.
#[inline]
#[target_feature(enable = "avx2,fma,avxvnni")]
fn insert<const COUNT: usize, const LOW: usize>(groups: [__m256i; 4], part: __m256i, first: usize) -> [__m256i; 4] {
    std::array::from_fn(|group| _mm256_or_si256(groups[group], take::<COUNT>(part, first + COUNT * group, LOW)))
}

/// The `COUNT` bits of each byte from bit `from` on, moved to bit `to`.
#[inline]
#[target_feature(enable = "avx2,fma,avxvnni")]
fn take<const COUNT: usize>(part: __m256i, from: usize, to: usize) -> __m256i {
    let moved = if from >= to {
        _mm256_srl_epi16(part, _mm_cvtsi32_si128((from - to) as i32))
    } else {
        _mm256_sll_epi16(part, _mm_cvtsi32_si128((to - from) as i32))
    };
    _mm256_and_si256(moved, _mm256_set1_epi8((((1 << COUNT) - 1) << to) as i8))
}
