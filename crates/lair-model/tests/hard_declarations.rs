//! Declarations of architectures that the forward pass cannot run yet: the vocabulary must hold them all.
//!
//! Each is checked against the header of a tiny model: every tensor in the file is declared with its shape, every
//! required tensor is there. Each is refused by name when it is loaded.

use std::collections::HashMap;

use lair_compute::{Activation, Mask};
use lair_gguf::{Header, Metadata};
use lair_model::spec::{
    Architecture, Attention, CrossAttention, DenseFfn, Embedding, Encoder, EncoderInput, ExpertsFfn, Ffn, Head, Layer,
    Mamba2, Mixer, Norm, Positions, Projections, Rope, ShortConvolution,
};
use lair_model::{ModelConfig, ModelError, Presence, check_support, tensor_needs};
use lair_testkit::shared_data;

/// Granite 4: Mamba-2 with a few attention layers without positions, and factors on everything that is added.
const GRANITE_HYBRID: Architecture = Architecture {
    gguf_name: "granitehybrid",
    hf_names: &["GraniteMoeHybridForCausalLM"],
    embedding: |config| Embedding { scale: config.embedding_scale.unwrap_or(1.0), ..Embedding::TOKENS },
    layer: granite_hybrid_layer,
    head: |config| Head { scale: config.logit_scale.map_or(1.0, f32::recip), ..Head::LOGITS },
    ignored_tensors: &["rope_freqs.weight"],
    ..Architecture::DECODER
};

fn granite_hybrid_layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let mixer = match config.kv_head_counts[layer_index] {
        0 => Mixer::Mamba2(Mamba2::STANDARD),
        _ => Mixer::Attention(Attention { scale: config.attention_scale, ..Attention::STANDARD }),
    };
    Layer { mixer, residual_scale: config.residual_scale.unwrap_or(1.0), ..Layer::PRE_NORM }
}

/// LFM2: gated short convolutions with a few attention layers.
const LFM2: Architecture = Architecture {
    gguf_name: "lfm2",
    hf_names: &["Lfm2ForCausalLM"],
    layer: lfm2_layer,
    // The file calls the head's norm after the embedding.
    head: |_| Head { norm: Norm::Rms("token_embd_norm"), ..Head::LOGITS },
    ignored_tensors: &["dense_2."],
    ..Architecture::DECODER
};

fn lfm2_layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let mixer = match config.kv_head_counts[layer_index] {
        0 => Mixer::ShortConvolution(ShortConvolution {
            input: "shortconv.in_proj",
            convolution: "shortconv.conv",
            output: "shortconv.out_proj",
            length: config.short_convolution_length.expect("the header has short convolutions"),
        }),
        _ => Mixer::Attention(Attention {
            q_norm: Norm::Rms("attn_q_norm"),
            k_norm: Norm::Rms("attn_k_norm"),
            rope: Some(Rope::half_split(config)),
            ..Attention::STANDARD
        }),
    };
    Layer { mixer, ..Layer::PRE_NORM }
}

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

/// Checks a declaration against the tensors of a header, both ways, and that the forward pass refuses it.
fn check(architecture: &Architecture, refused_because: &str) {
    let Some(path) = shared_data(&format!("archs/{}.meta.gguf", architecture.gguf_name)) else { return };
    let header = Header::parse_without_data(&std::fs::read(path).expect("readable")).expect("golden headers are valid");
    let config = ModelConfig::from_metadata(&header.metadata).expect("valid hyper-parameters");
    let needs = tensor_needs(architecture, &config).expect("every shape is known");
    let trim = |shape: &mut Vec<usize>| {
        while shape.last() == Some(&1) {
            shape.pop();
        }
    };
    let mut rest: HashMap<String, Vec<usize>> = header
        .tensors
        .iter()
        .map(|tensor| (tensor.name.clone(), tensor.shape.iter().map(|length| *length as usize).collect()))
        .collect();
    let names: Vec<String> = rest.keys().cloned().collect();
    for need in needs {
        match (rest.remove(&need.name), &need.presence) {
            (Some(mut found), _) => {
                let mut expected = need.shape.clone();
                trim(&mut found);
                trim(&mut expected);
                assert_eq!(found, expected, "{}: shape of {}", architecture.gguf_name, need.name);
            }
            (None, Presence::Required) => panic!("{}: {} is not in the file", architecture.gguf_name, need.name),
            (None, Presence::Unless(other)) => assert!(names.contains(other), "neither {} nor {other}", need.name),
            (None, Presence::With(other)) => assert!(!names.contains(other), "{other} without {}", need.name),
            (None, Presence::WithUnless(with, unless)) => {
                assert!(!names.contains(with) || names.contains(unless), "{with} without {}", need.name);
            }
            (None, Presence::Optional) => {}
        }
    }
    rest.retain(|name, _| !architecture.ignored_tensors.iter().any(|start| name.starts_with(start)));
    assert!(rest.is_empty(), "{}: not declared: {rest:?}", architecture.gguf_name);
    match check_support(architecture, &config, config.context_length) {
        Err(ModelError::Unsupported { what, .. }) => assert_eq!(what, refused_because, "{}", architecture.gguf_name),
        other => panic!("{}: {other:?}", architecture.gguf_name),
    }
}

#[test]
fn granite_hybrid_fits_the_vocabulary() {
    check(&GRANITE_HYBRID, "Mamba-2");
}

#[test]
fn lfm2_fits_the_vocabulary() {
    check(&LFM2, "short convolutions");
}

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
    assert!(matches!(check_support(&WHISPER, &config, 448), Err(ModelError::Unsupported { .. })));
}
