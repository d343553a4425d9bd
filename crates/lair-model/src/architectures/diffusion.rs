//! Models that write by diffusion: layers of known decoders that see the whole text, whose masked tokens are replaced over
//! several steps.
//!
//! References: Nie et al., "Large Language Diffusion Models", section 2; Ye et al., "Dream 7B", section 2; Zhu et al.,
//! "LLaDA-MoE", section 2. GGUF names: `dream`, `llada`, `llada-moe`,
//! `rnd1`.

use lair_compute::Mask;

use super::{qwen2, qwen3, qwen3moe};
use crate::ModelConfig;
use crate::spec::source::{Derived, LLADA_NAMES, Parameter};
use crate::spec::{Architecture, Attention, ExpertsFfn, Ffn, Layer, Mixer, Rope, Source};

/// Dream.
pub const DREAM: Architecture = Architecture {
    gguf_name: "dream",
    hf_names: &["DreamModel"],
    layer: |config, layer_index| of_the_whole_text(qwen2::layer(config, layer_index)),
    is_diffusion: true,
    // Published models have none, and the converter's own runtime leaves it out.
    ignored_tensors: &["output.bias"],
    source: Some(Source { parameters: &[Parameter::FlagOr("attention.causal", &[], false)], ..Source::USUAL }),
    ..Architecture::DECODER
};

/// LLaDA.
pub const LLADA: Architecture = Architecture {
    gguf_name: "llada",
    hf_names: &["LLaDAModelLM"],
    layer: llada_layer,
    is_diffusion: true,
    ignored_tensors: &[".attn_output.bias", ".ffn_gate.bias", ".ffn_up.bias", ".ffn_down.bias", "rope_freqs.weight"],
    source: Some(Source {
        family: LLADA_NAMES,
        roots: &["model.transformer.", "transformer."],
        parameters: &[
            Parameter::CountOr("embedding_length", &["d_model"], 4096),
            Parameter::CountOr("feed_forward_length", &["mlp_hidden_size"], 12288),
            Parameter::FlagOr("attention.causal", &[], false),
            Parameter::AddsBos(true),
            Parameter::VocabularySize,
            Parameter::RopeDimensions,
            Parameter::Quotient("rope.dimension_count", ["d_model", "n_heads"]),
            Parameter::Derived(Derived::ShiftedLogits(false)),
        ],
        ..Source::LLAMA
    }),
    ..Architecture::DECODER
};

/// LLaDA with experts.
pub const LLADA_MOE: Architecture = Architecture {
    gguf_name: "llada-moe",
    hf_names: &["LLaDAMoEModel", "LLaDAMoEModelLM"],
    layer: llada_moe_layer,
    is_diffusion: true,
    source: Some(Source {
        parameters: &[
            Parameter::Count("feed_forward_length", &["dense_intermediate_size", "intermediate_size"]),
            Parameter::Count("expert_feed_forward_length", &["expert_intermediate_size"]),
            Parameter::FlagOr("attention.causal", &[], false),
            Parameter::Derived(Derived::MaskToken(156_895)),
            Parameter::Derived(Derived::ShiftedLogits(false)),
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

/// RND1, a Qwen 3 with experts.
///
/// Reference: Keshigeyan et al., "Training Sparse Diffusion Language Models". GGUF name: `rnd1`.
pub const RND1: Architecture = Architecture {
    gguf_name: "rnd1",
    hf_names: &["RND1"],
    layer: |config, layer_index| of_the_whole_text(qwen3moe::layer(config, layer_index)),
    is_diffusion: true,
    source: Some(Source {
        parameters: &[
            Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size"]),
            Parameter::FlagOr("attention.causal", &[], false),
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

fn llada_layer(config: &ModelConfig, _layer_index: usize) -> Layer {
    let attention = Attention { rope: Some(Rope::interleaved(config)), ..Attention::STANDARD };
    of_the_whole_text(Layer { mixer: Mixer::Attention(attention), ..Layer::PRE_NORM })
}

fn llada_moe_layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let experts = config.experts.as_ref();
    let of_all = experts.map(|experts| config.ffn_sizes[layer_index] / experts.expert_used_counts[layer_index]);
    let ffn = ExpertsFfn {
        normalise: false,
        scale: experts.map_or(1.0, |experts| experts.weights_scale),
        ffn_size: experts.and_then(|experts| experts.expert_ffn_size).or(of_all),
        ..ExpertsFfn::SOFTMAX
    };
    of_the_whole_text(Layer { ffn: Ffn::Experts(ffn), ..qwen3::layer(config, layer_index) })
}

fn of_the_whole_text(mut layer: Layer) -> Layer {
    if let Mixer::Attention(attention) = &mut layer.mixer {
        attention.mask = Mask::Bidirectional;
    }
    layer
}
