//! GLM 4.5 to 4.7. Experts by sigmoid with scores for the choice, a shared network, leading dense layers; the largest
//! models normalise queries and keys. The layer that predicts a further token is not run.
//!
//! Reference: "GLM-4.5: Agentic, Reasoning, and Coding Foundation Models", section 2.1. GGUF name: `glm4moe`.

use lair_compute::Gating;

use crate::ModelConfig;
use crate::spec::source::{POST_ATTENTION_NAMES, Parameter};
use crate::spec::{Architecture, Attention, ExpertsFfn, Ffn, Layer, Mixer, Norm, Rope, Source};

/// GLM 4.5 with experts.
pub const GLM4MOE: Architecture = Architecture {
    gguf_name: "glm4moe",
    hf_names: &["Glm4MoeForCausalLM"],
    layer,
    source: Some(Source {
        names: POST_ATTENTION_NAMES,
        parameters: &[
            Parameter::RopeDimensions,
            Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size"]),
            Parameter::Count("expert_shared_count", &["n_shared_experts"]),
            Parameter::Count("leading_dense_block_count", &["first_k_dense_replace"]),
            Parameter::Number("expert_weights_scale", &["routed_scaling_factor"]),
            Parameter::Flag("expert_weights_norm", &["norm_topk_prob"]),
            Parameter::CountOr("expert_gating_func", &[], 2),
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let leading = config.experts.as_ref().map_or(config.layer_count, |experts| experts.leading_dense_layer_count);
    let layer = Layer {
        mixer: Mixer::Attention(Attention {
            q_norm: Norm::RmsIfThere("attn_q_norm"),
            k_norm: Norm::RmsIfThere("attn_k_norm"),
            rope: Some(Rope::half_split(config)),
            ..Attention::STANDARD
        }),
        // The file calls the feed-forward network's norm after what stands before it.
        ffn_norm: Norm::Rms("post_attention_norm"),
        ..Layer::PRE_NORM
    };
    match layer_index < leading {
        true => layer,
        false => Layer { ffn: Ffn::Experts(ExpertsFfn::from_file(config, Gating::Sigmoid)), ..layer },
    }
}
