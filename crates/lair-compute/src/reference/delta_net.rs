//! The gated delta rule, token by token.

use super::{Buffer, Reference, StateLayer, apply_norm, sigmoid, softplus};
use crate::{Batch, GatedDeltaNet};

/// What the region reads.
pub(super) struct Inputs<'a> {
    pub(super) qkv: &'a Buffer,
    pub(super) alpha: &'a Buffer,
    pub(super) beta: &'a Buffer,
    pub(super) gate: &'a Buffer,
}

/// The region: convolution, recurrence, norm and gate.
///
/// The recurrent state is `[value_head, value_dim, key_dim]`; the convolution's history is
/// `[conv_length - 1, channels]`, the oldest first.
pub(super) fn gated_delta_net(
    batch: &Batch<'_>,
    layer: &GatedDeltaNet<Reference>,
    state: &mut StateLayer,
    inputs: Inputs<'_>,
    output: &mut Buffer,
) {
    for rows in batch.sequences {
        let slot = rows.state_slot.expect("a sequence of a recurrent model has a state").0 as usize;
        let history = &mut state.conv[slot * state.conv_length..][..state.conv_length];
        let memory = &mut state.recurrent[slot * state.recurrent_length..][..state.recurrent_length];
        for row in rows.first_row..rows.first_row + rows.row_count {
            let mixed = convolve(layer, history, inputs.qkv.row(row));
            let (alpha, beta) = (inputs.alpha.row(row), inputs.beta.row(row));
            step(layer, memory, &mixed, alpha, beta, output.row_mut(row));
            apply_norm(&layer.norm, output.row_mut(row));
            for (out, &gate) in output.row_mut(row).iter_mut().zip(inputs.gate.row(row)) {
                *out *= gate * sigmoid(gate);
            }
        }
    }
}

/// One token through the causal convolution and SiLU; the history moves on.
fn convolve(layer: &GatedDeltaNet<Reference>, history: &mut [f32], input: &[f32]) -> Vec<f32> {
    let (taps, channels) = (layer.conv_length, input.len());
    let output = (0..channels)
        .map(|channel| {
            let weights = &layer.conv_weight[channel * taps..][..taps];
            let past: f64 =
                (0..taps - 1).map(|tap| f64::from(weights[tap]) * f64::from(history[tap * channels + channel])).sum();
            let sum = (past + f64::from(weights[taps - 1]) * f64::from(input[channel])) as f32;
            sum * sigmoid(sum)
        })
        .collect();
    if taps > 1 {
        history.copy_within(channels.., 0);
        history[(taps - 2) * channels..].copy_from_slice(input);
    }
    output
}

/// One token through the recurrence: `mixed` is `q | k | v`.
fn step(
    layer: &GatedDeltaNet<Reference>,
    memory: &mut [f32],
    mixed: &[f32],
    alpha: &[f32],
    beta: &[f32],
    output: &mut [f32],
) {
    let (key_dim, value_dim) = (layer.key_dim, layer.value_dim);
    let key_width = layer.key_head_count * key_dim;
    let (q, rest) = mixed.split_at(key_width);
    let (k, v) = rest.split_at(key_width);
    for head in 0..layer.value_head_count {
        // Value heads take key heads in turn, as the converters lay them out.
        let key_head = head % layer.key_head_count;
        let query = unit(&q[key_head * key_dim..][..key_dim], layer.norm.epsilon);
        let key = unit(&k[key_head * key_dim..][..key_dim], layer.norm.epsilon);
        let step_size = f64::from(layer.a[head]) * softplus(f64::from(alpha[head] + layer.dt_bias[head]));
        let decay = step_size.exp();
        let rate = f64::from(sigmoid(beta[head]));
        for index in 0..value_dim {
            let row = &mut memory[(head * value_dim + index) * key_dim..][..key_dim];
            let recalled: f64 = row.iter().zip(&key).map(|(&s, &k)| decay * f64::from(s) * k).sum();
            let delta = (f64::from(v[head * value_dim + index]) - recalled) * rate;
            let mut out = 0.0;
            for ((s, &k), &q) in row.iter_mut().zip(&key).zip(&query) {
                *s = (decay * f64::from(*s) + k * delta) as f32;
                out += f64::from(*s) * q;
            }
            output[head * value_dim + index] = (out / (key_dim as f64).sqrt()) as f32;
        }
    }
}

/// The vector divided by its length.
fn unit(values: &[f32], epsilon: f32) -> Vec<f64> {
    let square: f64 = values.iter().map(|&x| f64::from(x).powi(2)).sum();
    let factor = 1.0 / (square + f64::from(epsilon)).sqrt();
    values.iter().map(|&x| f64::from(x) * factor).collect()
}
