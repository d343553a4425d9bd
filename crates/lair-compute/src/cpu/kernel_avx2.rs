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
//! Loops stand where closures over arrays would be shorter: a closure that is not inlined passes vectors through memory,
//! which made single kernels four times slower.
//!
//! Codes come expanded from a chunk (many tokens), or packed, to be taken apart in registers (few tokens).
#![allow(unsafe_code)] // Intrinsics.
#![allow(clippy::needless_range_loop)] // Indices run over several arrays of registers at once.

use std::arch::x86_64::*;

use lair_simd::Avx2;

use super::kernel_avx2_tile::{TILE, add_by_twos, add_nibbles, words};
use super::packed::{BLOCK, CodeBits, GROUP_BYTES, Layout, PANEL};
use super::panel::Chunk;
use super::quantise::QuantisedBlock;

/// Tokens a strip.
const STRIP: usize = TILE;
/// `FOLD` for codes of 8 bits: by nibbles.
const SPLIT: usize = 0;
/// `BITS` of codes that were expanded: bytes, and four tokens take the inner loops of [`super::kernel_avx2_tile`].
const EXPANDED: usize = 8;
/// `BITS` of packed codes of 8 bits: bytes as well, but far from the processor.
const EIGHT: usize = 9;
/// Groups of a block.
const GROUPS: usize = BLOCK / 4;
/// How far ahead of the products packed codes are asked for: a few hundred nanoseconds at the memory's pace. Taken over
/// from the AVX-512 kernel, where it was measured; as there, into the second-level cache: with these kernels a core of a Zen 4
/// decoded Q4_K_M at 28.5 tokens/s instead of 26.2, Q8_0 at 19.9 instead of 17.1 (`bench/results/2026-11-22-panels-in-runs.md`).
const PREFETCH_BYTES: usize = 6144;

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
    unsafe { by_fold::<EXPANDED>(&Strip { layout, chunk, codes, table: None }, tokens, sums) }
}

/// Few tokens: see [`super::kernel::multiply_direct`].
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
            CodeBits::Eight => by_fold::<EIGHT>(&strip, tokens, sums),
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
/// There must be `block_bytes(BITS)` bytes of codes for every block of the chunk, and as many blocks of every token.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn by_fold<const BITS: usize>(strip: &Strip<'_>, tokens: &[&[QuantisedBlock]], sums: &mut [[f32; PANEL]]) {
    // Sixteen registers do not hold what taking codes apart for four tokens needs.
    let strip_max = if BITS == EXPANDED { STRIP } else { STRIP - 1 };
    for (tokens, sums) in tokens.chunks(strip_max).zip(sums.chunks_mut(strip_max)) {
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
    let offset = layout.offset;
    assert!(tokens.len() == T && sums.len() == T && chunk.block_count * block_bytes(BITS) <= codes.len());
    // SAFETY: 16 bytes.
    let table = table.map(|table| unsafe { _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast())) });
    let starts: [*const QuantisedBlock; T] = std::array::from_fn(|t| tokens[t].as_ptr());
    for index in 0..chunk.block_count {
        // SAFETY: the caller's promise.
        let (packed, blocks) = unsafe {
            let at = codes.as_ptr().add(index * block_bytes(BITS));
            (Packed::<BITS> { at, table }, starts.map(|start| &*start.add(index)))
        };
        if BITS != EXPANDED {
            packed.prefetch();
        }
        let mut values = [[_mm256_setzero_ps(); T]; 2];
        for part in 0..PARTS {
            // SAFETY: as above.
            let products = unsafe { part_products::<BITS, FOLD, PARTS, T>(&packed, &blocks, part) };
            for half in 0..2 {
                // SAFETY: rows of 16 numbers: two vectors each.
                let scales = unsafe { _mm256_loadu_ps(chunk.scales[index * PARTS + part].as_ptr().add(8 * half)) };
                for t in 0..T {
                    let correction = _mm256_set1_epi32(blocks[t].correction(place::<PARTS>(part), offset));
                    let product = _mm256_cvtepi32_ps(_mm256_add_epi32(products[half][t], correction));
                    values[half][t] = if part == 0 {
                        _mm256_mul_ps(product, scales)
                    } else {
                        _mm256_fmadd_ps(product, scales, values[half][t])
                    };
                }
            }
        }
        for half in 0..2 {
            // SAFETY: as above.
            let mins: [__m256; PARTS] = std::array::from_fn(|part| unsafe {
                _mm256_loadu_ps(chunk.mins[index * PARTS + part].as_ptr().add(8 * half))
            });
            for t in 0..T {
                // SAFETY: as above.
                unsafe {
                    let sum = sums[t].as_mut_ptr().add(8 * half);
                    let scale = _mm256_set1_ps(blocks[t].scale);
                    let mut total = _mm256_fmadd_ps(values[half][t], scale, _mm256_loadu_ps(sum));
                    if layout.has_mins {
                        for part in 0..PARTS {
                            let weighted = _mm256_set1_ps(blocks[t].weighted[place::<PARTS>(part)]);
                            total = _mm256_fnmadd_ps(mins[part], weighted, total);
                        }
                    }
                    _mm256_storeu_ps(sum, total);
                }
            }
        }
    }
}

/// Where the sum of sub-block `part` stands in a block of activations.
#[inline(always)]
const fn place<const PARTS: usize>(part: usize) -> usize {
    if PARTS == 1 { 0 } else { 1 + part }
}

/// Bytes of a block of `BITS` bits a code.
const fn block_bytes(bits: usize) -> usize {
    GROUP_BYTES * if bits == EIGHT { 8 } else { bits }
}

