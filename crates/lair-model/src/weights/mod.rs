//! Declared parts put together with their weights: what the forward pass walks.

mod attention;
mod builder;
mod compressed;
mod convolution;
mod cross;
mod decayed_attention;
mod delta_net;
mod ffn;
mod gated_streams;
mod indexer;
mod key_delta;
mod latent;
mod low_rank;
mod mamba;
mod mamba2;
mod per_layer;
mod relative_bias;
mod residual;
mod rwkv;
mod streams;
mod switch;

use std::sync::Arc;

use lair_compute::{Backend, KvLayerLayout, Linear, MatrixBytes, MatrixRole, Norm, RowSelection, StateLayerLayout};
use lair_gguf::TensorType;

pub(crate) use attention::AttentionWeights;
pub(crate) use builder::Builder;
pub(crate) use compressed::CompressedWeights;
pub(crate) use convolution::ShortConvolutionWeights;
pub(crate) use cross::{CrossWeights, EncoderWeights};
pub(crate) use decayed_attention::DecayedAttentionWeights;
pub(crate) use delta_net::DeltaNetWeights;
pub(crate) use ffn::{ExpertsWeights, FfnWeights, LatentExpertsWeights, SumWeights};
pub(crate) use gated_streams::{GatedStreamWeights, GatedStreamsWeights, GatedWidths, NgramWeights};
pub(crate) use indexer::{ChoiceRoom, CompressorWeights, IndexerWeights};
pub(crate) use key_delta::KeyDeltaWeights;
pub(crate) use latent::LatentWeights;
pub(crate) use low_rank::{Adapted, AdapterParts, AdapterWidths, DenseWeights, LowRank};
pub(crate) use mamba::MambaWeights;
pub(crate) use mamba2::Mamba2Weights;
pub(crate) use per_layer::{
    AltUpWeights, LaurelWeights, PerLayerEmbeddingWeights, PerLayerInputWeights, PerLayerWidths, StreamWeights,
};
pub(crate) use residual::BankedWeights;
pub(crate) use rwkv::{ChannelMixWeights, Narrow, TimeMix6Weights, TimeMix7Weights};
pub(crate) use streams::{HyperWeights, StreamMixWeights, StreamWidths};
pub(crate) use switch::{SwitchWeights, WIDTH as SWITCH_WIDTH};

use crate::ModelError;
use crate::config::limits;
use crate::shapes::state_layers;
use crate::spec::{Architecture, Embedding, HeadOutput, Layer, Mixer, Residual, RwkvGeneration, Turn};

/// From tokens to the residual stream.
pub(crate) struct EmbeddingWeights<B: Backend> {
    /// `None` where the head's matrix serves.
    pub(crate) table: Option<B::Matrix>,
    pub(crate) scale: f32,
    pub(crate) positions: Option<B::Matrix>,
    pub(crate) norm: Option<Norm<B>>,
    pub(crate) per_layer: Option<PerLayerEmbeddingWeights<B>>,
    /// What the faster of two states begins as.
    pub(crate) fast_state: Option<B::Matrix>,
}

/// What a model gives for each token.
pub(crate) enum HeadWeights<B: Backend> {
    Logits(Box<lair_compute::Head<B>>),
    HiddenState(Option<Norm<B>>),
}

/// What a parallel layer's feed-forward network reads.
pub(crate) enum ParallelInput<B: Backend> {
    /// The layer is sequential.
    None,
    /// The mixer's normalised input; this is the norm of both.
    Shared(Option<Norm<B>>),
    /// The layer's input by a norm of its own.
    Own(Norm<B>),
}

