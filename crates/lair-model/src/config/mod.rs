//! The hyper-parameters of a model, read from its metadata and checked.
//!
//! Every field has a type, a range, and rules between fields; what breaks one is refused with the key, what was found
//! and what is expected. Nothing here looks at a tensor, and no code divides by a value from the file that was not
//! checked here.

mod compression;
mod keys;
mod ngrams;
mod parts;
mod streams;
mod switch;

use lair_gguf::Metadata;

pub use compression::CompressionConfig;
pub use ngrams::{GatedStreamsConfig, NgramConfig};
pub use parts::{
    CycleConfig, ExpertsConfig, IndexerConfig, KeyDeltaConfig, LatentConfig, Pooling, RecurrentConfig, RwkvConfig,
    SituConfig, WindowPattern, XieluConfig,
};
pub use streams::StreamsConfig;
pub use switch::SwitchConfig;

use crate::ModelError;
use crate::spec::{RopeScaling, ScalingKind};
use keys::Keys;

/// Limits of what is accepted; a file beyond one is damaged or an attack.
pub mod limits {
    /// Layers; the largest known model has 126.
    pub const LAYER_COUNT_MAX: usize = 1024;
    /// Elements of the residual stream; the largest known model has 16384.
    pub const HIDDEN_SIZE_MAX: usize = 1 << 18;
    /// Heads of a layer.
    pub const HEAD_COUNT_MAX: usize = 4096;
    /// Elements of a head.
    pub const HEAD_DIM_MAX: usize = 1 << 16;
    /// Width of a feed-forward network.
    pub const FFN_SIZE_MAX: usize = 1 << 22;
    /// Experts of a layer; the largest known model has 896.
    pub const EXPERT_COUNT_MAX: usize = 1 << 14;
    /// Tokens of a vocabulary; the largest known has 262144.
    pub const VOCABULARY_SIZE_MAX: usize = 1 << 24;
    /// Bases of rotary angles: above 1, whose logarithm is divided by; the largest known is 1e8.
    pub const ROPE_THETA: std::ops::RangeInclusive<f32> = 1.001..=1e15;
    /// Bytes of a table of positions that is made up when a model is loaded.
    pub const POSITION_TABLE_BYTES_MAX: usize = 1 << 30;
    /// Positions of a context; the longest known is 10485760.
    pub const CONTEXT_LENGTH_MAX: usize = 1 << 30;
}

