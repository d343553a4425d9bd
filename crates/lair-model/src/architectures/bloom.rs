//! BLOOM. Linear attention biases instead of positions, a norm of the embeddings, layer norms and biases, GELU.
//!
//! Reference: BigScience Workshop, "BLOOM", section 3.2; Press et al., "Train Short, Test Long". GGUF name: `bloom`.

use crate::spec::source::{BLOOM_NAMES, Change, Parameter};
use crate::spec::{Architecture, Attention, DenseFfn, Embedding, Ffn, Head, Layer, Mixer, Norm, Source};

/// BLOOM.
pub const BLOOM: Architecture = Architecture {
    gguf_name: "bloom",
    hf_names: &["BloomForCausalLM"],
    embedding: |_| Embedding { norm: Norm::Layer("token_embd_norm"), ..Embedding::TOKENS },
    layer: |_, _| Layer {
        mixer_norm: Norm::Layer("attn_norm"),
        mixer: Mixer::Attention(Attention { alibi_bias_max: Some(8.0), ..Attention::STANDARD }),
        ffn_norm: Norm::Layer("ffn_norm"),
        ffn: Ffn::Dense(DenseFfn::GELU),
        ..Layer::PRE_NORM
    },
    head: |_| Head { norm: Norm::Layer("output_norm"), ..Head::LOGITS },
    source: Some(Source {
        family: BLOOM_NAMES,
        roots: &["transformer."],
        changes: &[("attn_qkv", Change::PartsOfHeads)],
        parameters: &[
            Parameter::CountOr("context_length", &["seq_length"], 2048),
            Parameter::FfnOfHidden,
            Parameter::KvHeads,
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};
