//! The weights of RWKV's time and channel mixing.

use lair_compute::{
    Activation, Backend, Norm, NormGroup, NormKind, RowSelection, Rwkv6, Rwkv7, ShiftHistory, TokenShift,
};

use super::{Adapted, Builder, width_index};
use crate::ModelError;
use crate::shapes::{TimeMixShape, ffn_size};
use crate::spec::{ChannelMix, FirstValues, RwkvGeneration, TimeMix};

/// Added under the root of the heads' norms (the published model code: `64e-5`).
const HEAD_NORM_EPSILON: f32 = 64e-5;

/// A product through a narrow width.
pub(crate) struct Narrow<B: Backend> {
    pub(crate) down: Adapted<B>,
    pub(crate) activation: Option<Activation>,
    pub(crate) up: Adapted<B>,
    /// Of what lies between.
    pub(crate) room: usize,
}

/// The time mixing of RWKV-6, and which of the model's buffers it uses.
pub(crate) struct TimeMix6Weights<B: Backend> {
    /// Makes the input of the offsets.
    pub(crate) first_shift: TokenShift<B>,
    /// What is added to the second shift's weights.
    pub(crate) offsets: [Narrow<B>; 5],
    /// For decay, key, value, receptance and gate.
    pub(crate) shift: TokenShift<B>,
    pub(crate) decay: Narrow<B>,
    /// Keys, values, receptance and gate.
    pub(crate) products: [Adapted<B>; 4],
    pub(crate) region: Rwkv6<B>,
    /// All of the model's width: shifted rows, then their products.
    pub(crate) rooms: [usize; 10],
    pub(crate) mixed_buffer: usize,
}

/// The time mixing of RWKV-7, and which of the model's buffers it uses.
pub(crate) struct TimeMix7Weights<B: Backend> {
    /// For receptance, decay, key, value, rate and gate.
    pub(crate) shift: TokenShift<B>,
    /// Receptance, keys and values.
    pub(crate) products: [Adapted<B>; 3],
    pub(crate) decay: Narrow<B>,
    pub(crate) rate: Narrow<B>,
    /// How much values are mixed with the first layer's; that layer has none.
    pub(crate) value: Option<Narrow<B>>,
    pub(crate) gate: Option<Narrow<B>>,
    pub(crate) region: Rwkv7<B>,
    /// All of the model's width: shifted rows, then their products.
    pub(crate) rooms: [usize; 12],
    pub(crate) mixed_buffer: usize,
}

/// The channel mixing of RWKV, and which of the model's buffers it uses.
pub(crate) struct ChannelMixWeights<B: Backend> {
    pub(crate) norm: Option<Norm<B>>,
    pub(crate) shift: TokenShift<B>,
    pub(crate) key: Adapted<B>,
    pub(crate) value: Adapted<B>,
    pub(crate) receptance: Option<Adapted<B>>,
    pub(crate) residual_scale: f32,
    /// Shifted rows of keys and receptance, receptance, and result.
    pub(crate) rooms: [usize; 4],
    /// Between the two products.
    pub(crate) wide_room: usize,
}

