//! Attention over compressed keys and values: what stands before and behind attention in the compressed space.
//!
//! Arithmetic, for one token of 128 heads with a rank of 512 and heads of 128: 2 x 128 x 512 x 128 = 17 million
//! multiply-adds take queries there and results back, as much as 115 positions cost (2 x 128 x 576). In exchange a
//! position is 576 elements instead of 128 x 320.
#![allow(unsafe_code)] // Rows of activations are written by several threads.

use super::attention;
use super::feed_forward::quantised_rows;
use super::linear::{for_each_row, grow};
use super::memory::Parts;
use super::norm::{apply_norm, gate_head};
use super::product::{Input, Product, TOKENS_MAX, for_each_run, parts_of_blocks};
use super::tap::observe;
use super::{Cpu, Kv};
use crate::{AttentionBuffers, Batch, LatentAttention, LatentBuffers, Linear};

/// The latent attention region.
pub(super) fn latent_attention(
    cpu: &mut Cpu,
    batch: &Batch<'_>,
    layer: &LatentAttention<Cpu>,
    kv: &mut Kv,
    buffers: LatentBuffers<'_, Cpu>,
) {
    let LatentBuffers { q, latent, values, absorbed, mixed, chosen, gate, output } = buffers;
    let (isa, rows, heads, rank) = (cpu.isa, batch.row_count(), layer.attention.head_count, layer.kv_rank());
    let (nope, head_dim) = (layer.nope_dim, layer.nope_dim + layer.rope_dim);
    let (latent_width, key_dim) = (latent.width, rank + layer.rope_dim);
    // Taken out and put back: products use the workers beside it.
    let mut scratch = std::mem::take(&mut cpu.scratch);
    grow(&mut scratch.normed, rows * heads * nope, 0.0);
    let (latents, rows_of_values) = (Parts::new(&mut latent.values), Parts::new(&mut values.values));
    let (compared, queries) = (Parts::new(&mut scratch.normed), Parts::new(&mut absorbed.values));
    for_each_row(&cpu.pool, rows, &|row| {
        // SAFETY: every row is prepared once.
        let (latent, values, compared, queries) = unsafe {
            (
                latents.part(row * latent_width, latent_width),
                rows_of_values.part(row * rank, rank),
                compared.part(row * heads * nope, heads * nope),
                queries.part(row * heads * key_dim, heads * key_dim),
            )
        };
        let (compressed, turned) = latent.split_at_mut(rank);
        if let Some(norm) = &layer.rope_norm {
            apply_norm(isa, norm, turned);
        }
        if let Some(norm) = &layer.kv_norm {
            apply_norm(isa, norm, compressed);
        }
        values.copy_from_slice(compressed);
        for (head, query) in q.row(row).chunks_exact(head_dim).enumerate() {
            compared[head * nope..][..nope].copy_from_slice(&query[..nope]);
            let query_out = &mut queries[head * key_dim..][..key_dim];
            query_out[..rank].fill(0.0);
            query_out[rank..].copy_from_slice(&query[nope..]);
        }
    });
    if let Some(k_up) = &layer.k_up {
        let (compared, form) = (&scratch.normed[..rows * heads * nope], k_up.weight.form());
        let input = quantised_rows((isa, &cpu.pool), rows * heads, compared, nope, &mut scratch.blocks, form);
        multiply_heads(cpu, k_up, &input, (rows, heads), (&queries, key_dim));
    }

    let kv_rows = Some((latent, values));
    let inner = AttentionBuffers { q: &mut *absorbed, kv: kv_rows, gate: None, chosen, output: &mut *mixed };
    attention::attention((isa, &cpu.pool, &mut cpu.workers[..]), batch, &layer.attention, kv, inner);

    let form = layer.v_up.weight.form();
    let mixed = &mixed.values[..rows * heads * rank];
    let input = quantised_rows((isa, &cpu.pool), rows * heads, mixed, rank, &mut scratch.blocks, form);
    let (width, out) = (output.width, Parts::new(&mut output.values));
    multiply_heads(cpu, &layer.v_up, &input, (rows, heads), (&out, layer.value_dim));
    if let Some(gate) = gate {
        for_each_row(&cpu.pool, rows, &|row| {
            // SAFETY: every row is gated once.
            let out = unsafe { out.part(row * width, width) };
            for (head, out) in out.chunks_exact_mut(layer.value_dim).enumerate() {
                gate_head(isa, layer.attention.gate, gate.row(row), head, out);
            }
        });
    }
    cpu.scratch = scratch;
}

/// Multiplies each head of every row by its own matrix of a stack: `input` is `[rows, heads]` of the matrices' columns,
/// results start every `stride` elements of `out`.
pub(super) fn multiply_heads(
    cpu: &mut Cpu,
    linear: &Linear<Cpu>,
    input: &Input<'_>,
    (rows, heads): (usize, usize),
    (out, stride): (&Parts<'_, f32>, usize),
) {
    let (isa, pairs) = (cpu.isa, Product::of(linear, 0).pairs());
    for head in 0..heads {
        observe(std::iter::once(&linear.weight), head, input, (0..rows).map(|row| row * heads + head));
    }
    let count = rows.div_ceil(TOKENS_MAX) * heads * pairs;
    for_each_run(&cpu.pool, &mut cpu.workers, count, &|scratch, run| {
        for (block, pairs) in parts_of_blocks(run, pairs) {
            let (first_row, head) = (block / heads * TOKENS_MAX, block % heads);
            let mut list = [0; TOKENS_MAX];
            let list = &mut list[..TOKENS_MAX.min(rows - first_row)];
            list.iter_mut().enumerate().for_each(|(row, place)| *place = ((first_row + row) * heads + head) as u32);
            scratch.multiply_pairs(isa, &Product::of(linear, head), pairs, (input, list), |row, column, values| {
                // SAFETY: every row, head and panel is written once.
                unsafe { out.part(list[row] as usize * stride + column, values.len()) }.copy_from_slice(values);
            });
        }
    });
}
