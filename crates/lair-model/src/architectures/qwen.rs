//! Qwen 1. A Llama layer with halves as pairs and fused, biased products; files give twice the width of the feed-forward
//! network.
//!
//! Reference: Bai et al., "Qwen Technical Report", section 2.3. GGUF name: `qwen`.

use super::qwen2;
use crate::ModelConfig;
use crate::spec::{Architecture, DenseFfn, Ffn, Layer};

/// Qwen 1.
pub const QWEN: Architecture =
    Architecture { gguf_name: "qwen", hf_names: &["QWenLMHeadModel"], layer, ..Architecture::DECODER };

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let ffn_size = Some(config.ffn_sizes[layer_index] / 2);
    Layer { ffn: Ffn::Dense(DenseFfn { ffn_size, ..DenseFfn::SWIGLU }), ..qwen2::layer(config, layer_index) }
}
