//! Gemma 3n. Four residual streams of which a layer computes one, a narrow path beside each mixer, embeddings for each layer,
//! few of the gates of the first layers; layers from the 21st on use keys and values of earlier ones.
//!
//! Reference: the published model code of Google DeepMind. GGUF name: `gemma3n`.

use lair_compute::Mask;

use super::gemma4;
use crate::ModelConfig;
use crate::spec::source::GEMMA3N_SOURCE;
use crate::spec::{
    AltUp, Architecture, Attention, DenseFfn, Embedding, Ffn, Head, Laurel, Layer, Mixer, Norm, PerLayerEmbedding,
    Rope, StreamEmbedding,
};

/// Gemma 3n, the part that reads and writes text.
pub const GEMMA3N: Architecture = Architecture {
    gguf_name: "gemma3n",
    hf_names: &["Gemma3nForCausalLM", "Gemma3nForConditionalGeneration"],
    embedding: |config| Embedding {
        per_layer: Some(PerLayerEmbedding {
            scale: (EMBEDDING_SIZE as f32).sqrt(),
            projection_scale: (config.hidden_size as f32).sqrt().recip(),
            size: EMBEDDING_SIZE,
            ..PER_LAYER
        }),
        streams: Some(StreamEmbedding { projection: "altup_proj", count: STREAM_COUNT }),
        ..gemma4::embedding(config)
    },
    layer,
    head: |config| Head {
        softcap: Some(config.logit_softcap.unwrap_or(30.0)),
        streams: Some("altup_unembd_proj"),
        ..Head::LOGITS
    },
    source: Some(GEMMA3N_SOURCE),
    ..Architecture::DECODER
};

/// Residual streams, which files do not give.
const STREAM_COUNT: usize = 4;
/// Elements of each layer's embedding.
const EMBEDDING_SIZE: usize = 256;
/// Width of the path beside the mixer.
const LAUREL_RANK: usize = 64;
/// Layers with keys and values of their own.
const OWN_LAYER_COUNT: usize = 20;
/// Layers of whose gates the largest twentieth counts, and where it begins in a normal distribution.
const SPARSE_LAYER_COUNT: usize = 10;
const SPARSE_CUTOFF: f32 = 1.644_853_6;

const PER_LAYER: PerLayerEmbedding = PerLayerEmbedding {
    table: "per_layer_token_embd",
    scale: 1.0,
    projection: "per_layer_model_proj",
    projection_scale: 1.0,
    norm: Norm::Rms("per_layer_proj_norm"),
    sum_scale: std::f32::consts::FRAC_1_SQRT_2,
    size: 0,
};

const ALTUP: AltUp = AltUp {
    count: STREAM_COUNT,
    router: "altup_router",
    router_norm: Norm::Rms("altup_router_norm"),
    predict: "altup_predict_coef",
    correct: "altup_correct_coef",
    correct_scale: "altup_correct_scale",
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let rope = Rope::half_split(config);
    let (mask, rope) = match config.window {
        Some(window) if config.has_window(layer_index, 5) => {
            (Mask::Window(window), Rope { theta: 10_000.0, ..rope }.of_windows(config).unscaled())
        }
        _ => (Mask::Causal, rope),
    };
    Layer {
        mixer: Mixer::Attention(Attention {
            q_norm: Norm::Rms("attn_q_norm"),
            k_norm: Norm::Rms("attn_k_norm"),
            v_norm: Norm::RmsUnweighted,
            rope: Some(rope),
            scale: Some(1.0),
            mask,
            kv_source: gemma4::kv_source(config, layer_index, OWN_LAYER_COUNT, 5),
            ..Attention::STANDARD
        }),
        mixer_output_norm: Norm::Rms("post_attention_norm"),
        ffn: Ffn::Dense(DenseFfn {
            gate_cutoff: (layer_index < SPARSE_LAYER_COUNT).then_some(SPARSE_CUTOFF),
            ..DenseFfn::GEGLU
        }),
        ffn_output_norm: Norm::Rms("post_ffw_norm"),
        laurel: Some(Laurel {
            left: "laurel_l",
            right: "laurel_r",
            norm: Norm::Rms("laurel_post_norm"),
            rank: LAUREL_RANK,
        }),
        altup: Some(ALTUP),
        per_layer_input: Some(gemma4::per_layer_input(EMBEDDING_SIZE)),
        ..Layer::PRE_NORM
    }
}
