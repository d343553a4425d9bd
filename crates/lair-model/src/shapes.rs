//! Widths of a layer's parts: declaration and configuration put together, with the rules between them checked.

mod choice;

use lair_compute::{NormKind, StateLayerLayout};

pub(crate) use choice::check_compressed;
use choice::{choice_state, history};

use crate::config::{ExpertsConfig, RecurrentConfig};
use crate::spec::{Attention, Ffn, LatentAttention, Layer, MambaForm, Mixer, Norm, NormSpan, RwkvGeneration};
use crate::{ModelConfig, ModelError};

/// Heads of an attention layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AttentionShape {
    pub(crate) head_count: usize,
    pub(crate) kv_head_count: usize,
    pub(crate) key_dim: usize,
    pub(crate) value_dim: usize,
}

impl AttentionShape {
    pub(crate) fn new(
        attention: &Attention,
        config: &ModelConfig,
        layer_index: usize,
    ) -> Result<AttentionShape, ModelError> {
        let shape = AttentionShape {
            head_count: config.head_counts[layer_index],
            kv_head_count: config.kv_head_counts[layer_index],
            key_dim: attention.key_dim.unwrap_or(config.key_dim),
            value_dim: attention.value_dim.unwrap_or(config.value_dim),
        };
        let positive = |name: &str, count: usize| match count {
            0 => Err(ModelError::Parameter {
                key: config.key(name),
                found: "0".into(),
                expected: format!("more than 0 in layer {layer_index}, which has attention"),
            }),
            _ => Ok(()),
        };
        positive("attention.head_count", shape.head_count)?;
        positive("attention.head_count_kv", shape.kv_head_count)?;
        positive("attention.key_length", shape.key_dim)?;
        positive("attention.value_length", shape.value_dim)?;
        if let Some(rope) = &attention.rope
            && (rope.dimension_count > shape.key_dim || !rope.dimension_count.is_multiple_of(2))
        {
            return Err(ModelError::Parameter {
                key: config.key("rope.dimension_count"),
                found: rope.dimension_count.to_string(),
                expected: format!("an even number up to the head's {} elements", shape.key_dim),
            });
        }
        Ok(shape)
    }

    /// Elements of all queries of a token.
    pub(crate) fn q_width(&self) -> usize {
        self.head_count * self.key_dim
    }

    /// Elements of all keys of a token.
    pub(crate) fn k_width(&self) -> usize {
        self.kv_head_count * self.key_dim
    }

    /// Elements of all values of a token.
    pub(crate) fn v_width(&self) -> usize {
        self.kv_head_count * self.value_dim
    }

    /// Elements of all heads' results.
    pub(crate) fn output_width(&self) -> usize {
        self.head_count * self.value_dim
    }
}

/// Heads of latent attention, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LatentShape {
    pub(crate) head_count: usize,
    pub(crate) nope_dim: usize,
    pub(crate) rope_dim: usize,
    pub(crate) kv_rank: usize,
    pub(crate) value_dim: usize,
}

impl LatentShape {
    pub(crate) fn new(
        mixer: &LatentAttention,
        config: &ModelConfig,
        layer_index: usize,
    ) -> Result<LatentShape, ModelError> {
        let shape = LatentShape {
            head_count: config.head_counts[layer_index],
            nope_dim: mixer.nope_dim,
            rope_dim: mixer.rope_dim,
            kv_rank: mixer.kv_rank,
            value_dim: mixer.value_dim,
        };
        let wrong = |key: &str, found: usize, expected: &str| {
            let (key, found, expected) = (config.key(key), found.to_string(), expected.to_owned());
            Err(ModelError::Parameter { key, found, expected })
        };
        if config.latent.is_none() {
            let expected = "the width of compressed keys and values";
            return Err(ModelError::MissingKey { key: config.key("attention.kv_lora_rank"), expected });
        }
        if shape.head_count == 0 {
            return wrong("attention.head_count", 0, "more than 0 in a layer with attention");
        }
        if shape.kv_rank == 0 || shape.value_dim == 0 {
            return wrong("attention.kv_lora_rank", shape.kv_rank, "more than 0, as a value head's width");
        }
        if shape.nope_dim + shape.rope_dim == 0 || !shape.rope_dim.is_multiple_of(2) {
            return wrong("rope.dimension_count", shape.rope_dim, "an even number up to the head's width");
        }
        Ok(shape)
    }

    /// Elements of a query or key head, uncompressed.
    pub(crate) fn head_dim(&self) -> usize {
        self.nope_dim + self.rope_dim
    }

    /// Elements of a compressed key.
    pub(crate) fn key_dim(&self) -> usize {
        self.kv_rank + self.rope_dim
    }
}

