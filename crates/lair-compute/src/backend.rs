//! The seam between a model and the machine that runs it.

use crate::{
    Activation, Attention, AttentionBuffers, Batch, CompressedAttention, CompressedAttentionBuffers, ComputeError,
    Convolution, ConvolutionBuffers, DecayedAttention, DecayedAttentionBuffers, DeltaRule, DeltaRuleBuffers, Experts,
    ExpertsInput, FeedForward, FeedForwardInput, Head, KeyChooser, KeyChooserBuffers, KeyCompressor,
    KeyCompressorBuffers, KvLayout, LatentAttention, LatentBuffers, Linear, MatrixBytes, Norm, PageId, Rwkv6,
    Rwkv6Buffers, Rwkv7, Rwkv7Buffers, ShiftedRows, StateLayout, StateSlot, StateSpace, StateSpaceBuffers,
    StreamFactors, TokenShift, VectorBytes,
};

/// Products whose errors cost more than those of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatrixRole {
    /// Hidden states to logits.
    Head,
    /// Hidden states to queries, keys and values of attention.
    AttentionInput,
}

/// Runs the regions of a step.
///
/// A backend makes weights at load time and from then on computes. What it is given was checked and allocated before, so
/// regions return nothing and allocate nothing. Rows are tokens; a buffer has room for as many as it was made for, and a
/// region works on the first `rows` of it (or on those of its batch).
///
/// Results for a row do not depend on the other rows of the batch, nor on the number of threads: bit-equal on a CPU.
/// Every region is checked against [`crate::reference::Reference`] by the conformance suite.
pub trait Backend: Sized + Send + 'static {
    /// An immutable matrix, or a stack of them, in the backend's own layout. A clone shares the weights.
    type Matrix: Clone + Send + Sync;
    /// An immutable vector of f32.
    type Vector: Send + Sync;
    /// Activations: f32, `[rows, width]`.
    type Buffer: Send;
    /// Pages of keys and values of every attention layer.
    type Kv: Send;
    /// Slots of recurrent state of every recurrent layer.
    type States: Send;
    /// Which keys the rows of a step read.
    type Chosen: Send;

    /// A matrix in the backend's layout, from the model file.
    fn matrix(&self, source: &MatrixBytes) -> Result<Self::Matrix, ComputeError>;

    /// The same matrix in a role that it has in the model: a backend may multiply it more exactly there.
    fn in_role(&self, matrix: Self::Matrix, _role: MatrixRole) -> Self::Matrix {
        matrix
    }

    /// A vector in the backend's layout, from the model file.
    fn vector(&self, source: &VectorBytes) -> Result<Self::Vector, ComputeError>;

    /// Why weights are not what they were when they were loaded, if so: what was computed since is wrong. Only weights
    /// that lie outside of the backend's own memory can change.
    fn damage(&self) -> Option<String> {
        None
    }

    /// Room for activations, zeroed.
    fn buffer(&self, rows: usize, width: usize) -> Result<Self::Buffer, ComputeError>;

    /// Makes room for the backend's own scratch: steps of up to `rows` rows, products of up to `width` elements.
    fn reserve(&mut self, rows: usize, width: usize) -> Result<(), ComputeError>;

    /// Makes room for what a mixture of experts needs beside that, in steps of up to `rows` rows.
    fn reserve_experts(&mut self, rows: usize, experts: &Experts<Self>) -> Result<(), ComputeError>;

    /// Pages of keys and values.
    fn kv(&self, layout: &KvLayout) -> Result<Self::Kv, ComputeError>;

    /// Room for choices of keys: so many for each of so many rows, in contexts of so many positions.
    fn chosen(&self, rows: usize, choices: usize, positions: usize) -> Result<Self::Chosen, ComputeError>;

    /// Slots of recurrent state, zeroed.
    fn states(&self, layout: &StateLayout) -> Result<Self::States, ComputeError>;

    /// Copies a page on every layer (copy on write).
    fn copy_page(&mut self, kv: &mut Self::Kv, from: PageId, to: PageId);

    /// Bytes of a page over all layers, as they are read and written.
    fn page_bytes(&self, kv: &Self::Kv) -> usize;

    /// Copies a page on every layer to host memory, in this backend's own layout.
    fn read_page(&self, kv: &Self::Kv, page: PageId, bytes: &mut [u8]);

    /// Copies a page that was read back to every layer.
    fn write_page(&mut self, kv: &mut Self::Kv, page: PageId, bytes: &[u8]);

    /// Zeroes a slot on every layer: the state before the first token.
    fn clear_state(&mut self, states: &mut Self::States, slot: StateSlot);

    /// Copies a slot on every layer: takes or restores a checkpoint.
    fn copy_state(&mut self, states: &mut Self::States, from: StateSlot, to: StateSlot);

    /// Bytes of a slot over all layers, as they are read and written.
    fn state_bytes(&self, states: &Self::States) -> usize;

    /// Copies a slot on every layer to host memory, in this backend's own layout.
    fn read_state(&self, states: &Self::States, slot: StateSlot, bytes: &mut [u8]);

    /// Copies a slot that was read back to every layer.
    fn write_state(&mut self, states: &mut Self::States, slot: StateSlot, bytes: &[u8]);

    /// `output[row] = scale * table[tokens[row]]`. Tokens have been checked against the table.
    /// One after the other, so that a row which is several times as wide as the table's takes as many of them.
    fn embed(&mut self, table: &Self::Matrix, tokens: &[u32], scale: f32, output: &mut Self::Buffer);

    /// `output[row] += table[positions[row]]`: learned positions.
    fn embed_positions(&mut self, table: &Self::Matrix, batch: &Batch<'_>, output: &mut Self::Buffer);

    /// `output[row] = norm(input[row])`. Input and output have the same width.
    fn norm(&mut self, rows: usize, norm: &Norm<Self>, input: &Self::Buffer, output: &mut Self::Buffer);

    /// Norm and project: each output becomes its linear product of `norm(input)`, which is computed (and quantised) once.
    fn project(
        &mut self,
        rows: usize,
        norm: Option<&Norm<Self>>,
        input: &Self::Buffer,
        products: &mut [(&Linear<Self>, &mut Self::Buffer)],
    );

    /// Norms, rotary embedding, storing keys and values, and attention over what each row sees.
    fn attention(
        &mut self,
        batch: &Batch<'_>,
        attention: &Attention<Self>,
        kv: &mut Self::Kv,
        buffers: AttentionBuffers<'_, Self>,
    );

    /// Attention over compressed keys and values: norm and rotary embedding of the compressed row, which is stored, queries
    /// taken to the compressed space, attention there, and results taken back.
    fn latent_attention(
        &mut self,
        batch: &Batch<'_>,
        layer: &LatentAttention<Self>,
        kv: &mut Self::Kv,
        buffers: LatentBuffers<'_, Self>,
    );

    /// Norms and turns an indexer's queries and keys, stores the keys, and chooses for every row what it reads.
    fn choose_keys(
        &mut self,
        batch: &Batch<'_>,
        chooser: &KeyChooser<Self>,
        kv: &mut Self::Kv,
        buffers: KeyChooserBuffers<'_, Self>,
        chosen: &mut Self::Chosen,
    );

    /// Makes and stores the compressed keys that the rows complete; the state keeps what the next step needs.
    fn compress_keys(
        &mut self,
        batch: &Batch<'_>,
        compressor: &KeyCompressor<Self>,
        states: &mut Self::States,
        kv: &mut Self::Kv,
        buffers: KeyCompressorBuffers<'_, Self>,
    );

    /// Attention over a window and compressed keys beside it.
    fn compressed_attention(
        &mut self,
        batch: &Batch<'_>,
        layer: &CompressedAttention<Self>,
        kv: &mut Self::Kv,
        buffers: CompressedAttentionBuffers<'_, Self>,
    );

    /// A causal convolution over each channel's last tokens; the state keeps what the next step needs of them.
    fn convolve(
        &mut self,
        batch: &Batch<'_>,
        layer: &Convolution<Self>,
        states: &mut Self::States,
        buffers: ConvolutionBuffers<'_, Self>,
    );

    /// The gated delta rule with its norm and gate.
    fn delta_rule(
        &mut self,
        batch: &Batch<'_>,
        layer: &DeltaRule<Self>,
        states: &mut Self::States,
        buffers: DeltaRuleBuffers<'_, Self>,
    );

    /// Linear attention with a constant decay, with its norm and gate.
    fn decayed_attention(
        &mut self,
        batch: &Batch<'_>,
        layer: &DecayedAttention<Self>,
        states: &mut Self::States,
        buffers: DecayedAttentionBuffers<'_, Self>,
    );

    /// Mixes each row with the one before it in its sequence, once for each output.
    fn token_shift(
        &mut self,
        batch: &Batch<'_>,
        layer: &TokenShift<Self>,
        states: &mut Self::States,
        input: &Self::Buffer,
        outputs: &mut [ShiftedRows<'_, Self>],
    );

    /// `values += (other - values) * sigmoid(mix)`, in the first `rows` rows.
    fn blend(&mut self, rows: usize, mix: &Self::Buffer, other: &Self::Buffer, values: &mut Self::Buffer);

    /// The time mixing of RWKV-6 with its norm and gate.
    fn rwkv6(
        &mut self,
        batch: &Batch<'_>,
        layer: &Rwkv6<Self>,
        states: &mut Self::States,
        buffers: Rwkv6Buffers<'_, Self>,
    );

    /// The time mixing of RWKV-7 with its norm and gate.
    fn rwkv7(
        &mut self,
        batch: &Batch<'_>,
        layer: &Rwkv7<Self>,
        states: &mut Self::States,
        buffers: Rwkv7Buffers<'_, Self>,
    );

    /// A state space with its gate and norm.
    fn state_space(
        &mut self,
        batch: &Batch<'_>,
        layer: &StateSpace<Self>,
        states: &mut Self::States,
        buffers: StateSpaceBuffers<'_, Self>,
    );

    /// Output and residual: `residual += scale * post_norm(linear(input))`.
    fn project_add(
        &mut self,
        rows: usize,
        input: &Self::Buffer,
        linear: &Linear<Self>,
        post_norm: Option<&Norm<Self>>,
        scale: f32,
        residual: &mut Self::Buffer,
    );

    /// A feed-forward network, added to the residual stream.
    fn feed_forward(
        &mut self,
        rows: usize,
        network: &FeedForward<Self>,
        input: FeedForwardInput<'_, Self>,
        residual: &mut Self::Buffer,
    );

    /// A mixture of experts, added to the residual stream.
    fn experts(
        &mut self,
        rows: usize,
        experts: &Experts<Self>,
        input: ExpertsInput<'_, Self>,
        residual: &mut Self::Buffer,
    );

    /// Copies the first `rows` rows.
    fn copy(&mut self, rows: usize, input: &Self::Buffer, output: &mut Self::Buffer);

    /// `output += scale * input`, in the first `rows` rows.
    fn add(&mut self, rows: usize, input: &Self::Buffer, scale: f32, output: &mut Self::Buffer);

    /// `buffer[row] *= factors[row]` in the first rows. A factor of 0 gives zeros, whatever was there.
    fn scale_rows(&mut self, factors: &[f32], buffer: &mut Self::Buffer);

    /// `wide = activation(gate) * wide`, without a gate `activation(wide)`, in the first `rows` rows: the middle of
    /// [`Backend::feed_forward`], to the bit.
    fn activate(&mut self, rows: usize, activation: Activation, gate: Option<&Self::Buffer>, wide: &mut Self::Buffer);

    /// `output[row] = input[row][start..]`: as many columns as `output` has.
    fn copy_columns(&mut self, rows: usize, input: &Self::Buffer, start: usize, output: &mut Self::Buffer);

    /// `outputs[i][row] += sum over j of coefficients[row][i * inputs + j] * inputs[j][row]` (AltUp).
    fn add_mixed(
        &mut self,
        rows: usize,
        coefficients: &Self::Buffer,
        inputs: &[Self::Buffer],
        outputs: &mut [Self::Buffer],
    );

    /// The mean of equal parts of each row, as many as `output` goes into it.
    fn mean_of_parts(&mut self, rows: usize, input: &Self::Buffer, output: &mut Self::Buffer);

    /// `parts[row][p * width + i] += magnitude * factors[row][p] * added[row][i]`; the factors are 1 where there are none.
    fn add_to_parts(
        &mut self,
        rows: usize,
        factors: (Option<&Self::Buffer>, f32),
        added: &Self::Buffer,
        parts: &mut Self::Buffer,
    );

    /// Values for each part, by how alike the parts of keys and queries are:
    /// `output[row][p * width + i] = values[row][i] * sigmoid(root(keys[row][p] . queries[row][p] / sqrt(width)))` with
    /// `root(x) = sign(x) * sqrt(max(|x|, 1e-6))`.
    fn gate_by_likeness(
        &mut self,
        rows: usize,
        keys_and_queries: (&Self::Buffer, &Self::Buffer),
        values: &Self::Buffer,
        output: &mut Self::Buffer,
    );

    /// The mean of states of a row that were kept and of the row as it stands, weighed by the softmax of their scores: the sum
    /// of what `score`, an RMS norm of whole rows, makes of each.
    fn mix_banked(
        &mut self,
        rows: usize,
        score: &Norm<Self>,
        banked: &[Self::Buffer],
        current: &Self::Buffer,
        output: &mut Self::Buffer,
    );

    /// Every stream becomes the input: `streams` is `[rows, count * width]`.
    fn spread_stream(&mut self, rows: usize, input: &Self::Buffer, streams: &mut Self::Buffer);

    /// Makes of `products`, in place, the factors that [`StreamFactors`] describes, and reads a mixture of the streams.
    fn read_streams(
        &mut self,
        rows: usize,
        layer: &StreamFactors,
        products: &mut Self::Buffer,
        streams: &Self::Buffer,
        output: &mut Self::Buffer,
    );

    /// Adds to all streams, by factors that [`Backend::read_streams`] has made.
    fn write_streams(
        &mut self,
        rows: usize,
        layer: &StreamFactors,
        factors: &Self::Buffer,
        added: &Self::Buffer,
        streams: &mut Self::Buffer,
    );

    /// Each row of `buffer` is scaled to the length of `target`'s.
    fn match_lengths(&mut self, rows: usize, target: &Self::Buffer, buffer: &mut Self::Buffer);

    /// Of each row what lies more than so many standard deviations above its mean, less that bound; 0 elsewhere
    /// (Gemma 3n).
    fn keep_largest(&mut self, rows: usize, deviations: f32, buffer: &mut Self::Buffer);

    /// Moves rows to the front: row `i` becomes what row `rows[i]` was. `rows` ascends. What lies behind is of no use after.
    fn keep_rows(&mut self, rows: &[usize], buffer: &mut Self::Buffer);

    /// `logits[i] = head(input[rows_wanted[i]])`, `[rows_wanted, vocabulary_size]`, in host memory.
    fn head(&mut self, head: &Head<Self>, rows_wanted: &[usize], input: &Self::Buffer, logits: &mut [f32]);

    /// Copies the first `rows` rows of a buffer to host memory (activation dumps, embeddings).
    fn read(&self, rows: usize, buffer: &Self::Buffer, values: &mut [f32]);
}
