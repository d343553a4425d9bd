//! Attention over compressed keys and values, head by head.

use super::attention::{apply_gate, attention};
use super::{KvLayer, Reference, apply_linear, apply_norm};
use crate::{AttentionBuffers, Batch, LatentAttention, LatentBuffers};

/// The latent attention region.
pub(super) fn latent_attention(
    batch: &Batch<'_>,
    layer: &LatentAttention<Reference>,
    kv: &mut KvLayer,
    buffers: LatentBuffers<'_, Reference>,
) {
    let LatentBuffers { q, latent, values, absorbed, mixed, chosen, gate, output } = buffers;
    let (rank, heads) = (layer.kv_rank(), layer.attention.head_count);
    for row in 0..batch.row_count() {
        let compressed = &mut latent.row_mut(row)[..rank];
        if let Some(norm) = &layer.kv_norm {
            apply_norm(norm, compressed);
        }
        values.row_mut(row).copy_from_slice(compressed);
        if let Some(norm) = &layer.rope_norm {
            apply_norm(norm, &mut latent.row_mut(row)[rank..]);
        }
        let queries = q.row(row).chunks_exact(layer.nope_dim + layer.rope_dim);
        for (head, (query, out)) in
            queries.zip(absorbed.row_mut(row).chunks_exact_mut(rank + layer.rope_dim)).enumerate()
        {
            let (compared, turned) = query.split_at(layer.nope_dim);
            match &layer.k_up {
                Some(linear) => apply_linear(linear, head, compared, &mut out[..rank]),
                None => out[..rank].fill(0.0),
            }
            out[rank..].copy_from_slice(turned);
        }
    }
    let inner = AttentionBuffers { q: absorbed, kv: Some((latent, values)), gate: None, chosen, output: &mut *mixed };
    attention(batch, &layer.attention, kv, inner);
    for row in 0..batch.row_count() {
        for head in 0..heads {
            let out = &mut output.row_mut(row)[head * layer.value_dim..][..layer.value_dim];
            apply_linear(&layer.v_up, head, &mixed.row(row)[head * rank..][..rank], out);
        }
        if let Some(gate) = gate {
            apply_gate(layer.attention.gate, gate.row(row), layer.value_dim, output.row_mut(row));
        }
    }
}