/// One layer.
pub(crate) struct LayerWeights<B: Backend> {
    /// Norm of the mixer's input; absent where [`ParallelInput::Shared`] has it.
    pub(crate) mixer_norm: Option<Norm<B>>,
    pub(crate) mixer: MixerWeights<B>,
    /// Absent where there is no mixer.
    pub(crate) mixer_output: Option<Adapted<B>>,
    /// A second mixer with its output.
    pub(crate) beside: Option<(Box<Mamba2Weights<B>>, Adapted<B>)>,
    pub(crate) mixer_output_norm: Option<Norm<B>>,
    pub(crate) mixer_stream_norm: Option<Norm<B>>,
    /// Norm of the sum of that and the layer's input.
    pub(crate) mixer_second_norm: Option<Norm<B>>,
    pub(crate) parallel: ParallelInput<B>,
    pub(crate) ffn: FfnWeights<B>,
    pub(crate) ffn_stream_norm: Option<Norm<B>>,
    pub(crate) cross: Option<CrossWeights<B>>,
    pub(crate) laurel: Option<LaurelWeights<B>>,
    pub(crate) altup: Option<AltUpWeights<B>>,
    /// Several residual streams.
    pub(crate) hyper: Option<HyperWeights<B>>,
    pub(crate) per_layer_input: Option<PerLayerInputWeights<B>>,
    /// Factor on the layer's result.
    pub(crate) output_scale: Option<f32>,
    /// Factor on the embedding that is added last.
    pub(crate) embedding_skip: Option<f32>,
    /// Factor on what the mixer adds.
    pub(crate) mixer_scale: f32,
    /// Where the halves are added to their normalised input: its factor, and the norm of the feed-forward network's.
    pub(crate) normed_stream: Option<(f32, Option<Norm<B>>)>,
    /// Where both halves read means of states of the stream: these have the norms then.
    pub(crate) banked: Option<Box<BankedWeights<B>>>,
    pub(crate) turn: Turn,
    /// Several residual streams that both halves read by gates.
    pub(crate) gated: Option<Box<GatedStreamsWeights<B>>>,
    /// Embeddings of the last tokens that are added to them.
    pub(crate) ngrams: Option<Box<NgramWeights<B>>>,
}

impl<B: Backend> LayerWeights<B> {
    /// Whether both halves read what was put into `hidden` for them.
    pub(crate) fn reads_hidden(&self) -> bool {
        self.normed_stream.is_some() || self.banked.is_some() || self.gated.is_some()
    }

    /// Whether the feed-forward network reads what was put into `hidden` for it.
    pub(crate) fn ffn_reads_hidden(&self) -> bool {
        // The mixer reads a mixture of such streams where it stands, in `residual`.
        self.reads_hidden() || self.hyper.is_some()
    }

    /// Whether what the layer read is needed after its mixer.
    pub(crate) fn keeps_input(&self) -> bool {
        self.mixer_second_norm.is_some() || self.ffn.reads_layer_input()
    }

    /// Whether a network and experts are summed before they are added.
    pub(crate) fn sums_apart(&self) -> bool {
        matches!(self.ffn, FfnWeights::DenseAndExperts(_, _, Some(_)))
    }
}

/// What mixes tokens.
pub(crate) enum MixerWeights<B: Backend> {
    None,
    Attention(Box<AttentionWeights<B>>),
    DeltaNet(Box<DeltaNetWeights<B>>),
    Latent(Box<LatentWeights<B>>),
    Compressed(Box<CompressedWeights<B>>),
    /// The product is the layer's output.
    Linear {
        mixed_buffer: usize,
    },
    Mamba2(Box<Mamba2Weights<B>>),
    Mamba(Box<MambaWeights<B>>),
    ShortConvolution(Box<ShortConvolutionWeights<B>>),
    DecayedAttention(Box<DecayedAttentionWeights<B>>),
    KeyDelta(Box<KeyDeltaWeights<B>>),
    TimeMix6(Box<TimeMix6Weights<B>>),
    TimeMix7(Box<TimeMix7Weights<B>>),
}

