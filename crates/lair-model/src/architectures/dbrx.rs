//! DBRX. Layer norms without biases, one clamped product for queries, keys and values, four of sixteen experts.
//!
//! Reference: the published model code of Databricks. GGUF name: `dbrx`.

use crate::ModelConfig;
use crate::spec::source::{DBRX_NAMES, Parameter};
use crate::spec::{Architecture, Attention, ExpertsFfn, Ffn, Head, Layer, Mixer, Norm, Rope, Source};

/// DBRX.
pub const DBRX: Architecture = Architecture {
    gguf_name: "dbrx",
    hf_names: &["DbrxForCausalLM"],
    layer,
    head: |_| Head { norm: Norm::LayerUnbiased("output_norm"), ..Head::LOGITS },
    source: Some(Source {
        family: DBRX_NAMES,
        roots: &["transformer."],
        parameters: &[
            Parameter::Count("feed_forward_length", &["ffn_config.ffn_hidden_size"]),
            Parameter::Count("attention.head_count_kv", &["kv_n_heads"]),
            Parameter::Number("attention.clamp_kqv", &["clip_qkv"]),
            Parameter::Count("expert_used_count", &["ffn_config.moe_top_k"]),
            Parameter::NumberOr("attention.layer_norm_epsilon", &[], 1e-5),
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    Layer {
        mixer_norm: Norm::LayerUnbiased("attn_norm"),
        mixer: Mixer::Attention(Attention {
            rope: Some(Rope::half_split(config)),
            clamp: config.clamp_qkv,
            ..Attention::STANDARD
        }),
        // The file calls the feed-forward network's norm after what stands before it.
        ffn_norm: Norm::LayerUnbiased("attn_output_norm"),
        ffn: Ffn::Experts(ExpertsFfn {
            ffn_size: Some(config.ffn_sizes[layer_index]),
            scale: config.experts.as_ref().map_or(1.0, |experts| experts.weights_scale),
            ..ExpertsFfn::SOFTMAX
        }),
        ..Layer::PRE_NORM
    }
}
