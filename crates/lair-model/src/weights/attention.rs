//! The weights of mixers.

use lair_compute::{
    Attention, Backend, KeyStorage, KvLayerLayout, Mask, MatrixRole, Norm, OutputGate, RopeTable, RowSelection,
};

use super::indexer::IndexerWeights;
use super::{Adapted, Builder, width_index};
use crate::ModelError;
use crate::rope_scaling::rope_table;
use crate::shapes::AttentionShape;
use crate::spec::{self, AttentionGate, KeyChoice, KvSource, Rope, RopeFactors, Sinks};

/// Softmax attention of one layer, and which of the model's buffers it uses.
pub(crate) struct AttentionWeights<B: Backend> {
    pub(crate) q: Adapted<B>,
    /// Absent where an earlier layer's keys and values are used.
    pub(crate) kv: Option<(Adapted<B>, Adapted<B>)>,
    pub(crate) gate: Option<Adapted<B>>,
    pub(crate) indexer: Option<Box<IndexerWeights<B>>>,
    /// Whether it reads some of the keys only.
    pub(crate) reads_chosen: bool,
    pub(crate) region: Attention<B>,
    /// Norm of the heads' output, and the buffer of what it gives.
    pub(crate) inner_norm: Option<(Norm<B>, usize)>,
    pub(crate) q_buffer: usize,
    pub(crate) k_buffer: usize,
    pub(crate) v_buffer: usize,
    pub(crate) gate_buffer: usize,
    pub(crate) mixed_buffer: usize,
}

