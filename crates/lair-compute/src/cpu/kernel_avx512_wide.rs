//! The inner loop of [`super::kernel_avx512`] for many tokens where a core does two multiplying instructions of 64 bytes a cycle and waits six
//! cycles for a sum: two panels by eight tokens, in assembly.
//!
//! So does an Emerald Rapids, and all of Intel's are taken to be like it. The eight sums of [`super::kernel_avx512_tile`] wait for each other there: 64 `vpdpbusd`
//! take 48 cycles in eight chains, and 33 in sixteen (`bench/results/2026-11-23-emerald-rapids.md`). Sixteen sums leave no registers for
//! totals, which stay in the first-level cache. What is to be done with a block's sums stands behind its products: with sixteen chains the
//! processor finds the next block's products by itself.
//!
//! Every instruction of 64 bytes takes one of the same two places there, conversions too. So there is none: sums start at the bits of the
//! number [`START`], 1.5 * 2^23, and read as a number they are exactly that much too high. A fused multiply-subtract takes the product of START and
//! the scale away; with an exact product it rounds once, as a multiplication does after a conversion. The product is exact for scales
//! of up to 22 bits: a half times a byte has 19, a scale that was made in f32 may have 24, and is refused ([`can_do`]). (A
//! scale that is infinite, which no sound file has, gives no number here where the other tile may give an infinity.)
//! For 32 columns (8192 multiplications) that leaves 128 `vpdpbusd`, 16 multiplications by weight scales and 16 by tokens' scales: 80
//! cycles, and 88 with mins.
//!
//! Blocks of the next eight tokens are asked for meanwhile, each as this one's is read: where rows are longer than a second-level cache has
//! room for 256 of, products of 5632 columns are an eighth faster so.
#![allow(unsafe_code)] // Assembly.

use std::arch::asm;
use std::mem::offset_of;

use super::packed::{BLOCK, GROUP_BYTES, Layout, PANEL, ScaleForm};
use super::panel::Chunk;
use super::product::Sums;
use super::quantise::{QuantisedBlock, START};

/// Tokens.
pub(super) const TILE: usize = 8;

/// Whether products of a layout can be made so.
pub(super) fn can_do(layout: &Layout) -> bool {
    const { assert!(BLOCK * 255 * 128 < 1 << 22) };
    layout.sub_length == BLOCK && layout.scale_form != ScaleForm::Super
}

/// One group of both panels with eight tokens.
macro_rules! group {
    ($g:literal, $one:literal, $two:literal) => {
        concat!(
            "vmovdqa64 ",
            $one,
            ", [{c} + 64*",
            $g,
            "]\nvmovdqa64 ",
            $two,
            ", [{c} + {panel} + 64*",
            $g,
            "]\n",
            products!($g, $one, $two, "zmm20", "t0", "zmm0", "zmm8"),
            products!($g, $one, $two, "zmm21", "t1", "zmm1", "zmm9"),
            products!($g, $one, $two, "zmm22", "t2", "zmm2", "zmm10"),
            products!($g, $one, $two, "zmm23", "t3", "zmm3", "zmm11"),
            products!($g, $one, $two, "zmm20", "t4", "zmm4", "zmm12"),
            products!($g, $one, $two, "zmm21", "t5", "zmm5", "zmm13"),
            products!($g, $one, $two, "zmm22", "t6", "zmm6", "zmm14"),
            products!($g, $one, $two, "zmm23", "t7", "zmm7", "zmm15"),
        )
    };
}

/// One group of both panels with one token.
macro_rules! products {
    ($g:literal, $one:literal, $two:literal, $four:literal, $t:literal, $a:literal, $b:literal) => {
        concat!(
            "vpbroadcastd ",
            $four,
            ", dword ptr [{",
            $t,
            "} + 4*",
            $g,
            "]\n",
            "vpdpbusd ",
            $a,
            ", ",
            $one,
            ", ",
            $four,
            "\nvpdpbusd ",
            $b,
            ", ",
            $two,
            ", ",
            $four,
            "\n",
        )
    };
}

/// What integer sums of a token start at: the bits of [`START`], `zero`, or less what codes that are too high add, `loaded`.
macro_rules! start {
    (zero, $t:literal, $a:literal, $b:literal) => {
        concat!("vmovdqa64 ", $a, ", zmm31\nvmovdqa64 ", $b, ", zmm31\n")
    };
    (loaded, $t:literal, $a:literal, $b:literal) => {
        concat!("vpbroadcastd ", $a, ", dword ptr [{", $t, "} + {start}]\nvmovdqa64 ", $b, ", ", $a, "\n")
    };
}

/// The sums of a token, into its totals.
macro_rules! finish {
    ($mins:ident, $t:literal, $at:literal, $a:literal, $b:literal) => {
        concat!(
            "vbroadcastss zmm30, dword ptr [{",
            $t,
            "} + {scale}]\n",
            "vfmsub132ps ",
            $a,
            ", zmm24, [{s}]\nvfmsub132ps ",
            $b,
            ", zmm25, [{s} + {panel}]\n",
            "vfmadd213ps ",
            $a,
            ", zmm30, [{one} + ",
            $at,
            "]\nvfmadd213ps ",
            $b,
            ", zmm30, [{one} + {two} + ",
            $at,
            "]\n",
            finish!($mins, $t, $a, $b),
            "vmovups [{one} + ",
            $at,
            "], ",
            $a,
            "\nvmovups [{one} + {two} + ",
            $at,
            "], ",
            $b,
            "\nprefetcht0 [{",
            $t,
            "} + {next}]\n",
        )
    };
    (none, $t:literal, $a:literal, $b:literal) => {
        ""
    };
    (mins, $t:literal, $a:literal, $b:literal) => {
        concat!(
            "vbroadcastss zmm29, dword ptr [{",
            $t,
            "} + {weighted}]\n",
            "vfnmadd231ps ",
            $a,
            ", zmm29, [{s} + {mins}]\nvfnmadd231ps ",
            $b,
            ", zmm29, [{s} + {mins} + {panel}]\n",
        )
    };
}