impl<B: Backend> MixerWeights<B> {
    /// Which buffer of `mixed` holds its result.
    fn mixed_buffer(&self) -> Option<usize> {
        Some(match self {
            MixerWeights::None => return None,
            MixerWeights::Attention(weights) => weights.mixed_buffer,
            MixerWeights::DeltaNet(weights) => weights.mixed_buffer,
            MixerWeights::Latent(weights) => weights.mixed_buffers.1,
            MixerWeights::Compressed(weights) => weights.mixed_buffer,
            MixerWeights::Linear { mixed_buffer } => *mixed_buffer,
            MixerWeights::Mamba2(weights) => weights.mixed_buffer,
            MixerWeights::Mamba(weights) => weights.mixed_buffer,
            MixerWeights::ShortConvolution(weights) => weights.mixed_buffer,
            MixerWeights::DecayedAttention(weights) => weights.mixed_buffer,
            MixerWeights::KeyDelta(weights) => weights.mixed_buffer,
            MixerWeights::TimeMix6(weights) => weights.mixed_buffer,
            MixerWeights::TimeMix7(weights) => weights.mixed_buffer,
        })
    }
}

/// Widths of the buffers that a model's layers need, each kind's distinct ones in the order of their first use.
#[derive(Clone, Debug, Default)]
pub(crate) struct BufferWidths {
    pub(crate) q: Vec<usize>,
    pub(crate) k: Vec<usize>,
    pub(crate) v: Vec<usize>,
    pub(crate) gate: Vec<usize>,
    pub(crate) mixed: Vec<usize>,
    /// Compressed keys and values.
    pub(crate) latent: Vec<usize>,
    /// Queries in the compressed space.
    pub(crate) absorbed: Vec<usize>,
    /// Results in the compressed space.
    pub(crate) absorbed_mixed: Vec<usize>,
    /// What mixers give, after a norm of its own.
    pub(crate) inner: Vec<usize>,
    /// Gate and up of feed-forward networks whose gates are cut off.
    pub(crate) wide: Vec<usize>,
    /// Embeddings of layers and residual streams.
    pub(crate) per_layer: PerLayerWidths,
    /// Residual streams that are read and written by learned factors.
    pub(crate) streams: StreamWidths,
    /// Buffers that recurrent mixers share; a width that one of them needs more than once stands here as often.
    pub(crate) rooms: Vec<usize>,
    /// Choices of keys.
    pub(crate) choices: ChoiceRoom,
    /// Whether tokens switch adapters on.
    pub(crate) has_switch: bool,
    /// Width of the first layer's values, where others mix theirs with them.
    pub(crate) shares_values: Option<usize>,
    /// Whether a layer keeps its input, or sums apart from the stream.
    pub(crate) keeps_input: bool,
    /// Whether a layer adds the embedding.
    pub(crate) keeps_embedding: bool,
    /// States of the residual stream that layers keep within a step.
    pub(crate) banked_count: usize,
    /// Whether two states take turns.
    pub(crate) has_turns: bool,
    /// Residual streams that are read by gates.
    pub(crate) gated: GatedWidths,
    /// Widest input or output of a product, beside the vocabulary.
    pub(crate) width_max: usize,
}

impl BufferWidths {
    /// Takes the width of every buffer, and of the residual stream, into account for the widest product.
    pub(crate) fn note_widest(&mut self, hidden_size: usize) {
        let kinds = [&self.q, &self.k, &self.v, &self.gate, &self.mixed, &self.rooms];
        let latent = [&self.latent, &self.absorbed, &self.absorbed_mixed];
        let widest = kinds.into_iter().chain(latent).flatten().copied().max().unwrap_or(0);
        self.width_max = self.width_max.max(widest).max(hidden_size);
    }
}

/// The index of `width` in `widths`, which it joins if it is new.
pub(crate) fn width_index(widths: &mut Vec<usize>, width: usize) -> usize {
    widths.iter().position(|known| *known == width).unwrap_or_else(|| {
        widths.push(width);
        widths.len() - 1
    })
}

/// The index of a `width` in `widths` beside the one that is taken; one joins if there is none.
fn other_index(widths: &mut Vec<usize>, width: usize, taken: impl Fn(usize) -> bool) -> usize {
    let known = widths.iter().enumerate().position(|(index, known)| *known == width && !taken(index));
    known.unwrap_or_else(|| {
        widths.push(width);
        widths.len() - 1
    })
}

impl BufferWidths {
    /// Rooms of these widths, all different ones.
    pub(crate) fn rooms<const COUNT: usize>(&mut self, widths: [usize; COUNT]) -> [usize; COUNT] {
        self.rooms_beside(&[], widths)
    }

