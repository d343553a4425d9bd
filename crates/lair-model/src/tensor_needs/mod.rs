//! Every tensor that a declaration needs, with its shape: the one list that loading, sizing, quantizing and the tests
//! read.

mod gated_streams;
mod indexer;
mod recurrent;
mod streams;
mod switch;

use std::collections::HashSet;

use crate::shapes::{AttentionShape, LatentShape, ffn_size, norm_kind};
use crate::spec::{
    Architecture, Attention, AttentionGate, DenseFfn, Embedding, EncoderInput, ExpertsFfn, Ffn, Gate, HeadOutput,
    IndexerHeads, KvSource, LatentAttention, Layer, Mixer, Norm, Positions, QueryProjection, RopeFactors,
    SharedPresence, Sinks, ValueSource,
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
    /// It has to be there if the tensor of this name is.
    With(String),
    /// It has to be there if the first tensor is, unless the second one is.
    WithUnless(String, String),
    /// It may be there and is not used.
    Unused,
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
    /// How much its shape may differ.
    pub fit: Fit,
}

/// How much the shape of a tensor may differ from what is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Not at all.
    Exact,
    /// The same elements may stand in one dimension.
    Flat,
    /// It may have more rows.
    MoreRows,
    /// The matrices of a stack may stand one below the other, as one.
    Stacked,
}

