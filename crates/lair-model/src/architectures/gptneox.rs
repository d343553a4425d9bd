//! GPT-NeoX, Pythia, Dolly. Layer norms and biases, both halves side by side, each with its own norm; some models are
//! sequential.
//!
//! Reference: Black et al., "GPT-NeoX-20B", section 2.1. GGUF name: `gptneox`.

use crate::ModelConfig;
use crate::spec::source::{Change, GPTNEOX_NAMES, Parameter};
use crate::spec::{Architecture, Attention, DenseFfn, Ffn, Head, Layer, Mixer, Norm, Residual, Rope, Source};

/// GPT-NeoX.
pub const GPTNEOX: Architecture = Architecture {
    gguf_name: "gptneox",
    hf_names: &["GPTNeoXForCausalLM"],
    layer,
    head: |_| Head { norm: Norm::Layer("output_norm"), ..Head::LOGITS },
    source: Some(Source {
        family: GPTNEOX_NAMES,
        roots: &["gpt_neox."],
        changes: &[("attn_qkv", Change::PartsOfHeads)],
        parameters: &[
            Parameter::RopeDimensions,
            Parameter::FlagOr("use_parallel_residual", &["use_parallel_residual"], true),
        ],
        left_out: &[".attention.bias", ".attention.masked_bias"],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, _layer_index: usize) -> Layer {
    Layer {
        mixer_norm: Norm::Layer("attn_norm"),
        mixer: Mixer::Attention(Attention { rope: Some(Rope::half_split(config)), ..Attention::STANDARD }),
        ffn_norm: Norm::Layer("ffn_norm"),
        ffn: Ffn::Dense(DenseFfn::GELU),
        residual: if config.parallel_residual == Some(false) { Residual::Sequential } else { Residual::Parallel },
        ..Layer::PRE_NORM
    }
}
