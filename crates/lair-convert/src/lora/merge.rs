//! Adapters added to the weights of a model for good: `W + s B A` for each product, written a slab of rows at a time.
//!
//! What it costs: `2 rank` operations an element for each adapter, beside reading and writing it once; at rank 16 a core
//! makes some 100 million elements a second, so all cores are used.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use lair_gguf::{GgufFile, GgufWriter, TensorInfo, TensorType};

use crate::error::{ConvertError, Fault};
use crate::parallel::fill_rows;
use crate::recipe::encode;

/// Elements that are made before they are written.
const SLAB_ELEMENTS: usize = 1 << 22;

/// What merged weights are stored as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MergedType {
    /// As in the model; quantized ones become F16.
    #[default]
    Auto,
    /// As in the model, quantized ones quantized again.
    Same,
    /// This type; where rows are no whole blocks of it, F16.
    Of(TensorType),
}

impl MergedType {
    fn of(self, tensor: &TensorInfo) -> TensorType {
        let is_plain = matches!(tensor.tensor_type, TensorType::F32 | TensorType::F16 | TensorType::BF16);
        match self {
            MergedType::Same => tensor.tensor_type,
            MergedType::Auto if is_plain => tensor.tensor_type,
            MergedType::Auto => TensorType::F16,
            MergedType::Of(wanted) if wanted.size_bytes(tensor.shape[0]).is_some() => wanted,
            MergedType::Of(_) => TensorType::F16,
        }
    }
}

/// One adapter's matrices for a product.
struct Pair {
    /// `[rank, columns]` of each matrix of the product, one behind the other.
    down: Vec<f32>,
    /// `[rows, rank]` of each.
    up: Vec<f32>,
    rank: usize,
    factor: f32,
}

/// A model with adapters added to it, before it is written.
pub struct LoraMerge<'m> {
    base: &'m GgufFile,
    adapters: &'m [(GgufFile, f32)],
    /// For each tensor of the model the adapters that change it, as indices of `adapters`.
    changed: BTreeMap<usize, Vec<usize>>,
    writer: GgufWriter,
}

