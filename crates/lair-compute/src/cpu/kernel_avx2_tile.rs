//! The inner loops of [`super::kernel_avx2`] for four tokens and expanded codes, in assembly.
//!
//! The compiler moves the loads of a block to its beginning, runs out of the sixteen registers and writes most of them to
//! the stack and back: 25 multiplications a cycle for 4-bit codes. What stands here keeps sums, weights and activations
//! in registers. Each function reads whole groups (64 aligned bytes: two vectors of eight rows by four columns) and four
//! activations of each token a group.
#![allow(unsafe_code)] // Assembly.

use std::arch::asm;
use std::arch::x86_64::*;

/// Tokens.
pub(super) const TILE: usize = 4;

/// Instructions for one token and group: spread, multiply with both halves, and add to the words.
macro_rules! token {
    (first, $t:literal, $g:literal) => {
        concat!(
            "vpbroadcastd ymm14, [{t",
            $t,
            "} + 4*",
            $g,
            "]\n",
            "vpmaddubsw {a",
            $t,
            "}, ymm12, ymm14\nvpmaddubsw {b",
            $t,
            "}, ymm13, ymm14\n",
        )
    };
    (add, $t:literal, $g:literal) => {
        concat!(
            "vpbroadcastd ymm14, [{t",
            $t,
            "} + 4*",
            $g,
            "]\n",
            "vpmaddubsw ymm15, ymm12, ymm14\nvpmaddubsw ymm14, ymm13, ymm14\n",
            "vpaddw {a",
            $t,
            "}, {a",
            $t,
            "}, ymm15\nvpaddw {b",
            $t,
            "}, {b",
            $t,
            "}, ymm14\n",
        )
    };
}

/// One group into the words of four tokens.
macro_rules! words_of_group {
    ($kind:ident, $g:literal) => {
        concat!(
            "vmovdqa ymm12, [{c} + 64*",
            $g,
            "]\nvmovdqa ymm13, [{c} + 64*",
            $g,
            " + 32]\n",
            token!($kind, "0", $g),
            token!($kind, "1", $g),
            token!($kind, "2", $g),
            token!($kind, "3", $g),
        )
    };
}

macro_rules! words_of_groups {
    ($codes:expr, $tokens:expr, $words:expr, $($g:literal)*) => {
        asm!(
            words_of_group!(first, "0"),
            $(words_of_group!(add, $g),)*
            c = in(reg) $codes,
            t0 = in(reg) $tokens[0], t1 = in(reg) $tokens[1], t2 = in(reg) $tokens[2], t3 = in(reg) $tokens[3],
            out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
            a0 = out(ymm_reg) $words[0][0], a1 = out(ymm_reg) $words[0][1],
            a2 = out(ymm_reg) $words[0][2], a3 = out(ymm_reg) $words[0][3],
            b0 = out(ymm_reg) $words[1][0], b1 = out(ymm_reg) $words[1][1],
            b2 = out(ymm_reg) $words[1][2], b3 = out(ymm_reg) $words[1][3],
            options(pure, readonly, nostack, preserves_flags),
        )
    };
}

/// Sums of `GROUPS` groups (4 or 8) in 16 bits, `[half of the rows][token]`.
///
/// # Safety
/// `codes` must point to that many groups, and every token to four activations for each of them.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn words<const GROUPS: usize>(codes: *const u8, tokens: [*const i8; TILE]) -> [[__m256i; TILE]; 2] {
    let mut words = [[_mm256_setzero_si256(); TILE]; 2];
    // SAFETY: the caller's promise.
    unsafe {
        if GROUPS == 8 {
            words_of_groups!(codes, tokens, words, "1" "2" "3" "4" "5" "6" "7");
        } else {
            words_of_groups!(codes, tokens, words, "1" "2" "3");
        }
    }
    words
}

