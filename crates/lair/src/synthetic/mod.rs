//! Models of a known shape with random weights, to measure speed without a download.
//!
//! The file is an ordinary one and is loaded as any other: what tensors it has comes from the architecture's declaration,
//! which types they have from the rules of the mix. Weights of a type are one tile of random blocks (a few megabytes),
//! laid end to end from a different block on for each tensor; the tile's length is a prime, so that no two rows that are
//! near each other are equal. Text that comes out of such a model means nothing.

pub mod mixes;
pub mod shapes;
mod tile;
mod vocabulary;

use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::path::Path;

use lair_gguf::{GgufError, GgufWriter, TensorInfo, TensorType};
use lair_model::{ModelConfig, ModelError, Presence, TensorNeed, architectures, tensor_needs};

use crate::failure::{ExitCode, Failure};
use mixes::{Facts, Mix};
use shapes::Shape;
pub use tile::Random;

/// A synthetic model that can be written.
pub struct Synthetic {
    writer: GgufWriter,
    /// What to call it.
    pub name: String,
}

/// A synthetic model's file, removed when this is dropped.
pub struct TemporaryModel {
    file: tempfile::NamedTempFile,
}

impl TemporaryModel {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.file.path()
    }
}

/// Few system calls for files of gigabytes.
const BUFFER_BYTES: usize = 1 << 20;
/// Deviation of biases.
const BIAS_DEVIATION: f32 = 0.02;

impl Synthetic {
    /// Declares the tensors of a model of this shape in this mix; nothing is made yet.
    ///
    /// # Errors
    /// If the architecture's declaration does not fit the shape, which is a fault of the shape.
    pub fn new(shape: &Shape, mix: &Mix) -> Result<Synthetic, Failure> {
        let metadata = shape.metadata(mix.name, mix.file_type);
        let model_failure = |error: ModelError| Failure::new(ExitCode::Engine, error);
        let architecture = architectures::find(shape.architecture).map_err(model_failure)?;
        let config = ModelConfig::from_metadata(&metadata).map_err(model_failure)?;
        let facts = Facts {
            layer_count: config.layer_count,
            heads_a_kv_head: shape.head_count.checked_div(shape.kv_head_count).unwrap_or(1) as usize,
            expert_count: shape.experts.map_or(0, |experts| experts.count as usize),
            is_tied: shape.is_tied,
        };
        let mut writer = GgufWriter::new(metadata)?;
        let needs = tensor_needs(architecture, &config).map_err(model_failure)?;
        for need in needs.iter().filter(|need| is_there(need, shape)) {
            let dimensions: Vec<u64> = need.shape.iter().map(|length| *length as u64).collect();
            let tensor_type = mix.type_of(&need.name, need.shape[0], need.shape.len(), &facts);
            writer.add_tensor(&need.name, &dimensions, tensor_type)?;
        }
        Ok(Synthetic { writer, name: format!("{} {} (random weights)", shape.name, mix.name) })
    }

    /// What it costs to run, before it is written.
    #[cfg(test)]
    fn cost(&self) -> Result<lair_model::ModelCost, Failure> {
        lair_model::ModelCost::of(self.writer.metadata(), self.writer.tensors())
            .map_err(|error| Failure::new(ExitCode::Engine, error))
    }

    /// Bytes of its file.
    pub fn size_bytes(&self) -> u64 {
        self.writer.size_bytes()
    }

    /// Writes it to a file that stays.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn keep(&self, path: &Path) -> Result<(), Failure> {
        let mut weights = Weights::default();
        let written = self.writer.write_file(path, |tensor, out| weights.write(tensor, out));
        written.map_err(|error| self.unwritable(&error))
    }

    /// Writes it to a file in the folder for temporary files.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_temporary(&self) -> Result<TemporaryModel, Failure> {
        let file = tempfile::Builder::new().prefix("lair-synthetic-").suffix(".gguf").tempfile()?;
        let mut weights = Weights::default();
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, file.as_file());
        let written = self.writer.write(&mut out, |tensor, out| weights.write(tensor, out));
        written.map_err(|error| self.unwritable(&error))?;
        drop(out);
        Ok(TemporaryModel { file })
    }

    fn unwritable(&self, error: &GgufError) -> Failure {
        let source = std::error::Error::source(error).map_or_else(String::new, |source| format!(": {source}"));
        let size = crate::commands::show::bytes_text(self.size_bytes());
        Failure::new(ExitCode::Other, format!("{error}{source}")).with_hint(format!(
            "the model needs {size}; TMPDIR names the folder for temporary files, --keep another place"
        ))
    }
}

/// Whether a file of this shape has the tensor: biases and a head of its own only where the shape says so, and never
/// tensors in which others are put together.
fn is_there(need: &TensorNeed, shape: &Shape) -> bool {
    match need.presence {
        Presence::Required | Presence::Unless(_) | Presence::With(_) | Presence::WithUnless(..) => true,
        Presence::Unused => false,
        Presence::Optional => {
            let is_bias = ["attn_q.bias", "attn_k.bias", "attn_v.bias"].iter().any(|end| need.name.ends_with(end));
            // Files of Mamba-2 always have those of the convolution.
            let is_convolution = need.name.ends_with("ssm_conv1d.bias") && shape.state_space.is_some();
            is_convolution || (is_bias && shape.has_biases) || (need.name == "output.weight" && !shape.is_tied)
        }
    }
}

/// Tiles of random blocks, made when they are first needed.
#[derive(Default)]
struct Weights {
    tiles: HashMap<TensorType, Vec<u8>>,
    tensors_written: usize,
}

