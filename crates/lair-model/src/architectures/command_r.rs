//! Command R and R7B, Command A, Aya. One norm without bias for both halves, which are added side by side; embeddings
//! tied to a scaled head. The second generation has windows in three layers of four and no positions in the others.
//!
//! Reference: the published model code of Cohere. GGUF names: `command-r`, `cohere2`.

use lair_compute::Mask;

use crate::ModelConfig;
use crate::spec::source::Parameter;
use crate::spec::{Architecture, Attention, Head, Layer, Mixer, Norm, Residual, Rope, Source};

/// The first generation.
pub const COMMAND_R: Architecture = Architecture {
    gguf_name: "command-r",
    hf_names: &["CohereForCausalLM"],
    layer: |config, _| {
        // Only the largest model normalises queries and keys, with a weight for each element of each head.
        layer(Attention { rope: Some(Rope::interleaved(config)), ..Attention::STANDARD })
    },
    head: |config| Head {
        norm: Norm::LayerUnbiased("output_norm"),
        scale: config.logit_scale.unwrap_or(1.0),
        ..Head::LOGITS
    },
    source: Some(Source {
        parameters: &[Parameter::Number("logit_scale", &["logit_scale"]), Parameter::Text("rope.scaling.type", "none")],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

/// The second generation.
pub const COHERE2: Architecture = Architecture {
    gguf_name: "cohere2",
    hf_names: &["Cohere2ForCausalLM"],
    layer: |config, layer_index| match config.window {
        Some(window) if config.has_window(layer_index, 4) => layer(windowed(config, window)),
        _ => layer(Attention::STANDARD),
    },
    source: Some(Source {
        parameters: &[
            Parameter::Number("logit_scale", &["logit_scale"]),
            Parameter::Count("attention.sliding_window", &["sliding_window"]),
            Parameter::VocabularySize,
            Parameter::RopeDimensions,
            Parameter::Text("rope.scaling.type", "none"),
        ],
        ..Source::USUAL
    }),
    ..COMMAND_R
};

fn windowed(config: &ModelConfig, window: usize) -> Attention {
    let rope = Rope::interleaved(config).of_windows(config);
    Attention { rope: Some(rope), mask: Mask::Window(window), ..Attention::STANDARD }
}

fn layer(attention: Attention) -> Layer {
    Layer {
        mixer_norm: Norm::LayerUnbiased("attn_norm"),
        mixer: Mixer::Attention(attention),
        ffn_norm: Norm::None,
        residual: Residual::Parallel,
        ..Layer::PRE_NORM
    }
}
