//! Experts of gpt-oss and DeepSeek V4: four bits a number, 32 of them to a power of two.
//!
//! ```text
//! NAME_blocks  [experts, rows, blocks, 16]  bytes, of two neighbours each, the first one in the low half
//! NAME_scales  [experts, rows, blocks]      the exponent of the factor, plus 127
//! ```
//!
//! GGUF's MXFP4 has the same numbers in another order, so that they are kept as they are. Source: Open Compute Project, "OCP
//! Microscaling Formats (MX) Specification v1.0", section 5; the published model code.

use std::collections::BTreeMap;
use std::sync::Arc;

use lair_gguf::{MappedFile, TensorType};

use super::wrong_shape;
use crate::element::ElementType;
use crate::error::{ConvertError, printable};
use crate::matrix::{Elements, Matrix, RowMaker, SourceTensor};
use crate::stored::StoredTensor;

/// Numbers of a block.
const BLOCK: usize = 32;
/// Their bytes.
const BLOCK_BYTES: usize = BLOCK / 2;
/// What four bits stand for, but for the sign, which is the fourth.
const MAGNITUDES: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

/// The tensors of a checkpoint, its blocks and their factors as one tensor under the name of the blocks.
pub(super) fn tensors(tensors: &BTreeMap<String, StoredTensor>) -> Result<Vec<SourceTensor>, ConvertError> {
    let mut made = Vec::new();
    for (name, tensor) in tensors {
        if name.strip_suffix("_scales").is_some_and(|stem| tensors.contains_key(&format!("{stem}_blocks"))) {
            continue;
        }
        made.push(match name.strip_suffix("_blocks") {
            None => SourceTensor::of_stored(tensor)?,
            Some(stem) => {
                let scales = tensors.get(&format!("{stem}_scales")).ok_or_else(|| ConvertError::Unsupported {
                    what: format!("`{}` without `{}_scales`", printable(name), printable(stem)),
                })?;
                of_blocks(tensor, scales)?
            }
        });
    }
    Ok(made)
}

fn of_blocks(tensor: &StoredTensor, scales: &StoredTensor) -> Result<SourceTensor, ConvertError> {
    let [experts, rows, blocks, BLOCK_BYTES] = tensor.shape[..] else {
        return Err(wrong_shape(tensor, "[experts, rows, blocks, 16]"));
    };
    let is_bytes = |tensor: &StoredTensor| tensor.element == ElementType::U8 && tensor.strides.is_none();
    if !is_bytes(tensor) {
        return Err(wrong_shape(tensor, "bytes in order"));
    }
    if scales.shape != [experts, rows, blocks] || !is_bytes(scales) {
        return Err(wrong_shape(scales, "a byte for each block, in order"));
    }
    let matrix = |expert: usize| Matrix {
        rows,
        columns: blocks * BLOCK,
        elements: Elements::Made(Arc::new(Blocks {
            blocks,
            places: [tensor, scales].map(|tensor| (tensor.file, tensor.start as usize)),
            first_row: expert * rows,
        })),
    };
    Ok(SourceTensor {
        name: tensor.name.clone(),
        shape: vec![experts, rows, blocks * BLOCK],
        weight_type: TensorType::MXFP4,
        matrices: (0..experts).map(matrix).collect(),
    })
}

/// A matrix whose bytes hold two neighbours each, the first one in the low half (`[rows, columns / 2]`), with an exponent for every
/// 32 of them (`[rows, columns / 32]`): experts of DeepSeek V4.
pub(super) fn of_pairs(tensor: &StoredTensor, scales: &StoredTensor) -> Result<SourceTensor, ConvertError> {
    let [rows, bytes] = tensor.shape[..] else { return Err(wrong_shape(tensor, "a matrix")) };
    if !bytes.is_multiple_of(BLOCK_BYTES) || tensor.strides.is_some() {
        return Err(wrong_shape(tensor, "whole blocks of 32 numbers, in order"));
    }
    let blocks = bytes / BLOCK_BYTES;
    if scales.shape != [rows, blocks] || scales.strides.is_some() {
        return Err(wrong_shape(scales, "an exponent for each block, in order"));
    }
    let places = [tensor, scales].map(|tensor| (tensor.file, tensor.start as usize));
    let maker = Arc::new(Blocks { blocks, places, first_row: 0 });
    Ok(SourceTensor::made(&tensor.name, [rows, blocks * BLOCK], TensorType::MXFP4, maker))
}

/// The blocks of an expert.
struct Blocks {
    /// Of a row.
    blocks: usize,
    /// File and start of the blocks, and of the factors.
    places: [(usize, usize); 2],
    first_row: usize,
}

impl Blocks {
    /// Bytes and factors of a row.
    fn stored<'f>(&self, files: &'f [MappedFile], row: usize) -> (&'f [u8], &'f [u8]) {
        let first = (self.first_row + row) * self.blocks;
        let [(file, start), (scale_file, scale_start)] = self.places;
        let bytes = &files[file][start + first * BLOCK_BYTES..][..self.blocks * BLOCK_BYTES];
        (bytes, &files[scale_file][scale_start + first..][..self.blocks])
    }
}

impl RowMaker for Blocks {
    fn row(&self, files: &[MappedFile], row: usize, values: &mut [f32]) {
        let (bytes, scales) = self.stored(files, row);
        let blocks = bytes.chunks_exact(BLOCK_BYTES).zip(scales).zip(values.chunks_exact_mut(BLOCK));
        for ((bytes, scale), values) in blocks {
            let factor = (f32::from(*scale) - 127.0).exp2();
            for (pair, byte) in values.chunks_exact_mut(2).zip(bytes) {
                pair[0] = factor * number(byte & 15);
                pair[1] = factor * number(byte >> 4);
            }
        }
    }

    fn has_blocks(&self, tensor_type: TensorType) -> bool {
        tensor_type == TensorType::MXFP4
    }

    fn blocks(&self, files: &[MappedFile], row: usize, out: &mut [u8]) {
        let (bytes, scales) = self.stored(files, row);
        let blocks = bytes.chunks_exact(BLOCK_BYTES).zip(scales).zip(out.chunks_exact_mut(1 + BLOCK_BYTES));
        for ((bytes, scale), out) in blocks {
            out[0] = *scale;
            let code = |index: usize| bytes[index / 2] >> (index % 2 * 4) & 15;
            for (index, byte) in out[1..].iter_mut().enumerate() {
                *byte = code(index) | code(index + BLOCK_BYTES) << 4;
            }
        }
    }
}

fn number(code: u8) -> f32 {
    let magnitude = MAGNITUDES[usize::from(code & 7)];
    if code & 8 == 0 { magnitude } else { -magnitude }
}
