//! Weights that are plain numbers: 16 rows side by side in the precision of the file, multiplied in f32.

use lair_quant::TensorType;
use lair_simd::{Isa, LANES, Simd, Work, vectorize};

use super::memory::Memory;
use super::packed::PANEL;
use crate::{ComputeError, MatrixBytes};

/// Columns widened at a time: 16 KiB of f32.
pub(super) const FLOAT_CHUNK: usize = 256;
/// Tokens a strip: with two vectors each and one of weights they fit the sixteen registers of AVX2.
pub(super) const STRIP: usize = 6;

/// Elements as they are kept.
enum Elements {
    /// `[panel, column, row]`.
    F32(Memory<f32>),
    /// As bits.
    F16(Memory<u16>),
    /// The upper halves of f32.
    BF16(Memory<u16>),
}

/// A stack of matrices of plain numbers.
pub(super) struct Floats {
    elements: Elements,
    pub(super) columns: usize,
    pub(super) panels: usize,
}

/// A part of a panel as f32, `[column, row]`.
pub(super) type FloatChunk = [[f32; PANEL]; FLOAT_CHUNK];

impl Floats {
    /// Interleaves the rows of `source`. Types other than F16 and BF16 become f32.
    pub(super) fn pack(source: &MatrixBytes) -> Result<Floats, ComputeError> {
        let (rows, columns) = (source.rows(), source.columns);
        let panels = rows.div_ceil(PANEL);
        let length = source.count * panels * PANEL * columns;
        let what = "weights";
        let place = |index: usize, row: usize, column: usize| {
            ((index * panels + row / PANEL) * columns + column) * PANEL + row % PANEL
        };
        let all_rows = (0..source.count).flat_map(|index| (0..rows).map(move |row| (index, row)));
        let halves = |mut memory: Memory<u16>| {
            for (index, row) in all_rows.clone() {
                for (column, bits) in source.row(index, row).as_chunks::<2>().0.iter().enumerate() {
                    memory[place(index, row, column)] = u16::from_le_bytes(*bits);
                }
            }
            memory
        };
        let elements = match source.tensor_type {
            TensorType::F16 => Elements::F16(halves(Memory::zeroed(length, what)?)),
            TensorType::BF16 => Elements::BF16(halves(Memory::zeroed(length, what)?)),
            tensor_type => {
                let mut memory = Memory::zeroed(length, what)?;
                let mut values = vec![0.0; columns];
                for (index, row) in all_rows {
                    lair_quant::dequantize(tensor_type, source.row(index, row), &mut values).map_err(|_| {
                        ComputeError::WeightType { name: source.name.clone(), tensor_type: source.tensor_type }
                    })?;
                    for (column, &value) in values.iter().enumerate() {
                        memory[place(index, row, column)] = value;
                    }
                }
                Elements::F32(memory)
            }
        };
        Ok(Floats { elements, columns, panels })
    }

    /// Bytes held.
    pub(super) fn size_bytes(&self) -> usize {
        match &self.elements {
            Elements::F32(memory) => 4 * memory.len(),
            Elements::F16(memory) | Elements::BF16(memory) => 2 * memory.len(),
        }
    }

    /// Widens the columns `first ..` of a panel.
    fn widen(&self, isa: Isa, place: usize, first: usize, chunk: &mut [[f32; PANEL]]) {
        let start = (place * self.columns + first) * PANEL;
        let length = chunk.len() * PANEL;
        let out = chunk.as_flattened_mut();
        match &self.elements {
            Elements::F32(memory) => out.copy_from_slice(&memory[start..start + length]),
            Elements::F16(memory) => widen(isa, &memory[start..start + length], out),
            Elements::BF16(memory) => {
                for (bits, out) in memory[start..start + length].iter().zip(out) {
                    *out = f32::from_bits(u32::from(*bits) << 16);
                }
            }
        }
    }

    /// Copies a row of matrix `index`, widened.
    pub(super) fn row(&self, isa: Isa, index: usize, row: usize, values: &mut [f32]) {
        let mut chunk = [[0.0; PANEL]; 16];
        let place = index * self.panels + row / PANEL;
        for (part, values) in values.chunks_mut(16).enumerate() {
            let chunk = &mut chunk[..values.len()];
            self.widen(isa, place, part * 16, chunk);
            for (value, column) in values.iter_mut().zip(chunk) {
                *value = column[row % PANEL];
            }
        }
    }

