//! PLaMo 1 and 3. The first has both halves side by side by one norm; the third has norms before and after both halves,
//! fused products and windows in seven layers of eight.
//!
//! References: the published model code of Preferred Networks. GGUF names: `plamo`, `plamo3`.

use lair_compute::Mask;

use crate::ModelConfig;
use crate::spec::source::{PLAMO_2_NAMES, PLAMO_NAMES, Parameter};
use crate::spec::{Architecture, Attention, DenseFfn, Ffn, Gate, Layer, Mixer, Norm, Residual, Rope, Source};

/// PLaMo 1.
pub const PLAMO: Architecture = Architecture {
    gguf_name: "plamo",
    hf_names: &["PlamoForCausalLM"],
    layer: |config, _| Layer {
        mixer: Mixer::Attention(Attention { rope: Some(Rope::half_split(config)), ..Attention::STANDARD }),
        ffn_norm: Norm::None,
        residual: Residual::Parallel,
        ..Layer::PRE_NORM
    },
    source: Some(Source {
        names: PLAMO_NAMES,
        // What it was trained for, which no key says.
        parameters: &[Parameter::CountOr("context_length", &[], 4096), Parameter::KvHeads],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

/// PLaMo 3.
pub const PLAMO3: Architecture = Architecture {
    gguf_name: "plamo3",
    hf_names: &["Plamo3ForCausalLM", "PLaMo3ForCausalLM"],
    layer,
    source: Some(Source {
        names: PLAMO_2_NAMES,
        parameters: &[
            Parameter::VocabularySize,
            Parameter::Count("attention.sliding_window", &["window_size", "sliding_window"]),
            Parameter::Count("attention.sliding_window_pattern", &["sliding_window_pattern"]),
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let rope = Rope::half_split(config);
    let (mask, rope) = match config.window {
        Some(window) if config.has_window(layer_index, 8) => {
            (Mask::Window(window), Rope { theta: 10_000.0, ..rope }.of_windows(config).unscaled())
        }
        _ => (Mask::Causal, rope),
    };
    Layer {
        mixer: Mixer::Attention(Attention {
            q_norm: Norm::Rms("attn_q_norm"),
            k_norm: Norm::Rms("attn_k_norm"),
            rope: Some(rope),
            mask,
            ..Attention::STANDARD
        }),
        mixer_output_norm: Norm::RmsNamed("post_attention_norm"),
        ffn: Ffn::Dense(DenseFfn { gate: Gate::InUp, ..DenseFfn::SWIGLU }),
        ffn_output_norm: Norm::RmsNamed("post_ffw_norm"),
        ..Layer::PRE_NORM
    }
}
