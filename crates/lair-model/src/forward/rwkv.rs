//! RWKV's time and channel mixing of one layer.

use lair_compute::{Activation, Backend, Batch, Rwkv6Buffers, Rwkv7Buffers, ShiftedRows};

use super::adapters::AdapterRoom;
use super::{Activations, Memory, project, rooms};
use crate::weights::{ChannelMixWeights, LayerWeights, Narrow, TimeMix6Weights, TimeMix7Weights};

/// `output = up(activation(down(input)))`, by way of a room of its own.
fn run_narrow<B: Backend>(
    backend: &mut B,
    rows: usize,
    product: &Narrow<B>,
    (input, between, output): (&B::Buffer, &mut B::Buffer, &mut B::Buffer),
    mut adapters: Option<&mut AdapterRoom<B>>,
) {
    project(backend, rows, (None, input), [(&product.down, &mut *between)], adapters.as_deref_mut());
    if let Some(activation) = product.activation {
        backend.activate(rows, activation, None, between);
    }
    project(backend, rows, (None, between), [(&product.up, output)], adapters);
}

/// An output of a token shift without offsets.
fn shifted<B: Backend>(output: &mut B::Buffer) -> ShiftedRows<'_, B> {
    ShiftedRows { offset: None, output }
}

/// Norms the mixer's input to `hidden`, from which all rows are shifted.
fn norm_input<B: Backend>(layer: &LayerWeights<B>, backend: &mut B, activations: &mut Activations<B>, rows: usize) {
    match &layer.mixer_norm {
        Some(norm) => backend.norm(rows, norm, &activations.residual, &mut activations.hidden),
        None => backend.copy(rows, &activations.residual, &mut activations.hidden),
    }
}

/// Runs RWKV-6's time mixing; returns which buffer of `mixed` holds the result.
pub(super) fn time_mix_6<B: Backend>(
    layer: &LayerWeights<B>,
    weights: &TimeMix6Weights<B>,
    backend: &mut B,
    activations: &mut Activations<B>,
    memory: &mut Memory<B>,
    batch: &Batch<'_>,
) -> usize {
    let rows = batch.row_count();
    norm_input(layer, backend, activations, rows);
    let Activations { hidden, mixed, rooms: all_rooms, adapters, .. } = activations;
    let states = memory.states();
    let [a, b, c, d, e, f, g, h, i, j] = weights.rooms;
    {
        // The input of the offsets lies where the first product will.
        let [input] = rooms(all_rooms, [j]);
        backend.token_shift(batch, &weights.first_shift, states, hidden, &mut [shifted(input)]);
    }
    for (product, offset) in weights.offsets.iter().zip([f, g, h, i, a]) {
        let [input, between, offset] = rooms(all_rooms, [j, product.room, offset]);
        run_narrow(backend, rows, product, (input, between, offset), adapters.as_mut());
    }
    {
        let [for_decay, for_k, for_v, for_r, for_gate, of_decay, of_k, of_v, of_r, of_gate] =
            rooms(all_rooms, [b, c, d, e, j, f, g, h, i, a]);
        let pair = |offset, output| ShiftedRows { offset: Some(offset), output };
        let mut outputs = [
            pair(&*of_decay, for_decay),
            pair(&*of_k, for_k),
            pair(&*of_v, for_v),
            pair(&*of_r, for_r),
            pair(&*of_gate, for_gate),
        ];
        backend.token_shift(batch, &weights.shift, states, hidden, &mut outputs);
    }
    {
        let [input, between, decay] = rooms(all_rooms, [b, weights.decay.room, f]);
        run_narrow(backend, rows, &weights.decay, (input, between, decay), adapters.as_mut());
    }
    for (product, (input, output)) in weights.products.iter().zip([(c, g), (d, h), (e, i), (j, a)]) {
        let [input, output] = rooms(all_rooms, [input, output]);
        project(backend, rows, (None, input), [(product, output)], adapters.as_mut());
    }
    let [decay, k, v, r, gate] = rooms(all_rooms, [f, g, h, i, a]);
    let output = &mut mixed[weights.mixed_buffer];
    backend.rwkv6(batch, &weights.region, states, Rwkv6Buffers { r, k, v, decay, gate, output });
    weights.mixed_buffer
}

