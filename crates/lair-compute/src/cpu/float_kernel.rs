//! The inner product of plain weights: one or two panels with a strip of tokens, sums in registers.
//!
//! A lane is a row and columns come in order, so a sum is one chain of fused multiply-adds whatever the number of
//! tokens, panels, threads or the instruction set. Weights are widened in registers, on their way from memory.
//!
//! For each column: one load (and widening) a panel, and a spread activation a token, which serves 16 rows a panel. Two
//! multiply-adds and two loads a cycle: with AVX-512 and two panels by eight tokens 16 multiply-adds stand against ten
//! loads, so that the multipliers are the limit (32 products a cycle); with one panel by twelve they are 12 to 13. With
//! AVX2 a panel is two registers, and one panel by six tokens 12 multiply-adds to eight loads.
//!
//! One token is one chain: a column every four cycles (32 bytes of half precision: 8 bytes a cycle), which is just
//! what a core gets from memory; two panels are two chains. What counts then is that weights are asked for long before
//! they are multiplied: the machine's own prefetching looks hardly further than the instructions it holds, and with
//! eight tokens those are 20 columns. Measured on Zen 5 with weights of half precision from memory, one panel: 26, 14
//! and 8 GB/s with 1, 4 and 8 tokens as they come, and 31, 29 and 23 GB/s where they are asked for 16 KiB ahead.
#![allow(unsafe_code)] // Intrinsics, and elements whose place was checked once for all columns.
#![allow(clippy::needless_range_loop)] // Indices run over several arrays of registers at once.

use lair_simd::{Isa, LANES, Simd, Work};

use super::memory::Plain;
use super::packed::PANEL;

/// The most tokens of a strip.
pub(super) const STRIP_MAX: usize = 12;

/// A kind of number that weights are kept as.
pub(super) trait Element {
    /// Its bits.
    type Stored: Plain;

    /// Sixteen of them, widened.
    fn load<W: Wide>(wide: W, column: &[Self::Stored; PANEL]) -> W::F;
}

/// Single precision.
pub(super) enum Single {}
/// Half precision.
pub(super) enum Half {}
/// The upper halves of single precision.
pub(super) enum Brain {}

impl Element for Single {
    type Stored = f32;

    #[inline(always)]
    fn load<W: Wide>(wide: W, column: &[f32; PANEL]) -> W::F {
        wide.load(column)
    }
}

impl Element for Half {
    type Stored = u16;

    #[inline(always)]
    fn load<W: Wide>(wide: W, column: &[u16; PANEL]) -> W::F {
        wide.load_half(column)
    }
}

impl Element for Brain {
    type Stored = u16;

    #[inline(always)]
    fn load<W: Wide>(wide: W, column: &[u16; PANEL]) -> W::F {
        wide.load_brain(column)
    }
}

/// Vectors as wide as a panel, in one register or two.
pub(super) trait Wide: Copy {
    /// Sixteen lanes.
    type F: Copy;

    fn splat(self, x: f32) -> Self::F;
    fn load(self, values: &[f32; PANEL]) -> Self::F;
    fn load_half(self, bits: &[u16; PANEL]) -> Self::F;
    fn load_brain(self, bits: &[u16; PANEL]) -> Self::F;
    fn store(self, vector: Self::F, values: &mut [f32; PANEL]);
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
}

/// Two vectors of eight.
#[derive(Clone, Copy)]
struct Pair<S>(S);

#[inline(always)]
fn halves<T>(values: &[T; PANEL]) -> [&[T; LANES]; 2] {
    let (halves, _) = values.as_chunks::<LANES>();
    [&halves[0], &halves[1]]
}

impl<S: Simd> Wide for Pair<S> {
    type F = [S::F; 2];

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        let x = self.0.splat(x);
        [x, x]
    }
    #[inline(always)]
    fn load(self, values: &[f32; PANEL]) -> Self::F {
        let [low, high] = halves(values);
        [self.0.load(low), self.0.load(high)]
    }
    #[inline(always)]
    fn load_half(self, bits: &[u16; PANEL]) -> Self::F {
        let [low, high] = halves(bits);
        [self.0.load_f16(low), self.0.load_f16(high)]
    }
    #[inline(always)]
    fn load_brain(self, bits: &[u16; PANEL]) -> Self::F {
        self.load(&bits.map(|bits| f32::from_bits(u32::from(bits) << 16)))
    }
    #[inline(always)]
    fn store(self, vector: Self::F, values: &mut [f32; PANEL]) {
        let (halves, _) = values.as_chunks_mut::<LANES>();
        self.0.store(vector[0], &mut halves[0]);
        self.0.store(vector[1], &mut halves[1]);
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        [self.0.fma(a[0], b[0], c[0]), self.0.fma(a[1], b[1], c[1])]
    }
}