impl NormSpan {
    /// The shape of a norm's weight over heads of this width.
    pub(crate) fn weight_shape(self, head_dim: usize, head_count: usize) -> Vec<usize> {
        match self {
            NormSpan::Head => vec![head_dim],
            NormSpan::Row => vec![head_dim * head_count],
            NormSpan::HeadOfRow => vec![head_dim, head_count],
            NormSpan::HeadFactor => vec![1, head_count],
        }
    }
}

/// Heads of a gated delta net.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeltaNetShape {
    pub(crate) key_head_count: usize,
    pub(crate) value_head_count: usize,
    pub(crate) key_dim: usize,
    pub(crate) value_dim: usize,
    pub(crate) conv_length: usize,
}

impl DeltaNetShape {
    pub(crate) fn new(config: &ModelConfig) -> Result<DeltaNetShape, ModelError> {
        let recurrent = recurrent_config(config)?;
        let wrong = |key: &str, found: usize, expected: String| ModelError::Parameter {
            key: config.key(key),
            found: found.to_string(),
            expected,
        };
        let value_head_count = recurrent.time_step_rank;
        if !recurrent.inner_size.is_multiple_of(value_head_count) {
            let expected = format!("a multiple of the ssm.time_step_rank {value_head_count}");
            return Err(wrong("ssm.inner_size", recurrent.inner_size, expected));
        }
        if recurrent.group_count == 0 || !value_head_count.is_multiple_of(recurrent.group_count) {
            let expected = format!("a divisor of the ssm.time_step_rank {value_head_count}");
            return Err(wrong("ssm.group_count", recurrent.group_count, expected));
        }
        Ok(DeltaNetShape {
            key_head_count: recurrent.group_count,
            value_head_count,
            key_dim: recurrent.state_size,
            value_dim: recurrent.inner_size / value_head_count,
            conv_length: recurrent.conv_length,
        })
    }

    /// Elements of all values, and of the output.
    pub(crate) fn value_width(&self) -> usize {
        self.value_head_count * self.value_dim
    }

    /// Channels of the convolution: queries, keys and values.
    pub(crate) fn channel_count(&self) -> usize {
        2 * self.key_head_count * self.key_dim + self.value_width()
    }
}

/// Heads of a Mamba-2 layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mamba2Shape {
    pub(crate) head_count: usize,
    pub(crate) inner_size: usize,
    pub(crate) state_size: usize,
    pub(crate) group_count: usize,
    pub(crate) conv_length: usize,
}

impl Mamba2Shape {
    pub(crate) fn new(config: &ModelConfig) -> Result<Mamba2Shape, ModelError> {
        let recurrent = recurrent_config(config)?;
        let heads = recurrent.time_step_rank;
        head_dim(config, recurrent)?;
        if recurrent.group_count == 0 || !heads.is_multiple_of(recurrent.group_count) {
            return Err(ModelError::Parameter {
                key: config.key("ssm.group_count"),
                found: recurrent.group_count.to_string(),
                expected: format!("a divisor of the ssm.time_step_rank {heads}"),
            });
        }
        Ok(Mamba2Shape {
            head_count: recurrent.time_step_rank,
            inner_size: recurrent.inner_size,
            state_size: recurrent.state_size,
            group_count: recurrent.group_count,
            conv_length: recurrent.conv_length,
        })
    }

    /// Channels of the convolution: those of the heads, then `B` and `C`.
    pub(crate) fn channel_count(&self) -> usize {
        self.inner_size + 2 * self.group_count * self.state_size
    }
}

/// Channels of a Mamba layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MambaShape {
    pub(crate) head_count: usize,
    pub(crate) inner_size: usize,
    pub(crate) state_size: usize,
    /// Width of the narrow time steps.
    pub(crate) rank: usize,
    pub(crate) conv_length: usize,
}

/// The least width of PLaMo 2's narrow time steps, and its share of the hidden size otherwise (the published model code).
const PLAMO_RANK_MIN: usize = 64;
const PLAMO_RANK_DIVISOR: usize = 16;

impl MambaShape {
    pub(crate) fn new(config: &ModelConfig, form: MambaForm) -> Result<MambaShape, ModelError> {
        let recurrent = recurrent_config(config)?;
        let (head_count, rank) = match form {
            MambaForm::Channels => (recurrent.inner_size, recurrent.time_step_rank),
            MambaForm::Heads => {
                head_dim(config, recurrent)?;
                (recurrent.time_step_rank, PLAMO_RANK_MIN.max(config.hidden_size / PLAMO_RANK_DIVISOR))
            }
        };
        let RecurrentConfig { inner_size, state_size, conv_length, .. } = recurrent;
        Ok(MambaShape { head_count, inner_size, state_size, rank, conv_length })
    }

    /// Elements of a head.
    pub(crate) fn head_dim(&self) -> usize {
        self.inner_size / self.head_count
    }
}

