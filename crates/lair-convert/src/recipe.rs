//! How the bytes of a tensor of the model are made of the matrices of a checkpoint, row by row.

use std::io::{self, Write};
use std::sync::{Arc, OnceLock};

use half::{bf16, f16};
use lair_gguf::{MappedFile, TensorBytes, TensorType};
#[allow(unused_imports)] // Named by the documentation.
use lair_model::spec::source::Values;

use crate::matrix::{Elements, Piece, SourceTensor};
use crate::parallel::fill_rows;

/// Elements that are made by all threads before they are written: 16 MiB at most.
const SLAB_ELEMENTS: usize = 1 << 22;

/// A tensor of the model to be.
#[derive(Clone)]
pub(crate) struct Recipe {
    pub(crate) name: String,
    /// The fastest dimension first, as GGUF has it.
    pub(crate) shape: Vec<u64>,
    /// The type that holds its values without loss.
    pub(crate) weight_type: TensorType,
    /// What it is made of, one behind the other; all have the same columns.
    pub(crate) pieces: Vec<Piece>,
    /// What is made of every number.
    pub(crate) values: ValueChange,
}

/// What is made of every number of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ValueChange {
    /// Nothing else.
    Same,
    /// So much more.
    Plus(f32),
    /// So many times as much.
    Times(f32),
    /// See [`Values::NegatedSecondHalves`].
    NegatedSecondHalves { head_rows: usize },
    /// See [`Values::NegatedExponential`].
    NegatedExponential,
    /// See [`Values::Exponential`].
    Exponential,
    /// So many times as much, with a factor for each row.
    TimesRows(Arc<[f32]>),
    /// See [`Values::TernaryOfClass`]; the mean of the magnitudes, once it is known.
    Ternary(Arc<OnceLock<f32>>),
}

/// Means of magnitudes below this count as this (the published model code).
const TERNARY_SCALE_MIN: f32 = 1e-5;

impl ValueChange {
    /// Changes the numbers of some rows, the first of which is row `first` of the matrix.
    fn apply(&self, values: &mut [f32], columns: usize, first: usize) {
        match self {
            ValueChange::Same => {}
            ValueChange::Plus(offset) => values.iter_mut().for_each(|value| *value += offset),
            ValueChange::Times(factor) => values.iter_mut().for_each(|value| *value *= factor),
            ValueChange::NegatedSecondHalves { head_rows } => {
                for (index, row) in values.chunks_exact_mut(columns).enumerate() {
                    if (first + index) % *head_rows >= *head_rows / 2 {
                        row.iter_mut().for_each(|value| *value = -*value);
                    }
                }
            }
            ValueChange::NegatedExponential => values.iter_mut().for_each(|value| *value = -value.exp()),
            ValueChange::Exponential => values.iter_mut().for_each(|value| *value = value.exp()),
            ValueChange::TimesRows(factors) => {
                for (row, factor) in values.chunks_exact_mut(columns.max(1)).zip(&factors[first..]) {
                    row.iter_mut().for_each(|value| *value *= factor);
                }
            }
            ValueChange::Ternary(mean) => {
                // The inverse is rounded, and divided by again, as the published model code has it.
                let inverse = 1.0 / mean.get().copied().unwrap_or(1.0).max(TERNARY_SCALE_MIN);
                values
                    .iter_mut()
                    .for_each(|value| *value = (*value * inverse).round_ties_even().clamp(-1.0, 1.0) / inverse);
            }
        }
    }
}

impl Recipe {
    /// A vector of numbers that are here.
    pub(crate) fn of_values(name: &str, values: SourceTensor) -> Recipe {
        let pieces: Vec<Piece> = values.matrices.into_iter().map(Piece::whole).collect();
        let shape = vec![values.shape.iter().product::<usize>() as u64];
        Recipe { name: name.to_owned(), shape, weight_type: TensorType::F32, pieces, values: ValueChange::Same }
    }

    /// Where its bytes come from if it is stored as `tensor_type`: a stretch of a file, or made.
    pub(crate) fn bytes(self: &Arc<Recipe>, files: &Arc<[MappedFile]>, tensor_type: TensorType) -> TensorBytes {
        if let [piece] = &self.pieces[..]
            && self.values == ValueChange::Same
            && let Some((element, file, start)) = piece.stretch()
            && element.tensor_type() == Some(tensor_type)
        {
            return TensorBytes::Stored { file, start };
        }
        let (recipe, files) = (Arc::clone(self), Arc::clone(files));
        TensorBytes::Made(Arc::new(move || {
            let mut bytes = Vec::new();
            recipe.write(&files, tensor_type, &mut bytes).expect("memory takes all bytes");
            bytes
        }))
    }