impl<'m> LoraMerge<'m> {
    /// Plans the model `base` with each of the adapters added, by its factor. No weight is touched.
    ///
    /// # Errors
    /// If a file is no adapter, or changes what the model does not have: the error names the file and the tensor.
    pub fn plan(
        base: &'m GgufFile,
        adapters: &'m [(GgufFile, f32)],
        merged: MergedType,
    ) -> Result<LoraMerge<'m>, ConvertError> {
        let mut changed: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (index, (adapter, _)) in adapters.iter().enumerate() {
            for tensor in products(adapter, base).map_err(|fault| fault.in_file(adapter.path()))? {
                changed.entry(tensor).or_default().push(index);
            }
        }
        let mut metadata = base.metadata().clone();
        for key in ["split.no", "split.count", "split.tensors.count"] {
            metadata.remove(key);
        }
        let types: Vec<TensorType> = base
            .tensors()
            .iter()
            .enumerate()
            .map(|(index, tensor)| if changed.contains_key(&index) { merged.of(tensor) } else { tensor.tensor_type })
            .collect();
        if let Some(file_type) = file_type(base, &types) {
            metadata.set("general.file_type", file_type);
        }
        let mut writer = GgufWriter::new(metadata)?;
        for (tensor, tensor_type) in base.tensors().iter().zip(types) {
            writer.add_tensor(&tensor.name, &tensor.shape, tensor_type)?;
        }
        Ok(LoraMerge { base, adapters, changed, writer })
    }

    /// What the file will hold.
    pub fn writer(&self) -> &GgufWriter {
        &self.writer
    }

    /// How many products are changed.
    pub fn changed_count(&self) -> usize {
        self.changed.len()
    }

    /// Writes the file at `path`, where it appears whole or not at all; `tell` gets each tensor before it is written.
    ///
    /// # Errors
    /// If it cannot be written, or the model changed meanwhile.
    pub fn write(&self, path: &Path, mut tell: impl FnMut(&TensorInfo)) -> Result<(), ConvertError> {
        let mut next = 0;
        self.writer.write_file(path, |tensor, out| {
            tell(tensor);
            let index = next;
            next += 1;
            self.write_tensor(index, tensor, out)?;
            self.base.release_pages();
            self.base.check_unchanged().map_err(io::Error::other)
        })?;
        Ok(())
    }

    fn write_tensor(&self, index: usize, written: &TensorInfo, out: &mut dyn Write) -> io::Result<()> {
        let stored = &self.base.tensors()[index];
        let data = self.base.tensor_data(stored);
        let Some(adapters) = self.changed.get(&index) else { return out.write_all(&data) };
        let pairs: Vec<Pair> = adapters.iter().map(|adapter| self.pair(*adapter, stored)).collect::<io::Result<_>>()?;
        let columns = dimension(stored, 0);
        let rows_of_matrix = dimension(stored, 1);
        let row_count = stored.element_count() as usize / columns.max(1);
        let (from, to) = (stored.tensor_type, written.tensor_type);
        let bytes_of = |tensor_type: TensorType, rows: usize| {
            tensor_type.size_bytes((rows * columns) as u64).expect("rows are whole blocks of both types") as usize
        };
        let row_bytes = bytes_of(to, 1);
        let slab_rows = (SLAB_ELEMENTS / columns.max(1)).max(1);
        let mut slab = Vec::new();
        for first in (0..row_count).step_by(slab_rows) {
            let count = slab_rows.min(row_count - first);
            slab.clear();
            slab.resize(count * row_bytes, 0);
            fill_rows(&mut slab, row_bytes, columns, |offset, piece| {
                let rows = piece.len() / row_bytes;
                let start = first + offset;
                let mut values = vec![0.0; rows * columns];
                let bytes = &data[bytes_of(from, start)..bytes_of(from, start + rows)];
                lair_quant::dequantize(from, bytes, &mut values).map_err(io::Error::other)?;
                for (row, values) in values.chunks_exact_mut(columns).enumerate() {
                    let (matrix, row) = ((start + row) / rows_of_matrix, (start + row) % rows_of_matrix);
                    pairs.iter().for_each(|pair| pair.add(matrix, row, rows_of_matrix, values));
                }
                let mut encoded = Vec::with_capacity(piece.len());
                encode(&values, to, &mut encoded)?;
                piece.copy_from_slice(&encoded);
                Ok::<(), io::Error>(())
            })?;
            out.write_all(&slab)?;
        }
        Ok(())
    }

    /// The numbers of an adapter's matrices for a tensor of the model.
    fn pair(&self, adapter: usize, tensor: &TensorInfo) -> io::Result<Pair> {
        let (file, scale) = &self.adapters[adapter];
        let numbers = |end: &str| -> io::Result<(Vec<f32>, usize)> {
            let info = file.required_tensor(&format!("{}.{end}", tensor.name)).map_err(io::Error::other)?;
            let mut values = vec![0.0; info.element_count() as usize];
            lair_quant::dequantize(info.tensor_type, &file.tensor_data(info), &mut values).map_err(io::Error::other)?;
            Ok((values, dimension(info, 1)))
        };
        let (down, rank) = numbers("lora_a")?;
        let (up, _) = numbers("lora_b")?;
        let alpha = file.metadata().optional_f32("adapter.lora.alpha").map_err(io::Error::other)?.unwrap_or(0.0);
        let own = if alpha == 0.0 { 1.0 } else { alpha / rank as f32 };
        Ok(Pair { down, up, rank, factor: own * scale })
    }
}

impl Pair {
    /// Adds what the adapter adds to a row of one of the matrices of a tensor.
    fn add(&self, matrix: usize, row: usize, rows: usize, values: &mut [f32]) {
        let up = &self.up[(matrix * rows + row) * self.rank..][..self.rank];
        let down = &self.down[matrix * self.rank * values.len()..][..self.rank * values.len()];
        for (factor, line) in up.iter().zip(down.chunks_exact(values.len())) {
            let factor = factor * self.factor;
            values.iter_mut().zip(line).for_each(|(value, number)| *value += factor * number);
        }
    }
}

