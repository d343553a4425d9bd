//! What low-rank adapters add in a step: `output[row] += factor[row] * up(down(input[row]))`.
//!
//! Sums that adapters add to are computed by the same regions as without them where that is possible, and in their basic
//! operations where not, which give the same bits. A row whose factors are 0 is therefore the same with and without
//! others beside it.

use lair_compute::{Backend, Batch, FeedForwardInput, Norm};

use crate::ModelError;
use crate::weights::{Adapted, AdapterWidths, DenseWeights, LowRank};

/// The buffers that adapters need, and the factors of the step.
pub(super) struct AdapterRoom<B: Backend> {
    /// How many of the adapters, the first ones, are the model's own.
    own_count: usize,
    /// For each adapter the factor of each row; empty lists where no row uses it.
    factors: Vec<Vec<f32>>,
    products: LowRankProducts<B>,
    /// `[rows, hidden_size]`: the input of products after its norm.
    normed: B::Buffer,
    /// `[rows, hidden_size]`: a product before its norm.
    product: B::Buffer,
    /// Gate and up of feed-forward networks, by width.
    wide: Vec<[B::Buffer; 2]>,
}

/// The narrow products and what they are widened to, by width.
struct LowRankProducts<B: Backend> {
    down: Vec<B::Buffer>,
    up: Vec<B::Buffer>,
}

impl<B: Backend> AdapterRoom<B> {
    pub(super) fn new(
        backend: &B,
        ((own_count, given_count), widths): ((usize, usize), &AdapterWidths),
        hidden_size: usize,
        rows_max: usize,
    ) -> Result<AdapterRoom<B>, ModelError> {
        let buffers = |widths: &[usize]| -> Result<Vec<B::Buffer>, ModelError> {
            widths.iter().map(|width| Ok(backend.buffer(rows_max, *width)?)).collect()
        };
        let pair = |width: &usize| -> Result<[B::Buffer; 2], ModelError> {
            Ok([backend.buffer(rows_max, *width)?, backend.buffer(rows_max, *width)?])
        };
        Ok(AdapterRoom {
            own_count,
            factors: (0..own_count + given_count).map(|_| Vec::with_capacity(rows_max)).collect(),
            products: LowRankProducts { down: buffers(&widths.rank)?, up: buffers(&widths.rows)? },
            normed: backend.buffer(rows_max, hidden_size)?,
            product: backend.buffer(rows_max, hidden_size)?,
            wide: widths.ffn.iter().map(pair).collect::<Result<_, _>>()?,
        })
    }

    /// Takes the factors of a step. An adapter that no row uses costs nothing in it.
    pub(super) fn begin(&mut self, batch: &Batch<'_>) {
        let count = self.factors.len() - self.own_count;
        for sequence in batch.sequences {
            let found = sequence.adapter_scales.len();
            assert!(found == 0 || found == count, "a sequence has factors for {found} adapters, the model has {count}");
        }
        for (index, factors) in self.factors[self.own_count..].iter_mut().enumerate() {
            factors.clear();
            let factor = |scales: &[f32]| scales.get(index).copied().unwrap_or(0.0);
            if batch.sequences.iter().any(|sequence| factor(sequence.adapter_scales) != 0.0) {
                for sequence in batch.sequences {
                    factors.extend(std::iter::repeat_n(factor(sequence.adapter_scales), sequence.row_count));
                }
            }
        }
    }

    /// Takes which of the model's own adapters each row uses.
    pub(super) fn switch(&mut self, slots: &[u32]) {
        for (factors, index) in self.factors[..self.own_count].iter_mut().zip(0..) {
            factors.clear();
            if slots.contains(&index) {
                factors.extend(slots.iter().map(|slot| if *slot == index { 1.0 } else { 0.0 }));
            }
        }
    }

    /// Leaves only these rows, which ascend.
    pub(super) fn keep_rows(&mut self, kept: &[usize]) {
        for factors in self.factors.iter_mut().filter(|factors| !factors.is_empty()) {
            kept.iter().enumerate().for_each(|(to, &from)| factors[to] = factors[from]);
            factors.truncate(kept.len());
        }
    }

