//! Inner products by AVX-512 VNNI: one instruction multiplies a group (16 rows x 4 columns) with four activations.
//!
//! Per sub-block of 32 columns and token: 8 `vpdpbusd` (512 multiplications) and about four other vector instructions.
//! Two of the former a cycle would be 128 multiplications a cycle; the epilogue takes a third of that.
#![allow(unsafe_code)] // Intrinsics.
#![allow(clippy::needless_range_loop)] // Indices run over several arrays of registers at once.

use std::arch::x86_64::*;

use lair_simd::Isa;

use super::kernel::STRIP_MAX;
use super::packed::{GROUP_BYTES, Layout, PANEL};
use super::panel::Chunk;
use super::quantise::QuantisedBlock;

/// See [`super::kernel::multiply`].
pub(super) fn multiply(
    isa: Isa,
    layout: &Layout,
    chunk: &Chunk,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    assert!(matches!(isa, Isa::Avx512Vnni(_)));
    // SAFETY: the instruction set was found on this machine.
    unsafe {
        match (layout.sub_length == 16, layout.has_mins) {
            (false, false) => by_count::<false, false>(layout, chunk, tokens, sums),
            (false, true) => by_count::<false, true>(layout, chunk, tokens, sums),
            (true, false) => by_count::<true, false>(layout, chunk, tokens, sums),
            (true, true) => by_count::<true, true>(layout, chunk, tokens, sums),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn by_count<const HALVES: bool, const MINS: bool>(
    layout: &Layout,
    chunk: &Chunk,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    const { assert!(STRIP_MAX == 8) };
    match tokens.len() {
        0 => {}
        1 => strip::<1, HALVES, MINS>(layout, chunk, tokens, sums),
        2 => strip::<2, HALVES, MINS>(layout, chunk, tokens, sums),
        3 => strip::<3, HALVES, MINS>(layout, chunk, tokens, sums),
        4 => strip::<4, HALVES, MINS>(layout, chunk, tokens, sums),
        5 => strip::<5, HALVES, MINS>(layout, chunk, tokens, sums),
        6 => strip::<6, HALVES, MINS>(layout, chunk, tokens, sums),
        7 => strip::<7, HALVES, MINS>(layout, chunk, tokens, sums),
        _ => strip::<8, HALVES, MINS>(layout, chunk, tokens, sums),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn strip<const T: usize, const HALVES: bool, const MINS: bool>(
    layout: &Layout,
    chunk: &Chunk,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    assert!(tokens.len() == T && sums.len() == T);
    let starts: [*const QuantisedBlock; T] = std::array::from_fn(|t| tokens[t].as_ptr());
    let parts = if HALVES { 2 } else { 1 };
    let groups_a_part = 8 / parts;
    // SAFETY: `multiply` checked that every token has `block_count` blocks; the chunk's arrays have a row of 64 bytes
    // for every group, sub-block and token named here.
    unsafe {
        let mut totals: [__m512; T] = std::array::from_fn(|t| _mm512_loadu_ps(sums[t].as_ptr()));
        for index in 0..chunk.block_count {
            let groups = chunk.codes[index].as_ptr().cast::<u8>();
            for part in 0..parts {
                let place = if HALVES { 1 + part } else { 0 };
                let mut products: [__m512i; T] =
                    std::array::from_fn(|t| _mm512_set1_epi32((*starts[t].add(index)).sums[place] * -layout.offset));
                for group in part * groups_a_part..(part + 1) * groups_a_part {
                    let weights = _mm512_loadu_si512(groups.add(group * GROUP_BYTES).cast());
                    for t in 0..T {
                        let four = (*starts[t].add(index)).codes.as_ptr().add(4 * group).cast::<i32>().read_unaligned();
                        products[t] = _mm512_dpbusd_epi32(products[t], weights, _mm512_set1_epi32(four));
                    }
                }
                let sub = index * parts + part;
                let scales = _mm512_loadu_ps(chunk.scales[sub].as_ptr());
                for t in 0..T {
                    let factor = _mm512_mul_ps(scales, _mm512_set1_ps((*starts[t].add(index)).scale));
                    totals[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products[t]), factor, totals[t]);
                }
                if MINS {
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
