//! Granite 3 and the dense models of Granite 4, with or without experts. A Llama with a factor on everything that is
//! added, and on scores, embeddings and logits. Granite Switch has adapters of its own.
//!
//! Reference: Granite Team, "Granite 3.0 Language Models", section 3. GGUF names: `granite`, `granitemoe`, `graniteswitch`.

use super::llama;
use crate::spec::source::{
    GRANITE_DENSE_NAMES, GRANITE_SWITCH_NAMES, GRANITE_SWITCH_PARAMETERS, GRANITEMOE_NAMES, Parameter,
};
use crate::spec::{Architecture, Embedding, ExpertsFfn, Ffn, Head, Layer, Mixer, SharedExperts, Source};
use crate::{ModelConfig, ModelError};

/// Granite.
pub const GRANITE: Architecture = Architecture {
    gguf_name: "granite",
    hf_names: &["GraniteForCausalLM"],
    embedding: |config| Embedding { scale: config.embedding_scale.unwrap_or(1.0), ..Embedding::TOKENS },
    layer,
    head: |config| Head { scale: config.logit_scale.map_or(1.0, f32::recip), ..Head::LOGITS },
    source: Some(Source {
        parameters: &[
            Parameter::VocabularySize,
            Parameter::RopeDimensions,
            Parameter::Number("attention.scale", &["attention_multiplier"]),
            Parameter::Number("embedding_scale", &["embedding_multiplier"]),
            Parameter::Number("residual_scale", &["residual_multiplier"]),
            Parameter::Number("logit_scale", &["logits_scaling"]),
        ],
        dense_names: GRANITE_DENSE_NAMES,
        ..Source::LLAMA
    }),
    ..Architecture::DECODER
};

/// Granite with experts.
pub const GRANITEMOE: Architecture = Architecture {
    gguf_name: "granitemoe",
    hf_names: &["GraniteMoeForCausalLM"],
    source: Some(Source {
        names: GRANITEMOE_NAMES,
        parameters: &[
            Parameter::VocabularySize,
            Parameter::RopeDimensions,
            Parameter::Number("attention.scale", &["attention_multiplier"]),
            Parameter::Number("embedding_scale", &["embedding_multiplier"]),
            Parameter::Number("residual_scale", &["residual_multiplier"]),
            Parameter::Number("logit_scale", &["logits_scaling"]),
            Parameter::Count("expert_shared_feed_forward_length", &["shared_intermediate_size"]),
        ],
        ..Source::LLAMA
    }),
    ..GRANITE
};

/// Granite with adapters that tokens of the prompt switch on.
pub const GRANITE_SWITCH: Architecture = Architecture {
    gguf_name: "graniteswitch",
    hf_names: &["GraniteSwitchForCausalLM"],
    has_own_adapters: true,
    check: |config| {
        let missing =
            || ModelError::MissingKey { key: config.key("adapters.count"), expected: "how many adapters it has" };
        config.switch.as_ref().map(|_| ()).ok_or_else(missing)
    },
    source: Some(Source {
        names: GRANITE_SWITCH_NAMES,
        parameters: GRANITE_SWITCH_PARAMETERS,
        // Tables that are made of the configuration.
        left_out: &["switch.", "adapter_token_ids", "control_to_substitute_lut"],
        ..Source::USUAL
    }),
    ..GRANITE
};

pub(super) fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let mut layer = llama::layer(config, layer_index);
    if let Mixer::Attention(attention) = &mut layer.mixer
        && config.rope_finetuned == Some(false)
    {
        attention.rope = None;
    }
    if let (Ffn::Experts(ffn), Some(experts)) = (layer.ffn, &config.experts) {
        let shared = experts.shared_expert_ffn_size.map(SharedExperts::swiglu);
        layer.ffn = Ffn::Experts(ExpertsFfn { shared, ..ffn });
    }
    Layer { residual_scale: config.residual_scale.unwrap_or(1.0), ..layer }
}
