//! RWKV 6 and 7, and the RWKV 7 that was distilled from Qwen 2.5. Nothing but states: time mixing in place of attention,
//! and (but for the distilled one) channel mixing in place of the feed-forward network.
//!
//! RWKV-6 halved its stream after every few layers, and what they add, for half precision: here what they add is
//! multiplied back. References: Peng et al., "Eagle and Finch: RWKV with Matrix-Valued States and Dynamic Recurrence";
//! "RWKV-7 Goose with Expressive Dynamic State Evolution". GGUF names: `rwkv6`, `rwkv7`, `arwkv7`.

use crate::ModelConfig;
use crate::spec::{
    Architecture, ChannelMix, Embedding, Ffn, FirstValues, Head, Layer, Mixer, Norm, RwkvGeneration, TimeMix,
};

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
    ..Architecture::DECODER
};

/// RWKV 7.
pub const RWKV7: Architecture = Architecture {
    gguf_name: "rwkv7",
    hf_names: &["Rwkv7ForCausalLM", "RWKV7ForCausalLM"],
    layer: |_, layer_index| layer(RwkvGeneration::Seven, layer_index),
    // The first layer has nothing to mix its values with.
    ignored_tensors: &["blk.0.time_mix_v0.weight", "blk.0.time_mix_v1.weight", "blk.0.time_mix_v2.weight"],
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
