//! GroveMoE. A Qwen 3 with experts, in groups that share a smaller expert each, which reads the sum of the chosen ones.
//!
//! Reference: Wu et al., "GroveMoE: Towards Efficient and Superior MoE LLMs with Adjugate Experts", section 2. Experts are
//! chosen by sigmoid and weighed by softmax, which choose alike. GGUF name: `grovemoe`.

use super::qwen3moe;
use crate::ModelConfig;
use crate::spec::source::{GROVEMOE_NAMES, Parameter};
use crate::spec::{AdjugateExperts, Architecture, Ffn, Layer, Source};

/// GroveMoE.
pub const GROVEMOE: Architecture = Architecture {
    gguf_name: "grovemoe",
    hf_names: &["GroveMoeForCausalLM", "modeling_grove_moe.GroveMoeForCausalLM"],
    layer,
    source: Some(Source {
        names: GROVEMOE_NAMES,
        parameters: &[
            Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size"]),
            Parameter::CountOr("expert_chunk_feed_forward_length", &["head_dim"], 128),
            Parameter::CountOr("experts_per_group", &[], 2),
            Parameter::NumberOr("expert_group_scale", &[], 0.05),
        ],
        left_out: &[".expert.bias"],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let mut layer = qwen3moe::layer(config, layer_index);
    if let (Ffn::Experts(ffn), Some(experts)) = (&mut layer.ffn, &config.experts) {
        ffn.adjugates = Some(AdjugateExperts {
            gate: "ffn_gate_chexps",
            up: "ffn_up_chexps",
            down: "ffn_down_chexps",
            ffn_size: experts.adjugate_ffn_size.unwrap_or(config.key_dim),
            group_size: experts.adjugate_group_size,
            scale: experts.adjugate_scale,
        });
    }
    layer
}
