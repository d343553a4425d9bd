//! ChatGLM 2 and 3, GLM 4 of 2024. A Llama layer with half of each head turned and fused products.
//!
//! Reference: Team GLM, "ChatGLM: A Family of Large Language Models from GLM-130B to GLM-4", section 2. GGUF name: `chatglm`.

use crate::ModelConfig;
use crate::spec::{Architecture, Attention, DenseFfn, Ffn, Gate, Layer, Mixer, Rope};

/// ChatGLM.
pub const CHATGLM: Architecture = Architecture {
    gguf_name: "chatglm",
    hf_names: &["GlmForCausalLM", "ChatGLMModel", "ChatGLMForConditionalGeneration"],
    layer,
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, _layer_index: usize) -> Layer {
    Layer {
        mixer: Mixer::Attention(Attention { rope: Some(Rope::interleaved(config)), ..Attention::STANDARD }),
        ffn: Ffn::Dense(DenseFfn { gate: Gate::InUp, ..DenseFfn::SWIGLU }),
        ..Layer::PRE_NORM
    }
}
