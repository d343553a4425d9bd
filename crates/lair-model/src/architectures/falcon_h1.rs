//! Falcon-H1: attention and Mamba-2 side by side in every layer; both read the same norm and are added.
//!
//! The converter has folded the model's multipliers into its weights. Reference: Zuo et al., "Falcon-H1: A Family of
//! Hybrid-Head Language Models". GGUF name: `falcon-h1`.

use crate::ModelConfig;
use crate::spec::source::{FALCON_H1_NAMES, Parameter};
use crate::spec::{Architecture, Attention, Layer, Mamba2, Mixer, Norm, Rope, Source};

/// Falcon-H1.
pub const FALCON_H1: Architecture = Architecture {
    gguf_name: "falcon-h1",
    hf_names: &["FalconH1ForCausalLM"],
    layer,
    // Loaded by others, and not used: angles are not divided, outputs of attention have no bias.
    ignored_tensors: &["rope_freqs.weight", ".attn_output.bias"],
    source: Some(Source {
        family: FALCON_H1_NAMES,
        parameters: &[
            Parameter::VocabularySize,
            Parameter::Count("ssm.conv_kernel", &["mamba_d_conv"]),
            Parameter::Count("ssm.state_size", &["mamba_d_state"]),
            Parameter::Count("ssm.group_count", &["mamba_n_groups"]),
            Parameter::Count("ssm.inner_size", &["mamba_d_ssm"]),
            Parameter::Count("ssm.time_step_rank", &["mamba_n_heads"]),
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, _layer_index: usize) -> Layer {
    Layer {
        mixer: Mixer::Attention(Attention {
            rope: Some(Rope::half_split(config)),
            scale: config.attention_scale,
            ..Attention::STANDARD
        }),
        beside: Some(Mamba2 { norm: Norm::RmsIfThere("ssm_norm"), ..Mamba2::STANDARD }),
        ffn_norm: Norm::RmsNamed("ffn_norm"),
        ..Layer::PRE_NORM
    }
}
