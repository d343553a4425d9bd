//! Hunyuan 4 (HY V4). Four residual streams, attention over compressed keys and values whose heads are gated element by
//! element and have sinks, clamped experts by sigmoid; the first layers have none. In long contexts it reads the keys that an
//! indexer chooses.
//!
//! Reference: the published model code of Tencent. GGUF name: `hy_v4`.

use lair_compute::{Activation, Gating, OutputGate, StreamMixing};

use super::deepseek::with_experts;
use crate::ModelConfig;
use crate::spec::source::{HY_V4_NAMES, HY_V4_PARAMETERS};
use crate::spec::{
    Architecture, ExpertsFfn, Head, Indexer, IndexerKeys, KeyChoice, LatentAttention, Layer, Mixer, Norm, Rope, Sinks,
    Source, StreamMix,
};

/// HY V4.
pub const HY_V4: Architecture = Architecture {
    gguf_name: "hy_v4",
    hf_names: &["HYV4ForCausalLM"],
    layer,
    head: |config| Head { hyper: Some(StreamMix::kept(config).for_head(StreamMixing::ReadOnly)), ..Head::LOGITS },
    source: Some(Source {
        names: HY_V4_NAMES,
        parameters: HY_V4_PARAMETERS,
        left_out: &["mtp_layers."],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let attention = LatentAttention::of(config);
    let head_dim = attention.nope_dim + attention.rope_dim;
    // The turned elements stand last, and norms have one epsilon.
    let indexer = Indexer::of(config).map(|indexer| Indexer {
        keys: IndexerKeys::Own(
            "indexer.attn_k",
            Norm::LayerAdding("indexer.k_norm", config.rms_norm_epsilon.unwrap_or(1e-6)),
        ),
        rope_first: indexer.head_dim.saturating_sub(config.rope_dimension_count),
        ..indexer
    });
    let choice = KeyChoice::by_layer(indexer, config, layer_index, |_| true);
    let attention = LatentAttention {
        rope: Some(Rope::interleaved(config)),
        scale: 1.0 / (head_dim as f32).sqrt(),
        sinks: Sinks::Tensor("attn_sinks"),
        gate: Some(("attn_gate", OutputGate::SIGMOID)),
        choice,
        ..attention
    };
    let experts = ExpertsFfn::from_file(config, Gating::Sigmoid);
    let limit = config.experts.as_ref().and_then(|experts| experts.activation_limits[layer_index]);
    let activation =
        limit.map_or(experts.activation, |limit| Activation::ClampedSwiglu { alpha: 1.0, limit, shift: 0.0 });
    let layer = Layer {
        mixer: Mixer::LatentAttention(attention),
        hyper: Some(StreamMix::kept(config).around_both()),
        ..Layer::PRE_NORM
    };
    with_experts(layer, ExpertsFfn { activation, ..experts }, config, layer_index)
}
