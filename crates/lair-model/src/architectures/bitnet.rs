//! BitNet b1.58, whose weights are -1, 0 and 1. A Llama layer with halves as pairs and norms before both products that lead
//! back to the residual stream; each product has a factor. The head is the embedding's table.
//!
//! Reference: Ma et al., "The Era of 1-bit LLMs", section 2. GGUF name: `bitnet`.

use crate::ModelConfig;
use crate::spec::source::{Parameter, Renaming, Values};
use crate::spec::{Architecture, Attention, DenseFfn, Ffn, Layer, Mixer, Norm, Rope, Source};

/// BitNet b1.58.
pub const BITNET: Architecture = Architecture {
    gguf_name: "bitnet",
    hf_names: &["BitnetForCausalLM", "BitNetForCausalLM"],
    layer,
    source: Some(Source {
        names: &[
            Renaming::new("layers.*.self_attn.attn_sub_norm", "blk.*.attn_sub_norm"),
            Renaming::new("layers.*.self_attn.inner_attn_ln", "blk.*.attn_sub_norm"),
            Renaming::new("layers.*.mlp.ffn_sub_norm", "blk.*.ffn_sub_norm"),
            Renaming::new("layers.*.mlp.ffn_layernorm", "blk.*.ffn_sub_norm"),
            ternary("layers.*.self_attn.q_proj", "blk.*.attn_q"),
            ternary("layers.*.self_attn.k_proj", "blk.*.attn_k"),
            ternary("layers.*.self_attn.v_proj", "blk.*.attn_v"),
            ternary("layers.*.self_attn.o_proj", "blk.*.attn_output"),
            ternary("layers.*.mlp.gate_proj", "blk.*.ffn_gate"),
            ternary("layers.*.mlp.up_proj", "blk.*.ffn_up"),
            ternary("layers.*.mlp.down_proj", "blk.*.ffn_down"),
        ],
        // Gates are those of SiLU: models with another activation are made for another runtime.
        parameters: &[Parameter::Only("hidden_act", &["silu"]), Parameter::VocabularySize],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

/// The published models' products round their weights whenever they run; transformers' class has them rounded.
const fn ternary(from: &'static str, to: &'static str) -> Renaming {
    Renaming::new(from, to).of(Values::TernaryOfClass("BitnetForCausalLM"))
}

fn layer(config: &ModelConfig, _layer_index: usize) -> Layer {
    Layer {
        mixer: Mixer::Attention(Attention {
            rope: Some(Rope::half_split(config)),
            inner_norm: Norm::Rms("attn_sub_norm"),
            ..Attention::STANDARD
        }),
        ffn: Ffn::Dense(DenseFfn { inner_norm: Norm::Rms("ffn_sub_norm"), ..DenseFfn::SWIGLU }),
        ..Layer::PRE_NORM
    }
}