/// What a model file says of its model, checked. Words as in the table of `architecture.md`; a layer's own values by
/// the layer's index.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// `general.architecture`.
    pub architecture: String,
    /// Tokens of the vocabulary.
    pub vocabulary_size: usize,
    /// Positions the model was trained for.
    pub context_length: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Layers that run for each token.
    pub layer_count: usize,
    /// Layers behind them that predict further tokens; not run.
    pub prediction_layer_count: usize,
    /// Query heads of each layer; 0 where a layer has no attention.
    pub head_counts: Vec<usize>,
    /// Key and value heads of each layer.
    pub kv_head_counts: Vec<usize>,
    /// Width of each layer's feed-forward network; 0 where it has none.
    pub ffn_sizes: Vec<usize>,
    /// Elements of a query or key head.
    pub key_dim: usize,
    /// Elements of a value head.
    pub value_dim: usize,
    /// The same in layers with a sliding window.
    pub window_key_dim: usize,
    /// The same in layers with a sliding window.
    pub window_value_dim: usize,
    /// Added under the root of RMS norms.
    pub rms_norm_epsilon: Option<f32>,
    /// Added under the root of layer norms.
    pub layer_norm_epsilon: Option<f32>,
    /// Base of the rotary angles.
    pub rope_theta: f32,
    /// The same in layers with a sliding window, where the file has another.
    pub window_rope_theta: Option<f32>,
    /// Elements of a head that are turned.
    pub rope_dimension_count: usize,
    /// The same in layers with a sliding window.
    pub window_rope_dimension_count: usize,
    /// How the angles are scaled.
    pub rope_scaling: RopeScaling,
    /// Growth of the base for long contexts (Hunyuan).
    pub rope_alpha: Option<f32>,
    /// Pairs that follow each axis of a position, in models for pictures; empty in others.
    pub rope_sections: Vec<usize>,
    /// Whether layers are turned at all, where the file says (Granite).
    pub rope_finetuned: Option<bool>,
    /// Which layers are turned, where the file lists them.
    pub rope_layers: Option<Vec<bool>>,
    /// Whether norms stand behind the halves of a layer instead of before (Chameleon).
    pub swin_norm: Option<bool>,
    /// How often all layers are run, one time after the other (Nanbeige).
    pub loop_count: usize,
    /// Two stacks that the layers are runs of (HRM).
    pub cycles: Option<CycleConfig>,
    /// Every so many layers the residual stream is kept and begins anew (Kimi K3).
    pub banked_interval: Option<usize>,
    /// The bounds of SiTU (Kimi K3).
    pub situ: Option<SituConfig>,
    /// Residual streams that are read by gates (Qwen 4).
    pub gated_streams: Option<GatedStreamsConfig>,
    /// Embeddings of the last tokens together (Qwen 4).
    pub ngrams: Option<NgramConfig>,
    /// The learned parameters of xIELU, layer by layer; empty where there are none (Apertus).
    pub xielu: Vec<XieluConfig>,
    /// Positions that a sliding window covers.
    pub window: Option<usize>,
    /// Which layers have a sliding window.
    pub window_pattern: Option<WindowPattern>,
    /// Every so many layers one has full attention (hybrids).
    pub full_attention_interval: Option<usize>,
    /// Which layers are recurrent, where the file lists them.
    pub recurrent_layers: Option<Vec<bool>>,
    /// Mixtures of experts.
    pub experts: Option<ExpertsConfig>,
    /// Every so-many-th layer has experts, from the second on (Nomic).
    pub experts_every: Option<usize>,
    /// Recurrent layers.
    pub recurrent: Option<RecurrentConfig>,
    /// Delta rules with a decay for each key element.
    pub key_delta: Option<KeyDeltaConfig>,
    /// RWKV.
    pub rwkv: Option<RwkvConfig>,
    /// Latent attention.
    pub latent: Option<LatentConfig>,
    /// Which keys are read in long contexts.
    pub indexer: Option<IndexerConfig>,
    /// Layers whose indexer is their own, where the file says; the others read what was chosen before them.
    pub indexer_layers: Option<Vec<bool>>,
    /// Positions that a compressed key of each layer stands for; 0 where a layer has none.
    pub run_lengths: Vec<usize>,
    /// Attention to a window and to compressed keys.
    pub compression: Option<CompressionConfig>,
    /// Adapters in the model's own file.
    pub switch: Option<SwitchConfig>,
    /// Several residual streams.
    pub streams: Option<StreamsConfig>,
    /// Factor on attention scores.
    pub attention_scale: Option<f32>,
    /// Soft cap of attention scores.
    pub attention_softcap: Option<f32>,
    /// Soft cap of logits.
    pub logit_softcap: Option<f32>,
    /// Factor on logits, or what divides them: architectures differ.
    pub logit_scale: Option<f32>,
    /// Factor on attention's output before its projection, or on scores: architectures differ.
    pub attention_output_scale: Option<f32>,
    /// Factor on attention's output.
    pub value_scale: Option<f32>,
    /// Factor on embeddings.
    pub embedding_scale: Option<f32>,
    /// Factor on what a layer's halves add.
    pub residual_scale: Option<f32>,
    /// Largest slope of linear attention biases.
    pub alibi_bias_max: Option<f32>,
    /// Magnitude that queries, keys and values are held within.
    pub clamp_qkv: Option<f32>,
    /// Whether the two halves of a layer are parallel.
    pub parallel_residual: Option<bool>,
    /// Positions over which queries keep their growth.
    pub temperature_length: Option<usize>,
    /// Slope of that growth.
    pub temperature_scale: Option<f32>,
    /// Taps of short convolutions.
    pub short_convolution_length: Option<usize>,
    /// Last layers that use the keys and values of earlier ones.
    pub shared_kv_layer_count: usize,
    /// Buckets of distances that have a bias of their own (T5).
    pub relative_bucket_count: Option<usize>,
    /// Layers of the decoder behind an encoder, where they differ in number.
    pub decoder_layer_count: Option<usize>,
    /// The token that the decoder behind an encoder begins with, where the file says.
    pub decoder_start_token: Option<u32>,
    /// The token that every prompt ends with, where the file says that there is one.
    pub prompt_end_token: Option<u32>,
    /// Elements of each layer's own embedding.
    pub per_layer_embedding_size: Option<usize>,
    /// Whether tokens see only those before them, where the file says.
    pub is_causal: Option<bool>,
    /// How hidden states become one vector, where the file says.
    pub pooling: Option<Pooling>,
    /// The same for what a classifier reads.
    pub classifier_pooling: Option<Pooling>,
    /// Kinds of tokens that are added to the embedding (BERT), where the file says.
    pub token_type_count: Option<usize>,
    /// What lies between the two products of a feed-forward network, where the file says.
    pub hidden_activation: Option<String>,
}

