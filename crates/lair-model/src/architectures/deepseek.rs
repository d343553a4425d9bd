//! DeepSeekMoE, and the text part of DeepSeek OCR. Llama layers with experts whose softmax weights are left as they are,
//! shared networks, and leading dense layers.
//!
//! Reference: Dai et al., "DeepSeekMoE", section 3. GGUF names: `deepseek`, `deepseek2-ocr`.

use lair_compute::Gating;

use super::llama;
use crate::ModelConfig;
use crate::spec::source::Parameter;
use crate::spec::{Architecture, Attention, ExpertsFfn, Ffn, Layer, Mixer, Rope, Source};

/// DeepSeekMoE.
pub const DEEPSEEK: Architecture = Architecture {
    gguf_name: "deepseek",
    hf_names: &["DeepseekForCausalLM"],
    layer: |config, layer_index| {
        let ffn = ExpertsFfn::from_file(config, Gating::Softmax);
        let plain = ExpertsFfn { scoring: ExpertsFfn::SOFTMAX.scoring, normalise: false, selection_bias: None, ..ffn };
        with_experts(llama::layer(config, layer_index), plain, config, layer_index)
    },
    source: Some(Source {
        parameters: &[
            Parameter::VocabularySize,
            Parameter::RopeDimensions,
            Parameter::Count("expert_count", &["n_routed_experts"]),
            Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size"]),
            Parameter::Count("expert_shared_count", &["n_shared_experts"]),
            Parameter::Count("leading_dense_block_count", &["first_k_dense_replace"]),
            Parameter::NumberOr("expert_weights_scale", &[], 1.0),
        ],
        ..Source::LLAMA
    }),
    ..Architecture::DECODER
};

/// The text part of DeepSeek OCR.
pub const DEEPSEEK2_OCR: Architecture = Architecture {
    gguf_name: "deepseek2-ocr",
    hf_names: &[
        "DeepseekOCRForCausalLM",
        "DeepseekOCR2ForCausalLM",
        "UnlimitedOCRForCausalLM",
        "DeepseekOcr2ForConditionalGeneration",
    ],
    layer: |config, layer_index| {
        let rope = Some(Rope::half_split(config).unscaled());
        let layer = Layer { mixer: Mixer::Attention(Attention { rope, ..Attention::STANDARD }), ..Layer::PRE_NORM };
        with_experts(layer, ExpertsFfn::from_file(config, Gating::Softmax), config, layer_index)
    },
    source: Some(Source {
        parameters: &[
            Parameter::VocabularySize,
            Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size"]),
            Parameter::Count("expert_shared_count", &["n_shared_experts"]),
            Parameter::LeadingDense,
            Parameter::Number("expert_weights_scale", &["routed_scaling_factor"]),
            Parameter::Flag("expert_weights_norm", &["norm_topk_prob"]),
            Parameter::RopeDimensions,
        ],
        left_out: &["sam_model.", "vision_model.", "qwen2_model.", "projector.", "view_seperator", "image_newline"],
        ..Source::TEXT_PART
    }),
    ..Architecture::DECODER
};

/// The layer with these experts, unless it is one of the leading ones.
pub(super) fn with_experts(layer: Layer, ffn: ExpertsFfn, config: &ModelConfig, layer_index: usize) -> Layer {
    match config.is_leading_dense(layer_index) {
        true => Layer { ffn: Layer::PRE_NORM.ffn, ..layer },
        false => Layer { ffn: Ffn::Experts(ffn), ..layer },
    }
}
