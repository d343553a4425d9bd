//! The words in which an architecture is declared.
//!
//! A declaration says what a model is made of; it computes nothing. The parts of a model are functions of its
//! configuration, so that a declaration can look at a layer's index or at a hyper-parameter; everything they return is
//! plain data. Loading, sizing, quantizing and the tests read the same declaration ([`crate::tensor_needs`]).
//!
//! Tensors are named by their GGUF stems: `attn_q` in layer 3 is `blk.3.attn_q.weight`, with `blk.3.attn_q.bias` used
//! where the file has it.

mod ffn;
mod gated_streams;
mod indexer;
mod mixer;
mod per_layer;
mod recurrent;
mod residual;
mod rope;
pub mod source;
mod streams;

pub use ffn::{
    AdjugateExperts, DenseAndExperts, DenseFfn, ExpertScoring, ExpertsFfn, Ffn, Gate, LatentExperts, LayerInput,
    SharedExperts, SharedPresence,
};
pub use gated_streams::{GatedStream, GatedStreams, NgramEmbedding};
pub use indexer::{CompressedAttention, Compressor, Indexer, IndexerHeads, IndexerKeys, KeyChoice, KeyUnit};
pub use lair_compute::{ExpertGroups, GateFunction, GateSpan, OutputGate, StreamMixing, Temperature, Weighing};
pub use mixer::{
    Attention, AttentionGate, CrossAttention, KvSource, LatentAttention, Mixer, NormSpan, Projections, QueryProjection,
    RelativeBias, Sinks, ValueSource,
};
pub use per_layer::{AltUp, Laurel, PerLayerEmbedding, PerLayerInput, StreamEmbedding};
pub use recurrent::{
    ChannelMix, DecayForm, DecayedAttention, DeltaRates, FirstValues, GatedDeltaNet, KeyDeltaNet, KeyHeads, Mamba,
    Mamba2, MambaForm, RwkvGeneration, ShortConvolution, TimeMix,
};
pub use residual::{BankedResidual, Turn, TurnState};
pub use rope::{Rope, RopeFactors, RopeScaling, ScalingKind};
pub use source::Source;
pub use streams::{HyperConnections, StreamMix};

use crate::config::Pooling;
use crate::{ModelConfig, ModelError};

/// What a model is made of. One constant for each architecture, listed in [`crate::architectures::ALL`].
#[derive(Clone, Copy, Debug)]
pub struct Architecture {
    /// The value of `general.architecture`.
    pub gguf_name: &'static str,
    /// The class names of `config.json` that convert to it.
    pub hf_names: &'static [&'static str],
    /// From tokens to the residual stream.
    pub embedding: fn(&ModelConfig) -> Embedding,
    /// What stands before a layer's index in the names of its tensors.
    pub layer_prefix: &'static str,
    /// The layer of this index.
    pub layer: fn(&ModelConfig, usize) -> Layer,
    /// The index in the names of its tensors: layers that give the same one share their weights.
    pub block_of: fn(&ModelConfig, usize) -> usize,
    /// From the residual stream to logits.
    pub head: fn(&ModelConfig) -> Head,
    /// Whether models of it give hidden states and no text.
    pub is_encoder: bool,
    /// Whether models of it see a whole text at once and replace the tokens of it that are masked (diffusion), so that none
    /// can be generated one by one.
    pub is_diffusion: bool,
    /// Whether files have adapters for the products of every layer, which tokens switch on
    /// ([`crate::config::SwitchConfig`]).
    pub has_own_adapters: bool,
    /// How a classifier of pooled hidden states works, where a file has one.
    pub classifier: Classifier,
    /// What runs before the decoder and is attended to by it; `None` in a decoder.
    pub encoder: Option<Encoder>,
    /// Whether a file says all that a declaration must know beyond widths.
    pub check: fn(&ModelConfig) -> Result<(), ModelError>,
    /// Tensors that files of this architecture may carry and that are not used: whole names, starts that end in `.`, or
    /// ends that begin with `.`.
    pub ignored_tensors: &'static [&'static str],
    /// How checkpoints of the Hugging Face layout name and store the tensors; `None` where that is not stated, and such
    /// checkpoints are not converted.
    pub source: Option<Source>,
}

