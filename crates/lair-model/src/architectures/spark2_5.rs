//! Spark X2.5. Gemma's gates in a Llama layer, a sigmoid on the output of each head, and windows where the file lists them.
//!
//! Reference: the published model code of iFLYTEK. GGUF name: `spark2_5`.

use lair_compute::{Mask, OutputGate};

use crate::ModelConfig;
use crate::spec::source::{Derived, Parameter, SPARK_NAMES};
use crate::spec::{Architecture, Attention, AttentionGate, DenseFfn, Ffn, Layer, Mixer, Rope, Source};

/// Spark X2.5.
pub const SPARK2_5: Architecture = Architecture {
    gguf_name: "spark2_5",
    hf_names: &["Spark2_5ForCausalLM"],
    layer,
    source: Some(Source {
        names: SPARK_NAMES,
        parameters: &[
            Parameter::VocabularySize,
            Parameter::RopeDimensions,
            Parameter::Derived(Derived::WindowRopeDimensions),
            Parameter::Count("attention.sliding_window", &["sliding_window"]),
            Parameter::WindowPattern(1),
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let rope = Rope::half_split(config);
    let (mask, rope) = match config.window {
        Some(window) if config.has_window(layer_index, 1) => {
            let dimension_count = config.window_rope_dimension_count;
            (Mask::Window(window), Rope { dimension_count, ..rope.of_windows(config) })
        }
        _ => (Mask::Causal, rope),
    };
    Layer {
        mixer: Mixer::Attention(Attention {
            rope: Some(rope),
            mask,
            gate: AttentionGate::Projection("attn_gate", OutputGate::SIGMOID_OF_HEAD),
            ..Attention::STANDARD
        }),
        ffn: Ffn::Dense(DenseFfn::GEGLU),
        ..Layer::PRE_NORM
    }
}