    /// Writes its bytes as `tensor_type`, a chunk of rows at a time.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub(crate) fn write(&self, files: &[MappedFile], tensor_type: TensorType, out: &mut dyn Write) -> io::Result<()> {
        if let ValueChange::Ternary(mean) = &self.values {
            mean.get_or_init(|| self.mean_magnitude(files));
        }
        for piece in &self.pieces {
            let same_bits = piece
                .stretch()
                .filter(|stretch| self.values == ValueChange::Same && stretch.0.tensor_type() == Some(tensor_type));
            if let Some((element, file, start)) = same_bits {
                let length = piece.rows * piece.matrix.columns * element.size_bytes();
                out.write_all(&files[file][start as usize..start as usize + length])?;
                continue;
            }
            self.write_piece(piece, files, tensor_type, out)?;
        }
        Ok(())
    }

    /// The mean of the magnitudes of all numbers, before they are changed.
    fn mean_magnitude(&self, files: &[MappedFile]) -> f32 {
        let (mut sum, mut count) = (0.0f64, 0usize);
        for piece in &self.pieces {
            let mut row = vec![0.0f32; piece.matrix.columns];
            for index in 0..piece.rows {
                piece.row(files, index, &mut row);
                sum += row.iter().map(|value| f64::from(value.abs())).sum::<f64>();
            }
            count += piece.rows * row.len();
        }
        (sum / count.max(1) as f64) as f32
    }

    fn write_piece(
        &self,
        piece: &Piece,
        files: &[MappedFile],
        tensor_type: TensorType,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let columns = piece.matrix.columns;
        let row_bytes = tensor_type.size_bytes(columns as u64).unwrap_or(0) as usize;
        if row_bytes == 0 {
            // Rows of nothing, or no whole blocks, which the types of a conversion avoid.
            return Ok(());
        }
        // Blocks that are there already are kept.
        let kept = match &piece.matrix.elements {
            Elements::Made(maker) if self.values == ValueChange::Same && maker.has_blocks(tensor_type) => Some(maker),
            _ => None,
        };
        let rows_max = (SLAB_ELEMENTS / columns.max(1)).max(1);
        let mut slab = Vec::new();
        for first in (0..piece.rows).step_by(rows_max) {
            slab.resize(rows_max.min(piece.rows - first) * row_bytes, 0);
            if let Some(maker) = kept {
                fill_rows(&mut slab, row_bytes, columns, |offset, out| {
                    for (index, out) in out.chunks_exact_mut(row_bytes).enumerate() {
                        maker.blocks(files, piece.order.source_row(first + offset + index), out);
                    }
                    Ok::<(), io::Error>(())
                })?;
                out.write_all(&slab)?;
                continue;
            }
            fill_rows(&mut slab, row_bytes, columns, |offset, out| {
                let mut values = vec![0.0f32; out.len() / row_bytes * columns];
                for (index, row) in values.chunks_exact_mut(columns).enumerate() {
                    piece.row(files, first + offset + index, row);
                }
                self.values.apply(&mut values, columns, first + offset);
                let mut bytes = Vec::with_capacity(out.len());
                encode(&values, tensor_type, &mut bytes)?;
                out.copy_from_slice(&bytes);
                Ok::<(), io::Error>(())
            })?;
            out.write_all(&slab)?;
        }
        Ok(())
    }
}

/// The numbers as elements of `tensor_type`.
pub(crate) fn encode(values: &[f32], tensor_type: TensorType, bytes: &mut Vec<u8>) -> io::Result<()> {
    match tensor_type {
        TensorType::F32 => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
        TensorType::F16 => bytes.extend(values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes())),
        // Tables of whole numbers; what is none of 32 bits becomes the nearest, and what is out of range is refused when read.
        TensorType::I32 => bytes.extend(values.iter().flat_map(|value| (*value as i32).to_le_bytes())),
        TensorType::BF16 => bytes.extend(values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes())),
        _ => {
            let length = tensor_type.size_bytes(values.len() as u64).unwrap_or(0) as usize;
            bytes.resize(length, 0);
            lair_quant::quantize(tensor_type, values, bytes).map_err(io::Error::other)?;
        }
    }
    Ok(())
}
