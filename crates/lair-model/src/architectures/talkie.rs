//! Talkie. Norms without weights, queries and keys normalised after they are turned, with a factor for each head of queries;
//! every layer adds the embedding again, times a number of its own.
//!
//! Reference: the published model code. GGUF name: `talkie`.

use lair_compute::NormOrder;

use crate::ModelConfig;
use crate::spec::source::{Derived, Parameter, TALKIE_NAMES};
use crate::spec::{Architecture, Attention, Embedding, Head, Layer, Mixer, Norm, NormSpan, Rope, Source};

/// Talkie.
pub const TALKIE: Architecture = Architecture {
    gguf_name: "talkie",
    hf_names: &["TalkieForCausalLM"],
    embedding: |_| Embedding { norm: Norm::RmsUnweighted, ..Embedding::TOKENS },
    layer,
    source: Some(Source {
        family: TALKIE_NAMES,
        parameters: &[
            // That of the norm of PyTorch without one.
            Parameter::NumberOr("attention.layer_norm_rms_epsilon", &[], f32::EPSILON),
            Parameter::Derived(Derived::NumberOfTensor("logit_scale", "lm_head_gain.w_g")),
        ],
        left_out: &["lm_head_gain."],
        ..Source::USUAL
    }),
    head: |config| Head { norm: Norm::RmsUnweighted, scale: config.logit_scale.unwrap_or(1.0), ..Head::LOGITS },
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, _layer_index: usize) -> Layer {
    Layer {
        mixer_norm: Norm::RmsUnweighted,
        mixer: Mixer::Attention(Attention {
            q_norm: Norm::Rms("attn_q_norm"),
            k_norm: Norm::RmsUnweighted,
            norm_span: NormSpan::HeadFactor,
            norm_order: NormOrder::AfterRope,
            rope: Some(Rope::half_split(config)),
            ..Attention::STANDARD
        }),
        ffn_norm: Norm::RmsUnweighted,
        embedding_skip: Some("layer_output_scale"),
        ..Layer::PRE_NORM
    }
}
