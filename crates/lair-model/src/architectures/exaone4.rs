//! EXAONE 4. Norms after both halves, queries and keys normalised per head; the 32B model has windows in three layers of
//! four and no positions in the others.
//!
//! Reference: LG AI Research, "EXAONE 4.0", section 2.1. GGUF name: `exaone4`.

use lair_compute::Mask;

use crate::ModelConfig;
use crate::spec::source::{Parameter, SANDWICH_NAMES};
use crate::spec::{Architecture, Attention, Layer, Mixer, Norm, Rope, Source};

/// EXAONE 4.
pub const EXAONE4: Architecture = Architecture {
    gguf_name: "exaone4",
    hf_names: &["Exaone4ForCausalLM"],
    layer,
    source: Some(Source {
        names: SANDWICH_NAMES,
        parameters: &[
            Parameter::VocabularySize,
            Parameter::Count("attention.sliding_window", &["sliding_window"]),
            Parameter::WindowPattern(4),
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

/// Layers of the one model that has windows; files of the other give a window that is not used.
const WINDOWED_LAYER_COUNT: usize = 64;

/// The window of files that do not give it.
const DEFAULT_WINDOW: usize = 4096;

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let rope = Rope::half_split(config).with_factors(config);
    let (mask, rope) = match (config.layer_count == WINDOWED_LAYER_COUNT, config.has_window(layer_index, 4)) {
        (false, _) => (Mask::Causal, Some(rope)),
        (true, true) => (Mask::Window(config.window.unwrap_or(DEFAULT_WINDOW)), Some(rope)),
        (true, false) => (Mask::Causal, None),
    };
    Layer {
        mixer_norm: Norm::None,
        mixer: Mixer::Attention(Attention {
            q_norm: Norm::Rms("attn_q_norm"),
            k_norm: Norm::Rms("attn_k_norm"),
            rope,
            mask,
            ..Attention::STANDARD
        }),
        mixer_output_norm: Norm::Rms("post_attention_norm"),
        ffn_norm: Norm::None,
        ffn_output_norm: Norm::Rms("post_ffw_norm"),
        ..Layer::PRE_NORM
    }
}