/// Runs RWKV-7's time mixing; returns which buffer of `mixed` holds the result.
pub(super) fn time_mix_7<B: Backend>(
    layer: &LayerWeights<B>,
    weights: &TimeMix7Weights<B>,
    backend: &mut B,
    activations: &mut Activations<B>,
    memory: &mut Memory<B>,
    batch: &Batch<'_>,
) -> usize {
    let rows = batch.row_count();
    norm_input(layer, backend, activations, rows);
    let Activations { hidden, mixed, rooms: all_rooms, first_values, adapters, .. } = activations;
    let states = memory.states();
    let [to_r, to_decay, to_k, to_v, to_rate, to_gate, r, decay, k, v, rate, gate] = weights.rooms;
    {
        let [for_r, for_decay, for_k, for_v, for_rate, for_gate] =
            rooms(all_rooms, [to_r, to_decay, to_k, to_v, to_rate, to_gate]);
        let mut outputs = [for_r, for_decay, for_k, for_v, for_rate, for_gate].map(shifted);
        let count = weights.shift.weights.len();
        backend.token_shift(batch, &weights.shift, states, hidden, &mut outputs[..count]);
    }
    for (product, (input, output)) in weights.products.iter().zip([(to_r, r), (to_k, k), (to_v, v)]) {
        let [input, output] = rooms(all_rooms, [input, output]);
        project(backend, rows, (None, input), [(product, output)], adapters.as_mut());
    }
    let narrow = [(Some(&weights.decay), to_decay, decay), (Some(&weights.rate), to_rate, rate)];
    for (product, input, output) in narrow.into_iter().chain([(weights.gate.as_ref(), to_gate, gate)]) {
        let Some(product) = product else { continue };
        let [input, between, output] = rooms(all_rooms, [input, product.room, output]);
        run_narrow(backend, rows, product, (input, between, output), adapters.as_mut());
    }
    let first_values = first_values.as_mut().expect("made for models whose layers share values");
    match &weights.value {
        None => {
            let [values] = rooms(all_rooms, [v]);
            backend.copy(rows, values, first_values);
        }
        Some(product) => {
            // What the receptance was made of is of no use any more.
            let [input, between, mix, values] = rooms(all_rooms, [to_v, product.room, to_r, v]);
            run_narrow(backend, rows, product, (input, between, &mut *mix), adapters.as_mut());
            backend.blend(rows, mix, first_values, values);
        }
    }
    let [r, decay, k, v, rate, gate] = rooms(all_rooms, [r, decay, k, v, rate, gate]);
    let gate = weights.gate.as_ref().map(|_| &*gate);
    let output = &mut mixed[weights.mixed_buffer];
    backend.rwkv7(batch, &weights.region, states, Rwkv7Buffers { r, k, v, decay, rate, gate, output });
    weights.mixed_buffer
}

/// Runs the channel mixing, and adds its result to the residual stream.
pub(super) fn channel_mix<B: Backend>(
    weights: &ChannelMixWeights<B>,
    backend: &mut B,
    activations: &mut Activations<B>,
    memory: &mut Memory<B>,
    batch: &Batch<'_>,
) {
    let rows = batch.row_count();
    let Activations { residual, hidden, rooms: all_rooms, adapters, .. } = activations;
    match &weights.norm {
        Some(norm) => backend.norm(rows, norm, residual, hidden),
        None => backend.copy(rows, residual, hidden),
    }
    let [a, b, c, d] = weights.rooms;
    let [for_k, for_r, receptance, output, wide] = rooms(all_rooms, [a, b, c, d, weights.wide_room]);
    let count = weights.shift.weights.len();
    let mut outputs = [&mut *for_k, &mut *for_r].map(shifted);
    backend.token_shift(batch, &weights.shift, memory.states(), hidden, &mut outputs[..count]);
    project(backend, rows, (None, for_k), [(&weights.key, &mut *wide)], adapters.as_mut());
    backend.activate(rows, Activation::ReluSquared, None, wide);
    project(backend, rows, (None, wide), [(&weights.value, &mut *output)], adapters.as_mut());
    if let Some(product) = &weights.receptance {
        project(backend, rows, (None, for_r), [(product, &mut *receptance)], adapters.as_mut());
        backend.activate(rows, Activation::Sigmoid, Some(receptance), output);
    }
    backend.add(rows, output, weights.residual_scale, residual);
}
