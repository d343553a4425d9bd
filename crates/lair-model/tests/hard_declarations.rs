//! Declarations of architectures that the forward pass cannot run yet: the vocabulary must hold them all.
//!
//! Each declares the tensors it should, and is refused by name when it is loaded.

use lair_compute::{Activation, Mask};
use lair_gguf::Metadata;
use lair_model::spec::{
    Architecture, Attention, CrossAttention, DenseFfn, Embedding, Encoder, EncoderInput, Ffn, Head, Layer, Mixer, Norm,
    Positions, Projections,
};
use lair_model::{ModelConfig, ModelError, check_support, tensor_needs};

/// Whisper: an encoder of a spectrogram, attended to by every layer of the decoder.
const WHISPER: Architecture = Architecture {
    gguf_name: "whisper",
    hf_names: &["WhisperForConditionalGeneration"],
    embedding: |_| Embedding { positions: Positions::Learned("position_embd"), ..Embedding::TOKENS },
    layer_prefix: "dec.blk",
    layer: |_, _| Layer {
        cross: Some(CrossAttention {
            norm: Norm::Layer("cross_attn_norm"),
            attention: Attention {
                projections: Projections {
                    q: "cross_attn_q",
                    k: "cross_attn_k",
                    v: "cross_attn_v",
                    fused: "cross_attn_qkv",
                },
                output: "cross_attn_output",
                mask: Mask::Bidirectional,
                ..Attention::STANDARD
            },
        }),
        ..WHISPER_LAYER
    },
    head: |_| Head { norm: Norm::Layer("output_norm"), ..Head::LOGITS },
    encoder: Some(Encoder {
        prefix: "enc.blk",
        layer_count: |config| config.layer_count,
        input: |_| EncoderInput::Spectrogram {
            convolutions: ["enc.conv1", "enc.conv2"],
            positions: "enc.position_embd",
            channel_count: 80,
            frame_count: 1500,
        },
        layer: |_, _| Layer {
            mixer: Mixer::Attention(Attention { mask: Mask::Bidirectional, ..Attention::STANDARD }),
            ..WHISPER_LAYER
        },
        norm: Norm::Layer("enc.output_norm"),
    }),
    ..Architecture::DECODER
};

const WHISPER_LAYER: Layer = Layer {
    mixer_norm: Norm::Layer("attn_norm"),
    ffn_norm: Norm::Layer("ffn_norm"),
    ffn: Ffn::Dense(DenseFfn { activation: Activation::GeluErf, ..DenseFfn::GELU }),
    ..Layer::PRE_NORM
};

#[test]
fn whisper_fits_the_vocabulary() {
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", "whisper");
    for (key, value) in [("block_count", 4u32), ("embedding_length", 384), ("feed_forward_length", 1536)] {
        metadata.set(&format!("whisper.{key}"), value);
    }
    for (key, value) in [("attention.head_count", 6u32), ("context_length", 448), ("vocab_size", 51865)] {
        metadata.set(&format!("whisper.{key}"), value);
    }
    metadata.set("whisper.attention.layer_norm_epsilon", 1e-5f32);
    let config = ModelConfig::from_metadata(&metadata).expect("valid hyper-parameters");
    let needs = tensor_needs(&WHISPER, &config).expect("every shape is known");
    let shape = |name: &str| needs.iter().find(|need| need.name == name).map(|need| need.shape.clone());
    assert_eq!(shape("enc.conv1.weight"), Some(vec![3, 80, 384]));
    assert_eq!(shape("enc.position_embd.weight"), Some(vec![384, 1500]));
    assert_eq!(shape("enc.blk.3.ffn_up.weight"), Some(vec![384, 1536]));
    assert_eq!(shape("dec.blk.3.attn_q.weight"), Some(vec![384, 384]));
    assert_eq!(shape("dec.blk.3.cross_attn_v.weight"), Some(vec![384, 384]));
    assert_eq!(shape("enc.blk.0.cross_attn_v.weight"), None);
    assert!(matches!(check_support(&WHISPER, &config), Err(ModelError::Unsupported { .. })));
}
