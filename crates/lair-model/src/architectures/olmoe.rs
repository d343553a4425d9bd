//! OLMoE. Queries and keys normalised over all heads; experts by softmax, whose weights are left as they are.
//!
//! Reference: Muennighoff et al., "OLMoE", section 2. GGUF name: `olmoe`.

use crate::ModelConfig;
use crate::spec::source::Parameter;
use crate::spec::{Architecture, Attention, ExpertsFfn, Ffn, Layer, Mixer, Norm, NormSpan, Rope, Source};

/// OLMoE.
pub const OLMOE: Architecture = Architecture {
    gguf_name: "olmoe",
    hf_names: &["OlmoeForCausalLM"],
    layer,
    source: Some(Source {
        parameters: &[Parameter::NumberOr("attention.layer_norm_rms_epsilon", &["rms_norm_eps"], 1e-5)],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    Layer {
        mixer: Mixer::Attention(Attention {
            q_norm: Norm::Rms("attn_q_norm"),
            k_norm: Norm::Rms("attn_k_norm"),
            norm_span: NormSpan::Row,
            rope: Some(Rope::half_split(config)),
            ..Attention::STANDARD
        }),
        ffn: Ffn::Experts(ExpertsFfn {
            ffn_size: Some(config.ffn_sizes[layer_index]),
            normalise: false,
            ..ExpertsFfn::SOFTMAX
        }),
        ..Layer::PRE_NORM
    }
}
