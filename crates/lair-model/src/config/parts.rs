//! Hyper-parameters that only some architectures have, in groups.

use lair_compute::Gating;
use lair_gguf::Metadata;

use super::keys::Keys;
use super::limits;
use crate::ModelError;

/// Which layers have a sliding window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WindowPattern {
    /// All but every so-many-th; 1 means none.
    Period(usize),
    /// As listed, layer by layer.
    Layers(Vec<bool>),
}

impl WindowPattern {
    pub(super) fn read(keys: &Keys<'_>, layer_count: usize) -> Result<Option<WindowPattern>, ModelError> {
        let key = "attention.sliding_window_pattern";
        if keys.is_array(key) {
            return Ok(keys.flags(key, layer_count)?.map(WindowPattern::Layers));
        }
        Ok(keys.count(key, 0..=limits::LAYER_COUNT_MAX)?.map(WindowPattern::Period))
    }

    /// Whether this layer has a window.
    pub fn has_window(&self, layer_index: usize) -> bool {
        match self {
            // A period of 0 means that all have one.
            WindowPattern::Period(0) => true,
            WindowPattern::Period(period) => !(layer_index + 1).is_multiple_of(*period),
            WindowPattern::Layers(layers) => layers[layer_index],
        }
    }
}

/// How the hidden states of a text become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// They do not: one vector for each token.
    None,
    /// Their mean.
    Mean,
    /// That of the first token.
    First,
    /// That of the last token.
    Last,
    /// A classifier reads one of them and gives scores.
    Rank,
}

impl Pooling {
    pub(super) fn read(keys: &Keys<'_>, key: &str) -> Result<Option<Pooling>, ModelError> {
        Ok(match keys.count(key, 0..=4)? {
            None => None,
            Some(0) => Some(Pooling::None),
            Some(1) => Some(Pooling::Mean),
            Some(2) => Some(Pooling::First),
            Some(3) => Some(Pooling::Last),
            Some(_) => Some(Pooling::Rank),
        })
    }
}

/// A mixture of experts.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpertsConfig {
    /// Experts of a layer.
    pub expert_count: usize,
    /// Experts each token takes, layer by layer.
    pub expert_used_counts: Vec<usize>,
    /// Width of an expert, where the file gives it.
    pub expert_ffn_size: Option<usize>,
    /// Networks that every token takes.
    pub shared_expert_count: usize,
    /// Width of the shared network, where the file gives it.
    pub shared_expert_ffn_size: Option<usize>,
    /// Width of the space that experts work in, where it is one of their own.
    pub latent_size: Option<usize>,
    /// Factor on the weights.
    pub weights_scale: f32,
    /// Whether the chosen weights are divided by their sum, where the file says.
    pub weights_normalised: Option<bool>,
    /// How scores become weights, where the file says.
    pub gating: Option<Gating>,
    /// Groups for the choice in two steps; 0 or 1 without.
    pub group_count: usize,
    /// Groups each token may choose from.
    pub group_used_count: usize,
    /// First layers that have one network for every token instead.
    pub leading_dense_layer_count: usize,
    /// Every so-many-th layer has experts.
    pub layer_step: Option<usize>,
    /// Experts that share an adjugate (GroveMoE).
    pub adjugate_group_size: usize,
    /// Width of an adjugate, where the file gives it.
    pub adjugate_ffn_size: Option<usize>,
    /// Factor on the sum of adjugates.
    pub adjugate_scale: f32,
    /// Magnitude that the experts' activation is held within, layer by layer.
    pub activation_limits: Vec<Option<f32>>,
    /// The same of networks that every token takes.
    pub shared_activation_limits: Vec<Option<f32>>,
}

