//! Recurrent mixers: what a token needs of the ones before it is a state of fixed size.

pub use lair_compute::{DecayForm, KeyHeads};

use lair_compute::Activation;

use super::Norm;

/// Linear attention with the gated delta rule (Yang et al., "Gated Delta Networks").
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GatedDeltaNet {
    /// Stem of queries, keys and values in one, `[2 * key_head_count * key_dim + value_head_count * value_dim, hidden_size]`.
    pub qkv: &'static str,
    /// Stem of the output's gate, `[value_head_count * value_dim, hidden_size]`.
    pub gate: &'static str,
    /// The inputs of decay and learning rate.
    pub rates: DeltaRates,
    /// Stem of the convolution, `[channels, conv_length]`.
    pub convolution: &'static str,
    /// Name within the layer of the decay's factors, `[value_head_count]`, negative.
    pub decay: &'static str,
    /// Name within the layer of what is added to alpha, `[value_head_count]`.
    pub time_step_bias: &'static str,
    /// Which key head a value head takes.
    pub key_heads: KeyHeads,
    /// Norm of each head's output.
    pub norm: Norm,
    /// What the gate goes through: SiLU or sigmoid.
    pub gate_activation: Activation,
    /// Stem of the projection out, `[hidden_size, value_head_count * value_dim]`.
    pub output: &'static str,
}

/// Where the inputs of a delta rule's decay (alpha) and learning rate (beta) lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeltaRates {
    /// Each in a tensor of its own, `[value_head_count, hidden_size]`.
    Apart {
        /// Stem of alpha.
        alpha: &'static str,
        /// Stem of beta.
        beta: &'static str,
    },
    /// In one of this stem: for each key head the betas, then the alphas of its value heads (Qwen3-Next).
    ByKeyHead(&'static str),
}

impl GatedDeltaNet {
    /// As Qwen 3.5 has it.
    pub const STANDARD: GatedDeltaNet = GatedDeltaNet {
        qkv: "attn_qkv",
        gate: "attn_gate",
        rates: DeltaRates::Apart { alpha: "ssm_alpha", beta: "ssm_beta" },
        convolution: "ssm_conv1d",
        decay: "ssm_a",
        time_step_bias: "ssm_dt.bias",
        key_heads: KeyHeads::InTurn,
        norm: Norm::Rms("ssm_norm"),
        gate_activation: Activation::Silu,
        output: "ssm_out",
    };
}

/// State space with one decay a head (Dao and Gu, "Transformers are SSMs").
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mamba2 {
    /// Stem of the projection in: gate, channels, `B`, `C` and time steps in one.
    pub input: &'static str,
    /// Stem of the convolution over channels, `B` and `C`.
    pub convolution: &'static str,
    /// Name within the layer of the decay's factors, `[head_count]`, negative.
    pub decay: &'static str,
    /// Name within the layer of what is added to the time steps.
    pub time_step_bias: &'static str,
    /// Name within the layer of the direct path's factors, `[head_count]`.
    pub skip: &'static str,
    /// Norm of the gated output, in groups.
    pub norm: Norm,
    /// Stem of the projection out.
    pub output: &'static str,
}

impl Mamba2 {
    /// As files of Mamba-2 and its hybrids have it.
    pub const STANDARD: Mamba2 = Mamba2 {
        input: "ssm_in",
        convolution: "ssm_conv1d",
        decay: "ssm_a",
        time_step_bias: "ssm_dt.bias",
        skip: "ssm_d",
        norm: Norm::Rms("ssm_norm"),
        output: "ssm_out",
    };
}

/// State space whose time steps, `B` and `C` are made of its own channels, behind the convolution (Gu and Dao, "Mamba").
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mamba {
    /// Stem of the projection in: channels and gate in one.
    pub input: &'static str,
    /// Stem of the convolution over the channels.
    pub convolution: &'static str,
    /// Stem of the projection of the channels to narrow time steps, `B` and `C`.
    pub selection: &'static str,
    /// Stem of the projection that widens the time steps.
    pub time_step: &'static str,
    /// Name within the layer of the decay's factors, negative.
    pub decay: &'static str,
    /// Name within the layer of the direct path's factors.
    pub skip: &'static str,
    /// Norm of the narrow time steps.
    pub time_step_norm: Norm,
    /// Norm of `B`.
    pub b_norm: Norm,
    /// Norm of `C`.
    pub c_norm: Norm,
    /// How channels are put together.
    pub form: MambaForm,
    /// Stem of the projection out.
    pub output: &'static str,
}

/// How the channels of a [`Mamba`] layer are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MambaForm {
    /// Each by itself, with a decay for each element of its state. Channels lie before gates; time steps before `B` and
    /// `C`.
    Channels,
    /// In heads with one decay each; of every head first its gates lie, then its channels; `B` and `C` before the time
    /// steps (PLaMo 2).
    Heads,
}

