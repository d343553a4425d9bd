//! Grok 1 and 2. Norms before and after both halves, capped scores, GELU experts; the second generation adds a dense
//! network beside them and divides the sum by the root of two.
//!
//! Reference: the published model code of xAI. GGUF name: `grok`.

use lair_compute::Activation;

use crate::ModelConfig;
use crate::spec::source::{Derived, GROK_NAMES, Parameter};
use crate::spec::{
    Architecture, Attention, DenseFfn, Embedding, ExpertsFfn, Ffn, Head, Layer, Mixer, Norm, Rope, SharedExperts,
    SharedPresence, Source,
};

/// Grok.
pub const GROK: Architecture = Architecture {
    gguf_name: "grok",
    hf_names: &["GrokForCausalLM", "Grok1ForCausalLM"],
    embedding: |config| Embedding { scale: config.embedding_scale.unwrap_or(78.383_67), ..Embedding::TOKENS },
    layer,
    head: |config| Head {
        scale: config.logit_scale.unwrap_or(0.577_350_3),
        softcap: config.logit_softcap,
        ..Head::LOGITS
    },
    source: Some(Source {
        names: GROK_NAMES,
        roots: &["transformer.", "model."],
        parameters: &[
            Parameter::NumberOr("attn_logit_softcapping", &["attn_logit_softcapping"], 30.0),
            Parameter::NumberOr("router_logit_softcapping", &["router_logit_softcapping"], 30.0),
            Parameter::Number("final_logit_softcapping", &["final_logit_softcapping"]),
            Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size"]),
            Parameter::Count("attention.temperature_length", &["attn_temperature_len"]),
            Parameter::Derived(Derived::ScoreScale("attn_output_multiplier")),
            Parameter::Number("embedding_scale", &["embedding_multiplier_scale"]),
            Parameter::Number("logit_scale", &["output_multiplier_scale"]),
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let experts = config.experts.as_ref();
    let dense_size = config.ffn_sizes[layer_index];
    let ffn = ExpertsFfn {
        activation: Activation::GeluTanh,
        ffn_size: experts.and_then(|experts| experts.expert_ffn_size).or(Some(dense_size)),
        scale: experts.map_or(1.0, |experts| experts.weights_scale),
        shared: Some(SharedExperts {
            ffn: DenseFfn { ffn_size: Some(dense_size), ..DenseFfn::GEGLU },
            gate: None,
            presence: SharedPresence::IfThere,
            sum_scale: std::f32::consts::FRAC_1_SQRT_2,
        }),
        ..ExpertsFfn::SOFTMAX
    };
    Layer {
        mixer: Mixer::Attention(Attention {
            rope: Some(Rope::half_split(config)),
            // Grok 1's factor, which its first files do not give: the inverse root of 128.
            scale: Some(config.attention_output_scale.unwrap_or(0.088_388_35)),
            softcap: Some(config.attention_softcap.unwrap_or(30.0)),
            ..Attention::STANDARD
        }),
        mixer_output_norm: Norm::Rms("attn_output_norm"),
        ffn: Ffn::Experts(ffn),
        ffn_output_norm: Norm::RmsEither("layer_output_norm", "post_ffw_norm"),
        ..Layer::PRE_NORM
    }
}
