//! Inner products by AVX-512 VNNI: one instruction multiplies a group (16 rows x 4 columns) with four activations.
//!
//! For many tokens: weights come expanded from a chunk, in the first-level cache. With few they come packed from memory
//! ([`super::kernel_avx512_direct`]).
//!
//! Per block of 32 columns and token: 8 `vpdpbusd` (512 multiplications) and about four other vector instructions.
//! With two panels at a time ([`super::kernel_avx512_tile`]) an activation that was spread over a register serves 32 rows, so that loads
//! are no limit.
#![allow(unsafe_code)] // Intrinsics.
#![allow(clippy::needless_range_loop)] // Indices run over several arrays of registers at once.

use std::arch::x86_64::*;

use lair_simd::Isa;

use super::kernel::STRIP_MAX;
use super::kernel_avx512_direct::{expand, spread_table};
use super::kernel_avx512_tile::{TILE, tile};
use super::kernel_avx512_wide::{self, TILE as WIDE};
use super::packed::{BLOCK, CodeBits, GROUP_BYTES, Layout, PANEL};
use super::panel::{CHUNK_OFFSET, Chunk};
use super::product::Sums;
use super::quantise::QuantisedBlock;

/// Groups of a block.
pub(super) const GROUPS: usize = BLOCK / 4;

/// Tokens of a strip where a block is two sub-blocks. With eight tokens finishing each sub-block made Q2_K, Q3_K and IQ2_XS 0.5 to
/// 0.7 times as fast as with four.
pub(super) const STRIP_OF_SUBS: usize = 4;

/// Whether sums of sixteen registers are made faster than of eight: not where eight are as many as can wait for each other (AMD's).
fn prefers_wide() -> bool {
    static IS_SO: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| lair_simd::amd_family().is_none());
    *IS_SO
}

/// Codes of the blocks `first .. first + count` of a panel for a chunk, as much too high as the chunk's offset says.
pub(super) fn expand_codes(isa: Isa, layout: &Layout, codes: &[u8], (first, count): (usize, usize), chunk: &mut Chunk) {
    assert!(matches!(isa, Isa::Avx512Vnni(_)));
    let (packed, _) = codes.as_chunks::<GROUP_BYTES>();
    // SAFETY: the instruction set was found on this machine.
    unsafe {
        match layout.bits {
            CodeBits::Two => expand_blocks::<2>(layout, &packed[2 * first..][..2 * count], chunk),
            CodeBits::Three => expand_blocks::<3>(layout, &packed[3 * first..][..3 * count], chunk),
            CodeBits::Four => expand_blocks::<4>(layout, &packed[4 * first..][..4 * count], chunk),
            CodeBits::Five => expand_blocks::<5>(layout, &packed[5 * first..][..5 * count], chunk),
            CodeBits::Six => expand_blocks::<6>(layout, &packed[6 * first..][..6 * count], chunk),
            CodeBits::Eight => expand_blocks::<8>(layout, &packed[8 * first..][..8 * count], chunk),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn expand_blocks<const BITS: usize>(layout: &Layout, packed: &[[u8; GROUP_BYTES]], chunk: &mut Chunk) {
    let higher = _mm512_set1_epi8((chunk.offset - layout.offset) as i8);
    let table = layout.table.is_some().then(|| spread_table(layout));
    for (packed, groups) in packed.as_chunks::<BITS>().0.iter().zip(&mut chunk.codes) {
        // SAFETY: a block has that many parts.
        let mut codes = unsafe { expand::<BITS>(packed.as_flattened().as_ptr()) };
        if let Some(table) = table {
            codes = codes.map(|places| _mm512_shuffle_epi8(table, places));
        }
        for (group, codes) in groups.iter_mut().zip(codes) {
            // SAFETY: a group has 64 bytes.
            unsafe { _mm512_storeu_si512(group.as_mut_ptr().cast(), _mm512_add_epi8(codes, higher)) };
        }
    }
}

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
            for (tokens, sums) in tokens.chunks(STRIP_OF_SUBS).zip(sums.chunks_mut(STRIP_OF_SUBS)) {
                by_count::<2>(layout, chunk, tokens, sums);
            }
        }
    }
}

