//! Baichuan 1 and 2. Llama layers; the models of 13 billion weights have linear biases by distance instead of angles.
//!
//! Reference: Yang et al., "Baichuan 2", section 2.2. Files do not say which of the two a model has: its number of layers
//! does. GGUF name: `baichuan`.

use crate::ModelConfig;
use crate::spec::source::{BAICHUAN_NAMES, Parameter};
use crate::spec::{Architecture, Attention, Layer, Mixer, Rope, Source};

/// Baichuan.
pub const BAICHUAN: Architecture = Architecture {
    gguf_name: "baichuan",
    hf_names: &["BaichuanForCausalLM", "BaiChuanForCausalLM"],
    layer,
    source: Some(Source { names: BAICHUAN_NAMES, parameters: &[Parameter::RopeDimensions], ..Source::LLAMA }),
    ..Architecture::DECODER
};

/// Layers of the models with angles.
const TURNED_LAYER_COUNT: usize = 32;
/// Layers of the models with biases by distance.
const BIASED_LAYER_COUNT: usize = 40;

fn layer(config: &ModelConfig, _layer_index: usize) -> Layer {
    let attention = match config.layer_count {
        TURNED_LAYER_COUNT => Attention { rope: Some(Rope::interleaved(config)), ..Attention::STANDARD },
        BIASED_LAYER_COUNT => Attention { alibi_bias_max: Some(8.0), ..Attention::STANDARD },
        _ => Attention::STANDARD,
    };
    Layer { mixer: Mixer::Attention(attention), ..Layer::PRE_NORM }
}
