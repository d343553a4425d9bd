//! RWKV 6 and 7, and the RWKV 7 that was distilled from Qwen 2.5. Nothing but states: time mixing in place of attention,
//! and (but for the distilled one) channel mixing in place of the feed-forward network.
//!
//! RWKV-6 halved its stream after every few layers, and what they add, for half precision: here what they add is
//! multiplied back. References: Peng et al., "Eagle and Finch: RWKV with Matrix-Valued States and Dynamic Recurrence";
//! "RWKV-7 Goose with Expressive Dynamic State Evolution". GGUF names: `rwkv6`, `rwkv7`, `arwkv7`.

use crate::ModelConfig;
use crate::spec::source::{ARWKV7_NAMES, Derived, Parameter, RWKV6_NAMES, RWKV7_NAMES};
use crate::spec::{
    Architecture, ChannelMix, Embedding, Ffn, FirstValues, Head, Layer, Mixer, Norm, RwkvGeneration, Source, TimeMix,
};

/// What these have no limit of, and none of.
const NO_CONTEXT: Parameter = Parameter::CountOr("context_length", &[], 1 << 20);
const NO_HEADS: Parameter = Parameter::CountOr("attention.head_count", &[], 0);

/// RWKV 6.
pub const RWKV6: Architecture = Architecture {
    gguf_name: "rwkv6",
    hf_names: &["Rwkv6ForCausalLM"],
    embedding: |_| Embedding { norm: Norm::Layer("token_embd_norm"), ..Embedding::TOKENS },
    layer: |config, layer_index| {
        let halvings = config.rwkv.and_then(|rwkv| rwkv.rescale_every).map_or(0, |every| layer_index / every);
        Layer { residual_scale: (halvings as f32).exp2(), ..layer(RwkvGeneration::Six, layer_index) }
    },
    head: |_| Head { norm: Norm::Layer("output_norm"), ..Head::LOGITS },
    source: Some(Source {
        family: RWKV6_NAMES,
        roots: &["rwkv."],
        parameters: &[
            NO_CONTEXT,
            NO_HEADS,
            Parameter::Count("wkv.head_size", &["head_size"]),
            Parameter::Count("rescale_every_n_layers", &["rescale_every"]),
            Parameter::Derived(Derived::Rwkv6Widths),
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

/// RWKV 7.
pub const RWKV7: Architecture = Architecture {
    gguf_name: "rwkv7",
    hf_names: &["Rwkv7ForCausalLM", "RWKV7ForCausalLM"],
    layer: |_, layer_index| layer(RwkvGeneration::Seven, layer_index),
    // The first layer has nothing to mix its values with.
    ignored_tensors: &["blk.0.time_mix_v0.weight", "blk.0.time_mix_v1.weight", "blk.0.time_mix_v2.weight"],
    source: Some(Source {
        names: RWKV7_NAMES,
        parameters: &[
            NO_CONTEXT,
            NO_HEADS,
            Parameter::Count("wkv.head_size", &["head_size", "head_dim"]),
            Parameter::NumberOr("attention.layer_norm_epsilon", &["layer_norm_epsilon", "norm_eps"], 1e-5),
            Parameter::Derived(Derived::Rwkv7Widths),
        ],
        left_out: &["layers.0.attn.v_lora."],
        ..Source::USUAL
    }),
    ..RWKV6
};

/// RWKV 7 distilled from Qwen 2.5.
pub const ARWKV7: Architecture = Architecture {
    gguf_name: "arwkv7",
    hf_names: &["RwkvHybridForCausalLM"],
    layer: |_: &ModelConfig, layer_index| Layer {
        mixer: time_mix(RwkvGeneration::Seven, layer_index),
        ..Layer::PRE_NORM
    },
    ignored_tensors: RWKV7.ignored_tensors,
    source: Some(Source {
        names: ARWKV7_NAMES,
        parameters: &[
            NO_CONTEXT,
            NO_HEADS,
            Parameter::Never("attention.head_count_kv"),
            Parameter::Count("wkv.head_size", &["head_size"]),
            Parameter::CountOr("attention.decay_lora_rank", &[], 64),
            Parameter::CountOr("attention.iclr_lora_rank", &[], 64),
            Parameter::CountOr("attention.value_residual_mix_lora_rank", &[], 32),
            Parameter::CountOr("attention.gate_lora_rank", &[], 128),
            Parameter::CountOr("token_shift_count", &[], 1),
            Parameter::Derived(Derived::Required("wkv_has_gate", "a mixing without a gate")),
        ],
        left_out: &[
            "layers.0.self_attn.time_mixer.v0",
            "layers.0.self_attn.time_mixer.v1",
            "layers.0.self_attn.time_mixer.v2",
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

fn time_mix(generation: RwkvGeneration, layer_index: usize) -> Mixer {
    let values = if layer_index == 0 { FirstValues::Given } else { FirstValues::Mixed };
    Mixer::TimeMix(TimeMix { start: "time_mix_", generation, values, output: "time_mix_output" })
}

fn layer(generation: RwkvGeneration, layer_index: usize) -> Layer {
    Layer {
        mixer_norm: Norm::Layer("attn_norm"),
        mixer: time_mix(generation, layer_index),
        ffn_norm: Norm::Layer("attn_norm_2"),
        ffn: Ffn::ChannelMix(ChannelMix { start: "channel_mix_", generation }),
        ..Layer::PRE_NORM
    }
}
