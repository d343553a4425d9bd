//! GPT-2. Learned positions, layer norms with biases, queries, keys and values in one product, GELU without a gate.
//!
//! Reference: Radford et al., "Language Models are Unsupervised Multitask Learners", section 2.3. GGUF name: `gpt2`.

use crate::spec::{Architecture, DenseFfn, Embedding, Ffn, Head, Layer, Norm};

/// GPT-2.
pub const GPT2: Architecture = Architecture {
    gguf_name: "gpt2",
    hf_names: &["GPT2LMHeadModel"],
    embedding: |_| Embedding { positions: Some("position_embd"), ..Embedding::TOKENS },
    layer: |_, _| Layer {
        mixer_norm: Norm::Layer("attn_norm"),
        ffn_norm: Norm::Layer("ffn_norm"),
        ffn: Ffn::Dense(DenseFfn::GELU),
        ..Layer::PRE_NORM
    },
    head: |_| Head { norm: Norm::Layer("output_norm"), ..Head::LOGITS },
    ..Architecture::DECODER
};