impl<B: Backend> Builder<'_, B> {
    /// One of several vectors of the model's width in one tensor.
    fn part_of_vector(&self, name: &str, index: usize) -> Result<B::Vector, ModelError> {
        let width = self.config.hidden_size;
        let range = RowSelection::Range(index * width..(index + 1) * width);
        Ok(self.backend.vector(&self.source.vector(name, range))?)
    }

    fn narrow(
        &mut self,
        [down, up]: [String; 2],
        bias: Option<String>,
        activation: Option<Activation>,
        (rank, taken): (usize, &[usize]),
    ) -> Result<Narrow<B>, ModelError> {
        let bias = bias.map_or(format!("{up}.bias"), |bias| format!("{bias}.weight"));
        let linear = self.linear_rows_with(&up, RowSelection::All, &bias, RowSelection::All)?;
        let up = Adapted { linear, low_rank: self.low_rank(&up, &RowSelection::All)? };
        let [room] = self.widths.rooms_beside(taken, [rank]);
        Ok(Narrow { down: self.adapted(&down)?, activation, up, room })
    }

    /// Norm of each head, with weights of its own.
    fn state_norm(&self, stem: &str, head_dim: usize) -> Result<Option<Norm<B>>, ModelError> {
        if !self.source.has(&format!("{stem}.weight")) {
            return Ok(None);
        }
        Ok(Some(Norm {
            kind: NormKind::Layer,
            group: NormGroup::Part(head_dim),
            weight: Some(self.vector(&format!("{stem}.weight"))?),
            bias: self.bias(stem)?,
            epsilon: HEAD_NORM_EPSILON,
        }))
    }

    pub(super) fn time_mix_6(
        &mut self,
        mixer: &TimeMix,
        prefix: &str,
        state_layer: usize,
    ) -> Result<TimeMix6Weights<B>, ModelError> {
        let shape = TimeMixShape::new(self.config, RwkvGeneration::Six)?;
        let width = self.config.hidden_size;
        let name = |name: &str| format!("{prefix}{}{name}", mixer.start);
        let fused = format!("{}.weight", name("lerp_fused"));
        let weights = match self.source.has(&fused) {
            true => (0..5).map(|index| self.part_of_vector(&fused, index)).collect::<Result<_, _>>()?,
            false => ["w", "k", "v", "r", "g"]
                .map(|part| self.vector(&format!("{}.weight", name(&format!("lerp_{part}")))))
                .into_iter()
                .collect::<Result<_, _>>()?,
        };
        let first = vec![self.vector(&format!("{}.weight", name("lerp_x")))?];
        let rooms = self.widths.rooms([width; 10]);
        let offsets = (0..5).map(|index| self.offset([&name("w1"), &name("w2")], index, (shape.mix_rank, &rooms)));
        let offsets: Vec<Narrow<B>> = offsets.collect::<Result<_, ModelError>>()?;
        let [decay_down, decay_up, decay] = ["decay_w1", "decay_w2", "decay"].map(name);
        let decay =
            self.narrow([decay_down, decay_up], Some(decay), Some(Activation::Tanh), (shape.decay_rank, &rooms))?;
        let [key, value, receptance, gate] =
            ["key", "value", "receptance", "gate"].map(|stem| self.adapted(&name(stem)));
        self.widths.width_max = self.widths.width_max.max(4 * width);
        Ok(TimeMix6Weights {
            first_shift: TokenShift { state_layer, weights: first, history: ShiftHistory::Kept },
            offsets: offsets.try_into().map_err(|_| ()).expect("there are five"),
            shift: TokenShift { state_layer, weights, history: ShiftHistory::Moved },
            decay,
            products: [key?, value?, receptance?, gate?],
            region: Rwkv6 {
                state_layer,
                head_count: shape.head_count,
                head_dim: shape.head_dim,
                first: self.vector(&format!("{}.weight", name("first")))?,
                norm: self.state_norm(&name("ln"), shape.head_dim)?.expect("it is required"),
            },
            rooms,
            mixed_buffer: width_index(&mut self.widths.mixed, width),
        })
    }

    /// One of the five products that change the token shift of RWKV-6: rows of the first matrix, and one of a stack.
    fn offset(
        &mut self,
        [down, up]: [&str; 2],
        index: usize,
        (rank, taken): (usize, &[usize]),
    ) -> Result<Narrow<B>, ModelError> {
        let rows = |length: usize| RowSelection::Range(index * length..(index + 1) * length);
        let weight = self.flat_matrix_rows(&format!("{up}.weight"), rows(self.config.hidden_size))?;
        let linear = lair_compute::Linear { weight, bias: None, scale: 1.0 };
        let up = Adapted { linear, low_rank: Vec::new() };
        let [room] = self.widths.rooms_beside(taken, [rank]);
        Ok(Narrow { down: self.adapted_rows(down, rows(rank))?, activation: Some(Activation::Tanh), up, room })
    }

    pub(super) fn time_mix_7(
        &mut self,
        mixer: &TimeMix,
        prefix: &str,
        state_layer: usize,
    ) -> Result<TimeMix7Weights<B>, ModelError> {
        let shape = TimeMixShape::new(self.config, RwkvGeneration::Seven)?;
        let width = self.config.hidden_size;
        let name = |name: &str| format!("{prefix}{}{name}", mixer.start);
        let shifted = if shape.gate_rank > 0 { 6 } else { 5 };
        let fused = format!("{}.weight", name("lerp_fused"));
        let weights = (0..shifted).map(|index| self.part_of_vector(&fused, index)).collect::<Result<_, _>>()?;
        let pair = |letter: &str| [name(&format!("{letter}1")), name(&format!("{letter}2"))];
        let rooms = self.widths.rooms([width; 12]);
        let decay = self.narrow(pair("w"), Some(name("w0")), Some(Activation::Tanh), (shape.decay_rank, &rooms))?;
        let rate = self.narrow(pair("a"), Some(name("a0")), None, (shape.rate_rank, &rooms))?;
        let value = match mixer.values {
            FirstValues::Given => None,
            FirstValues::Mixed => Some(self.narrow(pair("v"), Some(name("v0")), None, (shape.value_rank, &rooms))?),
        };
        let gate = match shape.gate_rank {
            0 => None,
            rank => Some(self.narrow(pair("g"), None, Some(Activation::Sigmoid), (rank, &rooms))?),
        };
        let vector = |stem: &str| self.vector(&format!("{}.weight", name(stem)));
        let region = Rwkv7 {
            state_layer,
            head_count: shape.head_count,
            head_dim: shape.head_dim,
            key_scale: vector("k_k")?,
            key_rate: vector("k_a")?,
            bonus: vector("r_k")?,
            norm: self.state_norm(&name("ln"), shape.head_dim)?,
        };
        let [receptance, key, value_product] = ["receptance", "key", "value"].map(|stem| self.adapted(&name(stem)));
        self.widths.shares_values = Some(width);
        self.widths.width_max = self.widths.width_max.max(4 * width);
        Ok(TimeMix7Weights {
            shift: TokenShift { state_layer, weights, history: ShiftHistory::Moved },
            products: [receptance?, key?, value_product?],
            decay,
            rate,
            value,
            gate,
            region,
            rooms,
            mixed_buffer: width_index(&mut self.widths.mixed, width),
        })
    }

    pub(super) fn channel_mix(
        &mut self,
        mix: &ChannelMix,
        (norm, residual_scale): (Option<Norm<B>>, f32),
        prefix: &str,
        layer_index: usize,
    ) -> Result<ChannelMixWeights<B>, ModelError> {
        let name = |name: &str| format!("{prefix}{}{name}", mix.start);
        let mut weights = vec![self.vector(&format!("{}.weight", name("lerp_k")))?];
        let receptance = match mix.generation {
            RwkvGeneration::Six => {
                weights.push(self.vector(&format!("{}.weight", name("lerp_r")))?);
                Some(self.adapted(&name("receptance"))?)
            }
            RwkvGeneration::Seven => None,
        };
        let width = self.config.hidden_size;
        // The layer's last state is that of its network.
        let state_layer = self.memory.states.len() - 1;
        let wide = ffn_size(None, self.config, layer_index)?;
        let [a, b, c, d, wide_room] = self.widths.rooms([width, width, width, width, wide]);
        Ok(ChannelMixWeights {
            norm,
            shift: TokenShift { state_layer, weights, history: ShiftHistory::Moved },
            key: self.adapted(&name("key"))?,
            value: self.adapted(&name("value"))?,
            receptance,
            residual_scale,
            rooms: [a, b, c, d],
            wide_room,
        })
    }
}
