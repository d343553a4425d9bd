//! PLaMo 2: Mamba in heads, with layers of attention between, whose heads have norms of their own; norms before and after
//! both halves.
//!
//! Reference: Preferred Networks, "PLaMo 2 Technical Report"; the published model code. GGUF name: `plamo2`.

use crate::ModelConfig;
use crate::spec::source::{Derived, PLAMO_2_NAMES, Parameter};
use crate::spec::{
    Architecture, Attention, DenseFfn, Ffn, Gate, Layer, Mamba, MambaForm, Mixer, Norm, NormSpan, Rope, Source,
};

/// PLaMo 2.
pub const PLAMO2: Architecture = Architecture {
    gguf_name: "plamo2",
    hf_names: &["Plamo2ForCausalLM", "PLaMo2ForCausalLM"],
    layer,
    source: Some(Source {
        names: PLAMO_2_NAMES,
        parameters: &[
            Parameter::VocabularySize,
            Parameter::CountOr("context_length", &["max_position_embeddings"], 2048),
            Parameter::CountOr("attention.key_length", &["hidden_size_per_head"], 128),
            Parameter::CountOr("attention.value_length", &["hidden_size_per_head"], 128),
            Parameter::NumberOr("rope.freq_base", &["rope_theta"], 10_000.0),
            Parameter::CountOr("ssm.state_size", &["mamba_d_state"], 64),
            Parameter::CountOr("ssm.conv_kernel", &["mamba_d_conv"], 4),
            Parameter::CountOr("ssm.time_step_rank", &["mamba_num_heads"], 64),
            Parameter::Product("ssm.inner_size", ["mamba_num_heads", "hidden_size_per_head"]),
            Parameter::CountOr("ssm.group_count", &[], 0),
            Parameter::Derived(Derived::AttentionInPeriods),
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let mixer = match config.kv_head_counts[layer_index] {
        0 => Mixer::Mamba(Mamba {
            time_step_norm: Norm::RmsNamed("ssm_dt_norm"),
            b_norm: Norm::RmsNamed("ssm_b_norm"),
            c_norm: Norm::RmsNamed("ssm_c_norm"),
            form: MambaForm::Heads,
            ..Mamba::STANDARD
        }),
        _ => Mixer::Attention(Attention {
            q_norm: Norm::Rms("attn_q_norm"),
            k_norm: Norm::Rms("attn_k_norm"),
            norm_span: NormSpan::HeadOfRow,
            rope: Some(Rope::half_split(config)),
            ..Attention::STANDARD
        }),
    };
    Layer {
        mixer,
        mixer_output_norm: Norm::RmsNamed("post_attention_norm"),
        ffn: Ffn::Dense(DenseFfn { gate: Gate::InUp, ..DenseFfn::SWIGLU }),
        ffn_output_norm: Norm::RmsNamed("post_ffw_norm"),
        ..Layer::PRE_NORM
    }
}
