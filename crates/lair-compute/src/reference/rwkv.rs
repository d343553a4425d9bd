//! RWKV's token shift and time mixing, token by token.

use super::elementwise::sigmoid;
use super::{Buffer, Reference, StateLayer, apply_norm};
use crate::recurrent::{DECAY_SPAN, UNIT_EPSILON};
use crate::{Batch, Rwkv6, Rwkv6Buffers, Rwkv7, Rwkv7Buffers, ShiftHistory, ShiftedRows, TokenShift};

/// The token shift.
pub(super) fn token_shift(
    batch: &Batch<'_>,
    layer: &TokenShift<Reference>,
    state: &mut StateLayer,
    input: &Buffer,
    outputs: &mut [ShiftedRows<'_, Reference>],
) {
    for rows in batch.sequences {
        let last = state.conv_of(rows);
        let mut previous = last.to_vec();
        for row in rows.first_row..rows.first_row + rows.row_count {
            let x = input.row(row);
            for (shifted, weights) in outputs.iter_mut().zip(&layer.weights) {
                for (index, out) in shifted.output.row_mut(row).iter_mut().enumerate() {
                    let offset = shifted.offset.map_or(0.0, |offset| offset.row(row)[index]);
                    *out = x[index] + (previous[index] - x[index]) * (weights[index] + offset);
                }
            }
            previous.copy_from_slice(x);
        }
        if layer.history == ShiftHistory::Moved {
            last.copy_from_slice(&previous);
        }
    }
}

/// RWKV-6. The state is `[head, value, key]`.
pub(super) fn rwkv6(
    batch: &Batch<'_>,
    layer: &Rwkv6<Reference>,
    state: &mut StateLayer,
    buffers: Rwkv6Buffers<'_, Reference>,
) {
    let Rwkv6Buffers { r, k, v, decay, gate, output } = buffers;
    let dim = layer.head_dim;
    for rows in batch.sequences {
        let memory = state.recurrent_of(rows);
        for row in rows.first_row..rows.first_row + rows.row_count {
            let (r, k, v, decay) = (r.row(row), k.row(row), v.row(row), decay.row(row));
            let out = output.row_mut(row);
            for (place, (state, out)) in memory.chunks_exact_mut(dim).zip(out.iter_mut()).enumerate() {
                let first = place / dim * dim;
                let mut sum = 0.0;
                for (s, key) in state.iter_mut().zip(first..) {
                    let added = f64::from(k[key]) * f64::from(v[place]);
                    sum += f64::from(r[key]) * (f64::from(*s) + f64::from(layer.first[key]) * added);
                    *s = ((-f64::from(decay[key]).exp()).exp() * f64::from(*s) + added) as f32;
                }
                *out = sum as f32;
            }
            apply_norm(&layer.norm, out);
            out.iter_mut().zip(gate.row(row)).for_each(|(out, &gate)| *out *= gate * sigmoid(gate));
        }
    }
}

/// RWKV-7. The state is `[head, value, key]`.
pub(super) fn rwkv7(
    batch: &Batch<'_>,
    layer: &Rwkv7<Reference>,
    state: &mut StateLayer,
    buffers: Rwkv7Buffers<'_, Reference>,
) {
    let Rwkv7Buffers { r, k, v, decay, rate, gate, output } = buffers;
    let dim = layer.head_dim;
    for rows in batch.sequences {
        let memory = state.recurrent_of(rows);
        for row in rows.first_row..rows.first_row + rows.row_count {
            let (r, v, out) = (r.row(row), v.row(row), output.row_mut(row));
            let token = Token7::new(layer, k.row(row), decay.row(row), rate.row(row));
            for (place, (state, out)) in memory.chunks_exact_mut(dim).zip(out.iter_mut()).enumerate() {
                let first = place / dim * dim;
                let recalled: f64 = state.iter().zip(first..).map(|(&s, key)| f64::from(s) * token.unit[key]).sum();
                let mut sum = 0.0;
                for (s, key) in state.iter_mut().zip(first..) {
                    let removed = token.rates[key] * token.unit[key] * recalled;
                    *s = (token.decays[key] * f64::from(*s) - removed + token.keys[key] * f64::from(v[place])) as f32;
                    sum += f64::from(r[key]) * f64::from(*s);
                }
                *out = sum as f32;
            }
            if let Some(norm) = &layer.norm {
                apply_norm(norm, out);
            }
            for head in 0..layer.head_count {
                let elements = head * dim..(head + 1) * dim;
                let bonus: f64 =
                    elements.clone().map(|i| f64::from(r[i]) * token.keys[i] * f64::from(layer.bonus[i])).sum();
                elements.for_each(|i| out[i] += (bonus * f64::from(v[i])) as f32);
            }
            if let Some(gate) = gate {
                out.iter_mut().zip(gate.row(row)).for_each(|(out, &gate)| *out *= gate);
            }
        }
    }
}

/// What a token of RWKV-7 does to the state.
struct Token7 {
    decays: Vec<f64>,
    rates: Vec<f64>,
    /// Keys that are removed, of length one in each head.
    unit: Vec<f64>,
    /// Keys that are added.
    keys: Vec<f64>,
}

impl Token7 {
    fn new(layer: &Rwkv7<Reference>, k: &[f32], decay: &[f32], rate: &[f32]) -> Token7 {
        let rates: Vec<f64> = rate.iter().map(|&rate| f64::from(sigmoid(rate))).collect();
        let mut unit: Vec<f64> = k.iter().zip(&layer.key_scale).map(|(&k, &x)| f64::from(k) * f64::from(x)).collect();
        for head in unit.chunks_exact_mut(layer.head_dim) {
            let square: f64 = head.iter().map(|x| x * x).sum();
            let length = (square + f64::from(UNIT_EPSILON)).sqrt();
            head.iter_mut().for_each(|x| *x /= length);
        }
        let changed = |((&k, &x), &rate): ((&f32, &f32), &f64)| f64::from(k) * (1.0 + (rate - 1.0) * f64::from(x));
        Token7 {
            decays: decay.iter().map(|&x| (-f64::from(DECAY_SPAN) * f64::from(sigmoid(x))).exp()).collect(),
            keys: k.iter().zip(&layer.key_rate).zip(&rates).map(changed).collect(),
            rates,
            unit,
        }
    }
}
