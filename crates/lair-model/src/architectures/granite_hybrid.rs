//! The hybrids of Granite 4: Granite's layers, of which most have Mamba-2 in place of attention.
//!
//! Reference: IBM, "Granite 4.0" and its published model code. GGUF name: `granitehybrid`.

use super::granite;
use crate::ModelConfig;
use crate::spec::{Architecture, Layer, Mamba2, Mixer};

/// Granite 4 with Mamba-2.
pub const GRANITE_HYBRID: Architecture = Architecture {
    gguf_name: "granitehybrid",
    hf_names: &["GraniteMoeHybridForCausalLM", "BambaForCausalLM"],
    layer,
    source: None,
    ..granite::GRANITE
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let layer = (granite::GRANITE.layer)(config, layer_index);
    match config.kv_head_counts[layer_index] {
        0 => Layer { mixer: Mixer::Mamba2(Mamba2::STANDARD), ..layer },
        _ => layer,
    }
}
