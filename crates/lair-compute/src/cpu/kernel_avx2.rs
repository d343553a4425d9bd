//! Inner products by AVX2: unsigned bytes times signed bytes, summed in 16 bits for as long as the codes allow it.
//!
//! `vpmaddubsw` adds two products of an unsigned code of at most `max` and a byte of at most 127; the 16-bit sums of
//! `FOLD` of them hold `FOLD * 2 * 127 * max < 2^15`: 8 for 4-bit codes, 4 for 5, 2 for 6 and 1 for 7. Codes of 8 bits
//! are split into two nibbles that are summed apart: 2 `vpmaddubsw` for 32 multiplications, where the usual way with
//! signs takes three instructions of that kind.
//!
//! A strip of four tokens keeps eight sums (16 rows are two vectors) beside the weights of two groups, a mask and a
//! spread activation: all sixteen registers. For 4-bit codes a block takes 64 `vpmaddubsw` (two a cycle) and as many
//! `vpaddw`: at four instructions a cycle 32 cycles for 2048 multiplications, 64 a cycle, before the epilogue.
//!
//! Codes come expanded from a chunk (many tokens), or packed, to be taken apart in registers (few tokens).
#![allow(unsafe_code)] // Intrinsics.
#![allow(clippy::needless_range_loop)] // Indices run over several arrays of registers at once.

use std::arch::x86_64::*;

use lair_simd::Avx2;

use super::packed::{BLOCK, CodeBits, GROUP_BYTES, Layout, PANEL};
use super::panel::Chunk;
use super::quantise::QuantisedBlock;

/// Tokens a strip.
const STRIP: usize = 4;
/// `FOLD` for codes of 8 bits: by nibbles.
const SPLIT: usize = 0;
/// Groups of a block.
const GROUPS: usize = BLOCK / 4;
/// How far ahead packed codes are asked for.
const PREFETCH_BYTES: usize = 2048;

/// 16 rows by 4 columns, in two vectors.
type Group = [__m256i; 2];

/// See [`super::kernel::multiply`].
pub(super) fn multiply(
    _isa: Avx2,
    layout: &Layout,
    chunk: &Chunk,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    let codes = chunk.codes.as_flattened().as_flattened();
    // SAFETY: the token proves the instruction set; the codes are those of all blocks of a chunk.
    unsafe { by_fold::<8>(&Strip { layout, chunk, codes, table: None }, tokens, sums) }
}

/// See [`super::kernel::multiply_packed`].
pub(super) fn multiply_packed(
    _isa: Avx2,
    layout: &Layout,
    chunk: &Chunk,
    codes: &[u8],
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    assert!(codes.len() == chunk.block_count * layout.bits.block_bytes());
    let strip = Strip { layout, chunk, codes, table: layout.table.as_ref() };
    // SAFETY: the token proves the instruction set; there are codes for all blocks of the chunk.
    unsafe {
        match layout.bits {
            CodeBits::Two => by_fold::<2>(&strip, tokens, sums),
            CodeBits::Three => by_fold::<3>(&strip, tokens, sums),
            CodeBits::Four => by_fold::<4>(&strip, tokens, sums),
            CodeBits::Five => by_fold::<5>(&strip, tokens, sums),
            CodeBits::Six => by_fold::<6>(&strip, tokens, sums),
            CodeBits::Eight => by_fold::<8>(&strip, tokens, sums),
        }
    }
}

/// What all tokens of a strip share.
struct Strip<'a> {
    layout: &'a Layout,
    chunk: &'a Chunk,
    codes: &'a [u8],
    /// Where codes are places in a table.
    table: Option<&'a [u8; 16]>,
}

