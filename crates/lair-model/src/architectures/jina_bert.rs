//! The embeddings of Jina: BERT's layers with other positions.
//!
//! References: Guenther et al., "Jina Embeddings 2", section 3; Sturua et al., "jina-embeddings-v3", section 3. GGUF names:
//! `jina-bert-v2`, `jina-bert-v3`.

use lair_compute::Mask;

use super::bert;
use crate::ModelConfig;
use crate::spec::source::{BERT_NAMES, JINA_2_NAMES, JINA3_NAMES, Parameter};
use crate::spec::{Architecture, Attention, DenseFfn, Ffn, Layer, Mixer, Norm, NormSpan, Rope, Source};

/// Jina Embeddings 2: linear biases by distance in place of positions.
///
/// Reference: Guenther et al., "Jina Embeddings 2", section 3.
pub const JINA_BERT_V2: Architecture = Architecture {
    gguf_name: "jina-bert-v2",
    hf_names: &["JinaBertModel", "JinaBertForMaskedLM"],
    embedding: bert::embedding,
    layer: jina_2_layer,
    source: Some(Source {
        names: JINA_2_NAMES,
        family: BERT_NAMES,
        roots: &["bert."],
        parameters: &[Parameter::FlagOr("attention.causal", &[], false)],
        left_out: &["pooler.", "cls.", "embeddings.position_ids", "encoder.alibi"],
        ..Source::USUAL
    }),
    ..bert::BERT
};

/// Jina Embeddings 3.
pub const JINA_BERT_V3: Architecture = Architecture {
    gguf_name: "jina-bert-v3",
    hf_names: &["XLMRobertaFlashModel", "JinaEmbeddingsV3Model"],
    embedding: bert::embedding,
    layer: |config, _| bert::layer(Some(Rope::half_split(config)), Ffn::Dense(DenseFfn::GELU)),
    source: Some(Source {
        family: JINA3_NAMES,
        roots: &["roberta.", "model."],
        parameters: &[Parameter::FlagOr("attention.causal", &[], false)],
        left_out: &["pooler.", "lm_head.", ".0.lora_A", ".0.lora_B"],
        ..Source::USUAL
    }),
    ..bert::BERT
};

fn jina_2_layer(_: &ModelConfig, _: usize) -> Layer {
    let layer = bert::layer(None, Ffn::Dense(DenseFfn::GEGLU));
    let attention = Attention {
        // Jina's model for code has these norms, and adds a layer's input a second time.
        q_norm: Norm::LayerIfThere("attn_q_norm"),
        k_norm: Norm::LayerIfThere("attn_k_norm"),
        norm_span: NormSpan::Row,
        alibi_bias_max: Some(8.0),
        mask: Mask::Bidirectional,
        ..Attention::STANDARD
    };
    Layer { mixer: Mixer::Attention(attention), mixer_second_norm: Norm::LayerIfThere("attn_norm_2"), ..layer }
}