/// Elements of a head, of which there are as many as time steps.
fn head_dim(config: &ModelConfig, recurrent: RecurrentConfig) -> Result<usize, ModelError> {
    match recurrent.inner_size.is_multiple_of(recurrent.time_step_rank) {
        true => Ok(recurrent.inner_size / recurrent.time_step_rank),
        false => Err(ModelError::Parameter {
            key: config.key("ssm.inner_size"),
            found: recurrent.inner_size.to_string(),
            expected: format!("a multiple of the ssm.time_step_rank {}", recurrent.time_step_rank),
        }),
    }
}

/// What a layer keeps of a sequence beside keys and values, in the order in which it is built.
pub(crate) fn state_layers(
    layer: &Layer,
    config: &ModelConfig,
    layer_index: usize,
) -> Result<Vec<StateLayerLayout>, ModelError> {
    let mut states = mixer_states(&layer.mixer, config, layer_index)?;
    if let Some(mixer) = layer.beside {
        states.extend(mixer_states(&Mixer::Mamba2(mixer), config, layer_index)?);
    }
    if let (Some(_), Some(ngrams), Some(streams)) = (layer.ngrams, &config.ngrams, config.gated_streams) {
        let convolved = (ngrams.span() - 1) * streams.count * config.hidden_size;
        // The tokens before, then what is convolved.
        let lengths = [(ngrams.length - 1) * ngrams.length, convolved];
        states.extend(lengths.map(|conv_length| StateLayerLayout { conv_length, recurrent_length: 0 }));
    }
    if let Ffn::ChannelMix(_) = layer.ffn {
        states.push(StateLayerLayout { conv_length: config.hidden_size, recurrent_length: 0 });
    }
    Ok(states)
}

fn mixer_states(mixer: &Mixer, config: &ModelConfig, layer_index: usize) -> Result<Vec<StateLayerLayout>, ModelError> {
    let layout = |taps: usize, channels: usize, recurrent_length: usize| {
        vec![StateLayerLayout { conv_length: (taps - 1) * channels, recurrent_length }]
    };
    Ok(match mixer {
        Mixer::GatedDeltaNet(_) => {
            let shape = DeltaNetShape::new(config)?;
            let recurrent = shape.value_head_count * shape.key_dim * shape.value_dim;
            layout(shape.conv_length, shape.channel_count(), recurrent)
        }
        Mixer::Mamba2(_) => {
            let shape = Mamba2Shape::new(config)?;
            layout(shape.conv_length, shape.channel_count(), shape.inner_size * shape.state_size)
        }
        Mixer::Mamba(mixer) => {
            let shape = MambaShape::new(config, mixer.form)?;
            layout(shape.conv_length, shape.inner_size, shape.inner_size * shape.state_size)
        }
        Mixer::DecayedAttention(_) => vec![StateLayerLayout {
            conv_length: 0,
            recurrent_length: config.head_counts[layer_index] * config.key_dim * config.key_dim,
        }],
        Mixer::KeyDeltaNet(_) => {
            let shape = KeyDeltaShape::new(config)?;
            let conv_length = (shape.conv_length - 1) * shape.width();
            let convolution = StateLayerLayout { conv_length, recurrent_length: 0 };
            let recurrent_length = shape.width() * shape.head_dim;
            vec![StateLayerLayout { conv_length, recurrent_length }, convolution, convolution]
        }
        Mixer::TimeMix(mixer) => {
            let shape = TimeMixShape::new(config, mixer.generation)?;
            let recurrent_length = shape.head_count * shape.head_dim * shape.head_dim;
            vec![StateLayerLayout { conv_length: config.hidden_size, recurrent_length }]
        }
        Mixer::ShortConvolution(mixer) => layout(mixer.length, config.hidden_size, 0),
        Mixer::CompressedAttention(mixer) => {
            let own = mixer.compressor.map(|compressor| history(&compressor, mixer.head_dim));
            own.into_iter().chain(choice_state(&mixer.choice)).collect()
        }
        Mixer::LatentAttention(mixer) => choice_state(&mixer.choice).into_iter().collect(),
        Mixer::Attention(mixer) => choice_state(&mixer.choice).into_iter().collect(),
        Mixer::None | Mixer::Linear(_) => Vec::new(),
    })
}

/// Heads of a delta rule with a decay for each key element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyDeltaShape {
    pub(crate) head_count: usize,
    pub(crate) head_dim: usize,
    pub(crate) conv_length: usize,
}

