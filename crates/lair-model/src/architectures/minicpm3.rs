//! MiniCPM 3 and PLM. Dense models with attention over compressed keys and values; MiniCPM 3 scales embeddings, what
//! layers add, and logits.
//!
//! References: OpenBMB's published model code (factors); Deng et al., "PLM: Efficient Peripheral Language Models",
//! section 2 (squared ReLU without a gate). GGUF names: `minicpm3`, `plm`.

use crate::ModelConfig;
use crate::spec::source::{LATENT_NAMES, Parameter};
use crate::spec::{
    Architecture, DenseFfn, Embedding, Ffn, Gate, Head, LatentAttention, Layer, Mixer, QueryProjection, Rope,
    RopeFactors, Source,
};
use lair_compute::Activation;

/// MiniCPM 3.
pub const MINICPM3: Architecture = Architecture {
    gguf_name: "minicpm3",
    hf_names: &["MiniCPM3ForCausalLM"],
    embedding: |_| Embedding { scale: 12.0, ..Embedding::TOKENS },
    layer: |config, _| {
        let rope = Rope { factors: RopeFactors::BY_CONTEXT, ..Rope::half_split(config) };
        Layer {
            mixer: Mixer::LatentAttention(latent(config, LatentAttention::of(config).query, rope)),
            residual_scale: 1.4 / (config.layer_count as f32).sqrt(),
            ..Layer::PRE_NORM
        }
    },
    head: |config| Head { scale: 256.0 / config.hidden_size as f32, ..Head::LOGITS },
    source: Some(Source {
        names: LATENT_NAMES,
        parameters: &[
            Parameter::VocabularySize,
            Parameter::Count("attention.q_lora_rank", &["q_lora_rank"]),
            Parameter::Count("attention.kv_lora_rank", &["kv_lora_rank"]),
            Parameter::Sum("attention.key_length", ["qk_nope_head_dim", "qk_rope_head_dim"]),
            Parameter::Count("attention.value_length", &["v_head_dim"]),
            Parameter::Count("rope.dimension_count", &["qk_rope_head_dim"]),
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

/// PLM.
pub const PLM: Architecture = Architecture {
    gguf_name: "plm",
    hf_names: &["PLMForCausalLM"],
    layer: |config, _| Layer {
        mixer: Mixer::LatentAttention(latent(config, QueryProjection::Full("attn_q"), Rope::interleaved(config))),
        ffn: Ffn::Dense(DenseFfn { gate: Gate::None, activation: Activation::ReluSquared, ..DenseFfn::SWIGLU }),
        ..Layer::PRE_NORM
    },
    source: Some(Source {
        names: LATENT_NAMES,
        parameters: &[
            Parameter::VocabularySize,
            Parameter::Count("attention.kv_lora_rank", &["kv_lora_rank"]),
            Parameter::Sum("attention.key_length", ["qk_nope_head_dim", "qk_rope_head_dim"]),
            Parameter::Count("attention.value_length", &["v_head_dim"]),
            Parameter::Count("rope.dimension_count", &["qk_rope_head_dim"]),
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

fn latent(config: &ModelConfig, query: QueryProjection, rope: Rope) -> LatentAttention {
    let attention = LatentAttention::of(config);
    let head_dim = (attention.nope_dim + attention.rope_dim) as f32;
    LatentAttention { query, rope: Some(rope), scale: 1.0 / head_dim.sqrt(), ..attention }
}
