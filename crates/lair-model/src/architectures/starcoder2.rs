//! StarCoder 2 and CodeShell. Layer norms and biases everywhere, GELU without a gate.
//!
//! References: Lozhkov et al., "StarCoder 2 and The Stack v2", section 5; Xie et al., "CodeShell Technical Report",
//! section 2. GGUF names: `starcoder2`, `codeshell`.

use crate::ModelConfig;
use crate::spec::source::{GPT_NAMES, Parameter, STARCODER2_NAMES};
use crate::spec::{Architecture, Attention, DenseFfn, Ffn, Head, Layer, Mixer, Norm, Rope, Source};

/// StarCoder 2.
pub const STARCODER2: Architecture = Architecture {
    gguf_name: "starcoder2",
    hf_names: &["Starcoder2ForCausalLM"],
    layer,
    head: |_| Head { norm: Norm::Layer("output_norm"), ..Head::LOGITS },
    source: Some(Source { names: STARCODER2_NAMES, ..Source::USUAL }),
    ..Architecture::DECODER
};

/// CodeShell.
pub const CODESHELL: Architecture = Architecture {
    gguf_name: "codeshell",
    hf_names: &["CodeShellForCausalLM"],
    source: Some(Source {
        family: GPT_NAMES,
        roots: &["transformer."],
        parameters: &[
            Parameter::FfnOfHidden,
            Parameter::Count("attention.head_count_kv", &["num_query_groups"]),
            Parameter::NumberOr("rope.freq_base", &[], 10_000.0),
            Parameter::Text("rope.scaling.type", "linear"),
            Parameter::NumberOr("rope.scaling.factor", &[], 1.0),
        ],
        left_out: &[".attn.bias", ".attn.masked_bias"],
        ..Source::USUAL
    }),
    ..STARCODER2
};

fn layer(config: &ModelConfig, _layer_index: usize) -> Layer {
    Layer {
        mixer_norm: Norm::Layer("attn_norm"),
        mixer: Mixer::Attention(Attention { rope: Some(Rope::half_split(config)), ..Attention::STANDARD }),
        ffn_norm: Norm::Layer("ffn_norm"),
        ffn: Ffn::Dense(DenseFfn::GELU),
        ..Layer::PRE_NORM
    }
}
