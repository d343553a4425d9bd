//! T5, Flan-T5, mT5 and their encoders alone. Learned biases by distance, scores that are not scaled, and a decoder whose
//! layers attend to the encoder's output; GELU gates, or ReLU without a gate in the first generation.
//!
//! Reference: Raffel et al., "Exploring the Limits of Transfer Learning", section 2.1; Shazeer, "GLU Variants Improve
//! Transformer". GGUF names: `t5`, `t5encoder`.

use lair_compute::{Activation, Mask};

use crate::ModelConfig;
use crate::spec::source::{Parameter, T5_NAMES};
use crate::spec::{
    Architecture, Attention, CrossAttention, DenseFfn, Embedding, Encoder, EncoderInput, Ffn, Gate, Head, HeadOutput,
    Layer, Mixer, Norm, Projections, RelativeBias, Source,
};

/// T5.
pub const T5: Architecture = Architecture {
    gguf_name: "t5",
    hf_names: &["T5ForConditionalGeneration", "MT5ForConditionalGeneration", "UMT5ForConditionalGeneration"],
    layer_prefix: "dec.blk",
    layer: |config, _| Layer {
        cross: Some(CrossAttention { norm: Norm::Rms("cross_attn_norm"), attention: CROSS }),
        ..layer(config, Mask::Causal, "dec.blk.0.")
    },
    head: |_| Head { norm: Norm::Rms("dec.output_norm"), ..Head::LOGITS },
    encoder: Some(Encoder {
        prefix: "enc.blk",
        layer_count: |config| config.layer_count,
        input: |_| EncoderInput::Tokens(Embedding::TOKENS),
        layer: |config, _| layer(config, Mask::Bidirectional, "enc.blk.0."),
        norm: Norm::Rms("enc.output_norm"),
    }),
    // Of no use: what is attended to has no distance.
    ignored_tensors: &[".cross_attn_rel_b.weight"],
    source: Some(SOURCE),
    ..Architecture::DECODER
};

/// The encoder alone, from which embeddings are pooled.
pub const T5ENCODER: Architecture = Architecture {
    gguf_name: "t5encoder",
    hf_names: &["T5EncoderModel"],
    layer_prefix: "enc.blk",
    layer: |config, _| layer(config, Mask::Bidirectional, "enc.blk.0."),
    is_encoder: true,
    head: |_| Head { norm: Norm::Rms("enc.output_norm"), output: HeadOutput::HiddenState, ..Head::LOGITS },
    // What is left of the model it was taken from.
    ignored_tensors: &["output.weight"],
    source: Some(Source { left_out: &["decoder.", "lm_head.", "encoder.embed_tokens."], ..SOURCE }),
    ..Architecture::DECODER
};

const SOURCE: Source = Source {
    family: T5_NAMES,
    roots: &[],
    left_out: &["encoder.embed_tokens.", "decoder.embed_tokens.", ".EncDecAttention.relative_attention_bias.weight"],
    parameters: &[
        Parameter::Only("feed_forward_proj", &["relu", "gated-gelu"]),
        Parameter::CountOr("context_length", &["n_positions"], 512),
        Parameter::Count("feed_forward_length", &["d_ff"]),
        Parameter::Count("decoder_block_count", &["num_decoder_layers"]),
        Parameter::Count("attention.head_count", &["num_heads"]),
        Parameter::Count("attention.key_length", &["d_kv"]),
        Parameter::Count("attention.value_length", &["d_kv"]),
        Parameter::Number("attention.layer_norm_epsilon", &["layer_norm_epsilon"]),
        Parameter::Number("attention.layer_norm_rms_epsilon", &["layer_norm_epsilon"]),
        Parameter::Count("attention.relative_buckets_count", &["relative_attention_num_buckets"]),
        Parameter::Count("decoder_start_token_id", &["decoder_start_token_id"]),
    ],
    ..Source::USUAL
};

const CROSS: Attention = Attention {
    projections: Projections { q: "cross_attn_q", k: "cross_attn_k", v: "cross_attn_v", fused: "cross_attn_qkv" },
    output: "cross_attn_o",
    scale: Some(1.0),
    mask: Mask::Bidirectional,
    ..Attention::STANDARD
};

fn layer(config: &ModelConfig, mask: Mask, first_layer: &'static str) -> Layer {
    let bucket_count = config.relative_bucket_count.unwrap_or(32);
    Layer {
        mixer: Mixer::Attention(Attention {
            output: "attn_o",
            scale: Some(1.0),
            mask,
            relative_bias: Some(RelativeBias { stem: "attn_rel_b", first_layer, bucket_count }),
            ..Attention::STANDARD
        }),
        ffn: Ffn::Dense(DenseFfn { gate: Gate::IfThere("ffn_gate", Activation::Relu), ..DenseFfn::GEGLU }),
        ..Layer::PRE_NORM
    }
}