/// # Safety
/// There must be `BITS * 64` bytes of codes for every block of the chunk, and as many blocks of every token.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn by_fold<const BITS: usize>(strip: &Strip<'_>, tokens: &[&[QuantisedBlock]], sums: &mut [[f32; PANEL]]) {
    for (tokens, sums) in tokens.chunks(STRIP).zip(sums.chunks_mut(STRIP)) {
        // SAFETY: the caller's promise.
        unsafe {
            match strip.layout.code_max {
                0..=15 => by_count::<BITS, 8>(strip, tokens, sums),
                16..=31 => by_count::<BITS, 4>(strip, tokens, sums),
                32..=63 => by_count::<BITS, 2>(strip, tokens, sums),
                64..=127 => by_count::<BITS, 1>(strip, tokens, sums),
                _ => by_count::<BITS, SPLIT>(strip, tokens, sums),
            }
        }
    }
}

/// # Safety
/// As [`by_fold`].
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn by_count<const BITS: usize, const FOLD: usize>(
    strip: &Strip<'_>,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    // SAFETY: the caller's promise.
    unsafe {
        match (tokens.len(), strip.layout.sub_length == BLOCK) {
            (0, _) => {}
            (1, true) => blocks::<BITS, FOLD, 1, 1>(strip, tokens, sums),
            (2, true) => blocks::<BITS, FOLD, 1, 2>(strip, tokens, sums),
            (3, true) => blocks::<BITS, FOLD, 1, 3>(strip, tokens, sums),
            (_, true) => blocks::<BITS, FOLD, 1, 4>(strip, tokens, sums),
            (1, false) => blocks::<BITS, FOLD, 2, 1>(strip, tokens, sums),
            (2, false) => blocks::<BITS, FOLD, 2, 2>(strip, tokens, sums),
            (3, false) => blocks::<BITS, FOLD, 2, 3>(strip, tokens, sums),
            (_, false) => blocks::<BITS, FOLD, 2, 4>(strip, tokens, sums),
        }
    }
}

/// All blocks of the chunk for `T` tokens, `PARTS` sub-blocks a block.
///
/// # Safety
/// As [`by_fold`].
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn blocks<const BITS: usize, const FOLD: usize, const PARTS: usize, const T: usize>(
    strip: &Strip<'_>,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    let Strip { layout, chunk, codes, table } = *strip;
    assert!(tokens.len() == T && sums.len() == T && chunk.block_count * BITS * GROUP_BYTES <= codes.len());
    // SAFETY: 16 bytes.
    let table = table.map(|table| unsafe { _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast())) });
    let starts: [*const QuantisedBlock; T] = std::array::from_fn(|t| tokens[t].as_ptr());
    for index in 0..chunk.block_count {
        // SAFETY: the caller's promise.
        let (packed, blocks) = unsafe {
            let at = codes.as_ptr().add(index * BITS * GROUP_BYTES);
            (Packed::<BITS> { at, table }, starts.map(|start| &*start.add(index)))
        };
        packed.prefetch();
        for part in 0..PARTS {
            // SAFETY: as above.
            let products = unsafe {
                if FOLD == SPLIT {
                    [
                        products_split::<BITS, PARTS, T>(&packed, &blocks, part, 0),
                        products_split::<BITS, PARTS, T>(&packed, &blocks, part, 1),
                    ]
                } else {
                    products::<BITS, FOLD, PARTS, T>(&packed, &blocks, part)
                }
            };
            let place = if PARTS == 1 { 0 } else { 1 + part };
            let sub = index * PARTS + part;
            for half in 0..2 {
                // SAFETY: rows of 16 numbers: two vectors each.
                unsafe {
                    let scales = _mm256_loadu_ps(chunk.scales[sub].as_ptr().add(8 * half));
                    let mins = _mm256_loadu_ps(chunk.mins[sub].as_ptr().add(8 * half));
                    for t in 0..T {
                        let correction = _mm256_set1_epi32(blocks[t].sums[place] * -layout.offset);
                        let product = _mm256_cvtepi32_ps(_mm256_add_epi32(products[half][t], correction));
                        let factor = _mm256_mul_ps(scales, _mm256_set1_ps(blocks[t].scale));
                        let sum = sums[t].as_mut_ptr().add(8 * half);
                        let mut total = _mm256_fmadd_ps(product, factor, _mm256_loadu_ps(sum));
                        if layout.has_mins {
                            total = _mm256_fnmadd_ps(mins, _mm256_set1_ps(blocks[t].weighted[place]), total);
                        }
                        _mm256_storeu_ps(sum, total);
                    }
                }
            }
        }
    }
}