/// The parts of some panels' columns, `[column, row]`, that are multiplied, and what will be needed soon.
pub(super) struct Panels<'a, T, const P: usize> {
    /// As many columns of each.
    pub(super) columns: [&'a [[T; PANEL]]; P],
    /// Memory that is asked for meanwhile, as much as `columns` has, wherever it may lie.
    pub(super) soon: Option<[*const [T; PANEL]; P]>,
}

/// Adds to each sum its columns times its factors: `sums[p][t] += columns[p][k] * factors[t][k]`, `k` in order.
///
/// There are at most [`STRIP_MAX`] tokens, for other instruction sets than AVX-512 or more than one panel fewer: see
/// [`strip_max`].
pub(super) fn multiply<E: Element, const P: usize>(
    isa: Isa,
    panels: Panels<'_, E::Stored, P>,
    factors: &[&[f32]],
    sums: [&mut [[f32; PANEL]]; P],
) {
    let length = panels.columns[0].len();
    assert!(panels.columns.iter().all(|columns| columns.len() == length));
    assert!(factors.iter().all(|factors| factors.len() == length));
    assert!(sums.iter().all(|sums| sums.len() == factors.len()) && factors.len() <= strip_max(isa, P));
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the instruction set was found on this machine.
        Isa::Avx512Vnni(_) => unsafe { avx512::multiply::<E, P>(panels, factors, sums) },
        _ => match factors.len() {
            0 => {}
            1 => isa.run(Strip::<E, P, 1>::new(panels, factors, sums)),
            2 => isa.run(Strip::<E, P, 2>::new(panels, factors, sums)),
            3 => isa.run(Strip::<E, P, 3>::new(panels, factors, sums)),
            4 => isa.run(Strip::<E, P, 4>::new(panels, factors, sums)),
            5 => isa.run(Strip::<E, P, 5>::new(panels, factors, sums)),
            _ => isa.run(Strip::<E, P, 6>::new(panels, factors, sums)),
        },
    }
}

/// Writes columns as f32.
pub(super) fn widen<E: Element>(isa: Isa, columns: &[[E::Stored; PANEL]], widened: &mut [[f32; PANEL]]) {
    struct Widen<'a, E: Element> {
        columns: &'a [[E::Stored; PANEL]],
        widened: &'a mut [[f32; PANEL]],
    }

    impl<E: Element> Work for Widen<'_, E> {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            for (column, widened) in self.columns.iter().zip(self.widened) {
                Pair(s).store(E::load(Pair(s), column), widened);
            }
        }
    }

    isa.run(Widen::<E> { columns, widened });
}

/// The most tokens whose sums with so many panels stay in registers.
pub(super) fn strip_max(isa: Isa, panel_count: usize) -> usize {
    match (isa, panel_count) {
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512Vnni(_), 1) => STRIP_MAX,
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512Vnni(_), _) => 8,
        (_, 1) => 6,
        _ => 2,
    }
}

