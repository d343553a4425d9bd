//! Qwen 4 (experimental): the layers of Qwen 3.5 with experts on several residual streams, embeddings of the last tokens, and
//! attention that in long contexts reads only the runs of keys that an indexer chooses, each by the mean of its small keys,
//! and those behind the last whole run.
//!
//! Reference: the published model code. GGUF name: `qwen4exp`.

use lair_compute::Activation;

use super::qwen35moe;
use crate::ModelConfig;
use crate::spec::source::{NormOffset, QWEN4_NAMES, QWEN4_PARAMETERS, VISION};
use crate::spec::{
    Architecture, Attention, Compressor, GatedDeltaNet, GatedStream, GatedStreams, Head, Indexer, IndexerHeads,
    IndexerKeys, KeyChoice, KeyUnit, Layer, Mixer, NgramEmbedding, Norm, Rope, Source,
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
    ignored_tensors: &[".attn_q.bias", ".attn_k.bias", ".attn_v.bias"],
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
            Mixer::Attention(mixer) => {
                let choice =
                    indexer(config, config.run_lengths[layer_index]).map_or(KeyChoice::All, KeyChoice::Indexed);
                Mixer::Attention(Attention { choice, ..mixer })
            }
            mixer => mixer,
        },
        ffn_norm: Norm::None,
        gated: Some(GatedStreams::STANDARD),
        ngrams: has_ngrams.then_some(NgramEmbedding::STANDARD),
        ..layer
    }
}

/// What chooses runs of so many positions; layers without runs read all keys.
fn indexer(config: &ModelConfig, length: usize) -> Option<Indexer> {
    let rope = Some(Rope::half_split(config));
    let indexer = Indexer::of(config).filter(|_| length > 0)?;
    Some(Indexer {
        q: "indexer.q_proj",
        q_norm: Norm::Rms("indexer.q_norm"),
        keys: IndexerKeys::Compressed(Compressor {
            values: "indexer.k_proj",
            value_norm: Norm::None,
            gates: None,
            norm: Norm::Rms("indexer.k_norm"),
            rope,
            length,
            overlaps: false,
        }),
        heads: IndexerHeads::Summed,
        rope,
        unit: KeyUnit::Pool { length, takes_rest: true },
        chosen_count: indexer.chosen_count / length,
        ..indexer
    })
}
