//! Inner products by NEON: plain, with the dot products of Armv8.2, and with those of I8MM.
//!
//! A register holds a quarter of a group: 4 rows x 4 columns. Quarters are walked one after the other, so that for eight
//! tokens the totals (8 registers), the integer sums (8), the weights of 16 columns (4) and a token's 16 activations fit
//! into the 32 registers. Per sub-block of 32 columns, quarter and token (128 multiplications):
//!
//! | | multiply | add | other |
//! | --- | --- | --- | --- |
//! | dot products, `sdot` or `usdot` | 8 | | 2 loads, 5 to start and finish |
//! | plain, codes up to 5 bits | 16 `smull`, `smlal` | 2 `addp`, 2 `sadalp` | 8 `dup`, 2 loads, 5 |
//! | plain, codes of 7 and 8 bits | 16 `smull` | 8 `addp`, 8 `sadalp` | 8 `dup`, 2 loads, 5 |
//!
//! `sdot` and `smull` take signed weights: codes of up to 7 bits are that already, those of 8 bits are turned back by
//! flipping the top bit. `usdot` takes unsigned ones as they are. The matrix instruction of I8MM (`usmmla`, 2 rows x 8
//! columns with 2 tokens) has twice the multiplications, but this layout keeps 4 columns of a row together: for 16
//! columns and two tokens its 4 instructions would need 2 `zip` for the activations, 2 `uzp` for the results and, shared
//! by up to four pairs of tokens, 4 `zip` for the weights; `usdot` does the same in 8.
//!
//! Codes are taken apart in registers where the tokens are few: for 16 columns 4 instructions with 4 bits, 12 with 5 or 6.
//!
//! The dot products are written as assembly: their intrinsics are not stable in Rust.
#![allow(unsafe_code)] // Intrinsics.
#![allow(clippy::needless_range_loop)] // Indices run over several arrays of registers at once.

use std::arch::aarch64::*;
use std::arch::asm;

use lair_simd::Isa;

use super::packed::{CodeBits, GROUP_BYTES, Layout, PANEL};
use super::panel::Chunk;
use super::quantise::QuantisedBlock;

/// `FOLD` for codes of 8 bits, which are made signed. Otherwise `FOLD` is how many groups the plain kernel adds in 16 bits:
/// it then adds neighbours in 16 bits too, so each holds `FOLD * 2 * 127 * code_max < 2^15`.
const SIGNED: usize = 0;
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
    // Codes of 8 bits are packed as they are expanded.
    let codes = &chunk.codes.as_flattened().as_flattened()[..chunk.block_count * EXPANDED_BYTES];
    by_instructions::<8, false>(isa, &Job { layout, chunk, codes }, tokens, sums);
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
    let job = &Job { layout, chunk, codes };
    match (layout.bits, layout.table.is_some()) {
        (CodeBits::Two, false) => by_instructions::<2, false>(isa, job, tokens, sums),
        (CodeBits::Two, true) => by_instructions::<2, true>(isa, job, tokens, sums),
        (CodeBits::Three, false) => by_instructions::<3, false>(isa, job, tokens, sums),
        (CodeBits::Three, true) => by_instructions::<3, true>(isa, job, tokens, sums),
        (CodeBits::Four, false) => by_instructions::<4, false>(isa, job, tokens, sums),
        (CodeBits::Four, true) => by_instructions::<4, true>(isa, job, tokens, sums),
        (CodeBits::Five, _) => by_instructions::<5, false>(isa, job, tokens, sums),
        (CodeBits::Six, _) => by_instructions::<6, false>(isa, job, tokens, sums),
        (CodeBits::Eight, _) => by_instructions::<8, false>(isa, job, tokens, sums),
    }
}

/// Up to a chunk of a panel.
struct Job<'a> {
    layout: &'a Layout,
    /// Of which only scales and mins are read.
    chunk: &'a Chunk,
    codes: &'a [u8],
}

