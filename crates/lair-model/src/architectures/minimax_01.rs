//! MiniMax-01 and M1: seven layers of linear attention with a constant decay for each of softmax attention, experts in
//! all of them. A layer's halves are added to their normalised input, not to the stream.
//!
//! Reference: MiniMax, "MiniMax-01: Scaling Foundation Models with Lightning Attention". GGUF name: `minimax-01`.

use lair_compute::Activation;

use crate::ModelConfig;
use crate::spec::source::{Parameter, Renaming};
use crate::spec::{Architecture, Attention, DecayedAttention, ExpertsFfn, Ffn, Layer, Mixer, Norm, Rope, Source};

/// MiniMax-01.
pub const MINIMAX_01: Architecture = Architecture {
    gguf_name: "minimax-01",
    hf_names: &["MiniMaxText01ForCausalLM", "MiniMaxM1ForCausalLM", "MiniMaxForCausalLM"],
    layer,
    source: Some(Source {
        names: &[
            Renaming::new("layers.*.self_attn.qkv_proj", "blk.*.attn_qkv"),
            Renaming::new("layers.*.self_attn.norm", "blk.*.attn_norm_2"),
            Renaming::new("layers.*.self_attn.output_gate", "blk.*.attn_gate"),
            Renaming::new("layers.*.self_attn.out_proj", "blk.*.attn_output"),
        ],
        // Decays follow from the layer and the head.
        left_out: &[".slope_rate", ".query_decay", ".key_decay", ".diagonal_decay"],
        parameters: &[
            Parameter::VocabularySize,
            Parameter::RopeDimensions,
            Parameter::Count("rope.dimension_count", &["rotary_dim"]),
            Parameter::Number("residual_scale", &["full_attn_alpha_factor", "layernorm_full_attention_alpha"]),
            Parameter::RecurrentLayers,
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

/// Of so many layers one has softmax attention, where the file does not say.
const INTERVAL: usize = 8;
/// The last layer's decays are those of this share of the first one's slopes.
const LEAST_SLOPE: f32 = 1e-5;

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let share = layer_index as f32 / (config.layer_count - 1).max(1) as f32;
    let mixer = match config.is_recurrent(layer_index, INTERVAL) {
        true => Mixer::DecayedAttention(DecayedAttention {
            qkv: "attn_qkv",
            activation: Activation::Silu,
            slope: 1.0 - share + LEAST_SLOPE,
            norm: Norm::Rms("attn_norm_2"),
            gate: "attn_gate",
            output: "attn_output",
        }),
        false => Mixer::Attention(Attention { rope: Some(Rope::half_split(config)), ..Attention::STANDARD }),
    };
    let scale = config.experts.as_ref().map_or(1.0, |experts| experts.weights_scale);
    let ffn_size = Some(config.ffn_sizes[layer_index]);
    Layer {
        mixer,
        ffn: Ffn::Experts(ExpertsFfn { scale, ffn_size, ..ExpertsFfn::SOFTMAX }),
        normed_stream: Some(config.residual_scale.unwrap_or(1.0)),
        ..Layer::PRE_NORM
    }
}
