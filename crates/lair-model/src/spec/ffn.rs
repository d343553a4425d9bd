//! Feed-forward networks: what works on each token by itself.

use lair_compute::{Activation, Gating};

use crate::ModelConfig;

/// What works on each token.
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
}

/// Where the gate's weights lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// There is none: `down(activation(up(x)))`.
    None,
    /// In a tensor of this stem: `down(activation(gate(x)) * up(x))`.
    Tensor(&'static str),
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
    /// Norm between the two (BitNet).
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
    /// Stem of scores that are added for the choice only; used where the file has it.
    pub selection_bias: Option<&'static str>,
    /// Whether the chosen weights are divided by their sum.
    pub normalise: bool,
    /// Factor on the weights.
    pub scale: f32,
    /// Only experts of the best groups can be chosen.
    pub groups: Option<ExpertGroups>,
    /// Name within the layer of a weight, where the router reads the layer's input by an RMS norm of its own, divided by
    /// the root of its width (Gemma 4).
    pub router_norm: Option<&'static str>,
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
    /// Width between the two; the configuration's `expert_ffn_size` if `None`.
    pub ffn_size: Option<usize>,
    /// A network that every token takes besides.
    pub shared: Option<SharedExperts>,
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
        gate: Some("ffn_gate_exps"),
        up: "ffn_up_exps",
        fused: Some("ffn_gate_up_exps"),
        down: "ffn_down_exps",
        activation: Activation::Silu,
        ffn_size: None,
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

/// A network for every token and a choice of networks side by side: `norm(dense(x)) + norm(experts(norm(residual)))`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DenseAndExperts {
    /// The network for every token; it reads by the layer's norm.
    pub dense: DenseFfn,
    /// Norm of its output.
    pub dense_output_norm: super::Norm,
    /// Norm of the experts' input.
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

/// Choice in two steps: groups by the sum of their two best scores, then experts within the chosen groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpertGroups {
    /// Groups of equal size.
    pub count: usize,
    /// Groups that each token may choose from.
    pub used_count: usize,
}

/// A network that every token takes besides its experts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SharedExperts {
    /// The network.
    pub ffn: DenseFfn,
    /// Stem of `[1, hidden_size]`, whose sigmoid multiplies the network's output.
    pub gate: Option<&'static str>,
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
        }
    }
}
