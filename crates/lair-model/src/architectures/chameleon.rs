//! Chameleon, the part that reads and writes text. Llama layers whose queries and keys are normalised by mean and variance,
//! with a weight for each element of each head; the larger model has norms behind both halves instead of before.
//!
//! Tokens of pictures are never chosen. Reference: Chameleon Team, "Chameleon", section 2.2. GGUF name: `chameleon`.

use crate::ModelConfig;
use crate::spec::source::{Change, Parameter, Renaming};
use crate::spec::{Architecture, Attention, Head, Layer, Mixer, Norm, NormSpan, Rope, Source};

/// Chameleon.
pub const CHAMELEON: Architecture = Architecture {
    gguf_name: "chameleon",
    hf_names: &["ChameleonForConditionalGeneration", "ChameleonForCausalLM"],
    layer,
    source: Some(Source {
        names: &[
            Renaming::new("layers.*.self_attn.q_norm", "blk.*.attn_q_norm").with(Change::NeighbourColumns),
            Renaming::new("layers.*.self_attn.k_norm", "blk.*.attn_k_norm").with(Change::NeighbourColumns),
        ],
        left_out: &["vqmodel."],
        parameters: &[
            Parameter::VocabularySize,
            Parameter::RopeDimensions,
            Parameter::FlagOr("swin_norm", &["swin_norm"], false),
        ],
        ..Source::LLAMA
    }),
    head: |_| Head { left_out: Some(PICTURE_TOKENS), ..Head::LOGITS },
    ..Architecture::DECODER
};

/// The tokens of pictures: the first, and the one behind the last.
const PICTURE_TOKENS: (usize, usize) = (4, 8196);

fn layer(config: &ModelConfig, _layer_index: usize) -> Layer {
    let layer = Layer {
        mixer: Mixer::Attention(Attention {
            q_norm: Norm::LayerAdding("attn_q_norm", 1e-5),
            k_norm: Norm::LayerAdding("attn_k_norm", 1e-5),
            norm_span: NormSpan::HeadOfRow,
            rope: Some(Rope::interleaved(config)),
            ..Attention::STANDARD
        }),
        ..Layer::PRE_NORM
    };
    match config.swin_norm {
        Some(true) => Layer {
            mixer_norm: Norm::None,
            mixer_output_norm: layer.mixer_norm,
            ffn_norm: Norm::None,
            ffn_output_norm: layer.ffn_norm,
            ..layer
        },
        _ => layer,
    }
}
