//! The weights of what passes the residual stream on in other ways than by adding to it.

use lair_compute::{Backend, Norm};

use super::Builder;
use crate::ModelError;
use crate::spec::{self, BankedResidual, Embedding, Head};

/// A layer whose halves read means of states of the residual stream.
pub(crate) struct BankedWeights<B: Backend> {
    pub(crate) mixer_score: Norm<B>,
    pub(crate) ffn_score: Norm<B>,
    /// Norms of the means.
    pub(crate) mixer_norm: Option<Norm<B>>,
    pub(crate) ffn_norm: Option<Norm<B>>,
    /// States that earlier layers have kept.
    pub(crate) kept_before: usize,
    /// Whether this layer keeps one.
    pub(crate) is_keeping: bool,
}

impl<B: Backend> Builder<'_, B> {
    pub(super) fn banked(
        &mut self,
        declared: &BankedResidual,
        prefix: &str,
        (mixer_norm, ffn_norm): (Option<Norm<B>>, Option<Norm<B>>),
    ) -> Result<BankedWeights<B>, ModelError> {
        let kept_before = self.widths.banked_count;
        self.widths.banked_count += usize::from(declared.is_keeping);
        Ok(BankedWeights {
            mixer_score: self.score(prefix, declared.mixer_score)?,
            ffn_score: self.score(prefix, declared.ffn_score)?,
            mixer_norm,
            ffn_norm,
            kept_before,
            is_keeping: declared.is_keeping,
        })
    }

    /// The scores by which the head reads a mean of states of the residual stream.
    pub(crate) fn banked_head(&self, head: &Head) -> Result<Option<Norm<B>>, ModelError> {
        head.banked_score.map(|stem| self.score("", stem)).transpose()
    }

    fn score(&self, prefix: &str, stem: &'static str) -> Result<Norm<B>, ModelError> {
        Ok(self.norm(prefix, spec::Norm::Rms(stem))?.expect("an RMS norm with a weight is one"))
    }

    /// What the faster of two states begins as, as a table of one row.
    pub(super) fn fast_state(&mut self, embedding: &Embedding) -> Result<Option<B::Matrix>, ModelError> {
        let Some(name) = embedding.fast_state else { return Ok(None) };
        self.widths.has_turns = true;
        Ok(Some(self.matrix(name)?))
    }
}
