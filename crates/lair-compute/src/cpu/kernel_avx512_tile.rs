//! The inner loop of [`super::kernel_avx512`] for many tokens: two panels by four tokens, in assembly.
//!
//! A core has two places for multiplying instructions, which a Zen 4 needs together for each one of 64 bytes. So the time is the number
//! of those: for 32 columns (4096 multiplications) 64 `vpdpbusd`, a multiplication by weight scales and one by a token's scale for each of
//! eight totals, and another one for mins: 80 cycles and 88, which is what it takes where everything comes from the second-level
//! cache. Everything else is kept off these places:
//!
//! - Sums start at what the codes' offset takes away, loaded as it is: [`Chunk`] has codes 128 too high, or not too high at all.
//! - Halves of a block with scales of their own share the token's, which is multiplied with their sum.
//! - Loads that spread a number over a register, conversions and copies are done elsewhere, but must not be waited for: what is to be
//!   done with a block's sums stands between the products of the next one. Without that, 3 % are lost.
//!
//! In assembly because the compiler moves all loads of a block to its beginning, runs out of registers and writes most of
//! them to the stack and back. Registers: 0 to 7 integer sums `[panel][token]`, 8 to 15 totals, 16 to 23 the last block's sums as numbers,
//! 24 to 27 mins, 28 and 29 weights, 30 and 31 activations.
#![allow(unsafe_code)] // Assembly.

use std::arch::asm;
use std::mem::offset_of;

use super::packed::{GROUP_BYTES, PANEL};
use super::panel::Chunk;
use super::quantise::QuantisedBlock;

/// Tokens.
pub(super) const TILE: usize = 4;

/// One group of both panels with four tokens, and between them two of [`finish`].
macro_rules! group {
    ($g:literal, $kind:ident, $a:tt, $b:tt) => {
        concat!(
            "vmovdqa64 zmm28, [{c} + 64*",
            $g,
            "]\nvmovdqa64 zmm29, [{c} + {panel} + 64*",
            $g,
            "]\n",
            "vpbroadcastd zmm30, dword ptr [{t0} + 4*",
            $g,
            "]\nvpdpbusd zmm0, zmm28, zmm30\nvpdpbusd zmm4, zmm29, zmm30\n",
            "vpbroadcastd zmm31, dword ptr [{t1} + 4*",
            $g,
            "]\nvpdpbusd zmm1, zmm28, zmm31\nvpdpbusd zmm5, zmm29, zmm31\n",
            finish!($kind, $a),
            "vpbroadcastd zmm30, dword ptr [{t2} + 4*",
            $g,
            "]\nvpdpbusd zmm2, zmm28, zmm30\nvpdpbusd zmm6, zmm29, zmm30\n",
            "vpbroadcastd zmm31, dword ptr [{t3} + 4*",
            $g,
            "]\nvpdpbusd zmm3, zmm28, zmm31\nvpdpbusd zmm7, zmm29, zmm31\n",
            finish!($kind, $b),
        )
    };
}

/// What is done with the sums of one token and panel: panel and token.
macro_rules! finish {
    ($kind:ident, none) => {
        ""
    };
    ($kind:ident, 00) => {
        total!($kind, "zmm16", "zmm8", "t0", "0", "zmm24", "zmm26")
    };
    ($kind:ident, 10) => {
        total!($kind, "zmm20", "zmm12", "t0", "{panel}", "zmm25", "zmm27")
    };
    ($kind:ident, 01) => {
        total!($kind, "zmm17", "zmm9", "t1", "0", "zmm24", "zmm26")
    };
    ($kind:ident, 11) => {
        total!($kind, "zmm21", "zmm13", "t1", "{panel}", "zmm25", "zmm27")
    };
    ($kind:ident, 02) => {
        total!($kind, "zmm18", "zmm10", "t2", "0", "zmm24", "zmm26")
    };
    ($kind:ident, 12) => {
        total!($kind, "zmm22", "zmm14", "t2", "{panel}", "zmm25", "zmm27")
    };
    ($kind:ident, 03) => {
        total!($kind, "zmm19", "zmm11", "t3", "0", "zmm24", "zmm26")
    };
    ($kind:ident, 13) => {
        total!($kind, "zmm23", "zmm15", "t3", "{panel}", "zmm25", "zmm27")
    };
}

