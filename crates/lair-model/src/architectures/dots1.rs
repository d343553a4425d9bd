//! dots.llm1. A Qwen 3 layer with experts by sigmoid, a shared network, and leading dense layers.
//!
//! Reference: "dots.llm1 Technical Report", section 2. GGUF name: `dots1`.

use lair_compute::Gating;

use super::qwen3;
use crate::ModelConfig;
use crate::spec::{Architecture, ExpertsFfn, Ffn, Layer};

/// dots.llm1.
pub const DOTS1: Architecture =
    Architecture { gguf_name: "dots1", hf_names: &["Dots1ForCausalLM"], layer, ..Architecture::DECODER };

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let leading = config.experts.as_ref().map_or(config.layer_count, |experts| experts.leading_dense_layer_count);
    let layer = qwen3::layer(config, layer_index);
    match layer_index < leading {
        true => layer,
        false => Layer { ffn: Ffn::Experts(ExpertsFfn::from_file(config, Gating::Sigmoid)), ..layer },
    }
}