/// Picks the kernel for codes of `BITS` bits, which are places in a table if `TABLE`.
fn by_instructions<const BITS: usize, const TABLE: bool>(
    isa: Isa,
    job: &Job<'_>,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    assert!(job.codes.len() == job.chunk.block_count * BITS * GROUP_BYTES);
    assert!(BITS <= 4 || !TABLE);
    // SAFETY: the instruction set was found on this machine, and there are codes for every block.
    unsafe {
        match (isa, job.layout.code_max) {
            (Isa::NeonI8mm(_), _) => by_count_i8mm::<BITS, TABLE, 4>(job, tokens, sums),
            (Isa::NeonDotprod(_), 0..=127) => by_count_dotprod::<BITS, TABLE, 4>(job, tokens, sums),
            (Isa::NeonDotprod(_), _) => by_count_dotprod::<BITS, TABLE, SIGNED>(job, tokens, sums),
            (Isa::Neon(_), 0..=31) => by_count_plain::<BITS, TABLE, 4>(job, tokens, sums),
            (Isa::Neon(_), 32..=63) => by_count_plain::<BITS, TABLE, 2>(job, tokens, sums),
            (Isa::Neon(_), 64..=127) => by_count_plain::<BITS, TABLE, 1>(job, tokens, sums),
            (Isa::Neon(_), _) => by_count_plain::<BITS, TABLE, SIGNED>(job, tokens, sums),
            (Isa::Scalar, _) => unreachable!("the caller has asked for NEON"),
        }
    }
}

/// A kernel for one set of features: `$dots` adds the products of 16 columns; `$count` are tokens of a strip.
macro_rules! kernel {
    ($features:literal, $by_count:ident, $strip:ident, $dots:ident, [$($count:literal),*]) => {
        /// # Safety
        /// The job must have `BITS * 64` bytes of codes for every block of its chunk.
        #[target_feature(enable = $features)]
        unsafe fn $by_count<const BITS: usize, const TABLE: bool, const FOLD: usize>(
            job: &Job<'_>,
            tokens: &[&[QuantisedBlock]],
            sums: &mut [[f32; PANEL]],
        ) {
            const STRIP: usize = [$($count),*].len();
            for (tokens, sums) in tokens.chunks(STRIP).zip(sums.chunks_mut(STRIP)) {
                match tokens.len() {
                    // SAFETY: the caller's promise.
                    $($count => unsafe { $strip::<BITS, TABLE, FOLD, $count>(job, tokens, sums) },)*
                    _ => unreachable!("a part has up to `STRIP` tokens"),
                }
            }
        }

        /// # Safety
        /// As for the function above.
        #[target_feature(enable = $features)]
        unsafe fn $strip<const BITS: usize, const TABLE: bool, const FOLD: usize, const T: usize>(
            job: &Job<'_>,
            tokens: &[&[QuantisedBlock]],
            sums: &mut [[f32; PANEL]],
        ) {
            let Job { layout, chunk, codes } = *job;
            assert!(tokens.len() == T && sums.len() == T);
            // Signed codes have no offset: 128 was fixed for them.
            assert!(FOLD != SIGNED || layout.offset == 128);
            let offset = if FOLD == SIGNED { 0 } else { layout.offset };
            let has_halves = layout.sub_length == 16;
            let starts: [*const QuantisedBlock; T] = std::array::from_fn(|t| tokens[t].as_ptr());
            let table = layout.table.unwrap_or_default();
            for quarter in 0..4 {
                let lane = 4 * quarter;
                // SAFETY: `multiply` was given `block_count` blocks of every token, and the caller promised codes; a
                // sub-block has 16 scales and mins, a token 16 sums: four vectors each.
                unsafe {
                    let table = vld1q_u8(table.as_ptr());
                    let mut totals: [float32x4_t; T] = std::array::from_fn(|t| vld1q_f32(sums[t].as_ptr().add(lane)));
                    for index in 0..chunk.block_count {
                        let packed = codes.as_ptr().add(index * BITS * GROUP_BYTES + 16 * quarter);
                        let blocks = starts.map(|start| &*start.add(index));
                        let place = |half: usize| if has_halves { 1 + half } else { 0 };
                        let mut products = [vdupq_n_s32(0); T];
                        let mut values = [vdupq_n_f32(0.0); T];
                        for half in 0..2 {
                            if has_halves || half == 0 {
                                for t in 0..T {
                                    products[t] = vdupq_n_s32(blocks[t].correction(place(half), offset));
                                }
                            }
                            let mut weights = expand::<BITS>(packed, half);
                            if TABLE {
                                weights = weights.map(|places| vqtbl1q_u8(table, places));
                            }
                            if FOLD == SIGNED {
                                weights = weights.map(|weights| veorq_u8(weights, vdupq_n_u8(128)));
                            }
                            for t in 0..T {
                                let codes = vld1q_s8(blocks[t].codes.as_ptr().add(16 * half));
                                products[t] = $dots::<FOLD>(products[t], weights, codes);
                            }
                            if has_halves || half == 1 {
                                let sub = if has_halves { 2 * index + half } else { index };
                                let scales = vld1q_f32(chunk.scales[sub].as_ptr().add(lane));
                                for t in 0..T {
                                    let product = vcvtq_f32_s32(products[t]);
                                    values[t] = if has_halves && half == 1 {
                                        vfmaq_f32(values[t], product, scales)
                                    } else {
                                        vmulq_f32(product, scales)
                                    };
                                }
                            }
                        }
                        for t in 0..T {
                            totals[t] = vfmaq_n_f32(totals[t], values[t], blocks[t].scale);
                        }
                        if layout.has_mins {
                            let halves = 1 + usize::from(has_halves);
                            for half in 0..halves {
                                let mins = vld1q_f32(chunk.mins[halves * index + half].as_ptr().add(lane));
                                for t in 0..T {
                                    totals[t] = vfmsq_n_f32(totals[t], mins, blocks[t].weighted[place(half)]);
                                }
                            }
                        }
                    }
                    for t in 0..T {
                        vst1q_f32(sums[t].as_mut_ptr().add(lane), totals[t]);
                    }
                }
            }
        }
    };
}

