//! Inner products by AVX-VNNI: `vpdpbusd` on 256 bits, for machines that have it without AVX-512.
//!
//! One instruction multiplies half a group (8 rows x 4 columns) with four activations and adds to 32 bits, where AVX2
//! takes two and a third (`vpmaddubsw`, `vpaddw`, and `vpmaddwd` with `vpaddd` once a fold) and its signed codes five.
//! Codes of 8 bits need no detour, for nothing saturates.
//!
//! Four tokens and both halves of the rows have eight integer sums; a group takes two loads of weights, four broadcasts, which
//! take a load port only, and eight products: two a cycle. Totals stay in registers where there are few tokens. Per
//! sub-block of 32 columns and token: 16 `vpdpbusd` (512 multiplications) and 8 to 12 instructions to finish.
//!
//! Codes of fewer bits that are to be taken apart in registers, for few tokens, are left to [`super::kernel_avx2`], which is
//! faster at that, though it multiplies by more instructions (two registers hold a group there as here, but a fold of sums
//! in 16 bits is finished once for four groups): with one token of Q4_K by 1.1, with four of Q6_K by 1.4.
#![allow(unsafe_code)] // Intrinsics.
#![allow(clippy::needless_range_loop)] // Indices run over several arrays of registers at once.

use std::arch::x86_64::*;

use lair_simd::Isa;

use super::packed::{BLOCK, CodeBits, GROUP_BYTES, Layout, PANEL};
use super::panel::Chunk;
use super::quantise::QuantisedBlock;

/// Tokens a strip.
const STRIP: usize = 4;
/// Groups of a block.
const GROUPS: usize = BLOCK / 4;
/// Bytes of a block, a byte a code.
const BLOCK_BYTES: usize = GROUPS * GROUP_BYTES;

/// How far ahead of the products packed codes are asked for, as in the AVX2 kernel.
const PREFETCH_BYTES: usize = 6144;

/// See [`super::kernel::multiply`].
pub(super) fn multiply(
    isa: Isa,
    layout: &Layout,
    chunk: &Chunk,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    assert!(matches!(isa, Isa::AvxVnni(_)));
    let codes = &chunk.codes.as_flattened().as_flattened()[..chunk.block_count * BLOCK_BYTES];
    // SAFETY: the instruction set was found on this machine.
    unsafe { by_length::<false>(&Job { layout, chunk, codes }, tokens, sums) };
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
    let Isa::AvxVnni(avx2) = isa else { unreachable!("for this instruction set") };
    if layout.bits != CodeBits::Eight || layout.table.is_some() {
        return super::kernel_avx2::multiply_packed(avx2, layout, chunk, codes, tokens, sums);
    }
    // Codes of 8 bits are packed as they are expanded.
    // SAFETY: the instruction set was found on this machine.
    unsafe { by_length::<true>(&Job { layout, chunk, codes }, tokens, sums) };
}

/// Up to a chunk of a panel.
struct Job<'a> {
    layout: &'a Layout,
    /// Of which only scales and mins are read.
    chunk: &'a Chunk,
    /// A byte each.
    codes: &'a [u8],
}

/// `FAR` if codes are far from the processor.
#[target_feature(enable = "avx2,fma,avxvnni")]
fn by_length<const FAR: bool>(job: &Job<'_>, tokens: &[&[QuantisedBlock]], sums: &mut [[f32; PANEL]]) {
    assert!(job.codes.len() == job.chunk.block_count * BLOCK_BYTES);
    for (tokens, sums) in tokens.chunks(STRIP).zip(sums.chunks_mut(STRIP)) {
        // SAFETY: there are codes for every block of the chunk.
        unsafe {
            if job.layout.sub_length == 16 {
                by_count::<FAR, 2>(job, tokens, sums);
            } else {
                by_count::<FAR, 1>(job, tokens, sums);
            }
        }
    }
}