/// Every tensor that `architecture` speaks of in a model of this configuration, each once.
///
/// # Errors
/// If a hyper-parameter that gives a shape is missing or out of range.
pub fn tensor_needs(architecture: &Architecture, config: &ModelConfig) -> Result<Vec<TensorNeed>, ModelError> {
    (architecture.check)(config)?;
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
        list.prefix = architecture.prefix_of(config, layer_index);
        list.layer(&layer, layer_index)?;
        if architecture.has_own_adapters {
            list.own_adapters(&layer, layer_index)?;
        }
    }
    list.prefix.clear();
    let head = (architecture.head)(config);
    list.norm(head.norm, config.hidden_size);
    if let (Some(stem), Some(streams)) = (head.streams, (architecture.embedding)(config).streams) {
        let shape = [config.hidden_size, config.hidden_size, streams.count - 1];
        list.add(&format!("{stem}.weight"), &shape, Presence::Required);
    }
    if let Some(stream) = &head.gated {
        list.gated_stream(stream)?;
    }
    if let Some(stem) = head.banked_score {
        list.add(&format!("{stem}.weight"), &[config.hidden_size], Presence::Required);
    }
    if let Some(mix) = &head.hyper {
        list.stream_mix(mix)?;
    }
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
        self.needs.push(TensorNeed {
            name: format!("{}{name}", self.prefix),
            shape: shape.to_vec(),
            presence,
            fit: Fit::Exact,
        });
    }

    fn norm(&mut self, norm: Norm, width: usize) {
        self.norm_of_shape(norm, &[width]);
    }

    fn norm_of_shape(&mut self, norm: Norm, shape: &[usize]) {
        if let Err(error) = norm_kind(norm, self.config) {
            self.first_error.get_or_insert(error);
        }
        if let Norm::RmsEither(first, second) = norm {
            let unless = Presence::Unless(format!("{}{first}.weight", self.prefix));
            self.add(&format!("{first}.weight"), shape, Presence::Optional);
            return self.add(&format!("{second}.weight"), shape, unless);
        }
        let (Some(stem), Some(weight)) = (norm.stem(), norm.weight_name()) else { return };
        let presence = if norm.is_optional() { Presence::Optional } else { Presence::Required };
        self.add(&weight, shape, presence);
        match norm {
            Norm::Layer(_) | Norm::RmsBiased(_) => self.add(&format!("{stem}.bias"), shape, Presence::Required),
            Norm::LayerUnbiased(_) | Norm::LayerIfThere(_) | Norm::LayerAdding(..) => {
                self.add(&format!("{stem}.bias"), shape, Presence::Optional)
            }
            _ => {}
        }
    }

    fn linear(&mut self, stem: &str, columns: usize, rows: usize) {
        self.linear_with(stem, columns, rows, Presence::Required);
    }

    fn linear_with(&mut self, stem: &str, columns: usize, rows: usize, presence: Presence) {
        let of_parts = if presence == Presence::Unused { Presence::Unused } else { Presence::Optional };
        self.add(&format!("{stem}.weight"), &[columns, rows], presence);
        self.add(&format!("{stem}.bias"), &[rows], of_parts.clone());
        self.add(&format!("{stem}.scale"), &[1], of_parts);
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
        if let Some(stem) = embedding.positions.stem() {
            let presence = match embedding.positions {
                Positions::IfThere(_) => Presence::Optional,
                _ => Presence::Required,
            };
            self.add(&format!("{stem}.weight"), &[hidden_size, self.config.context_length], presence);
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
        if let Some(streams) = &embedding.streams {
            let shape = [hidden_size, hidden_size, streams.count - 1];
            self.add(&format!("{}.weight", streams.projection), &shape, Presence::Required);
        }
        if let Some(name) = embedding.fast_state {
            self.add(name, &[hidden_size], Presence::Required);
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
            Mixer::LatentAttention(mixer) => self.latent_attention(mixer, layer_index)?,
            Mixer::CompressedAttention(mixer) => self.compressed_attention(mixer, layer_index)?,
            Mixer::Mamba2(mixer) => self.mamba2(mixer)?,
            Mixer::Mamba(mixer) => self.mamba(mixer)?,
            Mixer::DecayedAttention(mixer) => self.decayed_attention(mixer, layer_index),
            Mixer::KeyDeltaNet(mixer) => self.key_delta_net(mixer)?,
            Mixer::TimeMix(mixer) => self.time_mix(mixer)?,
            Mixer::ShortConvolution(mixer) => self.short_convolution(mixer),
            Mixer::Linear(stem) => self.linear(stem, hidden_size, hidden_size),
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
            Ffn::ExpertsIfThere { experts, dense } => {
                let router = format!("{}{}.weight", self.prefix, experts.router);
                let start = self.needs.len();
                self.experts(experts, layer_index)?;
                self.require_with(start, &router);
                let start = self.needs.len();
                self.dense(dense, ffn_size(dense.ffn_size, self.config, layer_index)?);
                for need in self.needs[start..].iter_mut().filter(|need| need.presence == Presence::Required) {
                    need.presence = Presence::Unless(router.clone());
                }
            }
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
            self.linear(input.gate, hidden_size, input.size);
            self.linear(input.projection, input.size, hidden_size);
            self.norm(input.norm, hidden_size);
        }
        if let Some(laurel) = &layer.laurel {
            self.linear(laurel.left, hidden_size, laurel.rank);
            self.linear(laurel.right, laurel.rank, hidden_size);
            self.norm(laurel.norm, hidden_size);
        }
        if let Some(altup) = &layer.altup {
            self.linear(altup.router, hidden_size, altup.count);
            self.norm(altup.router_norm, hidden_size);
            self.linear(altup.predict, altup.count, altup.count * altup.count);
            self.linear(altup.correct, altup.count, altup.count);
            self.add(&format!("{}.weight", altup.correct_scale), &[hidden_size], Presence::Required);
        }
        if let Some(streams) = &layer.gated {
            self.gated_stream(&streams.mixer)?;
            self.gated_stream(&streams.ffn)?;
        }
        if let Some(ngrams) = &layer.ngrams {
            self.ngram_embedding(ngrams)?;
        }
        for stem in layer.banked.iter().flat_map(|banked| [banked.mixer_score, banked.ffn_score]) {
            self.add(&format!("{stem}.weight"), &[hidden_size], Presence::Required);
        }
        if let Some(hyper) = &layer.hyper {
            self.stream_mix(&hyper.mixer)?;
            self.stream_mix(&hyper.ffn)?;
        }
        for stem in [layer.output_scale, layer.embedding_skip].into_iter().flatten() {
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
            KvSource::Layer(_) => {
                self.linear(names.q, hidden_size, q_rows);
                // Queries for another layer's keys have no bias in llama.cpp, whatever the file has; no published file has one.
                let bias = format!("{}{}.bias", self.prefix, names.q);
                for need in self.needs.iter_mut().filter(|need| need.name == bias) {
                    need.presence = Presence::Unused;
                }
                // Checkpoints have them in every layer.
                self.linear_with(names.k, hidden_size, shape.k_width(), Presence::Unused);
                self.linear_with(names.v, hidden_size, shape.v_width(), Presence::Unused);
                if let Some(name) = attention.k_norm.weight_name() {
                    self.add(&name, &[shape.key_dim], Presence::Unused);
                }
            }
        }
        match attention.gate {
            AttentionGate::Tensor(stem) => self.linear(stem, hidden_size, shape.output_width()),
            AttentionGate::Projection(stem, gate) => {
                self.linear(stem, hidden_size, gate.width(shape.head_count, shape.value_dim));
            }
            AttentionGate::None | AttentionGate::BesideQueries => {}
        }
        let span = attention.norm_span;
        self.norm_of_shape(attention.q_norm, &span.weight_shape(shape.key_dim, shape.head_count));
        if attention.kv_source == KvSource::Own {
            self.norm_of_shape(attention.k_norm, &span.weight_shape(shape.key_dim, shape.kv_head_count));
            self.norm_of_shape(attention.v_norm, &span.weight_shape(shape.value_dim, shape.kv_head_count));
        }
        self.norm(attention.inner_norm, shape.output_width());
        self.sinks(attention.sinks, shape.head_count);
        if let Some(bias) = &attention.relative_bias {
            let shape = [shape.head_count, bias.bucket_count];
            let is_first = self.prefix == bias.first_layer;
            let presence = if is_first { Presence::Required } else { Presence::Optional };
            self.add(&format!("{}.weight", bias.stem), &shape, presence);
        }
        self.linear(attention.output, shape.output_width(), hidden_size);
        if let Some(indexer) = attention.choice.indexer()
            && indexer.heads == IndexerHeads::Each
            && indexer.head_count != shape.kv_head_count
        {
            return Err(ModelError::Parameter {
                key: self.config.key("attention.indexer.head_count"),
                found: indexer.head_count.to_string(),
                expected: format!("one for each of the {} heads of keys", shape.kv_head_count),
            });
        }
        self.key_choice(&attention.choice, hidden_size)?;
        if let Some(rope) = &attention.rope {
            self.rope_factors(rope.factors, rope.dimension_count / 2);
        }
        Ok(())
    }

    fn sinks(&mut self, sinks: Sinks, head_count: usize) {
        match sinks {
            Sinks::None => {}
            Sinks::Tensor(stem) => self.add(&format!("{stem}.weight"), &[head_count], Presence::Required),
            Sinks::IfThere(stem) => self.add(&format!("{stem}.weight"), &[head_count], Presence::Optional),
        }
    }

    /// Factors are the model's, not a layer's: their names have no prefix.
    fn rope_factors(&mut self, factors: RopeFactors, pair_count: usize) {
        let stems = match factors {
            RopeFactors::None => [None, None],
            RopeFactors::Tensor(stem) | RopeFactors::FirstOf(stem, _) => [Some(stem), None],
            RopeFactors::ByContext { long, short } => [Some(long), Some(short)],
        };
        let pair_count = if let RopeFactors::FirstOf(_, stored) = factors { stored } else { pair_count };
        for stem in stems.into_iter().flatten() {
            let name = format!("{stem}.weight");
            let (shape, presence) = (vec![pair_count], Presence::Optional);
            self.needs.push(TensorNeed { name, shape, presence, fit: Fit::Exact });
        }
    }

    fn latent_attention(&mut self, mixer: &LatentAttention, layer_index: usize) -> Result<(), ModelError> {
        let hidden_size = self.config.hidden_size;
        let shape = LatentShape::new(mixer, self.config, layer_index)?;
        let head_count = shape.head_count;
        let q_width = head_count * shape.head_dim();
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
        self.norm(mixer.rope_norm, mixer.rope_dim);
        let both = head_count * (mixer.nope_dim + mixer.value_dim);
        self.linear_with(mixer.kv_up, mixer.kv_rank, both, Presence::Optional);
        let apart = Presence::Unless(format!("{}{}.weight", self.prefix, mixer.kv_up));
        self.stack_with(mixer.k_up, mixer.nope_dim, mixer.kv_rank, head_count, apart.clone());
        self.stack_with(mixer.v_up, mixer.kv_rank, mixer.value_dim, head_count, apart);
        if let Some((stem, gate)) = mixer.gate {
            self.linear(stem, hidden_size, gate.width(head_count, mixer.value_dim));
        }
        self.sinks(mixer.sinks, head_count);
        if let Some(rope) = &mixer.rope {
            self.rope_factors(rope.factors, rope.dimension_count / 2);
        }
        let q_width = match mixer.query {
            QueryProjection::Full(_) => hidden_size,
            QueryProjection::LowRank { rank, .. } => rank,
        };
        self.key_choice(&mixer.choice, q_width)?;
        self.linear(mixer.output, head_count * mixer.value_dim, hidden_size);
        Ok(())
    }

    /// Whatever was required of the needs from `start` on is now required only with the tensor `other`, which is optional.
    fn require_with(&mut self, start: usize, other: &str) {
        for need in &mut self.needs[start..] {
            need.presence = match std::mem::replace(&mut need.presence, Presence::Optional) {
                Presence::Required if need.name != other => Presence::With(other.to_owned()),
                Presence::Unless(unless) => Presence::WithUnless(other.to_owned(), unless),
                _ => Presence::Optional,
            };
        }
    }

    fn dense(&mut self, ffn: &DenseFfn, ffn_size: usize) {
        let hidden_size = self.config.hidden_size;
        match ffn.gate {
            Gate::None => self.linear(ffn.up, hidden_size, ffn_size),
            Gate::IfThere(gate, _) => {
                self.linear_with(gate, hidden_size, ffn_size, Presence::Optional);
                self.linear(ffn.up, hidden_size, ffn_size);
            }
            Gate::Tensor(gate) => {
                self.linear(gate, hidden_size, ffn_size);
                self.linear(ffn.up, hidden_size, ffn_size);
            }
            Gate::InUp => self.linear(ffn.up, hidden_size, 2 * ffn_size),
        }
        if let Some(name) = ffn.inner_divisor {
            self.add(name, &[ffn_size], Presence::Optional);
        }
        self.norm(ffn.inner_norm, ffn_size);
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
        let width = ffn.latent.map_or(hidden_size, |latent| latent.width);
        if let Some(latent) = &ffn.latent {
            self.linear(latent.down, hidden_size, width);
            self.norm(latent.norm, width);
            self.linear(latent.up, width, hidden_size);
        }
        match ffn.router_norm {
            None => self.linear(ffn.router, hidden_size, count),
            Some(norm) => {
                self.add(&format!("{}.weight", ffn.router), &[hidden_size, count], Presence::Required);
                self.add(norm, &[hidden_size], Presence::Required);
            }
        }
        if let Some(name) = ffn.expert_scales {
            self.add(name, &[count], Presence::Optional);
        }
        if let Some(name) = ffn.table {
            let used_count = config.expert_used_counts[layer_index];
            self.add(name, &[used_count, self.config.vocabulary_size], Presence::Required);
        }
        if let Some(stem) = ffn.selection_bias {
            self.add(&format!("{stem}.bias"), &[count], Presence::Optional);
            self.add(stem, &[count], Presence::Optional);
        }
        let presence = match ffn.fused {
            Some(fused) => {
                self.stack_with(fused, width, 2 * expert_size, count, Presence::Optional);
                Presence::Unless(format!("{}{fused}.weight", self.prefix))
            }
            None => Presence::Required,
        };
        for stem in [ffn.gate, Some(ffn.up)].into_iter().flatten() {
            self.stack_with(stem, width, expert_size, count, presence.clone());
        }
        self.stack(ffn.down, expert_size, width, count);
        if let Some(adjugates) = &ffn.adjugates {
            let (size, count) = (adjugates.ffn_size, count / adjugates.group_size.max(1));
            self.stack(adjugates.gate, width, size, count);
            self.stack(adjugates.up, width, size, count);
            self.stack(adjugates.down, size, width, count);
        }
        if let Some(shared) = &ffn.shared {
            let start = self.needs.len();
            self.dense(&shared.ffn, ffn_size(shared.ffn.ffn_size, self.config, layer_index)?);
            if shared.presence == SharedPresence::IfThere {
                let up = format!("{}{}.weight", self.prefix, shared.ffn.up);
                self.require_with(start, &up);
            }
            if let Some(gate) = shared.gate {
                self.linear(gate, hidden_size, 1);
            }
        }
        Ok(())
    }
}