impl Architecture {
    /// A decoder of pre-norm layers; a declaration names what differs.
    pub const DECODER: Architecture = Architecture {
        gguf_name: "",
        hf_names: &[],
        embedding: |_| Embedding::TOKENS,
        layer_prefix: "blk",
        layer: |_, _| Layer::PRE_NORM,
        block_of: |_, layer_index| layer_index,
        head: |_| Head::LOGITS,
        is_encoder: false,
        is_diffusion: false,
        has_own_adapters: false,
        classifier: Classifier::TANH,
        encoder: None,
        check: |_| Ok(()),
        ignored_tensors: &[],
        source: None,
    };

    /// What the names of this layer's tensors begin with: `blk.3.`.
    pub fn prefix_of(&self, config: &ModelConfig, layer_index: usize) -> String {
        format!("{}.{}.", self.layer_prefix, (self.block_of)(config, layer_index))
    }

    /// How many layers share the weights of the block of this index.
    pub fn layers_of_block(&self, config: &ModelConfig, block_index: usize) -> usize {
        (0..config.layer_count).filter(|layer_index| (self.block_of)(config, *layer_index) == block_index).count()
    }

    /// What models of this configuration give: where tokens see those that follow, none can be generated one by one, and
    /// there are hidden states only, but for models that write by diffusion.
    pub fn output_in(&self, config: &ModelConfig) -> HeadOutput {
        match config.is_causal {
            Some(false) if !self.is_diffusion => HeadOutput::HiddenState,
            _ => (self.head)(config).output,
        }
    }
}

