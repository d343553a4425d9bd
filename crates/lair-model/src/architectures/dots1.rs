//! dots.llm1. A Qwen 3 layer with experts by sigmoid, a shared network, and leading dense layers.
//!
//! Reference: "dots.llm1 Technical Report", section 2. GGUF name: `dots1`.

use lair_compute::Gating;

use super::qwen3;
use crate::ModelConfig;
use crate::spec::source::Parameter;
use crate::spec::{Architecture, ExpertsFfn, Ffn, Layer, Source};

/// dots.llm1.
pub const DOTS1: Architecture = Architecture {
    gguf_name: "dots1",
    hf_names: &["Dots1ForCausalLM"],
    layer,
    source: Some(Source {
        parameters: &[
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
    let layer = qwen3::layer(config, layer_index);
    match layer_index < leading {
        true => layer,
        false => Layer { ffn: Ffn::Experts(ExpertsFfn::from_file(config, Gating::Sigmoid)), ..layer },
    }
}