impl ModelConfig {
    /// Reads and checks the hyper-parameters of a model.
    ///
    /// # Errors
    /// [`ModelError::MissingKey`], [`ModelError::File`] for a value of the wrong type, [`ModelError::Parameter`] for one
    /// that is out of range or contradicts another.
    pub fn from_metadata(metadata: &Metadata) -> Result<ModelConfig, ModelError> {
        let architecture = metadata.str("general.architecture")?.to_owned();
        let keys = Keys::new(metadata, &architecture);
        let block_count = keys.required_count("block_count", 1..=limits::LAYER_COUNT_MAX)?;
        let prediction_layer_count = keys.count("nextn_predict_layers", 0..=block_count - 1)?.unwrap_or(0);
        let layer_count = block_count - prediction_layer_count;
        let hidden_size = keys.required_count("embedding_length", 1..=limits::HIDDEN_SIZE_MAX)?;
        let context_length = keys.required_count("context_length", 1..=limits::CONTEXT_LENGTH_MAX)?;

        let head_counts = keys
            .counts_by_layer("attention.head_count", block_count, 0..=limits::HEAD_COUNT_MAX)?
            .unwrap_or_else(|| vec![0; block_count]);
        let kv_head_counts = keys
            .counts_by_layer("attention.head_count_kv", block_count, 0..=limits::HEAD_COUNT_MAX)?
            .unwrap_or_else(|| head_counts.clone());
        check_heads(&keys, &head_counts, &kv_head_counts)?;
        let ffn_sizes = keys
            .counts_by_layer("feed_forward_length", block_count, 0..=limits::FFN_SIZE_MAX)?
            .unwrap_or_else(|| vec![0; block_count]);

        let head_dims = HeadDims::read(&keys, hidden_size, &head_counts)?;
        Ok(ModelConfig {
            vocabulary_size: vocabulary_size(&keys, metadata)?,
            context_length,
            hidden_size,
            layer_count,
            prediction_layer_count,
            head_counts,
            kv_head_counts,
            ffn_sizes,
            key_dim: head_dims.key,
            value_dim: head_dims.value,
            window_key_dim: head_dims.window_key,
            window_value_dim: head_dims.window_value,
            rms_norm_epsilon: keys.number("attention.layer_norm_rms_epsilon", 0.0..=1.0)?,
            layer_norm_epsilon: keys.number("attention.layer_norm_epsilon", 0.0..=1.0)?,
            rope_theta: keys.number("rope.freq_base", limits::ROPE_THETA)?.unwrap_or(10_000.0),
            window_rope_theta: keys.number("rope.freq_base_swa", limits::ROPE_THETA)?,
            rope_dimension_count: head_dims.rope,
            window_rope_dimension_count: head_dims.window_rope,
            rope_scaling: rope_scaling(&keys, context_length)?,
            rope_alpha: keys.number("rope.scaling.alpha", 0.0..=1e9)?.filter(|alpha| *alpha > 0.0),
            rope_sections: keys.counts("rope.dimension_sections", 4, 0..=limits::HEAD_DIM_MAX)?,
            rope_finetuned: keys.flag("rope.scaling.finetuned")?,
            rope_layers: keys.flags("attention.rope_pattern", block_count)?,
            swin_norm: keys.flag("swin_norm")?,
            loop_count: keys.count("num_loops", 1..=limits::LAYER_COUNT_MAX)?.unwrap_or(1),
            cycles: CycleConfig::read(&keys, layer_count)?,
            banked_interval: keys
                .count("attn_res.block_size", 0..=limits::LAYER_COUNT_MAX)?
                .filter(|interval| *interval > 0),
            situ: SituConfig::read(&keys)?,
            gated_streams: GatedStreamsConfig::read(&keys)?,
            ngrams: NgramConfig::read(&keys, layer_count)?,
            xielu: XieluConfig::read(metadata, block_count)?,
            // A window of 0 stands for none.
            window: keys
                .count("attention.sliding_window", 0..=limits::CONTEXT_LENGTH_MAX)?
                .filter(|window| *window > 0),
            window_pattern: WindowPattern::read(&keys, block_count)?,
            full_attention_interval: keys.count("full_attention_interval", 1..=limits::LAYER_COUNT_MAX)?,
            recurrent_layers: keys.flags("attention.recurrent_layers", block_count)?,
            experts: ExpertsConfig::read(&keys, block_count)?,
            experts_every: keys.count("moe_every_n_layers", 0..=limits::LAYER_COUNT_MAX)?.filter(|step| *step > 0),
            recurrent: RecurrentConfig::read(&keys)?,
            key_delta: KeyDeltaConfig::read(&keys)?,
            rwkv: RwkvConfig::read(&keys, hidden_size)?,
            latent: LatentConfig::read(&keys, head_dims.key, head_dims.value)?,
            indexer: IndexerConfig::read(&keys)?,
            indexer_layers: keys.flags("attention.indexer.types", layer_count)?,
            run_lengths: compression::run_lengths(&keys, layer_count)?,
            compression: CompressionConfig::read(&keys, layer_count)?,
            switch: SwitchConfig::read(&keys, vocabulary_size(&keys, metadata)?)?,
            streams: StreamsConfig::read(&keys)?,
            attention_scale: keys.nonzero_number("attention.scale")?,
            attention_output_scale: keys.nonzero_number("attention.output_scale")?,
            value_scale: keys.nonzero_number("attention.value_scale")?,
            attention_softcap: keys.nonzero_number("attn_logit_softcapping")?,
            logit_softcap: keys.nonzero_number("final_logit_softcapping")?,
            logit_scale: keys.nonzero_number("logit_scale")?,
            embedding_scale: keys.nonzero_number("embedding_scale")?,
            residual_scale: keys.nonzero_number("residual_scale")?,
            alibi_bias_max: keys.nonzero_number("attention.max_alibi_bias")?,
            clamp_qkv: keys.nonzero_number("attention.clamp_kqv")?,
            parallel_residual: keys.flag("use_parallel_residual")?,
            temperature_length: keys.count("attention.temperature_length", 1..=limits::CONTEXT_LENGTH_MAX)?,
            temperature_scale: keys.nonzero_number("attention.temperature_scale")?,
            short_convolution_length: keys.count("shortconv.l_cache", 1..=64)?,
            shared_kv_layer_count: keys.count("attention.shared_kv_layers", 0..=block_count)?.unwrap_or(0),
            relative_bucket_count: keys.count("attention.relative_buckets_count", 2..=4096)?,
            decoder_layer_count: keys.count("decoder_block_count", 1..=block_count)?,
            decoder_start_token: keys
                .count("decoder_start_token_id", 0..=vocabulary_size(&keys, metadata)?.saturating_sub(1))?
                .and_then(|token| u32::try_from(token).ok()),
            prompt_end_token: prompt_end_token(metadata, vocabulary_size(&keys, metadata)?)?,
            per_layer_embedding_size: keys
                .count("embedding_length_per_layer_input", 0..=limits::HIDDEN_SIZE_MAX)?
                .filter(|size| *size > 0),
            is_causal: keys.flag("attention.causal")?,
            pooling: Pooling::read(&keys, "pooling_type")?,
            classifier_pooling: Pooling::read(&keys, "classifier.pooling_type")?,
            token_type_count: token_type_count(metadata)?,
            hidden_activation: keys.text("hidden_activation")?.map(str::to_owned),
            architecture,
        })
    }

