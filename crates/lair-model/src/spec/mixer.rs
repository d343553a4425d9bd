//! Mixers: what lets a token see others.

use lair_compute::{Mask, NormOrder, OutputGate, Temperature};

use super::{
    CompressedAttention, DecayedAttention, GatedDeltaNet, KeyChoice, KeyDeltaNet, Mamba, Mamba2, Norm, Rope,
    ShortConvolution, TimeMix,
};

/// What mixes tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mixer {
    /// Nothing: the layer is its feed-forward network.
    None,
    /// Softmax attention over keys and values.
    Attention(Attention),
    /// Softmax attention over compressed keys and values.
    LatentAttention(LatentAttention),
    /// Softmax attention over a window and over compressed keys.
    CompressedAttention(CompressedAttention),
    /// Linear attention with the gated delta rule.
    GatedDeltaNet(GatedDeltaNet),
    /// State space with one decay a head.
    Mamba2(Mamba2),
    /// State space whose time steps, `B` and `C` come of its own channels.
    Mamba(Mamba),
    /// Linear attention with a constant decay.
    DecayedAttention(DecayedAttention),
    /// Linear attention with the gated delta rule and a decay for each key element.
    KeyDeltaNet(KeyDeltaNet),
    /// The time mixing of RWKV.
    TimeMix(TimeMix),
    /// Gated convolution over the last few tokens.
    ShortConvolution(ShortConvolution),
    /// One product of the token itself, `[hidden_size, hidden_size]`: what is left of attention that was found needless
    /// (Deci).
    Linear(&'static str),
}

/// Where the projections to queries, keys and values lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Projections {
    /// Stem of the queries, `[head_count * key_dim, hidden_size]`.
    pub q: &'static str,
    /// Stem of the keys, `[kv_head_count * key_dim, hidden_size]`.
    pub k: &'static str,
    /// Stem of the values, `[kv_head_count * value_dim, hidden_size]`.
    pub v: &'static str,
    /// Stem of all three in one, used instead where the file has it: queries, then keys, then values.
    pub fused: &'static str,
}

/// What is normalised together in queries and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormSpan {
    /// Each head by itself, with one weight for all heads.
    Head,
    /// All heads of a token, with a weight for each element (OLMo 2).
    Row,
    /// Each head by itself, with a weight for each element of each head, `[heads, head_dim]` (Chameleon, PLaMo 2).
    HeadOfRow,
    /// Each head by itself, with one factor a head, `[heads, 1]` (Talkie).
    HeadFactor,
}

/// Learned biases by distance, one for each head and bucket of distances (Raffel et al., "Exploring the Limits of Transfer
/// Learning", section 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelativeBias {
    /// Stem of the tensor, `[buckets, head_count]`.
    pub stem: &'static str,
    /// Prefix of the layer whose biases serve those that have none: `dec.blk.0.`.
    pub first_layer: &'static str,
    /// How many buckets there are.
    pub bucket_count: usize,
}

/// What the output of attention is multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttentionGate {
    /// Nothing.
    None,
    /// The sigmoid of rows that lie beside each head's queries in the query projection (Qwen 3.5).
    BesideQueries,
    /// The sigmoid of a projection of this stem, `[head_count * value_dim, hidden_size]`.
    Tensor(&'static str),
    /// A function of a projection of this stem, for each element or each head.
    Projection(&'static str, OutputGate),
}

/// Where keys and values come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvSource {
    /// The layer's own projections.
    Own,
    /// The cache of an earlier layer (Gemma 3n and 4).
    Layer(usize),
}

/// Where values come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueSource {
    /// Their own projection.
    Projection,
    /// The keys before norm and rotary embedding, where the file has no projection of values (Gemma 4).
    KeysIfMissing,
}

/// One score for each head that takes part in the softmax and has no value (gpt-oss).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sinks {
    /// There are none.
    None,
    /// In a tensor of this stem.
    Tensor(&'static str),
    /// In a tensor of this stem, where the file has it.
    IfThere(&'static str),
}

/// Softmax attention over keys and values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// The projections in.
    pub projections: Projections,
    /// Stem of the projection out, `[hidden_size, head_count * value_dim]`.
    pub output: &'static str,
    /// Norm of the heads' output before the projection out (BitNet).
    pub inner_norm: Norm,
    /// Elements of a query or key head; the configuration's if `None`.
    pub key_dim: Option<usize>,
    /// Elements of a value head; the configuration's if `None`.
    pub value_dim: Option<usize>,
    /// Norm of queries.
    pub q_norm: Norm,
    /// Norm of keys.
    pub k_norm: Norm,
    /// Norm of values.
    pub v_norm: Norm,
    /// What these norms take together.
    pub norm_span: NormSpan,
    /// When queries and keys are normalised.
    pub norm_order: NormOrder,
    /// How queries and keys are turned; `None` leaves them.
    pub rope: Option<Rope>,
    /// Factor on the scores; `1 / sqrt(key_dim)` if `None`.
    pub scale: Option<f32>,
    /// `softcap * tanh(score / softcap)`.
    pub softcap: Option<f32>,
    /// Which keys are seen.
    pub mask: Mask,
    /// Scores without a value.
    pub sinks: Sinks,
    /// Largest slope of linear biases (Press et al., "ALiBi").
    pub alibi_bias_max: Option<f32>,
    /// Learned biases by distance (T5).
    pub relative_bias: Option<RelativeBias>,
    /// Queries, keys and values are held within this magnitude.
    pub clamp: Option<f32>,
    /// What multiplies the heads' output.
    pub gate: AttentionGate,
    /// Where keys and values come from.
    pub kv_source: KvSource,
    /// Where values come from.
    pub value_source: ValueSource,
    /// Growth of queries with their position.
    pub temperature: Option<Temperature>,
    /// Factor on what the projection out gives.
    pub output_scale: f32,
    /// Which keys are read of those that are seen.
    pub choice: KeyChoice,
}

