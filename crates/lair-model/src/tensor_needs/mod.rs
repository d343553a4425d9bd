//! Every tensor that a declaration needs, with its shape: the one list that loading, sizing, quantizing and the tests
//! read.

mod recurrent;

use std::collections::HashSet;

use crate::shapes::{AttentionShape, ffn_size, norm_kind};
use crate::spec::{
    Architecture, Attention, AttentionGate, DenseFfn, Embedding, EncoderInput, ExpertsFfn, Ffn, Gate, HeadOutput,
    KvSource, LatentAttention, Layer, Mixer, Norm, NormSpan, QueryProjection, RopeFactors, ValueSource,
};
use crate::{ModelConfig, ModelError};

/// Whether a tensor has to be in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It has to be there.
    Required,
    /// It is used if it is there.
    Optional,
    /// It has to be there unless the tensor of this name is, which is used instead.
    Unless(String),
}

/// A tensor that a declaration speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorNeed {
    /// Its name in the file.
    pub name: String,
    /// Its shape, the fastest dimension first. Trailing dimensions of 1 may be missing in a file.
    pub shape: Vec<usize>,
    /// Whether it has to be there.
    pub presence: Presence,
}

/// Every tensor that `architecture` speaks of in a model of this configuration, each once.
///
/// # Errors
/// If a hyper-parameter that gives a shape is missing or out of range.
pub fn tensor_needs(architecture: &Architecture, config: &ModelConfig) -> Result<Vec<TensorNeed>, ModelError> {
    let mut list = List { config, prefix: String::new(), needs: Vec::new(), first_error: None };
    list.embedding(&(architecture.embedding)(config))?;
    if let Some(encoder) = &architecture.encoder {
        list.encoder_input(&(encoder.input)(config))?;
        for layer_index in 0..(encoder.layer_count)(config) {
            list.prefix = format!("{}.{layer_index}.", encoder.prefix);
            list.layer(&(encoder.layer)(config, layer_index), layer_index)?;
        }
        list.prefix.clear();
        list.norm(encoder.norm, config.hidden_size);
    }
    for layer_index in 0..config.layer_count {
        let layer = (architecture.layer)(config, layer_index);
        list.prefix = format!("{}.{layer_index}.", architecture.layer_prefix);
        list.layer(&layer, layer_index)?;
    }
    list.prefix.clear();
    let head = (architecture.head)(config);
    list.norm(head.norm, config.hidden_size);
    match head.output {
        HeadOutput::Logits(stem) => {
            // Without it the embedding's table is used.
            list.linear_with(stem, config.hidden_size, config.vocabulary_size, Presence::Optional);
        }
        HeadOutput::HiddenState => {}
    }
    if let Some(error) = list.first_error {
        return Err(error);
    }
    let mut seen = HashSet::new();
    list.needs.retain(|need| seen.insert(need.name.clone()));
    Ok(list.needs)
}

struct List<'a> {
    config: &'a ModelConfig,
    /// What stands before stems: `blk.3.` within layer 3.
    prefix: String,
    needs: Vec<TensorNeed>,
    /// The first norm that lacks its hyper-parameter.
    first_error: Option<ModelError>,
}

