//! SmolLM 3. A Llama whose every fourth layer has no positions.
//!
//! Reference: Yang et al., "Rope to Nope and Back Again"; the published model code. GGUF name: `smollm3`.

use crate::ModelConfig;
use crate::spec::{Architecture, Attention, Layer, Mixer, Rope, Source};

/// SmolLM 3.
pub const SMOLLM3: Architecture = Architecture {
    gguf_name: "smollm3",
    hf_names: &["SmolLM3ForCausalLM"],
    layer,
    source: Some(Source::LLAMA),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let has_positions = !(layer_index + 1).is_multiple_of(4);
    Layer {
        mixer: Mixer::Attention(Attention {
            rope: has_positions.then(|| Rope::interleaved(config)),
            scale: config.attention_scale,
            ..Attention::STANDARD
        }),
        ..Layer::PRE_NORM
    }
}
