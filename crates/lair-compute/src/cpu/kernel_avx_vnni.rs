//! Inner products by AVX-VNNI: `vpdpbusd` on 256 bits, for machines that have it without AVX-512.
//!
//! One instruction multiplies half a group (8 rows x 4 columns) with four activations and adds to 32 bits, where AVX2
//! takes two and a third (`vpmaddubsw`, `vpaddw`, and `vpmaddwd` with `vpaddd` once a fold) and its signed codes five.
//! Per sub-block of 32 columns and token that is 16 `vpdpbusd`, 8 broadcasts (load ports) and 8 instructions to finish:
//! 512 multiplications in 24 vector instructions. Codes of 8 bits need no detour, for nothing saturates.
#![allow(unsafe_code)] // Intrinsics.
#![allow(clippy::needless_range_loop)] // Indices run over several arrays of registers at once.

use std::arch::x86_64::*;

use lair_simd::Isa;

use super::packed::{GROUP_BYTES, Layout, PANEL};
use super::panel::Chunk;
use super::quantise::QuantisedBlock;

/// Tokens a strip: eight sums, two vectors of weights and a broadcast leave five registers to finish with.
const STRIP: usize = 4;

/// See [`super::kernel::multiply`].
pub(super) fn multiply(
    isa: Isa,
    layout: &Layout,
    chunk: &Chunk,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    assert!(matches!(isa, Isa::AvxVnni(_)));
    for (tokens, sums) in tokens.chunks(STRIP).zip(sums.chunks_mut(STRIP)) {
        // SAFETY: the instruction set was found on this machine.
        unsafe {
            match (layout.sub_length == 16, layout.has_mins) {
                (false, false) => by_count::<1, false>(layout, chunk, tokens, sums),
                (false, true) => by_count::<1, true>(layout, chunk, tokens, sums),
                (true, false) => by_count::<2, false>(layout, chunk, tokens, sums),
                (true, true) => by_count::<2, true>(layout, chunk, tokens, sums),
            }
        }
    }
}

#[target_feature(enable = "avx2,fma,avxvnni")]
fn by_count<const PARTS: usize, const MINS: bool>(
    layout: &Layout,
    chunk: &Chunk,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    const { assert!(STRIP == 4) };
    match tokens.len() {
        0 => {}
        1 => strip::<1, PARTS, MINS>(layout, chunk, tokens, sums),
        2 => strip::<2, PARTS, MINS>(layout, chunk, tokens, sums),
        3 => strip::<3, PARTS, MINS>(layout, chunk, tokens, sums),
        _ => strip::<4, PARTS, MINS>(layout, chunk, tokens, sums),
    }
}

#[target_feature(enable = "avx2,fma,avxvnni")]
fn strip<const T: usize, const PARTS: usize, const MINS: bool>(
    layout: &Layout,
    chunk: &Chunk,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    assert!(tokens.len() == T && sums.len() == T);
    let starts: [*const QuantisedBlock; T] = std::array::from_fn(|t| tokens[t].as_ptr());
    let groups_a_part = 8 / PARTS;
    for index in 0..chunk.block_count {
        for part in 0..PARTS {
            let place = if PARTS == 1 { 0 } else { 1 + part };
            let sub = index * PARTS + part;
            // SAFETY: `multiply` was given `block_count` blocks of every token; a group has 64 bytes and takes four
            // activations, a sub-block has 16 scales and mins, a token 16 sums: two vectors each.
            unsafe {
                let blocks: [&QuantisedBlock; T] = std::array::from_fn(|t| &*starts[t].add(index));
                let mut products: [[__m256i; 2]; T] =
                    std::array::from_fn(|t| [_mm256_set1_epi32(blocks[t].sums[place] * -layout.offset); 2]);
                for group in part * groups_a_part..(part + 1) * groups_a_part {
                    let at = chunk.codes[index].as_ptr().cast::<u8>().add(group * GROUP_BYTES);
                    let weights = [_mm256_loadu_si256(at.cast()), _mm256_loadu_si256(at.add(32).cast())];
                    for t in 0..T {
                        let four = blocks[t].codes.as_ptr().add(4 * group).cast::<i32>().read_unaligned();
                        for half in 0..2 {
                            products[t][half] =
                                _mm256_dpbusd_avx_epi32(products[t][half], weights[half], _mm256_set1_epi32(four));
                        }
                    }
                }
                for half in 0..2 {
                    let scales = _mm256_loadu_ps(chunk.scales[sub].as_ptr().add(8 * half));
                    let mins = _mm256_loadu_ps(chunk.mins[sub].as_ptr().add(8 * half));
                    for t in 0..T {
                        let factor = _mm256_mul_ps(scales, _mm256_set1_ps(blocks[t].scale));
                        let sum = sums[t].as_mut_ptr().add(8 * half);
                        let product = _mm256_cvtepi32_ps(products[t][half]);
                        let mut total = _mm256_fmadd_ps(product, factor, _mm256_loadu_ps(sum));
                        if MINS {
                            total = _mm256_fnmadd_ps(mins, _mm256_set1_ps(blocks[t].weighted[place]), total);
                        }
                        _mm256_storeu_ps(sum, total);
                    }
                }
            }
        }
    }
}
