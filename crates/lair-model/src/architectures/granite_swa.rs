//! Granite with windows: sinks in every layer, windows in most, angles where the file says.
//!
//! Reference: the published model code of IBM Granite. GGUF name: `granite_swa`.

use lair_compute::Mask;

use super::granite;
use crate::ModelConfig;
use crate::spec::source::{GRANITE_SWA_NAMES, GRANITE_SWA_PARAMETERS};
use crate::spec::{Architecture, DenseFfn, Ffn, Gate, Layer, Mixer, SharedExperts, Sinks, Source};

/// Granite with windows, with or without experts.
pub const GRANITE_SWA: Architecture = Architecture {
    gguf_name: "granite_swa",
    hf_names: &["GraniteSWAForCausalLM", "GraniteMoeSWAForCausalLM"],
    layer,
    source: Some(Source { names: GRANITE_SWA_NAMES, parameters: GRANITE_SWA_PARAMETERS, ..Source::LLAMA }),
    ..granite::GRANITE
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let mut layer = granite::layer(config, layer_index);
    if let Mixer::Attention(attention) = &mut layer.mixer {
        attention.sinks = Sinks::Tensor("attn_sinks");
        if let Some(window) = config.window.filter(|_| config.has_window(layer_index, 4)) {
            attention.mask = Mask::Window(window);
        }
        if config.rope_layers.as_ref().is_some_and(|layers| !layers[layer_index]) {
            attention.rope = None;
        }
    }
    if let Ffn::Experts(ffn) = &mut layer.ffn
        && let Some(SharedExperts { ffn: shared, .. }) = &mut ffn.shared
    {
        // Gates and inputs of the shared network lie in one tensor.
        *shared = DenseFfn { gate: Gate::InUp, ..*shared };
    }
    layer
}
