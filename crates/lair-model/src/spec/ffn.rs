//! Feed-forward networks: what works on each token by itself.

use lair_compute::{Activation, ExpertGroups, Gating, Weighing};

use crate::ModelConfig;

/// What works on each token.
#[allow(clippy::large_enum_variant)] // Plain data that is copied when a model is loaded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ffn {
    /// Nothing: the layer is its mixer.
    None,
    /// One network for every token.
    Dense(DenseFfn),
    /// A choice of networks for each token.
    Experts(ExpertsFfn),
    /// One network that also reads the token before (RWKV).
    ChannelMix(super::ChannelMix),
    /// Both side by side, with norms of their own (Gemma 4).
    DenseAndExperts(DenseAndExperts),
    /// A choice of networks where the file has a router for the layer, else one network.
    ExpertsIfThere {
        /// The choice.
        experts: ExpertsFfn,
        /// The one.
        dense: DenseFfn,
    },
}

/// Where the gate's weights lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gate {
    /// There is none: `down(activation(up(x)))`.
    None,
    /// In a tensor of this stem: `down(activation(gate(x)) * up(x))`.
    Tensor(&'static str),
    /// In a tensor of this stem where the file has it; else there is none, and this is the activation (T5).
    IfThere(&'static str, Activation),
    /// In the first half of the rows of `up`, which has twice as many (Phi 3).
    InUp,
}

/// One network for every token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DenseFfn {
    /// The gate.
    pub gate: Gate,
    /// Stem of the widening product, `[ffn_size, hidden_size]`.
    pub up: &'static str,
    /// Stem of the narrowing product, `[hidden_size, ffn_size]`.
    pub down: &'static str,
    /// Between the two.
    pub activation: Activation,
    /// Width between the two; the configuration's for the layer if `None`.
    pub ffn_size: Option<usize>,
    /// Name within the layer of what divides the activated elements, where the file has it (MPT).
    pub inner_divisor: Option<&'static str>,
    /// Only so many standard deviations above the mean of a token's gates counts (Gemma 3n).
    pub gate_cutoff: Option<f32>,
    /// Norm between the two, after the activation (BitNet).
    pub inner_norm: super::Norm,
}

impl DenseFfn {
    /// Gated by SiLU (Shazeer, "GLU Variants Improve Transformer").
    pub const SWIGLU: DenseFfn = DenseFfn {
        gate: Gate::Tensor("ffn_gate"),
        up: "ffn_up",
        down: "ffn_down",
        activation: Activation::Silu,
        ffn_size: None,
        inner_divisor: None,
        gate_cutoff: None,
        inner_norm: super::Norm::None,
    };

    /// Gated by GELU in its tanh form.
    pub const GEGLU: DenseFfn = DenseFfn { activation: Activation::GeluTanh, ..DenseFfn::SWIGLU };

    /// Two products with GELU, in its tanh form, between them.
    pub const GELU: DenseFfn = DenseFfn { gate: Gate::None, ..DenseFfn::GEGLU };
}

/// A choice of networks for each token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExpertsFfn {
    /// Stem of the router, `[expert_count, hidden_size]`.
    pub router: &'static str,
    /// How its scores become weights.
    pub scoring: ExpertScoring,
    /// Stem of scores that are added for the choice only; used where the file has it, as a bias or by this name alone.
    pub selection_bias: Option<&'static str>,
    /// Whether the chosen weights are divided by their sum.
    pub normalise: bool,
    /// Factor on the weights.
    pub scale: f32,
    /// Only experts of the best groups can be chosen.
    pub groups: Option<ExpertGroups>,
    /// Name within the layer of a weight, where the router reads the stream by an RMS norm of its own, divided by the root
    /// of its width (Gemma 4).
    pub router_norm: Option<&'static str>,
    /// Name within the layer of factors on the experts' weights, `[expert_count]`, where the file has it (Gemma 4).
    pub expert_scales: Option<&'static str>,
    /// Name within the layer of the experts of each token of the vocabulary, `[vocabulary_size, expert_used_count]`, which it
    /// takes whatever their scores (DeepSeek V4).
    pub table: Option<&'static str>,
    /// Stem of the gates, `[expert_count, ffn_size, hidden_size]`.
    pub gate: Option<&'static str>,
    /// Stem of the widening products.
    pub up: &'static str,
    /// Stem of gates and widening products in one, used instead where the file has it: for each expert its gate, then
    /// its widening product.
    pub fused: Option<&'static str>,
    /// Stem of the narrowing products, `[expert_count, hidden_size, ffn_size]`.
    pub down: &'static str,
    /// Between the two.
    pub activation: Activation,
    /// Where the weights are applied.
    pub weighing: Weighing,
    /// What the router reads.
    pub router_input: LayerInput,
    /// Width between the two; the configuration's `expert_ffn_size` if `None`.
    pub ffn_size: Option<usize>,
    /// Smaller experts that read the sum of these.
    pub adjugates: Option<AdjugateExperts>,
    /// The experts work in a space of their own.
    pub latent: Option<LatentExperts>,
    /// A network that every token takes besides.
    pub shared: Option<SharedExperts>,
}

