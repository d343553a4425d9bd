//! How checkpoints of the Hugging Face layout (`config.json` and safetensors) name and store what a declaration needs.
//!
//! A family shares its names ([`LLAMA_NAMES`]); a declaration states only what differs. Sources: the model classes of
//! `transformers` for the names on the left, the GGUF specification for those on the right.

mod derived;
mod further;
mod names;
mod published;

pub use derived::Derived;
pub use further::*;
pub use names::*;
pub use published::*;

/// What a converter has to know of an architecture's checkpoints.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Names that differ from the family's; looked up first.
    pub names: &'static [Renaming],
    /// The same for checkpoints without experts; looked up before those.
    pub dense_names: &'static [Renaming],
    /// Names that a family shares.
    pub family: &'static [Renaming],
    /// What stands before all names, where a checkpoint has it: `model.`.
    pub roots: &'static [&'static str],
    /// What is changed in every tensor of a GGUF stem, whatever it was called.
    pub changes: &'static [(&'static str, Change)],
    /// Whether norms add 1 to their weights, which GGUF files have in the weights.
    pub norm_offset: NormOffset,
    /// Hyper-parameters beyond those that all models have.
    pub parameters: &'static [Parameter],
    /// Tensors that are left out: starts that end in `.`, or ends.
    pub left_out: &'static [&'static str],
    /// How a SentencePiece vocabulary says whether texts begin with a space, where it is not as it says itself.
    pub space_prefix: Option<bool>,
}

impl Source {
    /// Llama's names, everything as it is stored.
    pub const USUAL: Source = Source {
        names: &[],
        dense_names: &[],
        family: LLAMA_NAMES,
        roots: &["model."],
        changes: &[],
        norm_offset: NormOffset::None,
        parameters: &[],
        left_out: &[],
        space_prefix: None,
    };

    /// The part for text of a model that also sees, under Llama's names.
    pub const TEXT_PART: Source = Source {
        roots: &["model.language_model.", "language_model.model.", "model.", "language_model."],
        left_out: VISION,
        ..Source::USUAL
    };

    /// Llama's names, and queries and keys whose halves are turned against each other: GGUF files of these
    /// architectures turn neighbours.
    pub const LLAMA: Source = Source {
        changes: &[("attn_q", Change::NeighbourPairs), ("attn_k", Change::NeighbourPairs)],
        parameters: &[Parameter::VocabularySize, Parameter::RopeDimensions],
        ..Source::USUAL
    };
}

/// A tensor of the checkpoint and what GGUF calls it, both without `.weight` or `.bias`, which are kept.
///
/// A `*` stands for an index. The first is the layer's; a second one on the left is an expert's, and all experts make
/// one tensor. A name on the left may come twice: then it makes two tensors. One that ends in `.bias` is that of a bias alone,
/// which then is no other's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Renaming {
    /// The name in the checkpoint.
    pub from: &'static str,
    /// The name in a GGUF file.
    pub to: &'static str,
    /// What is changed in its shape, or the order of its rows.
    pub change: Change,
    /// What is changed in its numbers.
    pub values: Values,
    /// What stands behind the name in a GGUF file.
    pub end: End,
    /// Its place in a stack of tensors with one name.
    pub place: usize,
}

impl Renaming {
    /// A name alone.
    pub const fn new(from: &'static str, to: &'static str) -> Renaming {
        Renaming { from, to, change: Change::None, values: Values::Same, end: End::Same, place: 0 }
    }

    /// The same with a change.
    pub const fn with(self, change: Change) -> Renaming {
        Renaming { change, ..self }
    }

    /// The same with other numbers.
    pub const fn of(self, values: Values) -> Renaming {
        Renaming { values, ..self }
    }

    /// The same at a place of a stack.
    pub const fn at(self, place: usize) -> Renaming {
        Renaming { place, ..self }
    }

    /// The same with an end of its own.
    pub const fn ending(self, end: &'static str) -> Renaming {
        Renaming { end: End::Is(end), ..self }
    }
}

