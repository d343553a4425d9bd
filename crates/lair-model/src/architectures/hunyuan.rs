//! Hunyuan, dense and with experts. A Llama layer with halves as pairs, whose queries and keys are normalised per head
//! after they are turned; the base of the angles grows with a factor.
//!
//! References: Tencent Hunyuan Team, "Hunyuan-Large", section 2; the published model code. Positions of the picture
//! model have axes that are equal for text. GGUF names: `hunyuan-dense`, `hunyuan_vl`, `hunyuan-moe`.

use lair_compute::NormOrder;

use crate::ModelConfig;
use crate::spec::source::{HUNYUAN_MOE_NAMES, HUNYUAN_NAMES, Parameter};
use crate::spec::{Architecture, Attention, ExpertsFfn, Ffn, Layer, Mixer, Norm, Rope, SharedExperts, Source};

/// Hunyuan, dense.
pub const HUNYUAN_DENSE: Architecture = Architecture {
    gguf_name: "hunyuan-dense",
    hf_names: &["HunYuanDenseV1ForCausalLM"],
    layer,
    source: Some(Source { names: HUNYUAN_NAMES, parameters: &[Parameter::GrownBase], ..Source::USUAL }),
    ..Architecture::DECODER
};

/// The text part of Hunyuan VL.
pub const HUNYUAN_VL: Architecture = Architecture {
    gguf_name: "hunyuan_vl",
    hf_names: &["HunYuanVLForConditionalGeneration"],
    source: Some(Source {
        names: HUNYUAN_NAMES,
        parameters: &[
            Parameter::VocabularySize,
            Parameter::Number("rope.scaling.alpha", &["alpha"]),
            Parameter::Text("rope.scaling.type", "none"),
        ],
        left_out: &["vit.", "vision_tower."],
        ..Source::TEXT_PART
    }),
    ..HUNYUAN_DENSE
};

/// Hunyuan with experts.
pub const HUNYUAN_MOE: Architecture = Architecture {
    gguf_name: "hunyuan-moe",
    hf_names: &["HunYuanMoEV1ForCausalLM"],
    layer: moe_layer,
    source: Some(Source {
        names: HUNYUAN_MOE_NAMES,
        parameters: &[
            Parameter::GrownBase,
            Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size", "intermediate_size"]),
            Parameter::SharedFfn("num_shared_expert", "intermediate_size"),
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, _layer_index: usize) -> Layer {
    let dim = config.key_dim as f32;
    let growth = config.rope_alpha.map_or(1.0, |alpha| alpha.powf(dim / (dim - 2.0)));
    let rope = Rope::half_split(config).with_factors(config);
    Layer {
        mixer: Mixer::Attention(Attention {
            q_norm: Norm::Rms("attn_q_norm"),
            k_norm: Norm::Rms("attn_k_norm"),
            norm_order: NormOrder::AfterRope,
            rope: Some(Rope { theta: rope.theta * growth, ..rope }),
            ..Attention::STANDARD
        }),
        ..Layer::PRE_NORM
    }
}

fn moe_layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let experts = config.experts.as_ref();
    let dense_size = config.ffn_sizes[layer_index];
    let shared_size = experts.and_then(|experts| experts.shared_expert_ffn_size).unwrap_or(dense_size);
    let ffn = ExpertsFfn {
        scale: experts.map_or(1.0, |experts| experts.weights_scale),
        shared: Some(SharedExperts::swiglu(shared_size)),
        ffn_size: experts.and_then(|experts| experts.expert_ffn_size).or(Some(dense_size)),
        ..ExpertsFfn::SOFTMAX
    };
    Layer { ffn: Ffn::Experts(ffn), ..layer(config, layer_index) }
}
