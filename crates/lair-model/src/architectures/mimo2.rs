//! Xiaomi's MiMo V2. Windows in most layers, with heads and angles of their own; scores without a value where the file has
//! them; experts by sigmoid. Layers that predict further tokens are not run.
//!
//! Reference: the published model code of Xiaomi. GGUF name: `mimo2`.

use lair_compute::{Gating, Mask};

use crate::ModelConfig;
use crate::spec::source::{MIMO2_PARAMETERS, Renaming};
use crate::spec::{
    Architecture, Attention, DenseFfn, ExpertScoring, ExpertsFfn, Ffn, Layer, Mixer, Rope, Sinks, Source,
};

/// MiMo V2.
pub const MIMO2: Architecture = Architecture {
    gguf_name: "mimo2",
    hf_names: &["MiMoV2FlashForCausalLM", "MiMoV2ForCausalLM"],
    layer,
    // Published models have none, and the converter's own runtime leaves them out.
    ignored_tensors: &[".attn_q.bias", ".attn_k.bias", ".attn_v.bias"],
    source: Some(Source {
        names: &[Renaming::new("layers.*.self_attn.attention_sink_bias", "blk.*.attn_sinks")],
        parameters: MIMO2_PARAMETERS,
        left_out: &["mtp.", "visual.", "audio_encoder.", "speech_embeddings."],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let rope = Rope::half_split(config);
    let attention = match config.window {
        Some(window) if config.has_window(layer_index, 1) => Attention {
            rope: Some(Rope { dimension_count: config.window_rope_dimension_count, ..rope.of_windows(config) }),
            mask: Mask::Window(window),
            key_dim: Some(config.window_key_dim),
            value_dim: Some(config.window_value_dim),
            ..Attention::STANDARD
        },
        _ => Attention { rope: Some(rope), ..Attention::STANDARD },
    };
    let experts = ExpertsFfn {
        scoring: ExpertScoring::Gating(Gating::Sigmoid),
        normalise: true,
        shared: None,
        ..ExpertsFfn::from_file(config, Gating::Sigmoid)
    };
    Layer {
        mixer: Mixer::Attention(Attention {
            sinks: Sinks::IfThere("attn_sinks"),
            output_scale: config.value_scale.unwrap_or(1.0),
            ..attention
        }),
        ffn: Ffn::ExpertsIfThere { experts, dense: DenseFfn::SWIGLU },
        ..Layer::PRE_NORM
    }
}
