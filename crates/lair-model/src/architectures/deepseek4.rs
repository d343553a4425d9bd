//! DeepSeek V4. Four residual streams that are mixed by balanced factors; attention whose keys are its values, over a window,
//! and in most layers over compressed keys of all that came before: every key of four positions that an indexer chooses, or
//! all those of 128. Results are turned back and go on in groups of heads. Experts by the root of softplus, first by a table.
//!
//! References: DeepSeek-AI, "DeepSeek-V4", section 2; Xie et al., "mHC". Layers that predict further tokens, and scores for
//! pictures, are not run. GGUF name: `deepseek4`.

use lair_compute::{Activation, Gating, StreamMixing};

use crate::ModelConfig;
use crate::spec::source::DEEPSEEK4_SOURCE;
use crate::spec::{
    Architecture, CompressedAttention, Compressor, DenseFfn, ExpertsFfn, Ffn, Head, Indexer, IndexerKeys, KeyChoice,
    KeyUnit, Layer, Mixer, Norm, Rope, SharedExperts, Sinks, StreamMix,
};

/// DeepSeek V4.
pub const DEEPSEEK4: Architecture = Architecture {
    gguf_name: "deepseek4",
    hf_names: &["DeepseekV4ForCausalLM"],
    layer,
    head: |config| Head { hyper: Some(StreamMix::balanced(config).for_head(StreamMixing::ReadOnly)), ..Head::LOGITS },
    ignored_tensors: &[".exp_probs_b_vl.bias"],
    source: Some(DEEPSEEK4_SOURCE),
    ..Architecture::DECODER
};

/// Positions of a compressed key that an indexer chooses; it is made of those of the run before, too.
const CHOSEN_LENGTH: usize = 4;

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    Layer {
        mixer: Mixer::CompressedAttention(attention(config, layer_index)),
        ffn: Ffn::Experts(experts(config, layer_index)),
        hyper: Some(StreamMix::balanced(config).around_both()),
        ..Layer::PRE_NORM
    }
}

fn attention(config: &ModelConfig, layer_index: usize) -> CompressedAttention {
    // Where the file says nothing of it, the list of tensors refuses the model.
    let compression = config.compression.unwrap_or_default();
    let length = config.run_lengths[layer_index];
    let rope = match length {
        0 => Rope::interleaved(config).unscaled(),
        // The magnitude of scaled angles is left as it was.
        _ => Rope { theta: compression.rope_theta, ..Rope::interleaved(config).without_magnitude() },
    };
    let overlaps = length == CHOSEN_LENGTH;
    let compressor = Compressor {
        values: "attn_compressor_kv",
        value_norm: Norm::None,
        gates: Some(("attn_compressor_gate", "attn_compressor_ape")),
        norm: Norm::Rms("attn_compressor_norm"),
        rope: Some(rope),
        length,
        overlaps,
    };
    let indexer = Indexer::of(config).map(|indexer| Indexer {
        keys: IndexerKeys::Compressed(Compressor {
            values: "indexer_compressor_kv",
            gates: Some(("indexer_compressor_gate", "indexer_compressor_ape")),
            norm: Norm::Rms("indexer_compressor_norm"),
            ..compressor
        }),
        rope: Some(rope),
        rope_first: indexer.head_dim.saturating_sub(rope.dimension_count),
        unit: KeyUnit::Compressed { length },
        ..indexer
    });
    CompressedAttention {
        q_down: "attn_q_a",
        q_down_norm: Norm::Rms("attn_q_a_norm"),
        q_up: "attn_q_b",
        q_rank: compression.q_rank,
        q_norm: Norm::RmsUnweighted,
        kv: "attn_kv",
        kv_norm: Norm::Rms("attn_kv_a_norm"),
        head_dim: config.key_dim,
        rope,
        window: config.window.unwrap_or(0),
        sinks: Sinks::Tensor("attn_sinks"),
        compressor: (length > 0).then_some(compressor),
        choice: indexer.filter(|_| overlaps).map_or(KeyChoice::All, KeyChoice::Indexed),
        group_output: "attn_output_a",
        group_count: compression.group_count,
        group_rank: compression.group_rank,
        output: "attn_output_b",
    }
}

fn experts(config: &ModelConfig, layer_index: usize) -> ExpertsFfn {
    let ffn = clamped_experts(config, layer_index, Gating::SqrtSoftplus);
    let has_table = config.compression.is_some_and(|compression| layer_index < compression.table_layer_count);
    if has_table { ExpertsFfn { table: Some("ffn_gate_tid2eid.weight"), selection_bias: None, ..ffn } } else { ffn }
}

/// Experts whose gates are held below, and whose linear parts within, what the file says.
pub(super) fn clamped_experts(config: &ModelConfig, layer_index: usize, gating: Gating) -> ExpertsFfn {
    let ffn = ExpertsFfn::from_file(config, gating);
    let limit = config.experts.as_ref().and_then(|experts| experts.activation_limits[layer_index]);
    let shared = ffn.shared.map(|shared| {
        let DenseFfn { activation, .. } = clamped_swiglu(config, layer_index);
        SharedExperts { ffn: DenseFfn { activation, ..shared.ffn }, ..shared }
    });
    ExpertsFfn { activation: clamped(limit), shared, ..ffn }
}

/// The same of a network that every token takes; its limit is that of experts where it has none of its own.
pub(super) fn clamped_swiglu(config: &ModelConfig, layer_index: usize) -> DenseFfn {
    let limit = config
        .experts
        .as_ref()
        .and_then(|experts| experts.shared_activation_limits[layer_index].or(experts.activation_limits[layer_index]));
    DenseFfn { activation: clamped(limit), ..DenseFfn::SWIGLU }
}

fn clamped(limit: Option<f32>) -> Activation {
    limit.map_or(Activation::Silu, |limit| Activation::ClampedSwiglu { alpha: 1.0, limit, shift: 0.0 })
}
