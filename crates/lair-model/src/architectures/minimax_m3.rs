//! MiniMax M3. Normalised queries and keys of which a part is turned, clamped gates as gpt-oss has them, experts with a
//! shared network, leading dense layers. In long contexts blocks of keys are chosen by an indexer; it is run up to as
//! many as it chooses.
//!
//! Reference: the published model code of MiniMax. GGUF name: `minimax-m3`.

use lair_compute::{Activation, Gating};

use super::deepseek32::INDEXER;
use crate::ModelConfig;
use crate::spec::source::{MINIMAX_M3_NAMES, MINIMAX_M3_PARAMETERS, NormOffset};
use crate::spec::{
    Architecture, Attention, DenseFfn, ExpertsFfn, Ffn, Layer, Mixer, Norm, Rope, SharedExperts, Source,
};

/// MiniMax M3.
pub const MINIMAX_M3: Architecture = Architecture {
    gguf_name: "minimax-m3",
    hf_names: &["MiniMaxM3SparseForCausalLM", "MiniMaxM3SparseForConditionalGeneration"],
    layer,
    ignored_tensors: INDEXER,
    source: Some(Source {
        names: MINIMAX_M3_NAMES,
        parameters: MINIMAX_M3_PARAMETERS,
        norm_offset: NormOffset::One,
        left_out: &["vision_tower.", "multi_modal_projector.", "patch_merge_mlp."],
        ..Source::TEXT_PART
    }),
    ..Architecture::DECODER
};

const ACTIVATION: Activation = Activation::ClampedSwiglu { alpha: 1.702, limit: 7.0, shift: 1.0 };

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let is_dense = config.is_leading_dense(layer_index);
    let chosen = config.indexer.map(|indexer| indexer.chosen_count.saturating_mul(indexer.block_length));
    let layer = Layer {
        mixer: Mixer::Attention(Attention {
            q_norm: Norm::Rms("attn_q_norm"),
            k_norm: Norm::Rms("attn_k_norm"),
            rope: Some(Rope::half_split(config)),
            chosen_keys_max: chosen.filter(|_| !is_dense),
            ..Attention::STANDARD
        }),
        ffn: Ffn::Dense(DenseFfn { activation: ACTIVATION, ..DenseFfn::SWIGLU }),
        ..Layer::PRE_NORM
    };
    if is_dense {
        return layer;
    }
    let ffn = ExpertsFfn::from_file(config, Gating::Sigmoid);
    let shared =
        ffn.shared.map(|shared| SharedExperts { ffn: DenseFfn { activation: ACTIVATION, ..shared.ffn }, ..shared });
    Layer { ffn: Ffn::Experts(ExpertsFfn { activation: ACTIVATION, shared, ..ffn }), ..layer }
}
