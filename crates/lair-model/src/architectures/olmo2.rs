//! OLMo 2 and 3. Norms after both halves instead of before, queries and keys normalised over all heads; OLMo 3 has
//! windows in three layers of four, whose angles are not scaled.
//!
//! Reference: "2 OLMo 2 Furious", section 2.1; "Olmo 3", section 3. GGUF name: `olmo2`.

use lair_compute::Mask;

use crate::ModelConfig;
use crate::spec::source::{Parameter, SANDWICH_NAMES};
use crate::spec::{Architecture, Attention, Layer, Mixer, Norm, NormSpan, Rope, Source};

/// OLMo 2 and 3.
pub const OLMO2: Architecture = Architecture {
    gguf_name: "olmo2",
    hf_names: &["Olmo2ForCausalLM", "Olmo3ForCausalLM"],
    layer,
    source: Some(Source {
        names: SANDWICH_NAMES,
        parameters: &[Parameter::Count("attention.sliding_window", &["sliding_window"]), Parameter::WindowPattern(4)],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let rope = Rope::half_split(config);
    let (mask, rope) = match config.window {
        Some(window) if config.has_window(layer_index, 4) => (Mask::Window(window), rope.of_windows(config).unscaled()),
        _ => (Mask::Causal, rope),
    };
    Layer {
        mixer_norm: Norm::None,
        mixer: Mixer::Attention(Attention {
            q_norm: Norm::Rms("attn_q_norm"),
            k_norm: Norm::Rms("attn_k_norm"),
            norm_span: NormSpan::Row,
            rope: Some(rope),
            mask,
            ..Attention::STANDARD
        }),
        mixer_output_norm: Norm::Rms("post_attention_norm"),
        ffn_norm: Norm::None,
        ffn_output_norm: Norm::Rms("post_ffw_norm"),
        ..Layer::PRE_NORM
    }
}
