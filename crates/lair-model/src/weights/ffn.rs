//! The weights of feed-forward networks.

use lair_compute::{Backend, Experts, FeedForward, Norm, Router, RowSelection};

use super::{Builder, ChannelMixWeights, DenseWeights, width_index};
use crate::ModelError;
use crate::shapes::{experts_config, ffn_size};
use crate::spec::{DenseFfn, ExpertScoring, ExpertsFfn, Ffn, Gate, Layer};

/// What works on each token.
pub(crate) enum FfnWeights<B: Backend> {
    /// Nothing.
    None,
    Dense(Box<DenseWeights<B>>),
    ChannelMix(Box<ChannelMixWeights<B>>),
    Experts(Box<Experts<B>>),
}

impl<B: Backend> Builder<'_, B> {
    pub(super) fn ffn(
        &mut self,
        layer: &Layer,
        norm: Option<Norm<B>>,
        prefix: &str,
        layer_index: usize,
    ) -> Result<FfnWeights<B>, ModelError> {
        let post_norm = self.norm(prefix, layer.ffn_output_norm)?;
        match &layer.ffn {
            Ffn::None => Ok(FfnWeights::None),
            Ffn::ChannelMix(mix) => {
                let weights = self.channel_mix(mix, (norm, layer.residual_scale), prefix, layer_index)?;
                Ok(FfnWeights::ChannelMix(Box::new(weights)))
            }
            Ffn::Dense(ffn) => {
                let weights = self.adapted_dense(ffn, prefix, layer_index)?;
                let residual_scale = layer.residual_scale;
                let network = FeedForward { norm, post_norm, residual_scale, ..weights.network };
                Ok(FfnWeights::Dense(Box::new(DenseWeights { network, ..weights })))
            }
            Ffn::Experts(ffn) => {
                let experts = self.experts(ffn, prefix, layer_index)?;
                let residual_scale = layer.residual_scale;
                Ok(FfnWeights::Experts(Box::new(Experts { norm, post_norm, residual_scale, ..experts })))
            }
            Ffn::DenseAndExperts(_) => unreachable!("a model with this network was refused before it was built"),
        }
    }

    /// A network without norms.
    fn dense(&mut self, ffn: &DenseFfn, prefix: &str, layer_index: usize) -> Result<FeedForward<B>, ModelError> {
        let size = ffn_size(ffn.ffn_size, self.config, layer_index)?;
        self.widths.width_max = self.widths.width_max.max(size);
        let up_stem = format!("{prefix}{}", ffn.up);
        let (gate, up) = match ffn.gate {
            Gate::None => (None, self.linear(&up_stem)?),
            Gate::Tensor(stem) => (Some(self.linear(&format!("{prefix}{stem}"))?), self.linear(&up_stem)?),
            Gate::InUp => (
                Some(self.linear_rows(&up_stem, RowSelection::Range(0..size))?),
                self.linear_rows(&up_stem, RowSelection::Range(size..2 * size))?,
            ),
        };
        let down = self.linear(&format!("{prefix}{}", ffn.down))?;
        Ok(FeedForward { norm: None, gate, up, down, activation: ffn.activation, post_norm: None, residual_scale: 1.0 })
    }

    /// A network without norms, with what adapters add to its products.
    fn adapted_dense(
        &mut self,
        ffn: &DenseFfn,
        prefix: &str,
        layer_index: usize,
    ) -> Result<DenseWeights<B>, ModelError> {
        let network = self.dense(ffn, prefix, layer_index)?;
        let size = ffn_size(ffn.ffn_size, self.config, layer_index)?;
        let low_rank = |stem: &str, rows| self.low_rank(&format!("{prefix}{stem}"), &rows);
        let (gate, up) = match ffn.gate {
            Gate::None => (Vec::new(), low_rank(ffn.up, RowSelection::All)?),
            Gate::Tensor(stem) => (low_rank(stem, RowSelection::All)?, low_rank(ffn.up, RowSelection::All)?),
            Gate::InUp => (
                low_rank(ffn.up, RowSelection::Range(0..size))?,
                low_rank(ffn.up, RowSelection::Range(size..2 * size))?,
            ),
        };
        let mut weights =
            DenseWeights { network, gate, up, down: low_rank(ffn.down, RowSelection::All)?, wide_buffer: 0 };
        if weights.low_rank().next().is_some() {
            weights.wide_buffer = width_index(&mut self.adapters.widths.borrow_mut().ffn, size);
        }
        Ok(weights)
    }

    /// Experts without norms.
    fn experts(&mut self, ffn: &ExpertsFfn, prefix: &str, layer_index: usize) -> Result<Experts<B>, ModelError> {
        let config = experts_config(self.config)?;
        let size = ffn.ffn_size.or(config.expert_ffn_size).unwrap_or(0);
        self.widths.width_max = self.widths.width_max.max(size);
        let stem = |name: &str| format!("{prefix}{name}");
        let ExpertScoring::Gating(gating) = ffn.scoring else {
            unreachable!("a model with this scoring was refused before it was built")
        };
        let shared = match &ffn.shared {
            Some(shared) => Some(self.dense(&shared.ffn, prefix, layer_index)?),
            None => None,
        };
        let (gate, up) = match ffn.fused.map(&stem) {
            Some(fused) if self.source.has(&format!("{fused}.weight")) => {
                // Within the stacked bias the halves of each expert follow each other, too.
                let half = |start: usize| {
                    let bias_rows =
                        RowSelection::Groups { start, length: size, stride: 2 * size, count: config.expert_count };
                    let rows = RowSelection::Range(start..start + size);
                    self.linear_rows_with(&fused, rows, &format!("{fused}.bias"), bias_rows)
                };
                (Some(half(0)?), half(size)?)
            }
            _ => (ffn.gate.map(|gate| self.linear(&stem(gate))).transpose()?, self.linear(&stem(ffn.up))?),
        };
        let shared_gate = ffn.shared.as_ref().and_then(|shared| shared.gate);
        Ok(Experts {
            norm: None,
            router: Router {
                linear: self.linear(&stem(ffn.router))?,
                gating,
                expert_used_count: config.expert_used_counts[layer_index],
                selection_bias: match ffn.selection_bias {
                    Some(name) => self.bias(&stem(name))?,
                    None => None,
                },
                normalise: ffn.normalise,
                scale: ffn.scale,
            },
            gate,
            up,
            down: self.linear(&stem(ffn.down))?,
            activation: ffn.activation,
            shared,
            shared_gate: shared_gate.map(|gate| self.linear(&stem(gate))).transpose()?,
            post_norm: None,
            residual_scale: 1.0,
        })
    }
}
