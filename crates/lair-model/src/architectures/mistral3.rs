//! Ministral 3, Mistral Small 3 and later. A Llama with YaRN whose queries grow with their position.
//!
//! Reference: the published model code of Mistral AI (`llama_4_scaling`). GGUF name: `mistral3`.

use super::llama;
use crate::ModelConfig;
use crate::spec::source::{Parameter, VISION};
use crate::spec::{Architecture, Layer, Mixer, Source, Temperature};

/// Mistral 3.
pub const MISTRAL3: Architecture = Architecture {
    gguf_name: "mistral3",
    hf_names: &["Mistral3ForConditionalGeneration", "Ministral3ForCausalLM"],
    layer,
    source: Some(Source {
        roots: &["model.language_model.", "language_model.model.", "model.", "language_model."],
        left_out: VISION,
        parameters: &[
            Parameter::VocabularySize,
            Parameter::RopeDimensions,
            Parameter::Number("rope.scaling.yarn_log_multiplier", &["mscale_all_dim"]),
            Parameter::Number("attention.temperature_scale", &["llama_4_scaling_beta"]),
        ],
        ..Source::LLAMA
    }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let mut layer = llama::layer(config, layer_index);
    if let Mixer::Attention(attention) = &mut layer.mixer {
        let length = config.rope_scaling.original_context_length;
        attention.temperature = config.temperature_scale.map(|scale| Temperature { length, scale, offset: 0 });
    }
    layer
}
