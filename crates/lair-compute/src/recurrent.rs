//! What the regions of recurrent mixers are told: the resolved parameters of one layer, with its weights.
//!
//! All of them keep a state in a slot of [`crate::StateLayout`]; a backend lays it out as it likes.

use crate::{Activation, Backend, Norm};

/// Columns of a buffer, from `first` on; a region knows how many it reads.
pub struct Columns<'a, B: Backend> {
    /// `[rows, width]`.
    pub buffer: &'a B::Buffer,
    /// The first one that is read.
    pub first: usize,
}

/// A causal convolution over the last tokens, channel by channel:
/// `output = activation(bias + sum(weight[tap] * input[row - length + 1 + tap]))`.
///
/// State: the last `length - 1` inputs of every channel.
pub struct Convolution<B: Backend> {
    /// Index among the recurrent layers of the state.
    pub state_layer: usize,
    /// Taps.
    pub length: usize,
    /// `[channels, length]`, the newest last.
    pub weight: B::Vector,
    /// One for each channel.
    pub bias: Option<B::Vector>,
    /// What follows.
    pub activation: Option<Activation>,
}

/// The buffers of a convolution, `[rows, channels]` each.
pub struct ConvolutionBuffers<'a, B: Backend> {
    /// What is convolved.
    pub input: &'a B::Buffer,
    /// Multiplies the input before.
    pub input_factor: Option<&'a B::Buffer>,
    /// Multiplies the output after.
    pub output_factor: Option<&'a B::Buffer>,
    /// The result.
    pub output: &'a mut B::Buffer,
}

/// How fast a state space forgets: `exp(factor * time_step)`, factors being negative.
pub enum StateDecay<B: Backend> {
    /// One factor a head, `[head_count]` (Mamba-2).
    Head(B::Vector),
    /// One for each element of the state, `[state_size, head_count]`; heads have one element (Mamba).
    Element(B::Vector),
}

/// A state space whose step depends on the token (Gu and Dao, "Mamba"; Dao and Gu, "Transformers are SSMs").
///
/// Per element `i` of a head and element `n` of the state, with `step = softplus(time_step + time_step_bias)`:
/// `h[n, i] = decay * h[n, i] + b[n] * step * x[i]; y[i] = sum(c[n] * h[n, i]) + skip * x[i]`, and
/// `output = norm(y * silu(gate))`. Heads of one group share `b` and `c`.
///
/// State: `head_count * head_dim * state_size` elements.
pub struct StateSpace<B: Backend> {
    /// Index among the recurrent layers of the state.
    pub state_layer: usize,
    /// Heads.
    pub head_count: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Groups of heads; divides their number.
    pub group_count: usize,
    /// Elements of the state for each element of a head.
    pub state_size: usize,
    /// How fast it forgets.
    pub decay: StateDecay<B>,
    /// Added to the time steps, `[head_count]`.
    pub time_step_bias: Option<B::Vector>,
    /// Factor of the direct path, `[head_count]`.
    pub skip: B::Vector,
    /// Norm of the gated output.
    pub norm: Option<Norm<B>>,
}

/// The buffers of a state space.
pub struct StateSpaceBuffers<'a, B: Backend> {
    /// `[rows, head_count * head_dim]`.
    pub x: Columns<'a, B>,
    /// `[rows, group_count * state_size]`: what goes into the state.
    pub b: Columns<'a, B>,
    /// `[rows, group_count * state_size]`: what is read of it.
    pub c: Columns<'a, B>,
    /// `[rows, head_count]`.
    pub time_step: &'a B::Buffer,
    /// `[rows, head_count * head_dim]`.
    pub gate: &'a B::Buffer,
    /// `[rows, head_count * head_dim]`.
    pub output: &'a mut B::Buffer,
}

/// Whose keys and queries a value head takes where there are fewer of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyHeads {
    /// Head `i` those of `i % key_head_count` (Qwen 3.5, whose converter lays them out so).
    InTurn,
    /// Neighbours share (Qwen3-Next).
    Neighbours,
}