    /// Whether any of these parts is used in this step.
    pub(super) fn uses<'a>(&self, mut parts: impl Iterator<Item = &'a LowRank<B>>) -> bool
    where
        B: 'a,
    {
        parts.any(|part| !self.factors[part.adapter_index].is_empty())
    }

    /// Adds to products of `norm(input)`, each with its output.
    pub(super) fn add_to_projections(
        &mut self,
        backend: &mut B,
        rows: usize,
        norm: Option<&Norm<B>>,
        input: &B::Buffer,
        outputs: &mut [(&Adapted<B>, &mut B::Buffer)],
    ) {
        if !self.uses(outputs.iter().flat_map(|(product, _)| &product.low_rank)) {
            return;
        }
        let input = normed_input(backend, rows, norm, input, &mut self.normed);
        for (product, output) in outputs {
            self.products.add(backend, &self.factors, &product.low_rank, input, output);
        }
    }

    /// Output and residual with what adapters add: `residual += scale * post_norm(linear(input) + ...)`.
    pub(super) fn project_add(
        &mut self,
        backend: &mut B,
        rows: usize,
        input: &B::Buffer,
        weights: &Adapted<B>,
        after: (Option<&Norm<B>>, f32),
        residual: &mut B::Buffer,
    ) {
        let Self { factors, products, normed, product, .. } = self;
        backend.project(rows, None, input, &mut [(&weights.linear, &mut *product)]);
        products.add(backend, factors, &weights.low_rank, input, product);
        add_normed(backend, rows, after, (product, normed), residual);
    }

    /// A dense feed-forward network in its basic operations, with what adapters add to each product.
    pub(super) fn feed_forward(
        &mut self,
        backend: &mut B,
        rows: usize,
        weights: &DenseWeights<B>,
        input: FeedForwardInput<'_, B>,
        residual: &mut B::Buffer,
    ) {
        let network = &weights.network;
        let Self { factors, products, normed, product, wide, .. } = self;
        let [gate, up] = &mut wide[weights.wide_buffer];
        let input = match &input {
            FeedForwardInput::Residual => &*residual,
            FeedForwardInput::Buffer(buffer) => *buffer,
        };
        let input = normed_input(backend, rows, network.norm.as_ref(), input, normed);
        match &network.gate {
            Some(linear) => backend.project(rows, None, input, &mut [(linear, &mut *gate), (&network.up, &mut *up)]),
            None => backend.project(rows, None, input, &mut [(&network.up, &mut *up)]),
        }
        products.add(backend, factors, &weights.gate, input, gate);
        products.add(backend, factors, &weights.up, input, up);
        if let Some((cutoff, _)) = weights.gate_cutoff {
            backend.keep_largest(rows, cutoff, gate);
        }
        backend.activate(rows, network.activation, network.gate.as_ref().map(|_| &*gate), up);
        let inner = match &network.inner_norm {
            None => &*up,
            Some(norm) => {
                backend.norm(rows, norm, up, gate);
                &*gate
            }
        };
        backend.project(rows, None, inner, &mut [(&network.down, &mut *product)]);
        products.add(backend, factors, &weights.down, inner, product);
        let after = (network.post_norm.as_ref(), network.residual_scale);
        add_normed(backend, rows, after, (product, normed), residual);
    }
}

impl<B: Backend> LowRankProducts<B> {
    /// `output += factor * scale * up(down(input))` for each adapter that is used.
    fn add(
        &mut self,
        backend: &mut B,
        factors: &[Vec<f32>],
        low_rank: &[LowRank<B>],
        input: &B::Buffer,
        output: &mut B::Buffer,
    ) {
        for part in low_rank {
            let factors = &factors[part.adapter_index];
            if factors.is_empty() {
                continue;
            }
            let rows = factors.len();
            let (down, up) = (&mut self.down[part.rank_buffer], &mut self.up[part.rows_buffer]);
            backend.project(rows, None, input, &mut [(&part.down, &mut *down)]);
            backend.scale_rows(factors, down);
            backend.project(rows, None, down, &mut [(&part.up, &mut *up)]);
            backend.add(rows, up, part.scale, output);
        }
    }
}

/// `residual += scale * post_norm(product)`.
fn add_normed<B: Backend>(
    backend: &mut B,
    rows: usize,
    (post_norm, scale): (Option<&Norm<B>>, f32),
    (product, normed): (&B::Buffer, &mut B::Buffer),
    residual: &mut B::Buffer,
) {
    match post_norm {
        None => backend.add(rows, product, scale, residual),
        Some(norm) => {
            backend.norm(rows, norm, product, normed);
            backend.add(rows, normed, scale, residual);
        }
    }
}

/// The input of products, in `normed` if there is a norm.
fn normed_input<'a, B: Backend>(
    backend: &mut B,
    rows: usize,
    norm: Option<&Norm<B>>,
    input: &'a B::Buffer,
    normed: &'a mut B::Buffer,
) -> &'a B::Buffer {
    match norm {
        None => input,
        Some(norm) => {
            backend.norm(rows, norm, input, normed);
            normed
        }
    }
}