impl ExpertsConfig {
    pub(super) fn read(keys: &Keys<'_>, layer_count: usize) -> Result<Option<ExpertsConfig>, ModelError> {
        let expert_count = keys.count("expert_count", 0..=limits::EXPERT_COUNT_MAX)?.unwrap_or(0);
        if expert_count == 0 {
            return Ok(None);
        }
        let used = keys.counts_by_layer("expert_used_count", layer_count, 1..=expert_count)?;
        let Some(expert_used_counts) = used else {
            return Err(keys.wrong("expert_count", expert_count, "0, or an expert_used_count beside it".into()));
        };
        let gating = match keys.count("expert_gating_func", 0..=4)? {
            None | Some(0) => None,
            Some(1) => Some(Gating::Softmax),
            Some(2) => Some(Gating::Sigmoid),
            Some(3) => Some(Gating::SoftmaxOfChosen),
            Some(_) => Some(Gating::SqrtSoftplus),
        };
        let group_count = keys.count("expert_group_count", 0..=expert_count)?.unwrap_or(0);
        let group_used_count = keys.count("expert_group_used_count", 0..=group_count)?.unwrap_or(0);
        if group_count > 1 && (!expert_count.is_multiple_of(group_count) || group_used_count == 0) {
            let expected = format!("a divisor of the {expert_count} experts, with an expert_group_used_count above 0");
            return Err(keys.wrong("expert_group_count", group_count, expected));
        }
        Ok(Some(ExpertsConfig {
            expert_count,
            expert_used_counts,
            expert_ffn_size: keys.count("expert_feed_forward_length", 1..=limits::FFN_SIZE_MAX)?,
            shared_expert_count: keys.count("expert_shared_count", 0..=expert_count.max(64))?.unwrap_or(0),
            shared_expert_ffn_size: keys
                .count("expert_shared_feed_forward_length", 0..=limits::FFN_SIZE_MAX)?
                .filter(|size| *size > 0),
            latent_size: keys.count("expert_latent_length", 0..=limits::HIDDEN_SIZE_MAX)?.filter(|size| *size > 0),
            weights_scale: keys.nonzero_number("expert_weights_scale")?.unwrap_or(1.0),
            weights_normalised: keys.flag("expert_weights_norm")?,
            gating,
            group_count,
            group_used_count,
            leading_dense_layer_count: keys.count("leading_dense_block_count", 0..=layer_count)?.unwrap_or(0),
            layer_step: keys.count("interleave_moe_layer_step", 1..=limits::LAYER_COUNT_MAX)?,
            adjugate_group_size: keys.count("experts_per_group", 1..=expert_count)?.unwrap_or(1),
            adjugate_ffn_size: keys.count("expert_chunk_feed_forward_length", 1..=limits::FFN_SIZE_MAX)?,
            adjugate_scale: keys.number("expert_group_scale", f32::MIN..=f32::MAX)?.unwrap_or(1.0),
            activation_limits: keys.nonzero_numbers_by_layer("swiglu_clamp_exp", layer_count)?,
            shared_activation_limits: keys.nonzero_numbers_by_layer("swiglu_clamp_shexp", layer_count)?,
        }))
    }
}

/// The parameters of xIELU in a layer, as they were learned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct XieluConfig {
    /// Its softplus is the curvature of the positive side.
    pub alpha_p: f32,
    /// Its softplus, and `beta`, is the factor on the negative side.
    pub alpha_n: f32,
    /// Slope at 0.
    pub beta: f32,
    /// Largest exponent.
    pub epsilon: f32,
}

impl XieluConfig {
    /// Its keys stand below no architecture's name.
    pub(super) fn read(metadata: &Metadata, layer_count: usize) -> Result<Vec<XieluConfig>, ModelError> {
        let keys = Keys::new(metadata, "xielu");
        let numbers = |key: &str| keys.numbers_by_layer(key, layer_count, -1e4..=1e4);
        let all = (numbers("alpha_p")?, numbers("alpha_n")?, numbers("beta")?, numbers("eps")?);
        let (Some(alpha_p), Some(alpha_n), Some(beta), Some(epsilon)) = all else { return Ok(Vec::new()) };
        let layer = |index: usize| XieluConfig {
            alpha_p: alpha_p[index],
            alpha_n: alpha_n[index],
            beta: beta[index],
            epsilon: epsilon[index],
        };
        Ok((0..layer_count).map(layer).collect())
    }
}

/// Recurrent layers: state spaces and linear attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecurrentConfig {
    /// Taps of the convolution.
    pub conv_length: usize,
    /// Width of all heads together.
    pub inner_size: usize,
    /// Width of the state.
    pub state_size: usize,
    /// Heads of values (gated delta net), heads (Mamba-2), or rank of the time steps (Mamba).
    pub time_step_rank: usize,
    /// Heads of keys (gated delta net), groups of `B` and `C` (Mamba-2).
    pub group_count: usize,
    /// Whether time steps, `B` and `C` are normalised without weights (Falcon Mamba).
    pub has_unweighted_norms: bool,
}