    /// Rooms of these widths, all different ones and none of those that are taken.
    pub(crate) fn rooms_beside<const COUNT: usize>(
        &mut self,
        taken: &[usize],
        widths: [usize; COUNT],
    ) -> [usize; COUNT] {
        let mut taken = taken.to_vec();
        widths.map(|width| {
            let index = other_index(&mut self.rooms, width, |index| taken.contains(&index));
            taken.push(index);
            index
        })
    }
}

/// What the layers keep between steps, and which layer keeps it.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryLayers {
    pub(crate) kv: Vec<KvLayerLayout>,
    pub(crate) states: Vec<StateLayerLayout>,
    /// For each layer of the model its index in `kv`.
    pub(crate) kv_of_layer: Vec<Option<usize>>,
}

impl<B: Backend> Builder<'_, B> {
    pub(crate) fn embedding(
        &mut self,
        embedding: &Embedding,
        is_tied: bool,
    ) -> Result<EmbeddingWeights<B>, ModelError> {
        let table = format!("{}.weight", embedding.table);
        Ok(EmbeddingWeights {
            table: if is_tied { None } else { Some(self.matrix(&table)?) },
            scale: embedding.scale,
            positions: self.positions(embedding)?,
            norm: self.norm("", embedding.norm)?,
            per_layer: match &embedding.per_layer {
                Some(per_layer) => Some(self.per_layer_embedding(per_layer)?),
                None => None,
            },
            fast_state: self.fast_state(embedding)?,
        })
    }

    /// What is added to each token by its position: learned positions, with the embedding of the first token type, which
    /// every token has, folded in.
    fn positions(&self, embedding: &Embedding) -> Result<Option<B::Matrix>, ModelError> {
        let positions = embedding.positions.stem().map(|stem| format!("{stem}.weight"));
        let positions = positions.filter(|name| self.source.has(name));
        let types = embedding.token_types.map(|(stem, _)| format!("{stem}.weight"));
        let Some(types) = types.filter(|name| self.source.has(name)) else {
            return positions.map(|name| self.matrix(&name)).transpose();
        };
        let hidden_size = self.config.hidden_size;
        let first_type = &self.values(&types)?[..hidden_size];
        let size_bytes = 4 * self.config.context_length * hidden_size;
        if size_bytes > limits::POSITION_TABLE_BYTES_MAX {
            return Err(ModelError::Parameter {
                key: self.config.key("context_length"),
                found: self.config.context_length.to_string(),
                expected: format!("a table of positions of up to {} bytes", limits::POSITION_TABLE_BYTES_MAX),
            });
        }
        let mut table = match positions {
            Some(name) => self.values(&name)?,
            None => vec![0.0; self.config.context_length * hidden_size],
        };
        for (element, added) in table.iter_mut().zip(first_type.iter().cycle()) {
            *element += added;
        }
        let bytes: Vec<u8> = table.iter().flat_map(|element| element.to_le_bytes()).collect();
        Ok(Some(self.backend.matrix(&MatrixBytes {
            name: types,
            bytes: Arc::new(bytes),
            tensor_type: TensorType::F32,
            columns: hidden_size,
            stored_rows: self.config.context_length,
            count: 1,
            selection: RowSelection::All,
        })?))
    }

    pub(crate) fn layer(
        &mut self,
        architecture: &Architecture,
        layer_index: usize,
    ) -> Result<LayerWeights<B>, ModelError> {
        let layer = (architecture.layer)(self.config, layer_index);
        self.layer_of(&layer, &architecture.prefix_of(self.config, layer_index), layer_index)
    }

    /// A layer whose tensors' names begin with `prefix`.
    pub(super) fn layer_of(
        &mut self,
        layer: &Layer,
        prefix: &str,
        layer_index: usize,
    ) -> Result<LayerWeights<B>, ModelError> {
        let mut mixer_norm = self.norm(prefix, layer.mixer_norm)?;
        let mut ffn_norm = self.norm(prefix, layer.ffn_norm)?;
        let banked = match &layer.banked {
            Some(banked) => Some(Box::new(self.banked(banked, prefix, (mixer_norm.take(), ffn_norm.take()))?)),
            None => None,
        };
        let (ffn_norm, normed_stream) = match layer.normed_stream {
            None => (ffn_norm, None),
            Some(scale) => (None, Some((scale, ffn_norm))),
        };
        let is_sequential = match layer.residual {
            Residual::Sequential => true,
            Residual::Parallel => false,
            Residual::SequentialIfNormed => ffn_norm.is_some(),
        };
        let (mixer_norm, ffn_norm, parallel) = match (mixer_norm, ffn_norm) {
            (mixer_norm, ffn_norm) if is_sequential => (mixer_norm, ffn_norm, ParallelInput::None),
            (Some(mixer_norm), Some(ffn_norm)) => (Some(mixer_norm), None, ParallelInput::Own(ffn_norm)),
            (mixer_norm, ffn_norm) => (None, None, ParallelInput::Shared(mixer_norm.or(ffn_norm))),
        };
        let layer_count = self.memory.kv_of_layer.len().max(layer_index + 1);
        self.memory.kv_of_layer.resize(layer_count, None);
        let first_state = self.memory.states.len();
        self.memory.states.extend(state_layers(layer, self.config, layer_index)?);
        let (mixer, mixer_output) = self.mixer(layer, prefix, layer_index, first_state)?;
        let mixer_output = mixer_output.map(|stem| self.adapted(&format!("{prefix}{stem}"))).transpose()?;
        let beside = match &layer.beside {
            None => None,
            Some(spec) => {
                let mut weights = self.mamba2(spec, prefix, self.memory.states.len() - 1)?;
                let (taken, width) = (mixer.mixed_buffer(), self.widths.mixed[weights.mixed_buffer]);
                weights.mixed_buffer = other_index(&mut self.widths.mixed, width, |index| Some(index) == taken);
                Some((Box::new(weights), self.adapted(&format!("{prefix}{}", spec.output))?))
            }
        };
        Ok(LayerWeights {
            mixer_norm,
            mixer,
            mixer_output,
            beside,
            mixer_output_norm: self.norm(prefix, layer.mixer_output_norm)?,
            mixer_stream_norm: self.norm(prefix, layer.mixer_stream_norm)?,
            mixer_second_norm: self.norm(prefix, layer.mixer_second_norm)?,
            parallel,
            ffn: self.ffn(layer, ffn_norm, prefix, layer_index)?,
            ffn_stream_norm: self.norm(prefix, layer.ffn_stream_norm)?,
            mixer_scale: match &layer.mixer {
                Mixer::Attention(attention) => layer.residual_scale * attention.output_scale,
                _ => layer.residual_scale,
            },
            cross: match &layer.cross {
                Some(cross) => Some(self.cross(cross, prefix, layer_index)?),
                None => None,
            },
            laurel: match &layer.laurel {
                Some(laurel) => Some(self.laurel(laurel, prefix)?),
                None => None,
            },
            altup: layer.altup.map(|altup| self.altup(&altup, prefix)).transpose()?,
            hyper: layer.hyper.map(|hyper| self.hyper_connections(&hyper, prefix)).transpose()?,
            per_layer_input: match &layer.per_layer_input {
                Some(input) => Some(self.per_layer_input(input, prefix, layer_index)?),
                None => None,
            },
            output_scale: self.number(prefix, layer.output_scale)?,
            embedding_skip: self.number(prefix, layer.embedding_skip)?,
            normed_stream,
            banked,
            turn: layer.turn,
            gated: match &layer.gated {
                Some(streams) => Some(Box::new(self.gated_streams(streams, prefix)?)),
                None => None,
            },
            ngrams: match &layer.ngrams {
                // Behind the mixer's states.
                Some(ngrams) => {
                    let state_layer = self.memory.states.len() - 2;
                    Some(Box::new(self.ngram_embedding(ngrams, prefix, state_layer)?))
                }
                None => None,
            },
        })
    }

    /// A mixer, whose first state is `state_layer`, and the stem of its projection out.
    fn mixer(
        &mut self,
        layer: &Layer,
        prefix: &str,
        layer_index: usize,
        state_layer: usize,
    ) -> Result<(MixerWeights<B>, Option<&'static str>), ModelError> {
        Ok(match &layer.mixer {
            Mixer::None => (MixerWeights::None, None),
            Mixer::Attention(mixer) => {
                let weights = self.attention(mixer, prefix, layer_index, state_layer)?;
                (MixerWeights::Attention(Box::new(weights)), Some(mixer.output))
            }
            Mixer::GatedDeltaNet(mixer) => {
                let weights = self.gated_delta_net(mixer, prefix, state_layer)?;
                (MixerWeights::DeltaNet(Box::new(weights)), Some(mixer.output))
            }
            Mixer::Mamba2(mixer) => {
                let weights = self.mamba2(mixer, prefix, state_layer)?;
                (MixerWeights::Mamba2(Box::new(weights)), Some(mixer.output))
            }
            Mixer::Mamba(mixer) => {
                let weights = self.mamba(mixer, prefix, state_layer)?;
                (MixerWeights::Mamba(Box::new(weights)), Some(mixer.output))
            }
            Mixer::DecayedAttention(mixer) => {
                let weights = self.decayed_attention(mixer, prefix, layer_index, state_layer)?;
                (MixerWeights::DecayedAttention(Box::new(weights)), Some(mixer.output))
            }
            Mixer::KeyDeltaNet(mixer) => {
                let weights = self.key_delta_net(mixer, prefix, state_layer)?;
                (MixerWeights::KeyDelta(Box::new(weights)), Some(mixer.output))
            }
            Mixer::TimeMix(mixer) => {
                let weights = match mixer.generation {
                    RwkvGeneration::Six => {
                        MixerWeights::TimeMix6(Box::new(self.time_mix_6(mixer, prefix, state_layer)?))
                    }
                    RwkvGeneration::Seven => {
                        MixerWeights::TimeMix7(Box::new(self.time_mix_7(mixer, prefix, state_layer)?))
                    }
                };
                (weights, Some(mixer.output))
            }
            Mixer::ShortConvolution(mixer) => {
                let weights = self.short_convolution(mixer, prefix, state_layer)?;
                (MixerWeights::ShortConvolution(Box::new(weights)), Some(mixer.output))
            }
            Mixer::LatentAttention(mixer) => {
                let weights = self.latent_attention(mixer, prefix, layer_index, state_layer)?;
                (MixerWeights::Latent(Box::new(weights)), Some(mixer.output))
            }
            Mixer::CompressedAttention(mixer) => {
                let weights = self.compressed_attention(mixer, prefix, layer_index, state_layer)?;
                (MixerWeights::Compressed(Box::new(weights)), Some(mixer.output))
            }
            Mixer::Linear(stem) => {
                let mixed_buffer = width_index(&mut self.widths.mixed, self.config.hidden_size);
                (MixerWeights::Linear { mixed_buffer }, Some(*stem))
            }
        })
    }

    /// The head, and whether its matrix is the embedding's table too.
    pub(crate) fn head(
        &self,
        architecture: &Architecture,
        embedding: &Embedding,
    ) -> Result<(HeadWeights<B>, bool), ModelError> {
        let head = (architecture.head)(self.config);
        let HeadOutput::Logits(stem) = architecture.output_in(self.config) else {
            return Ok((HeadWeights::HiddenState(self.norm("", head.norm)?), false));
        };
        let is_tied = !self.source.has(&format!("{stem}.weight"));
        let linear = if is_tied {
            Linear { weight: self.matrix(&format!("{}.weight", embedding.table))?, bias: self.bias(stem)?, scale: 1.0 }
        } else {
            self.linear(stem)?
        };
        let linear = self.in_role(linear, MatrixRole::Head);
        let norm = self.norm("", head.norm)?;
        let head = lair_compute::Head { norm, linear, scale: head.scale, softcap: head.softcap };
        Ok((HeadWeights::Logits(Box::new(head)), is_tied))
    }
}
