//! DeepSeek V2, V3 and R1, Kimi K2, GLM 4.7 Flash, GigaChat 3; Mistral 4. Attention over compressed keys and values, experts
//! in groups with shared networks, leading dense layers. Queries of some grow with their position.
//!
//! References: DeepSeek-AI, "DeepSeek-V2", section 2; "DeepSeek-V3", section 2.1. Older files keep the products of keys and
//! values in one tensor. GGUF names: `deepseek2`, `mistral4`.

use lair_compute::{Gating, Temperature};

use super::deepseek::with_experts;
use crate::ModelConfig;
use crate::spec::source::{LATENT_APART_NAMES, LATENT_NAMES, LATENT_PARAMETERS, MISTRAL4_PARAMETERS};
use crate::spec::{Architecture, ExpertsFfn, LatentAttention, Layer, Mixer, Source};

/// DeepSeek V2 and V3.
pub const DEEPSEEK2: Architecture = Architecture {
    gguf_name: "deepseek2",
    hf_names: &["DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM", "KimiK25ForConditionalGeneration"],
    layer,
    source: Some(Source { names: LATENT_NAMES, parameters: LATENT_PARAMETERS, ..Source::USUAL }),
    ..Architecture::DECODER
};

/// Mistral 4.
pub const MISTRAL4: Architecture = Architecture {
    gguf_name: "mistral4",
    hf_names: &["Mistral4ForCausalLM"],
    source: Some(Source { names: LATENT_APART_NAMES, parameters: MISTRAL4_PARAMETERS, ..Source::TEXT_PART }),
    ..DEEPSEEK2
};

/// Layers and vocabulary of GLM 4.7 Flash, whose first files do not say that it scores by sigmoid.
const GLM_FLASH: (std::ops::RangeInclusive<usize>, usize) = (47..=48, 154_880);

pub(super) fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let mut attention = LatentAttention::of(config);
    attention.temperature = config
        .temperature_scale
        .and_then(|scale| Some(Temperature { length: config.temperature_length?, scale, offset: 0 }));
    let is_glm = GLM_FLASH.0.contains(&config.layer_count) && config.vocabulary_size == GLM_FLASH.1;
    let gating = if is_glm { Gating::Sigmoid } else { Gating::Softmax };
    let layer = Layer { mixer: Mixer::LatentAttention(attention), ..Layer::PRE_NORM };
    with_experts(layer, ExpertsFfn::from_file(config, gating), config, layer_index)
}
