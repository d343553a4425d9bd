//! Every tensor that a declaration needs, with its shape: the one list that loading, sizing, quantizing and the tests
//! read.

use std::collections::HashSet;

use crate::shapes::{AttentionShape, DeltaNetShape, ffn_size};
use crate::spec::{
    Architecture, Attention, AttentionGate, DenseFfn, Embedding, ExpertsFfn, Ffn, Gate, GatedDeltaNet, HeadOutput,
    KvSource, Layer, Mixer, Norm, NormSpan, RopeFactors, ValueSource,
};
use crate::{ModelConfig, ModelError};

/// Whether a tensor has to be in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It has to be there.
    Required,
    /// It is used if it is there.
    Optional,
    /// It has to be there unless the tensor of this name is, which is used instead.
    Unless(String),
}

/// A tensor that a declaration speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorNeed {
    /// Its name in the file.
    pub name: String,
    /// Its shape, the fastest dimension first. Trailing dimensions of 1 may be missing in a file.
    pub shape: Vec<usize>,
    /// Whether it has to be there.
    pub presence: Presence,
}

/// Every tensor that `architecture` speaks of in a model of this configuration, each once.
///
/// # Errors
/// If a hyper-parameter that gives a shape is missing or out of range, or if a layer cannot be run yet: what does not
/// run has no list.
pub fn tensor_needs(architecture: &Architecture, config: &ModelConfig) -> Result<Vec<TensorNeed>, ModelError> {
    let mut list = List { config, prefix: String::new(), needs: Vec::new() };
    list.embedding(&(architecture.embedding)(config))?;
    for layer_index in 0..config.layer_count {
        let layer = (architecture.layer)(config, layer_index);
        list.prefix = format!("blk.{layer_index}.");
        list.layer(&layer, layer_index)?;
    }
    list.prefix.clear();
    let head = (architecture.head)(config);
    list.norm(head.norm, config.hidden_size);
    match head.output {
        HeadOutput::Logits(stem) => {
            // Without it the embedding's table is used.
            list.linear_with(stem, config.hidden_size, config.vocabulary_size, Presence::Optional);
        }
        HeadOutput::HiddenState => {}
    }
    let mut seen = HashSet::new();
    list.needs.retain(|need| seen.insert(need.name.clone()));
    Ok(list.needs)
}

struct List<'a> {
    config: &'a ModelConfig,
    /// What stands before stems: `blk.3.` within layer 3.
    prefix: String,
    needs: Vec<TensorNeed>,
}