impl List<'_> {
    fn add(&mut self, name: &str, shape: &[usize], presence: Presence) {
        self.needs.push(TensorNeed { name: format!("{}{name}", self.prefix), shape: shape.to_vec(), presence });
    }

    fn norm(&mut self, norm: Norm, width: usize) {
        self.norm_shaped(norm, &[width]);
    }

    fn norm_shaped(&mut self, norm: Norm, shape: &[usize]) {
        if let Err(error) = norm_kind(norm, self.config) {
            self.first_error.get_or_insert(error);
        }
        let (Some(stem), Some(name)) = (norm.stem(), norm.weight_name()) else { return };
        let presence = if norm.is_optional() { Presence::Optional } else { Presence::Required };
        self.add(&name, shape, presence);
        match norm {
            Norm::Layer(_) => self.add(&format!("{stem}.bias"), shape, Presence::Required),
            Norm::LayerUnbiased(_) | Norm::LayerIfThere(_) => {
                self.add(&format!("{stem}.bias"), shape, Presence::Optional)
            }
            _ => {}
        }
    }

    fn linear(&mut self, stem: &str, columns: usize, rows: usize) {
        self.linear_with(stem, columns, rows, Presence::Required);
    }

    fn linear_with(&mut self, stem: &str, columns: usize, rows: usize, presence: Presence) {
        self.add(&format!("{stem}.weight"), &[columns, rows], presence);
        self.add(&format!("{stem}.bias"), &[rows], Presence::Optional);
        self.add(&format!("{stem}.scale"), &[1], Presence::Optional);
    }

    /// A stack of matrices, one for each expert.
    fn stack(&mut self, stem: &str, columns: usize, rows: usize, count: usize) {
        self.stack_with(stem, columns, rows, count, Presence::Required);
    }

    fn stack_with(&mut self, stem: &str, columns: usize, rows: usize, count: usize, presence: Presence) {
        self.add(&format!("{stem}.weight"), &[columns, rows, count], presence);
        self.add(&format!("{stem}.bias"), &[rows, count], Presence::Optional);
    }

    fn embedding(&mut self, embedding: &Embedding) -> Result<(), ModelError> {
        let hidden_size = self.config.hidden_size;
        self.add(
            &format!("{}.weight", embedding.table),
            &[hidden_size, self.config.vocabulary_size],
            Presence::Required,
        );
        if let Some(stem) = embedding.positions {
            self.add(&format!("{stem}.weight"), &[hidden_size, self.config.context_length], Presence::Required);
        }
        if let Some((stem, count)) = embedding.token_types {
            self.add(&format!("{stem}.weight"), &[hidden_size, count], Presence::Optional);
        }
        if let Some(per_layer) = &embedding.per_layer {
            let width = per_layer.size * self.config.layer_count;
            let table = [width, self.config.vocabulary_size];
            self.add(&format!("{}.weight", per_layer.table), &table, Presence::Required);
            self.linear(per_layer.projection, hidden_size, width);
            self.norm(per_layer.norm, per_layer.size);
        }
        self.norm(embedding.norm, hidden_size);
        Ok(())
    }

    fn encoder_input(&mut self, input: &EncoderInput) -> Result<(), ModelError> {
        let hidden_size = self.config.hidden_size;
        match input {
            EncoderInput::Tokens(embedding) => self.embedding(embedding),
            EncoderInput::Spectrogram { convolutions: [first, second], positions, channel_count, frame_count } => {
                for (stem, channels) in [(first, *channel_count), (second, hidden_size)] {
                    self.add(&format!("{stem}.weight"), &[3, channels, hidden_size], Presence::Required);
                    self.add(&format!("{stem}.bias"), &[hidden_size], Presence::Required);
                }
                self.add(&format!("{positions}.weight"), &[hidden_size, *frame_count], Presence::Required);
                Ok(())
            }
        }
    }

    fn layer(&mut self, layer: &Layer, layer_index: usize) -> Result<(), ModelError> {
        let hidden_size = self.config.hidden_size;
        self.norm(layer.mixer_norm, hidden_size);
        match &layer.mixer {
            Mixer::Attention(attention) => self.attention(attention, layer_index)?,
            Mixer::GatedDeltaNet(mixer) => self.gated_delta_net(mixer)?,
            Mixer::LatentAttention(mixer) => self.latent_attention(mixer, layer_index),
            Mixer::Mamba2(mixer) => self.mamba2(mixer)?,
            Mixer::Mamba(mixer) => self.mamba(mixer)?,
            Mixer::DecayedAttention(mixer) => self.decayed_attention(mixer, layer_index),
            Mixer::TimeMix(mixer) => self.time_mix(mixer)?,
            Mixer::ShortConvolution(mixer) => self.short_convolution(mixer),
            Mixer::None => {}
        }
        if let Some(mixer) = &layer.beside {
            self.mamba2(mixer)?;
        }
        self.norm(layer.mixer_output_norm, hidden_size);
        self.norm(layer.mixer_stream_norm, hidden_size);
        self.norm(layer.mixer_second_norm, hidden_size);
        if let Some(cross) = &layer.cross {
            self.norm(cross.norm, hidden_size);
            self.attention(&cross.attention, layer_index)?;
        }
        self.norm(layer.ffn_norm, hidden_size);
        match &layer.ffn {
            Ffn::None => {}
            Ffn::ChannelMix(mix) => self.channel_mix(mix, ffn_size(None, self.config, layer_index)?),
            Ffn::Dense(ffn) => self.dense(ffn, ffn_size(ffn.ffn_size, self.config, layer_index)?),
            Ffn::Experts(experts) => self.experts(experts, layer_index)?,
            Ffn::DenseAndExperts(both) => {
                self.dense(&both.dense, ffn_size(both.dense.ffn_size, self.config, layer_index)?);
                self.norm(both.dense_output_norm, hidden_size);
                self.norm(both.experts_norm, hidden_size);
                self.experts(&both.experts, layer_index)?;
                self.norm(both.experts_output_norm, hidden_size);
            }
        }
        self.norm(layer.ffn_output_norm, hidden_size);
        self.norm(layer.ffn_stream_norm, hidden_size);
        if let Some(input) = &layer.per_layer_input {
            let size = self.config.per_layer_embedding_size.unwrap_or(0);
            self.linear(input.gate, hidden_size, size);
            self.linear(input.projection, size, hidden_size);
            self.norm(input.norm, hidden_size);
        }
        if let Some(stem) = layer.output_scale {
            self.add(&format!("{stem}.weight"), &[1], Presence::Optional);
        }
        Ok(())
    }

    fn attention(&mut self, attention: &Attention, layer_index: usize) -> Result<(), ModelError> {
        let shape = AttentionShape::new(attention, self.config, layer_index)?;
        let hidden_size = self.config.hidden_size;
        let names = attention.projections;
        let q_rows = match attention.gate {
            AttentionGate::BesideQueries => 2 * shape.q_width(),
            _ => shape.q_width(),
        };
        match attention.kv_source {
            KvSource::Own => {
                let fused_rows = q_rows + shape.k_width() + shape.v_width();
                self.linear_with(names.fused, hidden_size, fused_rows, Presence::Optional);
                let fused = Presence::Unless(format!("{}{}.weight", self.prefix, names.fused));
                self.linear_with(names.q, hidden_size, q_rows, fused.clone());
                self.linear_with(names.k, hidden_size, shape.k_width(), fused.clone());
                let v_presence = match attention.value_source {
                    ValueSource::Projection => fused,
                    ValueSource::KeysIfMissing => Presence::Optional,
                };
                self.linear_with(names.v, hidden_size, shape.v_width(), v_presence);
            }
            KvSource::Layer(_) => self.linear(names.q, hidden_size, q_rows),
        }
        if let AttentionGate::Tensor(stem) = attention.gate {
            self.linear(stem, hidden_size, shape.output_width());
        }
        let span = |dim: usize, count: usize| match attention.norm_span {
            NormSpan::Head => vec![dim],
            NormSpan::HeadParts => vec![dim, count],
            NormSpan::Row => vec![dim * count],
        };
        self.norm_shaped(attention.q_norm, &span(shape.key_dim, shape.head_count));
        if attention.kv_source == KvSource::Own {
            self.norm_shaped(attention.k_norm, &span(shape.key_dim, shape.kv_head_count));
            self.norm_shaped(attention.v_norm, &span(shape.value_dim, shape.kv_head_count));
        }
        if let Some(stem) = attention.sinks {
            self.add(&format!("{stem}.weight"), &[shape.head_count], Presence::Required);
        }
        self.linear(attention.output, shape.output_width(), hidden_size);
        if let Some(rope) = &attention.rope {
            self.rope_factors(rope.factors, rope.dimension_count / 2);
        }
        Ok(())
    }

    /// Factors are the model's, not a layer's: their names have no prefix.
    fn rope_factors(&mut self, factors: RopeFactors, pair_count: usize) {
        let stems = match factors {
            RopeFactors::None => [None, None],
            RopeFactors::Tensor(stem) => [Some(stem), None],
            RopeFactors::ByContext { long, short } => [Some(long), Some(short)],
        };
        for stem in stems.into_iter().flatten() {
            let name = format!("{stem}.weight");
            self.needs.push(TensorNeed { name, shape: vec![pair_count], presence: Presence::Optional });
        }
    }

    fn latent_attention(&mut self, mixer: &LatentAttention, layer_index: usize) {
        let hidden_size = self.config.hidden_size;
        let head_count = self.config.head_counts[layer_index];
        let q_width = head_count * (mixer.nope_dim + mixer.rope_dim);
        match mixer.query {
            QueryProjection::Full(stem) => self.linear(stem, hidden_size, q_width),
            QueryProjection::LowRank { down, norm, up, rank } => {
                self.linear(down, hidden_size, rank);
                self.norm(norm, rank);
                self.linear(up, rank, q_width);
            }
        }
        self.linear(mixer.kv_down, hidden_size, mixer.kv_rank + mixer.rope_dim);
        self.norm(mixer.kv_norm, mixer.kv_rank);
        self.stack(mixer.k_up, mixer.nope_dim, mixer.kv_rank, head_count);
        self.stack(mixer.v_up, mixer.kv_rank, mixer.value_dim, head_count);
        self.linear(mixer.output, head_count * mixer.value_dim, hidden_size);
    }

    fn dense(&mut self, ffn: &DenseFfn, ffn_size: usize) {
        let hidden_size = self.config.hidden_size;
        match ffn.gate {
            Gate::None => self.linear(ffn.up, hidden_size, ffn_size),
            Gate::Tensor(gate) => {
                self.linear(gate, hidden_size, ffn_size);
                self.linear(ffn.up, hidden_size, ffn_size);
            }
            Gate::InUp => self.linear(ffn.up, hidden_size, 2 * ffn_size),
        }
        self.linear(ffn.down, ffn_size, hidden_size);
    }

    fn experts(&mut self, ffn: &ExpertsFfn, layer_index: usize) -> Result<(), ModelError> {
        let config = crate::shapes::experts_config(self.config)?;
        let expert_size = match ffn.ffn_size.or(config.expert_ffn_size) {
            Some(size) if size > 0 => size,
            _ => {
                let key = self.config.key("expert_feed_forward_length");
                return Err(ModelError::MissingKey { key, expected: "the width of an expert" });
            }
        };
        let (hidden_size, count) = (self.config.hidden_size, config.expert_count);
        match ffn.router_norm {
            None => self.linear(ffn.router, hidden_size, count),
            Some(norm) => {
                self.add(&format!("{}.weight", ffn.router), &[hidden_size, count], Presence::Required);
                self.add(norm, &[hidden_size], Presence::Required);
            }
        }
        if let Some(stem) = ffn.selection_bias {
            self.add(&format!("{stem}.bias"), &[count], Presence::Optional);
        }
        let presence = match ffn.fused {
            Some(fused) => {
                self.stack_with(fused, hidden_size, 2 * expert_size, count, Presence::Optional);
                Presence::Unless(format!("{}{fused}.weight", self.prefix))
            }
            None => Presence::Required,
        };
        for stem in [ffn.gate, Some(ffn.up)].into_iter().flatten() {
            self.stack_with(stem, hidden_size, expert_size, count, presence.clone());
        }
        self.stack(ffn.down, expert_size, hidden_size, count);
        if let Some(shared) = &ffn.shared {
            self.dense(&shared.ffn, ffn_size(shared.ffn.ffn_size, self.config, layer_index)?);
            if let Some(gate) = shared.gate {
                self.linear(gate, hidden_size, 1);
            }
        }
        Ok(())
    }
}
