//! PLaMo 2: Mamba in heads, with layers of attention between, whose heads have norms of their own; norms before and after
//! both halves.
//!
//! Reference: Preferred Networks, "PLaMo 2 Technical Report"; the published model code. GGUF name: `plamo2`.

use crate::ModelConfig;
use crate::spec::{Architecture, Attention, DenseFfn, Ffn, Gate, Layer, Mamba, MambaForm, Mixer, Norm, NormSpan, Rope};

/// PLaMo 2.
pub const PLAMO2: Architecture = Architecture {
    gguf_name: "plamo2",
    hf_names: &["Plamo2ForCausalLM", "PLaMo2ForCausalLM"],
    layer,
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