/// See [`super::kernel::multiply_two`]: does whole tiles of tokens, and returns of how many tokens these are.
pub(super) fn multiply_two(
    isa: Isa,
    layout: &Layout,
    chunks: &[Chunk; 2],
    (tokens, first_block): (&[&[QuantisedBlock]], usize),
    [one, two]: [&mut [[f32; PANEL]]; 2],
) -> usize {
    assert!(matches!(isa, Isa::Avx512Vnni(_)));
    let [first, second] = chunks;
    let (block_count, offset) = (first.block_count, first.offset);
    assert!(second.block_count == block_count && second.offset == offset && [0, CHUNK_OFFSET].contains(&offset));
    let done = tokens.len() / TILE * TILE;
    assert!(one.len() >= done && two.len() >= done);
    assert!(tokens[..done].iter().all(|token| token.len() >= first_block + block_count));
    if block_count == 0 {
        return done;
    }
    let sums = [one.as_mut_ptr(), two.as_mut_ptr()];
    let are_together = sums[1].addr().wrapping_sub(sums[0].addr()) == size_of::<Sums>();
    let is_wide = are_together && prefers_wide() && kernel_avx512_wide::can_do(layout);
    let wide = if is_wide { done / WIDE * WIDE } else { 0 };
    let wide_tile = match (layout.has_mins, offset != 0) {
        (false, false) => kernel_avx512_wide::tile::<false, false>,
        (false, true) => kernel_avx512_wide::tile::<false, true>,
        (true, false) => kernel_avx512_wide::tile::<true, false>,
        (true, true) => kernel_avx512_wide::tile::<true, true>,
    };
    // Most often rows lie behind each other; where they do not, it is asked for something else.
    let next = tokens.get(WIDE).map_or(0, |token| token.as_ptr().addr().wrapping_sub(tokens[0].as_ptr().addr()));
    for at in (0..wide).step_by(WIDE) {
        // SAFETY: as below; sums of the second panel lie one `Sums` behind those of the first.
        unsafe {
            let tokens = std::array::from_fn(|t| tokens.get_unchecked(at + t).as_ptr().add(first_block));
            wide_tile(chunks, tokens, sums[0].add(at), next);
        }
    }
    let tile = match (layout.sub_length == BLOCK, layout.has_mins, offset != 0) {
        (true, false, false) => tile::<1, false, false>,
        (true, false, true) => tile::<1, false, true>,
        (true, true, false) => tile::<1, true, false>,
        (true, true, true) => tile::<1, true, true>,
        (false, false, false) => tile::<2, false, false>,
        (false, false, true) => tile::<2, false, true>,
        (false, true, false) => tile::<2, true, false>,
        (false, true, true) => tile::<2, true, true>,
    };
    for at in (wide..done).step_by(TILE) {
        // SAFETY: the instruction set was found on this machine; chunks and tokens have the same number of blocks, not none, and sums
        // as many tokens. Pointers, because what iterators keep in memory is read back while a tile's sums still go there.
        unsafe {
            let tokens = std::array::from_fn(|t| tokens.get_unchecked(at + t).as_ptr().add(first_block));
            tile(chunks, tokens, sums.map(|sums| sums.add(at)));
        }
    }
    done
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
            4.. if PARTS == 2 => strip::<PARTS, STRIP_OF_SUBS>(layout, chunk, tokens, sums),
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
    // SAFETY: the caller promised activations; codes have a row of 64 bytes for every group of the chunk's blocks.
    unsafe {
        let mut totals: [__m512; T] = std::array::from_fn(|t| _mm512_loadu_ps(sums[t].as_ptr()));
        for index in 0..chunk.block_count {
            let weights = chunk.codes[index].each_ref().map(|group| _mm512_loadu_si512(group.as_ptr().cast()));
            let blocks = starts.map(|start| start.add(index));
            let of_chunk = (
                |part: usize| _mm512_loadu_ps(chunk.scales[index * PARTS + part].as_ptr()),
                |part: usize| _mm512_loadu_ps(chunk.mins[index * PARTS + part].as_ptr()),
            );
            add_block::<PARTS, T>((chunk.offset, layout.has_mins), &weights, of_chunk, blocks, &mut totals);
        }
        for t in 0..T {
            _mm512_storeu_ps(sums[t].as_mut_ptr(), totals[t]);
        }
    }
}

/// Adds the products of a block in registers, whose codes are `offset` too high, with some tokens. `scales` and `mins` are those of its
/// sub-blocks.
///
/// # Safety
/// Every one of `blocks` must be there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn add_block<const PARTS: usize, const T: usize>(
    (offset, has_mins): (i32, bool),
    weights: &[__m512i; GROUPS],
    (scales, mins): (impl Fn(usize) -> __m512, impl Fn(usize) -> __m512),
    blocks: [*const QuantisedBlock; T],
    totals: &mut [__m512; T],
) {
    let place = |part: usize| if PARTS == 1 { 0 } else { 1 + part };
    // SAFETY: the caller's promise; a row of scales or mins has 64 bytes.
    unsafe {
        let mut values = [_mm512_setzero_ps(); T];
        for part in 0..PARTS {
            let mut products = [_mm512_setzero_si512(); T];
            if offset != 0 {
                for t in 0..T {
                    products[t] = _mm512_set1_epi32((*blocks[t]).correction(place(part), offset));
                }
            }
            for group in part * (GROUPS / PARTS)..(part + 1) * (GROUPS / PARTS) {
                for t in 0..T {
                    let four = (*blocks[t]).codes.as_ptr().add(4 * group).cast::<i32>().read_unaligned();
                    products[t] = _mm512_dpbusd_epi32(products[t], weights[group], _mm512_set1_epi32(four));
                }
            }
            let scales = scales(part);
            for t in 0..T {
                let product = _mm512_cvtepi32_ps(products[t]);
                values[t] = if part == 0 {
                    _mm512_mul_ps(product, scales)
                } else {
                    _mm512_fmadd_ps(product, scales, values[t])
                };
            }
        }
        for t in 0..T {
            totals[t] = _mm512_fmadd_ps(values[t], _mm512_set1_ps((*blocks[t]).scale), totals[t]);
        }
        if has_mins {
            for part in 0..PARTS {
                let mins = mins(part);
                for t in 0..T {
                    let weighted = _mm512_set1_ps((*blocks[t]).weighted[place(part)]);
                    totals[t] = _mm512_fnmadd_ps(mins, weighted, totals[t]);
                }
            }
        }
    }
}
