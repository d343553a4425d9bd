//! The one forward pass: walks the declared layers over a batch and calls the backend's regions.
//!
//! Nothing is allocated here, and nothing can fail: buffers, pages and slots were made before, and what they must hold
//! is asserted.

mod adapters;
mod attention;
mod banked;
mod compressed;
mod cross;
mod decayed_attention;
mod delta_net;
mod gated_streams;
mod indexer;
mod key_delta;
mod latent;
mod mamba;
mod mamba2;
mod observer;
mod per_layer;
mod rwkv;
mod short_convolution;
mod streams;
mod turns;

use lair_compute::{Backend, Batch, ExpertsInput, FeedForwardInput};

use adapters::AdapterRoom;
use banked::BankedRoom;
pub use cross::{Encoded, EncoderFrame};
use gated_streams::GatedRoom;
pub use observer::{Observer, Place};
use per_layer::Rooms;
use streams::StreamsRoom;
use turns::TurnRoom;

use crate::ModelError;
use crate::model::Model;
use crate::spec::LayerInput;
use crate::weights::{
    Adapted, AdapterWidths, BufferWidths, ChoiceRoom, DenseWeights, ExpertsWeights, FfnWeights, HeadWeights,
    LatentExpertsWeights, LayerWeights, MixerWeights, ParallelInput, SumWeights,
};

/// The buffers of a step: made once for so many rows, overwritten by every step.
pub struct Activations<B: Backend> {
    rows_max: usize,
    /// `[rows, hidden_size]`: what layers add to.
    residual: B::Buffer,
    /// `[rows, hidden_size]`: a normalised copy.
    hidden: B::Buffer,
    /// `[rows, hidden_size]`: a layer's input, for layers that add it twice or read it after the mixer, or the sum of a network
    /// and experts.
    input: Option<B::Buffer>,
    q: Vec<B::Buffer>,
    k: Vec<B::Buffer>,
    v: Vec<B::Buffer>,
    gate: Vec<B::Buffer>,
    /// `[rows, hidden_size]`: the embedding, for layers that add it.
    embedding: Option<B::Buffer>,
    /// What a mixer gives, before it is projected back.
    mixed: Vec<B::Buffer>,
    /// The same after a norm of its own.
    inner: Vec<B::Buffer>,
    /// Gate and up of feed-forward networks that are computed apart.
    wide: Vec<[B::Buffer; 2]>,
    /// For embeddings of layers and residual streams.
    per_layer: Rooms<B>,
    /// States of the residual stream that layers keep within a step.
    banked: Option<BankedRoom<B>>,
    /// Two states that take turns.
    turns: Option<TurnRoom<B>>,
    /// Residual streams that are read by gates.
    gated: Option<GatedRoom<B>>,
    /// Residual streams that are read and written by learned factors.
    streams: Option<StreamsRoom<B>>,
    /// Compressed keys and values; queries and results in the compressed space.
    latent: Vec<B::Buffer>,
    absorbed: Vec<B::Buffer>,
    absorbed_mixed: Vec<B::Buffer>,
    /// What recurrent mixers share.
    rooms: Vec<B::Buffer>,
    /// Which keys are read, as the last indexer has chosen.
    chosen: Option<B::Chosen>,
    /// The first layer's values, where others mix theirs with them.
    first_values: Option<B::Buffer>,
    /// `0, 1, 2 ...`: the rows that the head reads where only those were kept.
    first_rows: Vec<usize>,
    /// For a model with adapters.
    adapters: Option<AdapterRoom<B>>,
}

/// What sequences keep between steps. The caller makes it by the model's layouts and hands out its pages and slots.
pub struct Memory<B: Backend> {
    /// Keys and values, by [`Model::kv_layout`].
    pub kv: B::Kv,
    /// Recurrent state, by [`Model::state_layout`]; `None` for a model without recurrent layers.
    pub states: Option<B::States>,
}

impl<B: Backend> Memory<B> {
    fn states(&mut self) -> &mut B::States {
        self.states.as_mut().expect("a model with recurrent layers is given states")
    }
}

