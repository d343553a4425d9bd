//! Rotary embedding, as declared: what [`crate::rope_scaling`] turns into angles.

use lair_compute::RopeStyle;

use crate::ModelConfig;

/// How queries and keys are turned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// Which elements form a pair.
    pub style: RopeStyle,
    /// Base of the angles: pair `i` of `n` turns by `theta^(-i/n)` a position.
    pub theta: f32,
    /// Elements of a head that are turned; the rest is left.
    pub dimension_count: usize,
    /// How the angles are changed for long contexts.
    pub scaling: RopeScaling,
    /// Tensors that divide the angles.
    pub factors: RopeFactors,
}

impl Rope {
    /// Elements `i` and `i + dimension_count / 2` form a pair; everything else as the file says.
    pub fn half_split(config: &ModelConfig) -> Rope {
        Rope {
            style: RopeStyle::HalfSplit,
            theta: config.rope_theta,
            dimension_count: config.rope_dimension_count,
            scaling: config.rope_scaling,
            factors: RopeFactors::None,
        }
    }

    /// Elements `2i` and `2i + 1` form a pair; everything else as the file says.
    pub fn interleaved(config: &ModelConfig) -> Rope {
        Rope { style: RopeStyle::Interleaved, ..Rope::half_split(config) }
    }

    /// The same with the base of layers with a sliding window, where the file has one.
    pub fn of_windows(self, config: &ModelConfig) -> Rope {
        Rope { theta: config.window_rope_theta.unwrap_or(self.theta), ..self }
    }

    /// The same as DeepSeek's models scale it, and the factor on both queries and keys that goes with it: the converter
    /// writes a tenth of the slope, and a slope other than one changes scores only, not the angles' magnitude.
    pub fn of_latent_attention(self) -> (Rope, f32) {
        let slope = 10.0 * self.scaling.yarn_log_multiplier;
        let turned = RopeScaling { yarn_log_multiplier: if slope == 0.0 { 0.0 } else { 1.0 }, ..self.scaling };
        let growth = match self.scaling.kind {
            ScalingKind::Yarn => 1.0 + 0.1 * slope * self.scaling.factor.max(1.0).ln(),
            _ => 1.0,
        };
        (Rope { scaling: turned, ..self }, growth * crate::rope_scaling::magnitude(&turned))
    }

    /// The same with angles that are scaled, and a magnitude that is not (DeepSeek V4).
    pub fn without_magnitude(self) -> Rope {
        let scaling = RopeScaling { attention_factor: 1.0, ..self.scaling };
        let factor = 1.0 / crate::rope_scaling::magnitude(&scaling);
        Rope { scaling: RopeScaling { attention_factor: factor, ..scaling }, ..self }
    }

    /// The same without scaling.
    pub fn unscaled(self) -> Rope {
        Rope { scaling: RopeScaling::NONE, ..self }
    }

    /// The same with the factors that the Llama converter writes: one tensor, or two for LongRoPE.
    pub fn with_factors(self, config: &ModelConfig) -> Rope {
        let factors = match config.rope_scaling.kind {
            ScalingKind::LongRope => RopeFactors::BY_CONTEXT,
            _ => RopeFactors::Tensor("rope_freqs"),
        };
        Rope { factors, ..self }
    }
}

/// Tensors of `dimension_count / 2` numbers that divide the angles. Used where the file has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeFactors {
    /// None.
    None,
    /// One for all contexts (Llama 3).
    Tensor(&'static str),
    /// The first of a tensor of so many: layers that turn less take what they need (Step 3.5).
    FirstOf(&'static str, usize),
    /// One for contexts longer than the original one, one for the others (LongRoPE).
    ByContext {
        /// Stem of the factors for long contexts.
        long: &'static str,
        /// Stem of the factors for contexts up to the original length.
        short: &'static str,
    },
}

impl RopeFactors {
    /// The two tensors of LongRoPE by their usual names.
    pub const BY_CONTEXT: RopeFactors =
        RopeFactors::ByContext { long: "rope_factors_long", short: "rope_factors_short" };
}

/// The kinds of scaling, by their names in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalingKind {
    /// `none`: the angles are left, whatever the factor.
    None,
    /// `linear`: every angle is divided by the factor.
    Linear,
    /// `yarn`: high frequencies are left, low ones divided, with a ramp between.
    Yarn,
    /// `longrope`: factors by tensor, and a magnitude.
    LongRope,
}

/// How angles are changed for contexts longer than those of the first training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeScaling {
    /// The kind.
    pub kind: ScalingKind,
    /// How many times longer the context is.
    pub factor: f32,
    /// Factor on cosine and sine that the file adds.
    pub attention_factor: f32,
    /// Context of the first training.
    pub original_context_length: usize,
    /// YaRN: slope of the magnitude over all dimensions (DeepSeek); 0 without.
    pub yarn_log_multiplier: f32,
    /// YaRN: turns over the original context above which a frequency is left.
    pub yarn_beta_fast: f32,
    /// YaRN: turns below which it is divided in full.
    pub yarn_beta_slow: f32,
}

impl RopeScaling {
    /// No scaling.
    pub const NONE: RopeScaling = RopeScaling {
        kind: ScalingKind::None,
        factor: 1.0,
        attention_factor: 1.0,
        original_context_length: 0,
        yarn_log_multiplier: 0.0,
        yarn_beta_fast: 32.0,
        yarn_beta_slow: 1.0,
    };
}
