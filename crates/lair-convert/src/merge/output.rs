//! The result of a merge on disk: a model file, or the folder of a checkpoint.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use lair_gguf::{Array, GgufWriter, Metadata, TensorType, Value};
use serde_json::{Value as Json, json};

use super::error::MergeError;
use super::input::LAYER_COUNT_KEYS;
use super::methods::{Part, merge, seed_of};
use super::plan::PlannedTensor;
use super::{Merge, MergeProgress};
use crate::element::ElementType;
use crate::error::ConvertError;
use crate::recipe::encode;
use crate::safetensors_file::{SafetensorsWriter, write_model};

/// Files of a checkpoint beside its weights that are the tokenizer's, or say how it is spoken to.
const COMPANIONS: [&str; 11] = [
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
];

impl Merge {
    /// The numbers of a tensor of the result.
    fn values(&self, tensor: &PlannedTensor) -> Result<Vec<f32>, MergeError> {
        let parts = tensor.parts.iter().map(|part| -> Result<Part, MergeError> {
            Ok(Part {
                values: self.inputs[part.model].read(&part.name)?,
                is_base: part.is_base,
                weight: part.weight as f32,
                density: part.density,
                scale: part.scale.map(|scale| scale as f32),
                seed: seed_of(self.options.seed, &tensor.name, part.model),
            })
        });
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        Ok(merge(self.plan.method, parts, tensor.shared))
    }
}