/// A norm, and the stem of its weight. What is added under the root is the file's, where the norm does not say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Norm {
    /// No norm.
    None,
    /// Root mean square, with a weight.
    Rms(&'static str),
    /// Root mean square, with a weight, where the file has it; else no norm.
    RmsIfThere(&'static str),
    /// Root mean square, with the first of two weights that the file has; it has one (Grok 1 and 2).
    RmsEither(&'static str, &'static str),
    /// Root mean square, with weight and bias (Phi 3.5 MoE).
    RmsBiased(&'static str),
    /// Root mean square, with a weight, and so much added under the root.
    RmsAdding(&'static str, f32),
    /// Root mean square, with a weight in the tensor of this whole name within the layer (PLaMo).
    RmsNamed(&'static str),
    /// Root mean square without a weight.
    RmsUnweighted,
    /// Mean and variance, with weight and bias.
    Layer(&'static str),
    /// Mean and variance, with a weight only, or a bias where the file has one.
    LayerUnbiased(&'static str),
    /// Mean and variance, with a weight and the bias the file has, where it has them; else no norm.
    LayerIfThere(&'static str),
    /// Mean and variance, with a weight and the bias the file has, and so much added under the root.
    LayerAdding(&'static str, f32),
    /// Mean and variance without a weight.
    LayerUnweighted,
}

impl Norm {
    /// The stem of the weight, if there is one.
    pub fn stem(self) -> Option<&'static str> {
        match self {
            Norm::Rms(stem) | Norm::RmsIfThere(stem) | Norm::RmsEither(stem, _) => Some(stem),
            Norm::RmsBiased(stem) | Norm::Layer(stem) => Some(stem),
            Norm::LayerUnbiased(stem) | Norm::LayerIfThere(stem) => Some(stem),
            Norm::RmsAdding(stem, _) | Norm::RmsNamed(stem) | Norm::LayerAdding(stem, _) => Some(stem),
            Norm::None | Norm::RmsUnweighted | Norm::LayerUnweighted => None,
        }
    }

    /// The name of the weight within the layer, if there is one.
    pub fn weight_name(self) -> Option<String> {
        match self {
            Norm::RmsNamed(name) => Some(name.to_owned()),
            norm => norm.stem().map(|stem| format!("{stem}.weight")),
        }
    }

    /// Whether there is none where the file has no weight for it.
    pub fn is_optional(self) -> bool {
        matches!(self, Norm::RmsIfThere(_) | Norm::LayerIfThere(_))
    }
}

/// From tokens to the residual stream: `norm(scale * table[token] + positions[position])`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Embedding {
    /// Stem of the table, `[vocabulary_size, hidden_size]`.
    pub table: &'static str,
    /// Factor on the rows.
    pub scale: f32,
    /// Learned positions.
    pub positions: Positions,
    /// Token types (segments): stem and how many; every token is of the first (BERT).
    pub token_types: Option<(&'static str, usize)>,
    /// Norm of the sum.
    pub norm: Norm,
    /// A second, small embedding for every layer (Gemma 3n and 4).
    pub per_layer: Option<PerLayerEmbedding>,
    /// Further residual streams (Gemma 3n).
    pub streams: Option<StreamEmbedding>,
    /// Name of what the faster of two states begins as, `[hidden_size]` ([`Turn`]).
    pub fast_state: Option<&'static str>,
}

impl Embedding {
    /// The table alone.
    pub const TOKENS: Embedding = Embedding {
        table: "token_embd",
        scale: 1.0,
        positions: Positions::None,
        token_types: None,
        norm: Norm::None,
        per_layer: None,
        streams: None,
        fast_state: None,
    };
}

/// Learned positions: stem of `[context_length, hidden_size]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positions {
    /// There are none.
    None,
    /// The file has them.
    Learned(&'static str),
    /// The file may have them (MPT).
    IfThere(&'static str),
}

impl Positions {
    /// The stem of the table, if there can be one.
    pub fn stem(self) -> Option<&'static str> {
        match self {
            Positions::None => None,
            Positions::Learned(stem) | Positions::IfThere(stem) => Some(stem),
        }
    }
}

/// How a layer's two halves stand to the residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residual {
    /// The mixer is added, then the feed-forward network reads the sum.
    Sequential,
    /// Both read the same input and are added: each by its own norm, or both by the one norm that there is.
    Parallel,
    /// Sequential where the file has a norm for the feed-forward network, else parallel (StableLM).
    SequentialIfNormed,
}

/// One layer: a mixer and a feed-forward network.
///
/// ```text
/// x += residual_scale * mixer_output_norm(mixer(mixer_norm(x)));   x = mixer_stream_norm(x)
///                                                                  x = mixer_second_norm(x + input)
/// x += residual_scale * ffn_output_norm(ffn(ffn_norm(x)));         x = ffn_stream_norm(x)
///                                                                  x += embedding_skip * embedding
/// x += norm(projection(gelu(gate(x)) * per_layer_embedding));      x *= output_scale
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layer {
    /// Norm of the mixer's input (pre-norm).
    pub mixer_norm: Norm,
    /// What mixes tokens.
    pub mixer: Mixer,
    /// A state space that reads what the mixer reads; its output is added too (Falcon-H1).
    pub beside: Option<Mamba2>,
    /// Norm of the mixer's output, before it is added (sandwich).
    pub mixer_output_norm: Norm,
    /// Norm of the sum (post-norm, as in BERT).
    pub mixer_stream_norm: Norm,
    /// Norm of the sum of that and the layer's input, which is added a second time (Jina 2).
    pub mixer_second_norm: Norm,
    /// Attention to an encoder's output, after the mixer.
    pub cross: Option<CrossAttention>,
    /// Norm of the feed-forward network's input. In a parallel layer, `None` means that it reads the mixer's input.
    pub ffn_norm: Norm,
    /// What works on each token.
    pub ffn: Ffn,
    /// Norm of its output, before it is added.
    pub ffn_output_norm: Norm,
    /// Norm of the sum.
    pub ffn_stream_norm: Norm,
    /// How the halves are connected.
    pub residual: Residual,
    /// Both halves are added to their normalised input times this, instead of the stream (MiniMax-01).
    pub normed_stream: Option<f32>,
    /// Factor on what each half adds.
    pub residual_scale: f32,
    /// A product of two narrow matrices beside the mixer (Gemma 3n).
    pub laurel: Option<Laurel>,
    /// How the residual streams of the model pass through the layer (Gemma 3n).
    pub altup: Option<AltUp>,
    /// Residual streams that both halves read and write by learned factors (DeepSeek V4).
    pub hyper: Option<HyperConnections>,
    /// The layer's own embedding, mixed in last.
    pub per_layer_input: Option<PerLayerInput>,
    /// Stem of one number that multiplies the layer's result (Gemma 4).
    pub output_scale: Option<&'static str>,
    /// Stem of one number: the embedding times it is added to the layer's result (Talkie).
    pub embedding_skip: Option<&'static str>,
    /// Both halves read means of states of the residual stream (Kimi K3).
    pub banked: Option<BankedResidual>,
    /// What it has to do with two states that take turns (HRM).
    pub turn: Turn,
    /// Residual streams that both halves read by gates (Qwen 4).
    pub gated: Option<GatedStreams>,
    /// Embeddings of the last tokens that are added to the streams before the layer (Qwen 4).
    pub ngrams: Option<NgramEmbedding>,
}

impl Layer {
    /// RMS norms before standard attention and SwiGLU.
    pub const PRE_NORM: Layer = Layer {
        mixer_norm: Norm::Rms("attn_norm"),
        mixer: Mixer::Attention(Attention::STANDARD),
        beside: None,
        mixer_output_norm: Norm::None,
        mixer_stream_norm: Norm::None,
        mixer_second_norm: Norm::None,
        cross: None,
        ffn_norm: Norm::Rms("ffn_norm"),
        ffn: Ffn::Dense(DenseFfn::SWIGLU),
        ffn_output_norm: Norm::None,
        ffn_stream_norm: Norm::None,
        residual: Residual::Sequential,
        normed_stream: None,
        residual_scale: 1.0,
        laurel: None,
        altup: None,
        hyper: None,
        per_layer_input: None,
        output_scale: None,
        embedding_skip: None,
        banked: None,
        turn: Turn::NONE,
        gated: None,
        ngrams: None,
    };
}

/// From the residual stream to logits: `softcap(scale * output(norm(x)))`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Head {
    /// Norm of the input.
    pub norm: Norm,
    /// What is made of it.
    pub output: HeadOutput,
    /// Factor on the logits.
    pub scale: f32,
    /// `softcap * tanh(logit / softcap)`.
    pub softcap: Option<f32>,
    /// The first token of a range that is never chosen, and the first one behind it: their logits are the lowest number
    /// (pictures of Chameleon).
    pub left_out: Option<(usize, usize)>,
    /// Stem of the products that bring further residual streams back, `[streams - 1, hidden_size, hidden_size]`: the head
    /// reads the mean of all (Gemma 3n).
    pub streams: Option<&'static str>,
    /// Stem of the scores by which it reads a mean of states of the residual stream ([`BankedResidual`]).
    pub banked_score: Option<&'static str>,
    /// How it reads streams ([`GatedStreams`]).
    pub gated: Option<GatedStream>,
    /// What it reads of streams that layers read and write by learned factors.
    pub hyper: Option<StreamMix>,
}

impl Head {
    /// RMS norm and `output`, or the embedding's table where the file has no `output`.
    pub const LOGITS: Head = Head {
        norm: Norm::Rms("output_norm"),
        output: HeadOutput::Logits("output"),
        scale: 1.0,
        softcap: None,
        left_out: None,
        streams: None,
        banked_score: None,
        gated: None,
        hyper: None,
    };
}

/// A classifier of a pooled hidden state: `softmax(output(norm(activation(dense(x)))))`, each part where the file has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Classifier {
    /// What lies between the two products.
    pub activation: PooledActivation,
    /// Whether scores are brought to a sum of one (Qwen3-Reranker: yes and no).
    pub has_softmax: bool,
    /// What it reads if the file does not say.
    pub pooling: Pooling,
}

/// What lies between the products of a classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PooledActivation {
    /// Hyperbolic tangent (BERT, RoBERTa).
    Tanh,
    /// GELU (ModernBERT).
    Gelu,
}

impl Classifier {
    /// That of BERT, which reads the first token.
    pub const TANH: Classifier =
        Classifier { activation: PooledActivation::Tanh, has_softmax: false, pooling: Pooling::First };
}

/// What a model gives for each token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadOutput {
    /// A score for each token of the vocabulary: stem of `[vocabulary_size, hidden_size]`; tied if it is missing.
    Logits(&'static str),
    /// The hidden state itself, to be pooled (embedding models).
    HiddenState,
}

/// What an encoder reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EncoderInput {
    /// Tokens, through an embedding.
    Tokens(Embedding),
    /// Frames of a spectrogram, through convolutions over time, with learned positions (Whisper).
    Spectrogram {
        /// Stems of the convolutions, `[hidden_size, channels, 3]`; the last one has a stride of 2.
        convolutions: [&'static str; 2],
        /// Stem of the positions, `[frame_count, hidden_size]`.
        positions: &'static str,
        /// Channels of the spectrogram.
        channel_count: usize,
        /// Frames behind the convolutions.
        frame_count: usize,
    },
}

/// What runs once before a decoder: its layers are attended to by [`CrossAttention`].
#[derive(Clone, Copy, Debug)]
pub struct Encoder {
    /// What stands before the stems of its layers, in place of `blk`.
    pub prefix: &'static str,
    /// How many layers it has.
    pub layer_count: fn(&ModelConfig) -> usize,
    /// What it reads.
    pub input: fn(&ModelConfig) -> EncoderInput,
    /// The layer of this index.
    pub layer: fn(&ModelConfig, usize) -> Layer,
    /// Norm of its result.
    pub norm: Norm,
}