    /// The name of a key of this architecture, for messages.
    pub fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    /// Whether this layer is one of those with a sliding window: by the file's pattern, or all but every
    /// `default_period`-th.
    pub fn has_window(&self, layer_index: usize, default_period: usize) -> bool {
        match &self.window_pattern {
            Some(pattern) => pattern.has_window(layer_index),
            None => WindowPattern::Period(default_period).has_window(layer_index),
        }
    }

    /// The same, where of each period the first layer is the one without a window.
    pub fn has_window_after_first(&self, layer_index: usize, default_period: usize) -> bool {
        let period = match &self.window_pattern {
            Some(WindowPattern::Layers(layers)) => return layers[layer_index],
            Some(WindowPattern::Period(period)) => *period,
            None => default_period,
        };
        period == 0 || !layer_index.is_multiple_of(period)
    }

    /// Whether this layer is one of the first, which have one network for every token in place of experts.
    pub fn is_leading_dense(&self, layer_index: usize) -> bool {
        self.experts.as_ref().is_none_or(|experts| layer_index < experts.leading_dense_layer_count)
    }

    /// Whether this layer is recurrent: as the file lists, or all but every `full_attention_interval`-th.
    pub fn is_recurrent(&self, layer_index: usize, default_interval: usize) -> bool {
        match &self.recurrent_layers {
            Some(layers) => layers[layer_index],
            None => !(layer_index + 1).is_multiple_of(self.full_attention_interval.unwrap_or(default_interval)),
        }
    }
}

