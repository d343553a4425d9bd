//! Seed-OSS. A Qwen 2 layer with wide heads.
//!
//! Reference: the published model code of ByteDance Seed. GGUF name: `seed_oss`.

use super::qwen2;
use crate::ModelConfig;
use crate::spec::source::POST_ATTENTION_NAMES;
use crate::spec::{Architecture, Layer, Norm, Source};

/// Seed-OSS.
pub const SEED_OSS: Architecture = Architecture {
    gguf_name: "seed_oss",
    hf_names: &["SeedOssForCausalLM"],
    layer,
    source: Some(Source { names: POST_ATTENTION_NAMES, ..Source::USUAL }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    // The file calls the feed-forward network's norm after what stands before it.
    Layer { ffn_norm: Norm::Rms("post_attention_norm"), ..qwen2::layer(config, layer_index) }
}
