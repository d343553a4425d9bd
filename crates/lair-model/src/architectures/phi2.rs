//! Phi 1, 1.5 and 2. One layer norm for both halves, which are added side by side; biases everywhere, half of each head
//! turned.
//!
//! Reference: Li et al., "Textbooks Are All You Need II: phi-1.5", section 2. GGUF name: `phi2`.

use crate::ModelConfig;
use crate::spec::source::{PHI_NAMES, Parameter};
use crate::spec::{Architecture, Attention, DenseFfn, Ffn, Head, Layer, Mixer, Norm, Residual, Rope, Source};

/// Phi 2.
pub const PHI2: Architecture = Architecture {
    gguf_name: "phi2",
    hf_names: &["PhiForCausalLM"],
    layer,
    head: |_| Head { norm: Norm::Layer("output_norm"), ..Head::LOGITS },
    source: Some(Source {
        names: PHI_NAMES,
        parameters: &[Parameter::FfnOfHidden, Parameter::KvHeads, Parameter::RopeDimensions, Parameter::AddsBos(false)],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, _layer_index: usize) -> Layer {
    Layer {
        mixer_norm: Norm::Layer("attn_norm"),
        mixer: Mixer::Attention(Attention { rope: Some(Rope::half_split(config)), ..Attention::STANDARD }),
        ffn_norm: Norm::None,
        ffn: Ffn::Dense(DenseFfn::GELU),
        residual: Residual::Parallel,
        ..Layer::PRE_NORM
    }
}
