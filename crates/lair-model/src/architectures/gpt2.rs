//! GPT-2 and StarCoder. Learned positions, layer norms with biases, queries, keys and values in one product, GELU without a gate.
//!
//! Reference: Radford et al., "Language Models are Unsupervised Multitask Learners", section 2.3; Li et al.,
//! "StarCoder: may the source be with you", section 5 (one head of keys and values). GGUF names: `gpt2`, `starcoder`.

use crate::spec::source::{GPT_NAMES, GPT2_NAMES, Parameter};
use crate::spec::{Architecture, DenseFfn, Embedding, Ffn, Head, Layer, Norm, Positions, Source};

/// GPT-2.
pub const GPT2: Architecture = Architecture {
    gguf_name: "gpt2",
    hf_names: &["GPT2LMHeadModel"],
    embedding: |_| Embedding { positions: Positions::Learned("position_embd"), ..Embedding::TOKENS },
    layer: |_, _| Layer {
        mixer_norm: Norm::Layer("attn_norm"),
        ffn_norm: Norm::Layer("ffn_norm"),
        ffn: Ffn::Dense(DenseFfn::GELU),
        ..Layer::PRE_NORM
    },
    head: |_| Head { norm: Norm::Layer("output_norm"), ..Head::LOGITS },
    source: Some(Source {
        names: GPT2_NAMES,
        family: GPT_NAMES,
        roots: &["transformer."],
        parameters: &[Parameter::FfnOfHidden],
        left_out: &[".attn.bias", ".attn.masked_bias"],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

/// StarCoder and SantaCoder.
pub const STARCODER: Architecture = Architecture {
    gguf_name: "starcoder",
    hf_names: &["GPTBigCodeForCausalLM"],
    source: Some(Source {
        family: GPT_NAMES,
        roots: &["transformer."],
        parameters: &[Parameter::FfnOfHidden, Parameter::CountOr("attention.head_count_kv", &[], 1)],
        left_out: &[".attn.bias", ".attn.masked_bias"],
        ..Source::USUAL
    }),
    ..GPT2
};