impl RecurrentConfig {
    pub(super) fn read(keys: &Keys<'_>) -> Result<Option<RecurrentConfig>, ModelError> {
        let width = |key: &str| keys.count(key, 1..=limits::FFN_SIZE_MAX);
        let Some(inner_size) = width("ssm.inner_size")? else { return Ok(None) };
        let (Some(state_size), Some(time_step_rank)) = (width("ssm.state_size")?, width("ssm.time_step_rank")?) else {
            let expected = "an ssm.state_size and an ssm.time_step_rank beside it";
            return Err(keys.wrong("ssm.inner_size", inner_size, expected.into()));
        };
        Ok(Some(RecurrentConfig {
            conv_length: keys.required_count("ssm.conv_kernel", 1..=64)?,
            inner_size,
            state_size,
            time_step_rank,
            group_count: keys.count("ssm.group_count", 0..=limits::HEAD_COUNT_MAX)?.unwrap_or(0),
            has_unweighted_norms: keys.flag("ssm.dt_b_c_rms")?.unwrap_or(false),
        }))
    }
}

/// Which keys are read in long contexts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexerConfig {
    /// Keys, or blocks of them, that a query reads.
    pub chosen_count: usize,
    /// Keys of a block.
    pub block_length: usize,
    /// Blocks that a query reads whatever is chosen, its own the last of them.
    pub local_count: usize,
    /// Heads; 0 where the file does not say.
    pub head_count: usize,
    /// Elements of a head; 0 where the file does not say.
    pub head_dim: usize,
    /// Positions that share a key.
    pub pool_length: usize,
    /// Whether positions behind the last whole pool are read.
    pub takes_rest: bool,
}

impl IndexerConfig {
    pub(super) fn read(keys: &Keys<'_>) -> Result<Option<IndexerConfig>, ModelError> {
        let count = |key: &str| keys.count(key, 1..=limits::CONTEXT_LENGTH_MAX);
        let Some(chosen_count) = count("attention.indexer.top_k")? else { return Ok(None) };
        Ok(Some(IndexerConfig {
            chosen_count,
            block_length: count("attention.indexer.block_size")?.unwrap_or(1),
            local_count: keys.count("attention.indexer.local_blocks", 0..=limits::CONTEXT_LENGTH_MAX)?.unwrap_or(0),
            head_count: keys.count("attention.indexer.head_count", 0..=limits::HEAD_COUNT_MAX)?.unwrap_or(0),
            head_dim: keys.count("attention.indexer.key_length", 0..=limits::HEAD_DIM_MAX)?.unwrap_or(0),
            pool_length: keys.count("attention.indexer.kpool", 1..=limits::FFN_SIZE_MAX)?.unwrap_or(1),
            takes_rest: keys.flag("attention.indexer.kpool_select_tail")?.unwrap_or(false),
        }))
    }
}

/// Latent attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatentConfig {
    /// Width of compressed queries; `None` where they are made in one product.
    pub q_rank: Option<usize>,
    /// Width of compressed keys and values.
    pub kv_rank: usize,
    /// Elements of a query head.
    pub key_dim: usize,
    /// Elements of a value head.
    pub value_dim: usize,
    /// Width of compressed keys and values, elements of a query head and of a value head in layers with a window.
    pub of_windows: (usize, usize, usize),
}

impl LatentConfig {
    /// Heads are as wide as the keys for uncompressed heads say, in files that keep them compressed, else as all heads.
    pub(super) fn read(keys: &Keys<'_>, key_dim: usize, value_dim: usize) -> Result<Option<LatentConfig>, ModelError> {
        let dim = |key: &str| keys.count(key, 0..=limits::HEAD_DIM_MAX).map(|dim| dim.filter(|dim| *dim > 0));
        let Some(kv_rank) = dim("attention.kv_lora_rank")? else { return Ok(None) };
        let key_dim = dim("attention.key_length_mla")?.unwrap_or(key_dim);
        let value_dim = dim("attention.value_length_mla")?.unwrap_or(value_dim);
        Ok(Some(LatentConfig {
            q_rank: dim("attention.q_lora_rank")?,
            kv_rank,
            key_dim,
            value_dim,
            of_windows: (
                dim("attention.kv_lora_rank_swa")?.unwrap_or(kv_rank),
                dim("attention.key_length_mla_swa")?.unwrap_or(key_dim),
                dim("attention.value_length_mla_swa")?.unwrap_or(value_dim),
            ),
        }))
    }
}

