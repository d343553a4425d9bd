//! dots.llm3 note. Attention over compressed keys and values whose heads are gated and whose turned key is normalised; most
//! layers have windows, with widths and angles of their own, the others read the keys that an indexer chooses.
//!
//! Reference: the published model code of Rednote. GGUF name: `dots3note`.

use lair_compute::{Gating, Mask, OutputGate};

use super::deepseek::with_experts;
use crate::ModelConfig;
use crate::spec::source::{DOTS3_NAMES, DOTS3_PARAMETERS};
use crate::spec::{Architecture, ExpertsFfn, Indexer, KeyChoice, LatentAttention, Layer, Mixer, Norm, Rope, Source};

/// dots.llm3 note.
pub const DOTS3NOTE: Architecture = Architecture {
    gguf_name: "dots3note",
    hf_names: &["Dots3NoteForCausalLM", "Dots3NoteForConditionalGeneration"],
    layer,
    source: Some(Source {
        names: DOTS3_NAMES,
        parameters: DOTS3_PARAMETERS,
        left_out: &["vision_encoder.", "audio_encoder.", "mtp."],
        ..Source::TEXT_PART
    }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let attention = LatentAttention {
        rope_norm: Norm::Rms("attn_k_norm"),
        gate: Some(("attn_gate", OutputGate::SIGMOID_OF_HEAD)),
        ..LatentAttention::of(config)
    };
    let rope = Rope::interleaved(config);
    let indexer = Indexer::of(config);
    let indexer = indexer.map(|indexer| Indexer { rope: Some(Rope::half_split(config)), ..indexer });
    let head_dim = |attention: &LatentAttention| (attention.nope_dim + attention.rope_dim) as f32;
    let attention = match (config.window, config.latent) {
        (Some(window), Some(latent)) if config.has_window(layer_index, 1) => {
            let (kv_rank, key_dim, value_dim) = latent.of_windows;
            LatentAttention {
                kv_rank,
                nope_dim: key_dim.saturating_sub(attention.rope_dim),
                value_dim,
                rope: Some(rope.of_windows(config)),
                mask: Mask::Window(window),
                scale: 1.0 / (key_dim as f32).sqrt(),
                ..attention
            }
        }
        _ => LatentAttention {
            rope: Some(rope),
            scale: 1.0 / head_dim(&attention).sqrt(),
            choice: indexer.map_or(KeyChoice::All, KeyChoice::Indexed),
            ..attention
        },
    };
    let layer = Layer { mixer: Mixer::LatentAttention(attention), ..Layer::PRE_NORM };
    with_experts(layer, ExpertsFfn::from_file(config, Gating::Sigmoid), config, layer_index)
}
