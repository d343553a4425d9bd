//! Linear attention with a constant decay, token by token.

use super::elementwise::{activate, sigmoid};
use super::{Reference, StateLayer, apply_norm};
use crate::{Batch, DecayedAttention, DecayedAttentionBuffers};

/// The region. The state is `[head, value, key]`.
pub(super) fn decayed_attention(
    batch: &Batch<'_>,
    layer: &DecayedAttention<Reference>,
    state: &mut StateLayer,
    buffers: DecayedAttentionBuffers<'_, Reference>,
) {
    let DecayedAttentionBuffers { q, k, v, gate, output } = buffers;
    let dim = layer.head_dim;
    for rows in batch.sequences {
        let memory = state.recurrent_of(rows);
        for row in rows.first_row..rows.first_row + rows.row_count {
            if let Some(activation) = layer.activation {
                for buffer in [&mut *q, &mut *k, &mut *v] {
                    activate(activation, None, buffer.row_mut(row));
                }
            }
            let (q, k, v, out) = (q.row(row), k.row(row), v.row(row), output.row_mut(row));
            for (place, (state, out)) in memory.chunks_exact_mut(dim).zip(out.iter_mut()).enumerate() {
                let head = place / dim;
                let keys = head * dim..(head + 1) * dim;
                let mut sum = 0.0;
                for ((s, &k), &q) in state.iter_mut().zip(&k[keys.clone()]).zip(&q[keys]) {
                    *s = (f64::from(layer.decays[head]) * f64::from(*s) + f64::from(k) * f64::from(v[place])) as f32;
                    sum += f64::from(q) * f64::from(*s);
                }
                *out = sum as f32;
            }
            apply_norm(&layer.norm, out);
            out.iter_mut().zip(gate.row(row)).for_each(|(out, &gate)| *out *= sigmoid(gate));
        }
    }
}
