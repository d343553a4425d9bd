//! Arcee AFM. A Llama whose feed-forward network has no gate and squares what is positive.
//!
//! Reference: the published model code of Arcee AI. GGUF name: `arcee`.

use lair_compute::Activation;

use super::llama;
use crate::ModelConfig;
use crate::spec::{Architecture, DenseFfn, Ffn, Gate, Layer, Source};

/// Arcee AFM.
pub const ARCEE: Architecture = Architecture {
    gguf_name: "arcee",
    hf_names: &["ArceeForCausalLM"],
    layer,
    source: Some(Source::LLAMA),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let ffn = DenseFfn { gate: Gate::None, activation: Activation::ReluSquared, ..DenseFfn::SWIGLU };
    Layer { ffn: Ffn::Dense(ffn), ..llama::layer(config, layer_index) }
}
