//! Integers of a few bits packed into words of 32, with a factor and a zero or bias for each group of inputs.
//!
//! ```text
//! GPTQ         qweight [inputs / 8, outputs]  qzeros [groups, outputs / 8]  scales [groups, outputs]  g_idx [inputs]
//! AWQ          qweight [inputs, outputs / 8]  qzeros [groups, outputs / 8]  scales [groups, outputs]
//! MLX          weight [outputs, inputs / 8]   scales, biases [outputs, groups]
//! compressed   weight_packed [outputs, inputs / 8]   weight_scale [outputs, groups]   weight_shape [2]
//! ```
//!
//! (for 4 bits; others have as many to a word as fit). Sources: the packing code of AutoGPTQ, AutoAWQ, MLX and
//! compressed-tensors.

use std::collections::BTreeMap;
use std::sync::Arc;

use lair_gguf::{MappedFile, TensorType};
use serde_json::Value as Json;

use super::{number, wrong_shape};
use crate::checkpoint::Checkpoint;
use crate::element::ElementType;
use crate::error::ConvertError;
use crate::matrix::{RowMaker, SourceTensor};
use crate::stored::StoredTensor;

/// Where output `j` of eight stands in a word of AWQ.
const AWQ_PLACES: [usize; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

/// A stored matrix, element by element.
struct Grid {
    element: ElementType,
    file: usize,
    start: usize,
    columns: usize,
}

impl Grid {
    /// The matrix of `tensor`, which must have this shape.
    fn new(tensor: &StoredTensor, rows: usize, columns: usize) -> Result<Grid, ConvertError> {
        if tensor.element_count() != rows * columns || tensor.strides.is_some() {
            return Err(wrong_shape(tensor, &format!("{rows} by {columns}, in order")));
        }
        Ok(Grid { element: tensor.element, file: tensor.file, start: tensor.start as usize, columns })
    }

    /// The same, of words.
    fn words(tensor: &StoredTensor, rows: usize, columns: usize) -> Result<Grid, ConvertError> {
        match tensor.element {
            ElementType::I32 | ElementType::U32 => Grid::new(tensor, rows, columns),
            _ => Err(wrong_shape(tensor, "words of 32 bits")),
        }
    }

    fn bytes<'f>(&self, files: &'f [MappedFile], row: usize, column: usize) -> &'f [u8] {
        &files[self.file][self.start + (row * self.columns + column) * self.element.size_bytes()..]
    }

    fn value(&self, files: &[MappedFile], row: usize, column: usize) -> f32 {
        self.element.value(self.bytes(files, row, column))
    }

    fn word(&self, files: &[MappedFile], row: usize, column: usize) -> u32 {
        u32::from_le_bytes(self.bytes(files, row, column)[..4].try_into().expect("four bytes of a word"))
    }
}

/// How many numbers a word has; only widths that divide it.
fn per_word(bits: usize) -> Result<usize, ConvertError> {
    match bits {
        2 | 4 | 8 => Ok(32 / bits),
        _ => Err(ConvertError::Unsupported { what: format!("packed weights of {bits} bits") }),
    }
}

fn part<'t>(
    tensors: &'t BTreeMap<String, StoredTensor>,
    stem: &str,
    end: &str,
) -> Result<&'t StoredTensor, ConvertError> {
    let name = format!("{stem}.{end}");
    tensors.get(&name).ok_or_else(|| ConvertError::Unsupported { what: format!("`{stem}`, packed without `{name}`,") })
}

/// All tensors; those whose names end in `packed` are unpacked, and what stands beside them is passed over.
fn unpack_all(
    tensors: &BTreeMap<String, StoredTensor>,
    packed: &str,
    beside: &[&str],
    unpack: impl Fn(&str, &StoredTensor) -> Result<SourceTensor, ConvertError>,
) -> Result<Vec<SourceTensor>, ConvertError> {
    let mut found = Vec::new();
    for (name, tensor) in tensors {
        let (stem, end) = name.rsplit_once('.').unwrap_or(("", name));
        let has_packed = || tensors.contains_key(&format!("{stem}.{packed}"));
        if end == packed && (end != "weight" || tensors.contains_key(&format!("{stem}.scales"))) {
            found.push(unpack(stem, tensor)?);
        } else if !(beside.contains(&end) && has_packed()) {
            found.push(SourceTensor::of_stored(tensor)?);
        }
    }
    Ok(found)
}

/// Rows and columns of a stored matrix.
fn matrix_shape(tensor: &StoredTensor) -> Result<[usize; 2], ConvertError> {
    match tensor.shape[..] {
        [rows, columns] if rows > 0 && columns > 0 => Ok([rows, columns]),
        _ => Err(wrong_shape(tensor, "a matrix")),
    }
}

