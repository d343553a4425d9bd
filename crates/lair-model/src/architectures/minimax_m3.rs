//! MiniMax M3. Normalised queries and keys of which a part is turned, clamped gates as gpt-oss has them, experts with a
//! shared network, leading dense layers. In long contexts each head of keys is read in the blocks that
//! an indexer's head chooses for it.
//!
//! Reference: the published model code of MiniMax. GGUF name: `minimax-m3`.

use lair_compute::{Activation, Gating};

use crate::ModelConfig;
use crate::config::IndexerConfig;
use crate::spec::source::{MINIMAX_M3_NAMES, MINIMAX_M3_PARAMETERS, NormOffset};
use crate::spec::{
    Architecture, Attention, DenseFfn, ExpertsFfn, Ffn, Indexer, IndexerHeads, IndexerKeys, KeyChoice, KeyUnit, Layer,
    Mixer, Norm, Rope, SharedExperts, Source,
};

/// MiniMax M3.
pub const MINIMAX_M3: Architecture = Architecture {
    gguf_name: "minimax-m3",
    hf_names: &["MiniMaxM3SparseForCausalLM", "MiniMaxM3SparseForConditionalGeneration"],
    layer,
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
    let indexer = config.indexer.map(|indexer| self::indexer(config, &indexer)).filter(|_| !is_dense);
    let layer = Layer {
        mixer: Mixer::Attention(Attention {
            q_norm: Norm::Rms("attn_q_norm"),
            k_norm: Norm::Rms("attn_k_norm"),
            rope: Some(Rope::half_split(config)),
            choice: indexer.map_or(KeyChoice::All, KeyChoice::Indexed),
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

fn indexer(config: &ModelConfig, indexer: &IndexerConfig) -> Indexer {
    Indexer {
        q: "indexer.q_proj",
        q_norm: Norm::Rms("indexer.q_norm"),
        keys: IndexerKeys::Own("indexer.k_proj", Norm::Rms("indexer.k_norm")),
        heads: IndexerHeads::Each,
        head_count: indexer.head_count,
        head_dim: indexer.head_dim,
        rope: Some(Rope::half_split(config)),
        rope_first: 0,
        unit: KeyUnit::Block { length: indexer.block_length, local_count: indexer.local_count },
        chosen_count: indexer.chosen_count,
    }
}
