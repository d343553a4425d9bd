//! What a backend is, the CPU backend, and the naive reference.
//!
//! [`Backend`] is the seam between a model and the machine that runs it: regions of a step (norm and project,
//! attention, output and residual, gated feed-forward, head), not single tensor operations, so that a backend can fuse
//! them. [`reference::Reference`] is the plain implementation that every other one is checked against.

mod backend;
mod batch;
mod chosen;
mod compressed;
pub mod cpu;
mod error;
mod kv_layout;
mod latent;
mod recurrent;
pub mod reference;
mod regions;
mod rope;
mod source;
mod streams;
mod weight_archive;

pub use backend::{Backend, MatrixRole};
pub use batch::{Batch, PAGE_LENGTH, PageId, SequenceRows, StateSlot};
pub use chosen::{KeyChooser, KeyChooserBuffers, KeyScoring, KeyUnit};
pub use compressed::{
    CompressedAttention, CompressedAttentionBuffers, CompressedKeys, CompressedStorage, KeyCompressor,
    KeyCompressorBuffers, compressor_history, compressor_width,
};
pub use error::ComputeError;
pub use kv_layout::{KvElement, KvLayerLayout, KvLayout};
pub use latent::{LatentAttention, LatentBuffers};
pub use recurrent::{
    Columns, Convolution, ConvolutionBuffers, DecayForm, DecayedAttention, DecayedAttentionBuffers, DeltaRule,
    DeltaRuleBuffers, KeyHeads, Rwkv6, Rwkv6Buffers, Rwkv7, Rwkv7Buffers, ShiftHistory, ShiftedRows, StateDecay,
    StateSpace, StateSpaceBuffers, TokenShift,
};
pub use regions::{
    Activation, Adjugates, Attention, AttentionBuffers, ExpertGroups, Experts, ExpertsInput, FeedForward,
    FeedForwardInput, GateFunction, GateSpan, Gating, Head, KeyStorage, Linear, Mask, Norm, NormGroup, NormKind,
    NormOrder, OutputGate, RelativeBias, Router, StateLayerLayout, StateLayout, Temperature, Weighing,
};
pub use rope::{RopeStyle, RopeTable};
pub use source::{MatrixBytes, RowSelection, VectorBytes, WeightBytes};
pub use streams::{STREAM_COUNT_MAX, StreamFactors, StreamMixing};
pub use weight_archive::{PACKED_LAYOUT_VERSION, WeightArchive};
