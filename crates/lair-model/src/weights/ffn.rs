//! The weights of feed-forward networks.

use lair_compute::{Adjugates, Backend, Experts, FeedForward, Gating, Linear, Norm, Router, RowSelection};

use super::{Builder, ChannelMixWeights, DenseWeights, width_index};
use crate::ModelError;
use crate::shapes::{experts_config, ffn_size};
use crate::spec::{
    self, AdjugateExperts, DenseFfn, ExpertScoring, ExpertsFfn, Ffn, Gate, Layer, LayerInput, SharedExperts,
    SharedPresence,
};

/// What works on each token.
pub(crate) enum FfnWeights<B: Backend> {
    /// Nothing.
    None,
    Dense(Box<DenseWeights<B>>),
    ChannelMix(Box<ChannelMixWeights<B>>),
    Experts(Box<ExpertsWeights<B>>),
    /// A network for every token, then experts, each added by itself; or, with a norm of it, their sum.
    DenseAndExperts(Box<DenseWeights<B>>, Box<ExpertsWeights<B>>, Option<SumWeights<B>>),
}

/// How the sum of a network and experts is added to the stream.
pub(crate) struct SumWeights<B: Backend> {
    pub(crate) norm: Norm<B>,
    pub(crate) residual_scale: f32,
}

/// Experts, and which parts of them read what the layer read.
pub(crate) struct ExpertsWeights<B: Backend> {
    pub(crate) experts: Experts<B>,
    pub(crate) router_input: LayerInput,
    /// By which the router reads the stream itself.
    pub(crate) router_norm: Option<Norm<B>>,
    pub(crate) experts_input: LayerInput,
    /// The products around experts that work in a space of their own.
    pub(crate) latent: Option<LatentExpertsWeights<B>>,
}

/// The products around experts that work in a space of their own, and what the experts' region has elsewhere.
pub(crate) struct LatentExpertsWeights<B: Backend> {
    pub(crate) down: Linear<B>,
    pub(crate) up: Linear<B>,
    /// Of the layer's input.
    pub(crate) norm: Option<Norm<B>>,
    /// Reads the layer's input, as the router does.
    pub(crate) shared: Option<FeedForward<B>>,
    /// Factor on what is added to the stream.
    pub(crate) residual_scale: f32,
    /// What the experts read, and what they give.
    pub(crate) rooms: [usize; 2],
}

impl<B: Backend> FfnWeights<B> {
    /// The experts, where there are any.
    pub(crate) fn experts(&self) -> Option<&ExpertsWeights<B>> {
        match self {
            FfnWeights::Experts(experts) | FfnWeights::DenseAndExperts(_, experts, _) => Some(experts),
            FfnWeights::None | FfnWeights::Dense(_) | FfnWeights::ChannelMix(_) => None,
        }
    }

