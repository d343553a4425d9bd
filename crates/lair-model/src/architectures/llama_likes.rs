//! Architectures that are Llama or Qwen layers under another name.
//!
//! GGUF names: `internlm2`, `ernie4_5`, `xverse`, `exaone`, `qwen2vl`, `qwen3vl`,
//! `qwen3vlmoe`. The picture models' positions have
//! three axes; for text all three are equal, and the angles are the usual ones.

use super::{qwen2, qwen3, qwen3moe};
use crate::ModelConfig;
use crate::spec::source::{EXAONE_NAMES, INTERNLM2_NAMES, Parameter};
use crate::spec::{Architecture, Attention, Layer, Mixer, Rope, Source};

/// InternLM 2.
pub const INTERNLM2: Architecture = Architecture {
    gguf_name: "internlm2",
    hf_names: &["InternLM2ForCausalLM"],
    layer: interleaved,
    source: Some(Source { names: INTERNLM2_NAMES, ..Source::USUAL }),
    ..Architecture::DECODER
};

/// ERNIE 4.5, dense.
pub const ERNIE4_5: Architecture = Architecture {
    gguf_name: "ernie4_5",
    hf_names: &["Ernie4_5_ForCausalLM", "Ernie4_5ForCausalLM"],
    layer: interleaved,
    // Published models have none, and the converter's own runtime leaves it out.
    ignored_tensors: &[".attn_output.bias"],
    source: Some(Source::USUAL),
    ..Architecture::DECODER
};

/// EXAONE 3 and 3.5.
pub const EXAONE: Architecture = Architecture {
    gguf_name: "exaone",
    hf_names: &["ExaoneForCausalLM"],
    layer: |config, _| {
        let rope = Some(Rope::half_split(config).with_factors(config));
        Layer { mixer: Mixer::Attention(Attention { rope, ..Attention::STANDARD }), ..Layer::PRE_NORM }
    },
    source: Some(Source {
        family: EXAONE_NAMES,
        roots: &["transformer."],
        parameters: &[
            Parameter::RopeDimensions,
            // The norms are of the other kind than their key says.
            Parameter::NumberOr("attention.layer_norm_rms_epsilon", &["layer_norm_epsilon"], 1e-5),
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

/// XVERSE.
pub const XVERSE: Architecture = Architecture {
    gguf_name: "xverse",
    hf_names: &["XverseForCausalLM"],
    layer: interleaved,
    source: Some(Source { parameters: &[Parameter::RopeDimensions], ..Source::LLAMA }),
    ..Architecture::DECODER
};

/// The text part of Qwen 2 VL and 2.5 VL.
pub const QWEN2VL: Architecture = Architecture {
    gguf_name: "qwen2vl",
    hf_names: &["Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration"],
    layer: qwen2::layer,
    // Published models have none, and the converter's own runtime leaves it out.
    ignored_tensors: &["output.bias"],
    source: Some(Source::TEXT_PART),
    ..Architecture::DECODER
};

/// The text part of Qwen 3 VL.
pub const QWEN3VL: Architecture = Architecture {
    gguf_name: "qwen3vl",
    hf_names: &["Qwen3VLForConditionalGeneration"],
    layer: qwen3::layer,
    source: Some(Source::TEXT_PART),
    classifier: qwen3::QWEN3.classifier,
    ..Architecture::DECODER
};

/// The text part of Qwen 3 VL with experts.
pub const QWEN3VLMOE: Architecture = Architecture {
    gguf_name: "qwen3vlmoe",
    hf_names: &["Qwen3VLMoeForConditionalGeneration"],
    layer: qwen3moe::layer,
    source: Some(Source {
        parameters: &[Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size"])],
        ..Source::TEXT_PART
    }),
    classifier: qwen3::QWEN3.classifier,
    ..Architecture::DECODER
};

fn interleaved(config: &ModelConfig, _layer_index: usize) -> Layer {
    Layer {
        mixer: Mixer::Attention(Attention { rope: Some(Rope::interleaved(config)), ..Attention::STANDARD }),
        ..Layer::PRE_NORM
    }
}