/// Head counts are read layer by layer: each either has no attention, or key and value heads that divide the others.
fn check_heads(keys: &Keys<'_>, head_counts: &[usize], kv_head_counts: &[usize]) -> Result<(), ModelError> {
    for (layer_index, (&heads, &kv_heads)) in head_counts.iter().zip(kv_head_counts).enumerate() {
        if heads > 0 && kv_heads > 0 && !heads.is_multiple_of(kv_heads) {
            let expected = format!("a divisor of the {heads} query heads of layer {layer_index}");
            return Err(keys.wrong("attention.head_count_kv", kv_heads, expected));
        }
        if heads == 0 && kv_heads > 0 {
            let expected = format!("more than 0 in layer {layer_index}, which has {kv_heads} key and value heads");
            return Err(keys.wrong("attention.head_count", heads, expected));
        }
    }
    Ok(())
}

/// Widths of heads, and how much of them is turned.
struct HeadDims {
    key: usize,
    value: usize,
    window_key: usize,
    window_value: usize,
    rope: usize,
    window_rope: usize,
}

impl HeadDims {
    fn read(keys: &Keys<'_>, hidden_size: usize, head_counts: &[usize]) -> Result<HeadDims, ModelError> {
        let dim = |key: &str| keys.count(key, 1..=limits::HEAD_DIM_MAX);
        let head_count = head_counts.iter().copied().find(|count| *count > 0);
        let split = match head_count {
            None => 0,
            Some(count) if hidden_size.is_multiple_of(count) => hidden_size / count,
            // Only needed where the file does not give the width itself.
            Some(_) if dim("attention.key_length")?.is_some() && dim("attention.value_length")?.is_some() => 0,
            Some(count) => {
                let expected = format!("a divisor of the embedding_length {hidden_size}, or an attention.key_length");
                return Err(keys.wrong("attention.head_count", count, expected));
            }
        };
        let key = dim("attention.key_length")?.unwrap_or(split);
        let value = dim("attention.value_length")?.unwrap_or(split);
        let window_key = dim("attention.key_length_swa")?.unwrap_or(key);
        let window_value = dim("attention.value_length_swa")?.unwrap_or(value);
        let rope = rope_dimension_count(keys, "rope.dimension_count", key)?.unwrap_or(key);
        let window_rope = rope_dimension_count(keys, "rope.dimension_count_swa", window_key)?;
        let window_rope = window_rope.unwrap_or(rope.min(window_key));
        Ok(HeadDims { key, value, window_key, window_value, rope, window_rope })
    }
}

