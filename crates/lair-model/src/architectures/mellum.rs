//! JetBrains' Mellum 2 and Maple. Qwen 3 layers with experts, most of them with windows: Mellum scales angles in the others
//! only; Maple turns queries and keys in windows only, and clamps its gates.
//!
//! Reference: the published model code. GGUF names: `mellum`, `maple`.

use lair_compute::{Activation, Mask};

use super::qwen3moe;
use crate::ModelConfig;
use crate::spec::source::{Derived, Parameter};
use crate::spec::{Architecture, Attention, Ffn, Layer, Mixer, Norm, Rope, Source};

/// Mellum 2.
pub const MELLUM: Architecture = Architecture {
    gguf_name: "mellum",
    hf_names: &["MellumForCausalLM"],
    layer: |config, layer_index| {
        let rope = Rope::half_split(config);
        match config.window {
            Some(window) if config.has_window(layer_index, 4) => {
                with(config, layer_index, Some(rope.unscaled()), Mask::Window(window))
            }
            _ => with(config, layer_index, Some(rope), Mask::Causal),
        }
    },
    source: Some(Source {
        parameters: &[
            Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size"]),
            Parameter::Count("attention.sliding_window", &["sliding_window"]),
            Parameter::WindowPattern(4),
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

/// Maple.
pub const MAPLE: Architecture = Architecture {
    gguf_name: "maple",
    hf_names: &["MapleForCausalLM"],
    layer: |config, layer_index| {
        let (rope, mask) = match config.window {
            Some(window) if config.has_window(layer_index, 4) => {
                let dimension_count = config.window_rope_dimension_count;
                let rope = Rope { dimension_count, ..Rope::half_split(config).of_windows(config) };
                (Some(rope), Mask::Window(window))
            }
            _ => (None, Mask::Causal),
        };
        let mut layer = with(config, layer_index, rope, mask);
        let limit = config.experts.as_ref().and_then(|experts| experts.activation_limits[layer_index]);
        if let (Ffn::Experts(ffn), Some(limit)) = (&mut layer.ffn, limit) {
            ffn.scale = 1.0;
            ffn.activation = Activation::ClampedSwiglu { alpha: 1.0, limit, shift: 0.0 };
        }
        layer
    },
    source: Some(Source {
        parameters: &[
            Parameter::VocabularySize,
            Parameter::RopeDimensions,
            Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size"]),
            Parameter::Count("attention.sliding_window", &["sliding_window"]),
            Parameter::WindowPattern(4),
            // The published code clamps gates there.
            Parameter::Derived(Derived::OfEachLayer("swiglu_clamp_exp", 7.0)),
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

fn with(config: &ModelConfig, layer_index: usize, rope: Option<Rope>, mask: Mask) -> Layer {
    let (q_norm, k_norm) = (Norm::Rms("attn_q_norm"), Norm::Rms("attn_k_norm"));
    Layer {
        mixer: Mixer::Attention(Attention { q_norm, k_norm, rope, mask, ..Attention::STANDARD }),
        ..qwen3moe::layer(config, layer_index)
    }
}
