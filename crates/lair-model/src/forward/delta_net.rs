//! Gated delta net of one layer.

use lair_compute::{Backend, Batch};

use super::{Activations, Memory, mixer_input, project};
use crate::weights::{DeltaNetWeights, LayerWeights};

/// Runs it; returns which buffer of `mixed` holds the result.
pub(super) fn run<B: Backend>(
    layer: &LayerWeights<B>,
    weights: &DeltaNetWeights<B>,
    backend: &mut B,
    activations: &mut Activations<B>,
    memory: &mut Memory<B>,
    batch: &Batch<'_>,
) -> usize {
    let Activations { residual, hidden, gate, mixed, qkv, alpha, adapters, .. } = activations;
    let (norm, input) = mixer_input(layer, residual, hidden);
    let qkv = &mut qkv[weights.qkv_buffer];
    let gate = &mut gate[weights.gate_buffer];
    let (alpha, beta) = &mut alpha[weights.alpha_buffer];
    let products = [
        (&weights.qkv, &mut *qkv),
        (&weights.gate, &mut *gate),
        (&weights.alpha, &mut *alpha),
        (&weights.beta, &mut *beta),
    ];
    project(backend, batch.row_count(), (norm, input), products, adapters.as_mut());
    let states = memory.states.as_mut().expect("a model with recurrent layers is given states");
    let output = &mut mixed[weights.mixed_buffer];
    backend.gated_delta_net(batch, &weights.region, states, qkv, alpha, beta, gate, output);
    weights.mixed_buffer
}