/// `T` tokens and `P` panels.
struct Strip<'a, E: Element, const P: usize, const T: usize> {
    panels: Panels<'a, E::Stored, P>,
    factors: [&'a [f32]; T],
    sums: [&'a mut [[f32; PANEL]]; P],
}

impl<'a, E: Element, const P: usize, const T: usize> Strip<'a, E, P, T> {
    fn new(panels: Panels<'a, E::Stored, P>, factors: &[&'a [f32]], sums: [&'a mut [[f32; PANEL]]; P]) -> Self {
        Strip { panels, factors: factors.try_into().expect("a strip as long as was asked for"), sums }
    }

    /// The lengths have been checked: as many factors of each token as columns, and `T` sums of each panel.
    #[inline(always)]
    fn multiply<W: Wide>(self, wide: W) {
        let Strip { panels, factors, sums } = self;
        let length = panels.columns[0].len();
        let mut totals = [[wide.splat(0.0); T]; P];
        for p in 0..P {
            for t in 0..T {
                totals[p][t] = wide.load(&sums[p][t]);
            }
        }
        let columns_a_line = const { 64 / size_of::<[E::Stored; PANEL]>() };
        for k in (0..length - length % 2).step_by(2) {
            if let Some(soon) = panels.soon {
                for p in 0..P {
                    for line in 0..2 / columns_a_line {
                        prefetch(soon[p].wrapping_add(k + line));
                    }
                }
            }
            step::<W, E, P, T>(wide, &panels.columns, &factors, k, &mut totals);
            step::<W, E, P, T>(wide, &panels.columns, &factors, k + 1, &mut totals);
        }
        if length % 2 == 1 {
            step::<W, E, P, T>(wide, &panels.columns, &factors, length - 1, &mut totals);
        }
        for p in 0..P {
            for t in 0..T {
                wide.store(totals[p][t], &mut sums[p][t]);
            }
        }
    }
}

/// Adds the products of column `k`, which all panels and tokens have.
#[inline(always)]
fn step<W: Wide, E: Element, const P: usize, const T: usize>(
    wide: W,
    columns: &[&[[E::Stored; PANEL]]; P],
    factors: &[&[f32]; T],
    k: usize,
    totals: &mut [[W::F; T]; P],
) {
    let mut weights = [wide.splat(0.0); P];
    for p in 0..P {
        // SAFETY: the caller's promise.
        weights[p] = E::load(wide, unsafe { columns[p].get_unchecked(k) });
    }
    for t in 0..T {
        // SAFETY: as above.
        let x = wide.splat(unsafe { *factors[t].get_unchecked(k) });
        for p in 0..P {
            totals[p][t] = wide.fma(weights[p], x, totals[p][t]);
        }
    }
}

impl<E: Element, const P: usize, const T: usize> Work for Strip<'_, E, P, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.multiply(Pair(s));
    }
}

/// Asks for a cache line; nothing happens if there is none.
#[inline(always)]
fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction does nothing with an address that is not mapped.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{Element, PANEL, Panels, Strip, Wide};

    /// Proof that the machine has AVX-512 F, BW and VL.
    #[derive(Clone, Copy)]
    struct Avx512(());

    /// # Safety
    /// The machine has AVX-512 F, BW and VL.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) fn multiply<E: Element, const P: usize>(
        panels: Panels<'_, E::Stored, P>,
        factors: &[&[f32]],
        sums: [&mut [[f32; PANEL]]; P],
    ) {
        match factors.len() {
            0 => {}
            1 => strip(Strip::<E, P, 1>::new(panels, factors, sums)),
            2 => strip(Strip::<E, P, 2>::new(panels, factors, sums)),
            3 => strip(Strip::<E, P, 3>::new(panels, factors, sums)),
            4 => strip(Strip::<E, P, 4>::new(panels, factors, sums)),
            5 => strip(Strip::<E, P, 5>::new(panels, factors, sums)),
            6 => strip(Strip::<E, P, 6>::new(panels, factors, sums)),
            7 => strip(Strip::<E, P, 7>::new(panels, factors, sums)),
            8 => strip(Strip::<E, P, 8>::new(panels, factors, sums)),
            9 => strip(Strip::<E, P, 9>::new(panels, factors, sums)),
            10 => strip(Strip::<E, P, 10>::new(panels, factors, sums)),
            11 => strip(Strip::<E, P, 11>::new(panels, factors, sums)),
            _ => strip(Strip::<E, P, 12>::new(panels, factors, sums)),
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn strip<E: Element, const P: usize, const T: usize>(strip: Strip<'_, E, P, T>) {
        strip.multiply(Avx512(()));
    }

    impl Wide for Avx512 {
        type F = __m512;

        #[inline(always)]
        fn splat(self, x: f32) -> __m512 {
            // SAFETY: the token proves AVX-512; the same holds in every function below.
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        fn load(self, values: &[f32; PANEL]) -> __m512 {
            // SAFETY: the array has sixteen elements; the load needs no alignment.
            unsafe { _mm512_loadu_ps(values.as_ptr()) }
        }
        #[inline(always)]
        fn load_half(self, bits: &[u16; PANEL]) -> __m512 {
            // SAFETY: the array has 32 bytes; the load needs no alignment.
            unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(bits.as_ptr().cast())) }
        }
        #[inline(always)]
        fn load_brain(self, bits: &[u16; PANEL]) -> __m512 {
            // SAFETY: as above.
            unsafe {
                let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(bits.as_ptr().cast()));
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
            }
        }
        #[inline(always)]
        fn store(self, vector: __m512, values: &mut [f32; PANEL]) {
            // SAFETY: the array has sixteen elements; the store needs no alignment.
            unsafe { _mm512_storeu_ps(values.as_mut_ptr(), vector) }
        }
        #[inline(always)]
        fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
            // SAFETY: the token proves AVX-512.
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
    }
}
