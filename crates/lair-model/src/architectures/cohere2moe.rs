//! Command A with experts. Cohere's parallel layers with windows in three of four; experts and a shared network, whose
//! sum is halved; the leading dense layers are turned although they see everything.
//!
//! Reference: the published model code of Cohere. The layer that predicts further tokens is not run. GGUF name:
//! `cohere2moe`.

use lair_compute::{Gating, Mask};

use crate::ModelConfig;
use crate::spec::source::Parameter;
use crate::spec::{
    Architecture, Attention, ExpertsFfn, Ffn, Head, Layer, Mixer, Norm, Residual, Rope, SharedExperts, SharedPresence,
    Source,
};

/// Command A with experts.
pub const COHERE2MOE: Architecture = Architecture {
    gguf_name: "cohere2moe",
    hf_names: &["Cohere2MoeForCausalLM"],
    layer,
    head: |config| Head { norm: norm(config, "output_norm"), scale: config.logit_scale.unwrap_or(1.0), ..Head::LOGITS },
    source: Some(Source {
        parameters: &[
            Parameter::Only("shared_expert_combination_strategy", &["average"]),
            Parameter::VocabularySize,
            Parameter::Number("logit_scale", &["logit_scale"]),
            Parameter::Count("attention.sliding_window", &["sliding_window"]),
            Parameter::WindowPattern(4),
            Parameter::Count("feed_forward_length", &["prefix_dense_intermediate_size", "intermediate_size"]),
            Parameter::Count("expert_feed_forward_length", &["intermediate_size"]),
            Parameter::Count("expert_shared_count", &["num_shared_experts"]),
            Parameter::SharedFfn("num_shared_experts", "intermediate_size"),
            Parameter::LeadingDense,
            Parameter::Flag("expert_weights_norm", &["norm_topk_prob"]),
            Parameter::Count("rope.dimension_count", &["head_dim"]),
            Parameter::Text("rope.scaling.type", "none"),
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

/// The file says which kind of norm it has by what it gives to add under the root.
fn norm(config: &ModelConfig, stem: &'static str) -> Norm {
    if config.rms_norm_epsilon.is_some_and(|epsilon| epsilon != 0.0) {
        Norm::Rms(stem)
    } else {
        Norm::LayerUnbiased(stem)
    }
}

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let rope = Rope::interleaved(config).with_factors(config);
    let is_dense = config.is_leading_dense(layer_index);
    let (mask, rope) = match config.window {
        Some(window) if config.has_window_after_first(layer_index, 4) => (Mask::Window(window), Some(rope)),
        _ => (Mask::Causal, Some(rope).filter(|_| is_dense)),
    };
    let layer = Layer {
        mixer_norm: norm(config, "attn_norm"),
        mixer: Mixer::Attention(Attention { rope, mask, ..Attention::STANDARD }),
        ffn_norm: Norm::None,
        residual: Residual::Parallel,
        ..Layer::PRE_NORM
    };
    if is_dense {
        return layer;
    }
    let ffn = ExpertsFfn { selection_bias: None, ..ExpertsFfn::from_file(config, Gating::Sigmoid) };
    let size = config.experts.as_ref().and_then(|experts| experts.shared_expert_ffn_size);
    let shared = ffn.shared.map(|shared| SharedExperts {
        sum_scale: 0.5,
        presence: SharedPresence::IfThere,
        ..size.map_or(shared, SharedExperts::swiglu)
    });
    Layer { ffn: Ffn::Experts(ExpertsFfn { shared, ..ffn }), ..layer }
}
