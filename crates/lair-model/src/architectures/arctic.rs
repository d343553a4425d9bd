//! Snowflake Arctic. A dense Llama layer, and beside it experts that read what the layer read, by a norm of their own.
//!
//! Reference: the published model code of Snowflake. GGUF name: `arctic`.

use super::llama;
use crate::ModelConfig;
use crate::spec::source::ARCTIC_NAMES;
use crate::spec::{Architecture, DenseAndExperts, DenseFfn, ExpertsFfn, Ffn, Layer, LayerInput, Norm, Source};

/// Arctic.
pub const ARCTIC: Architecture = Architecture {
    gguf_name: "arctic",
    hf_names: &["ArcticForCausalLM"],
    layer,
    source: Some(Source { names: ARCTIC_NAMES, ..Source::LLAMA }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let ffn = DenseAndExperts {
        dense: DenseFfn { ffn_size: Some(config.hidden_size), ..DenseFfn::SWIGLU },
        dense_output_norm: Norm::None,
        experts_input: LayerInput::BeforeMixer,
        experts_norm: Norm::Rms("ffn_norm_exps"),
        experts: ExpertsFfn {
            ffn_size: Some(config.ffn_sizes[layer_index]),
            scale: config.experts.as_ref().map_or(1.0, |experts| experts.weights_scale),
            ..ExpertsFfn::SOFTMAX
        },
        experts_output_norm: Norm::None,
    };
    Layer { ffn: Ffn::DenseAndExperts(ffn), ..llama::layer(config, layer_index) }
}
