//! BERT and its kin, from which embeddings are pooled: attention in both directions, norms of the stream itself.
//!
//! References: Devlin et al., "BERT", section 3; Nussbaum et al., "Nomic Embed", section 3 (angles, gates). GELU in its
//! tanh form, as files of these models are made for. GGUF names: `bert`, `nomic-bert`, `nomic-bert-moe`.

use lair_compute::{Activation, Mask};

use crate::ModelConfig;
use crate::spec::source::{BERT_NAMES, Derived, NOMIC_MOE_NAMES, NOMIC_NAMES, Parameter};
use crate::spec::{
    Architecture, Attention, DenseFfn, Embedding, ExpertsFfn, Ffn, Head, HeadOutput, Layer, Mixer, Norm, Positions,
    Rope, Source,
};

/// BERT, XLM-RoBERTa, and what was trained from them: MiniLM, BGE, E5, mxbai, Arctic.
pub const BERT: Architecture = Architecture {
    gguf_name: "bert",
    hf_names: &["BertModel", "XLMRobertaModel", "RobertaModel", "CamembertModel", "BertForMaskedLM"],
    embedding: |config| Embedding { positions: Positions::Learned("position_embd"), ..embedding(config) },
    layer: |_, _| layer(None, Ffn::Dense(DenseFfn::GELU)),
    is_encoder: true,
    source: Some(Source {
        family: BERT_NAMES,
        roots: &["bert.", "roberta."],
        parameters: &[Parameter::FlagOr("attention.causal", &[], false), Parameter::ContextBehindPadding],
        left_out: &["pooler.", "cls.", "lm_head.", "embeddings.position_ids"],
        ..Source::USUAL
    }),
    head: |_| Head { norm: Norm::None, output: HeadOutput::HiddenState, ..Head::LOGITS },
    ..Architecture::DECODER
};

/// Nomic Embed 1 and 1.5.
pub const NOMIC_BERT: Architecture = Architecture {
    gguf_name: "nomic-bert",
    hf_names: &["NomicBertModel"],
    embedding,
    layer: |config, _| layer(Some(Rope::half_split(config)), Ffn::Dense(DenseFfn::SWIGLU)),
    source: Some(Source {
        family: NOMIC_NAMES,
        roots: &["nomic_bert."],
        parameters: &[Parameter::FlagOr("attention.causal", &[], false)],
        left_out: &["pooler.", "cls."],
        ..Source::USUAL
    }),
    // Published models have no biases, and the converter's own runtime leaves these out.
    ignored_tensors: &[".ffn_up.bias", ".ffn_down.bias"],
    ..BERT
};

/// Nomic Embed 2: experts in every second layer.
pub const NOMIC_BERT_MOE: Architecture = Architecture {
    gguf_name: "nomic-bert-moe",
    hf_names: &["NomicBertModel"],
    embedding,
    layer: nomic_moe_layer,
    source: Some(Source {
        names: NOMIC_MOE_NAMES,
        family: NOMIC_NAMES,
        roots: &["nomic_bert."],
        parameters: &[
            Parameter::FlagOr("attention.causal", &[], false),
            Parameter::Derived(Derived::TrainedContext),
            Parameter::Count("moe_every_n_layers", &["moe_every_n_layers"]),
            Parameter::Count("expert_used_count", &["moe_top_k"]),
        ],
        // The reference's own runtime knows no bias of all experts.
        left_out: &["pooler.", "cls.", ".mlp.experts.bias"],
        ..Source::USUAL
    }),
    ..BERT
};

/// Two kinds of tokens where the file does not say how many.
pub(super) fn embedding(config: &ModelConfig) -> Embedding {
    Embedding {
        token_types: Some(("token_types", config.token_type_count.unwrap_or(2))),
        norm: Norm::Layer("token_embd_norm"),
        ..Embedding::TOKENS
    }
}

fn nomic_moe_layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let rope = Some(Rope::half_split(config));
    let has_experts = config.experts_every.is_some_and(|step| layer_index % step == 1);
    if !has_experts {
        return layer(rope, Ffn::Dense(DenseFfn::GELU));
    }
    let experts = ExpertsFfn {
        gate: None,
        fused: None,
        activation: Activation::GeluTanh,
        normalise: false,
        ffn_size: Some(config.ffn_sizes[layer_index]),
        ..ExpertsFfn::SOFTMAX
    };
    layer(rope, Ffn::Experts(experts))
}

/// Attention in both directions, and a norm of the stream behind each part.
pub(super) fn layer(rope: Option<Rope>, ffn: Ffn) -> Layer {
    Layer {
        mixer_norm: Norm::None,
        mixer: Mixer::Attention(Attention { rope, mask: Mask::Bidirectional, ..Attention::STANDARD }),
        mixer_stream_norm: Norm::Layer("attn_output_norm"),
        ffn_norm: Norm::None,
        ffn,
        ffn_stream_norm: Norm::Layer("layer_output_norm"),
        ..Layer::PRE_NORM
    }
}