    /// Whether a part of it reads what the layer read, before its mixer.
    pub(crate) fn reads_layer_input(&self) -> bool {
        let reads = |experts: &ExpertsWeights<B>| {
            [experts.router_input, experts.experts_input].contains(&LayerInput::BeforeMixer)
        };
        self.experts().is_some_and(reads)
    }
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
            Ffn::Dense(ffn) => Ok(FfnWeights::Dense(self.dense_layer(
                ffn,
                (norm, post_norm, layer.residual_scale),
                prefix,
                layer_index,
            )?)),
            Ffn::Experts(ffn) => {
                let input = LayerInput::Normalised;
                let around = (norm, post_norm, layer.residual_scale);
                Ok(FfnWeights::Experts(self.experts_layer(ffn, around, input, prefix, layer_index)?))
            }
            Ffn::ExpertsIfThere { experts, dense } => {
                let around = (norm, post_norm, layer.residual_scale);
                if self.source.has(&format!("{prefix}{}.weight", experts.router)) {
                    let input = LayerInput::Normalised;
                    return Ok(FfnWeights::Experts(self.experts_layer(experts, around, input, prefix, layer_index)?));
                }
                Ok(FfnWeights::Dense(self.dense_layer(dense, around, prefix, layer_index)?))
            }
            Ffn::DenseAndExperts(both) => {
                let dense_norm = self.norm(prefix, both.dense_output_norm)?;
                // Both are summed before the factor where there is a norm of the sum.
                let scale = if post_norm.is_some() { 1.0 } else { layer.residual_scale };
                let around = (norm, dense_norm, scale);
                let dense = self.dense_layer(&both.dense, around, prefix, layer_index)?;
                let experts_norms =
                    (self.norm(prefix, both.experts_norm)?, self.norm(prefix, both.experts_output_norm)?);
                let around = (experts_norms.0, experts_norms.1, scale);
                let experts = self.experts_layer(&both.experts, around, both.experts_input, prefix, layer_index)?;
                let sum = post_norm.map(|norm| SumWeights { norm, residual_scale: layer.residual_scale });
                Ok(FfnWeights::DenseAndExperts(dense, experts, sum))
            }
        }
    }

    fn dense_layer(
        &mut self,
        ffn: &DenseFfn,
        (norm, post_norm, residual_scale): (Option<Norm<B>>, Option<Norm<B>>, f32),
        prefix: &str,
        layer_index: usize,
    ) -> Result<Box<DenseWeights<B>>, ModelError> {
        let weights = self.adapted_dense(ffn, prefix, layer_index)?;
        let network = FeedForward { norm, post_norm, residual_scale, ..weights.network };
        Ok(Box::new(DenseWeights { network, ..weights }))
    }

    fn experts_layer(
        &mut self,
        ffn: &ExpertsFfn,
        (norm, post_norm, residual_scale): (Option<Norm<B>>, Option<Norm<B>>, f32),
        experts_input: LayerInput,
        prefix: &str,
        layer_index: usize,
    ) -> Result<Box<ExpertsWeights<B>>, ModelError> {
        let mut experts = self.experts(ffn, prefix, layer_index)?;
        let (router_input, latent) = (ffn.router_input, &ffn.latent);
        let router_norm = self.norm(prefix, ffn.router_norm.map_or(spec::Norm::None, spec::Norm::RmsNamed))?;
        let Some(declared) = latent else {
            let experts = Experts { norm, post_norm, residual_scale, ..experts };
            return Ok(Box::new(ExpertsWeights { experts, router_input, router_norm, experts_input, latent: None }));
        };
        let linear = |stem: &str| self.linear(&format!("{prefix}{stem}"));
        let (down, up) = (linear(declared.down)?, linear(declared.up)?);
        let shared = experts.shared.take().map(|shared| FeedForward { residual_scale, ..shared });
        let inner_norm = self.norm(prefix, declared.norm)?;
        let rooms = self.widths.rooms([declared.width; 2]);
        let latent = Some(LatentExpertsWeights { down, up, norm, shared, residual_scale, rooms });
        let experts = Experts { norm: None, post_norm: inner_norm, residual_scale: 1.0, ..experts };
        Ok(Box::new(ExpertsWeights { experts, router_input, router_norm, experts_input, latent }))
    }

    /// A network without norms.
    fn dense(&mut self, ffn: &DenseFfn, prefix: &str, layer_index: usize) -> Result<FeedForward<B>, ModelError> {
        let size = ffn_size(ffn.ffn_size, self.config, layer_index)?;
        self.widths.width_max = self.widths.width_max.max(size);
        let up_stem = format!("{prefix}{}", ffn.up);
        let (gate, up) = match ffn.gate {
            Gate::None => (None, self.linear(&up_stem)?),
            Gate::IfThere(stem, _) if !self.source.has(&format!("{prefix}{stem}.weight")) => {
                (None, self.linear(&up_stem)?)
            }
            Gate::Tensor(stem) | Gate::IfThere(stem, _) => {
                (Some(self.linear(&format!("{prefix}{stem}"))?), self.linear(&up_stem)?)
            }
            Gate::InUp => (
                Some(self.linear_rows(&up_stem, RowSelection::Range(0..size))?),
                self.linear_rows(&up_stem, RowSelection::Range(size..2 * size))?,
            ),
        };
        let down = self.linear(&format!("{prefix}{}", ffn.down))?;
        let has_gate = gate.is_some();
        let divisor = ffn.inner_divisor.map(|name| format!("{prefix}{name}")).filter(|name| self.source.has(name));
        Ok(FeedForward {
            norm: None,
            gate,
            up,
            down,
            activation: match ffn.gate {
                Gate::IfThere(_, otherwise) if !has_gate => otherwise,
                _ => ffn.activation,
            },
            inner_divisor: divisor.map(|name| self.vector(&name)).transpose()?,
            inner_norm: self.norm(prefix, ffn.inner_norm)?,
            post_norm: None,
            residual_scale: 1.0,
        })
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
            Gate::Tensor(stem) | Gate::IfThere(stem, _) => {
                (low_rank(stem, RowSelection::All)?, low_rank(ffn.up, RowSelection::All)?)
            }
            Gate::InUp => (
                low_rank(ffn.up, RowSelection::Range(0..size))?,
                low_rank(ffn.up, RowSelection::Range(size..2 * size))?,
            ),
        };
        let mut weights = DenseWeights {
            network,
            gate,
            up,
            down: low_rank(ffn.down, RowSelection::All)?,
            wide_buffer: 0,
            gate_cutoff: None,
        };
        weights.gate_cutoff = ffn.gate_cutoff.map(|cutoff| (cutoff, width_index(&mut self.widths.wide, size)));
        if weights.low_rank().next().is_some() {
            if weights.network.inner_divisor.is_some() {
                let what = "an adapter of a network whose activations are divided";
                return Err(ModelError::Unsupported { architecture: self.config.architecture.clone(), what });
            }
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
        let gating = match ffn.scoring {
            ExpertScoring::Gating(gating) => gating,
            ExpertScoring::SqrtSoftplus => Gating::SqrtSoftplus,
        };
        let is_there = |shared: &&SharedExperts| match shared.presence {
            SharedPresence::Required => true,
            SharedPresence::IfThere => self.source.has(&format!("{}.weight", stem(shared.ffn.up))),
        };
        let declared_shared = ffn.shared.as_ref().filter(is_there);
        let shared = declared_shared.map(|shared| self.dense(&shared.ffn, prefix, layer_index)).transpose()?;
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
        let shared_gate = declared_shared.and_then(|shared| shared.gate);
        Ok(Experts {
            norm: None,
            router: Router {
                linear: self.router(ffn, prefix)?,
                gating,
                expert_used_count: config.expert_used_counts[layer_index],
                selection_bias: match ffn.selection_bias {
                    Some(name) if self.source.has(&stem(name)) => Some(self.vector(&stem(name))?),
                    Some(name) => self.bias(&stem(name))?,
                    None => None,
                },
                normalise: ffn.normalise,
                scale: ffn.scale,
                groups: ffn.groups.filter(|groups| groups.count > 1 && groups.used_count < groups.count),
                expert_scales: ffn
                    .expert_scales
                    .map(&stem)
                    .filter(|name| self.source.has(name))
                    .map(|name| self.vector(&name))
                    .transpose()?,
                table: ffn.table.map(|name| self.source.indices(&stem(name), config.expert_count)).transpose()?,
            },
            gate,
            up,
            down: self.linear(&stem(ffn.down))?,
            activation: ffn.activation,
            weighing: ffn.weighing,
            adjugates: ffn.adjugates.map(|adjugates| self.adjugates(&adjugates, prefix)).transpose()?,
            shared,
            shared_gate: shared_gate.map(|gate| self.linear(&stem(gate))).transpose()?,
            sum_scale: declared_shared.map_or(1.0, |shared| shared.sum_scale),
            post_norm: None,
            residual_scale: 1.0,
        })
    }

    /// The product of a router. Behind a norm of its own it is divided by the root of its width, and what is called its
    /// scale is the norm's weight.
    fn router(&self, ffn: &ExpertsFfn, prefix: &str) -> Result<Linear<B>, ModelError> {
        let stem = format!("{prefix}{}", ffn.router);
        if ffn.router_norm.is_none() {
            return self.linear(&stem);
        }
        let scale = (self.config.hidden_size as f32).sqrt().recip();
        Ok(Linear { weight: self.matrix(&format!("{stem}.weight"))?, bias: None, scale })
    }

    fn adjugates(&self, adjugates: &AdjugateExperts, prefix: &str) -> Result<Adjugates<B>, ModelError> {
        let linear = |stem: &str| self.linear(&format!("{prefix}{stem}"));
        Ok(Adjugates {
            gate: linear(adjugates.gate)?,
            up: linear(adjugates.up)?,
            down: linear(adjugates.down)?,
            group_size: adjugates.group_size,
            scale: adjugates.scale,
        })
    }
}