// With more than four tokens the plain kernel, which needs registers between, would keep some of them in memory.
kernel!("neon", by_count_plain, strip_plain, dots_plain, [1, 2, 3, 4]);
kernel!("neon,dotprod", by_count_dotprod, strip_dotprod, dots_dotprod, [1, 2, 3, 4, 5, 6, 7, 8]);
kernel!("neon,i8mm", by_count_i8mm, strip_i8mm, dots_i8mm, [1, 2, 3, 4, 5, 6, 7, 8]);

/// A quarter of the four groups of half a block: what [`super::packed::expand`] does in memory.
///
/// # Safety
/// `at`, where the quarter begins in the block's first 64 bytes, must be followed by `BITS * 64` bytes less as many as
/// precede it there.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn expand<const BITS: usize>(at: *const u8, half: usize) -> [uint8x16_t; 4] {
    // SAFETY: the caller's promise; parts are fewer than `BITS`.
    let load = |part: usize| unsafe { vld1q_u8(at.add(part * GROUP_BYTES)) };
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
#[target_feature(enable = "neon")]
fn nibbles(parts: [uint8x16_t; 2]) -> [uint8x16_t; 4] {
    let low = vdupq_n_u8(15);
    [vandq_u8(parts[0], low), vshrq_n_u8::<4>(parts[0]), vandq_u8(parts[1], low), vshrq_n_u8::<4>(parts[1])]
}

#[inline]
#[target_feature(enable = "neon")]
fn pairs(part: uint8x16_t) -> [uint8x16_t; 4] {
    let low = vdupq_n_u8(3);
    [
        vandq_u8(part, low),
        vandq_u8(vshrq_n_u8::<2>(part), low),
        vandq_u8(vshrq_n_u8::<4>(part), low),
        vshrq_n_u8::<6>(part),
    ]
}