/// RWKV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RwkvConfig {
    /// Elements of a head; divides the hidden size.
    pub head_size: usize,
    /// After so many layers each, the stream was halved for half precision (RWKV-6).
    pub rescale_every: Option<usize>,
    /// Width of the products that change the token shift (RWKV-6).
    pub mix_rank: Option<usize>,
    /// Width of the products that make decays: of RWKV-6, then of RWKV-7.
    pub decay_ranks: [Option<usize>; 2],
    /// Width of the products that make rates (RWKV-7).
    pub rate_rank: Option<usize>,
    /// Width of the products that mix values (RWKV-7).
    pub value_rank: Option<usize>,
    /// Width of the products that make gates, where a model has gates (RWKV-7).
    pub gate_rank: Option<usize>,
}

impl RwkvConfig {
    pub(super) fn read(keys: &Keys<'_>, hidden_size: usize) -> Result<Option<RwkvConfig>, ModelError> {
        let width = |key: &str| {
            let width = keys.count(key, 0..=limits::FFN_SIZE_MAX)?;
            Ok::<_, ModelError>(width.filter(|width| *width > 0))
        };
        let Some(head_size) = width("wkv.head_size")? else { return Ok(None) };
        Ok(Some(RwkvConfig {
            head_size: match hidden_size.is_multiple_of(head_size) {
                true => head_size,
                false => {
                    let expected = format!("a divisor of the embedding_length {hidden_size}");
                    return Err(keys.wrong("wkv.head_size", head_size, expected));
                }
            },
            rescale_every: width("rescale_every_n_layers")?,
            mix_rank: width("time_mix_extra_dim")?,
            decay_ranks: [width("time_decay_extra_dim")?, width("attention.decay_lora_rank")?],
            rate_rank: width("attention.iclr_lora_rank")?,
            value_rank: width("attention.value_residual_mix_lora_rank")?,
            gate_rank: width("attention.gate_lora_rank")?,
        }))
    }
}

/// Delta rules with a decay for each key element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeyDeltaConfig {
    /// Elements of a head.
    pub head_dim: usize,
    /// Taps of the convolutions.
    pub conv_length: usize,
    /// The lowest logarithm of a decay, where the file says; negative.
    pub decay_bound: Option<f32>,
}

impl KeyDeltaConfig {
    pub(super) fn read(keys: &Keys<'_>) -> Result<Option<KeyDeltaConfig>, ModelError> {
        let Some(head_dim) = keys.count("kda.head_dim", 1..=limits::HEAD_DIM_MAX)? else { return Ok(None) };
        Ok(Some(KeyDeltaConfig {
            head_dim,
            conv_length: keys.count("ssm.conv_kernel", 1..=64)?.unwrap_or(4),
            decay_bound: keys.number("kda.gate_lower_bound", -1e6..=0.0)?,
        }))
    }
}

/// Two stacks of layers that are run in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CycleConfig {
    /// Layers of a stack.
    pub stack_length: usize,
    /// How often the slow stack runs.
    pub slow_count: usize,
    /// How often the fast stack runs before each of those.
    pub fast_count: usize,
}

impl CycleConfig {
    /// The number of layers is that of all runs together.
    pub(super) fn read(keys: &Keys<'_>, layer_count: usize) -> Result<Option<CycleConfig>, ModelError> {
        let count = |key: &str| keys.required_count(key, 1..=limits::LAYER_COUNT_MAX);
        let Some(stack_length) = keys.count("hrm.layers_per_stack", 1..=limits::LAYER_COUNT_MAX)? else {
            return Ok(None);
        };
        let cycles =
            CycleConfig { stack_length, slow_count: count("hrm.h_cycles")?, fast_count: count("hrm.l_cycles")? };
        let runs = cycles.slow_count * (cycles.fast_count + 1);
        if runs * stack_length != layer_count {
            let expected = format!("{}, for {runs} runs of {stack_length} layers", runs * stack_length);
            return Err(keys.wrong("block_count", layer_count, expected));
        }
        Ok(Some(cycles))
    }
}

/// The bounds of SiTU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SituConfig {
    /// Of the gate.
    pub beta: f32,
    /// Of the linear part; 0 for none.
    pub linear_beta: f32,
}

impl SituConfig {
    pub(super) fn read(keys: &Keys<'_>) -> Result<Option<SituConfig>, ModelError> {
        let Some(beta) = keys.number("activation.situ_beta", 1e-6..=1e6)? else { return Ok(None) };
        let linear_beta = keys.number("activation.situ_linear_beta", -1e6..=1e6)?.unwrap_or(0.0);
        Ok(Some(SituConfig { beta, linear_beta: linear_beta.max(0.0) }))
    }
}
