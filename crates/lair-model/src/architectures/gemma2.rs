//! Gemma 2. Norms before and after both halves, GELU gates, a window in every second layer, soft caps on scores and
//! logits.
//!
//! Reference: "Gemma 2: Improving Open Language Models at a Practical Size", section 2. GGUF name: `gemma2`.

use lair_compute::Mask;

use crate::ModelConfig;
use crate::spec::source::{NormOffset, Parameter, SANDWICH_NAMES};
use crate::spec::{Architecture, Attention, DenseFfn, Embedding, Ffn, Head, Layer, Mixer, Norm, Rope, Source};

/// Gemma 2.
pub const GEMMA2: Architecture = Architecture {
    gguf_name: "gemma2",
    hf_names: &["Gemma2ForCausalLM"],
    embedding: |config| Embedding { scale: (config.hidden_size as f32).sqrt(), ..Embedding::TOKENS },
    layer,
    head: |config| Head { softcap: Some(config.logit_softcap.unwrap_or(30.0)), ..Head::LOGITS },
    source: Some(Source {
        names: SANDWICH_NAMES,
        norm_offset: NormOffset::One,
        parameters: &[
            Parameter::KvHeads,
            Parameter::Number("attn_logit_softcapping", &["attn_logit_softcapping"]),
            Parameter::Number("final_logit_softcapping", &["final_logit_softcapping"]),
            Parameter::Count("attention.sliding_window", &["sliding_window"]),
        ],
        left_out: &["lm_head.weight"],
        space_prefix: Some(false),
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

/// The window of files that do not give it.
const DEFAULT_WINDOW: usize = 4096;

/// Layers of the 27B model, the only one whose scores are scaled by the width of the residual stream.
const LARGEST_LAYER_COUNT: usize = 46;

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let rope = Rope::half_split(config);
    let (mask, rope) = match config.has_window(layer_index, 2) {
        true => (Mask::Window(config.window.unwrap_or(DEFAULT_WINDOW)), rope.of_windows(config)),
        false => (Mask::Causal, rope),
    };
    let by_hidden_size = || (config.hidden_size as f32 / config.head_counts[0] as f32).sqrt().recip();
    Layer {
        mixer: Mixer::Attention(Attention {
            rope: Some(rope),
            scale: (config.layer_count == LARGEST_LAYER_COUNT).then(by_hidden_size),
            softcap: Some(config.attention_softcap.unwrap_or(50.0)),
            mask,
            ..Attention::STANDARD
        }),
        mixer_output_norm: Norm::Rms("post_attention_norm"),
        ffn: Ffn::Dense(DenseFfn::GEGLU),
        ffn_output_norm: Norm::Rms("post_ffw_norm"),
        ..Layer::PRE_NORM
    }
}
