//! Weights that bitsandbytes packed: codes of 4 bits with a table and a factor for each block, or of 8 with one for each row.
//!
//! ```text
//! 4 bits   weight [(numbers + 1) / 2, 1] u8, the first number in the upper half
//!          weight.quant_map [16]      weight.absmax [blocks]: the factors, or codes of them, of which then
//!          weight.nested_quant_map [256]   weight.nested_absmax [blocks of blocks]   and an offset are the numbers
//!          weight.quant_state.bitsandbytes__nf4   JSON: shape, lengths of blocks, the offset
//! 8 bits   weight [outputs, inputs] i8    SCB [outputs]    weight_format
//! ```
//!
//! Source: `QuantState.as_dict` and `Linear8bitLt` of bitsandbytes 0.45.

use std::collections::BTreeMap;
use std::sync::Arc;

use lair_gguf::{MappedFile, TensorType};
use serde_json::Value as Json;

use super::wrong_shape;
use crate::checkpoint::Checkpoint;
use crate::element::ElementType;
use crate::error::{ConvertError, Fault, printable};
use crate::matrix::{RowMaker, SourceTensor};
use crate::stored::StoredTensor;

/// Ends of tensors that stand beside packed weights.
const BESIDE: [&str; 6] = [".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", ".SCB", ".weight_format"];
/// What stands before the kind of codes in the name of their description.
const STATE: &str = ".quant_state.bitsandbytes__";
/// Codes of 8 bits go from -127 to 127 times this part of the row's largest number.
const INT8_MAX: f32 = 127.0;

/// All tensors, packed ones as the numbers they stand for.
pub(super) fn tensors(checkpoint: &Checkpoint) -> Result<Vec<SourceTensor>, ConvertError> {
    let tensors = &checkpoint.tensors;
    let mut found = Vec::new();
    for (name, tensor) in tensors.iter().filter(|(name, _)| !is_beside(name, tensors)) {
        let state = tensors
            .range(format!("{name}{STATE}")..)
            .next()
            .filter(|(key, _)| key.starts_with(&format!("{name}{STATE}")));
        let scale = name.strip_suffix(".weight").and_then(|stem| tensors.get(&format!("{stem}.SCB")));
        found.push(match (state, scale) {
            (Some((_, state)), _) => of_four_bits(name, tensor, state, checkpoint)?,
            (None, Some(scale)) => of_eight_bits(tensor, scale)?,
            (None, None) => SourceTensor::of_stored(tensor)?,
        });
    }
    Ok(found)
}

fn is_beside(name: &str, tensors: &BTreeMap<String, StoredTensor>) -> bool {
    name.contains(STATE)
        || BESIDE
            .iter()
            .filter_map(|end| name.strip_suffix(end))
            .any(|stem| tensors.contains_key(stem) || tensors.contains_key(&format!("{stem}.weight")))
}

/// Numbers of a small tensor.
fn numbers(checkpoint: &Checkpoint, tensor: &StoredTensor) -> Vec<f32> {
    let width = tensor.element.size_bytes();
    let bytes = &checkpoint.files[tensor.file][tensor.start as usize..][..tensor.size_bytes() as usize];
    bytes.chunks_exact(width).map(|bytes| tensor.element.value(bytes)).collect()
}

