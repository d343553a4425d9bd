//! What adapters add to products, as weights of a backend.

use std::cell::RefCell;

use lair_compute::{Backend, FeedForward, Linear, RowSelection};

use super::{Builder, width_index};
use crate::ModelError;
use crate::adapter::Adapter;

/// One adapter's part of a product: `output += factor * scale * up(down(input))`.
pub(crate) struct LowRank<B: Backend> {
    /// Which of the model's adapters, those of its own file first; the factor is asked for in each step.
    pub(crate) adapter_index: usize,
    /// `[rank, columns]`.
    pub(crate) down: Linear<B>,
    /// `[rows, rank]`.
    pub(crate) up: Linear<B>,
    /// By the adapter's alpha and rank.
    pub(crate) scale: f32,
    /// Which buffers hold the two products.
    pub(crate) rank_buffer: usize,
    pub(crate) rows_buffer: usize,
}

/// A product and what adapters add to it.
pub(crate) struct Adapted<B: Backend> {
    pub(crate) linear: Linear<B>,
    pub(crate) low_rank: Vec<LowRank<B>>,
}

/// A dense feed-forward network and what adapters add to its products.
pub(crate) struct DenseWeights<B: Backend> {
    pub(crate) network: FeedForward<B>,
    pub(crate) gate: Vec<LowRank<B>>,
    pub(crate) up: Vec<LowRank<B>>,
    pub(crate) down: Vec<LowRank<B>>,
    /// Which pair of buffers holds gate and up where they are computed apart, for an adapter or for the cutoff.
    pub(crate) wide_buffer: usize,
    /// How many standard deviations above their mean gates count, and the pair of buffers for that.
    pub(crate) gate_cutoff: Option<(f32, usize)>,
}

impl<B: Backend> DenseWeights<B> {
    /// What adapters add to any of its products.
    pub(crate) fn low_rank(&self) -> impl Iterator<Item = &LowRank<B>> {
        self.gate.iter().chain(&self.up).chain(&self.down)
    }
}

/// The adapters that a model is built with, and the widths of the buffers that they need.
#[derive(Default)]
pub(crate) struct AdapterParts<'a> {
    pub(crate) adapters: Vec<Adapter<'a>>,
    pub(crate) widths: RefCell<AdapterWidths>,
}

/// Distinct widths, each kind's in the order of their first use.
#[derive(Clone, Debug, Default)]
pub(crate) struct AdapterWidths {
    pub(crate) rank: Vec<usize>,
    pub(crate) rows: Vec<usize>,
    /// Of feed-forward networks that an adapter changes.
    pub(crate) ffn: Vec<usize>,
}

impl<B: Backend> Builder<'_, B> {
    /// A product with what adapters add to it.
    pub(super) fn adapted(&self, stem: &str) -> Result<Adapted<B>, ModelError> {
        Ok(Adapted { linear: self.linear(stem)?, low_rank: self.low_rank(stem, &RowSelection::All)? })
    }

    /// Some rows of a product with what adapters add to it.
    pub(super) fn adapted_rows(&self, stem: &str, rows: RowSelection) -> Result<Adapted<B>, ModelError> {
        Ok(Adapted { low_rank: self.low_rank(stem, &rows)?, linear: self.linear_rows(stem, rows)? })
    }

    /// What adapters add to some rows of the product `stem`.
    pub(super) fn low_rank(&self, stem: &str, rows: &RowSelection) -> Result<Vec<LowRank<B>>, ModelError> {
        let mut parts = self.own_low_rank(stem)?;
        for (adapter_index, adapter) in (self.own_adapter_count()..).zip(&self.adapters.adapters) {
            let Some((matrices, scale)) = adapter.matrices(stem, rows) else { continue };
            let widths = &mut *self.adapters.widths.borrow_mut();
            let rank_buffer = width_index(&mut widths.rank, matrices[0].rows());
            let rows_buffer = width_index(&mut widths.rows, matrices[1].rows());
            let [down, up] = &matrices;
            let linear =
                |source| Ok::<_, ModelError>(Linear { weight: self.backend.matrix(source)?, bias: None, scale: 1.0 });
            parts.push(LowRank {
                adapter_index,
                down: linear(down)?,
                up: linear(up)?,
                scale,
                rank_buffer,
                rows_buffer,
            });
        }
        Ok(parts)
    }
}