/// Writes a model file.
pub(super) fn write_gguf(job: &Merge, out: &Path, mut tell: impl FnMut(MergeProgress<'_>)) -> Result<(), MergeError> {
    let plan = &job.plan;
    let of_gguf = |model: usize| job.inputs[model].gguf().expect("all inputs of a model file are such");
    let mut metadata = of_gguf(plan.first).metadata().clone();
    for key in ["split.no", "split.count", "split.tensors.count"] {
        metadata.remove(key);
    }
    set_tokenizer(&mut metadata, of_gguf(plan.tokenizer).metadata());
    let old_count = job.inputs[plan.first].layer_count;
    set_layers(&mut metadata, &job.inputs[plan.first].architecture, old_count, &plan.layers);
    if let Some(name) = out.file_stem() {
        metadata.set("general.name", &*name.to_string_lossy());
    }
    let types: Vec<TensorType> = plan.tensors.iter().map(|tensor| type_of(tensor, plan.element)).collect();
    metadata.set("general.file_type", file_type(&plan.tensors, &types));
    let mut writer = GgufWriter::new(metadata)?;
    for (tensor, tensor_type) in plan.tensors.iter().zip(&types) {
        let shape: Vec<u64> = tensor.shape.iter().rev().map(|length| *length as u64).collect();
        writer.add_tensor(&tensor.name, &shape, *tensor_type)?;
    }
    let mut index = 0;
    writer.write_file(out, |info, out| {
        let tensor = &plan.tensors[index];
        tell(MergeProgress { tensor: &tensor.name, index, count: plan.tensors.len() });
        index += 1;
        write_values(&job.values(tensor).map_err(io::Error::other)?, info.tensor_type, out)
    })?;
    Ok(())
}

/// Vectors are computed with in single precision.
fn type_of(tensor: &PlannedTensor, wanted: Option<ElementType>) -> TensorType {
    if tensor.shape.len() <= 1 || tensor.element == ElementType::F32 && tensor.name.contains("norm") {
        return TensorType::F32;
    }
    wanted.unwrap_or(tensor.element).weight_type()
}

/// The number of `general.file_type`: of the type that most elements of matrices have.
fn file_type(tensors: &[PlannedTensor], types: &[TensorType]) -> u32 {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for (tensor, tensor_type) in tensors.iter().zip(types).filter(|(tensor, _)| tensor.shape.len() > 1) {
        let number = match tensor_type {
            TensorType::F16 => 1,
            TensorType::BF16 => 32,
            _ => 0,
        };
        *counts.entry(number).or_default() += tensor.shape.iter().product::<usize>();
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map_or(0, |(number, _)| number)
}

fn set_tokenizer(metadata: &mut Metadata, other: &Metadata) {
    let is_of_tokenizer = |key: &str| key.starts_with("tokenizer.");
    let old: Vec<String> = metadata.iter().map(|(key, _)| key.to_owned()).filter(|key| is_of_tokenizer(key)).collect();
    old.iter().for_each(|key| drop(metadata.remove(key)));
    for (key, value) in other.iter().filter(|(key, _)| is_of_tokenizer(key)) {
        metadata.set(key, value.clone());
    }
}

/// The number of layers, and lists with something for each layer.
fn set_layers(metadata: &mut Metadata, architecture: &str, old_count: usize, layers: &[usize]) {
    metadata.set(&format!("{architecture}.block_count"), layers.len() as u32);
    let of_layers = |(key, value): (&str, &Value)| match value {
        Value::Array(array) if key.starts_with(architecture) && array.len() == old_count => {
            picked(array, layers).map(|array| (key.to_owned(), array))
        }
        _ => None,
    };
    let changed: Vec<(String, Array)> = metadata.iter().filter_map(of_layers).collect();
    changed.into_iter().for_each(|(key, array)| metadata.set(&key, Value::Array(array)));
}

/// The elements of these layers.
fn picked(array: &Array, layers: &[usize]) -> Option<Array> {
    macro_rules! pick {
        ($($kind:ident),*) => {
            match array {
                $(Array::$kind(values) => Some(Array::$kind(
                    layers.iter().map(|layer| values.get(*layer).copied()).collect::<Option<Vec<_>>>()?.into(),
                )),)*
                _ => None,
            }
        };
    }
    pick!(U8, I8, U16, I16, U32, I32, U64, I64, F32, F64, Bool)
}

/// Writes the folder of a checkpoint.
pub(super) fn write_checkpoint(
    job: &Merge,
    out: &Path,
    mut tell: impl FnMut(MergeProgress<'_>),
) -> Result<(), MergeError> {
    let plan = &job.plan;
    let of = |model: usize| job.inputs[model].checkpoint().expect("all inputs of a checkpoint are such");
    let element = |tensor: &PlannedTensor| plan.element.unwrap_or(tensor.element);
    let mut writer = SafetensorsWriter::default();
    for tensor in &plan.tensors {
        writer.add(&tensor.name, element(tensor), &tensor.shape)?;
    }
    let mut index = 0;
    write_model(out, &writer, job.options.part_bytes_max, |declared, out| {
        let tensor = &plan.tensors[index];
        tell(MergeProgress { tensor: &tensor.name, index, count: plan.tensors.len() });
        index += 1;
        write_values(&job.values(tensor).map_err(io::Error::other)?, declared.element.weight_type(), out)
    })?;
    let (_, config) = of(plan.first);
    let config = configuration(config, job.inputs[plan.first].layer_count, &plan.layers, plan.element);
    let failed =
        |path: &Path, source| MergeError::Convert(ConvertError::Io { action: "write", path: path.to_owned(), source });
    let path = out.join("config.json");
    std::fs::write(&path, format!("{config:#}\n")).map_err(|error| failed(&path, error))?;
    let (checkpoint, _) = of(plan.tokenizer);
    for name in COMPANIONS {
        if let Some(bytes) = checkpoint.bytes(name)? {
            let path = out.join(name);
            std::fs::write(&path, bytes).map_err(|error| failed(&path, error))?;
        }
    }
    Ok(())
}

/// `config.json` of the result: that of a model with another number of layers, without what was quantized.
fn configuration(config: &Json, old_count: usize, layers: &[usize], element: Option<ElementType>) -> Json {
    let mut config = config.clone();
    let set = |keys: &mut serde_json::Map<String, Json>| {
        for key in LAYER_COUNT_KEYS {
            if keys.contains_key(key) {
                keys.insert(key.to_owned(), json!(layers.len()));
            }
        }
        for list in keys.values_mut().filter_map(Json::as_array_mut).filter(|list| list.len() == old_count) {
            // Lists of this length with something else in them are not: classes, tokens at the end.
            if list.iter().all(|entry| entry.is_string() || entry.is_boolean()) && old_count > 1 {
                *list = layers.iter().filter_map(|layer| list.get(*layer).cloned()).collect();
            }
        }
        keys.remove("quantization_config");
        keys.remove("quantization");
        if let Some(element) = element {
            let name = match element {
                ElementType::F16 => "float16",
                ElementType::BF16 => "bfloat16",
                _ => "float32",
            };
            let key = if keys.contains_key("dtype") { "dtype" } else { "torch_dtype" };
            keys.insert(key.to_owned(), json!(name));
        }
    };
    if let Some(keys) = config.as_object_mut() {
        set(keys);
    }
    if let Some(keys) = config.get_mut("text_config").and_then(Json::as_object_mut) {
        set(keys);
    }
    config
}

/// Elements that are encoded before they are written.
const CHUNK: usize = 1 << 18;

fn write_values(values: &[f32], tensor_type: TensorType, out: &mut dyn io::Write) -> io::Result<()> {
    let mut bytes = Vec::new();
    for chunk in values.chunks(CHUNK) {
        bytes.clear();
        encode(chunk, tensor_type, &mut bytes)?;
        out.write_all(&bytes)?;
    }
    Ok(())
}