fn of_four_bits(
    name: &str,
    tensor: &StoredTensor,
    state: &StoredTensor,
    checkpoint: &Checkpoint,
) -> Result<SourceTensor, ConvertError> {
    let bytes = &checkpoint.files[state.file][state.start as usize..][..state.size_bytes() as usize];
    let wrong = |found: String, expected: &str| {
        Fault::malformed(format!("`{}`", printable(&state.name)), found, expected)
            .in_file(checkpoint.files[state.file].path())
    };
    let json: Json = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string(), "JSON"))?;
    let number = |key: &str| json[key].as_u64().and_then(|number| usize::try_from(number).ok()).filter(|n| *n > 0);
    let shape: Option<Vec<usize>> =
        json["shape"].as_array().and_then(|shape| shape.iter().map(|n| usize::try_from(n.as_u64()?).ok()).collect());
    let (Some([rows, columns]), Some(block)) =
        (shape.as_deref().and_then(|shape| <[usize; 2]>::try_from(shape).ok()), number("blocksize"))
    else {
        return Err(wrong(json.to_string(), "`shape` of two lengths and `blocksize`"));
    };
    let count = rows.checked_mul(columns).filter(|count| *count > 0);
    let count = count.ok_or_else(|| wrong(json["shape"].to_string(), "a matrix"))?;
    if tensor.element != ElementType::U8 || tensor.element_count() != count.div_ceil(2) || tensor.strides.is_some() {
        return Err(wrong_shape(tensor, &format!("{count} codes of 4 bits, two in a byte")));
    }
    let beside = |end: &str, length: usize| -> Result<(&StoredTensor, Vec<f32>), ConvertError> {
        let key = format!("{name}.{end}");
        let tensor = checkpoint.tensors.get(&key).ok_or_else(|| ConvertError::Unsupported {
            what: format!("`{}` without `{}`", printable(name), printable(&key)),
        })?;
        match tensor.element_count() == length && tensor.strides.is_none() {
            true => Ok((tensor, numbers(checkpoint, tensor))),
            false => Err(wrong_shape(tensor, &format!("{length} numbers"))),
        }
    };
    let (_, table) = beside("quant_map", 16)?;
    let blocks = count.div_ceil(block);
    let (stored, mut factors) = beside("absmax", blocks)?;
    if stored.element == ElementType::U8 {
        let nested_block = number("nested_blocksize").ok_or_else(|| wrong(json.to_string(), "`nested_blocksize`"))?;
        let offset = json["nested_offset"].as_f64().unwrap_or(0.0) as f32;
        let (_, nested_table) = beside("nested_quant_map", 256)?;
        let (_, nested) = beside("nested_absmax", blocks.div_ceil(nested_block))?;
        for (index, factor) in factors.iter_mut().enumerate() {
            *factor = nested_table[*factor as usize] * nested[index / nested_block] + offset;
        }
    }
    let maker = FourBits { file: tensor.file, start: tensor.start as usize, columns, block, table, factors };
    let weight_type = match json["dtype"].as_str() {
        Some("float16") => TensorType::F16,
        Some("float32") => TensorType::F32,
        _ => TensorType::BF16,
    };
    Ok(SourceTensor::made(name, [rows, columns], weight_type, Arc::new(maker)))
}

struct FourBits {
    file: usize,
    start: usize,
    columns: usize,
    block: usize,
    /// What each code stands for.
    table: Vec<f32>,
    /// One for each block, which may begin within a row.
    factors: Vec<f32>,
}

impl RowMaker for FourBits {
    fn row(&self, files: &[MappedFile], row: usize, values: &mut [f32]) {
        let bytes = &files[self.file][self.start..];
        for (index, value) in (row * self.columns..).zip(values) {
            let byte = bytes[index / 2];
            let code = if index % 2 == 0 { byte >> 4 } else { byte & 15 };
            *value = self.table[usize::from(code)] * self.factors[index / self.block];
        }
    }
}

fn of_eight_bits(tensor: &StoredTensor, scale: &StoredTensor) -> Result<SourceTensor, ConvertError> {
    let [rows, columns] = tensor.shape[..] else { return Err(wrong_shape(tensor, "a matrix")) };
    if tensor.element != ElementType::I8 || tensor.strides.is_some() {
        return Err(wrong_shape(tensor, "codes of 8 bits, in order"));
    }
    if scale.element_count() != rows || scale.element != ElementType::F32 || scale.strides.is_some() {
        return Err(wrong_shape(scale, &format!("{rows} numbers")));
    }
    let maker =
        EightBits { file: tensor.file, start: tensor.start as usize, scales: (scale.file, scale.start as usize) };
    Ok(SourceTensor::made(&tensor.name, [rows, columns], TensorType::F16, Arc::new(maker)))
}

struct EightBits {
    file: usize,
    start: usize,
    scales: (usize, usize),
}

impl RowMaker for EightBits {
    fn row(&self, files: &[MappedFile], row: usize, values: &mut [f32]) {
        let (file, start) = self.scales;
        let factor = ElementType::F32.value(&files[file][start + row * 4..]) / INT8_MAX;
        let codes = &files[self.file][self.start + row * values.len()..];
        values.iter_mut().zip(codes).for_each(|(value, code)| *value = f32::from(*code as i8) * factor);
    }
}
