//! Maincoder. A Llama layer whose queries and keys are normalised per head after they are turned.
//!
//! Reference: the published model code of Maincode. GGUF name: `maincoder`.

use lair_compute::NormOrder;

use crate::ModelConfig;
use crate::spec::source::Parameter;
use crate::spec::{Architecture, Attention, Layer, Mixer, Norm, Rope, Source};

/// Maincoder.
pub const MAINCODER: Architecture = Architecture {
    gguf_name: "maincoder",
    hf_names: &["MaincoderForCausalLM"],
    layer,
    source: Some(Source { parameters: &[Parameter::RopeDimensions], ..Source::USUAL }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, _layer_index: usize) -> Layer {
    Layer {
        mixer: Mixer::Attention(Attention {
            q_norm: Norm::Rms("attn_q_norm"),
            k_norm: Norm::Rms("attn_k_norm"),
            norm_order: NormOrder::AfterRope,
            rope: Some(Rope::interleaved(config)),
            ..Attention::STANDARD
        }),
        ..Layer::PRE_NORM
    }
}