impl List<'_> {
    fn add(&mut self, name: &str, shape: &[usize], presence: Presence) {
        self.needs.push(TensorNeed { name: format!("{}{name}", self.prefix), shape: shape.to_vec(), presence });
    }

    fn norm(&mut self, norm: Norm, width: usize) {
        let Some(stem) = norm.stem() else { return };
        self.add(&format!("{stem}.weight"), &[width], Presence::Required);
        match norm {
            Norm::Layer(_) => self.add(&format!("{stem}.bias"), &[width], Presence::Required),
            Norm::LayerUnbiased(_) => self.add(&format!("{stem}.bias"), &[width], Presence::Optional),
            _ => {}
        }
    }

    fn linear(&mut self, stem: &str, columns: usize, rows: usize) {
        self.linear_with(stem, columns, rows, Presence::Required);
    }

    fn linear_with(&mut self, stem: &str, columns: usize, rows: usize, presence: Presence) {
        self.add(&format!("{stem}.weight"), &[columns, rows], presence);
        self.add(&format!("{stem}.bias"), &[rows], Presence::Optional);
        self.add(&format!("{stem}.scale"), &[1], Presence::Optional);
    }

    /// A stack of matrices, one for each expert.
    fn stack(&mut self, stem: &str, columns: usize, rows: usize, count: usize) {
        self.add(&format!("{stem}.weight"), &[columns, rows, count], Presence::Required);
        self.add(&format!("{stem}.bias"), &[rows, count], Presence::Optional);
    }

    fn embedding(&mut self, embedding: &Embedding) -> Result<(), ModelError> {
        let hidden_size = self.config.hidden_size;
        self.add(
            &format!("{}.weight", embedding.table),
            &[hidden_size, self.config.vocabulary_size],
            Presence::Required,
        );
        if let Some(stem) = embedding.positions {
            self.add(&format!("{stem}.weight"), &[hidden_size, self.config.context_length], Presence::Required);
        }
        self.norm(embedding.norm, hidden_size);
        Ok(())
    }

    fn layer(&mut self, layer: &Layer, layer_index: usize) -> Result<(), ModelError> {
        let hidden_size = self.config.hidden_size;
        self.norm(layer.mixer_norm, hidden_size);
        match &layer.mixer {
            Mixer::Attention(attention) => self.attention(attention, layer_index)?,
            Mixer::GatedDeltaNet(mixer) => self.gated_delta_net(mixer)?,
            // These are refused before anything is listed.
            Mixer::None | Mixer::LatentAttention(_) | Mixer::Mamba2(_) | Mixer::ShortConvolution(_) => {}
        }
        self.norm(layer.mixer_output_norm, hidden_size);
        self.norm(layer.mixer_stream_norm, hidden_size);
        self.norm(layer.ffn_norm, hidden_size);
        match &layer.ffn {
            Ffn::None => {}
            Ffn::Dense(ffn) => self.dense(ffn, ffn_size(ffn.ffn_size, self.config, layer_index)?),
            Ffn::Experts(experts) => self.experts(experts, layer_index)?,
        }
        self.norm(layer.ffn_output_norm, hidden_size);
        self.norm(layer.ffn_stream_norm, hidden_size);
        Ok(())
    }

    fn attention(&mut self, attention: &Attention, layer_index: usize) -> Result<(), ModelError> {
        let shape = AttentionShape::new(attention, self.config, layer_index)?;
        let hidden_size = self.config.hidden_size;
        let names = attention.projections;
        let q_rows = match attention.gate {
            AttentionGate::BesideQueries => 2 * shape.q_width(),
            _ => shape.q_width(),
        };
        match attention.kv_source {
            KvSource::Own => {
                let fused_rows = q_rows + shape.k_width() + shape.v_width();
                self.linear_with(names.fused, hidden_size, fused_rows, Presence::Optional);
                let fused = Presence::Unless(format!("{}{}.weight", self.prefix, names.fused));
                self.linear_with(names.q, hidden_size, q_rows, fused.clone());
                self.linear_with(names.k, hidden_size, shape.k_width(), fused.clone());
                let v_presence = match attention.value_source {
                    ValueSource::Projection => fused,
                    ValueSource::KeysIfMissing => Presence::Optional,
                };
                self.linear_with(names.v, hidden_size, shape.v_width(), v_presence);
            }
            KvSource::Layer(_) => self.linear(names.q, hidden_size, q_rows),
        }
        if let AttentionGate::Tensor(stem) = attention.gate {
            self.linear(stem, hidden_size, shape.output_width());
        }
        let span = |head: usize, row: usize| match attention.norm_span {
            NormSpan::Head => head,
            NormSpan::Row => row,
        };
        self.norm(attention.q_norm, span(shape.key_dim, shape.q_width()));
        if attention.kv_source == KvSource::Own {
            self.norm(attention.k_norm, span(shape.key_dim, shape.k_width()));
            self.norm(attention.v_norm, span(shape.value_dim, shape.v_width()));
        }
        if let Some(stem) = attention.sinks {
            self.add(&format!("{stem}.weight"), &[shape.head_count], Presence::Required);
        }
        self.linear(attention.output, shape.output_width(), hidden_size);
        if let Some(rope) = &attention.rope {
            self.rope_factors(rope.factors, rope.dimension_count / 2);
        }
        Ok(())
    }

    /// Factors are the model's, not a layer's: their names have no prefix.
    fn rope_factors(&mut self, factors: RopeFactors, pair_count: usize) {
        let stems = match factors {
            RopeFactors::None => [None, None],
            RopeFactors::Tensor(stem) => [Some(stem), None],
            RopeFactors::ByContext { long, short } => [Some(long), Some(short)],
        };
        for stem in stems.into_iter().flatten() {
            let name = format!("{stem}.weight");
            self.needs.push(TensorNeed { name, shape: vec![pair_count], presence: Presence::Optional });
        }
    }

    fn gated_delta_net(&mut self, mixer: &GatedDeltaNet) -> Result<(), ModelError> {
        let shape = DeltaNetShape::new(self.config)?;
        let hidden_size = self.config.hidden_size;
        self.linear(mixer.qkv, hidden_size, shape.channel_count());
        self.linear(mixer.gate, hidden_size, shape.value_width());
        self.linear(mixer.alpha, hidden_size, shape.value_head_count);
        self.linear(mixer.beta, hidden_size, shape.value_head_count);
        let convolution = [shape.conv_length, shape.channel_count()];
        self.add(&format!("{}.weight", mixer.convolution), &convolution, Presence::Required);
        self.add(mixer.decay, &[shape.value_head_count], Presence::Required);
        self.add(mixer.time_step_bias, &[shape.value_head_count], Presence::Required);
        self.norm(mixer.norm, shape.value_dim);
        self.linear(mixer.output, shape.value_width(), hidden_size);
        Ok(())
    }

    fn dense(&mut self, ffn: &DenseFfn, ffn_size: usize) {
        let hidden_size = self.config.hidden_size;
        match ffn.gate {
            Gate::None => self.linear(ffn.up, hidden_size, ffn_size),
            Gate::Tensor(gate) => {
                self.linear(gate, hidden_size, ffn_size);
                self.linear(ffn.up, hidden_size, ffn_size);
            }
            Gate::InUp => self.linear(ffn.up, hidden_size, 2 * ffn_size),
        }
        self.linear(ffn.down, ffn_size, hidden_size);
    }

    fn experts(&mut self, ffn: &ExpertsFfn, layer_index: usize) -> Result<(), ModelError> {
        let config = crate::shapes::experts_config(self.config)?;
        let expert_size = match ffn.ffn_size.or(config.expert_ffn_size) {
            Some(size) => size,
            None => {
                let key = self.config.key("expert_feed_forward_length");
                return Err(ModelError::MissingKey { key, expected: "the width of an expert" });
            }
        };
        let (hidden_size, count) = (self.config.hidden_size, config.expert_count);
        self.linear(ffn.router, hidden_size, count);
        if let Some(stem) = ffn.selection_bias {
            self.add(&format!("{stem}.bias"), &[count], Presence::Optional);
        }
        if let Some(gate) = ffn.gate {
            self.stack(gate, hidden_size, expert_size, count);
        }
        self.stack(ffn.up, hidden_size, expert_size, count);
        self.stack(ffn.down, expert_size, hidden_size, count);
        if let Some(shared) = &ffn.shared {
            self.dense(&shared.ffn, ffn_size(shared.ffn.ffn_size, self.config, layer_index)?);
            if let Some(gate) = shared.gate {
                self.linear(gate, hidden_size, 1);
            }
        }
        Ok(())
    }
}
