//! Small floats or integers with a factor for each block, row or tensor: `weight` beside `weight_scale_inv` (DeepSeek's
//! blocks) or `weight_scale`; `X.weight` beside `X.scale` (DeepSeek V4, whose experts have four bits a number).

use std::collections::BTreeMap;
use std::sync::Arc;

use lair_gguf::{MappedFile, TensorType};
use serde_json::Value as Json;

use super::{mxfp4, wrong_shape};
use crate::element::ElementType;
use crate::error::ConvertError;
use crate::matrix::{Piece, RowMaker, SourceTensor};
use crate::stored::StoredTensor;

/// Tensors that stand beside weights and are no weights.
const BESIDE: [&str; 4] = [".weight_scale_inv", ".weight_scale", ".input_scale", ".output_scale"];

/// All tensors, those with factors multiplied by them.
pub(super) fn tensors(
    tensors: &BTreeMap<String, StoredTensor>,
    method: &Json,
) -> Result<Vec<SourceTensor>, ConvertError> {
    let mut found = Vec::new();
    for (name, tensor) in tensors {
        let is_scale = name.strip_suffix(".scale").is_some_and(|stem| tensors.contains_key(&format!("{stem}.weight")));
        if is_scale || BESIDE.iter().any(|end| name.ends_with(end)) {
            continue;
        }
        let stem = name.strip_suffix(".weight").unwrap_or(name);
        let scale = [format!("{name}_scale_inv"), format!("{name}_scale"), format!("{stem}.scale")];
        match scale.into_iter().find_map(|name| tensors.get(&name)) {
            // Bytes of two numbers each.
            Some(scale) if [ElementType::I8, ElementType::U8].contains(&tensor.element) && is_power(scale) => {
                found.push(mxfp4::of_pairs(tensor, scale)?);
            }
            None => found.push(SourceTensor::of_stored(tensor)?),
            Some(scale) => found.push(scaled_tensor(tensor, scale, method)?),
        }
    }
    Ok(found)
}

/// Whether factors are powers of two.
fn is_power(scale: &StoredTensor) -> bool {
    scale.element == ElementType::F8_E8M0
}

fn scaled_tensor(tensor: &StoredTensor, scale: &StoredTensor, method: &Json) -> Result<SourceTensor, ConvertError> {
    let wrong = |expected: &str| wrong_shape(scale, expected);
    let [rows, columns] = tensor.shape[..] else { return Err(wrong("factors of a matrix")) };
    let [block_rows, block_columns] = match method["weight_block_size"].as_array().map(Vec::as_slice) {
        Some([rows, columns]) => [rows, columns].map(|length| length.as_u64().unwrap_or(0) as usize),
        _ => match scale.element_count() {
            1 => [rows.max(1), columns.max(1)],
            count if count == rows => [1, columns.max(1)],
            _ => return Err(wrong("one factor, or one for each row")),
        },
    };
    if block_rows == 0 || block_columns == 0 {
        return Err(ConvertError::Unsupported { what: "blocks of no rows or columns".to_owned() });
    }
    let stride = columns.div_ceil(block_columns);
    if scale.element_count() != rows.div_ceil(block_rows) * stride {
        return Err(wrong("one factor for each block"));
    }
    let piece = |tensor: &StoredTensor| -> Result<Piece, ConvertError> {
        let mut source = SourceTensor::of_stored(tensor)?;
        source.matrices.pop().map(Piece::whole).ok_or_else(|| wrong("a matrix"))
    };
    let factors = StoredTensor { shape: vec![scale.element_count(), 1], strides: None, ..scale.clone() };
    let maker = Scaled { numbers: piece(tensor)?, factors: piece(&factors)?, block_rows, block_columns, stride };
    // Factors may leave the range of F16.
    Ok(SourceTensor::made(&tensor.name, [rows, columns], TensorType::BF16, Arc::new(maker)))
}

struct Scaled {
    numbers: Piece,
    /// One in each row.
    factors: Piece,
    block_rows: usize,
    block_columns: usize,
    /// Factors of a row of blocks.
    stride: usize,
}

impl RowMaker for Scaled {
    fn row(&self, files: &[MappedFile], row: usize, values: &mut [f32]) {
        self.numbers.row(files, row, values);
        let first = row / self.block_rows * self.stride;
        for (index, block) in values.chunks_mut(self.block_columns).enumerate() {
            let mut factor = [0.0];
            self.factors.row(files, first + index, &mut factor);
            block.iter_mut().for_each(|value| *value *= factor[0]);
        }
    }
}
