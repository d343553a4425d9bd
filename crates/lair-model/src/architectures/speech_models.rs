//! The language models within models of speech: tokens are those of an audio codec, which is not run here.
//!
//! References: "Qwen3-TTS Technical Report", section 3; Kyutai's published model code of Pocket TTS. GGUF names: `qwen3tts`,
//! `pockettts`.

use super::qwen3;
use crate::ModelConfig;
use crate::spec::{Architecture, Attention, DenseFfn, Ffn, Head, Layer, Mixer, Norm, Rope};

/// The talker of Qwen 3 TTS.
pub const QWEN3TTS: Architecture = Architecture {
    gguf_name: "qwen3tts",
    hf_names: &["Qwen3TTSForConditionalGeneration"],
    layer: qwen3::layer,
    classifier: qwen3::QWEN3.classifier,
    ..Architecture::DECODER
};

/// The backbone of Pocket TTS.
pub const POCKETTTS: Architecture = Architecture {
    gguf_name: "pockettts",
    hf_names: &["PocketTTSModel"],
    layer: pockettts_layer,
    head: |_| Head { norm: Norm::Layer("output_norm"), ..Head::LOGITS },
    ..Architecture::DECODER
};

fn pockettts_layer(config: &ModelConfig, _layer_index: usize) -> Layer {
    let attention = Attention { rope: Some(Rope::interleaved(config)), ..Attention::STANDARD };
    Layer {
        mixer_norm: Norm::Layer("attn_norm"),
        mixer: Mixer::Attention(attention),
        ffn_norm: Norm::Layer("ffn_norm"),
        ffn: Ffn::Dense(DenseFfn::GELU),
        ..Layer::PRE_NORM
    }
}