/// Experts between two products: `up(norm(experts(down(x))))`; router and shared network read `x` (Kimi K3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatentExperts {
    /// Stem of the product before them, `[width, hidden_size]`.
    pub down: &'static str,
    /// Norm of their sum.
    pub norm: super::Norm,
    /// Stem of the product behind them, `[hidden_size, width]`.
    pub up: &'static str,
    /// Width of what they read and give.
    pub width: usize,
}

/// Experts that read the sum of the chosen ones, one for each group of those ([`lair_compute::Adjugates`]).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdjugateExperts {
    /// Stem of the gates, `[adjugate_count, ffn_size, hidden_size]`.
    pub gate: &'static str,
    /// Stem of the widening products.
    pub up: &'static str,
    /// Stem of the narrowing products.
    pub down: &'static str,
    /// Width between the two.
    pub ffn_size: usize,
    /// Experts that share one of these.
    pub group_size: usize,
    /// Factor on their sum.
    pub scale: f32,
}

impl ExpertsFfn {
    /// Softmax over all experts, the best chosen, their weights brought to a sum of one; SwiGLU.
    pub const SOFTMAX: ExpertsFfn = ExpertsFfn {
        router: "ffn_gate_inp",
        scoring: ExpertScoring::Gating(Gating::Softmax),
        selection_bias: None,
        normalise: true,
        scale: 1.0,
        groups: None,
        router_norm: None,
        expert_scales: None,
        table: None,
        gate: Some("ffn_gate_exps"),
        up: "ffn_up_exps",
        fused: Some("ffn_gate_up_exps"),
        down: "ffn_down_exps",
        activation: Activation::Silu,
        weighing: Weighing::Output,
        router_input: LayerInput::Normalised,
        ffn_size: None,
        adjugates: None,
        latent: None,
        shared: None,
    };
}

impl ExpertsFfn {
    /// Experts with all that a file can say of them: scoring, the sum of weights, their factor, groups, shared networks as
    /// wide as so many experts, scores for the choice.
    pub fn from_file(config: &ModelConfig, default_gating: Gating) -> ExpertsFfn {
        let Some(experts) = &config.experts else { return ExpertsFfn::SOFTMAX };
        let shared_size = experts.expert_ffn_size.map(|size| size * experts.shared_expert_count);
        ExpertsFfn {
            scoring: ExpertScoring::Gating(experts.gating.unwrap_or(default_gating)),
            selection_bias: Some("exp_probs_b"),
            normalise: experts.weights_normalised.unwrap_or(false),
            scale: experts.weights_scale,
            groups: Some(ExpertGroups { count: experts.group_count, used_count: experts.group_used_count }),
            shared: shared_size.filter(|size| *size > 0).map(SharedExperts::swiglu),
            ..ExpertsFfn::SOFTMAX
        }
    }
}

/// A network for every token and a choice of networks side by side: `norm(dense(x)) + norm(experts(norm(residual)))`, both
/// from the same stream; the layer's `ffn_output_norm` is that of the sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DenseAndExperts {
    /// The network for every token; it reads by the layer's norm.
    pub dense: DenseFfn,
    /// Norm of its output.
    pub dense_output_norm: super::Norm,
    /// What the experts read.
    pub experts_input: LayerInput,
    /// Norm of it.
    pub experts_norm: super::Norm,
    /// The experts.
    pub experts: ExpertsFfn,
    /// Norm of their output.
    pub experts_output_norm: super::Norm,
}

/// How a router's scores become weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpertScoring {
    /// One of the forms that backends compute.
    Gating(Gating),
    /// `sqrt(softplus(score))` (DeepSeek V4).
    SqrtSoftplus,
}

/// What a part of a feed-forward network reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerInput {
    /// What the rest of it reads.
    Normalised,
    /// What the layer read, before its mixer: a router reads it as it is (SmallThinker), experts by their own norm (Arctic).
    BeforeMixer,
}

/// A network that every token takes besides its experts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SharedExperts {
    /// The network.
    pub ffn: DenseFfn,
    /// Stem of `[1, hidden_size]`, whose sigmoid multiplies the network's output.
    pub gate: Option<&'static str>,
    /// Whether every layer has it.
    pub presence: SharedPresence,
    /// Factor on the sum of experts and this network, where it is there.
    pub sum_scale: f32,
}

/// Whether a network beside experts has to be in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedPresence {
    /// It has to be there.
    Required,
    /// It is used if it is there.
    IfThere,
}

impl SharedExperts {
    /// SwiGLU of this width, without a gate.
    pub const fn swiglu(ffn_size: usize) -> SharedExperts {
        SharedExperts {
            ffn: DenseFfn {
                gate: Gate::Tensor("ffn_gate_shexp"),
                up: "ffn_up_shexp",
                down: "ffn_down_shexp",
                ffn_size: Some(ffn_size),
                ..DenseFfn::SWIGLU
            },
            gate: None,
            presence: SharedPresence::Required,
            sum_scale: 1.0,
        }
    }
}