pub(super) fn gptq(
    tensors: &BTreeMap<String, StoredTensor>,
    checkpoint: &Checkpoint,
    method: &Json,
) -> Result<Vec<SourceTensor>, ConvertError> {
    let bits = number(method, "bits").unwrap_or(4);
    let count = per_word(bits)?;
    // The second version of the format stores zeros as they are, the first one less.
    let zero_offset = if method["checkpoint_format"] == "gptq_v2" { 0.0 } else { 1.0 };
    unpack_all(tensors, "qweight", &["qzeros", "scales", "g_idx"], |stem, weight| {
        let [packed_rows, outputs] = matrix_shape(weight)?;
        let inputs = packed_rows * count;
        let scales = part(tensors, stem, "scales")?;
        let [groups, _] = matrix_shape(scales)?;
        let group_of = match tensors.get(&format!("{stem}.g_idx")) {
            Some(indices) => {
                let grid = Grid::new(indices, 1, inputs)?;
                (0..inputs).map(|input| grid.value(&checkpoint.files, 0, input) as usize).collect()
            }
            None => in_order(inputs, groups, scales)?,
        };
        if group_of.iter().any(|group| *group >= groups) {
            return Err(wrong_shape(scales, "a row for each group that `g_idx` names"));
        }
        let maker = Gptq {
            weights: Grid::words(weight, packed_rows, outputs)?,
            zeros: Grid::words(part(tensors, stem, "qzeros")?, groups, outputs.div_ceil(count))?,
            scales: Grid::new(scales, groups, outputs)?,
            group_of,
            groups,
            bits,
            zero_offset,
        };
        Ok(SourceTensor::made(&format!("{stem}.weight"), [outputs, inputs], TensorType::F16, Arc::new(maker)))
    })
}

/// Groups of inputs that follow one another.
fn in_order(inputs: usize, groups: usize, scales: &StoredTensor) -> Result<Vec<usize>, ConvertError> {
    if !inputs.is_multiple_of(groups) {
        return Err(wrong_shape(scales, &format!("groups that divide {inputs} inputs")));
    }
    Ok((0..inputs).map(|input| input / (inputs / groups)).collect())
}

struct Gptq {
    weights: Grid,
    zeros: Grid,
    scales: Grid,
    group_of: Vec<usize>,
    groups: usize,
    bits: usize,
    zero_offset: f32,
}

impl RowMaker for Gptq {
    fn row(&self, files: &[MappedFile], row: usize, values: &mut [f32]) {
        let count = 32 / self.bits;
        let mask = u32::MAX >> (32 - self.bits);
        let of_group = |group: usize| {
            let word = self.zeros.word(files, group, row / count);
            let zero = (word >> (row % count * self.bits) & mask) as f32 + self.zero_offset;
            (self.scales.value(files, group, row), zero)
        };
        let of_groups: Vec<(f32, f32)> = (0..self.groups).map(of_group).collect();
        for (packed, chunk) in values.chunks_mut(count).enumerate() {
            let word = self.weights.word(files, packed, row);
            for (index, value) in chunk.iter_mut().enumerate() {
                let (scale, zero) = of_groups[self.group_of[packed * count + index]];
                *value = scale * ((word >> (index * self.bits) & mask) as f32 - zero);
            }
        }
    }
}

pub(super) fn awq(tensors: &BTreeMap<String, StoredTensor>, method: &Json) -> Result<Vec<SourceTensor>, ConvertError> {
    let version = method["version"].as_str().unwrap_or("gemm");
    if number(method, "bits").unwrap_or(4) != 4 || !version.eq_ignore_ascii_case("gemm") {
        let what = format!("AWQ in the layout `{}`", crate::error::printable(version));
        return Err(ConvertError::Unsupported { what });
    }
    unpack_all(tensors, "qweight", &["qzeros", "scales"], |stem, weight| {
        let [inputs, packed] = matrix_shape(weight)?;
        let outputs = packed * 8;
        let scales = part(tensors, stem, "scales")?;
        let [groups, _] = matrix_shape(scales)?;
        let maker = Awq {
            weights: Grid::words(weight, inputs, packed)?,
            zeros: Grid::words(part(tensors, stem, "qzeros")?, groups, packed)?,
            scales: Grid::new(scales, groups, outputs)?,
            group_of: in_order(inputs, groups, scales)?,
            groups,
        };
        Ok(SourceTensor::made(&format!("{stem}.weight"), [outputs, inputs], TensorType::F16, Arc::new(maker)))
    })
}