fn rope_dimension_count(keys: &Keys<'_>, key: &str, head_dim: usize) -> Result<Option<usize>, ModelError> {
    let count = keys.count(key, 0..=head_dim.max(1))?;
    match count {
        Some(count) if !count.is_multiple_of(2) => Err(keys.wrong(key, count, "an even number".into())),
        count => Ok(count),
    }
}

/// The end token, unless prompts do not end with it; files that leave that open are asked of encoders only, which were trained
/// with it.
fn prompt_end_token(metadata: &Metadata, vocabulary_size: usize) -> Result<Option<u32>, ModelError> {
    let token = metadata.optional_u64("tokenizer.ggml.eos_token_id")?.and_then(|token| u32::try_from(token).ok());
    let ends_with_it = metadata.optional_bool("tokenizer.ggml.add_eos_token")?.unwrap_or(true);
    Ok(token.filter(|token| ends_with_it && (*token as usize) < vocabulary_size))
}

/// The tokenizer's list tells; without one, the key.
fn vocabulary_size(keys: &Keys<'_>, metadata: &Metadata) -> Result<usize, ModelError> {
    if let Some(tokens) = metadata.optional_strings("tokenizer.ggml.tokens")? {
        let count = tokens.len();
        if !(1..=limits::VOCABULARY_SIZE_MAX).contains(&count) {
            return Err(ModelError::Parameter {
                key: "tokenizer.ggml.tokens".into(),
                found: format!("{count} tokens"),
                expected: format!("1 to {}", limits::VOCABULARY_SIZE_MAX),
            });
        }
        return Ok(count);
    }
    keys.required_count("vocab_size", 1..=limits::VOCABULARY_SIZE_MAX)
}

/// The tokenizer has it, since a text of a pair may be of two kinds.
fn token_type_count(metadata: &Metadata) -> Result<Option<usize>, ModelError> {
    const KEY: &str = "tokenizer.ggml.token_type_count";
    match metadata.optional_u64(KEY)? {
        None => Ok(None),
        Some(count @ 1..=64) => Ok(Some(count as usize)),
        Some(count) => {
            let expected = "1 to 64".to_owned();
            Err(ModelError::Parameter { key: KEY.into(), found: count.to_string(), expected })
        }
    }
}

fn rope_scaling(keys: &Keys<'_>, context_length: usize) -> Result<RopeScaling, ModelError> {
    let kind = match keys.text("rope.scaling.type")? {
        None | Some("linear") => ScalingKind::Linear,
        Some("none") => ScalingKind::None,
        Some("yarn") => ScalingKind::Yarn,
        Some("longrope") => ScalingKind::LongRope,
        Some(other) => {
            let expected = "`none`, `linear`, `yarn` or `longrope`";
            return Err(keys.wrong("rope.scaling.type", format!("`{other}`"), expected.into()));
        }
    };
    let factor_range = 0.0..=1e6;
    let factor = match keys.number("rope.scaling.factor", factor_range.clone())? {
        Some(factor) => Some(factor),
        // The key's name before scaling had types.
        None => keys.number("rope.scale_linear", factor_range)?,
    };
    let original = keys.count("rope.scaling.original_context_length", 1..=limits::CONTEXT_LENGTH_MAX)?;
    Ok(RopeScaling {
        kind,
        // A factor of 0 stands for none.
        factor: factor.filter(|factor| *factor > 0.0).unwrap_or(1.0),
        attention_factor: keys.nonzero_number("rope.scaling.attn_factor")?.unwrap_or(1.0),
        original_context_length: original.unwrap_or(context_length),
        yarn_log_multiplier: keys.number("rope.scaling.yarn_log_multiplier", 0.0..=100.0)?.unwrap_or(0.0),
        yarn_beta_fast: keys.number("rope.scaling.yarn_beta_fast", 1e-3..=1e6)?.unwrap_or(32.0),
        yarn_beta_slow: keys.number("rope.scaling.yarn_beta_slow", 1e-3..=1e6)?.unwrap_or(1.0),
    })
}