impl<B: Backend> Activations<B> {
    pub(crate) fn new(
        backend: &mut B,
        widths: &BufferWidths,
        adapters: (usize, &AdapterWidths),
        hidden_size: usize,
        rows_max: usize,
    ) -> Result<Activations<B>, ModelError> {
        backend.reserve(rows_max, widths.width_max)?;
        let backend = &*backend;
        let buffers = |widths: &[usize]| -> Result<Vec<B::Buffer>, ModelError> {
            widths.iter().map(|width| Ok(backend.buffer(rows_max, *width)?)).collect()
        };
        Ok(Activations {
            rows_max,
            residual: backend.buffer(rows_max, hidden_size)?,
            hidden: backend.buffer(rows_max, hidden_size)?,
            input: widths.keeps_input.then(|| backend.buffer(rows_max, hidden_size)).transpose()?,
            q: buffers(&widths.q)?,
            k: buffers(&widths.k)?,
            v: buffers(&widths.v)?,
            gate: buffers(&widths.gate)?,
            embedding: widths.keeps_embedding.then(|| backend.buffer(rows_max, hidden_size)).transpose()?,
            mixed: buffers(&widths.mixed)?,
            inner: buffers(&widths.inner)?,
            wide: buffers(&widths.wide)?.into_iter().zip(buffers(&widths.wide)?).map(<[_; 2]>::from).collect(),
            per_layer: Rooms::new(backend, &widths.per_layer, hidden_size, rows_max)?,
            banked: BankedRoom::new(backend, widths.banked_count, hidden_size, rows_max)?,
            gated: GatedRoom::new(backend, &widths.gated, hidden_size, rows_max)?,
            turns: widths.has_turns.then(|| TurnRoom::new(backend, hidden_size, rows_max)).transpose()?,
            streams: StreamsRoom::new(backend, &widths.streams, rows_max)?,
            latent: buffers(&widths.latent)?,
            absorbed: buffers(&widths.absorbed)?,
            absorbed_mixed: buffers(&widths.absorbed_mixed)?,
            rooms: buffers(&widths.rooms)?,
            chosen: match widths.choices {
                ChoiceRoom { choices: 0, .. } => None,
                ChoiceRoom { choices, positions } => Some(backend.chosen(rows_max, choices, positions)?),
            },
            first_values: widths.shares_values.map(|width| backend.buffer(rows_max, width)).transpose()?,
            first_rows: (0..rows_max).collect(),
            adapters: (adapters.0 > 0)
                .then(|| AdapterRoom::new(backend, adapters, hidden_size, rows_max))
                .transpose()?,
        })
    }

    /// Rows that a step may have.
    pub fn rows_max(&self) -> usize {
        self.rows_max
    }

    /// Copies the residual stream's first `rows` rows, `[rows, hidden_size]`, to `values`: after a step, what the head
    /// has read, which is only the rows wanted where those are fewer than the batch has and ascend.
    pub fn read_residual(&self, backend: &B, rows: usize, values: &mut [f32]) {
        backend.read(rows, &self.residual, values);
    }
}

impl<B: Backend> Model<B> {
    /// Computes one step: keys, values and states of every row of `batch` are stored in `memory`, and
    /// `logits`, `[rows_wanted, vocabulary_size]`, receives the rows asked for, by their index in the batch.
    ///
    /// # Panics
    /// If the batch is inconsistent, has more rows than `activations`, a token outside of the vocabulary, or `logits`
    /// has the wrong size: bugs of the caller, who has checked what users ask for.
    pub fn forward(
        &self,
        backend: &mut B,
        activations: &mut Activations<B>,
        memory: &mut Memory<B>,
        batch: &Batch<'_>,
        rows_wanted: &[usize],
        logits: &mut [f32],
    ) {
        self.forward_encoded(backend, activations, memory, batch, &[], rows_wanted, logits);
    }

