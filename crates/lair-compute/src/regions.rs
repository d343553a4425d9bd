//! What the regions of a step are told: the resolved parameters of one layer, with its weights.
//!
//! All of it is fixed when a model is loaded; nothing here changes in a step.

use crate::{Backend, RopeTable};

/// How a norm scales its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// `x / sqrt(mean(x^2) + epsilon)` (Zhang and Sennrich, "Root Mean Square Layer Normalization").
    Rms,
    /// `(x - mean(x)) / sqrt(variance(x) + epsilon)` (Ba et al., "Layer Normalization").
    Layer,
    /// `x`: nothing but the weight and the bias.
    None,
}

/// Which elements are normalised together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormGroup {
    /// The whole row; the weight has its width.
    Row,
    /// Each run of this many elements (a head) by itself. The weight, if any, has this length and serves every run, or
    /// the row's, an element for each of its own; so has the bias.
    Run(usize),
    /// Each run of this many elements by itself; the weight has the width of the row (Mamba-2).
    Part(usize),
}

/// A norm with its weights.
pub struct Norm<B: Backend> {
    /// How it scales.
    pub kind: NormKind,
    /// What is normalised together.
    pub group: NormGroup,
    /// Factor on each element, as stored (a `1 + w` form is folded in the file).
    pub weight: Option<B::Vector>,
    /// Added last.
    pub bias: Option<B::Vector>,
    /// Added under the root.
    pub epsilon: f32,
}

/// A matrix product with what follows it: `scale * (weight x input) + bias`.
pub struct Linear<B: Backend> {
    /// `[rows, columns]`: output width by input width.
    pub weight: B::Matrix,
    /// One element for each output.
    pub bias: Option<B::Vector>,
    /// Factor on the product (the `.scale` tensors of NVFP4 files); 1 without.
    pub scale: f32,
}

/// Element-wise functions of a feed-forward network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// GELU in its tanh form (Hendrycks and Gimpel, "Gaussian Error Linear Units", section 2).
    GeluTanh,
    /// GELU by the error function.
    GeluErf,
    /// `x * sigmoid(1.702 x)`.
    GeluQuick,
    /// Hyperbolic tangent.
    Tanh,
    /// `max(x, 0)`.
    Relu,
    /// `max(x, 0)^2`.
    ReluSquared,
    /// `positive * x^2 + beta * x` for what is positive, else `negative * (exp(min(x, epsilon)) - 1 - x) + beta * x`
    /// (Huang and Schlag, "Deriving Activation Functions Using Integration", section 3: xIELU).
    Xielu {
        /// Curvature of the positive side.
        positive: f32,
        /// Factor on the negative side.
        negative: f32,
        /// Slope at 0.
        beta: f32,
        /// Largest exponent.
        epsilon: f32,
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// The gate is clamped from above, the linear part on both sides and shifted:
    /// `min(g, limit) * sigmoid(alpha * min(g, limit)) * (clamp(u) + shift)`. gpt-oss shifts by one.
    ClampedSwiglu {
        /// Slope of the sigmoid.
        alpha: f32,
        /// Largest magnitude.
        limit: f32,
        /// What is added to the linear part.
        shift: f32,
    },
    /// SiTU, which bounds both parts: `beta * tanh(g / beta) * sigmoid(g) * linear_beta * tanh(u / linear_beta)`, with `u` as
    /// it is where `linear_beta` is 0 (Kimi K3).
    Situ {
        /// Bound of the gate.
        beta: f32,
        /// Bound of the linear part; 0 for none.
        linear_beta: f32,
    },
    /// Step 3.5: what the gate gives is clamped, not the gate: `min(silu(g), limit) * clamp(u)`.
    ClampedSilu {
        /// Largest magnitude.
        limit: f32,
    },
}

/// Which keys a query sees. Position `p` always sees itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// All positions up to its own.
    Causal,
    /// The last so many positions, its own included.
    Window(usize),
    /// The positions of its own chunk of this length, up to its own.
    Chunk(usize),
    /// Every position of the sequence that is in the cache after this step.
    Bidirectional,
    /// Of these the ones that are at most so many positions away, on both sides.
    Around(usize),
}