/// Puts `COUNT` bits of `part` for each group, from bit `first` on, above the lower `LOW` bits of the codes.
#[inline]
#[target_feature(enable = "neon")]
fn insert<const COUNT: usize, const LOW: usize>(
    groups: [uint8x16_t; 4],
    part: uint8x16_t,
    first: usize,
) -> [uint8x16_t; 4] {
    let mask = vdupq_n_u8(((1 << COUNT) - 1) << LOW);
    std::array::from_fn(|group| {
        let shift = LOW as i8 - (first + COUNT * group) as i8;
        vbslq_u8(mask, vshlq_u8(part, vdupq_n_s8(shift)), groups[group])
    })
}

/// Adds the products of 4 rows and 16 columns: `weights` `[group][row, column]` are read as signed.
#[inline]
#[target_feature(enable = "neon")]
fn dots_plain<const FOLD: usize>(sum: int32x4_t, weights: [uint8x16_t; 4], codes: int8x16_t) -> int32x4_t {
    let fold = if FOLD == SIGNED { 1 } else { FOLD };
    let codes = vreinterpretq_s32_s8(codes);
    let fours = [
        vdupq_laneq_s32::<0>(codes),
        vdupq_laneq_s32::<1>(codes),
        vdupq_laneq_s32::<2>(codes),
        vdupq_laneq_s32::<3>(codes),
    ];
    let mut sum = sum;
    for first in (0..4).step_by(fold) {
        let (mut low, mut high) = (vdupq_n_s16(0), vdupq_n_s16(0));
        for group in first..first + fold {
            let (weights, four) = (vreinterpretq_s8_u8(weights[group]), vreinterpretq_s8_s32(fours[group]));
            low = vmlal_s8(low, vget_low_s8(weights), vget_low_s8(four));
            high = vmlal_high_s8(high, weights, four);
        }
        sum = vpadalq_s16(sum, vpaddq_s16(low, high));
    }
    sum
}

/// As [`dots_plain`].
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dots_dotprod<const FOLD: usize>(sum: int32x4_t, weights: [uint8x16_t; 4], codes: int8x16_t) -> int32x4_t {
    let sum = sdot::<0>(sum, weights[0], codes);
    let sum = sdot::<1>(sum, weights[1], codes);
    let sum = sdot::<2>(sum, weights[2], codes);
    sdot::<3>(sum, weights[3], codes)
}

/// Adds the products of 4 rows and 16 columns: `weights` `[group][row, column]` are read as unsigned.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn dots_i8mm<const FOLD: usize>(sum: int32x4_t, weights: [uint8x16_t; 4], codes: int8x16_t) -> int32x4_t {
    const { assert!(FOLD != SIGNED) };
    let sum = usdot::<0>(sum, weights[0], codes);
    let sum = usdot::<1>(sum, weights[1], codes);
    let sum = usdot::<2>(sum, weights[2], codes);
    usdot::<3>(sum, weights[3], codes)
}

/// `sum[row] += weights[row, 0..4] . codes[4 QUAD ..]`, all signed.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot<const QUAD: u8>(mut sum: int32x4_t, weights: uint8x16_t, codes: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction reads and writes registers only; the features of the function have it.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {weights:v}.16b, {codes:v}.4b[{quad}]",
            sum = inout(vreg) sum,
            weights = in(vreg) weights,
            codes = in(vreg) codes,
            quad = const QUAD,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// `sum[row] += weights[row, 0..4] . codes[4 QUAD ..]`, the weights unsigned.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn usdot<const QUAD: u8>(mut sum: int32x4_t, weights: uint8x16_t, codes: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction reads and writes registers only; the features of the function have it.
    unsafe {
        asm!(
            "usdot {sum:v}.4s, {weights:v}.16b, {codes:v}.4b[{quad}]",
            sum = inout(vreg) sum,
            weights = in(vreg) weights,
            codes = in(vreg) codes,
            quad = const QUAD,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}
