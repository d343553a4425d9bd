//! MiniMax M2. Queries and keys normalised over all heads, part of each head turned; experts by sigmoid with scores for
//! the choice, their weights brought to a sum of one.
//!
//! Reference: the published model code of MiniMax. GGUF name: `minimax-m2`.

use lair_compute::Gating;

use crate::ModelConfig;
use crate::spec::source::Parameter;
use crate::spec::{Architecture, Attention, ExpertsFfn, Ffn, Layer, Mixer, Norm, NormSpan, Rope, Source};

/// MiniMax M2.
pub const MINIMAX_M2: Architecture = Architecture {
    gguf_name: "minimax-m2",
    hf_names: &["MiniMaxM2ForCausalLM"],
    layer,
    source: Some(Source {
        parameters: &[
            Parameter::RopeDimensions,
            // Published models say it themselves.
            Parameter::Count("rope.dimension_count", &["rotary_dim"]),
            Parameter::Count("expert_feed_forward_length", &["intermediate_size"]),
            Parameter::CountOr("expert_gating_func", &[], 2),
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    Layer {
        mixer: Mixer::Attention(Attention {
            q_norm: Norm::Rms("attn_q_norm"),
            k_norm: Norm::Rms("attn_k_norm"),
            norm_span: NormSpan::Row,
            rope: Some(Rope::half_split(config)),
            ..Attention::STANDARD
        }),
        ffn: Ffn::Experts(ExpertsFfn {
            ffn_size: Some(config.ffn_sizes[layer_index]),
            normalise: true,
            shared: None,
            ..ExpertsFfn::from_file(config, Gating::Sigmoid)
        }),
        ..Layer::PRE_NORM
    }
}