impl<B: Backend> Builder<'_, B> {
    pub(super) fn attention(
        &mut self,
        attention: &spec::Attention,
        prefix: &str,
        layer_index: usize,
        state_layer: usize,
    ) -> Result<AttentionWeights<B>, ModelError> {
        let shape = AttentionShape::new(attention, self.config, layer_index)?;
        let kv_layer = self.kv_layer(attention, shape, layer_index)?;
        let indexer = self.indexer(&attention.choice, prefix, state_layer, &[])?;
        let (q, gate) = self.queries(attention, shape, prefix)?;
        let kv = match attention.kv_source {
            KvSource::Own => Some(self.keys_and_values(attention, shape, prefix)?),
            KvSource::Layer(_) => None,
        };
        let widths = &mut self.widths;
        let q_buffer = width_index(&mut widths.q, shape.q_width());
        let (k_buffer, v_buffer) = match kv {
            Some(_) => (width_index(&mut widths.k, shape.k_width()), width_index(&mut widths.v, shape.v_width())),
            None => (0, 0),
        };
        let gate_width = output_gate(attention).width(shape.head_count, shape.value_dim);
        let gate_buffer = if gate.is_some() { width_index(&mut widths.gate, gate_width) } else { 0 };
        let mixed_buffer = width_index(&mut widths.mixed, shape.output_width());
        let region = self.attention_region(attention, shape, prefix, kv_layer)?;
        let inner_norm = self.norm(prefix, attention.inner_norm)?;
        let inner_norm = inner_norm.map(|norm| (norm, width_index(&mut self.widths.inner, shape.output_width())));
        Ok(AttentionWeights {
            q,
            kv,
            gate,
            indexer,
            reads_chosen: attention.choice != KeyChoice::All,
            region,
            inner_norm,
            q_buffer,
            k_buffer,
            v_buffer,
            gate_buffer,
            mixed_buffer,
        })
    }

    /// What queries see. A file can say that a decoder was trained further to see what follows: then it gives hidden states
    /// only.
    pub(super) fn mask(&self, declared: Mask) -> Mask {
        match (declared, self.config.is_causal) {
            (Mask::Causal, Some(false)) => Mask::Bidirectional,
            (declared, _) => declared,
        }
    }

    /// The layer of the cache that keeps this layer's keys and values.
    fn kv_layer(
        &mut self,
        attention: &spec::Attention,
        shape: AttentionShape,
        layer_index: usize,
    ) -> Result<usize, ModelError> {
        let layout =
            KvLayerLayout { kv_head_count: shape.kv_head_count, key_dim: shape.key_dim, value_dim: shape.value_dim };
        let mask = self.mask(attention.mask);
        let memory = &mut self.memory;
        let index = match attention.kv_source {
            KvSource::Own => {
                // Where sequences are computed in one step, nothing of a layer is read after it: all can use one place.
                let used = memory.kv.iter().position(|other| *other == layout);
                match used.filter(|_| mask.sees_what_follows()) {
                    Some(index) => index,
                    None => {
                        memory.kv.push(layout);
                        memory.kv.len() - 1
                    }
                }
            }
            KvSource::Layer(earlier) => match memory.kv_of_layer.get(earlier).copied().flatten() {
                Some(index) if memory.kv[index] == layout => index,
                _ => {
                    return Err(ModelError::Parameter {
                        key: self.config.key("attention.shared_kv_layers"),
                        found: self.config.shared_kv_layer_count.to_string(),
                        expected: format!("an earlier layer with the heads of layer {layer_index}"),
                    });
                }
            },
        };
        memory.kv_of_layer[layer_index] = Some(index);
        Ok(index)
    }

    /// Queries, and the gate that multiplies the output.
    fn queries(
        &self,
        attention: &spec::Attention,
        shape: AttentionShape,
        prefix: &str,
    ) -> Result<(Adapted<B>, Option<Adapted<B>>), ModelError> {
        // Where gates lie beside the queries: for each head its queries, then its gate.
        let beside = |start: usize| RowSelection::Groups {
            start,
            length: shape.key_dim,
            stride: 2 * shape.key_dim,
            count: shape.head_count,
        };
        let q_rows = match attention.gate {
            AttentionGate::BesideQueries => beside(0),
            _ => RowSelection::Range(0..shape.q_width()),
        };
        let q = self.projection(attention, prefix, attention.projections.q, q_rows, 0)?;
        let gate = match attention.gate {
            AttentionGate::None => None,
            AttentionGate::BesideQueries => {
                Some(self.projection(attention, prefix, attention.projections.q, beside(shape.key_dim), 0)?)
            }
            AttentionGate::Tensor(stem) | AttentionGate::Projection(stem, _) => {
                Some(self.adapted(&format!("{prefix}{stem}"))?)
            }
        };
        Ok((q, gate))
    }

    fn keys_and_values(
        &self,
        attention: &spec::Attention,
        shape: AttentionShape,
        prefix: &str,
    ) -> Result<(Adapted<B>, Adapted<B>), ModelError> {
        let names = attention.projections;
        let q_rows = match attention.gate {
            AttentionGate::BesideQueries => 2 * shape.q_width(),
            _ => shape.q_width(),
        };
        let k_rows = RowSelection::Range(0..shape.k_width());
        let k = self.projection(attention, prefix, names.k, k_rows, q_rows)?;
        let fused = format!("{prefix}{}.weight", names.fused);
        let v_name = format!("{prefix}{}.weight", names.v);
        // Where values are keys, the declaration has allowed it: the tensor would have been required otherwise.
        let v_stem = if self.source.has(&v_name) || self.source.has(&fused) { names.v } else { names.k };
        let v_rows = RowSelection::Range(0..shape.v_width());
        let v = self.projection(attention, prefix, v_stem, v_rows, q_rows + shape.k_width())?;
        Ok((k, v))
    }

    /// Rows of a projection of its own, or of the fused one behind `fused_start` rows.
    fn projection(
        &self,
        attention: &spec::Attention,
        prefix: &str,
        stem: &str,
        rows: RowSelection,
        fused_start: usize,
    ) -> Result<Adapted<B>, ModelError> {
        let fused = format!("{prefix}{}", attention.projections.fused);
        let own = format!("{prefix}{stem}");
        if !self.source.has(&format!("{fused}.weight")) {
            let low_rank = self.low_rank(&own, &rows)?;
            let linear = self.in_role(self.linear_rows(&own, rows)?, MatrixRole::AttentionInput);
            return Ok(Adapted { linear, low_rank });
        }
        let fused_rows = match &rows {
            RowSelection::Range(range) => RowSelection::Range(range.start + fused_start..range.end + fused_start),
            // Queries with gates stand first.
            other => other.clone(),
        };
        let mut low_rank = self.low_rank(&fused, &fused_rows)?;
        low_rank.extend(self.own_low_rank(&own)?);
        let fused_bias = format!("{fused}.bias");
        let linear = if self.source.has(&fused_bias) {
            self.linear_rows_with(&fused, fused_rows.clone(), &fused_bias, fused_rows)?
        } else {
            self.linear_rows_with(&fused, fused_rows, &format!("{own}.bias"), rows)?
        };
        Ok(Adapted { linear: self.in_role(linear, MatrixRole::AttentionInput), low_rank })
    }

    pub(super) fn attention_region(
        &self,
        attention: &spec::Attention,
        shape: AttentionShape,
        prefix: &str,
        kv_layer: usize,
    ) -> Result<Attention<B>, ModelError> {
        let norm = |norm, dim, heads| self.head_norm(prefix, norm, attention.norm_span, (dim, heads));
        let has_kv = attention.kv_source == KvSource::Own;
        let kv_norm = |kind, dim| if has_kv { norm(kind, dim, shape.kv_head_count) } else { Ok(None) };
        let q_norm = norm(attention.q_norm, shape.key_dim, shape.head_count)?;
        // Queries and keys are normalised both or neither.
        let has_no_norms = attention.q_norm.is_optional() && q_norm.is_none();
        let k_norm = if has_no_norms { None } else { kv_norm(attention.k_norm, shape.key_dim)? };
        let rope = attention.rope.map(|rope| self.rope(&rope)).transpose()?;
        let sinks = self.sinks(attention.sinks, prefix)?;
        let sees_all = attention.softcap.is_none() && sinks.is_none();
        let has_plain_keys = has_kv && k_norm.is_none() && attention.clamp.is_none() && sees_all;
        let key_constant =
            if has_plain_keys { self.key_constant(attention, shape, prefix, rope.as_ref())? } else { None };
        Ok(Attention {
            kv_layer,
            head_count: shape.head_count,
            kv_head_count: shape.kv_head_count,
            key_dim: shape.key_dim,
            value_dim: shape.value_dim,
            clamp: attention.clamp,
            q_norm,
            k_norm,
            v_norm: kv_norm(attention.v_norm, shape.value_dim)?,
            norm_order: attention.norm_order,
            rope,
            scale: attention.scale.unwrap_or(1.0 / (shape.key_dim as f32).sqrt()),
            softcap: attention.softcap,
            mask: self.mask(attention.mask),
            sinks,
            key_constant,
            relative_bias: match &attention.relative_bias {
                Some(bias) => {
                    let sees_what_follows = self.mask(attention.mask).sees_what_follows();
                    Some(self.relative_bias(bias, prefix, shape.head_count, sees_what_follows)?)
                }
                None => None,
            },
            alibi_slopes: attention.alibi_bias_max.map(|bias_max| alibi_slopes(shape.head_count, bias_max)),
            key_storage: KeyStorage::Whole,
            temperature: attention.temperature,
            gate: output_gate(attention),
        })
    }

    /// Scores without a value, where there are any.
    pub(super) fn sinks(&self, sinks: Sinks, prefix: &str) -> Result<Option<B::Vector>, ModelError> {
        let stem = match sinks {
            Sinks::None => None,
            Sinks::Tensor(stem) => Some(stem),
            Sinks::IfThere(stem) => Some(stem).filter(|stem| self.source.has(&format!("{prefix}{stem}.weight"))),
        };
        stem.map(|stem| self.vector(&format!("{prefix}{stem}.weight"))).transpose()
    }

    /// What the bias of keys adds to all of them alike. Qwen2's biases reach 354 beside others of 0.5, in just the
    /// elements that turn slowest: without them keys have a range that eight bits, or four, resolve.
    fn key_constant(
        &self,
        attention: &spec::Attention,
        shape: AttentionShape,
        prefix: &str,
        rope: Option<&RopeTable>,
    ) -> Result<Option<Vec<f32>>, ModelError> {
        let name = format!("{prefix}{}.bias", attention.projections.k);
        if !self.source.has(&name) {
            return Ok(None);
        }
        let mut constant = self.values(&name)?;
        constant.truncate(shape.k_width());
        if let Some(rope) = rope {
            constant.chunks_exact_mut(shape.key_dim).for_each(|head| rope.keep_constant(head, self.context_length));
        }
        Ok(Some(constant))
    }

    pub(super) fn rope(&self, rope: &Rope) -> Result<RopeTable, ModelError> {
        let stem = match rope.factors {
            RopeFactors::None => None,
            RopeFactors::Tensor(stem) | RopeFactors::FirstOf(stem, _) => Some(stem),
            RopeFactors::ByContext { long, short } => {
                Some(if self.context_length > rope.scaling.original_context_length { long } else { short })
            }
        };
        let name = stem.map(|stem| format!("{stem}.weight")).filter(|name| self.source.has(name));
        let mut factors = name.map(|name| self.values(&name)).transpose()?;
        if let Some(factors) = &mut factors {
            factors.truncate(rope.dimension_count / 2);
        }
        if let Some(factors) = &factors
            && !factors.iter().all(|factor| factor.is_finite() && *factor != 0.0)
        {
            return Err(ModelError::Parameter {
                key: stem.unwrap_or_default().to_owned(),
                found: "a factor that is 0 or not finite".into(),
                expected: "numbers that angles can be divided by".into(),
            });
        }
        Ok(rope_table(rope, factors.as_deref()))
    }
}

