//! How checkpoints of the Hugging Face layout (`config.json` and safetensors) name and store what a declaration needs.
//!
//! A family shares its names ([`LLAMA_NAMES`]); a declaration states only what differs. Sources: the model classes of
//! `transformers` for the names on the left, the GGUF specification for those on the right.

mod derived;
mod families;
mod further;
mod latent;
mod names;
mod published;
mod streams;
mod windowed;

pub use derived::Derived;
pub use families::*;
pub use further::*;
pub use latent::*;
pub use names::*;
pub use published::*;
pub use streams::*;
pub use windowed::*;

// What the lists of names are written with.

const fn name(from: &'static str, to: &'static str) -> Renaming {
    Renaming::new(from, to)
}

const fn part(from: &'static str, to: &'static str, index: usize, count: usize) -> Renaming {
    name(from, to).with(Change::Part { index, count })
}

const fn half(from: &'static str, to: &'static str, index: usize) -> Renaming {
    part(from, to, index, 2)
}

const fn transposed(from: &'static str, to: &'static str) -> Renaming {
    name(from, to).with(Change::Transposed)
}

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
    /// Vectors of layers that checkpoints do not have, of the same number throughout: this key's, else 1.
    pub constants: &'static [(&'static str, Option<&'static str>)],
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
        constants: &[],
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
/// one tensor. A `+` on the right stands for a layer that is counted behind those of another stack. A name on the left may
/// come twice: then it makes two tensors. One that ends in `.bias` is that of a bias alone, which then is no other's.
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
    /// In which layers it is called so.
    pub layers: Layers,
    /// Its place in a stack of tensors with one name.
    pub place: usize,
}

impl Renaming {
    /// A name alone.
    pub const fn new(from: &'static str, to: &'static str) -> Renaming {
        Renaming { from, to, change: Change::None, values: Values::Same, end: End::Same, layers: Layers::All, place: 0 }
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

    /// The same in some layers only.
    pub const fn only_in(self, layers: Layers) -> Renaming {
        Renaming { layers, ..self }
    }

    /// No tensor of the model, but numbers among its keys.
    pub const fn as_key(self) -> Renaming {
        Renaming { end: End::Key, ..self }
    }
}

/// In which layers a tensor has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layers {
    /// In all of them.
    All,
    /// In those with attention.
    WithAttention,
    /// In those that mix tokens without attention.
    WithoutAttention,
    /// In those whose experts no table of tokens chooses (DeepSeek V4).
    WithoutTable,
}

/// What stands behind a name in a GGUF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// What stands behind it in the checkpoint: `.weight`, also where nothing does, or `.bias`.
    Same,
    /// This.
    Is(&'static str),
    /// Nothing: the name is that of a key, which lists the numbers of all layers, or the whole numbers of the one tensor.
    Key,
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
    /// `exp(x)`.
    Exponential,
    /// Times the numbers of these keys, where they are there.
    Times(&'static [&'static str]),
    /// Times a number for each part of a state space's inputs (`ssm_multipliers`), and the number of this key.
    TimesStateInputs(&'static str),
    /// By the root of the hidden size: the head of models that use the embedding's table for it and say that they scale it
    /// (T5). Without such a word it is the table itself, and there is no head.
    ScaledHead,
    /// Nothing, and they are whole: they stay whole numbers, of 32 bits.
    Whole,
    /// Times the root of the hidden size by the numbers of the vector: norms whose output a model scales so (dots.llm3 note).
    TimesRootOfShare,
    /// Rounded to -1, 0 and 1 times the mean of all magnitudes, in checkpoints of this class, whose products round them so
    /// (Ma et al., "The Era of 1-bit LLMs", section 2).
    TernaryOfClass(&'static str),
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
    /// One of several equal parts of the columns, then rows and columns change places (Llama 4).
    PartTransposed {
        /// Which part.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// Of rows `[heads, key part + value part]` those of keys, `[rank]` long, as `[heads, rank, key part]`: what widens
    /// compressed keys.
    LatentKeys,
    /// Of the same rows those of values, as `[heads, value part, rank]`.
    LatentValues,
    /// Of the last rows of each head, those that are turned beside others that are not, `i` of the first half and `i` of the
    /// second become neighbours (HY V4).
    NeighbourTails,
    /// The same of the last rows of all.
    NeighbourTail,
    /// Rows of a table that is stored in several tensors, one behind the other.
    TableParts,
    /// All rows but those of an indexer's one key, which stand last.
    IndexerQueries,
    /// The rows of an indexer's one key.
    IndexerKey,
    /// Of the columns of each row, `i` of the first half and `i` of the second become neighbours (Chameleon).
    NeighbourColumns,
    /// Of the rows of each head, `i` of the first half and `i` of the second become neighbours.
    NeighbourPairs,
    /// Of rows of all query heads, then all keys, then all values: the same for queries and keys, values as they are.
    NeighbourQueriesAndKeys,
    /// `[adapters, 1, rows, columns]` become a stack of matrices behind one of zeros, which changes nothing (Granite Switch).
    Adapters,
    /// The same, the rows of each as in [`Change::NeighbourPairs`].
    NeighbourAdapters,
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
    /// A key for each layer: this number in layers of attention, 0 in others.
    CountOfAttention(&'static str, &'static str),
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
    /// A count for each layer, where the checkpoint lists them.
    CountOfLayers(&'static str, &'static str),
    /// A count for each layer: the second one in those with a window, or what the checkpoint says of such a layer.
    CountOfWindows(&'static str, &'static [&'static str], &'static [&'static str]),
    /// A count of the layers with a window: by the first of these keys, or what the checkpoint says of such a layer.
    WindowCount(&'static str, &'static [&'static str]),
    /// The sum of two such counts.
    WindowSum(&'static str, [&'static [&'static str]; 2]),
    /// `rope.dimension_count` and `rope.dimension_count_swa` by the shares of both kinds of layers.
    RopeDimensionsOfKinds,
    /// `leading_dense_block_count`: by `first_k_dense_replace`, else by what lists the networks of layers.
    LeadingDense,
    /// A number for each layer, where the checkpoint lists them; 0 where it says null.
    NumberOfLayers(&'static str, &'static str),
    /// A number that is the same for all layers, as often as there are layers.
    NumberRepeated(&'static str, &'static str),
    /// A yes or no for each layer: whether a list has one of these words for it.
    FlagOfWords(&'static str, &'static str, &'static [&'static str]),
    /// A word that has to be one of these, where it is there: others are refused.
    Only(&'static str, &'static [&'static str]),
    /// A list of counts, each less one.
    Places(&'static str, &'static str),
    /// `block_count`: the layers of a stack for every run of one, where two stacks run in turn.
    StackRuns,
    /// `attention.head_count_kv`, for each layer: in those with a window by this key, else twice as many as in others.
    KvHeadsOfWindows(&'static str),
    /// `rope.freq_base`, larger by a power of `alpha`, where the checkpoint says that (Hunyuan).
    GrownBase,
    /// `embedding_length_per_layer_input`: elements of a row of the table of the last tokens, of which each hash gives one.
    NgramRows,
    /// `attention.head_count_kv`, for each layer: 1 in those with attention, whose keys are compressed, 0 in others.
    LatentLayers,
}
