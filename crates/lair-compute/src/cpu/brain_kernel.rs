//! The inner product of weights of 16 bits with activations in BF16 ("brain floats", the upper halves of f32), two columns at
//! a time: `vdpbf16ps` of AVX-512 BF16 multiplies 32 pairs of numbers where f32 has 16, and adds in f32.
//!
//! BF16 weights are multiplied as they are. F16 weights have three bits more than BF16, which are rounded off, to the nearest;
//! activations lose as much. Both errors are within half of 2^-8 of each number, less than those of activations as bytes
//! (within half of 2^-7 of a block's largest), so they are taken where bytes would be (docs/decisions/0040-brain-products.md).
//!
//! A sum is one chain over pairs of columns in order, the later column of a pair first, whatever the number of tokens, panels
//! or threads: the same bits alone and in a batch. Zen 5 does two such instructions a cycle, 64 products. With two panels by
//! twelve tokens 24 of them stand against 14 loads. For few tokens weights are taken from memory as they lie there, columns
//! side by side, and put into pairs in registers; for many, a chunk of columns is put into pairs once.
#![allow(unsafe_code)] // Intrinsics, and elements whose place was checked once for all columns.
#![allow(clippy::needless_range_loop)] // Indices run over several arrays of registers at once.

use lair_simd::Isa;

use super::packed::PANEL;
#[cfg(target_arch = "x86_64")]
use super::panel::reads_ahead_itself;
use super::quantise::{BLOCK, QuantisedBlock};

/// The most tokens of a strip.
#[cfg(target_arch = "x86_64")]
const STRIP_MAX: usize = 12;
/// Up to so many tokens, weights are put into pairs on their way from memory.
#[cfg(target_arch = "x86_64")]
const DIRECT_MAX: usize = STRIP_MAX;
/// Columns that are put into pairs at a time: two panels of them take 32 KiB, twelve tokens 12 KiB, and both stay in a
/// first-level cache of 48 KiB. Sums are read and written once for each chunk, so it is as long as that allows.
const CHUNK: usize = 512;
/// How many columns ahead weights are asked for where they come from memory: 16 KiB.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 512;

/// Two columns of a panel, the elements of each row side by side.
type Pair = [u16; 2 * PANEL];

/// Room for the pairs of a chunk.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // Only AVX-512 BF16 has pairs.
pub(super) struct BrainRoom([[Pair; CHUNK / 2]; 2]);

impl BrainRoom {
    pub(super) const fn new() -> BrainRoom {
        BrainRoom([[[0; 2 * PANEL]; CHUNK / 2]; 2])
    }
}

/// What 16 bits of a weight are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sixteen {
    /// Half precision.
    Half,
    /// The upper half of single precision.
    Brain,
}

/// Whether the machine has the instruction, and is faster with it.
///
/// Zen 4 and 5 do one or two a cycle. An Emerald Rapids does one in two cycles (64 of them took 139, as many f32 multiply-adds 34), so that
/// f32 has twice the products there; all of Intel's are taken to be alike (`bench/results/2026-11-23-emerald-rapids.md`).
pub(super) fn is_available(isa: Isa) -> bool {
    #[cfg(target_arch = "x86_64")]
    return matches!(isa, Isa::Avx512Vnni(_))
        && is_x86_feature_detected!("avx512bf16")
        && lair_simd::amd_family().is_some();
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = isa;
        false
    }
}

/// Memory that is asked for while something else is multiplied, wherever it may lie: for each pair of columns that are
/// multiplied one of each panel from `start` on, from pair `jump_at` on as many elements further.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Soon<const P: usize> {
    start: [*const u16; P],
    jump_at: usize,
    jump: usize,
}

/// Where a column of a panel is, or would be.
#[cfg(target_arch = "x86_64")]
fn place_of(panel: &[[u16; PANEL]], column: usize) -> *const u16 {
    panel.as_ptr().cast::<u16>().wrapping_add(column * PANEL)
}