/// # Safety
/// The job must have codes for every block of its chunk.
#[target_feature(enable = "avx2,fma,avxvnni")]
unsafe fn by_count<const FAR: bool, const PARTS: usize>(
    job: &Job<'_>,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    const { assert!(STRIP == 4) };
    // SAFETY: the caller's promise.
    unsafe {
        match tokens.len() {
            0 => {}
            1 => strip::<FAR, PARTS, 1>(job, tokens, sums),
            2 => strip::<FAR, PARTS, 2>(job, tokens, sums),
            3 => strip::<FAR, PARTS, 3>(job, tokens, sums),
            _ => strip::<FAR, PARTS, 4>(job, tokens, sums),
        }
    }
}

/// `PARTS` sub-blocks a block, `T` tokens.
///
/// # Safety
/// As [`by_count`].
#[target_feature(enable = "avx2,fma,avxvnni")]
unsafe fn strip<const FAR: bool, const PARTS: usize, const T: usize>(
    job: &Job<'_>,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    let Job { layout, chunk, codes } = *job;
    assert!(tokens.len() == T && sums.len() == T);
    let starts: [*const QuantisedBlock; T] = std::array::from_fn(|t| tokens[t].as_ptr());
    // SAFETY: `multiply` was given `block_count` blocks of every token, and the caller promised codes; a sub-block has 16
    // scales and mins, a token 16 sums: two vectors each.
    unsafe {
        let mut totals = [[_mm256_setzero_ps(); T]; 2];
        for half in 0..2 {
            for t in 0..T {
                totals[half][t] = _mm256_loadu_ps(sums[t].as_ptr().add(8 * half));
            }
        }
        for index in 0..chunk.block_count {
            let codes = codes.as_ptr().add(index * BLOCK_BYTES);
            if FAR {
                for line in 0..BLOCK_BYTES / 64 {
                    _mm_prefetch::<_MM_HINT_T0>(codes.wrapping_add(PREFETCH_BYTES + 64 * line).cast());
                }
            }
            let blocks = starts.map(|start| &*start.add(index));
            let place = |part: usize| if PARTS == 1 { 0 } else { 1 + part };
            let mut values = [[_mm256_setzero_ps(); T]; 2];
            for part in 0..PARTS {
                let mut products = [[_mm256_setzero_si256(); T]; 2];
                for t in 0..T {
                    let correction = _mm256_set1_epi32(blocks[t].correction(place(part), layout.offset));
                    products[0][t] = correction;
                    products[1][t] = correction;
                }
                for group in part * GROUPS / PARTS..(part + 1) * GROUPS / PARTS {
                    let low = _mm256_loadu_si256(codes.add(group * GROUP_BYTES).cast());
                    let high = _mm256_loadu_si256(codes.add(group * GROUP_BYTES + 32).cast());
                    for t in 0..T {
                        let four = blocks[t].codes.as_ptr().add(4 * group);
                        let four = _mm256_set1_epi32(four.cast::<i32>().read_unaligned());
                        products[0][t] = _mm256_dpbusd_avx_epi32(products[0][t], low, four);
                        products[1][t] = _mm256_dpbusd_avx_epi32(products[1][t], high, four);
                    }
                }
                for half in 0..2 {
                    let scales = _mm256_loadu_ps(chunk.scales[index * PARTS + part].as_ptr().add(8 * half));
                    for t in 0..T {
                        let product = _mm256_cvtepi32_ps(products[half][t]);
                        values[half][t] = if part == 0 {
                            _mm256_mul_ps(product, scales)
                        } else {
                            _mm256_fmadd_ps(product, scales, values[half][t])
                        };
                    }
                }
            }
            for half in 0..2 {
                for t in 0..T {
                    let scale = _mm256_set1_ps(blocks[t].scale);
                    totals[half][t] = _mm256_fmadd_ps(values[half][t], scale, totals[half][t]);
                }
                if layout.has_mins {
                    for part in 0..PARTS {
                        let mins = _mm256_loadu_ps(chunk.mins[index * PARTS + part].as_ptr().add(8 * half));
                        for t in 0..T {
                            let weighted = _mm256_set1_ps(blocks[t].weighted[place(part)]);
                            totals[half][t] = _mm256_fnmadd_ps(mins, weighted, totals[half][t]);
                        }
                    }
                }
            }
        }
        for half in 0..2 {
            for t in 0..T {
                _mm256_storeu_ps(sums[t].as_mut_ptr().add(8 * half), totals[half][t]);
            }
        }
    }
}