impl Weights {
    fn write(&mut self, tensor: &TensorInfo, out: &mut dyn Write) -> std::io::Result<()> {
        let count = tensor.element_count() as usize;
        self.tensors_written += 1;
        if tensor.name.ends_with("norm.weight") {
            return (0..count).try_for_each(|_| out.write_all(&1.0f32.to_le_bytes()));
        }
        // Logarithms of what is kept of a state: one that grew would end in infinities.
        if tensor.name.ends_with("ssm_a") {
            return (0..count).try_for_each(|_| out.write_all(&(-1.0f32).to_le_bytes()));
        }
        if tensor.name.ends_with(".bias") {
            let mut random = tile::Random(self.tensors_written as u64);
            return (0..count).try_for_each(|_| out.write_all(&(BIAS_DEVIATION * random.normal()).to_le_bytes()));
        }
        let tensor_type = tensor.tensor_type;
        let seed = u64::from(tensor_type.id());
        let tile =
            self.tiles.entry(tensor_type).or_insert_with(|| tile::tile(tensor_type, tile_length(tensor_type), seed));
        let block_bytes = tensor_type.block_bytes();
        // An odd stride, so that tensors of one type begin at different blocks.
        let mut start = self.tensors_written * 7919 % tile_length(tensor_type) * block_bytes;
        let mut left = tensor.size_bytes as usize;
        while left > 0 {
            let length = left.min(tile.len() - start);
            out.write_all(&tile[start..start + length])?;
            left -= length;
            start = 0;
        }
        Ok(())
    }
}

/// Blocks of a tile: a prime near as many as make some megabytes.
fn tile_length(tensor_type: TensorType) -> usize {
    match tensor_type.block_length() {
        1 => (1 << 21) - 9,
        2..=128 => (1 << 17) - 1,
        _ => (1 << 14) - 3,
    }
}

#[cfg(test)]
mod tests {
    use lair_gguf::GgufFile;

    use super::*;

    fn synthetic(shape: &str, mix: &str) -> Synthetic {
        let (shape, mix) = (Shape::find(shape).expect("a shape"), Mix::find(mix).expect("a mix"));
        Synthetic::new(shape, mix).expect("shapes fit their declarations")
    }

    #[test]
    fn shapes_have_as_many_parameters_as_their_models() {
        // As published: the number in the model's name is rounded.
        for (shape, parameters) in [
            ("tinyllama-1.1b", 1_100_048_384),
            ("smollm2-135m", 134_515_008),
            ("llama-3.2-1b", 1_235_814_400),
            ("llama-3.1-8b", 8_030_261_248),
            ("qwen2.5-0.5b", 494_032_768),
            ("qwen2.5-1.5b", 1_543_714_304),
            ("qwen2.5-7b", 7_615_616_512),
            ("qwen3-0.6b", 596_049_920),
            ("qwen3-30b-a3b", 30_532_122_624),
            // Of the text part.
            ("qwen3.5-0.8b", 752_393_024),
            ("mamba2-1.3b", 1_343_757_312),
        ] {
            assert_eq!(synthetic(shape, "F16").cost().expect("a cost").parameters, parameters, "{shape}");
        }
    }

    #[test]
    fn mixes_have_the_bytes_of_quantized_files() {
        // What `llama-quantize` made of the same shape (peers of the project's benchmarks), tensors only.
        for (mix, size_bytes) in [
            ("F16", 2_200_281_088),
            ("Q8_0", 1_169_072_128),
            ("Q6_K", 902_676_480),
            ("Q5_K_M", 781_307_904),
            ("Q4_K_M", 667_078_656),
            ("Q4_0", 635_990_016),
            ("Q2_K", 431_394_816),
        ] {
            let model = synthetic("tinyllama-1.1b", mix);
            let found: u64 = model.writer.tensors().iter().map(|tensor| tensor.size_bytes).sum();
            assert_eq!(found, size_bytes, "{mix}");
        }
    }

    #[test]
    fn tiny_llama_costs_what_was_worked_out_by_hand() {
        let near = |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 0.005, "{found}, {expected}");
        for (mix, bytes) in
            [("Q4_K_M", 0.630e9), ("Q4_0", 0.599e9), ("Q6_K", 0.850e9), ("Q8_0", 1.099e9), ("F16", 2.069e9)]
        {
            let cost = synthetic("tinyllama-1.1b", mix).cost().expect("a cost");
            near(cost.weight_bytes(1, 1), bytes);
            near(cost.layer_macs(), 0.969e9);
            assert_eq!(cost.kept_elements() * 2, 22_528);
        }
        // Eight of 128 experts: three billion parameters are used.
        let cost = synthetic("qwen3-30b-a3b", "Q4_K_M").cost().expect("a cost");
        near(cost.layer_macs() + 2048.0 * 151_936.0, 3.04e9);
    }

    #[test]
    fn a_written_model_opens_and_has_the_declared_types() {
        for (shape, mix) in [("tiny", "Q4_K_M"), ("tiny", "IQ1_M"), ("tiny", "F16"), ("tiny", "MXFP4")] {
            let model = synthetic(shape, mix);
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("model.gguf");
            model.keep(&path).expect("written");
            let temporary = model.write_temporary().expect("written");
            assert_eq!(std::fs::read(&path).expect("there"), std::fs::read(temporary.path()).expect("there"));
            let file = GgufFile::open(&path).expect("a model");
            assert_eq!((file.size_bytes(), file.tensors().len()), (model.size_bytes(), model.writer.tensors().len()));
            let norm = file.required_tensor("blk.0.attn_norm.weight").expect("a norm");
            assert!(file.tensor_data(norm).chunks_exact(4).all(|bytes| bytes == 1.0f32.to_le_bytes()));
        }
    }
}