impl Attention {
    /// Causal attention with four projections, without norms or rotary embedding.
    pub const STANDARD: Attention = Attention {
        projections: Projections { q: "attn_q", k: "attn_k", v: "attn_v", fused: "attn_qkv" },
        output: "attn_output",
        inner_norm: Norm::None,
        key_dim: None,
        value_dim: None,
        q_norm: Norm::None,
        k_norm: Norm::None,
        v_norm: Norm::None,
        norm_span: NormSpan::Head,
        norm_order: NormOrder::BeforeRope,
        rope: None,
        scale: None,
        softcap: None,
        mask: Mask::Causal,
        sinks: Sinks::None,
        alibi_bias_max: None,
        relative_bias: None,
        clamp: None,
        gate: AttentionGate::None,
        kv_source: KvSource::Own,
        value_source: ValueSource::Projection,
        temperature: None,
        output_scale: 1.0,
        choice: KeyChoice::All,
    };
}

/// How latent attention makes its queries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum QueryProjection {
    /// One product.
    Full(&'static str),
    /// Two products with a norm between.
    LowRank {
        /// Stem of the narrowing product, `[rank, hidden_size]`.
        down: &'static str,
        /// Norm between.
        norm: Norm,
        /// Stem of the widening product, `[head_count * key_dim, rank]`.
        up: &'static str,
        /// Width between.
        rank: usize,
    },
}

/// Attention over compressed keys and values (DeepSeek-AI, "DeepSeek-V2", section 2.1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatentAttention {
    /// Queries.
    pub query: QueryProjection,
    /// Stem of `[kv_rank + rope_dim, hidden_size]`: the compressed keys and values, and the key part that is turned.
    pub kv_down: &'static str,
    /// Norm of the compressed part.
    pub kv_norm: Norm,
    /// Norm of the key part that is turned, before it is.
    pub rope_norm: Norm,
    /// Stem of `[head_count, kv_rank, nope_dim]`: takes queries to the compressed space.
    pub k_up: &'static str,
    /// Stem of `[head_count, value_dim, kv_rank]`: takes the result back.
    pub v_up: &'static str,
    /// Stem of both in one, `[head_count * (nope_dim + value_dim), kv_rank]`, used instead where the file has it: for each
    /// head what makes its keys, then what makes its values.
    pub kv_up: &'static str,
    /// Stem of the projection out.
    pub output: &'static str,
    /// Width of the compressed keys and values.
    pub kv_rank: usize,
    /// Elements of a query head that are compared in the compressed space.
    pub nope_dim: usize,
    /// Elements of a query head that are turned.
    pub rope_dim: usize,
    /// Elements of a value head.
    pub value_dim: usize,
    /// How the turned part is turned; `None` leaves it.
    pub rope: Option<Rope>,
    /// Factor on the scores.
    pub scale: f32,
    /// Which keys are seen.
    pub mask: Mask,
    /// Scores without a value.
    pub sinks: Sinks,
    /// Growth of queries with their position.
    pub temperature: Option<Temperature>,
    /// What multiplies the heads' output, in the widened space.
    pub gate: Option<(&'static str, OutputGate)>,
    /// Which keys are read of those that are seen. An indexer's queries are made of narrow ones.
    pub choice: KeyChoice,
}

impl LatentAttention {
    /// As DeepSeek V2 and those after it have it, with the widths that the file gives. Where it gives none they are 0, and
    /// the list of tensors refuses the model by the key that is missing.
    pub fn of(config: &crate::ModelConfig) -> LatentAttention {
        let none =
            crate::config::LatentConfig { q_rank: None, kv_rank: 0, key_dim: 0, value_dim: 0, of_windows: (0, 0, 0) };
        let latent = config.latent.as_ref().unwrap_or(&none);
        let rope_dim = config.rope_dimension_count;
        let (rope, magnitude) = Rope::interleaved(config).of_latent_attention();
        let query = match latent.q_rank {
            None => QueryProjection::Full("attn_q"),
            Some(rank) => {
                QueryProjection::LowRank { down: "attn_q_a", norm: Norm::Rms("attn_q_a_norm"), up: "attn_q_b", rank }
            }
        };
        LatentAttention {
            query,
            kv_down: "attn_kv_a_mqa",
            kv_norm: Norm::Rms("attn_kv_a_norm"),
            rope_norm: Norm::None,
            k_up: "attn_k_b",
            v_up: "attn_v_b",
            kv_up: "attn_kv_b",
            output: "attn_output",
            kv_rank: latent.kv_rank,
            nope_dim: latent.key_dim.saturating_sub(rope_dim),
            rope_dim,
            value_dim: latent.value_dim,
            rope: Some(rope),
            scale: magnitude * magnitude / (latent.key_dim as f32).sqrt(),
            mask: Mask::Causal,
            sinks: Sinks::None,
            temperature: None,
            gate: None,
            choice: KeyChoice::All,
        }
    }
}

/// Attention to an encoder's output, with its own norm before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossAttention {
    /// Norm of the input.
    pub norm: Norm,
    /// The attention; keys and values are projections of the encoder's output.
    pub attention: Attention,
}