/// Adds the products of panels, `[column, row]` each and as long, with every token: `sums[panel][token][row]`. Panels that
/// are multiplied next are expected `jump` elements behind the end of these. Only where [`is_available`].
pub(super) fn multiply_brains<'a, const P: usize>(
    kind: Sixteen,
    (panels, jump): ([&[[u16; PANEL]]; P], usize),
    token: &dyn Fn(usize) -> &'a [QuantisedBlock],
    room: &mut BrainRoom,
    mut sums: [&mut [[f32; PANEL]]; P],
) {
    let (columns, tokens) = (panels[0].len(), sums[0].len());
    assert!(P <= 2 && columns.is_multiple_of(BLOCK) && panels.iter().all(|panel| panel.len() == columns));
    assert!(sums.iter().all(|sums| sums.len() == tokens));
    #[cfg(target_arch = "x86_64")]
    {
        assert!(is_x86_feature_detected!("avx512bf16"), "the caller asks first");
        let strips = tokens.div_ceil(STRIP_MAX);
        let chunk = if tokens <= DIRECT_MAX { columns } else { CHUNK };
        for first in (0..columns).step_by(chunk.max(1)) {
            let length = chunk.min(columns - first);
            // What comes soon lies in these panels, or else behind them.
            let soon = if tokens <= DIRECT_MAX {
                Soon {
                    start: panels.map(|panel| place_of(panel, AHEAD)),
                    jump_at: columns.saturating_sub(AHEAD) / 2,
                    jump,
                }
            } else {
                let jump_at = if first + length < columns { columns } else { 0 };
                Soon { start: panels.map(|panel| place_of(panel, first + length)), jump_at, jump }
            };
            let parts = panels.map(|panel| panel[first..first + length].as_ptr().cast::<u16>());
            if tokens > DIRECT_MAX {
                for (part, pairs) in parts.iter().zip(&mut room.0) {
                    // SAFETY: the machine has the instructions; a part has `length` columns, a multiple of 32, and a chunk at most.
                    unsafe { avx512::pair_up(kind, *part, &mut pairs[..length / 2]) };
                }
            }
            for strip in 0..strips {
                let among = tokens * strip / strips..tokens * (strip + 1) / strips;
                let mut rows: [&[QuantisedBlock]; STRIP_MAX] = [&[]; STRIP_MAX];
                for (row, t) in rows.iter_mut().zip(among.clone()) {
                    *row = &token(t)[first / BLOCK..(first + length) / BLOCK];
                }
                let mut sums = sums.iter_mut();
                let sums = std::array::from_fn(|_| &mut sums.next().expect("one a panel")[among.clone()]);
                let rows = &rows[..among.len()];
                // SAFETY: the machine has the instructions; `length` columns are there, of the part, the room and each row.
                unsafe {
                    if tokens > DIRECT_MAX {
                        let pairs = std::array::from_fn(|p| room.0[p].as_ptr().cast::<u16>());
                        let soon = (strip == 0).then_some(soon);
                        avx512::multiply::<avx512::Paired, P>(pairs, length, rows, sums, soon);
                    } else {
                        // BF16 is multiplied as it comes, 31 GB/s by itself and 25 asked for; half precision needs more
                        // instructions to a line, 28 and 30 (one token; bench/results/2026-11-22-short-scales.md).
                        let soon = (kind == Sixteen::Half || !reads_ahead_itself()).then_some(soon);
                        match kind {
                            Sixteen::Half => avx512::multiply::<avx512::Halves, P>(parts, length, rows, sums, soon),
                            Sixteen::Brain => avx512::multiply::<avx512::Brains, P>(parts, length, rows, sums, soon),
                        }
                    }
                }
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (kind, jump, token, room, &mut sums);
        unreachable!("the caller asks first");
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{BLOCK, PANEL, Pair, QuantisedBlock, Sixteen, Soon};

    /// How two columns are read.
    pub(super) trait Source {
        /// The two columns at `columns`, elements of a row side by side.
        ///
        /// # Safety
        /// 64 bytes can be read, and the machine has AVX-512 F, BW and BF16.
        unsafe fn load(columns: *const u16) -> __m512i;
    }

    /// They are in pairs already.
    pub(super) enum Paired {}
    /// Column after column, in BF16.
    pub(super) enum Brains {}
    /// Column after column, in F16.
    pub(super) enum Halves {}

    /// Puts the first and the second half of 32 elements into pairs.
    ///
    /// # Safety
    /// The machine has AVX-512 F and BW.
    #[inline(always)]
    unsafe fn interleave(columns: __m512i) -> __m512i {
        const ORDER: [u16; 32] = {
            let mut order = [0; 32];
            let mut row = 0;
            while row < 16 {
                (order[2 * row], order[2 * row + 1]) = (row as u16, row as u16 + 16);
                row += 1;
            }
            order
        };
        // SAFETY: the caller's promise; the constant has 64 bytes.
        unsafe { _mm512_permutexvar_epi16(_mm512_loadu_si512(ORDER.as_ptr().cast()), columns) }
    }

    impl Source for Paired {
        #[inline(always)]
        unsafe fn load(columns: *const u16) -> __m512i {
            // SAFETY: the caller's promise.
            unsafe { _mm512_loadu_si512(columns.cast()) }
        }
    }

    impl Source for Brains {
        #[inline(always)]
        unsafe fn load(columns: *const u16) -> __m512i {
            // SAFETY: the caller's promise.
            unsafe { interleave(_mm512_loadu_si512(columns.cast())) }
        }
    }

    impl Source for Halves {
        #[inline(always)]
        unsafe fn load(columns: *const u16) -> __m512i {
            // SAFETY: the caller's promise; both columns have 32 bytes.
            unsafe {
                let low = _mm512_cvtph_ps(_mm256_loadu_si256(columns.cast()));
                let high = _mm512_cvtph_ps(_mm256_loadu_si256(columns.add(PANEL).cast()));
                let both: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
                interleave(both)
            }
        }
    }

    /// Puts the columns of a part of a panel into pairs.
    ///
    /// # Safety
    /// The machine has the instructions, and `2 * pairs.len()` columns can be read.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    pub(super) unsafe fn pair_up(kind: Sixteen, columns: *const u16, pairs: &mut [Pair]) {
        for (index, pair) in pairs.iter_mut().enumerate() {
            // SAFETY: the caller's promise; a pair has 64 bytes.
            unsafe {
                let columns = columns.add(index * 2 * PANEL);
                let loaded = match kind {
                    Sixteen::Half => Halves::load(columns),
                    Sixteen::Brain => Brains::load(columns),
                };
                _mm512_storeu_si512(pair.as_mut_ptr().cast(), loaded);
            }
        }
    }

    /// `sums[p][t] += panels[p] * rows[t]` over `length` columns, for up to twelve rows.
    ///
    /// # Safety
    /// The machine has the instructions, and each panel and row has `length` columns, a multiple of 32.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    pub(super) unsafe fn multiply<S: Source, const P: usize>(
        panels: [*const u16; P],
        length: usize,
        rows: &[&[QuantisedBlock]],
        sums: [&mut [[f32; PANEL]]; P],
        soon: Option<Soon<P>>,
    ) {
        assert!(rows.iter().all(|row| row.len() * BLOCK == length));
        // SAFETY: the caller's promise, and the lengths that were compared.
        unsafe {
            match rows.len() {
                0 => {}
                1 => strip::<S, P, 1>(panels, length, rows, sums, soon),
                2 => strip::<S, P, 2>(panels, length, rows, sums, soon),
                3 => strip::<S, P, 3>(panels, length, rows, sums, soon),
                4 => strip::<S, P, 4>(panels, length, rows, sums, soon),
                5 => strip::<S, P, 5>(panels, length, rows, sums, soon),
                6 => strip::<S, P, 6>(panels, length, rows, sums, soon),
                7 => strip::<S, P, 7>(panels, length, rows, sums, soon),
                8 => strip::<S, P, 8>(panels, length, rows, sums, soon),
                9 => strip::<S, P, 9>(panels, length, rows, sums, soon),
                10 => strip::<S, P, 10>(panels, length, rows, sums, soon),
                11 => strip::<S, P, 11>(panels, length, rows, sums, soon),
                _ => strip::<S, P, 12>(panels, length, rows, sums, soon),
            }
        }
    }

    /// # Safety
    /// As [`multiply`], with `T` rows.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn strip<S: Source, const P: usize, const T: usize>(
        panels: [*const u16; P],
        length: usize,
        rows: &[&[QuantisedBlock]],
        sums: [&mut [[f32; PANEL]]; P],
        soon: Option<Soon<P>>,
    ) {
        assert!(rows.len() == T && sums.iter().all(|sums| sums.len() == T));
        let mut totals = [[_mm512_setzero_ps(); T]; P];
        for p in 0..P {
            for t in 0..T {
                // SAFETY: sixteen sums.
                totals[p][t] = unsafe { _mm512_loadu_ps(sums[p][t].as_ptr()) };
            }
        }
        let rows: [*const i32; T] = std::array::from_fn(|t| rows[t].as_ptr().cast());
        for pair in 0..length / 2 {
            if let Some(soon) = &soon {
                let further = if pair < soon.jump_at { 0 } else { soon.jump };
                for p in 0..P {
                    _mm_prefetch::<_MM_HINT_T1>(soon.start[p].wrapping_add(pair * 2 * PANEL + further).cast());
                }
            }
            // SAFETY: the caller's promise: a pair of columns of each panel, two numbers of each row.
            unsafe {
                let mut weights: [__m512bh; P] = [std::mem::transmute::<__m512i, __m512bh>(_mm512_setzero_si512()); P];
                for p in 0..P {
                    let loaded = S::load(panels[p].add(pair * 2 * PANEL));
                    weights[p] = std::mem::transmute::<__m512i, __m512bh>(loaded);
                }
                for t in 0..T {
                    let x: __m512bh = std::mem::transmute(_mm512_set1_epi32(rows[t].add(pair).read_unaligned()));
                    for p in 0..P {
                        totals[p][t] = _mm512_dpbf16_ps(totals[p][t], weights[p], x);
                    }
                }
            }
        }
        for p in 0..P {
            for t in 0..T {
                // SAFETY: sixteen sums.
                unsafe { _mm512_storeu_ps(sums[p][t].as_mut_ptr(), totals[p][t]) };
            }
        }
    }
}
