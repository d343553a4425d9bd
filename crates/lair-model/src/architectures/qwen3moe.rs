//! Qwen 3 with experts in every layer: the best eight by softmax, their weights brought to a sum of one.
//!
//! Reference: "Qwen3 Technical Report", section 2. GGUF name: `qwen3moe`.

use super::qwen3;
use crate::ModelConfig;
use crate::spec::source::Parameter;
use crate::spec::{Architecture, ExpertsFfn, Ffn, Layer, Source};

/// Qwen 3 with experts.
pub const QWEN3MOE: Architecture = Architecture {
    gguf_name: "qwen3moe",
    hf_names: &["Qwen3MoeForCausalLM"],
    layer,
    source: Some(Source {
        parameters: &[Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size"])],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

pub(super) fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let scale = config.experts.as_ref().map_or(1.0, |experts| experts.weights_scale);
    Layer { ffn: Ffn::Experts(ExpertsFfn { scale, ..ExpertsFfn::SOFTMAX }), ..qwen3::layer(config, layer_index) }
}