/// The whole loop.
macro_rules! tile {
    ($chunks:expr, $tokens:expr, $sums:expr, $next:expr, $start:ident, $mins:ident) => {
        asm!(
            // Names all, as not every form of the loop does.
            "# {mins} {weighted} {start}",
            "vpbroadcastd zmm31, {n:e}",
            "mov {n}, [{c} + {count}]",
            ".p2align 6",
            "2:",
            "vmulps zmm24, zmm31, [{s}]",
            "vmulps zmm25, zmm31, [{s} + {panel}]",
            start!($start, "t0", "zmm0", "zmm8"), start!($start, "t1", "zmm1", "zmm9"),
            start!($start, "t2", "zmm2", "zmm10"), start!($start, "t3", "zmm3", "zmm11"),
            start!($start, "t4", "zmm4", "zmm12"), start!($start, "t5", "zmm5", "zmm13"),
            start!($start, "t6", "zmm6", "zmm14"), start!($start, "t7", "zmm7", "zmm15"),
            group!("0", "zmm16", "zmm17"), group!("1", "zmm18", "zmm19"), group!("2", "zmm16", "zmm17"), group!("3", "zmm18", "zmm19"),
            group!("4", "zmm16", "zmm17"), group!("5", "zmm18", "zmm19"), group!("6", "zmm16", "zmm17"), group!("7", "zmm18", "zmm19"),
            finish!($mins, "t0", "0", "zmm0", "zmm8"), finish!($mins, "t1", "64", "zmm1", "zmm9"),
            finish!($mins, "t2", "128", "zmm2", "zmm10"), finish!($mins, "t3", "192", "zmm3", "zmm11"),
            finish!($mins, "t4", "256", "zmm4", "zmm12"), finish!($mins, "t5", "320", "zmm5", "zmm13"),
            finish!($mins, "t6", "384", "zmm6", "zmm14"), finish!($mins, "t7", "448", "zmm7", "zmm15"),
            "add {c}, 512\nadd {s}, 64\nadd {t0}, 64\nadd {t1}, 64\nadd {t2}, 64\nadd {t3}, 64",
            "add {t4}, 64\nadd {t5}, 64\nadd {t6}, 64\nadd {t7}, 64",
            "dec {n}",
            "jnz 2b",
            c = inout(reg) $chunks[0].codes.as_ptr() => _,
            s = inout(reg) $chunks[0].scales.as_ptr() => _,
            t0 = inout(reg) $tokens[0] => _, t1 = inout(reg) $tokens[1] => _,
            t2 = inout(reg) $tokens[2] => _, t3 = inout(reg) $tokens[3] => _,
            t4 = inout(reg) $tokens[4] => _, t5 = inout(reg) $tokens[5] => _,
            t6 = inout(reg) $tokens[6] => _, t7 = inout(reg) $tokens[7] => _,
            n = inout(reg) START.to_bits() as usize => _,
            one = in(reg) $sums, next = in(reg) $next,
            two = const size_of::<Sums>(),
            panel = const size_of::<Chunk>(),
            count = const offset_of!(Chunk, block_count) - offset_of!(Chunk, codes),
            mins = const offset_of!(Chunk, mins) - offset_of!(Chunk, scales),
            scale = const offset_of!(QuantisedBlock, scale),
            start = const offset_of!(QuantisedBlock, start),
            weighted = const offset_of!(QuantisedBlock, weighted),
            out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _, out("zmm6") _,
            out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _, out("zmm12") _, out("zmm13") _,
            out("zmm14") _, out("zmm15") _, out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _,
            out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _, out("zmm24") _, out("zmm25") _,
            out("zmm29") _, out("zmm30") _, out("zmm31") _,
            options(nostack),
        )
    };
}

/// Adds the products of two panels with eight tokens to `sums`, `[token, row]` of the first panel and one [`Sums`] behind it of the second; one
/// sub-block a block. With `MINS` the chunks have mins, and without `OFFSET` their codes are not too high. What lies `next` bytes behind
/// the tokens' blocks is asked for.
///
/// # Safety
/// The chunks must have a block at least and as many the one as the other, and every token as many; there must be sums for eight tokens,
/// of both panels. [`can_do`] must be true of the layout.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn tile<const MINS: bool, const OFFSET: bool>(
    chunks: &[Chunk; 2],
    tokens: [*const QuantisedBlock; TILE],
    sums: *mut [f32; PANEL],
    next: usize,
) {
    const { assert!(size_of::<QuantisedBlock>() == GROUP_BYTES && size_of::<[f32; PANEL]>() == GROUP_BYTES) };
    // SAFETY: the second chunk lies behind the first one; both have eight groups of 64 bytes and 64 bytes of scales and mins for every
    // block, and are aligned to 64 bytes; tokens have a block for each.
    unsafe {
        match (MINS, OFFSET) {
            (false, false) => tile!(chunks, tokens, sums, next, zero, none),
            (false, true) => tile!(chunks, tokens, sums, next, loaded, none),
            (true, false) => tile!(chunks, tokens, sums, next, zero, mins),
            (true, true) => tile!(chunks, tokens, sums, next, loaded, mins),
        }
    }
}