/// What stands behind a name in a GGUF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// What stands behind it in the checkpoint: `.weight`, also where nothing does, or `.bias`.
    Same,
    /// This.
    Is(&'static str),
}

/// What is changed in the numbers of a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Values {
    /// Nothing.
    Same,
    /// So much more.
    Plus(f32),
    /// Times the factor of the embedding, which files have in the weights.
    EmbeddingScale,
    /// The same for the head.
    HeadScale,
    /// Halved once for every so many layers before it, as the configuration says.
    HalvedByDepth,
    /// Of each head the rows of the second half with the other sign.
    NegatedSecondHalves,
    /// `-exp(x)`: decays, whose logarithms checkpoints keep.
    NegatedExponential,
}

/// What is changed in a tensor on its way. Shapes are those of the checkpoint, the slowest dimension first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// `[channels, 1, taps]` become `[channels, taps]`: a convolution of each channel alone.
    Channels,
    /// The numbers of a vector become rows of one number.
    Column,
    /// A vector becomes a row for each group of a state space.
    StateGroups,
    /// Every second column, from this one on: products that lie between one another.
    AlternateColumns(usize),
    /// The same, then rows and columns change places.
    AlternateColumnsTransposed(usize),
    /// Every second row, from this one on.
    AlternateRows(usize),
    /// Rows `[key heads, queries of each + 2, head_dim]` become those of all queries, of all keys, of all values
    /// (Falcon).
    KeyGroups,
    /// One part of such rows: 0 for queries, 1 for keys, 2 for values, in the order of halves or of neighbours
    /// (InternLM 2).
    KeyGroupPart {
        /// Which part.
        index: usize,
        /// Whether `i` of the first half of each head and `i` of the second become neighbours.
        as_neighbours: bool,
    },
    /// Of the rows of each key head of a delta net, its query, key, values and gates: those of queries, keys and values
    /// (Qwen3-Next).
    DeltaInputs,
    /// The same: those of the gates.
    DeltaGates,
    /// Behind the rows of queries and keys those of value heads, which come in turn: the first of each key head, then the
    /// second of each (Qwen 3.5).
    DeltaInputsInTurn,
    /// All rows are those of value heads, which come in turn.
    ValueHeadsInTurn,
    /// `[channels, 1, taps]` become `[channels, taps]`, then the rows as in [`Change::DeltaInputsInTurn`].
    DeltaChannelsInTurn,
    /// All columns are those of value heads, which come in turn.
    ValueHeadColumnsInTurn,
    /// Of rows of all query heads, then all keys, then all values: those of one part, in the order of halves or of
    /// neighbours.
    HeadPart {
        /// Which part.
        index: usize,
        /// Whether `i` of the first half of each head and `i` of the second become neighbours.
        as_neighbours: bool,
    },
    /// Query heads that use keys in turn come together by the key that they use (PLaMo 1).
    HeadsByKey,
    /// The same of columns.
    HeadColumnsByKey,
    /// The rows of all experts in one matrix, as a stack.
    ExpertRows,
    /// The same, then rows and columns of each change places.
    ExpertRowsTransposed,
    /// All numbers as one vector.
    Flat,
    /// The rows of positions behind those that stand for padding (RoBERTa).
    BehindPadding,
    /// Rows and columns change places: GPT-2's weights are `[inputs, outputs]`.
    Transposed,
    /// Of the rows of each head, `i` of the first half and `i` of the second become neighbours.
    NeighbourPairs,
    /// Rows `[heads, 3, head_dim]` become `[3, heads, head_dim]` (GPT-NeoX, BLOOM).
    PartsOfHeads,
    /// One of several equal parts of the rows of each matrix.
    Part {
        /// Which part.
        index: usize,
        /// How many there are.
        count: usize,
    },
}

/// Whether norms add 1 to their weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormOffset {
    /// They do not.
    None,
    /// They do (Gemma, Nemotron), but for the norm within a recurrent mixer.
    One,
}