struct Awq {
    weights: Grid,
    zeros: Grid,
    scales: Grid,
    group_of: Vec<usize>,
    groups: usize,
}

impl RowMaker for Awq {
    fn row(&self, files: &[MappedFile], row: usize, values: &mut [f32]) {
        let (packed, shift) = (row / 8, AWQ_PLACES[row % 8] * 4);
        let number = |word: u32| (word >> shift & 15) as f32;
        let of_group =
            |group: usize| (self.scales.value(files, group, row), number(self.zeros.word(files, group, packed)));
        let of_groups: Vec<(f32, f32)> = (0..self.groups).map(of_group).collect();
        for (input, value) in values.iter_mut().enumerate() {
            let (scale, zero) = of_groups[self.group_of[input]];
            *value = scale * (number(self.weights.word(files, input, packed)) - zero);
        }
    }
}

pub(super) fn mlx(tensors: &BTreeMap<String, StoredTensor>, method: &Json) -> Result<Vec<SourceTensor>, ConvertError> {
    let bits = number(method, "bits").unwrap_or(4);
    let count = per_word(bits)?;
    unpack_all(tensors, "weight", &["scales", "biases"], |stem, weight| {
        let [outputs, packed] = matrix_shape(weight)?;
        let scales = part(tensors, stem, "scales")?;
        let [_, groups] = matrix_shape(scales)?;
        let inputs = packed * count;
        in_order(inputs, groups, scales)?;
        let maker = Rows {
            weights: Grid::words(weight, outputs, packed)?,
            scales: Grid::new(scales, outputs, groups)?,
            biases: Some(Grid::new(part(tensors, stem, "biases")?, outputs, groups)?),
            group_length: inputs / groups,
            bits,
        };
        Ok(SourceTensor::made(&format!("{stem}.weight"), [outputs, inputs], TensorType::F16, Arc::new(maker)))
    })
}

pub(super) fn compressed(
    tensors: &BTreeMap<String, StoredTensor>,
    method: &Json,
) -> Result<Vec<SourceTensor>, ConvertError> {
    let groups = method["config_groups"].as_object();
    let weights = groups.and_then(|groups| groups.values().next()).map_or(&Json::Null, |group| &group["weights"]);
    let is_one_kind = groups.is_some_and(|groups| groups.len() == 1);
    if !is_one_kind || weights["symmetric"] == false || weights["type"] == "float" {
        let what = "compressed-tensors with several kinds of weights, with zeros or with floats".to_owned();
        return Err(ConvertError::Unsupported { what });
    }
    let bits = number(weights, "num_bits").unwrap_or(4);
    let count = per_word(bits)?;
    let beside = ["weight_scale", "weight_shape", "weight_zero_point", "weight_g_idx"];
    unpack_all(tensors, "weight_packed", &beside, |stem, weight| {
        if tensors.contains_key(&format!("{stem}.weight_g_idx")) {
            return Err(ConvertError::Unsupported { what: format!("`{stem}` with inputs in another order") });
        }
        let [outputs, packed] = matrix_shape(weight)?;
        let scales = part(tensors, stem, "weight_scale")?;
        let [_, groups] = matrix_shape(scales)?;
        let inputs = packed * count;
        in_order(inputs, groups, scales)?;
        let maker = Rows {
            weights: Grid::words(weight, outputs, packed)?,
            scales: Grid::new(scales, outputs, groups)?,
            biases: None,
            group_length: inputs / groups,
            bits,
        };
        Ok(SourceTensor::made(&format!("{stem}.weight"), [outputs, inputs], TensorType::F16, Arc::new(maker)))
    })
}

/// Rows that are packed along their inputs.
struct Rows {
    weights: Grid,
    scales: Grid,
    /// Added to each number; without them half of the range is taken off.
    biases: Option<Grid>,
    group_length: usize,
    bits: usize,
}

impl RowMaker for Rows {
    fn row(&self, files: &[MappedFile], row: usize, values: &mut [f32]) {
        let count = 32 / self.bits;
        let mask = u32::MAX >> (32 - self.bits);
        for (group, chunk) in values.chunks_mut(self.group_length).enumerate() {
            let scale = self.scales.value(files, row, group);
            let bias = match &self.biases {
                Some(biases) => biases.value(files, row, group),
                None => -scale * (1u32 << (self.bits - 1)) as f32,
            };
            for (index, value) in chunk.iter_mut().enumerate() {
                let input = group * self.group_length + index;
                let word = self.weights.word(files, row, input / count);
                *value = scale * (word >> (input % count * self.bits) & mask) as f32 + bias;
            }
        }
    }
}
