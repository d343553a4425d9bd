//! The first half of a layer: its mixer, and what stands around it.

use lair_compute::{Backend, Batch};

use super::adapters::AdapterRoom;
use super::{
    Activations, Memory, attention, banked, compressed, cross, decayed_attention, delta_net, gated_streams, key_delta,
    latent, mamba, mamba2, norm_stream, per_layer, rwkv, short_convolution, streams,
};
use crate::weights::{Adapted, FfnWeights, LayerWeights, MixerWeights, ParallelInput};

/// The first half of a layer: what lets tokens see others. Gives how many rows are left, or nothing where none is.
pub(super) fn mix<B: Backend>(
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
            let Activations { input, embedding, tokens, .. } = &mut *activations;
            kept.iter().enumerate().for_each(|(place, row)| tokens[place] = tokens[*row]);
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

/// The mixer's input and its norm: a shared norm has been computed already.
pub(super) fn mixer_input<'a, B: Backend>(
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
pub(super) fn project<B: Backend, const COUNT: usize>(
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
