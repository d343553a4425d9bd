//! GLM 5.3. Four residual streams that are mixed by balanced factors; delta rules with a decay for each key element, and latent
//! attention that turns nothing and reads what an indexer chooses: pools of positions, of which each has one key, and those
//! behind the last whole pool. Experts by sigmoid; the first layers have none.
//!
//! References: Kimi Team, "Kimi Linear", section 3; Xie et al., "mHC"; the published model code of Z.ai. Layers that predict
//! further tokens are not run. GGUF name: `glm5-next`.

use lair_compute::{Gating, StreamMixing};

use super::deepseek4::{clamped_experts, clamped_swiglu};
use super::kimi_linear::UNUSED_BIASES;
use crate::ModelConfig;
use crate::spec::source::{GLM5_NEXT_NAMES, GLM5_NEXT_PARAMETERS};
use crate::spec::{
    Architecture, Compressor, DecayForm, Ffn, Head, Indexer, IndexerKeys, KeyChoice, KeyDeltaNet, KeyUnit,
    LatentAttention, Layer, Mixer, Norm, Source, StreamMix,
};

/// GLM 5.3.
pub const GLM5_NEXT: Architecture = Architecture {
    gguf_name: "glm5-next",
    hf_names: &["Glm5NextForConditionalGeneration"],
    layer,
    head: |config| Head { hyper: Some(StreamMix::balanced(config).for_head(StreamMixing::Mean)), ..Head::LOGITS },
    ignored_tensors: UNUSED_BIASES,
    source: Some(Source { names: GLM5_NEXT_NAMES, parameters: GLM5_NEXT_PARAMETERS, ..Source::TEXT_PART }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let is_recurrent = config.kv_head_counts[layer_index] == 0;
    Layer {
        mixer: if is_recurrent { Mixer::KeyDeltaNet(delta(config)) } else { latent(config, layer_index) },
        ffn: match config.is_leading_dense(layer_index) {
            true => Ffn::Dense(clamped_swiglu(config, layer_index)),
            false => Ffn::Experts(clamped_experts(config, layer_index, Gating::Sigmoid)),
        },
        hyper: Some(StreamMix::balanced(config).around_both()),
        ..Layer::PRE_NORM
    }
}

fn delta(config: &ModelConfig) -> KeyDeltaNet {
    let bound = config.key_delta.and_then(|key_delta| key_delta.decay_bound);
    KeyDeltaNet {
        decay_padding: &[],
        decay_form: bound.map_or(DecayForm::Softplus, |bound| DecayForm::Bounded { bound, slope: -1.0 }),
        // A constant of the model's code, whatever its norms have.
        unit_epsilon: Some(1e-6),
        ..KeyDeltaNet::STANDARD
    }
}

fn latent(config: &ModelConfig, layer_index: usize) -> Mixer {
    let indexer = Indexer::of(config).zip(config.indexer).map(|(indexer, said)| Indexer {
        keys: IndexerKeys::Compressed(Compressor {
            values: "indexer.attn_k",
            value_norm: Norm::LayerAdding("indexer.k_norm", config.layer_norm_epsilon.unwrap_or(1e-6)),
            gates: Some(("indexer_compressor_gate", "indexer_compressor_ape")),
            norm: Norm::None,
            rope: None,
            length: said.pool_length,
            overlaps: false,
        }),
        rope: None,
        unit: KeyUnit::Pool { length: said.pool_length, takes_rest: said.takes_rest },
        chosen_count: said.chosen_count / said.pool_length,
        ..indexer
    });
    let attention = LatentAttention::of(config);
    Mixer::LatentAttention(LatentAttention {
        rope: None,
        scale: 1.0 / ((attention.nope_dim + attention.rope_dim) as f32).sqrt(),
        choice: KeyChoice::by_layer(indexer, config, layer_index, |_| true),
        ..attention
    })
}
