//! Nemotron-H and Nemotron 3 Nano: layers of Mamba-2, of attention without positions, or of a feed-forward network
//! alone, which squares what is positive; with experts, all of those are mixtures.
//!
//! Reference: NVIDIA, "Nemotron-H: A Family of Accurate and Efficient Hybrid Mamba-Transformer Models". GGUF names:
//! `nemotron_h`, `nemotron_h_moe`.

use lair_compute::{Activation, Gating};

use crate::ModelConfig;
use crate::spec::{
    Architecture, Attention, DenseFfn, ExpertScoring, ExpertsFfn, Ffn, Gate, Layer, Mamba2, Mixer, Norm, SharedExperts,
};

/// Nemotron-H.
pub const NEMOTRON_H: Architecture =
    Architecture { gguf_name: "nemotron_h", hf_names: &["NemotronHForCausalLM"], layer, ..Architecture::DECODER };

/// Nemotron-H with experts.
pub const NEMOTRON_H_MOE: Architecture = Architecture { gguf_name: "nemotron_h_moe", hf_names: &[], ..NEMOTRON_H };

const SQUARED: DenseFfn = DenseFfn { gate: Gate::None, activation: Activation::ReluSquared, ..DenseFfn::SWIGLU };

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let norm = Norm::Rms("attn_norm");
    let mixer_only = |mixer| Layer { mixer, ffn_norm: Norm::None, ffn: Ffn::None, ..Layer::PRE_NORM };
    match (config.ffn_sizes[layer_index], config.kv_head_counts[layer_index]) {
        (0, 0) => mixer_only(Mixer::Mamba2(Mamba2::STANDARD)),
        (0, _) => mixer_only(Mixer::Attention(Attention { scale: config.attention_scale, ..Attention::STANDARD })),
        _ => Layer {
            mixer_norm: Norm::None,
            mixer: Mixer::None,
            ffn_norm: norm,
            ffn: network(config, layer_index),
            ..Layer::PRE_NORM
        },
    }
}

fn network(config: &ModelConfig, layer_index: usize) -> Ffn {
    let Some(experts) = &config.experts else { return Ffn::Dense(SQUARED) };
    let used_count = experts.expert_used_counts[layer_index];
    let shared = DenseFfn {
        up: "ffn_up_shexp",
        down: "ffn_down_shexp",
        ffn_size: Some(experts.shared_expert_ffn_size.unwrap_or(0)),
        ..SQUARED
    };
    Ffn::Experts(ExpertsFfn {
        scoring: ExpertScoring::Gating(Gating::Sigmoid),
        gate: None,
        fused: None,
        activation: Activation::ReluSquared,
        // Files without a width of their own have that of all chosen experts together.
        ffn_size: experts.expert_ffn_size.or(Some(config.ffn_sizes[layer_index] / used_count)),
        shared: Some(SharedExperts { ffn: shared, ..SharedExperts::swiglu(0) }),
        ..ExpertsFfn::from_file(config, Gating::Sigmoid)
    })
}
