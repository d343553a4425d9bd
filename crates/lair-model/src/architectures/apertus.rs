//! Apertus. A Llama layer with halves as pairs, queries and keys normalised per head, and xIELU without a gate, whose
//! curvatures each layer has learned.
//!
//! Reference: Project Apertus, "Apertus: Democratizing Open and Compliant LLMs", section 2.1. GGUF name: `apertus`.

use lair_compute::Activation;

use crate::ModelConfig;
use crate::spec::source::{Parameter, Renaming};
use crate::spec::{Architecture, Attention, DenseFfn, Ffn, Gate, Layer, Mixer, Norm, Rope, Source};

/// Apertus.
pub const APERTUS: Architecture = Architecture {
    gguf_name: "apertus",
    hf_names: &["ApertusForCausalLM"],
    layer,
    // Norms of published models have none.
    ignored_tensors: &[".attn_q_norm.bias", ".attn_k_norm.bias"],
    source: Some(Source {
        names: &[
            Renaming::new("layers.*.attention_layernorm", "blk.*.attn_norm"),
            Renaming::new("layers.*.feedforward_layernorm", "blk.*.ffn_norm"),
            Renaming::new("layers.*.mlp.act_fn.alpha_p", "xielu.alpha_p").as_key(),
            Renaming::new("layers.*.mlp.act_fn.alpha_n", "xielu.alpha_n").as_key(),
            Renaming::new("layers.*.mlp.act_fn.beta", "xielu.beta").as_key(),
            Renaming::new("layers.*.mlp.act_fn.eps", "xielu.eps").as_key(),
        ],
        parameters: &[Parameter::VocabularySize, Parameter::RopeDimensions],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let softplus = |x: f32| x.exp().ln_1p();
    let activation = config.xielu.get(layer_index).map_or(Activation::ReluSquared, |xielu| Activation::Xielu {
        positive: softplus(xielu.alpha_p),
        negative: xielu.beta + softplus(xielu.alpha_n),
        beta: xielu.beta,
        epsilon: xielu.epsilon,
    });
    Layer {
        mixer: Mixer::Attention(Attention {
            q_norm: Norm::Rms("attn_q_norm"),
            k_norm: Norm::Rms("attn_k_norm"),
            rope: Some(Rope::half_split(config).with_factors(config)),
            scale: config.attention_scale,
            ..Attention::STANDARD
        }),
        ffn: Ffn::Dense(DenseFfn { gate: Gate::None, activation, ..DenseFfn::SWIGLU }),
        ..Layer::PRE_NORM
    }
}
