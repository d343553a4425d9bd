//! Inner products by AVX2: unsigned bytes times signed bytes, summed in 16 bits for as long as the codes allow it.
//!
//! `vpmaddubsw` adds two products of an unsigned code of at most `max` and a byte of at most 127; the 16-bit sums of
//! `FOLD` of them hold `FOLD * 2 * 127 * max < 2^15`: 8 for 4-bit codes, 4 for 5, 2 for 6 and 1 for 7. Codes of 8 bits
//! are taken as signed again: the magnitude of the weight times the activation with the weight's sign.
#![allow(unsafe_code)] // Intrinsics.
#![allow(clippy::needless_range_loop)] // Indices run over several arrays of registers at once.

use std::arch::x86_64::*;

use lair_simd::Avx2;

use super::packed::{GROUP_BYTES, Layout, PANEL};
use super::panel::Chunk;
use super::quantise::QuantisedBlock;

/// Tokens a strip: with two vectors of weights they fill the sixteen registers.
const STRIP: usize = 4;
/// `FOLD` for codes of 8 bits.
const SIGNED: usize = 0;

/// See [`super::kernel::multiply`].
pub(super) fn multiply(
    _token: Avx2,
    layout: &Layout,
    chunk: &Chunk,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    for (tokens, sums) in tokens.chunks(STRIP).zip(sums.chunks_mut(STRIP)) {
        // SAFETY: the token proves the instruction set.
        unsafe {
            match (layout.sub_length == 16, layout.has_mins) {
                (false, false) => by_fold::<1, false>(layout, chunk, tokens, sums),
                (false, true) => by_fold::<1, true>(layout, chunk, tokens, sums),
                (true, false) => by_fold::<2, false>(layout, chunk, tokens, sums),
                (true, true) => by_fold::<2, true>(layout, chunk, tokens, sums),
            }
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn by_fold<const PARTS: usize, const MINS: bool>(
    layout: &Layout,
    chunk: &Chunk,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    match layout.code_max {
        0..=15 => by_count::<PARTS, MINS, 8>(layout, chunk, tokens, sums),
        16..=31 => by_count::<PARTS, MINS, 4>(layout, chunk, tokens, sums),
        32..=63 => by_count::<PARTS, MINS, 2>(layout, chunk, tokens, sums),
        64..=127 => by_count::<PARTS, MINS, 1>(layout, chunk, tokens, sums),
        _ => by_count::<PARTS, MINS, SIGNED>(layout, chunk, tokens, sums),
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn by_count<const PARTS: usize, const MINS: bool, const FOLD: usize>(
    layout: &Layout,
    chunk: &Chunk,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    match tokens.len() {
        0 => {}
        1 => strip::<1, PARTS, MINS, FOLD>(layout, chunk, tokens, sums),
        2 => strip::<2, PARTS, MINS, FOLD>(layout, chunk, tokens, sums),
        3 => strip::<3, PARTS, MINS, FOLD>(layout, chunk, tokens, sums),
        _ => strip::<4, PARTS, MINS, FOLD>(layout, chunk, tokens, sums),
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn strip<const T: usize, const PARTS: usize, const MINS: bool, const FOLD: usize>(
    layout: &Layout,
    chunk: &Chunk,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    assert!(tokens.len() == T && sums.len() == T);
    // Signed codes have no offset: 128 was fixed for them.
    assert!(FOLD != SIGNED || layout.offset == 128);
    let offset = if FOLD == SIGNED { 0 } else { layout.offset };
    let starts: [*const QuantisedBlock; T] = std::array::from_fn(|t| tokens[t].as_ptr());
    for index in 0..chunk.block_count {
        for part in 0..PARTS {
            let place = if PARTS == 1 { 0 } else { 1 + part };
            let sub = index * PARTS + part;
            // SAFETY: `multiply` was given `block_count` blocks of every token; a group has 64 bytes, a sub-block 16
            // scales and mins, a token 16 sums: two vectors each.
            unsafe {
                let groups = chunk.codes[index][part * (8 / PARTS)..].as_ptr().cast::<u8>();
                let codes: [*const i8; T] =
                    std::array::from_fn(|t| (*starts[t].add(index)).codes.as_ptr().add(part * 32 / PARTS));
                let products = products::<T, PARTS, FOLD>(groups, codes);
                for half in 0..2 {
                    let scales = _mm256_loadu_ps(chunk.scales[sub].as_ptr().add(8 * half));
                    let mins = _mm256_loadu_ps(chunk.mins[sub].as_ptr().add(8 * half));
                    for t in 0..T {
                        let block = &*starts[t].add(index);
                        let correction = _mm256_set1_epi32(block.sums[place] * -offset);
                        let product = _mm256_cvtepi32_ps(_mm256_add_epi32(products[t][half], correction));
                        let factor = _mm256_mul_ps(scales, _mm256_set1_ps(block.scale));
                        let sum = sums[t].as_mut_ptr().add(8 * half);
                        let mut total = _mm256_fmadd_ps(product, factor, _mm256_loadu_ps(sum));
                        if MINS {
                            total = _mm256_fnmadd_ps(mins, _mm256_set1_ps(block.weighted[place]), total);
                        }
                        _mm256_storeu_ps(sum, total);
                    }
                }
            }
        }
    }
}

/// The integer products of a sub-block, `[token][half of the rows]`, eight rows each.
///
/// # Safety
/// `groups` must have `8 / PARTS` groups, and `codes` four activations for each.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn products<const T: usize, const PARTS: usize, const FOLD: usize>(
    groups: *const u8,
    codes: [*const i8; T],
) -> [[__m256i; 2]; T] {
    let ones = _mm256_set1_epi16(1);
    let mut products = [[_mm256_setzero_si256(); 2]; T];
    let groups_a_part = 8 / PARTS;
    let fold = if FOLD == SIGNED { 1 } else { FOLD.min(groups_a_part) };
    for first in (0..groups_a_part).step_by(fold) {
        let mut words = [[_mm256_setzero_si256(); 2]; T];
        for group in first..first + fold {
            // SAFETY: the caller's promise.
            let (mut weights, fours) = unsafe {
                let at = groups.add(group * GROUP_BYTES);
                (
                    [_mm256_loadu_si256(at.cast()), _mm256_loadu_si256(at.add(32).cast())],
                    std::array::from_fn::<i32, T, _>(|t| codes[t].add(4 * group).cast::<i32>().read_unaligned()),
                )
            };
            if FOLD == SIGNED {
                weights = weights.map(|w| _mm256_xor_si256(w, _mm256_set1_epi8(-128)));
            }
            for t in 0..T {
                let four = _mm256_set1_epi32(fours[t]);
                for half in 0..2 {
                    let pair = if FOLD == SIGNED {
                        _mm256_maddubs_epi16(_mm256_abs_epi8(weights[half]), _mm256_sign_epi8(four, weights[half]))
                    } else {
                        _mm256_maddubs_epi16(weights[half], four)
                    };
                    words[t][half] = _mm256_add_epi16(words[t][half], pair);
                }
            }
        }
        for t in 0..T {
            for half in 0..2 {
                let fold = _mm256_madd_epi16(words[t][half], ones);
                products[t][half] = _mm256_add_epi32(products[t][half], fold);
            }
        }
    }
    products
}
