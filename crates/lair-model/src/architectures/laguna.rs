//! Poolside's Laguna. Normalised queries and keys, attention gated by softplus, experts by sigmoid with a shared network,
//! leading dense layers. Models with windows gate heads and have angles of their own in them; those without gate elements.
//!
//! Reference: the published model code of Poolside. GGUF name: `laguna`.

use lair_compute::{GateFunction, GateSpan, Gating, Mask, OutputGate};

use super::deepseek::with_experts;
use crate::ModelConfig;
use crate::spec::source::{LAGUNA_PARAMETERS, Renaming};
use crate::spec::{
    Architecture, Attention, AttentionGate, ExpertsFfn, Layer, Mixer, Norm, Rope, RopeScaling, SharedExperts, Source,
};

/// Laguna.
pub const LAGUNA: Architecture = Architecture {
    gguf_name: "laguna",
    hf_names: &["LagunaForCausalLM"],
    layer,
    source: Some(Source {
        names: &[
            Renaming::new("layers.*.self_attn.g_proj", "blk.*.attn_gate"),
            Renaming::new("layers.*.mlp.experts.e_score_correction", "blk.*.exp_probs_b"),
        ],
        parameters: LAGUNA_PARAMETERS,
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let rope = Rope::half_split(config);
    let (mask, rope) = match config.window {
        Some(window) if config.has_window_after_first(layer_index, 4) => {
            let dimension_count = config.window_rope_dimension_count;
            (Mask::Window(window), Rope { dimension_count, scaling: RopeScaling::NONE, ..rope.of_windows(config) })
        }
        _ => (Mask::Causal, rope),
    };
    let span = if config.window.is_some() { GateSpan::Head } else { GateSpan::Element };
    let layer = Layer {
        mixer: Mixer::Attention(Attention {
            q_norm: Norm::Rms("attn_q_norm"),
            k_norm: Norm::Rms("attn_k_norm"),
            rope: Some(rope),
            mask,
            gate: AttentionGate::Projection("attn_gate", OutputGate { function: GateFunction::Softplus, span }),
            ..Attention::STANDARD
        }),
        ..Layer::PRE_NORM
    };
    let ffn = ExpertsFfn::from_file(config, Gating::Sigmoid);
    let shared_size = config.experts.as_ref().and_then(|experts| {
        let of_experts = experts.expert_ffn_size.map(|size| size * experts.shared_expert_count.max(1));
        experts.shared_expert_ffn_size.or(of_experts)
    });
    let ffn = ExpertsFfn { shared: shared_size.map(SharedExperts::swiglu), ..ffn };
    with_experts(layer, ffn, config, layer_index)
}
