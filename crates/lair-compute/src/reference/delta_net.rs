//! The gated delta rule, token by token.

use super::elementwise::{activate, sigmoid, softplus};
use super::{Reference, StateLayer, apply_norm};
use crate::{Batch, DecayForm, DeltaRule, DeltaRuleBuffers};

/// The region. The state is `[value_head, value_dim, key_dim]`.
pub(super) fn delta_rule(
    batch: &Batch<'_>,
    layer: &DeltaRule<Reference>,
    state: &mut StateLayer,
    buffers: DeltaRuleBuffers<'_, Reference>,
) {
    let DeltaRuleBuffers { q, k, v, alpha, beta, gate, output } = buffers;
    for rows in batch.sequences {
        let memory = state.recurrent_of(rows);
        for row in rows.first_row..rows.first_row + rows.row_count {
            let qkv = (&q.buffer.row(row)[q.first..], &k.buffer.row(row)[k.first..], &v.buffer.row(row)[v.first..]);
            let out = output.row_mut(row);
            recur(layer, memory, qkv, (alpha.row(row), beta.row(row)), out);
            apply_norm(&layer.norm, out);
            activate(layer.gate_activation, Some(gate.row(row)), out);
        }
    }
}

/// The logarithm of a decay.
fn log_decay(layer: &DeltaRule<Reference>, head: usize, alpha: f32, bias: f32) -> f64 {
    let (a, x) = (f64::from(layer.a[head]), f64::from(alpha + bias));
    match layer.decay_form {
        DecayForm::Softplus => a * softplus(x),
        DecayForm::Bounded { bound, slope } => f64::from(bound) * f64::from(sigmoid((f64::from(slope) * a * x) as f32)),
    }
}

/// One token through the recurrence.
fn recur(
    layer: &DeltaRule<Reference>,
    memory: &mut [f32],
    (q, k, v): (&[f32], &[f32], &[f32]),
    (alpha, beta): (&[f32], &[f32]),
    output: &mut [f32],
) {
    let (key_dim, value_dim, decays) = (layer.key_dim, layer.value_dim, layer.decay_width);
    for head in 0..layer.value_head_count {
        let key_head = layer.key_head(head);
        let query = unit(&q[key_head * key_dim..][..key_dim], layer.unit_epsilon);
        let key = unit(&k[key_head * key_dim..][..key_dim], layer.unit_epsilon);
        let decay = |index: usize| {
            let place = head * decays + index % decays;
            log_decay(layer, head, alpha[place], layer.dt_bias[place]).exp()
        };
        let decay: Vec<f64> = (0..key_dim).map(decay).collect();
        let rate = f64::from(sigmoid(beta[head]));
        for index in 0..value_dim {
            let row = &mut memory[(head * value_dim + index) * key_dim..][..key_dim];
            let recalled: f64 =
                row.iter().zip(&key).zip(&decay).map(|((&s, &k), &decay)| decay * f64::from(s) * k).sum();
            let delta = (f64::from(v[head * value_dim + index]) - recalled) * rate;
            let mut out = 0.0;
            for (((s, &k), &q), &decay) in row.iter_mut().zip(&key).zip(&query).zip(&decay) {
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
