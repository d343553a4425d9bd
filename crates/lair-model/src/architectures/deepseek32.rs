//! DeepSeek V3.2 and GLM 5. DeepSeek V3's layers, which in long contexts read only the keys that an indexer chooses; up to
//! so many all are read, and that is what runs: longer contexts are refused.
//!
//! Reference: DeepSeek-AI, "DeepSeek-V3.2", section 2. Layers that predict further tokens are not run. GGUF names:
//! `deepseek32`, `glm-dsa`.

use lair_compute::Gating;

use super::deepseek::with_experts;
use crate::ModelConfig;
use crate::spec::source::{LATENT_APART_NAMES, LATENT_APART_PARAMETERS};
use crate::spec::{Architecture, ExpertsFfn, LatentAttention, Layer, Mixer, Source};

/// DeepSeek V3.2.
pub const DEEPSEEK32: Architecture = Architecture {
    gguf_name: "deepseek32",
    hf_names: &["DeepseekV32ForCausalLM"],
    layer,
    ignored_tensors: INDEXER,
    source: Some(Source { names: LATENT_APART_NAMES, parameters: LATENT_APART_PARAMETERS, ..Source::USUAL }),
    ..Architecture::DECODER
};

/// GLM 5.
pub const GLM_DSA: Architecture =
    Architecture { gguf_name: "glm-dsa", hf_names: &["GlmMoeDsaForCausalLM"], ..DEEPSEEK32 };

/// What chooses keys.
pub(super) const INDEXER: &[&str] = &[
    ".indexer.attn_k.weight",
    ".indexer.attn_q_b.weight",
    ".indexer.k_norm.bias",
    ".indexer.k_norm.weight",
    ".indexer.proj.weight",
    ".indexer.k_proj.weight",
    ".indexer.q_norm.weight",
    ".indexer.q_proj.weight",
];

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let chosen_keys_max = config.indexer.map(|indexer| indexer.chosen_count);
    let attention = LatentAttention { chosen_keys_max, ..LatentAttention::of(config) };
    let layer = Layer { mixer: Mixer::LatentAttention(attention), ..Layer::PRE_NORM };
    with_experts(layer, ExpertsFfn::from_file(config, Gating::Sigmoid), config, layer_index)
}
