//! Qwen 1.5 and 2 with experts: the chosen weights are left as they are, and a gated network runs for every token.
//!
//! Reference: "Qwen2 Technical Report", section 2.2.2. GGUF name: `qwen2moe`.

use super::qwen2;
use crate::ModelConfig;
use crate::spec::source::Parameter;
use crate::spec::{Architecture, ExpertsFfn, Ffn, Layer, SharedExperts, Source};

/// Qwen 2 with experts.
pub const QWEN2MOE: Architecture = Architecture {
    gguf_name: "qwen2moe",
    hf_names: &["Qwen2MoeForCausalLM"],
    layer,
    source: Some(Source {
        parameters: &[
            Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size"]),
            Parameter::Count("expert_shared_feed_forward_length", &["shared_expert_intermediate_size"]),
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let experts = config.experts.as_ref();
    let dense_size = config.ffn_sizes[layer_index];
    let shared_size = experts.and_then(|experts| experts.shared_expert_ffn_size).unwrap_or(dense_size);
    let ffn = ExpertsFfn {
        normalise: false,
        scale: experts.map_or(1.0, |experts| experts.weights_scale),
        shared: Some(SharedExperts { gate: Some("ffn_gate_inp_shexp"), ..SharedExperts::swiglu(shared_size) }),
        ..ExpertsFfn::SOFTMAX
    };
    Layer { ffn: Ffn::Experts(ffn), ..qwen2::layer(config, layer_index) }
}