/// How the output is gated.
fn output_gate(attention: &spec::Attention) -> OutputGate {
    match attention.gate {
        AttentionGate::Projection(_, gate) => gate,
        AttentionGate::None | AttentionGate::BesideQueries | AttentionGate::Tensor(_) => OutputGate::SIGMOID,
    }
}

/// The slope of each head's linear bias (Press et al., "Train Short, Test Long", section 3; for head counts that are
/// no power of two as in its reference code: every second slope of the next power follows).
fn alibi_slopes(head_count: usize, bias_max: f32) -> Vec<f32> {
    let power = if head_count.is_power_of_two() { head_count } else { head_count.next_power_of_two() / 2 };
    let base = (-bias_max / power as f32).exp2();
    let half_base = (-bias_max / 2.0 / power as f32).exp2();
    let slope = |head: usize| match head {
        head if head < power => base.powi(head as i32 + 1),
        head => half_base.powi(2 * (head - power) as i32 + 1),
    };
    (0..head_count).map(slope).collect()
}

#[cfg(test)]
mod tests {
    use super::alibi_slopes;

    #[test]
    fn slopes_halve_from_head_to_head() {
        assert_eq!(alibi_slopes(8, 8.0), [0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625]);
    }

    #[test]
    fn further_heads_take_slopes_between() {
        let slopes = alibi_slopes(3, 8.0);
        assert_eq!(slopes, [0.0625, 0.00390625, 0.25]);
    }
}
