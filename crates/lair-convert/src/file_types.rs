//! Which type each tensor of a written file has, and what the whole file is called for it.

use lair_gguf::TensorType;

use crate::recipe::Recipe;

/// What the weights of a file are stored as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputType {
    /// All in single precision.
    F32,
    /// Matrices in half precision.
    F16,
    /// Matrices in Google's half precision.
    Bf16,
    /// Matrices in blocks of 8 bits.
    Q8_0,
    /// As the checkpoint has them: what can be stored as it is.
    #[default]
    Auto,
}

impl OutputType {
    /// Every type with its name.
    pub const ALL: [(OutputType, &'static str); 5] = [
        (OutputType::F32, "f32"),
        (OutputType::F16, "f16"),
        (OutputType::Bf16, "bf16"),
        (OutputType::Q8_0, "q8_0"),
        (OutputType::Auto, "auto"),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        OutputType::ALL.iter().find(|(known, _)| *known == self).expect("every type stands in the list").1
    }

    /// The type that was asked for; `None` keeps what is there.
    pub fn tensor_type(self) -> Option<TensorType> {
        match self {
            OutputType::F32 => Some(TensorType::F32),
            OutputType::F16 => Some(TensorType::F16),
            OutputType::Bf16 => Some(TensorType::BF16),
            OutputType::Q8_0 => Some(TensorType::Q8_0),
            OutputType::Auto => None,
        }
    }

    /// The type of a tensor. Vectors, norms, and what is small and decides much stay in single precision.
    pub(crate) fn of(self, recipe: &Recipe) -> TensorType {
        if recipe.weight_type == TensorType::I32 {
            return TensorType::I32;
        }
        if keeps_precision(recipe) {
            return TensorType::F32;
        }
        match self {
            OutputType::F32 => TensorType::F32,
            OutputType::F16 => TensorType::F16,
            OutputType::Bf16 => TensorType::BF16,
            // Rows that are no whole number of blocks stay numbers.
            OutputType::Q8_0 => match TensorType::Q8_0.size_bytes(recipe.shape[0]) {
                Some(_) => TensorType::Q8_0,
                None => TensorType::F16,
            },
            OutputType::Auto => recipe.weight_type,
        }
    }
}

/// Tensors that are computed with in single precision, by their last stems.
const PRECISE: [&str; 12] = [
    "ffn_gate_inp",
    "ffn_gate_inp_shexp",
    "position_embd",
    "token_types",
    "ssm_conv1d",
    "shortconv.conv",
    // Factors of residual streams, and what is added to gates by their place in a run.
    "hc_attn_fn",
    "hc_ffn_fn",
    "output_hc_fn",
    "attn_compressor_ape",
    "indexer_compressor_ape",
    "indexer_compressor_gate",
];

fn keeps_precision(recipe: &Recipe) -> bool {
    let Some(stem) = recipe.name.strip_suffix(".weight") else { return true };
    let is_vector = recipe.shape.len() <= 1;
    is_vector
        || stem.ends_with("_norm")
        || PRECISE
            .iter()
            .any(|end| stem.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('.')))
}

/// The number of `general.file_type`: of the type that most elements of matrices have.
pub(crate) fn file_type_of<'r>(tensors: impl Iterator<Item = (&'r Recipe, TensorType)>) -> u32 {
    let mut counts: Vec<(TensorType, u64)> = Vec::new();
    for (recipe, tensor_type) in tensors.filter(|(recipe, _)| !keeps_precision(recipe)) {
        let count: u64 = recipe.shape.iter().product();
        match counts.iter_mut().find(|(known, _)| *known == tensor_type) {
            Some((_, sum)) => *sum += count,
            None => counts.push((tensor_type, count)),
        }
    }
    match counts.iter().max_by_key(|(_, count)| *count).map(|(tensor_type, _)| *tensor_type) {
        Some(TensorType::F16) => 1,
        Some(TensorType::Q8_0) => 7,
        Some(TensorType::BF16) => 32,
        _ => 0,
    }
}
