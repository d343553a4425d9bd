//! ERNIE 4.5 with experts: by softmax with scores for the choice, beside a network for every token, behind leading dense
//! layers.
//!
//! Reference: Baidu-ERNIE-Team, "ERNIE 4.5 Technical Report", section 2. GGUF name: `ernie4_5-moe`.

use lair_compute::Gating;

use super::llama_likes::ERNIE4_5;
use crate::ModelConfig;
use crate::spec::source::{ERNIE_MOE_NAMES, Parameter};
use crate::spec::{Architecture, ExpertScoring, ExpertsFfn, Ffn, Layer, SharedExperts, Source};

/// ERNIE 4.5 with experts.
pub const ERNIE4_5_MOE: Architecture = Architecture {
    gguf_name: "ernie4_5-moe",
    hf_names: &["Ernie4_5_MoeForCausalLM"],
    layer,
    source: Some(Source {
        names: ERNIE_MOE_NAMES,
        parameters: &[
            Parameter::Count("expert_count", &["moe_num_experts"]),
            Parameter::Count("expert_used_count", &["moe_k"]),
            Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size"]),
            Parameter::Count("expert_shared_count", &["moe_num_shared_experts"]),
            Parameter::SharedFfn("moe_num_shared_experts", "moe_intermediate_size"),
            Parameter::Count("leading_dense_block_count", &["moe_layer_start_index"]),
            Parameter::Count("interleave_moe_layer_step", &["moe_layer_interval"]),
        ],
        // Layers that predict further tokens.
        left_out: &["mtp_block.", "mtp_emb_norm.", "mtp_hidden_norm.", "mtp_linear_proj."],
        ..Source::USUAL
    }),
    ..ERNIE4_5
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let layer = (ERNIE4_5.layer)(config, layer_index);
    let Some(experts) = &config.experts else { return layer };
    let is_dense = layer_index < experts.leading_dense_layer_count
        || !(layer_index + 1).is_multiple_of(experts.layer_step.unwrap_or(1));
    if is_dense {
        return layer;
    }
    let ffn = ExpertsFfn {
        scoring: ExpertScoring::Gating(Gating::Softmax),
        normalise: true,
        shared: experts.shared_expert_ffn_size.map(SharedExperts::swiglu),
        ..ExpertsFfn::from_file(config, Gating::Softmax)
    };
    Layer { ffn: Ffn::Experts(ffn), ..layer }
}