/// Indices of the tensors of `base` that an adapter changes, all of whose shapes fit.
fn products(adapter: &GgufFile, base: &GgufFile) -> Result<Vec<usize>, Fault> {
    let metadata = adapter.metadata();
    for (key, expected) in [("general.type", "adapter"), ("adapter.type", "lora")] {
        let found = metadata.optional_str(key).ok().flatten().unwrap_or("nothing");
        if found != expected {
            return Err(Fault::malformed(format!("`{key}`"), found, expected));
        }
    }
    let name = |file: &GgufFile| file.architecture().map(str::to_owned).unwrap_or_default();
    if name(adapter) != name(base) {
        return Err(Fault::malformed(
            "`general.architecture`",
            name(adapter),
            format!("`{}`, as the model's", name(base)),
        ));
    }
    if metadata.contains("adapter.alora.invocation_tokens") {
        return Err(Fault::unsupported("an adapter that tokens of the prompt switch on"));
    }
    if let Ok(Some(alpha)) = metadata.optional_f32("adapter.lora.alpha")
        && !alpha.is_finite()
    {
        return Err(Fault::malformed("`adapter.lora.alpha`", alpha, "a finite number"));
    }
    let mut found = Vec::new();
    for tensor in adapter.tensors() {
        let Some(stem) = tensor.name.strip_suffix(".lora_a") else {
            let other = tensor.name.strip_suffix(".lora_b").map(|stem| format!("{stem}.lora_a"));
            if other.is_none_or(|other| adapter.tensor(&other).is_none()) {
                return Err(Fault::malformed("a tensor", format!("`{}`", tensor.name), "pairs of .lora_a and .lora_b"));
            }
            continue;
        };
        let index = base.tensors().iter().position(|other| other.name == stem).ok_or_else(|| {
            Fault::malformed("a tensor", format!("`{}`", tensor.name), "one of a product that the model has")
        })?;
        let up = adapter.tensor(&format!("{stem}.lora_b"));
        let up = up.ok_or_else(|| Fault::malformed("a tensor", format!("`{}` alone", tensor.name), "its .lora_b"))?;
        check_shapes(tensor, up, &base.tensors()[index])?;
        found.push(index);
    }
    match found.is_empty() {
        true => Err(Fault::malformed("the adapter", "no tensors", "at least a pair")),
        false => Ok(found),
    }
}

fn check_shapes(down: &TensorInfo, up: &TensorInfo, product: &TensorInfo) -> Result<(), Fault> {
    let stacked = |tensor: &TensorInfo| tensor.shape.iter().skip(2).product::<u64>();
    let rank = dimension(down, 1);
    for (tensor, expected) in [(down, [dimension(product, 0), rank]), (up, [rank, dimension(product, 1)])] {
        let is_plain = matches!(tensor.tensor_type, TensorType::F32 | TensorType::F16 | TensorType::BF16)
            || tensor.tensor_type.block_length() > 1;
        let fits = [dimension(tensor, 0), dimension(tensor, 1)] == expected && stacked(tensor) == stacked(product);
        if !fits || rank == 0 || !is_plain {
            let found = format!("{} of {:?}", tensor.tensor_type, tensor.shape);
            return Err(Fault::malformed(format!("`{}`", tensor.name), found, format!("numbers of {expected:?}")));
        }
    }
    Ok(())
}

/// The number of `general.file_type`: of the type that most elements of matrices have, where the merge changed types.
fn file_type(base: &GgufFile, types: &[TensorType]) -> Option<u32> {
    if base.tensors().iter().zip(types).all(|(tensor, to)| tensor.tensor_type == *to) {
        return None;
    }
    let mut counts: Vec<(TensorType, u64)> = Vec::new();
    for (tensor, to) in base.tensors().iter().zip(types).filter(|(tensor, _)| tensor.shape.len() > 1) {
        match counts.iter_mut().find(|(known, _)| known == to) {
            Some((_, sum)) => *sum += tensor.element_count(),
            None => counts.push((*to, tensor.element_count())),
        }
    }
    match counts.iter().max_by_key(|(_, count)| *count)?.0 {
        TensorType::F32 => Some(0),
        TensorType::F16 => Some(1),
        TensorType::Q8_0 => Some(7),
        TensorType::BF16 => Some(32),
        _ => None,
    }
}

fn dimension(tensor: &TensorInfo, index: usize) -> usize {
    tensor.shape.get(index).map_or(1, |length| *length as usize)
}