/// A hyper-parameter of an architecture: its GGUF key below the architecture's name, and where `config.json` has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Parameter {
    /// A count: the first of these keys that is there.
    Count(&'static str, &'static [&'static str]),
    /// The same, with what counts where none is there.
    CountOr(&'static str, &'static [&'static str], u32),
    /// The sum of two counts, where both are there.
    Sum(&'static str, [&'static str; 2]),
    /// A number.
    Number(&'static str, &'static [&'static str]),
    /// The same, with what counts where none is there.
    NumberOr(&'static str, &'static [&'static str], f32),
    /// A yes or no.
    Flag(&'static str, &'static [&'static str]),
    /// A yes or no that is the same for all models, or where none of these is there.
    FlagOr(&'static str, &'static [&'static str], bool),
    /// A text that is the same for all models.
    Text(&'static str, &'static str),
    /// `rope.scaling.yarn_log_multiplier`: a tenth of `mscale_all_dim`, as files of DeepSeek's models have it.
    YarnSlope,
    /// `vocab_size`.
    VocabularySize,
    /// `rope.dimension_count`: the width of a head by `partial_rotary_factor`.
    RopeDimensions,
    /// `feed_forward_length`, four times the hidden size where the checkpoint does not say.
    FfnOfHidden,
    /// `expert_shared_feed_forward_length`: so many shared experts of such a width, by their keys.
    SharedFfn(&'static str, &'static str),
    /// `attention.head_count_kv`, one for each query head where the checkpoint does not say.
    KvHeads,
    /// `attention.key_length` and `value_length` where the checkpoint says neither.
    HeadDim(u32),
    /// `attention.sliding_window_pattern`, a flag for each layer: by `layer_types`, else all but every so-many-th.
    WindowPattern(usize),
    /// Whether texts begin with the beginning-of-text token (`tokenizer.ggml.add_bos_token`).
    AddsBos(bool),
    /// The product of two counts, where both are there.
    Product(&'static str, [&'static str; 2]),
    /// The first count that is there, else a count times a number of its own.
    CountOrTimes(&'static str, &'static [&'static str], &'static str, u32),
    /// The first count by the second, where nothing says it otherwise.
    Quotient(&'static str, [&'static str; 2]),
    /// `attention.head_count_kv`, for each layer: 0 in those that mix tokens without attention.
    AttentionLayers,
    /// `attention.recurrent_layers`, for each layer: yes in those that mix tokens without attention.
    RecurrentLayers,
    /// `feed_forward_length`, for each layer: 0 in those without a feed-forward network (Nemotron-H). The key of its width.
    FfnLayers(&'static str),
    /// `rope.scaling.finetuned`: whether layers are turned at all (Granite 4).
    TurnsIn(&'static str),
    /// A yes in checkpoints of this class, a no in others.
    IsClass(&'static str, &'static str),
    /// `context_length` without the positions that stand for padding (RoBERTa).
    ContextBehindPadding,
    /// What only one family's arithmetic says.
    Derived(Derived),
    /// A word.
    Word(&'static str, &'static [&'static str]),
    /// Widths and counts of heads in layers without a window, and networks twice as wide in the last layers (Gemma 4).
    GlobalHeads,
    /// `rope.dimension_count` where half of each head is turned if the checkpoint does not say, and `rope.freq_base` by a ratio to
    /// the usual one where it says that (ChatGLM).
    HalfOfHeadTurned,
    /// A number by the root of the count of layers (MiniCPM).
    DepthScale(&'static str, &'static str),
    /// The first number by the second, where both are there.
    Ratio(&'static str, [&'static str; 2]),
    /// A key that is not set, though the checkpoint has a number for it.
    Never(&'static str),
    /// `feed_forward_length` where the checkpoint says the width before two thirds of it are rounded up (LFM2).
    AdjustedFfn,
    /// `rope.dimension_sections` where the checkpoint does not say them.
    Sections([i32; 4]),
    /// A yes or no for each layer, as numbers that are 0 or not.
    FlagOfLayers(&'static str, &'static str),
}
