//! ERNIE 4.5 with experts: by softmax with scores for the choice, beside a network for every token, behind leading dense
//! layers.
//!
//! Reference: Baidu-ERNIE-Team, "ERNIE 4.5 Technical Report", section 2. GGUF name: `ernie4_5-moe`.

use lair_compute::Gating;

use super::llama_likes::ERNIE4_5;
use crate::ModelConfig;
use crate::spec::{Architecture, ExpertScoring, ExpertsFfn, Ffn, Layer, SharedExperts};

/// ERNIE 4.5 with experts.
pub const ERNIE4_5_MOE: Architecture =
    Architecture { gguf_name: "ernie4_5-moe", hf_names: &["Ernie4_5_MoeForCausalLM"], layer, source: None, ..ERNIE4_5 };

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
