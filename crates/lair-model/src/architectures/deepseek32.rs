//! DeepSeek V3.2 and GLM 5. DeepSeek V3's layers, which in long contexts read only the keys that an indexer chooses.
//!
//! Reference: DeepSeek-AI, "DeepSeek-V3.2", section 2. Layers that predict further tokens are not run. GGUF names:
//! `deepseek32`, `glm-dsa`.

use lair_compute::Gating;

use super::deepseek::with_experts;
use crate::ModelConfig;
use crate::spec::source::{LATENT_APART_NAMES, LATENT_APART_PARAMETERS};
use crate::spec::{Architecture, ExpertsFfn, Indexer, KeyChoice, LatentAttention, Layer, Mixer, Rope, Source};

/// DeepSeek V3.2.
pub const DEEPSEEK32: Architecture = Architecture {
    gguf_name: "deepseek32",
    hf_names: &["DeepseekV32ForCausalLM"],
    layer,
    source: Some(Source { names: LATENT_APART_NAMES, parameters: LATENT_APART_PARAMETERS, ..Source::USUAL }),
    ..Architecture::DECODER
};

/// GLM 5.
pub const GLM_DSA: Architecture = Architecture {
    gguf_name: "glm-dsa",
    hf_names: &["GlmMoeDsaForCausalLM"],
    layer: |config, layer_index| {
        // GLM 5.2, which is known by its context, has an indexer in the first three layers and in every fourth behind them.
        let has_own = |index: usize| config.context_length < 1 << 20 || index < 3 || (index - 2).is_multiple_of(4);
        let choice = KeyChoice::by_layer(Indexer::of(config), config, layer_index, has_own);
        with_choice(config, layer_index, choice)
    },
    ..DEEPSEEK32
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    // Halves are pairs in the indexer, neighbours in the attention.
    let indexer = Indexer::of(config).map(|indexer| Indexer { rope: Some(Rope::half_split(config)), ..indexer });
    with_choice(config, layer_index, indexer.map_or(KeyChoice::All, KeyChoice::Indexed))
}

fn with_choice(config: &ModelConfig, layer_index: usize, choice: KeyChoice) -> Layer {
    let attention = LatentAttention { choice, ..LatentAttention::of(config) };
    let layer = Layer { mixer: Mixer::LatentAttention(attention), ..Layer::PRE_NORM };
    with_experts(layer, ExpertsFfn::from_file(config, Gating::Sigmoid), config, layer_index)
}