/// How the decay's input becomes the logarithm of the decay, with `x = alpha + dt_bias`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DecayForm {
    /// `a * softplus(x)`.
    Softplus,
    /// `bound * sigmoid(slope * a * x)`: no less than the bound (Kimi K3, Ling 3).
    Bounded {
        /// The lowest logarithm, negative.
        bound: f32,
        /// Factor within the sigmoid: 1, or -1 where `a` is stored negative.
        slope: f32,
    },
}

/// The gated delta rule (Yang et al., "Gated Delta Networks", section 3), with a decay for each head, or for each key
/// element (Kimi Team, "Kimi Linear", section 3).
///
/// Per value head: `S = exp(g) * S; S += k (v - k^T S)^T * beta; o = q^T S` with `g` by [`DecayForm`], `beta =
/// sigmoid(beta)`, queries and keys of length one, the query scaled by `1/sqrt(key_dim)`.
///
/// State: `value_head_count * key_dim * value_dim` elements.
pub struct DeltaRule<B: Backend> {
    /// Index among the recurrent layers of the state.
    pub state_layer: usize,
    /// Heads of queries and keys.
    pub key_head_count: usize,
    /// Heads of values; a multiple of `key_head_count`.
    pub value_head_count: usize,
    /// Elements of a query or key head.
    pub key_dim: usize,
    /// Elements of a value head.
    pub value_dim: usize,
    /// Which key head a value head takes.
    pub key_heads: KeyHeads,
    /// How the decay is made.
    pub decay_form: DecayForm,
    /// Decays of a head: 1, or `key_dim`.
    pub decay_width: usize,
    /// `[value_head_count]`: the decay's factor.
    pub a: B::Vector,
    /// `[value_head_count * decay_width]`: added to alpha.
    pub dt_bias: B::Vector,
    /// RMS norm of each head's output, before it is multiplied by its gate.
    pub norm: Norm<B>,
    /// What the gate goes through: SiLU or sigmoid.
    pub gate_activation: Activation,
    /// What is added to the square of the length of a query or key, which are then divided by its root.
    pub unit_epsilon: f32,
}

/// The buffers of a delta rule.
pub struct DeltaRuleBuffers<'a, B: Backend> {
    /// `[rows, key_head_count * key_dim]`.
    pub q: Columns<'a, B>,
    /// `[rows, key_head_count * key_dim]`.
    pub k: Columns<'a, B>,
    /// `[rows, value_head_count * value_dim]`.
    pub v: Columns<'a, B>,
    /// `[rows, value_head_count * decay_width]`.
    pub alpha: &'a B::Buffer,
    /// `[rows, value_head_count]`.
    pub beta: &'a B::Buffer,
    /// `[rows, value_head_count * value_dim]`.
    pub gate: &'a B::Buffer,
    /// `[rows, value_head_count * value_dim]`.
    pub output: &'a mut B::Buffer,
}

impl<B: Backend> DeltaRule<B> {
    /// The key head that a value head takes.
    pub(crate) fn key_head(&self, head: usize) -> usize {
        match self.key_heads {
            KeyHeads::InTurn => head % self.key_head_count,
            KeyHeads::Neighbours => head / (self.value_head_count / self.key_head_count),
        }
    }
}

/// Linear attention with a decay that is the same for all tokens (Qin et al., "Lightning Attention-2").
///
/// Per head: `S = decay * S + k v^T; o = q^T S`.
///
/// State: `head_count * head_dim * head_dim` elements.
pub struct DecayedAttention<B: Backend> {
    /// Index among the recurrent layers of the state.
    pub state_layer: usize,
    /// Heads.
    pub head_count: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// What each head keeps of its state.
    pub decays: Vec<f32>,
    /// What queries, keys and values go through before.
    pub activation: Option<Activation>,
    /// Norm of the output.
    pub norm: Norm<B>,
}

/// The buffers of a decayed attention, `[rows, head_count * head_dim]` each.
pub struct DecayedAttentionBuffers<'a, B: Backend> {
    /// Changed in place.
    pub q: &'a mut B::Buffer,
    /// Changed in place.
    pub k: &'a mut B::Buffer,
    /// Changed in place.
    pub v: &'a mut B::Buffer,
    /// The output is multiplied by its sigmoid.
    pub gate: &'a B::Buffer,
    /// The result.
    pub output: &'a mut B::Buffer,
}

