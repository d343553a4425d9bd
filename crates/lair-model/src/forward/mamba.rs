//! Mamba of one layer.

use lair_compute::{Backend, Batch, Columns, ConvolutionBuffers, StateSpaceBuffers};

use super::{Activations, Memory, mixer_input, project, rooms};
use crate::weights::{LayerWeights, MambaWeights};

/// Runs it; returns which buffer of `mixed` holds the result.
pub(super) fn run<B: Backend>(
    layer: &LayerWeights<B>,
    weights: &MambaWeights<B>,
    backend: &mut B,
    activations: &mut Activations<B>,
    memory: &mut Memory<B>,
    batch: &Batch<'_>,
) -> usize {
    let rows = batch.row_count();
    let Activations { residual, hidden, mixed, rooms: all_rooms, adapters, .. } = activations;
    let [wide_channels, wide_convolved, wide_gate] = weights.wide_rooms;
    let [narrow, b_raw, c_raw, b_normed, c_normed, steps] = weights.rooms;
    let all = [wide_channels, wide_convolved, wide_gate, narrow, b_raw, c_raw, b_normed, c_normed, steps];
    let [channels, convolved, gate, narrow, b_raw, c_raw, b_normed, c_normed, time_step] = rooms(all_rooms, all);

    let products = [(&weights.channels, &mut *channels), (&weights.gate, &mut *gate)];
    project(backend, rows, mixer_input(layer, residual, hidden), products, adapters.as_mut());
    let states = memory.states();
    let buffers = ConvolutionBuffers { input: channels, input_factor: None, output_factor: None, output: convolved };
    backend.convolve(batch, &weights.convolution, states, buffers);

    let [(to_narrow, narrow_norm), (to_b, b_norm), (to_c, c_norm)] = &weights.selection;
    let products = [(to_narrow, &mut *narrow), (to_b, &mut *b_raw), (to_c, &mut *c_raw)];
    project(backend, rows, (None, convolved), products, adapters.as_mut());
    let products = [(&weights.time_step, &mut *time_step)];
    project(backend, rows, (narrow_norm.as_ref(), narrow), products, adapters.as_mut());
    for (norm, raw, normed) in [(b_norm, &*b_raw, &mut *b_normed), (c_norm, &*c_raw, &mut *c_normed)] {
        if let Some(norm) = norm {
            backend.norm(rows, norm, raw, normed);
        }
    }
    let part = |buffer| Columns { buffer, first: 0 };
    let (b, c) = (if b_norm.is_some() { b_normed } else { b_raw }, if c_norm.is_some() { c_normed } else { c_raw });
    let output = &mut mixed[weights.mixed_buffer];
    let buffers = StateSpaceBuffers { x: part(convolved), b: part(b), c: part(c), time_step, gate, output };
    backend.state_space(batch, &weights.region, states, buffers);
    weights.mixed_buffer
}