/// Into a total, from the last block: `whole` for one sub-block a block, `halves` for two, which have been added; with `_mins` their
/// mins as well. `scaled`: this block's first half by its weight scales.
macro_rules! total {
    (nothing, $x:literal, $total:literal, $t:literal, $panel:literal, $a:literal, $b:literal) => {
        ""
    };
    (whole, $x:literal, $total:literal, $t:literal, $panel:literal, $a:literal, $b:literal) => {
        concat!(
            "vmulps ",
            $x,
            ", ",
            $x,
            ", [{s} + ",
            $panel,
            " - 64]\n",
            total!(halves, $x, $total, $t, $panel, $a, $b)
        )
    };
    (whole_mins, $x:literal, $total:literal, $t:literal, $panel:literal, $a:literal, $b:literal) => {
        concat!(
            total!(whole, $x, $total, $t, $panel, $a, $b),
            "vfnmadd231ps ",
            $total,
            ", ",
            $a,
            ", dword ptr [{",
            $t,
            "} + {weighted} - 64]{{1to16}}\n",
        )
    };
    (halves, $x:literal, $total:literal, $t:literal, $panel:literal, $a:literal, $b:literal) => {
        concat!("vfmadd231ps ", $total, ", ", $x, ", dword ptr [{", $t, "} + {scale} - 64]{{1to16}}\n")
    };
    (halves_mins, $x:literal, $total:literal, $t:literal, $panel:literal, $a:literal, $b:literal) => {
        concat!(
            total!(halves, $x, $total, $t, $panel, $a, $b),
            "vfnmadd231ps ",
            $total,
            ", ",
            $a,
            ", dword ptr [{",
            $t,
            "} + {weighted} + 4 - 64]{{1to16}}\n",
            "vfnmadd231ps ",
            $total,
            ", ",
            $b,
            ", dword ptr [{",
            $t,
            "} + {weighted} + 8 - 64]{{1to16}}\n",
        )
    };
    (scaled, $x:literal, $total:literal, $t:literal, $panel:literal, $a:literal, $b:literal) => {
        concat!("vmulps ", $x, ", ", $x, ", [{s} + ", $panel, "]\n")
    };
}

/// Mins of the last block.
macro_rules! load_mins {
    (whole_mins) => {
        "vmovaps zmm24, [{s} + {mins} - 64]\nvmovaps zmm25, [{s} + {mins} + {panel} - 64]\n"
    };
    (halves_mins) => {
        concat!(
            "vmovaps zmm24, [{s} + {mins} - 128]\nvmovaps zmm25, [{s} + {mins} + {panel} - 128]\n",
            "vmovaps zmm26, [{s} + {mins} - 64]\nvmovaps zmm27, [{s} + {mins} + {panel} - 64]\n",
        )
    };
    ($other:ident) => {
        ""
    };
}

/// What integer sums of a part start at: `zero`, or what is at `$place` of [`QuantisedBlock::starts`].
macro_rules! start {
    (zero, $place:literal) => {
        concat!(
            "vpxor xmm0, xmm0, xmm0\nvpxor xmm1, xmm1, xmm1\nvpxor xmm2, xmm2, xmm2\nvpxor xmm3, xmm3, xmm3\n",
            "vpxor xmm4, xmm4, xmm4\nvpxor xmm5, xmm5, xmm5\nvpxor xmm6, xmm6, xmm6\nvpxor xmm7, xmm7, xmm7\n",
        )
    };
    (loaded, $place:literal) => {
        concat!(
            start!("zmm0", "zmm4", "t0", $place),
            start!("zmm1", "zmm5", "t1", $place),
            start!("zmm2", "zmm6", "t2", $place),
            start!("zmm3", "zmm7", "t3", $place),
        )
    };
    ($one:literal, $two:literal, $t:literal, $place:literal) => {
        concat!(
            "vpbroadcastd ",
            $one,
            ", dword ptr [{",
            $t,
            "} + {starts} + 4*",
            $place,
            "]\nvmovdqa64 ",
            $two,
            ", ",
            $one,
            "\n"
        )
    };
}

