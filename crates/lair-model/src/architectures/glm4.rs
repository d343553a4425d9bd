//! GLM 4 of 2025 (9B and 32B). Norms before and after both halves, gates beside the widening product, half of each head
//! turned.
//!
//! Reference: the published model code of Zhipu AI. GGUF name: `glm4`.

use crate::ModelConfig;
use crate::spec::source::{GLM4_NAMES, Parameter};
use crate::spec::{Architecture, Attention, DenseFfn, Ffn, Gate, Layer, Mixer, Norm, Rope, Source};

/// GLM 4.
pub const GLM4: Architecture = Architecture {
    gguf_name: "glm4",
    hf_names: &["Glm4ForCausalLM"],
    layer,
    source: Some(Source { names: GLM4_NAMES, parameters: &[Parameter::RopeDimensions], ..Source::USUAL }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, _layer_index: usize) -> Layer {
    // Models for pictures, whose positions have three axes, were converted with halves as pairs.
    let rope = match config.rope_sections[..] {
        [time, height, ..] if time > 0 && height > 0 => Rope::half_split(config),
        _ => Rope::interleaved(config),
    };
    Layer {
        mixer: Mixer::Attention(Attention { rope: Some(rope), ..Attention::STANDARD }),
        mixer_output_norm: Norm::Rms("post_attention_norm"),
        ffn: Ffn::Dense(DenseFfn { gate: Gate::InUp, ..DenseFfn::SWIGLU }),
        ffn_output_norm: Norm::Rms("post_ffw_norm"),
        ..Layer::PRE_NORM
    }
}
