//! Kimi Linear and Ling 3: three layers of delta rules with a decay for each key element for each of latent attention,
//! experts chosen by sigmoid with a shared network, leading dense layers.
//!
//! Kimi's latent attention turns nothing; Ling's turns, and has a gate for each head. References: Kimi Team, "Kimi Linear:
//! An Expressive, Efficient Attention Architecture"; the published model code. GGUF names: `kimi-linear`, `bailingmoe3`.

use lair_compute::{Activation, Gating, OutputGate};

use super::deepseek::with_experts;
use crate::spec::source::{BAILING3_NAMES, KDA_PARAMETERS, KIMI_LINEAR_NAMES};
use crate::spec::{
    Architecture, DecayForm, DenseFfn, ExpertsFfn, Ffn, KeyDeltaNet, LatentAttention, Layer, Mixer, QueryProjection,
    Rope, SharedExperts, Source,
};
use crate::{ModelConfig, ModelError};

/// Kimi Linear.
pub const KIMI_LINEAR: Architecture = Architecture {
    gguf_name: "kimi-linear",
    hf_names: &["KimiLinearForCausalLM"],
    layer: |config, layer_index| {
        let latent = LatentAttention {
            query: QueryProjection::Full("attn_q"),
            rope: None,
            scale: latent_scale(config),
            ..LatentAttention::of(config)
        };
        let ffn = ExpertsFfn { normalise: true, ..ExpertsFfn::from_file(config, Gating::Sigmoid) };
        with_experts(mixed(config, layer_index, KeyDeltaNet::STANDARD, latent), ffn, config, layer_index)
    },
    ignored_tensors: UNUSED_BIASES,
    source: Some(Source { names: KIMI_LINEAR_NAMES, parameters: KDA_PARAMETERS, ..Source::USUAL }),
    ..Architecture::DECODER
};

/// Ling 3.
pub const BAILINGMOE3: Architecture = Architecture {
    gguf_name: "bailingmoe3",
    hf_names: &["BailingMoeV3ForCausalLM", "BailingHybridForCausalLM"],
    layer: |config, layer_index| {
        let bound = config.key_delta.and_then(|key_delta| key_delta.decay_bound).unwrap_or(0.0);
        let delta = KeyDeltaNet {
            decay_input: ("ssm_f_a", None),
            gate: ("ssm_g_a", None),
            decay_form: DecayForm::Bounded { bound, slope: 1.0 },
            ..KeyDeltaNet::STANDARD
        };
        // Models for pictures, whose positions have three axes, were converted with halves as pairs.
        let rope = match config.rope_sections[..] {
            [time, height, ..] if time > 0 && height > 0 => Rope::half_split(config),
            _ => Rope::interleaved(config),
        };
        let latent = LatentAttention {
            rope: Some(rope),
            scale: latent_scale(config),
            gate: Some(("attn_gate", OutputGate::SIGMOID_OF_HEAD)),
            ..LatentAttention::of(config)
        };
        let layer = mixed(config, layer_index, delta, latent);
        match config.is_leading_dense(layer_index) {
            true => Layer { ffn: Ffn::Dense(held(config, layer_index, DenseFfn::SWIGLU)), ..layer },
            false => Layer { ffn: Ffn::Experts(ling_experts(config, layer_index)), ..layer },
        }
    },
    check: |config| match config.key_delta.and_then(|key_delta| key_delta.decay_bound) {
        Some(bound) if bound < 0.0 => Ok(()),
        _ => {
            let expected = "the lowest logarithm of a decay, below 0";
            Err(ModelError::MissingKey { key: config.key("kda.gate_lower_bound"), expected })
        }
    },
    ignored_tensors: UNUSED_BIASES,
    source: Some(Source { names: BAILING3_NAMES, parameters: KDA_PARAMETERS, ..Source::USUAL }),
    ..Architecture::DECODER
};

/// The readers of these models load biases of queries, keys and values where a file has them, and add none.
pub(super) const UNUSED_BIASES: &[&str] = &[".attn_q.bias", ".attn_k.bias", ".attn_v.bias"];

pub(super) fn latent_scale(config: &ModelConfig) -> f32 {
    config.latent.as_ref().map_or(1.0, |latent| 1.0 / (latent.key_dim as f32).sqrt())
}

pub(super) fn mixed(config: &ModelConfig, layer_index: usize, delta: KeyDeltaNet, latent: LatentAttention) -> Layer {
    let mixer = match config.kv_head_counts[layer_index] {
        0 => Mixer::KeyDeltaNet(delta),
        _ => Mixer::LatentAttention(latent),
    };
    Layer { mixer, ..Layer::PRE_NORM }
}

/// Experts that hold what their gates give within a magnitude, where the file says so.
fn ling_experts(config: &ModelConfig, layer_index: usize) -> ExpertsFfn {
    let ffn = ExpertsFfn::from_file(config, Gating::Sigmoid);
    let Some(experts) = &config.experts else { return ffn };
    let width = experts.expert_ffn_size.unwrap_or(0) * experts.shared_expert_count.max(1);
    let shared = SharedExperts::swiglu(experts.shared_expert_ffn_size.unwrap_or(width));
    ExpertsFfn {
        activation: clamped(experts.activation_limits[layer_index]),
        shared: Some(SharedExperts { ffn: held(config, layer_index, shared.ffn), ..shared }),
        ..ffn
    }
}

/// The same of a network that every token takes.
fn held(config: &ModelConfig, layer_index: usize, ffn: DenseFfn) -> DenseFfn {
    let limits = config.experts.as_ref().map(|experts| &experts.shared_activation_limits);
    DenseFfn { activation: clamped(limits.and_then(|limits| limits[layer_index])), ..ffn }
}

fn clamped(limit: Option<f32>) -> Activation {
    limit.map_or(Activation::Silu, |limit| Activation::ClampedSilu { limit })
}