/// All products of a block, and of the last one's sums `$finish`.
macro_rules! block {
    (1, $start:ident, $finish:ident) => {
        concat!(
            load_mins!($finish),
            start!($start, "0"),
            group!("0", $finish, 00, none),
            group!("1", $finish, 10, none),
            group!("2", $finish, 01, none),
            group!("3", $finish, 11, none),
            group!("4", $finish, 02, none),
            group!("5", $finish, 12, none),
            group!("6", $finish, 03, none),
            group!("7", $finish, 13, none),
            "vcvtdq2ps zmm16, zmm0\nvcvtdq2ps zmm17, zmm1\nvcvtdq2ps zmm18, zmm2\nvcvtdq2ps zmm19, zmm3\n",
            "vcvtdq2ps zmm20, zmm4\nvcvtdq2ps zmm21, zmm5\nvcvtdq2ps zmm22, zmm6\nvcvtdq2ps zmm23, zmm7\n",
            "add {c}, 512\nadd {s}, 64\nadd {t0}, 64\nadd {t1}, 64\nadd {t2}, 64\nadd {t3}, 64\n",
        )
    };
    (2, $start:ident, $finish:ident) => {
        concat!(
            load_mins!($finish),
            start!($start, "1"),
            group!("0", $finish, 00, 10),
            group!("1", $finish, 01, 11),
            group!("2", $finish, 02, 12),
            group!("3", $finish, 03, 13),
            "vcvtdq2ps zmm16, zmm0\nvcvtdq2ps zmm17, zmm1\nvcvtdq2ps zmm18, zmm2\nvcvtdq2ps zmm19, zmm3\n",
            "vcvtdq2ps zmm20, zmm4\nvcvtdq2ps zmm21, zmm5\nvcvtdq2ps zmm22, zmm6\nvcvtdq2ps zmm23, zmm7\n",
            start!($start, "2"),
            group!("4", scaled, 00, 10),
            group!("5", scaled, 01, 11),
            group!("6", scaled, 02, 12),
            group!("7", scaled, 03, 13),
            second_half!("zmm0", "zmm16", "0"),
            second_half!("zmm1", "zmm17", "0"),
            second_half!("zmm2", "zmm18", "0"),
            second_half!("zmm3", "zmm19", "0"),
            second_half!("zmm4", "zmm20", "{panel}"),
            second_half!("zmm5", "zmm21", "{panel}"),
            second_half!("zmm6", "zmm22", "{panel}"),
            second_half!("zmm7", "zmm23", "{panel}"),
            "add {c}, 512\nadd {s}, 128\nadd {t0}, 64\nadd {t1}, 64\nadd {t2}, 64\nadd {t3}, 64\n",
        )
    };
}

/// The sums of the second half, by its scales, added to those of the first.
macro_rules! second_half {
    ($sums:literal, $x:literal, $panel:literal) => {
        concat!("vcvtdq2ps ", $sums, ", ", $sums, "\nvfmadd231ps ", $x, ", ", $sums, ", [{s} + ", $panel, " + 64]\n",)
    };
}