impl KeyDeltaShape {
    /// Recurrent layers have as many heads as the others: files give the number where there is attention.
    pub(crate) fn new(config: &ModelConfig) -> Result<KeyDeltaShape, ModelError> {
        let missing = || ModelError::MissingKey { key: config.key("kda.head_dim"), expected: "the width of a head" };
        let key_delta = config.key_delta.ok_or_else(missing)?;
        let head_count = config.head_counts.iter().copied().max().unwrap_or(0);
        Ok(KeyDeltaShape { head_count, head_dim: key_delta.head_dim, conv_length: key_delta.conv_length })
    }

    /// Elements of all heads.
    pub(crate) fn width(&self) -> usize {
        self.head_count * self.head_dim
    }
}

/// Heads and narrow products of RWKV's time mixing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeMixShape {
    pub(crate) head_count: usize,
    pub(crate) head_dim: usize,
    pub(crate) decay_rank: usize,
    /// RWKV-6: of the token shift.
    pub(crate) mix_rank: usize,
    /// RWKV-7.
    pub(crate) rate_rank: usize,
    pub(crate) value_rank: usize,
    /// 0 without gates.
    pub(crate) gate_rank: usize,
}

impl TimeMixShape {
    pub(crate) fn new(config: &ModelConfig, generation: RwkvGeneration) -> Result<TimeMixShape, ModelError> {
        let missing = |key: &str| ModelError::MissingKey { key: config.key(key), expected: "a width of time mixing" };
        let rwkv = config.rwkv.ok_or_else(|| missing("wkv.head_size"))?;
        let width = |key: &str, width: Option<usize>| width.ok_or_else(|| missing(key));
        let shape = TimeMixShape {
            head_count: config.hidden_size / rwkv.head_size,
            head_dim: rwkv.head_size,
            decay_rank: 0,
            mix_rank: 0,
            rate_rank: 0,
            value_rank: 0,
            gate_rank: rwkv.gate_rank.unwrap_or(0),
        };
        Ok(match generation {
            RwkvGeneration::Six => TimeMixShape {
                mix_rank: width("time_mix_extra_dim", rwkv.mix_rank)?,
                decay_rank: width("time_decay_extra_dim", rwkv.decay_ranks[0])?,
                ..shape
            },
            RwkvGeneration::Seven => TimeMixShape {
                decay_rank: width("attention.decay_lora_rank", rwkv.decay_ranks[1])?,
                rate_rank: width("attention.iclr_lora_rank", rwkv.rate_rank)?,
                value_rank: width("attention.value_residual_mix_lora_rank", rwkv.value_rank)?,
                ..shape
            },
        })
    }
}

fn recurrent_config(config: &ModelConfig) -> Result<RecurrentConfig, ModelError> {
    config.recurrent.ok_or_else(|| ModelError::MissingKey {
        key: config.key("ssm.inner_size"),
        expected: "the width of the recurrent layers",
    })
}

/// How a norm scales, and what it adds under the root. `None` for no norm.
pub(crate) fn norm_kind(norm: Norm, config: &ModelConfig) -> Result<Option<(NormKind, f32)>, ModelError> {
    let (kind, key, epsilon) = match norm {
        Norm::None => return Ok(None),
        Norm::RmsAdding(_, epsilon) => return Ok(Some((NormKind::Rms, epsilon))),
        Norm::LayerAdding(_, epsilon) => return Ok(Some((NormKind::Layer, epsilon))),
        Norm::Rms(_)
        | Norm::RmsIfThere(_)
        | Norm::RmsNamed(_)
        | Norm::RmsEither(..)
        | Norm::RmsBiased(_)
        | Norm::RmsUnweighted => (NormKind::Rms, "attention.layer_norm_rms_epsilon", config.rms_norm_epsilon),
        Norm::Layer(_) | Norm::LayerUnbiased(_) | Norm::LayerIfThere(_) | Norm::LayerUnweighted => {
            (NormKind::Layer, "attention.layer_norm_epsilon", config.layer_norm_epsilon)
        }
    };
    let missing = || ModelError::MissingKey { key: config.key(key), expected: "what norms add under the root" };
    Ok(Some((kind, epsilon.ok_or_else(missing)?)))
}

/// Width of a feed-forward network: the declaration's, or the configuration's for the layer.
pub(crate) fn ffn_size(declared: Option<usize>, config: &ModelConfig, layer_index: usize) -> Result<usize, ModelError> {
    match declared.unwrap_or(config.ffn_sizes[layer_index]) {
        0 => Err(ModelError::Parameter {
            key: config.key("feed_forward_length"),
            found: "0".into(),
            expected: format!("more than 0 in layer {layer_index}"),
        }),
        size => Ok(size),
    }
}

/// The experts' hyper-parameters of a model that must have them.
pub(crate) fn experts_config(config: &ModelConfig) -> Result<&ExpertsConfig, ModelError> {
    config.experts.as_ref().ok_or_else(|| ModelError::MissingKey {
        key: config.key("expert_count"),
        expected: "how many experts a layer has",
    })
}
