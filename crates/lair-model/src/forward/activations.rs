//! What a step works on, and what sequences keep between steps.

use lair_compute::Backend;

use super::adapters::AdapterRoom;
use super::banked::BankedRoom;
use super::gated_streams::GatedRoom;
use super::per_layer::Rooms;
use super::streams::StreamsRoom;
use super::switch::SwitchRoom;
use super::turns::TurnRoom;
use crate::ModelError;
use crate::weights::{AdapterWidths, BufferWidths, ChoiceRoom};

/// The buffers of a step: made once for so many rows, overwritten by every step.
pub struct Activations<B: Backend> {
    pub(super) rows_max: usize,
    /// `[rows, hidden_size]`: what layers add to.
    pub(super) residual: B::Buffer,
    /// `[rows, hidden_size]`: a normalised copy.
    pub(super) hidden: B::Buffer,
    /// `[rows, hidden_size]`: a layer's input, for layers that add it twice or read it after the mixer, or the sum of a network
    /// and experts.
    pub(super) input: Option<B::Buffer>,
    pub(super) q: Vec<B::Buffer>,
    pub(super) k: Vec<B::Buffer>,
    pub(super) v: Vec<B::Buffer>,
    pub(super) gate: Vec<B::Buffer>,
    /// `[rows, hidden_size]`: the embedding, for layers that add it.
    pub(super) embedding: Option<B::Buffer>,
    /// What a mixer gives, before it is projected back.
    pub(super) mixed: Vec<B::Buffer>,
    /// The same after a norm of its own.
    pub(super) inner: Vec<B::Buffer>,
    /// Gate and up of feed-forward networks that are computed apart.
    pub(super) wide: Vec<[B::Buffer; 2]>,
    /// For embeddings of layers and residual streams.
    pub(super) per_layer: Rooms<B>,
    /// States of the residual stream that layers keep within a step.
    pub(super) banked: Option<BankedRoom<B>>,
    /// Two states that take turns.
    pub(super) turns: Option<TurnRoom<B>>,
    /// Residual streams that are read by gates.
    pub(super) gated: Option<GatedRoom<B>>,
    /// Residual streams that are read and written by learned factors.
    pub(super) streams: Option<StreamsRoom<B>>,
    /// Compressed keys and values; queries and results in the compressed space.
    pub(super) latent: Vec<B::Buffer>,
    pub(super) absorbed: Vec<B::Buffer>,
    pub(super) absorbed_mixed: Vec<B::Buffer>,
    /// What recurrent mixers share.
    pub(super) rooms: Vec<B::Buffer>,
    /// Which keys are read, as the last indexer has chosen.
    pub(super) chosen: Option<B::Chosen>,
    /// The first layer's values, where others mix theirs with them.
    pub(super) first_values: Option<B::Buffer>,
    /// The token of each row, for experts that a table chooses.
    pub(super) tokens: Vec<u32>,
    /// `0, 1, 2 ...`: the rows that the head reads where only those were kept.
    pub(super) first_rows: Vec<usize>,
    /// For a model with adapters of its own.
    pub(super) switch: Option<SwitchRoom>,
    /// For a model with adapters.
    pub(super) adapters: Option<AdapterRoom<B>>,
}

/// What sequences keep between steps. The caller makes it by the model's layouts and hands out its pages and slots.
pub struct Memory<B: Backend> {
    /// Keys and values, by [`crate::Model::kv_layout`].
    pub kv: B::Kv,
    /// Recurrent state, by [`crate::Model::state_layout`]; `None` for a model without recurrent layers.
    pub states: Option<B::States>,
}

impl<B: Backend> Memory<B> {
    pub(super) fn states(&mut self) -> &mut B::States {
        self.states.as_mut().expect("a model with recurrent layers is given states")
    }
}

impl<B: Backend> Activations<B> {
    pub(crate) fn new(
        backend: &mut B,
        widths: &BufferWidths,
        adapters: ((usize, usize), &AdapterWidths),
        hidden_size: usize,
        rows_max: usize,
    ) -> Result<Activations<B>, ModelError> {
        backend.reserve(rows_max, widths.width_max)?;
        let backend = &*backend;
        let buffers = |widths: &[usize]| -> Result<Vec<B::Buffer>, ModelError> {
            widths.iter().map(|width| Ok(backend.buffer(rows_max, *width)?)).collect()
        };
        Ok(Activations {
            rows_max,
            residual: backend.buffer(rows_max, hidden_size)?,
            hidden: backend.buffer(rows_max, hidden_size)?,
            input: widths.keeps_input.then(|| backend.buffer(rows_max, hidden_size)).transpose()?,
            q: buffers(&widths.q)?,
            k: buffers(&widths.k)?,
            v: buffers(&widths.v)?,
            gate: buffers(&widths.gate)?,
            embedding: widths.keeps_embedding.then(|| backend.buffer(rows_max, hidden_size)).transpose()?,
            mixed: buffers(&widths.mixed)?,
            inner: buffers(&widths.inner)?,
            wide: buffers(&widths.wide)?.into_iter().zip(buffers(&widths.wide)?).map(<[_; 2]>::from).collect(),
            per_layer: Rooms::new(backend, &widths.per_layer, hidden_size, rows_max)?,
            banked: BankedRoom::new(backend, widths.banked_count, hidden_size, rows_max)?,
            gated: GatedRoom::new(backend, &widths.gated, hidden_size, rows_max)?,
            turns: widths.has_turns.then(|| TurnRoom::new(backend, hidden_size, rows_max)).transpose()?,
            streams: StreamsRoom::new(backend, &widths.streams, rows_max)?,
            latent: buffers(&widths.latent)?,
            absorbed: buffers(&widths.absorbed)?,
            absorbed_mixed: buffers(&widths.absorbed_mixed)?,
            rooms: buffers(&widths.rooms)?,
            chosen: match widths.choices {
                ChoiceRoom { choices: 0, .. } => None,
                ChoiceRoom { choices, positions } => Some(backend.chosen(rows_max, choices, positions)?),
            },
            first_values: widths.shares_values.map(|width| backend.buffer(rows_max, width)).transpose()?,
            tokens: Vec::with_capacity(rows_max),
            first_rows: (0..rows_max).collect(),
            switch: widths.has_switch.then(|| SwitchRoom::new(rows_max)),
            adapters: (adapters.0 != (0, 0))
                .then(|| AdapterRoom::new(backend, adapters, hidden_size, rows_max))
                .transpose()?,
        })
    }

    /// Takes the tokens of a step.
    pub(super) fn take_tokens(&mut self, tokens: &[u32]) {
        self.tokens.clear();
        self.tokens.extend_from_slice(tokens);
    }

    /// Rows that a step may have.
    pub fn rows_max(&self) -> usize {
        self.rows_max
    }

    /// Copies the residual stream's first `rows` rows, `[rows, hidden_size]`, to `values`: after a step, what the head
    /// has read, which is only the rows wanted where those are fewer than the batch has and ascend.
    pub fn read_residual(&self, backend: &B, rows: usize, values: &mut [f32]) {
        backend.read(rows, &self.residual, values);
    }
}