impl Mamba {
    /// As files of Mamba have it.
    pub const STANDARD: Mamba = Mamba {
        input: "ssm_in",
        convolution: "ssm_conv1d",
        selection: "ssm_x",
        time_step: "ssm_dt",
        decay: "ssm_a",
        skip: "ssm_d",
        time_step_norm: Norm::None,
        b_norm: Norm::None,
        c_norm: Norm::None,
        form: MambaForm::Channels,
        output: "ssm_out",
    };

    /// With norms of time steps, `B` and `C` (Jamba).
    pub const NORMED: Mamba = Mamba {
        time_step_norm: Norm::Rms("ssm_dt_norm"),
        b_norm: Norm::Rms("ssm_b_norm"),
        c_norm: Norm::Rms("ssm_c_norm"),
        ..Mamba::STANDARD
    };
}

/// `output(c * convolution(b * x))` with `b, c, x = input(token)` (Liquid AI, LFM2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortConvolution {
    /// Stem of the projection in, `[3 * hidden_size, hidden_size]`.
    pub input: &'static str,
    /// Stem of the taps, `[hidden_size, length]`.
    pub convolution: &'static str,
    /// Stem of the projection out.
    pub output: &'static str,
    /// Taps.
    pub length: usize,
}

/// Linear attention with a decay that is the same for all tokens (MiniMax, "MiniMax-01", section 2.2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecayedAttention {
    /// Stem of queries, keys and values in one: those of the first head, then those of the next.
    pub qkv: &'static str,
    /// What all three go through.
    pub activation: Activation,
    /// Head `i` of `n` keeps `exp(-slope * 2^(-8 (i + 1) / n))` of its state.
    pub slope: f32,
    /// Norm of the output.
    pub norm: Norm,
    /// Stem of the output's gate, by its sigmoid.
    pub gate: &'static str,
    /// Stem of the projection out.
    pub output: &'static str,
}

/// The time mixing of RWKV. Names of tensors follow from one start, as `time_mix_`: `key`, `value`, `receptance`, and those
/// of the narrow products.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeMix {
    /// What their names begin with.
    pub start: &'static str,
    /// Which generation of the model.
    pub generation: RwkvGeneration,
    /// Whether values are mixed with those of the first layer.
    pub values: FirstValues,
    /// Stem of the projection out.
    pub output: &'static str,
}

/// Generations of RWKV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RwkvGeneration {
    /// Eagle and Finch.
    Six,
    /// Goose.
    Seven,
}

/// What a layer of RWKV-7 does with the first layer's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstValues {
    /// It gives them.
    Given,
    /// It mixes its own with them.
    Mixed,
}

/// The channel mixing of RWKV: a feed-forward network that also reads the token before,
/// `value(relu(key(k))^2)`, in RWKV-6 times `sigmoid(receptance(r))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelMix {
    /// What the names of its tensors begin with.
    pub start: &'static str,
    /// Whether it has a receptance.
    pub generation: RwkvGeneration,
}

/// Linear attention with the gated delta rule and a decay for each key element (Kimi Team, "Kimi Linear", section 3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeyDeltaNet {
    /// Stems of queries, keys and values, `[head_count * head_dim, hidden_size]` each.
    pub projections: [&'static str; 3],
    /// Stems of their convolutions.
    pub convolutions: [&'static str; 3],
    /// Stems of the products that make the decay's input, one after the other; the second may be missing.
    pub decay_input: (&'static str, Option<&'static str>),
    /// The same for the output's gate, by its sigmoid.
    pub gate: (&'static str, Option<&'static str>),
    /// Stem of the learning rate's input, `[head_count, hidden_size]`.
    pub beta: &'static str,
    /// Name within the layer of the decay's factors, `[head_count]`.
    pub decay: &'static str,
    /// Dimensions that stand before their number in the file: Kimi Linear and Ling 3 have one of 1, Kimi K3 has none.
    pub decay_padding: &'static [usize],
    /// How the decay is made of both.
    pub decay_form: DecayForm,
    /// Name within the layer of what is added to the decay's input, `[head_count * head_dim]`.
    pub time_step_bias: &'static str,
    /// Norm of each head's output.
    pub norm: Norm,
    /// What keeps queries and keys of no length finite; `None` for the epsilon of that norm.
    pub unit_epsilon: Option<f32>,
    /// Stem of the projection out.
    pub output: &'static str,
}

impl KeyDeltaNet {
    /// As Kimi Linear has it.
    pub const STANDARD: KeyDeltaNet = KeyDeltaNet {
        projections: ["attn_q", "attn_k", "attn_v"],
        convolutions: ["ssm_conv1d_q", "ssm_conv1d_k", "ssm_conv1d_v"],
        decay_input: ("ssm_f_a", Some("ssm_f_b")),
        gate: ("ssm_g_a", Some("ssm_g_b")),
        beta: "ssm_beta",
        decay: "ssm_a",
        decay_padding: &[1],
        decay_form: DecayForm::Softplus,
        time_step_bias: "ssm_dt.bias",
        norm: Norm::Rms("ssm_norm"),
        unit_epsilon: None,
        output: "attn_output",
    };
}
