//! Step 3.5. Windows in most layers, with heads and angles of their own; half of each head is turned in the others, by
//! scaled angles; each head's output is gated; experts by sigmoid with a shared network, with clamped gates in some layers.
//!
//! Reference: the published model code of StepFun. Layers that predict further tokens are not run. GGUF name: `step35`.

use lair_compute::{Activation, Gating, Mask, OutputGate};

use crate::ModelConfig;
use crate::spec::source::{NormOffset, STEP35_NAMES, STEP35_PARAMETERS};
use crate::spec::{
    Architecture, Attention, AttentionGate, DenseFfn, ExpertsFfn, Ffn, Layer, Mixer, Norm, Rope, RopeFactors,
    SharedExperts, Source,
};

/// Step 3.5.
pub const STEP35: Architecture = Architecture {
    gguf_name: "step35",
    hf_names: &["Step3p5ForCausalLM", "Step3p5ForConditionalGeneration", "Step3p7ForConditionalGeneration"],
    layer,
    source: Some(Source {
        names: STEP35_NAMES,
        parameters: STEP35_PARAMETERS,
        norm_offset: NormOffset::One,
        left_out: &["vision_model.", "vit_large_projector."],
        ..Source::TEXT_PART
    }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let rope = Rope::half_split(config);
    let stored = config.window_rope_dimension_count.max(config.rope_dimension_count / 2) / 2;
    let (mask, rope) = match config.window {
        Some(window) if config.has_window(layer_index, 1) => {
            let dimension_count = config.window_rope_dimension_count;
            (Mask::Window(window), Rope { dimension_count, ..rope.of_windows(config) })
        }
        _ => {
            let factors = RopeFactors::FirstOf("rope_freqs", stored);
            (Mask::Causal, Rope { dimension_count: config.rope_dimension_count / 2, factors, ..rope })
        }
    };
    let gate = OutputGate::SIGMOID_OF_HEAD;
    let limits = config
        .experts
        .as_ref()
        .map(|experts| (experts.activation_limits[layer_index], experts.shared_activation_limits[layer_index]));
    let (limit, shared_limit) = limits.unwrap_or_default();
    let activation = |limit: Option<f32>| limit.map_or(Activation::Silu, |limit| Activation::ClampedSilu { limit });
    let dense = DenseFfn { activation: activation(shared_limit), ..DenseFfn::SWIGLU };
    let shared_size = config.experts.as_ref().and_then(|experts| experts.shared_expert_ffn_size);
    let shared = shared_size.map(|size| {
        let shared = SharedExperts::swiglu(size);
        SharedExperts { ffn: DenseFfn { activation: dense.activation, ..shared.ffn }, ..shared }
    });
    let experts =
        ExpertsFfn { activation: activation(limit), shared, ..ExpertsFfn::from_file(config, Gating::Sigmoid) };
    Layer {
        mixer: Mixer::Attention(Attention {
            q_norm: Norm::RmsIfThere("attn_q_norm"),
            k_norm: Norm::RmsIfThere("attn_k_norm"),
            rope: Some(rope),
            mask,
            gate: AttentionGate::Projection("attn_gate", gate),
            ..Attention::STANDARD
        }),
        ffn: Ffn::ExpertsIfThere { experts, dense },
        ..Layer::PRE_NORM
    }
}
