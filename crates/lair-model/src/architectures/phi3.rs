//! Phi 3, 3.5 and 4. A Llama layer with halves as pairs, fused products, and factors of the angles by context length.
//!
//! Reference: "Phi-3 Technical Report", section 2; Ding et al., "LongRoPE". GGUF name: `phi3`.
//!
//! Files give a sliding window that reaches over the whole context or was converted wrongly; it is not used.

use crate::ModelConfig;
use crate::spec::source::{FUSED_NAMES, Parameter};
use crate::spec::{Architecture, Attention, DenseFfn, Ffn, Gate, Layer, Mixer, Rope, RopeFactors, Source};

/// Phi 3.
pub const PHI3: Architecture = Architecture {
    gguf_name: "phi3",
    hf_names: &["Phi3ForCausalLM"],
    layer,
    source: Some(Source {
        names: FUSED_NAMES,
        parameters: &[
            Parameter::RopeDimensions,
            Parameter::CountOr(
                "rope.scaling.original_context_length",
                &["original_max_position_embeddings", "max_position_embeddings"],
                4096,
            ),
            Parameter::CountOr("attention.sliding_window", &["sliding_window"], 0),
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, _layer_index: usize) -> Layer {
    Layer {
        mixer: Mixer::Attention(Attention {
            rope: Some(Rope { factors: RopeFactors::BY_CONTEXT, ..Rope::half_split(config) }),
            ..Attention::STANDARD
        }),
        ffn: Ffn::Dense(DenseFfn { gate: Gate::InUp, ..DenseFfn::SWIGLU }),
        ..Layer::PRE_NORM
    }
}