impl Mask {
    /// Whether a query sees positions behind its own: a sequence then has to be computed in one step.
    pub fn sees_what_follows(self) -> bool {
        matches!(self, Mask::Bidirectional | Mask::Around(_))
    }
}

/// Whether queries and keys are normalised before or after they are turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormOrder {
    /// Norm, then rotary embedding (nearly all).
    BeforeRope,
    /// Rotary embedding, then norm.
    AfterRope,
}

/// Queries grow with their position: `q * (1 + scale * ln(1 + floor((position + offset) / length)))`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Temperature {
    /// Positions over which the factor stays.
    pub length: usize,
    /// Slope.
    pub scale: f32,
    /// Added to the position.
    pub offset: usize,
}

impl Temperature {
    /// The factor on the query at `position`.
    pub fn factor(&self, position: usize) -> f32 {
        let steps = ((position + self.offset) / self.length.max(1)) as f32;
        1.0 + self.scale * (1.0 + steps).ln()
    }
}

/// What a gate is passed through before it multiplies attention's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateFunction {
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `ln(1 + exp(x))` (Laguna).
    Softplus,
}

/// What one element of a gate multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateSpan {
    /// One element of the output.
    Element,
    /// All of a head.
    Head,
}

/// How attention's output is gated, where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputGate {
    /// What the gate is passed through.
    pub function: GateFunction,
    /// What one element of it multiplies.
    pub span: GateSpan,
}

impl OutputGate {
    /// The sigmoid of an element for each element.
    pub const SIGMOID: OutputGate = OutputGate { function: GateFunction::Sigmoid, span: GateSpan::Element };

    /// The sigmoid of one element for each head.
    pub const SIGMOID_OF_HEAD: OutputGate = OutputGate { function: GateFunction::Sigmoid, span: GateSpan::Head };

    /// Elements of a gate for heads of `value_dim` elements.
    pub fn width(&self, head_count: usize, value_dim: usize) -> usize {
        match self.span {
            GateSpan::Element => head_count * value_dim,
            GateSpan::Head => head_count,
        }
    }
}

/// Where the cache has the elements of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStorage {
    /// All of them together.
    Whole,
    /// The first ones are the value, and lie only there; what is behind them lies by itself. The layer's layout has
    /// keys of `key_dim - value_dim` elements (latent attention).
    BehindValue,
}

/// Softmax attention of one layer.
pub struct Attention<B: Backend> {
    /// Index among the layers of the KV cache. Layers that share keys and values name the same one.
    pub kv_layer: usize,
    /// Query heads.
    pub head_count: usize,
    /// Key and value heads; divides `head_count`.
    pub kv_head_count: usize,
    /// Elements of a query or key head.
    pub key_dim: usize,
    /// Elements of a value head.
    pub value_dim: usize,
    /// Queries, keys and values are held within this magnitude, before all else.
    pub clamp: Option<f32>,
    /// Norm of queries.
    pub q_norm: Option<Norm<B>>,
    /// Norm of keys.
    pub k_norm: Option<Norm<B>>,
    /// Norm of values.
    pub v_norm: Option<Norm<B>>,
    /// When queries and keys are normalised.
    pub norm_order: NormOrder,
    /// How queries and keys are turned; `None` leaves them.
    pub rope: Option<RopeTable>,
    /// Factor on the scores.
    pub scale: f32,
    /// `softcap * tanh(score / softcap)` on the scaled scores.
    pub softcap: Option<f32>,
    /// Which keys are seen.
    pub mask: Mask,
    /// One score for each head that takes part in the softmax and has no value (gpt-oss).
    pub sinks: Option<B::Vector>,
    /// A part that all keys have in common, `[kv_head_count * key_dim]`, after norm and rotary embedding. Softmax does not
    /// change when all scores of a query move by the same, so a backend may keep keys without it. Absent where scores
    /// are not all that softmax sees: with sinks and a softcap.
    pub key_constant: Option<Vec<f32>>,
    /// What is added to scores by the distance of a key.
    pub relative_bias: Option<RelativeBias>,
    /// Slope of each head's linear bias `-slope * |query_position - key_position|` (Press et al., "ALiBi").
    pub alibi_slopes: Option<Vec<f32>>,
    /// Where the cache has the elements of a key.
    pub key_storage: KeyStorage,
    /// Growth of queries with their position.
    pub temperature: Option<Temperature>,
    /// How the output is gated, where the buffers have a gate.
    pub gate: OutputGate,
}

