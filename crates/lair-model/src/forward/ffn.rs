//! The second half of a layer: feed-forward networks and experts.

use lair_compute::{Backend, ExpertsInput, FeedForwardInput};

use super::{Activations, banked, gated_streams, norm_stream, per_layer, rooms, streams};
use crate::spec::LayerInput;
use crate::weights::{
    DenseWeights, ExpertsWeights, FfnWeights, LatentExpertsWeights, LayerWeights, ParallelInput, SumWeights,
};

/// The second half of a layer: what works on each token by itself.
pub(super) fn work_on_tokens<B: Backend>(
    layer: &LayerWeights<B>,
    backend: &mut B,
    activations: &mut Activations<B>,
    rows: usize,
) {
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
    let Activations { residual, hidden, input: before_mixer, adapters, wide, tokens, .. } = activations;
    let tokens = &tokens[..rows];
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
            let input = ExpertsInput { experts: FeedForwardInput::Residual, router: Some(&*hidden), tokens };
            return backend.experts(rows, &weights.experts, input, residual);
        }
        let kept = || before_mixer.as_ref().expect("a model with such a layer keeps what layers read");
        let experts = match weights.experts_input {
            LayerInput::Normalised => usual(),
            LayerInput::BeforeMixer => FeedForwardInput::Buffer(kept()),
        };
        let router = (weights.router_input == LayerInput::BeforeMixer).then(kept);
        backend.experts(rows, &weights.experts, ExpertsInput { experts, router, tokens }, residual);
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
    let Activations { residual, hidden, rooms: all_rooms, per_layer, tokens, .. } = activations;
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
    let input =
        ExpertsInput { experts: FeedForwardInput::Buffer(narrow), router: Some(&*hidden), tokens: &tokens[..rows] };
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
    let Activations { residual, hidden, input, adapters, per_layer: rooms, tokens, .. } = activations;
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
    let input = ExpertsInput { experts: FeedForwardInput::Buffer(residual), router, tokens: &tokens[..rows] };
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
