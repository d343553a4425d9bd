//! EXAONE MoE (K-EXAONE). A Qwen 3 layer that is turned where it has a window and sees everything in every fourth; experts
//! by sigmoid with scores for the choice and a shared network, leading dense layers. Layers that predict further tokens
//! are not run.
//!
//! Reference: LG AI Research, "K-EXAONE Technical Report", section 2. GGUF name: `exaone-moe`.

use lair_compute::{Gating, Mask};

use super::deepseek::with_experts;
use super::qwen3;
use crate::ModelConfig;
use crate::spec::source::{EXAONE_MOE_NAMES, Parameter};
use crate::spec::{Architecture, ExpertsFfn, Layer, Mixer, SharedExperts, Source};

/// EXAONE MoE.
pub const EXAONE_MOE: Architecture = Architecture {
    gguf_name: "exaone-moe",
    hf_names: &["ExaoneMoEForCausalLM", "ExaoneMoeForCausalLM"],
    layer,
    source: Some(Source {
        names: EXAONE_MOE_NAMES,
        parameters: &[
            Parameter::Count("attention.sliding_window", &["sliding_window"]),
            Parameter::WindowPattern(4),
            Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size"]),
            Parameter::Count("expert_shared_count", &["num_shared_experts"]),
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
    let mut layer = qwen3::layer(config, layer_index);
    if let Mixer::Attention(attention) = &mut layer.mixer {
        (attention.mask, attention.rope) = match config.window {
            Some(window) if config.has_window(layer_index, 4) => {
                (Mask::Window(window), attention.rope.map(|rope| rope.with_factors(config)))
            }
            _ => (Mask::Causal, None),
        };
    }
    let ffn = ExpertsFfn::from_file(config, Gating::Sigmoid);
    let size = config.experts.as_ref().and_then(|experts| experts.shared_expert_ffn_size.or(experts.expert_ffn_size));
    let ffn = ExpertsFfn { shared: size.map(SharedExperts::swiglu), ..ffn };
    with_experts(layer, ffn, config, layer_index)
}