/// Keeps the compiler from moving loads across: it would load a whole block at once and run out of registers.
#[inline(always)]
fn keep_order() {
    // SAFETY: no instruction at all.
    unsafe { std::arch::asm!("", options(nostack, preserves_flags)) }
}

/// The four activations of group `group` in every place of a vector.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn spread(block: &QuantisedBlock, group: usize) -> __m256i {
    let four = &block.codes[4 * group..4 * group + 4];
    // SAFETY: four bytes.
    _mm256_set1_epi32(unsafe { four.as_ptr().cast::<i32>().read_unaligned() })
}

/// The integer products of a sub-block, `[half of the rows][token]`.
///
/// # Safety
/// `packed` must point to a whole block.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn products<const BITS: usize, const FOLD: usize, const PARTS: usize, const T: usize>(
    packed: &Packed<BITS>,
    blocks: &[&QuantisedBlock; T],
    part: usize,
) -> [[__m256i; T]; 2] {
    let (zero, ones) = (_mm256_setzero_si256(), _mm256_set1_epi16(1));
    let (mut products, mut words) = ([[zero; T]; 2], [[zero; T]; 2]);
    let groups_a_part = GROUPS / PARTS;
    let fold = if FOLD < groups_a_part { FOLD } else { groups_a_part };
    for pair in 0..groups_a_part / 2 {
        let first = part * groups_a_part + 2 * pair;
        // SAFETY: the caller's promise.
        let groups = unsafe { packed.pair(first / 2) };
        for (which, weights) in groups.iter().enumerate() {
            let done = 2 * pair + which;
            for t in 0..T {
                let four = spread(blocks[t], first + which);
                for half in 0..2 {
                    let sums = _mm256_maddubs_epi16(weights[half], four);
                    let is_first = done % fold == 0;
                    words[half][t] = if is_first { sums } else { _mm256_add_epi16(words[half][t], sums) };
                }
            }
            if done % fold == fold - 1 {
                for t in 0..T {
                    for half in 0..2 {
                        let sums = _mm256_madd_epi16(words[half][t], ones);
                        let is_first = done < fold;
                        products[half][t] = if is_first { sums } else { _mm256_add_epi32(products[half][t], sums) };
                    }
                }
            }
        }
        keep_order();
    }
    products
}

/// The same for codes of 8 bits and one half of the rows: low and high nibbles are summed apart.
///
/// # Safety
/// As [`products`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn products_split<const BITS: usize, const PARTS: usize, const T: usize>(
    packed: &Packed<BITS>,
    blocks: &[&QuantisedBlock; T],
    part: usize,
    half: usize,
) -> [__m256i; T] {
    let (zero, low) = (_mm256_setzero_si256(), _mm256_set1_epi8(15));
    let mut words = [[zero; T]; 2];
    let groups_a_part = GROUPS / PARTS;
    for pair in 0..groups_a_part / 2 {
        let first = part * groups_a_part + 2 * pair;
        // SAFETY: the caller's promise.
        let groups = unsafe { packed.pair(first / 2) };
        for (which, weights) in groups.iter().enumerate() {
            let nibbles =
                [_mm256_and_si256(weights[half], low), _mm256_and_si256(_mm256_srli_epi16::<4>(weights[half]), low)];
            for t in 0..T {
                let four = spread(blocks[t], first + which);
                for n in 0..2 {
                    words[n][t] = _mm256_add_epi16(words[n][t], _mm256_maddubs_epi16(nibbles[n], four));
                }
            }
            keep_order();
        }
    }
    std::array::from_fn(|t| {
        let low = _mm256_madd_epi16(words[0][t], _mm256_set1_epi16(1));
        _mm256_add_epi32(low, _mm256_madd_epi16(words[1][t], _mm256_set1_epi16(16)))
    })
}