/// Biases by distance, one for each head (T5): those of the farthest distance serve all that are farther.
#[derive(Clone, Debug, PartialEq)]
pub struct RelativeBias {
    /// The farthest distance, on both sides.
    pub reach: usize,
    /// `[head, reach + key_position - query_position]`.
    pub values: Vec<f32>,
}

impl RelativeBias {
    /// The bias of a head's score.
    pub fn of(&self, head: usize, query_position: usize, key_position: usize) -> f32 {
        let behind = (query_position.saturating_sub(key_position)).min(self.reach);
        let ahead = (key_position.saturating_sub(query_position)).min(self.reach);
        self.values[head * (2 * self.reach + 1) + self.reach + ahead - behind]
    }
}

/// The buffers of one attention region; keys and values are absent where an earlier layer's are shared.
pub struct AttentionBuffers<'a, B: Backend> {
    /// `[rows, head_count * key_dim]`; normalised and turned in place.
    pub q: &'a mut B::Buffer,
    /// `[rows, kv_head_count * key_dim]` and `[rows, kv_head_count * value_dim]`, stored into the cache.
    pub kv: Option<(&'a mut B::Buffer, &'a mut B::Buffer)>,
    /// `[rows, head_count * value_dim]` or `[rows, head_count]`, as [`Attention::gate`] says: what the output is multiplied
    /// by, before its function.
    pub gate: Option<&'a B::Buffer>,
    /// Which keys are read of those that are seen; all where nothing was chosen.
    pub chosen: Option<&'a B::Chosen>,
    /// `[rows, head_count * value_dim]`.
    pub output: &'a mut B::Buffer,
}

/// A feed-forward network that every token takes.
pub struct FeedForward<B: Backend> {
    /// Norm of the input.
    pub norm: Option<Norm<B>>,
    /// The gate, where there is one: `down(activation(gate(x)) * up(x))`, else `down(activation(up(x)))`.
    pub gate: Option<Linear<B>>,
    /// The widening product.
    pub up: Linear<B>,
    /// The narrowing product.
    pub down: Linear<B>,
    /// Between the two.
    pub activation: Activation,
    /// What divides the activated elements, `[ffn_size]` (activation-aware quantization of MPT).
    pub inner_divisor: Option<B::Vector>,
    /// Norm between the two, after the activation (BitNet).
    pub inner_norm: Option<Norm<B>>,
    /// Norm of the output, before it is added.
    pub post_norm: Option<Norm<B>>,
    /// Factor on the output, before it is added.
    pub residual_scale: f32,
}

/// What a feed-forward network reads.
pub enum FeedForwardInput<'a, B: Backend> {
    /// The residual stream itself, which it also adds to.
    Residual,
    /// Another buffer (parallel residual: what the mixer read).
    Buffer(&'a B::Buffer),
}

/// How the router's scores become weights of the chosen experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gating {
    /// Softmax over all experts, then choose.
    Softmax,
    /// Sigmoid of each, then choose.
    Sigmoid,
    /// Choose, then softmax over the chosen.
    SoftmaxOfChosen,
    /// `sqrt(softplus(score))` of each, then choose (DeepSeek V4).
    SqrtSoftplus,
}

/// Choice in two steps: groups by the sum of their two best scores, then experts within the chosen groups (DeepSeek-AI,
/// "DeepSeek-V3", section 2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpertGroups {
    /// Groups of equal size.
    pub count: usize,
    /// Groups that each token may choose from.
    pub used_count: usize,
}

/// Where the weight of a chosen expert is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weighing {
    /// To its output.
    Output,
    /// To its input (Llama 4): gate and linear part grow with it.
    Input,
}

/// Chooses experts for each token.
pub struct Router<B: Backend> {
    /// `[expert_count, hidden_size]`.
    pub linear: Linear<B>,
    /// How scores become weights.
    pub gating: Gating,
    /// Experts each token takes.
    pub expert_used_count: usize,
    /// Added to the gated scores for the choice only, not for the weights (DeepSeek V3).
    pub selection_bias: Option<B::Vector>,
    /// Whether the chosen weights are divided by their sum.
    pub normalise: bool,
    /// Factor on the weights.
    pub scale: f32,
    /// Only experts of the best groups can be chosen.
    pub groups: Option<ExpertGroups>,
    /// A factor on the weight of each expert, after all else, `[expert_count]` (Gemma 4).
    pub expert_scales: Option<B::Vector>,
    /// The experts of each token of the vocabulary, `[vocabulary_size, expert_used_count]`, which it takes whatever their
    /// scores; those are their weights (DeepSeek V4).
    pub table: Option<Vec<u32>>,
}

