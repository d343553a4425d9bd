//! Adapters of the model's own file, and what finds out which of them a row uses.

use std::collections::HashMap;
use std::sync::Arc;

use lair_compute::{
    Attention, Backend, KeyStorage, KvLayerLayout, Linear, Mask, MatrixBytes, NormOrder, OutputGate, RowSelection,
};
use lair_gguf::TensorType;

use super::low_rank::LowRank;
use super::{Builder, width_index};
use crate::ModelError;
use crate::config::SwitchConfig;

/// Elements of the rows by which the token that switched is found: a block of every type of keys and values. All elements of
/// a row are the same, which every type keeps well, turned or not.
pub(crate) const WIDTH: usize = 32;

/// Attention of one head, in which tokens that switch have keys that stand out, and values that are their adapter's number.
pub(crate) struct SwitchWeights<B: Backend> {
    /// By token the number of its adapter, and the token that is embedded in its stead.
    pub(crate) tokens: HashMap<u32, (u32, u32)>,
    /// What a row can use.
    pub(crate) slot_count: usize,
    /// One row.
    pub(crate) queries: B::Matrix,
    /// The row of tokens that do not switch, then that of those that do.
    pub(crate) keys: B::Matrix,
    /// By number.
    pub(crate) values: B::Matrix,
    pub(crate) region: Attention<B>,
    /// Queries, keys, values, results.
    pub(crate) rooms: [usize; 4],
}

impl<B: Backend> Builder<'_, B> {
    /// What finds out which adapter a row uses.
    pub(crate) fn switch(&mut self, switch: &SwitchConfig) -> Result<SwitchWeights<B>, ModelError> {
        let row = |value: f32| [value; WIDTH];
        let slots: Vec<[f32; WIDTH]> = (0..switch.slot_count()).map(|slot| row(slot as f32)).collect();
        let gain = switch.gain / WIDTH as f32;
        let numbered = switch.tokens.iter().zip(1..).map(|(&(token, embedded), slot)| (token, (slot, embedded)));
        self.memory.kv.push(KvLayerLayout { kv_head_count: 1, key_dim: WIDTH, value_dim: WIDTH });
        self.widths.has_switch = true;
        Ok(SwitchWeights {
            tokens: numbered.collect(),
            slot_count: switch.slot_count(),
            queries: self.rows_of(&[row(1.0)])?,
            keys: self.rows_of(&[row(-gain), row(gain)])?,
            values: self.rows_of(&slots)?,
            region: Attention {
                kv_layer: self.memory.kv.len() - 1,
                head_count: 1,
                kv_head_count: 1,
                key_dim: WIDTH,
                value_dim: WIDTH,
                q_norm: None,
                k_norm: None,
                v_norm: None,
                norm_order: NormOrder::BeforeRope,
                rope: None,
                scale: 1.0,
                clamp: None,
                softcap: None,
                mask: Mask::Causal,
                sinks: None,
                key_constant: None,
                relative_bias: None,
                alibi_slopes: None,
                key_storage: KeyStorage::Whole,
                temperature: None,
                gate: OutputGate::SIGMOID,
            },
            rooms: self.widths.rooms([WIDTH; 4]),
        })
    }

    fn rows_of(&self, rows: &[[f32; WIDTH]]) -> Result<B::Matrix, ModelError> {
        let bytes: Vec<u8> = rows.as_flattened().iter().flat_map(|value| value.to_le_bytes()).collect();
        Ok(self.backend.matrix(&MatrixBytes {
            name: "rows that switch adapters".to_owned(),
            bytes: Arc::new(bytes),
            tensor_type: TensorType::F32,
            columns: WIDTH,
            stored_rows: rows.len(),
            count: 1,
            selection: RowSelection::All,
        })?)
    }

    /// What the model's own adapters add to the product `stem`. One whose matrices are zeros adds nothing.
    pub(super) fn own_low_rank(&self, stem: &str) -> Result<Vec<LowRank<B>>, ModelError> {
        let [down, up] = ["lora_a", "lora_b"].map(|end| format!("{stem}.{end}"));
        if !self.source.has(&down) {
            return Ok(Vec::new());
        }
        let stored = self.source.matrix(&up, RowSelection::All);
        let (rank, rows, count) = (stored.columns, stored.stored_rows, stored.count);
        let values = self.values(&up)?;
        let mut parts = Vec::new();
        for (slot, values) in values.chunks_exact(rank * rows).enumerate().take(count) {
            if values.iter().all(|value| *value == 0.0) {
                continue;
            }
            let widths = &mut *self.adapters.widths.borrow_mut();
            let linear = |name: &str, rows: usize| {
                let weight = self.flat_matrix_rows(name, RowSelection::Range(slot * rows..(slot + 1) * rows))?;
                Ok::<_, ModelError>(Linear { weight, bias: None, scale: 1.0 })
            };
            parts.push(LowRank {
                adapter_index: slot,
                down: linear(&down, rank)?,
                up: linear(&up, rows)?,
                scale: 1.0,
                rank_buffer: width_index(&mut widths.rank, rank),
                rows_buffer: width_index(&mut widths.rows, rows),
            });
        }
        Ok(parts)
    }

    /// Adapters of the model's own, which stand before those that it is loaded with.
    pub(super) fn own_adapter_count(&self) -> usize {
        self.config.switch.as_ref().map_or(0, SwitchConfig::slot_count)
    }
}