/// A block of 16 rows by 32 columns, `BITS` bits a code.
struct Packed<const BITS: usize> {
    at: *const u8,
    table: Option<__m256i>,
}

impl<const BITS: usize> Packed<BITS> {
    /// Asks for the codes of later blocks. Expanded codes (8 bits) are in the first-level cache already, but the
    /// same kernel serves packed codes of 8 bits.
    #[inline(always)]
    fn prefetch(&self) {
        for part in 0..BITS {
            let place = self.at.wrapping_add(PREFETCH_BYTES + part * GROUP_BYTES);
            // SAFETY: a prefetch reads nothing and faults at no address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) };
        }
    }

    /// A part of 64 bytes.
    ///
    /// # Safety
    /// There must be more than `part` parts.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn part(&self, part: usize) -> Group {
        // SAFETY: the caller's promise.
        unsafe {
            let at = self.at.add(part * GROUP_BYTES);
            [_mm256_loadu_si256(at.cast()), _mm256_loadu_si256(at.add(32).cast())]
        }
    }

    /// Groups `2j` and `2j + 1`: what [`super::packed::expand`] does in memory.
    ///
    /// # Safety
    /// `at` must point to a whole block.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn pair(&self, j: usize) -> [Group; 2] {
        // SAFETY: the caller's promise; parts are fewer than `BITS`.
        let mut groups = unsafe {
            match BITS {
                2 => self.bits::<0>(0, 2, j),
                3 => or(self.bits::<0>(0, 2, j), self.bits::<2>(2, 1, j)),
                4 => self.nibbles(j),
                5 => or(self.nibbles(j), self.bits::<4>(4, 1, j)),
                6 => or(self.nibbles(j), self.bits::<4>(4, 2, j)),
                _ => [self.part(2 * j), self.part(2 * j + 1)],
            }
        };
        if let Some(table) = self.table {
            groups = groups.map(|group| group.map(|places| _mm256_shuffle_epi8(table, places)));
        }
        groups
    }

    /// # Safety
    /// As [`Packed::pair`].
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn nibbles(&self, j: usize) -> [Group; 2] {
        let low = _mm256_set1_epi8(15);
        // SAFETY: the caller's promise.
        let part = unsafe { self.part(j) };
        [
            part.map(|codes| _mm256_and_si256(codes, low)),
            part.map(|codes| _mm256_and_si256(_mm256_srli_epi16::<4>(codes), low)),
        ]
    }

    /// One or two bits of the codes of two groups, from the parts `first ..`, put at bit `TO`.
    ///
    /// # Safety
    /// As [`Packed::pair`].
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn bits<const TO: usize>(&self, first: usize, width: usize, j: usize) -> [Group; 2] {
        let mask = _mm256_set1_epi8((((1 << width) - 1) << TO) as i8);
        let groups_a_part = 8 / width;
        // SAFETY: the caller's promise.
        let part = unsafe { self.part(first + 2 * j / groups_a_part) };
        std::array::from_fn(|which| {
            let from = (2 * j + which) % groups_a_part * width;
            part.map(|codes| {
                let count = _mm_cvtsi32_si128(from.abs_diff(TO) as i32);
                let codes = if from >= TO { _mm256_srl_epi16(codes, count) } else { _mm256_sll_epi16(codes, count) };
                _mm256_and_si256(codes, mask)
            })
        })
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn or(a: [Group; 2], b: [Group; 2]) -> [Group; 2] {
    std::array::from_fn(|i| std::array::from_fn(|half| _mm256_or_si256(a[i][half], b[i][half])))
}
