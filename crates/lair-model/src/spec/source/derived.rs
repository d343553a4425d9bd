//! Hyper-parameters that follow from others in a way that only one family has.

/// What a family's keys say only by its own arithmetic, or in its own lists.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Derived {
    /// A number that is the same for all layers, as a list of them.
    OfEachLayer(&'static str, f32),
    /// `feed_forward_length`: two thirds of this, rounded down.
    TwoThirdsOf(&'static str),
    /// `feed_forward_length`: two thirds of four times the hidden size, in whole multiples of this (Refact).
    WholeTwoThirds(u32),
    /// Heads and widths, layer by layer, of its own lists of factors (OpenELM).
    ListedWidths,
    /// Heads and widths of layers that a search has chosen (DeciLM).
    SearchedLayers,
    /// Heads of the layers with attention, which stand in a period among those without (PLaMo 2).
    AttentionInPeriods,
    /// The context that a model was trained for, which is a quarter of that it has positions for (Nomic Embed).
    TrainedContext,
    /// The factor of attention's scores where no key gives it: the inverse root of the width of a head (Grok).
    ScoreScale(&'static str),
    /// `rope.dimension_count_swa`: of a head, the share that layers with a window turn.
    WindowRopeDimensions,
    /// The token that stands for what is not written yet.
    MaskToken(u32),
    /// `diffusion.shift_logits`: whether the logits of a token are those of the place before it. Programs take a file that does
    /// not say it for one where they are.
    ShiftedLogits(bool),
    /// The number that a tensor of one element holds.
    NumberOfTensor(&'static str, &'static str),
    /// `expert_gating_func` of checkpoints of this class that do not say it.
    GatesOfClass(&'static str, u32),
    /// `expert_gating_func`: softmax where this is true, else sigmoid (SmallThinker).
    SoftmaxIf(&'static str),
    /// `attention.sliding_window`: the second key, where the first lists a layer with a window (SmallThinker).
    LaidOutWindow(&'static str, &'static str),
    /// Widths of RWKV 6, which follow from that of the stream.
    Rwkv6Widths,
    /// Ranks and widths of RWKV 7, which follow from the width of the stream where nothing says them.
    Rwkv7Widths,
    /// A key that must not be there, or not be true, since what it says is not done; and what that is.
    Refused(&'static str, &'static str),
    /// `attention.compress_ratios`: positions that a compressed key of each layer stands for, by a list of them or by the kinds
    /// of layers; 0 where a layer has none (DeepSeek V4).
    RunLengths,
    /// `hash_layer_count`: first layers whose experts a table of tokens chooses (DeepSeek V4).
    TableLayers,
    /// `block_count`: the layers but so many (Granite Switch).
    LayersBut(u32),
    /// A list of tokens.
    Tokens(&'static str, &'static str),
    /// A key that must be true, and what is not done where it is not.
    Required(&'static str, &'static str),
}
