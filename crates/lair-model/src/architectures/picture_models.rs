//! The text parts of models that see pictures. Positions of pictures have several axes; for text they are equal, and the
//! angles are the usual ones. The experts that CogVLM has for pictures are not used.
//!
//! References: Wang et al., "CogVLM", section 2.1; Cui et al., "PaddleOCR-VL", section 2. GGUF names: `cogvlm`, `paddleocr`.

use super::qwen2;
use crate::ModelConfig;
use crate::spec::source::{COGVLM_NAMES, Parameter};
use crate::spec::{Architecture, Attention, Layer, Mixer, Rope, Source};

/// CogVLM 1 and 2.
pub const COGVLM: Architecture = Architecture {
    gguf_name: "cogvlm",
    hf_names: &["CogVLMForCausalLM"],
    layer: cogvlm_layer,
    ignored_tensors: &[
        ".vis_attn_qkv.weight",
        ".vis_attn_output.weight",
        ".vis_gate.weight",
        ".vis_up.weight",
        ".vis_down.weight",
        // The angles are those of the base 10000, whatever the file says.
        "rope_freqs.weight",
    ],
    source: Some(Source {
        names: COGVLM_NAMES,
        parameters: &[
            Parameter::VocabularySize,
            Parameter::RopeDimensions,
            Parameter::Count("attention.head_count_kv", &["num_key_value_heads", "num_multi_query_heads"]),
        ],
        left_out: &["vision.", ".vision_expert_query_key_value.bias"],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

/// PaddleOCR-VL.
pub const PADDLEOCR: Architecture = Architecture {
    gguf_name: "paddleocr",
    hf_names: &["PaddleOCRVLForConditionalGeneration"],
    layer: qwen2::layer,
    source: Some(Source {
        parameters: &[Parameter::VocabularySize],
        left_out: &["visual.", "mlp_AR.", "projector."],
        ..Source::TEXT_PART
    }),
    ..Architecture::DECODER
};

fn cogvlm_layer(config: &ModelConfig, _layer_index: usize) -> Layer {
    let rope = Rope { theta: 10_000.0, ..Rope::half_split(config).unscaled() };
    Layer { mixer: Mixer::Attention(Attention { rope: Some(rope), ..Attention::STANDARD }), ..Layer::PRE_NORM }
}
