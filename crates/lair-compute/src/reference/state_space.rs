//! State spaces, token by token.

use super::elementwise::{sigmoid, softplus};
use super::{Reference, StateLayer, apply_norm};
use crate::{Batch, StateDecay, StateSpace, StateSpaceBuffers};

/// The region. The state is `[head, head_dim, state_size]`.
pub(super) fn state_space(
    batch: &Batch<'_>,
    layer: &StateSpace<Reference>,
    state: &mut StateLayer,
    buffers: StateSpaceBuffers<'_, Reference>,
) {
    let StateSpaceBuffers { x, b, c, time_step, gate, output } = buffers;
    let channels = layer.head_count * layer.head_dim;
    let states = layer.group_count * layer.state_size;
    for rows in batch.sequences {
        let memory = state.recurrent_of(rows);
        for row in rows.first_row..rows.first_row + rows.row_count {
            let x = &x.buffer.row(row)[x.first..][..channels];
            let b = &b.buffer.row(row)[b.first..][..states];
            let c = &c.buffer.row(row)[c.first..][..states];
            let out = output.row_mut(row);
            step(layer, memory, (x, b, c), time_step.row(row), out);
            out.iter_mut().zip(gate.row(row)).for_each(|(out, &gate)| *out *= gate * sigmoid(gate));
            if let Some(norm) = &layer.norm {
                apply_norm(norm, out);
            }
        }
    }
}

/// One token.
fn step(
    layer: &StateSpace<Reference>,
    memory: &mut [f32],
    (x, b, c): (&[f32], &[f32], &[f32]),
    time_step: &[f32],
    output: &mut [f32],
) {
    let size = layer.state_size;
    for channel in 0..layer.head_count * layer.head_dim {
        let head = channel / layer.head_dim;
        let group = head / (layer.head_count / layer.group_count);
        let bias = layer.time_step_bias.as_ref().map_or(0.0, |bias| bias[head]);
        let step = softplus(f64::from(time_step[head] + bias));
        let mut sum = 0.0;
        for n in 0..size {
            let factor = match &layer.decay {
                StateDecay::Head(factors) => factors[head],
                StateDecay::Element(factors) => factors[n * layer.head_count + head],
            };
            let element = &mut memory[channel * size + n];
            let added = f64::from(b[group * size + n]) * step * f64::from(x[channel]);
            *element = (f64::from(*element) * (f64::from(factor) * step).exp() + added) as f32;
            sum += f64::from(c[group * size + n]) * f64::from(*element);
        }
        output[channel] = (sum + f64::from(layer.skip[head]) * f64::from(x[channel])) as f32;
    }
}
