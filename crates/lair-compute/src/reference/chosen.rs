//! The choice of keys, by sorting all units.

use super::attention::{slot, turn};
use super::{KvLayer, Reference, apply_norm, dot};
use crate::{Batch, KeyChooser, KeyChooserBuffers, KeyScoring, SequenceRows};

/// Which keys each row reads: `[row][choice][position]`.
#[derive(Debug, Default)]
pub struct Chosen {
    rows: Vec<Vec<Vec<bool>>>,
}

impl Chosen {
    /// Whether a row reads the key at a position; one choice serves all heads.
    pub(super) fn reads(&self, row: usize, kv_head: usize, position: usize) -> bool {
        let choices = &self.rows[row];
        choices[if choices.len() == 1 { 0 } else { kv_head }][position]
    }
}

/// The region.
pub(super) fn choose_keys(
    batch: &Batch<'_>,
    chooser: &KeyChooser<Reference>,
    layer: &mut KvLayer,
    buffers: KeyChooserBuffers<'_, Reference>,
    chosen: &mut Chosen,
) {
    let KeyChooserBuffers { q, mut k, weights } = buffers;
    chosen.rows.clear();
    for rows in batch.sequences {
        for index in 0..rows.row_count {
            let (row, position) = (rows.first_row + index, rows.first_position + index);
            let prepare = |values: &mut [f32], norm| {
                if let Some(norm) = norm {
                    apply_norm(norm, values);
                }
                if let Some(rope) = &chooser.rope {
                    values.chunks_exact_mut(chooser.head_dim).for_each(|head| turn(head, rope, position));
                }
            };
            prepare(q.row_mut(row), chooser.q_norm.as_ref());
            if let Some(k) = &mut k {
                prepare(k.row_mut(row), chooser.k_norm.as_ref());
                let slot = slot(rows.page_table, position);
                layer.keys[slot * layer.key_width..][..layer.key_width].copy_from_slice(k.row(row));
            }
            let weights = weights.map(|weights| weights.row(row));
            let choices = 0..chooser.choice_count();
            let choices = choices.map(|choice| choose(chooser, layer, (rows, position), (q.row(row), weights), choice));
            chosen.rows.push(choices.collect());
        }
    }
}

/// One choice of one row.
fn choose(
    chooser: &KeyChooser<Reference>,
    layer: &KvLayer,
    (rows, position): (&SequenceRows<'_>, usize),
    (query, weights): (&[f32], Option<&[f32]>),
    choice: usize,
) -> Vec<bool> {
    let heads: Vec<&[f32]> = query.chunks_exact(chooser.head_dim).collect();
    let score = |key_position: usize| {
        let key = &layer.keys[slot(rows.page_table, key_position) * layer.key_width..][..layer.key_width];
        match (chooser.scoring, weights) {
            (KeyScoring::Weighed, Some(weights)) => heads
                .iter()
                .zip(weights)
                .map(|(head, weight)| f64::from(*weight) * dot(head, key).max(0.0))
                .sum::<f64>(),
            (KeyScoring::Summed, _) => heads.iter().map(|head| dot(head, key).max(0.0)).sum::<f64>(),
            _ => dot(heads[choice], key),
        }
    };
    let unit = chooser.unit;
    let mut units: Vec<(f64, usize)> = (0..unit.count(position))
        .map(|index| match unit.comes_first(index, position) {
            true => (f64::INFINITY, index),
            false => (unit.scored(index, position).map(score).fold(f64::NEG_INFINITY, f64::max), index),
        })
        .collect();
    units.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut reads = vec![false; position + 1];
    reads[unit.always_read(position)].fill(true);
    for (_, index) in units.into_iter().take(chooser.chosen_count) {
        reads[unit.covered(index, position)].fill(true);
    }
    reads
}
