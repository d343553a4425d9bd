//! Muse Glimmer. Norms before and after both halves, normalised embeddings, gated attention; three layers of four have a
//! window and angles, the others neither.
//!
//! Reference: the published model code. GGUF name: `muse-glimmer`.

use lair_compute::Mask;

use crate::ModelConfig;
use crate::spec::source::{Change, MUSE_NAMES, Parameter};
use crate::spec::{Architecture, Attention, AttentionGate, Embedding, Head, Layer, Mixer, Norm, Rope, Source};

/// Muse Glimmer, the part that reads and writes text.
pub const MUSE_GLIMMER: Architecture = Architecture {
    gguf_name: "muse-glimmer",
    hf_names: &["MuseGlimmerForConditionalGeneration"],
    embedding: |_| Embedding { norm: Norm::RmsUnweighted, ..Embedding::TOKENS },
    layer,
    head: |config| Head {
        scale: config.logit_scale.unwrap_or(1.0),
        // As files that do not give it are read.
        softcap: Some(config.logit_softcap.unwrap_or(30.0)),
        ..Head::LOGITS
    },
    source: Some(Source {
        names: MUSE_NAMES,
        changes: &[("attn_q", Change::NeighbourPairs), ("attn_k", Change::NeighbourPairs)],
        constants: &[("attn_q_norm", Some("qk_scale_factor")), ("attn_k_norm", None)],
        parameters: &[
            Parameter::VocabularySize,
            Parameter::Number("final_logit_softcapping", &["final_logit_softcapping"]),
            Parameter::Number("logit_scale", &["output_multiplier"]),
            Parameter::Count("attention.sliding_window", &["sliding_window"]),
            Parameter::WindowPattern(4),
        ],
        left_out: &["vision_tower.", "vision_adapter.", "vision_projection."],
        ..Source::TEXT_PART
    }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let (mask, rope) = match config.window {
        Some(window) if config.has_window(layer_index, 4) => {
            (Mask::Window(window), Some(Rope::interleaved(config).of_windows(config)))
        }
        _ => (Mask::Causal, None),
    };
    Layer {
        mixer: Mixer::Attention(Attention {
            q_norm: Norm::Rms("attn_q_norm"),
            k_norm: Norm::Rms("attn_k_norm"),
            rope,
            mask,
            gate: AttentionGate::Tensor("attn_gate"),
            ..Attention::STANDARD
        }),
        // Less is added under the root than in the norms before.
        mixer_output_norm: Norm::RmsAdding("post_attention_norm", 1e-8),
        ffn_output_norm: Norm::RmsAdding("post_ffw_norm", 1e-8),
        ..Layer::PRE_NORM
    }
}
