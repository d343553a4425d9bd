//! Llama layers that attend in both directions, from which embeddings are pooled.
//!
//! References: Boizard et al., "EuroBERT", section 2; Le Breton et al., "NeoBERT", section 3; the model code of NVIDIA's
//! Llama embedding models. GGUF names: `eurobert`, `neo-bert`, `llama-embed`.

use lair_compute::Mask;

use super::{llama, qwen2};
use crate::ModelConfig;
use crate::spec::source::{Derived, NEO_BERT_NAMES, Parameter};
use crate::spec::{Architecture, DenseFfn, Ffn, Gate, Head, HeadOutput, Layer, Mixer, Norm, Rope, Source};

/// EuroBERT.
pub const EUROBERT: Architecture = Architecture {
    gguf_name: "eurobert",
    hf_names: &["EuroBertModel"],
    layer: |config, layer_index| in_both_directions(qwen2::layer(config, layer_index)),
    is_encoder: true,
    source: Some(Source { parameters: &[Parameter::FlagOr("attention.causal", &[], false)], ..Source::USUAL }),
    head: |_| Head { output: HeadOutput::HiddenState, ..Head::LOGITS },
    ..Architecture::DECODER
};

/// NeoBERT.
pub const NEO_BERT: Architecture = Architecture {
    gguf_name: "neo-bert",
    hf_names: &["NeoBERT"],
    layer: neo_bert_layer,
    is_encoder: true,
    source: Some(Source {
        family: NEO_BERT_NAMES,
        roots: &["model."],
        parameters: &[
            Parameter::Derived(Derived::TwoThirdsOf("intermediate_size")),
            Parameter::FlagOr("attention.causal", &[], false),
            Parameter::NumberOr("rope.freq_base", &[], 10_000.0),
            Parameter::Text("rope.scaling.type", "none"),
            Parameter::NumberOr("attention.layer_norm_rms_epsilon", &["norm_eps"], 1e-6),
            Parameter::CountOr("pooling_type", &[], 2),
        ],
        left_out: &["decoder."],
        ..Source::USUAL
    }),
    head: |_| Head { norm: Norm::Rms("enc.output_norm"), output: HeadOutput::HiddenState, ..Head::LOGITS },
    ..Architecture::DECODER
};

/// Llama as an encoder.
pub const LLAMA_EMBED: Architecture = Architecture {
    gguf_name: "llama-embed",
    hf_names: &["LlamaBidirectionalModel"],
    layer: |config, layer_index| in_both_directions(llama::layer(config, layer_index)),
    is_encoder: true,
    head: |_| Head { output: HeadOutput::HiddenState, ..Head::LOGITS },
    source: Some(Source {
        // llama.cpp masks what follows unless the file says otherwise.
        parameters: &[
            Parameter::VocabularySize,
            Parameter::RopeDimensions,
            Parameter::FlagOr("attention.causal", &[], false),
        ],
        ..Source::LLAMA
    }),
    // What is left of the model it was trained from.
    ignored_tensors: &["output.weight"],
    ..Architecture::DECODER
};

fn neo_bert_layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let mut layer = in_both_directions(llama::layer(config, layer_index));
    if let Mixer::Attention(attention) = &mut layer.mixer {
        attention.rope = Some(Rope::interleaved(config));
    }
    Layer { ffn: Ffn::Dense(DenseFfn { gate: Gate::InUp, ..DenseFfn::SWIGLU }), ..layer }
}

fn in_both_directions(mut layer: Layer) -> Layer {
    if let Mixer::Attention(attention) = &mut layer.mixer {
        attention.mask = Mask::Bidirectional;
    }
    layer
}
