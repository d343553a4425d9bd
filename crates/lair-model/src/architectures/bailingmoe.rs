//! Ling 1 and 2. A Llama layer with experts by softmax and shared networks; the second generation normalises queries and
//! keys, scores by what the file says and has leading dense layers. Layers that predict further tokens are not run.
//!
//! Reference: Ling Team, "Every FLOP Counts: Scaling a 300B Mixture-of-Experts LING LLM without Premium GPUs", section 2;
//! the published model code. GGUF names: `bailingmoe`, `bailingmoe2`.

use lair_compute::Gating;

use super::llama;
use crate::ModelConfig;
use crate::spec::source::{BAILING_NAMES, BAILINGMOE_NAMES, Derived, Parameter};
use crate::spec::{Architecture, Attention, ExpertsFfn, Ffn, Layer, Mixer, Norm, Rope, SharedExperts, Source};

/// Ling 1.
pub const BAILINGMOE: Architecture = Architecture {
    gguf_name: "bailingmoe",
    hf_names: &["BailingMoeForCausalLM"],
    layer: |config, layer_index| {
        let ffn = ExpertsFfn { selection_bias: None, ..ExpertsFfn::from_file(config, Gating::Softmax) };
        Layer {
            ffn: Ffn::Experts(ExpertsFfn { scoring: ExpertsFfn::SOFTMAX.scoring, ..ffn }),
            ..llama::layer(config, layer_index)
        }
    },
    source: Some(Source {
        names: BAILINGMOE_NAMES,
        parameters: &[
            Parameter::RopeDimensions,
            Parameter::VocabularySize,
            Parameter::Count("leading_dense_block_count", &["first_k_dense_replace"]),
            Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size"]),
            Parameter::Count("expert_shared_count", &["num_shared_experts"]),
            Parameter::NumberOr("expert_weights_scale", &[], 1.0),
            Parameter::Flag("expert_weights_norm", &["norm_topk_prob"]),
            Parameter::Derived(Derived::Refused("norm_head", "a head whose columns are normalised")),
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

/// Ling 2.
pub const BAILINGMOE2: Architecture = Architecture {
    gguf_name: "bailingmoe2",
    hf_names: &["BailingMoeV2ForCausalLM"],
    layer: second_layer,
    source: Some(Source {
        names: BAILING_NAMES,
        parameters: &[
            Parameter::VocabularySize,
            Parameter::RopeDimensions,
            Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size"]),
            Parameter::SharedFfn("num_shared_experts", "moe_intermediate_size"),
            Parameter::Count("expert_shared_feed_forward_length", &["moe_shared_expert_intermediate_size"]),
            Parameter::Count("expert_shared_count", &["num_shared_experts"]),
            Parameter::Count("leading_dense_block_count", &["first_k_dense_replace"]),
            Parameter::Number("expert_weights_scale", &["routed_scaling_factor"]),
            Parameter::Flag("expert_weights_norm", &["norm_topk_prob"]),
            Parameter::CountOr("expert_gating_func", &[], 2),
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

fn second_layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let layer = Layer {
        mixer: Mixer::Attention(Attention {
            q_norm: Norm::Rms("attn_q_norm"),
            k_norm: Norm::Rms("attn_k_norm"),
            rope: Some(Rope::half_split(config)),
            ..Attention::STANDARD
        }),
        ..Layer::PRE_NORM
    };
    if config.is_leading_dense(layer_index) {
        return layer;
    }
    let ffn = ExpertsFfn::from_file(config, Gating::Sigmoid);
    let shared_size = config.experts.as_ref().and_then(|experts| {
        Some(experts.shared_expert_ffn_size.or(experts.expert_ffn_size)? * experts.shared_expert_count)
    });
    let shared = shared_size.filter(|size| *size > 0).map(SharedExperts::swiglu);
    Layer { ffn: Ffn::Experts(ExpertsFfn { shared, ..ffn }), ..layer }
}