/// A mixture of experts: each token takes some of many feed-forward networks.
pub struct Experts<B: Backend> {
    /// Norm of the input.
    pub norm: Option<Norm<B>>,
    /// Chooses the experts.
    pub router: Router<B>,
    /// Stack of gates, `[expert_count, ffn_size, hidden_size]`.
    pub gate: Option<Linear<B>>,
    /// Stack of widening products. A bias has `expert_count * ffn_size` elements.
    pub up: Linear<B>,
    /// Stack of narrowing products, `[expert_count, hidden_size, ffn_size]`.
    pub down: Linear<B>,
    /// Between the two.
    pub activation: Activation,
    /// Where weights are applied.
    pub weighing: Weighing,
    /// Experts that read the sum of these.
    pub adjugates: Option<Adjugates<B>>,
    /// A feed-forward network that every token takes besides; its own norms are not used.
    pub shared: Option<FeedForward<B>>,
    /// `[1, hidden_size]`: the shared network's output is multiplied by the sigmoid of this product.
    pub shared_gate: Option<Linear<B>>,
    /// Factor on the sum of experts and shared network, before its norm.
    pub sum_scale: f32,
    /// Norm of the sum, before it is added.
    pub post_norm: Option<Norm<B>>,
    /// Factor on the sum, before it is added.
    pub residual_scale: f32,
}

/// Smaller experts that read the weighted sum of the chosen ones and are added to it (Wu et al., "GroveMoE", section 2).
///
/// The best experts of a token, as many as there are of these at most, take the one of their group with them. Its weight is
/// the score of the expert that has its number, as files are made for a runtime that weighs so.
pub struct Adjugates<B: Backend> {
    /// Stack of gates, `[adjugate_count, ffn_size, hidden_size]`.
    pub gate: Linear<B>,
    /// Stack of widening products.
    pub up: Linear<B>,
    /// Stack of narrowing products.
    pub down: Linear<B>,
    /// Experts that share one of these.
    pub group_size: usize,
    /// Factor on their sum.
    pub scale: f32,
}

/// What a mixture of experts reads.
pub struct ExpertsInput<'a, B: Backend> {
    /// What the experts read.
    pub experts: FeedForwardInput<'a, B>,
    /// What the router reads, without a norm; the experts' normalised input if `None`.
    pub router: Option<&'a B::Buffer>,
    /// The token of each row, where experts are chosen by a table.
    pub tokens: &'a [u32],
}

impl<B: Backend> ExpertsInput<'_, B> {
    /// Both read the residual stream.
    pub const RESIDUAL: ExpertsInput<'static, B> =
        ExpertsInput { experts: FeedForwardInput::Residual, router: None, tokens: &[] };
}

/// From the residual stream to logits.
pub struct Head<B: Backend> {
    /// Norm of the input.
    pub norm: Option<Norm<B>>,
    /// `[vocabulary_size, hidden_size]`.
    pub linear: Linear<B>,
    /// Factor on the logits.
    pub scale: f32,
    /// `softcap * tanh(logit / softcap)` on the scaled logits.
    pub softcap: Option<f32>,
}

/// One recurrent layer of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateLayerLayout {
    /// Elements of the convolution's history: the last inputs of every channel.
    pub conv_length: usize,
    /// Elements of the recurrent state proper.
    pub recurrent_length: usize,
}

/// What the recurrent state holds; always f32.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateLayout {
    /// The recurrent layers.
    pub layers: Vec<StateLayerLayout>,
    /// Slots: sequences and checkpoints.
    pub slot_count: usize,
}

impl StateLayout {
    /// Bytes of one slot over all layers.
    pub fn slot_bytes(&self) -> usize {
        self.layers.iter().map(|layer| 4 * (layer.conv_length + layer.recurrent_length)).sum()
    }
}