/// Two groups of one token, folded into its 32-bit sums.
macro_rules! fold_token {
    ($t:literal, $g:literal, $h:literal) => {
        concat!(
            "vpbroadcastd ymm12, [{t",
            $t,
            "} + 4*",
            $g,
            "]\nvpbroadcastd ymm13, [{t",
            $t,
            "} + 4*",
            $h,
            "]\n",
            "vpmaddubsw ymm14, ymm8, ymm12\nvpmaddubsw ymm12, ymm9, ymm12\n",
            "vpmaddubsw ymm15, ymm10, ymm13\nvpmaddubsw ymm13, ymm11, ymm13\n",
            "vpaddw ymm14, ymm14, ymm15\nvpaddw ymm12, ymm12, ymm13\n",
            "vpmaddwd ymm14, ymm14, [{ones}]\nvpmaddwd ymm12, ymm12, [{ones}]\n",
            "vpaddd {a",
            $t,
            "}, {a",
            $t,
            "}, ymm14\nvpaddd {b",
            $t,
            "}, {b",
            $t,
            "}, ymm12\n",
        )
    };
}

macro_rules! fold_groups {
    ($g:literal, $h:literal) => {
        concat!(
            "vmovdqa ymm8, [{c} + 64*",
            $g,
            "]\nvmovdqa ymm9, [{c} + 64*",
            $g,
            " + 32]\n",
            "vmovdqa ymm10, [{c} + 64*",
            $h,
            "]\nvmovdqa ymm11, [{c} + 64*",
            $h,
            " + 32]\n",
            fold_token!("0", $g, $h),
            fold_token!("1", $g, $h),
            fold_token!("2", $g, $h),
            fold_token!("3", $g, $h),
        )
    };
}

/// Sixteen ones in 16 bits.
#[repr(align(32))]
struct Ones([i16; 16]);
static ONES: Ones = Ones([1; 16]);

/// Sums of four groups whose codes allow two groups in 16 bits, `[half of the rows][token]`, added to `sums`.
///
/// # Safety
/// As [`words`], with four groups.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn add_by_twos(codes: *const u8, tokens: [*const i8; TILE], sums: &mut [[__m256i; TILE]; 2]) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            fold_groups!("0", "1"), fold_groups!("2", "3"),
            c = in(reg) codes, ones = in(reg) ONES.0.as_ptr(),
            t0 = in(reg) tokens[0], t1 = in(reg) tokens[1], t2 = in(reg) tokens[2], t3 = in(reg) tokens[3],
            out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
            out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
            a0 = inout(ymm_reg) sums[0][0], a1 = inout(ymm_reg) sums[0][1],
            a2 = inout(ymm_reg) sums[0][2], a3 = inout(ymm_reg) sums[0][3],
            b0 = inout(ymm_reg) sums[1][0], b1 = inout(ymm_reg) sums[1][1],
            b2 = inout(ymm_reg) sums[1][2], b3 = inout(ymm_reg) sums[1][3],
            options(pure, readonly, nostack, preserves_flags),
        );
    }
}

/// One group of codes of 8 bits into the words of four tokens: low and high nibbles take the places of the two halves.
macro_rules! split_group {
    ($g:literal) => {
        concat!(
            "vmovdqa ymm12, [{c} + 64*",
            $g,
            "]\nvpsrlw ymm13, ymm12, 4\n",
            "vpand ymm12, ymm12, {mask}\nvpand ymm13, ymm13, {mask}\n",
            token!(add, "0", $g),
            token!(add, "1", $g),
            token!(add, "2", $g),
            token!(add, "3", $g),
        )
    };
}

/// Adds four groups of eight rows of codes of 8 bits to sums in 16 bits, `[low and high nibble][token]`.
///
/// # Safety
/// As [`words`], with four groups; `codes` points to the wanted half of the first.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn add_nibbles(codes: *const u8, tokens: [*const i8; TILE], words: &mut [[__m256i; TILE]; 2]) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            split_group!("0"), split_group!("1"), split_group!("2"), split_group!("3"),
            c = in(reg) codes, mask = in(ymm_reg) _mm256_set1_epi8(15),
            t0 = in(reg) tokens[0], t1 = in(reg) tokens[1], t2 = in(reg) tokens[2], t3 = in(reg) tokens[3],
            out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
            a0 = inout(ymm_reg) words[0][0], a1 = inout(ymm_reg) words[0][1],
            a2 = inout(ymm_reg) words[0][2], a3 = inout(ymm_reg) words[0][3],
            b0 = inout(ymm_reg) words[1][0], b1 = inout(ymm_reg) words[1][1],
            b2 = inout(ymm_reg) words[1][2], b3 = inout(ymm_reg) words[1][3],
            options(pure, readonly, nostack, preserves_flags),
        );
    }
}