/// Whether a token shift is the last one of its layer in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShiftHistory {
    /// Another one follows, with the same rows.
    Kept,
    /// The last row of each sequence becomes the one before the next step's first.
    Moved,
}

/// Mixes each row with the one before it (Peng et al., "RWKV"):
/// `output[i] = x + (previous - x) * (weights[i] + offset[i])`.
///
/// State: the last row, in place of a convolution's history.
pub struct TokenShift<B: Backend> {
    /// Index among the recurrent layers of the state.
    pub state_layer: usize,
    /// For each output, `[width]`.
    pub weights: Vec<B::Vector>,
    /// Whether the state moves on.
    pub history: ShiftHistory,
}

/// An output of a token shift and what is added to its weights, `[rows, width]` each.
pub struct ShiftedRows<'a, B: Backend> {
    /// Absent where the weights are the same for all tokens.
    pub offset: Option<&'a B::Buffer>,
    /// The result.
    pub output: &'a mut B::Buffer,
}

/// The time mixing of RWKV-6 (Peng et al., "Eagle and Finch", section 3).
///
/// Per head, with `w = exp(-exp(decay))`: `o = r^T (S + diag(first) k v^T); S = diag(w) S + k v^T`, and `output = norm(o) *
/// silu(gate)`.
///
/// State: `head_count * head_dim * head_dim` elements.
pub struct Rwkv6<B: Backend> {
    /// Index among the recurrent layers of the state.
    pub state_layer: usize,
    /// Heads.
    pub head_count: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// `[head_count * head_dim]`: weight of the token itself.
    pub first: B::Vector,
    /// Norm of each head's output.
    pub norm: Norm<B>,
}

/// The buffers of RWKV-6's time mixing, `[rows, head_count * head_dim]` each.
pub struct Rwkv6Buffers<'a, B: Backend> {
    /// What is read.
    pub r: &'a B::Buffer,
    /// Keys.
    pub k: &'a B::Buffer,
    /// Values.
    pub v: &'a B::Buffer,
    /// The decay's input.
    pub decay: &'a B::Buffer,
    /// Multiplies the output by its SiLU.
    pub gate: &'a B::Buffer,
    /// The result.
    pub output: &'a mut B::Buffer,
}

/// The time mixing of RWKV-7 (Peng et al., "RWKV-7 Goose", section 4).
///
/// Per head, with `w = exp(-exp(-1/2) sigmoid(decay))`, `a = sigmoid(rate)`, `e` the keys times `key_scale` brought to
/// length one, and `k = k (1 + (a - 1) key_rate)`: `S = diag(w) S - (a e) (e^T S)^T + k v^T; o = r^T S`, and
/// `output = (norm(o) + v sum(r k bonus)) * gate`.
///
/// State: `head_count * head_dim * head_dim` elements.
pub struct Rwkv7<B: Backend> {
    /// Index among the recurrent layers of the state.
    pub state_layer: usize,
    /// Heads.
    pub head_count: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// `[head_count * head_dim]`: factor on the keys that are removed.
    pub key_scale: B::Vector,
    /// `[head_count * head_dim]`: how much the rate changes the keys that are added.
    pub key_rate: B::Vector,
    /// `[head_count * head_dim]`: weight of the token itself.
    pub bonus: B::Vector,
    /// Norm of each head's output.
    pub norm: Option<Norm<B>>,
}

/// The buffers of RWKV-7's time mixing, `[rows, head_count * head_dim]` each.
pub struct Rwkv7Buffers<'a, B: Backend> {
    /// What is read.
    pub r: &'a B::Buffer,
    /// Keys.
    pub k: &'a B::Buffer,
    /// Values.
    pub v: &'a B::Buffer,
    /// The decay's input.
    pub decay: &'a B::Buffer,
    /// The rate's input.
    pub rate: &'a B::Buffer,
    /// Multiplies the output.
    pub gate: Option<&'a B::Buffer>,
    /// The result.
    pub output: &'a mut B::Buffer,
}

/// Added to the square of a length before keys are divided by it (the published code of RWKV-7).
pub(crate) const UNIT_EPSILON: f32 = 1e-24;
/// `exp(-1/2)`: the slowest decay of RWKV-7 leaves the root of that logarithm.
pub(crate) const DECAY_SPAN: f32 = 0.606_531;