/// The whole loop.
macro_rules! tile {
    ($chunks:expr, $tokens:expr, $sums:expr, $parts:tt, $start:ident, $finish:ident) => {
        asm!(
            // Names all, as not every form of the loop does.
            "# {mins} {weighted} {starts}",
            "vmovups zmm8, [{one}]\nvmovups zmm9, [{one} + 64]\nvmovups zmm10, [{one} + 128]\nvmovups zmm11, [{one} + 192]",
            "vmovups zmm12, [{two}]\nvmovups zmm13, [{two} + 64]\nvmovups zmm14, [{two} + 128]\nvmovups zmm15, [{two} + 192]",
            block!($parts, $start, nothing),
            "dec {n}",
            "jz 3f",
            ".p2align 6",
            "2:",
            block!($parts, $start, $finish),
            "dec {n}",
            "jnz 2b",
            "3:",
            load_mins!($finish),
            finish!($finish, 00), finish!($finish, 10), finish!($finish, 01), finish!($finish, 11),
            finish!($finish, 02), finish!($finish, 12), finish!($finish, 03), finish!($finish, 13),
            "vmovups [{one}], zmm8\nvmovups [{one} + 64], zmm9\nvmovups [{one} + 128], zmm10\nvmovups [{one} + 192], zmm11",
            "vmovups [{two}], zmm12\nvmovups [{two} + 64], zmm13\nvmovups [{two} + 128], zmm14\nvmovups [{two} + 192], zmm15",
            c = inout(reg) $chunks[0].codes.as_ptr() => _,
            s = inout(reg) $chunks[0].scales.as_ptr() => _,
            t0 = inout(reg) $tokens[0] => _, t1 = inout(reg) $tokens[1] => _,
            t2 = inout(reg) $tokens[2] => _, t3 = inout(reg) $tokens[3] => _,
            n = inout(reg) $chunks[0].block_count => _,
            one = in(reg) $sums[0], two = in(reg) $sums[1],
            panel = const size_of::<Chunk>(),
            mins = const offset_of!(Chunk, mins) - offset_of!(Chunk, scales),
            scale = const offset_of!(QuantisedBlock, scale),
            starts = const offset_of!(QuantisedBlock, starts),
            weighted = const offset_of!(QuantisedBlock, weighted),
            out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _, out("zmm6") _,
            out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _, out("zmm12") _, out("zmm13") _,
            out("zmm14") _, out("zmm15") _, out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _,
            out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _, out("zmm24") _, out("zmm25") _,
            out("zmm26") _, out("zmm27") _, out("zmm28") _, out("zmm29") _, out("zmm30") _, out("zmm31") _,
            options(nostack),
        )
    };
}

/// Adds the products of two panels with four tokens to `sums`, `[panel][token, row]`, `PARTS` sub-blocks a block. With `MINS` the chunks
/// have mins, and without `OFFSET` their codes are not too high.
///
/// # Safety
/// The chunks must have a block at least and as many the one as the other, and every token as many; there must be sums for four tokens.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn tile<const PARTS: usize, const MINS: bool, const OFFSET: bool>(
    chunks: &[Chunk; 2],
    tokens: [*const QuantisedBlock; TILE],
    sums: [*mut [f32; PANEL]; 2],
) {
    const { assert!(size_of::<QuantisedBlock>() == GROUP_BYTES && size_of::<[f32; PANEL]>() == GROUP_BYTES) };
    // SAFETY: the second chunk lies behind the first one; both have eight groups of 64 bytes and 64 bytes of scales and mins for every
    // sub-block of a block, and are aligned to 64 bytes; tokens have a block for each. Loads reach back to the last block only once there is one.
    unsafe {
        match (PARTS, MINS, OFFSET) {
            (1, false, false) => tile!(chunks, tokens, sums, 1, zero, whole),
            (1, false, true) => tile!(chunks, tokens, sums, 1, loaded, whole),
            (1, true, false) => tile!(chunks, tokens, sums, 1, zero, whole_mins),
            (1, true, true) => tile!(chunks, tokens, sums, 1, loaded, whole_mins),
            (_, false, false) => tile!(chunks, tokens, sums, 2, zero, halves),
            (_, false, true) => tile!(chunks, tokens, sums, 2, loaded, halves),
            (_, true, false) => tile!(chunks, tokens, sums, 2, zero, halves_mins),
            (_, true, true) => tile!(chunks, tokens, sums, 2, loaded, halves_mins),
        }
    }
}