    /// Products of a panel with every token: `sums[token][row]`, columns in order.
    pub(super) fn multiply<'a>(
        &self,
        isa: Isa,
        place: usize,
        token: &dyn Fn(usize) -> &'a [f32],
        chunk: &mut FloatChunk,
        sums: &mut [[f32; PANEL]],
    ) {
        for first in (0..self.columns).step_by(FLOAT_CHUNK) {
            let length = FLOAT_CHUNK.min(self.columns - first);
            let chunk = &mut chunk[..length];
            self.widen(isa, place, first, chunk);
            for (strip, sums) in sums.chunks_mut(STRIP).enumerate() {
                let at = |t: usize| &token(strip * STRIP + t)[first..first + length];
                multiply_strip(isa, chunk, at, sums);
            }
        }
    }
}

/// Adds to each of at most [`STRIP`] sums its columns times its factors: `sums[t] += columns[k] * factors(t)[k]`, `k`
/// in order.
pub(super) fn multiply_strip<'a>(
    isa: Isa,
    columns: &'a [[f32; PANEL]],
    factors: impl Fn(usize) -> &'a [f32],
    sums: &'a mut [[f32; PANEL]],
) {
    match sums.len() {
        0 => {}
        1 => isa.run(Strip::<1>::new(columns, factors, sums)),
        2 => isa.run(Strip::<2>::new(columns, factors, sums)),
        3 => isa.run(Strip::<3>::new(columns, factors, sums)),
        4 => isa.run(Strip::<4>::new(columns, factors, sums)),
        5 => isa.run(Strip::<5>::new(columns, factors, sums)),
        _ => isa.run(Strip::<STRIP>::new(columns, factors, sums)),
    }
}

/// A strip of `T` sums, which stay in registers while the columns pass by.
struct Strip<'a, const T: usize> {
    columns: &'a [[f32; PANEL]],
    factors: [&'a [f32]; T],
    sums: &'a mut [[f32; PANEL]],
}

impl<'a, const T: usize> Strip<'a, T> {
    fn new(
        columns: &'a [[f32; PANEL]],
        factors: impl Fn(usize) -> &'a [f32],
        sums: &'a mut [[f32; PANEL]],
    ) -> Strip<'a, T> {
        let mut all: [&[f32]; T] = [&[]; T];
        for (t, slice) in all.iter_mut().enumerate() {
            *slice = &factors(t)[..columns.len()];
        }
        Strip { columns, factors: all, sums }
    }
}

impl<const T: usize> Work for Strip<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut totals = [[s.splat(0.0); 2]; T];
        for (total, sum) in totals.iter_mut().zip(self.sums.iter()) {
            *total = load_halves(s, sum);
        }
        for (k, column) in self.columns.iter().enumerate() {
            let weights = load_halves(s, column);
            for (total, factors) in totals.iter_mut().zip(&self.factors) {
                let x = s.splat(factors[k]);
                *total = [s.fma(weights[0], x, total[0]), s.fma(weights[1], x, total[1])];
            }
        }
        for (total, sum) in totals.into_iter().zip(self.sums) {
            let (parts, _) = sum.as_chunks_mut::<LANES>();
            s.store(total[0], &mut parts[0]);
            s.store(total[1], &mut parts[1]);
        }
    }
}

/// The rows of a column as two vectors.
#[inline(always)]
fn load_halves<S: Simd>(s: S, values: &[f32; PANEL]) -> [S::F; 2] {
    let (parts, _) = values.as_chunks::<LANES>();
    [s.load(&parts[0]), s.load(&parts[1])]
}

/// Widens half-precision numbers, a multiple of eight of them.
pub(super) fn widen(isa: Isa, bits: &[u16], out: &mut [f32]) {
    assert!(bits.len().is_multiple_of(LANES) && out.len() >= bits.len());
    vectorize!(isa, widen_with, bits: &[u16] = bits, out: &mut [f32] = out);
}

#[inline(always)]
fn widen_with<S: Simd>(s: S, bits: &[u16], out: &mut [f32]) {
    for (bits, out) in bits.as_chunks::<LANES>().0.iter().zip(out.as_chunks_mut::<LANES>().0) {
        s.store(s.load_f16(bits), out);
    }
}
