//! Qwen 4 (experimental): the layers of Qwen 3.5 with experts on several residual streams, embeddings of the last tokens, and
//! attention that in long contexts reads only the blocks of keys that an indexer chooses; up to so many all are read, and that
//! is what runs: longer contexts are refused.
//!
//! Reference: the published model code. GGUF name: `qwen4exp`.

use lair_compute::Activation;

use super::qwen35moe;
use crate::ModelConfig;
use crate::spec::source::{NormOffset, QWEN4_NAMES, QWEN4_PARAMETERS, VISION};
use crate::spec::{
    Architecture, Attention, GatedDeltaNet, GatedStream, GatedStreams, Head, Layer, Mixer, NgramEmbedding, Norm, Source,
};

/// Qwen 4.
pub const QWEN4EXP: Architecture = Architecture {
    gguf_name: "qwen4exp",
    hf_names: &["Qwen4ExpForCausalLM", "Qwen4ExpForConditionalGeneration"],
    layer,
    head: |_| Head {
        norm: Norm::None,
        gated: Some(GatedStream { stem: "output_hc", is_written: false }),
        ..Head::LOGITS
    },
    source: Some(Source {
        names: QWEN4_NAMES,
        parameters: QWEN4_PARAMETERS,
        norm_offset: NormOffset::One,
        left_out: VISION,
        ..Source::TEXT_PART
    }),
    ignored_tensors: &[
        ".indexer.k_norm.weight",
        ".indexer.k_proj.weight",
        ".indexer.q_norm.weight",
        ".indexer.q_proj.weight",
        ".attn_q.bias",
        ".attn_k.bias",
        ".attn_v.bias",
    ],
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let layer = (qwen35moe::QWEN35MOE.layer)(config, layer_index);
    let has_ngrams = config.ngrams.as_ref().is_some_and(|ngrams| ngrams.layer_index == layer_index);
    Layer {
        mixer_norm: Norm::None,
        mixer: match layer.mixer {
            Mixer::GatedDeltaNet(mixer) => {
                Mixer::GatedDeltaNet(GatedDeltaNet { gate_activation: Activation::Sigmoid, ..mixer })
            }
            Mixer::Attention(mixer) => Mixer::Attention(Attention {
                chosen_keys_max: config.indexer.map(|indexer| indexer.chosen_count),
                ..mixer
            }),
            mixer => mixer,
        },
        ffn_norm: Norm::None,
        gated: Some(GatedStreams::STANDARD),
        ngrams: has_ngrams.then_some(NgramEmbedding::STANDARD),
        ..layer
    }
}
