//! Weights that are plain numbers: 16 rows side by side in the precision of the file, multiplied in f32.

use lair_quant::TensorType;
use lair_simd::{Isa, LANES, Simd, with_simd};

use super::memory::Memory;
use super::packed::PANEL;
use crate::{ComputeError, MatrixBytes};

/// Columns widened at a time: 16 KiB of f32.
pub(super) const FLOAT_CHUNK: usize = 256;
/// Tokens a strip: with two vectors each and one of weights they fit the sixteen registers of AVX2.
const STRIP: usize = 6;

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
    #[inline(always)]
    fn widen<S: Simd>(&self, s: S, place: usize, first: usize, chunk: &mut [[f32; PANEL]]) {
        let start = (place * self.columns + first) * PANEL;
        let length = chunk.len() * PANEL;
        let out = chunk.as_flattened_mut().as_chunks_mut::<LANES>().0;
        match &self.elements {
            Elements::F32(memory) => out.as_flattened_mut().copy_from_slice(&memory[start..start + length]),
            Elements::F16(memory) => {
                for (bits, out) in memory[start..start + length].as_chunks::<LANES>().0.iter().zip(out) {
                    s.store(s.load_f16(bits), out);
                }
            }
            Elements::BF16(memory) => {
                for (bits, out) in memory[start..start + length].as_chunks::<LANES>().0.iter().zip(out) {
                    *out = bits.map(|bits| f32::from_bits(u32::from(bits) << 16));
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
            with_simd!(isa, s => self.widen(s, place, part * 16, chunk));
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
        with_simd!(isa, s => self.multiply_with(s, place, token, chunk, sums));
    }

    #[inline(always)]
    fn multiply_with<'a, S: Simd>(
        &self,
        s: S,
        place: usize,
        token: &dyn Fn(usize) -> &'a [f32],
        chunk: &mut FloatChunk,
        sums: &mut [[f32; PANEL]],
    ) {
        for first in (0..self.columns).step_by(FLOAT_CHUNK) {
            let length = FLOAT_CHUNK.min(self.columns - first);
            let chunk = &mut chunk[..length];
            self.widen(s, place, first, chunk);
            for (strip, sums) in sums.chunks_mut(STRIP).enumerate() {
                let at = |t: usize| &token(strip * STRIP + t)[first..first + length];
                match sums.len() {
                    1 => multiply_strip::<S, 1>(s, chunk, at, sums),
                    2 => multiply_strip::<S, 2>(s, chunk, at, sums),
                    3 => multiply_strip::<S, 3>(s, chunk, at, sums),
                    4 => multiply_strip::<S, 4>(s, chunk, at, sums),
                    5 => multiply_strip::<S, 5>(s, chunk, at, sums),
                    _ => multiply_strip::<S, STRIP>(s, chunk, at, sums),
                }
            }
        }
    }
}

#[inline(always)]
pub(super) fn multiply_strip<'a, S: Simd, const T: usize>(
    s: S,
    chunk: &[[f32; PANEL]],
    token: impl Fn(usize) -> &'a [f32],
    sums: &mut [[f32; PANEL]],
) {
    let tokens: [&[f32]; T] = std::array::from_fn(|t| &token(t)[..chunk.len()]);
    let halves = |values: &[f32; PANEL]| {
        let (parts, _) = values.as_chunks::<LANES>();
        [s.load(&parts[0]), s.load(&parts[1])]
    };
    let mut totals: [[S::F; 2]; T] = std::array::from_fn(|t| halves(&sums[t]));
    for (k, column) in chunk.iter().enumerate() {
        let weights = halves(column);
        for t in 0..T {
            let x = s.splat(tokens[t][k]);
            totals[t] = [s.fma(weights[0], x, totals[t][0]), s.fma(weights[1], x, totals[t][1])];
        }
    }
    for (total, sum) in totals.into_iter().zip(sums) {
        let (parts, _) = sum.as_chunks_mut::<LANES>();
        s.store(total[0], &mut parts[0]);
        s.store(total[1], &mut parts[1]);
    }
}