    /// Computes one step as [`Model::forward`] does, of a model with an encoder: `encoded` tells for each sequence of the
    /// batch what [`Model::encode`] has stored.
    ///
    /// # Panics
    /// As [`Model::forward`], and if what was encoded does not belong to the batch.
    #[allow(clippy::too_many_arguments)] // As `forward`, and what was encoded.
    pub fn forward_encoded(
        &self,
        backend: &mut B,
        activations: &mut Activations<B>,
        memory: &mut Memory<B>,
        batch: &Batch<'_>,
        encoded: &[Encoded<'_>],
        rows_wanted: &[usize],
        logits: &mut [f32],
    ) {
        let HeadWeights::Logits(head) = &self.head else { panic!("a model that gives hidden states has no logits") };
        assert_eq!(logits.len(), rows_wanted.len() * self.vocabulary_size(), "logits and rows wanted differ in number");
        assert!(rows_wanted.iter().all(|row| *row < batch.row_count()), "a row wanted is not in the batch");
        let ascends = rows_wanted.is_sorted_by(|row, next| row < next);
        // What was encoded, and several streams, are looked at by all rows to the end.
        let can_keep = ascends && self.encoder.is_none() && self.streams.is_none();
        let kept = (can_keep && rows_wanted.len() < batch.row_count()).then_some(rows_wanted);
        self.run(backend, activations, memory, batch, (encoded, kept), &mut ());
        if !rows_wanted.is_empty() {
            let rows = if kept.is_some() { &activations.first_rows[..rows_wanted.len()] } else { rows_wanted };
            backend.head(head, rows, &activations.residual, logits);
        }
        if let Some((first, end)) = (self.architecture().head)(self.config()).left_out {
            for logits in logits.chunks_exact_mut(self.vocabulary_size()) {
                let end = end.min(logits.len());
                logits[first.min(end)..end].fill(f32::MIN);
            }
        }
    }

    /// Computes one step as [`Model::forward`] does, and copies what the head reads, normalised, for every row to
    /// `values`, `[rows, hidden_size]`: what embeddings are pooled from.
    ///
    /// # Panics
    /// As [`Model::forward`].
    pub fn hidden_states(
        &self,
        backend: &mut B,
        activations: &mut Activations<B>,
        memory: &mut Memory<B>,
        batch: &Batch<'_>,
        values: &mut [f32],
    ) {
        let rows = batch.row_count();
        assert_eq!(values.len(), rows * self.config().hidden_size, "values and rows of the batch differ in number");
        self.run(backend, activations, memory, batch, (&[], None), &mut ());
        let norm = match &self.head {
            HeadWeights::Logits(head) => head.norm.as_ref(),
            HeadWeights::HiddenState(norm) => norm.as_ref(),
        };
        norm_stream(norm, backend, activations, rows);
        backend.read(rows, &activations.residual, values);
    }

    /// Runs the layers. Of the last one, what comes after its mixer is computed for the rows of `kept` only, if given, and
    /// they are the first rows of the residual stream then: nothing reads the others. For the last chunk of a prompt
    /// that leaves one row instead of hundreds.
    fn run(
        &self,
        backend: &mut B,
        activations: &mut Activations<B>,
        memory: &mut Memory<B>,
        batch: &Batch<'_>,
        (encoded, kept): (&[Encoded<'_>], Option<&[usize]>),
        observer: &mut impl Observer<B>,
    ) {
        self.assert_fits(activations, batch);
        match &mut activations.adapters {
            Some(room) => room.begin(batch),
            None => assert!(
                batch.sequences.iter().all(|sequence| sequence.adapter_scales.is_empty()),
                "a sequence has factors for adapters, the model has none"
            ),
        }
        assert_eq!(self.encoder.is_some(), !encoded.is_empty(), "what was encoded belongs to a model with an encoder");
        let rows_that_see = match encoded {
            [] => Vec::new(),
            encoded => cross::rows_that_see(batch, encoded),
        };
        let rows_that_see = Batch { tokens: batch.tokens, sequences: &rows_that_see };
        let rows_that_see = (!encoded.is_empty()).then_some(&rows_that_see);
        self.embed(backend, activations, batch);
        observer.see(backend, Place::Embedding, batch.row_count(), &activations.residual);
        let mut rows = batch.row_count();
        for (layer_index, layer) in self.layers.iter().enumerate() {
            let kept = kept.filter(|_| layer_index + 1 == self.layers.len());
            turns::add(layer, backend, activations, rows);
            if let Some(ngrams) = &layer.ngrams {
                gated_streams::add_ngrams(ngrams, backend, activations, memory, batch);
            }
            let Some(left) = mix(layer, backend, activations, memory, batch, rows_that_see, kept) else { return };
            rows = left;
            observer.see(backend, Place::Mixer(layer_index), rows, &activations.residual);
            work_on_tokens(layer, backend, activations, rows);
            turns::keep(layer, backend, activations, rows);
            observer.see(backend, Place::Layer(layer_index), rows, &activations.residual);
        }
        if let Some(streams) = &self.streams {
            per_layer::gather(streams, backend, activations, batch.row_count());
        }
        if let Some(weights) = &self.gated_head {
            gated_streams::gather(weights, backend, activations, rows);
        }
        if let Some(score) = &self.banked_head {
            banked::gather(score, backend, activations, rows);
        }
        if let Some(mix) = &self.hyper_head {
            streams::read(mix, backend, activations, rows);
        }
    }

    fn assert_fits(&self, activations: &Activations<B>, batch: &Batch<'_>) {
        batch.assert_consistent();
        let rows = batch.row_count();
        assert!(rows <= activations.rows_max, "{rows} rows in a step, room was made for {}", activations.rows_max);
        let vocabulary_size = self.vocabulary_size();
        assert!(
            batch.tokens.iter().all(|token| (*token as usize) < vocabulary_size),
            "a token is not in the vocabulary"
        );
        if self.embedding.positions.is_some() {
            let context_length = self.context_length();
            assert!(batch.positions().all(|position| position < context_length), "a position has no embedding");
        }
        if self.needs_whole_sequences() {
            assert!(batch.sequences.iter().all(|rows| rows.first_position == 0), "a sequence is continued");
        }
    }

    fn embed(&self, backend: &mut B, activations: &mut Activations<B>, batch: &Batch<'_>) {
        let embedding = &self.embedding;
        let table = match (&embedding.table, &self.head) {
            (Some(table), _) => table,
            (None, HeadWeights::Logits(head)) => &head.linear.weight,
            (None, HeadWeights::HiddenState(_)) => unreachable!("only a head with logits shares the table"),
        };
        backend.embed(table, batch.tokens, embedding.scale, &mut activations.residual);
        if let Some(positions) = &embedding.positions {
            backend.embed_positions(positions, batch, &mut activations.residual);
        }
        norm_stream(embedding.norm.as_ref(), backend, activations, batch.row_count());
        if let Some(embedding) = &mut activations.embedding {
            backend.copy(batch.row_count(), &activations.residual, embedding);
        }
        gated_streams::begin(backend, activations, batch.row_count());
        if let Some(fast) = &embedding.fast_state {
            turns::begin(fast, backend, activations, batch.row_count());
        }
        if let Some(weights) = &embedding.per_layer {
            per_layer::embed(weights, backend, activations, batch);
        }
        if let Some(streams) = &self.streams {
            per_layer::spread(streams, backend, activations, batch.row_count());
        }
        streams::begin(backend, activations, batch.row_count());
    }
}

/// Norms the residual stream itself.
fn norm_stream<B: Backend>(
    norm: Option<&lair_compute::Norm<B>>,
    backend: &mut B,
    activations: &mut Activations<B>,
    rows: usize,
) {
    let Some(norm) = norm else { return };
    let Activations { residual, hidden, .. } = activations;
    backend.norm(rows, norm, residual, hidden);
    std::mem::swap(residual, hidden);
}

/// The first half of a layer: what lets tokens see others. Gives how many rows are left, or nothing where none is.
fn mix<B: Backend>(
    layer: &LayerWeights<B>,
    backend: &mut B,
    activations: &mut Activations<B>,
    memory: &mut Memory<B>,
    batch: &Batch<'_>,
    rows_that_see: Option<&Batch<'_>>,
    kept: Option<&[usize]>,
) -> Option<usize> {
    let rows = batch.row_count();
    if let Some(altup) = &layer.altup {
        per_layer::predict(altup, backend, activations, rows);
    }
    if let Some(hyper) = &layer.hyper {
        streams::read(&hyper.mixer, backend, activations, rows);
    }
    per_layer::begin_laurel(layer, backend, activations, rows);
    // What the feed-forward network of a parallel layer reads has to be taken before the mixer adds to the stream.
    let parallel_norm = match &layer.parallel {
        ParallelInput::None => None,
        ParallelInput::Shared(norm) => norm.as_ref(),
        ParallelInput::Own(norm) => Some(norm),
    };
    if let Some(norm) = parallel_norm {
        backend.norm(rows, norm, &activations.residual, &mut activations.hidden);
    }
    if let (true, Some(input)) = (layer.keeps_input(), &mut activations.input) {
        backend.copy(rows, &activations.residual, input);
    }
    if let (Some(_), Some(norm)) = (&layer.beside, &layer.mixer_norm) {
        backend.norm(rows, norm, &activations.residual, &mut activations.hidden);
    }
    if let Some(streams) = &layer.gated {
        gated_streams::read(&streams.mixer, backend, activations, rows);
    }
    if let Some(weights) = &layer.banked {
        banked::begin_mixer(weights, backend, activations, rows);
    }
    if let Some((scale, _)) = layer.normed_stream {
        replace_stream(layer.mixer_norm.as_ref(), scale, backend, activations, rows);
    }
    let mixed = run_mixer(layer, backend, activations, memory, batch);
    let beside = layer
        .beside
        .as_ref()
        .map(|(weights, output)| (mamba2::run(layer, weights, backend, activations, memory, batch), output));
    let mixed = mixed.zip(layer.mixer_output.as_ref());
    // A network that reads the token before needs all of them.
    let (kept, kept_after) = match &layer.ffn {
        FfnWeights::ChannelMix(_) => (None, kept),
        _ => (kept, None),
    };
    let rows = match kept {
        None => rows,
        Some([]) => return None,
        Some(kept) => {
            for (mixed, _) in mixed.iter().chain(&beside) {
                backend.keep_rows(kept, &mut activations.mixed[*mixed]);
            }
            backend.keep_rows(kept, &mut activations.residual);
            backend.keep_rows(kept, &mut activations.hidden);
            let Activations { input, embedding, .. } = &mut *activations;
            input.iter_mut().chain(embedding).for_each(|buffer| backend.keep_rows(kept, buffer));
            activations.per_layer.keep_rows(backend, kept);
            activations.gated.iter_mut().for_each(|room| room.keep_rows(backend, kept));
            activations.banked.iter_mut().for_each(|room| room.keep_rows(backend, kept));
            activations.streams.iter_mut().for_each(|room| room.keep_rows(backend, kept));
            activations.adapters.iter_mut().for_each(|room| room.keep_rows(kept));
            kept.len()
        }
    };
    if layer.hyper.is_some() {
        streams::clear(backend, activations, rows);
    }
    let after = (layer.mixer_output_norm.as_ref(), layer.mixer_scale);
    let inner_norm = match &layer.mixer {
        MixerWeights::Attention(weights) => weights.inner_norm.as_ref(),
        _ => None,
    };
    for (index, (mixed, output)) in mixed.into_iter().chain(beside).enumerate() {
        let Activations { mixed: buffers, inner, residual, adapters, .. } = &mut *activations;
        let mixed = match inner_norm.filter(|_| index == 0) {
            Some((norm, buffer)) => {
                backend.norm(rows, norm, &buffers[mixed], &mut inner[*buffer]);
                &inner[*buffer]
            }
            None => &buffers[mixed],
        };
        match adapters.as_mut().filter(|room| room.uses(output.low_rank.iter())) {
            Some(room) => room.project_add(backend, rows, mixed, output, after, residual),
            None => backend.project_add(rows, mixed, &output.linear, after.0, after.1, residual),
        }
    }
    norm_stream(layer.mixer_stream_norm.as_ref(), backend, activations, rows);
    if let (Some(norm), Some(input)) = (&layer.mixer_second_norm, &activations.input) {
        backend.add(rows, input, 1.0, &mut activations.residual);
        norm_stream(Some(norm), backend, activations, rows);
    }
    if let Some((scale, norm)) = &layer.normed_stream {
        replace_stream(norm.as_ref(), *scale, backend, activations, rows);
    }
    if layer.gated.is_some() {
        gated_streams::write(backend, activations, rows);
    }
    if let FfnWeights::ChannelMix(weights) = &layer.ffn {
        rwkv::channel_mix(weights, backend, activations, memory, batch);
    }
    per_layer::end_laurel(layer, backend, activations, rows);
    if let (Some(weights), Some(rows_that_see)) = (&layer.cross, rows_that_see) {
        cross::run(weights, backend, activations, memory, rows_that_see);
    }
    if let Some(hyper) = &layer.hyper {
        streams::write(&hyper.mixer, backend, activations, rows);
    }
    match kept_after {
        None => Some(rows),
        Some([]) => None,
        Some(kept) => {
            // What stands behind such a network works on the stream alone.
            backend.keep_rows(kept, &mut activations.residual);
            Some(kept.len())
        }
    }
}

/// The second half of a layer: what works on each token by itself.
fn work_on_tokens<B: Backend>(layer: &LayerWeights<B>, backend: &mut B, activations: &mut Activations<B>, rows: usize) {
    if let Some(weights) = &layer.banked {
        banked::begin_ffn(weights, backend, activations, rows);
    }
    if let Some(streams) = &layer.gated {
        gated_streams::read(&streams.ffn, backend, activations, rows);
    }
    if let Some(hyper) = &layer.hyper {
        streams::read(&hyper.ffn, backend, activations, rows);
        backend.copy(rows, &activations.residual, &mut activations.hidden);
        streams::clear(backend, activations, rows);
    }
    run_ffn(layer, backend, activations, rows);
    if layer.gated.is_some() {
        gated_streams::write(backend, activations, rows);
    }
    norm_stream(layer.ffn_stream_norm.as_ref(), backend, activations, rows);
    if let Some(hyper) = &layer.hyper {
        streams::write(&hyper.ffn, backend, activations, rows);
    }
    if let Some(altup) = &layer.altup {
        per_layer::correct(altup, backend, activations, rows);
    }
    if let Some(weights) = &layer.per_layer_input {
        per_layer::add_input(layer, weights, backend, activations, rows);
    }
    per_layer::scale_output(layer, backend, activations, rows);
    if let (Some(scale), Some(embedding)) = (layer.embedding_skip, &activations.embedding) {
        backend.add(rows, embedding, scale, &mut activations.residual);
    }
}

/// The feed-forward network of a layer, added to the stream.
fn run_ffn<B: Backend>(layer: &LayerWeights<B>, backend: &mut B, activations: &mut Activations<B>, rows: usize) {
    if let FfnWeights::DenseAndExperts(dense, experts, Some(sum)) = &layer.ffn {
        return run_sum((dense, experts, sum), backend, activations, rows);
    }
    let Activations { residual, hidden, input: before_mixer, adapters, wide, .. } = activations;
    let usual = || match &layer.parallel {
        ParallelInput::None if !layer.ffn_reads_hidden() => FeedForwardInput::Residual,
        _ => FeedForwardInput::Buffer(&*hidden),
    };
    let (dense, experts) = match &layer.ffn {
        FfnWeights::None | FfnWeights::ChannelMix(_) => (None, None),
        FfnWeights::Dense(dense) => (Some(dense), None),
        FfnWeights::Experts(experts) => (None, Some(experts)),
        FfnWeights::DenseAndExperts(dense, experts, _) => (Some(dense), Some(experts)),
    };
    if let Some(weights) = dense {
        match adapters.as_mut().filter(|room| room.uses(weights.low_rank())) {
            Some(room) => room.feed_forward(backend, rows, weights, usual(), residual),
            None if weights.gate_cutoff.is_some() => run_cut_off(weights, backend, rows, wide, residual),
            None => backend.feed_forward(rows, &weights.network, usual(), residual),
        }
    }
    if let Some((weights, latent)) = experts.and_then(|weights| weights.latent.as_ref().map(|latent| (weights, latent)))
    {
        return run_latent_experts(layer, (&**weights, latent), backend, activations, rows);
    }
    if let Some(weights) = experts {
        if let Some(norm) = &weights.router_norm {
            backend.norm(rows, norm, residual, hidden);
            let input = ExpertsInput { experts: FeedForwardInput::Residual, router: Some(&*hidden) };
            return backend.experts(rows, &weights.experts, input, residual);
        }
        let kept = || before_mixer.as_ref().expect("a model with such a layer keeps what layers read");
        let experts = match weights.experts_input {
            LayerInput::Normalised => usual(),
            LayerInput::BeforeMixer => FeedForwardInput::Buffer(kept()),
        };
        let router = (weights.router_input == LayerInput::BeforeMixer).then(kept);
        backend.experts(rows, &weights.experts, ExpertsInput { experts, router }, residual);
    }
}

/// Experts that work in a space of their own; the router and the shared network read what the layer reads.
fn run_latent_experts<B: Backend>(
    layer: &LayerWeights<B>,
    (weights, latent): (&ExpertsWeights<B>, &LatentExpertsWeights<B>),
    backend: &mut B,
    activations: &mut Activations<B>,
    rows: usize,
) {
    let Activations { residual, hidden, rooms: all_rooms, per_layer, .. } = activations;
    let [narrow, sum] = rooms(all_rooms, latent.rooms);
    match (&layer.parallel, &latent.norm) {
        (ParallelInput::None, Some(norm)) => backend.norm(rows, norm, residual, hidden),
        (ParallelInput::None, None) if !layer.ffn_reads_hidden() => {
            backend.copy(rows, residual, hidden);
        }
        // It is there already.
        _ => {}
    }
    backend.project(rows, None, hidden, &mut [(&latent.down, &mut *narrow)]);
    per_layer.scale(backend, rows, 0.0, sum);
    let input = ExpertsInput { experts: FeedForwardInput::Buffer(narrow), router: Some(&*hidden) };
    backend.experts(rows, &weights.experts, input, sum);
    backend.project_add(rows, sum, &latent.up, None, latent.residual_scale, residual);
    if let Some(shared) = &latent.shared {
        backend.feed_forward(rows, shared, FeedForwardInput::Buffer(hidden), residual);
    }
}

/// A network and experts that both read the stream: the norm of their sum is added to it.
fn run_sum<B: Backend>(
    (dense, experts, sum): (&DenseWeights<B>, &ExpertsWeights<B>, &SumWeights<B>),
    backend: &mut B,
    activations: &mut Activations<B>,
    rows: usize,
) {
    let Activations { residual, hidden, input, adapters, per_layer: rooms, .. } = activations;
    let both = input.as_mut().expect("a model with such a layer has room for the sum");
    rooms.scale(backend, rows, 0.0, both);
    match adapters.as_mut().filter(|room| room.uses(dense.low_rank())) {
        Some(room) => room.feed_forward(backend, rows, dense, FeedForwardInput::Buffer(residual), both),
        None => backend.feed_forward(rows, &dense.network, FeedForwardInput::Buffer(residual), both),
    }
    if let Some(norm) = &experts.router_norm {
        backend.norm(rows, norm, residual, hidden);
    }
    let router = experts.router_norm.is_some().then_some(&*hidden);
    let input = ExpertsInput { experts: FeedForwardInput::Buffer(residual), router };
    backend.experts(rows, &experts.experts, input, both);
    backend.norm(rows, &sum.norm, both, hidden);
    backend.add(rows, hidden, sum.residual_scale, residual);
}

/// A feed-forward network of whose gates only the largest count, which has to look at all of a token's.
fn run_cut_off<B: Backend>(
    weights: &DenseWeights<B>,
    backend: &mut B,
    rows: usize,
    wide: &mut [[B::Buffer; 2]],
    residual: &mut B::Buffer,
) {
    let network = &weights.network;
    let (Some((cutoff, buffer)), Some(gate_product)) = (weights.gate_cutoff, &network.gate) else {
        unreachable!("only gates are cut off")
    };
    let [gate, up] = &mut wide[buffer];
    let norm = network.norm.as_ref();
    backend.project(rows, norm, residual, &mut [(gate_product, &mut *gate), (&network.up, &mut *up)]);
    backend.keep_largest(rows, cutoff, gate);
    backend.activate(rows, network.activation, Some(gate), up);
    backend.project_add(rows, up, &network.down, network.post_norm.as_ref(), network.residual_scale, residual);
}

/// Puts the stream's norm in its place, times `scale`, and itself to `hidden`.
fn replace_stream<B: Backend>(
    norm: Option<&lair_compute::Norm<B>>,
    scale: f32,
    backend: &mut B,
    activations: &mut Activations<B>,
    rows: usize,
) {
    let Activations { residual, hidden, .. } = activations;
    match norm {
        Some(norm) => backend.norm(rows, norm, residual, hidden),
        None => backend.copy(rows, residual, hidden),
    }
    backend.copy(rows, hidden, residual);
    backend.add(rows, hidden, scale - 1.0, residual);
}

/// The product of a layer whose mixer is one: its input after its norm. Returns which buffer of `mixed` holds it.
fn run_linear<B: Backend>(
    layer: &LayerWeights<B>,
    mixed_buffer: usize,
    backend: &mut B,
    activations: &mut Activations<B>,
    rows: usize,
) -> usize {
    let Activations { residual, hidden, mixed, .. } = activations;
    match mixer_input(layer, residual, hidden) {
        (Some(norm), input) => backend.norm(rows, norm, input, &mut mixed[mixed_buffer]),
        (None, input) => backend.copy(rows, input, &mut mixed[mixed_buffer]),
    }
    mixed_buffer
}

/// Runs a layer's mixer; returns which buffer of `mixed` holds the result.
fn run_mixer<B: Backend>(
    layer: &LayerWeights<B>,
    backend: &mut B,
    activations: &mut Activations<B>,
    memory: &mut Memory<B>,
    batch: &Batch<'_>,
) -> Option<usize> {
    Some(match &layer.mixer {
        MixerWeights::None => return None,
        MixerWeights::Attention(weights) => attention::run(layer, weights, backend, activations, memory, batch),
        MixerWeights::DeltaNet(weights) => delta_net::run(layer, weights, backend, activations, memory, batch),
        MixerWeights::Compressed(weights) => compressed::run(layer, weights, backend, activations, memory, batch),
        MixerWeights::Latent(weights) => latent::run(layer, weights, backend, activations, memory, batch),
        MixerWeights::Linear { mixed_buffer } => {
            run_linear(layer, *mixed_buffer, backend, activations, batch.row_count())
        }
        MixerWeights::Mamba2(weights) => mamba2::run(layer, weights, backend, activations, memory, batch),
        MixerWeights::Mamba(weights) => mamba::run(layer, weights, backend, activations, memory, batch),
        MixerWeights::DecayedAttention(weights) => {
            decayed_attention::run(layer, weights, backend, activations, memory, batch)
        }
        MixerWeights::KeyDelta(weights) => key_delta::run(layer, weights, backend, activations, memory, batch),
        MixerWeights::TimeMix6(weights) => rwkv::time_mix_6(layer, weights, backend, activations, memory, batch),
        MixerWeights::TimeMix7(weights) => rwkv::time_mix_7(layer, weights, backend, activations, memory, batch),
        MixerWeights::ShortConvolution(weights) => {
            short_convolution::run(layer, weights, backend, activations, memory, batch)
        }
    })
}

/// Some of the rooms, all different ones.
fn rooms<Buffer, const COUNT: usize>(rooms: &mut [Buffer], indices: [usize; COUNT]) -> [&mut Buffer; COUNT] {
    rooms.get_disjoint_mut(indices).expect("a layer's rooms are different ones")
}

/// The mixer's input and its norm: a shared norm has been computed already.
fn mixer_input<'a, B: Backend>(
    layer: &'a LayerWeights<B>,
    residual: &'a B::Buffer,
    hidden: &'a B::Buffer,
) -> (Option<&'a lair_compute::Norm<B>>, &'a B::Buffer) {
    match &layer.parallel {
        ParallelInput::Shared(Some(_)) => (None, hidden),
        _ if layer.beside.is_some() || layer.reads_hidden() => (None, hidden),
        _ => (layer.mixer_norm.as_ref(), residual),
    }
}

/// Products of one input, with what adapters add to them.
fn project<B: Backend, const COUNT: usize>(
    backend: &mut B,
    rows: usize,
    (norm, input): (Option<&lair_compute::Norm<B>>, &B::Buffer),
    mut products: [(&Adapted<B>, &mut B::Buffer); COUNT],
    adapters: Option<&mut AdapterRoom<B>>,
) {
    let mut linears = products.each_mut().map(|(product, output)| (&product.linear, &mut **output));
    backend.project(rows, norm, input, &mut linears);
    if let Some(room) = adapters {
        room.add_to_projections(backend, rows, norm, input, &mut products);
    }
}
