//! What is estimated: a model as far as memory and speed depend on it, told from its header or from its numbers.

use lair_gguf::{Metadata, TensorInfo};
use lair_model::{ModelConfig, ModelCost, ModelError};

use crate::quants::Quant;

/// How sure an estimate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The list of tensors and the keys of the file: bytes are exact.
    Header,
    /// The header of the same model in another quantization, and the length of the file.
    Length,
    /// Numbers of the architecture: bytes follow from bits a weight.
    Numbers,
}

impl Basis {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Basis::Header => "header",
            Basis::Length => "length of the file",
            Basis::Numbers => "architecture numbers",
        }
    }
}

/// A model to be estimated.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// `general.architecture`, or what the numbers describe.
    pub architecture: String,
    /// The quantization, where it has a name.
    pub quant: Option<&'static Quant>,
    /// What tokens cost.
    pub cost: ModelCost,
    /// Layers.
    pub layer_count: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Tokens of the vocabulary.
    pub vocabulary_size: usize,
    /// Width of the widest feed-forward network.
    pub ffn_size: usize,
    /// Positions it was trained for.
    pub context_length: usize,
    /// Bytes of all tensors as they lie in the file.
    pub weights_bytes: u64,
    /// Bytes of the file besides tensors.
    pub metadata_bytes: u64,
    /// Where all this is from.
    pub basis: Basis,
}

impl Subject {
    /// A model by its metadata and tensors. `metadata_bytes` is what the file has besides tensors.
    ///
    /// # Errors
    /// If the architecture is unknown or a hyper-parameter that gives a shape is missing or wrong.
    pub fn of_header(metadata: &Metadata, tensors: &[TensorInfo], metadata_bytes: u64) -> Result<Subject, ModelError> {
        let config = ModelConfig::from_metadata(metadata)?;
        let cost = ModelCost::of(metadata, tensors)?;
        let file_type = metadata.get("general.file_type").and_then(lair_gguf::Value::as_integer);
        let name = file_type.and_then(lair_gguf::file_type_name);
        Ok(Subject {
            architecture: config.architecture.clone(),
            quant: name.and_then(Quant::find),
            cost,
            layer_count: config.layer_count,
            hidden_size: config.hidden_size,
            vocabulary_size: config.vocabulary_size,
            ffn_size: config.ffn_sizes.iter().copied().max().unwrap_or(0),
            context_length: config.context_length.max(1),
            weights_bytes: tensors.iter().fold(0, |sum: u64, tensor| sum.saturating_add(tensor.size_bytes)),
            metadata_bytes,
            basis: Basis::Header,
        })
    }

    /// Bytes of a weight over all of them, in bits.
    pub fn bits_a_weight(&self) -> f64 {
        8.0 * self.weights_bytes as f64 / self.cost.parameters.max(1) as f64
    }

    /// Weights that a token is multiplied with: fewer than all in mixtures of experts.
    pub fn active_parameters(&self) -> f64 {
        self.cost.matrices.iter().map(lair_model::cost::MatrixCost::macs).sum()
    }

    /// The same model in another quantization, of which only the length of its file is known: matrices in codes take so much more or
    /// less, in the type of the name if it says one.
    pub fn in_file_of(&self, file_bytes: u64, quant: Option<&'static Quant>) -> Subject {
        let weights_bytes = file_bytes.saturating_sub(self.metadata_bytes);
        let scale = weights_bytes as f64 / self.weights_bytes.max(1) as f64;
        let mut subject = Subject { weights_bytes, quant, basis: Basis::Length, ..self.clone() };
        for matrix in &mut subject.cost.matrices {
            matrix.size_bytes = (matrix.size_bytes as f64 * scale) as u64;
            if let Some(quant) = quant {
                matrix.tensor_type = quant.tensor_type;
            }
        }
        subject
    }
}