/// The integer products of a sub-block, `[half of the rows][token]`.
///
/// # Safety
/// `packed` must point to a whole block.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn part_products<const BITS: usize, const FOLD: usize, const PARTS: usize, const T: usize>(
    packed: &Packed<BITS>,
    blocks: &[&QuantisedBlock; T],
    part: usize,
) -> [[__m256i; T]; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        if BITS == EXPANDED && T == TILE && FOLD != 1 {
            let tokens = std::array::from_fn(|t| blocks[t % T].codes[part * (BLOCK / PARTS)..].as_ptr());
            let codes = packed.at.add(part * (GROUPS / PARTS) * GROUP_BYTES);
            let tile = tile_products::<FOLD, PARTS>(codes, tokens);
            let mut products = [[_mm256_setzero_si256(); T]; 2];
            for half in 0..2 {
                for t in 0..T {
                    products[half][t] = tile[half][t % TILE];
                }
            }
            products
        } else if FOLD == SPLIT {
            [
                products_split::<BITS, PARTS, T>(packed, blocks, part, 0),
                products_split::<BITS, PARTS, T>(packed, blocks, part, 1),
            ]
        } else {
            products::<BITS, FOLD, PARTS, T>(packed, blocks, part)
        }
    }
}

/// The same for expanded codes and four tokens.
///
/// # Safety
/// `codes` must point to the groups of the part, and every token to its activations.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile_products<const FOLD: usize, const PARTS: usize>(
    codes: *const u8,
    tokens: [*const i8; TILE],
) -> [[__m256i; TILE]; 2] {
    let mut products = [[_mm256_setzero_si256(); TILE]; 2];
    // Four groups at a time: 256 bytes of codes and 16 activations.
    for four in 0..2 / PARTS {
        // SAFETY: the caller's promise: `8 / PARTS` groups.
        unsafe {
            let codes = codes.add(4 * four * GROUP_BYTES);
            let tokens = [
                tokens[0].add(16 * four),
                tokens[1].add(16 * four),
                tokens[2].add(16 * four),
                tokens[3].add(16 * four),
            ];
            match FOLD {
                8 if PARTS == 1 => {
                    if four == 0 {
                        add_words(&words::<8>(codes, tokens), &mut products);
                    }
                }
                4 | 8 => add_words(&words::<4>(codes, tokens), &mut products),
                2 => add_by_twos(codes, tokens, &mut products),
                _ => {
                    for half in 0..2 {
                        let mut nibbles = [[_mm256_setzero_si256(); TILE]; 2];
                        add_nibbles(codes.add(32 * half), tokens, &mut nibbles);
                        for t in 0..TILE {
                            let sum = sum_of_nibbles(nibbles[0][t], nibbles[1][t]);
                            products[half][t] = _mm256_add_epi32(products[half][t], sum);
                        }
                    }
                }
            }
        }
    }
    products
}

/// Adds pairs of 16-bit sums to 32-bit ones.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_words(words: &[[__m256i; TILE]; 2], products: &mut [[__m256i; TILE]; 2]) {
    for half in 0..2 {
        for t in 0..TILE {
            let sum = _mm256_madd_epi16(words[half][t], _mm256_set1_epi16(1));
            products[half][t] = _mm256_add_epi32(products[half][t], sum);
        }
    }
}

/// `low + 16 * high`, from pairs of 16-bit sums.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn sum_of_nibbles(low: __m256i, high: __m256i) -> __m256i {
    _mm256_add_epi32(_mm256_madd_epi16(low, _mm256_set1_epi16(1)), _mm256_madd_epi16(high, _mm256_set1_epi16(16)))
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
    let mut products = [zero; T];
    for t in 0..T {
        products[t] = sum_of_nibbles(words[0][t], words[1][t]);
    }
    products
}

/// A block of 16 rows by 32 columns, `BITS` bits a code.
struct Packed<const BITS: usize> {
    at: *const u8,
    table: Option<__m256i>,
}

impl<const BITS: usize> Packed<BITS> {
    /// Asks for the codes of later blocks.
    #[inline(always)]
    fn prefetch(&self) {
        for part in 0..block_bytes(BITS) / GROUP_BYTES {
            let place = self.at.wrapping_add(PREFETCH_BYTES + part * GROUP_BYTES);
            // SAFETY: a prefetch reads nothing and faults at no address.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(place.cast()) };
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
            for group in &mut groups {
                *group = [_mm256_shuffle_epi8(table, group[0]), _mm256_shuffle_epi8(table, group[1])];
            }
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
        let high = [_mm256_srli_epi16::<4>(part[0]), _mm256_srli_epi16::<4>(part[1])];
        [
            [_mm256_and_si256(part[0], low), _mm256_and_si256(part[1], low)],
            [_mm256_and_si256(high[0], low), _mm256_and_si256(high[1], low)],
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
        let mut groups = [part, part];
        for which in 0..2 {
            let from = (2 * j + which) % groups_a_part * width;
            let count = _mm_cvtsi32_si128(from.abs_diff(TO) as i32);
            for half in 0..2 {
                let codes = part[half];
                let codes = if from >= TO { _mm256_srl_epi16(codes, count) } else { _mm256_sll_epi16(codes, count) };
                groups[which][half] = _mm256_and_si256(codes, mask);
            }
        }
        groups
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn or(a: [Group; 2], b: [Group; 2]) -> [Group; 2] {
    let mut groups = a;
    for i in 0..2 {
        for half in 0..2 {
            groups[i][half] = _mm256_or_si256(a[i][half], b[i][half]);
        }
    }
    groups
}
