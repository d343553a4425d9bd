//! Logits to a token.
//!
//! In three stages. Logit bias, penalties and DRY change single logits in place. Filters then drop tokens, in the order
//! that the request gives (by default llama.cpp's). Last, one of the survivors is drawn in proportion to its
//! probability; at temperature 0 the greatest changed logit wins instead, the lower token on a tie.
//!
//! Cost: a vocabulary of 150k is 600 kB of logits, a scan of which from the second-level cache takes some 20 to 50 us.
//! Greedy is one such scan and a search; with top-k first, only tokens above a rising threshold are copied at all.

mod candidates;
mod draws;
mod dry;
mod logprobs;
mod min_p;
mod parameters;
mod penalties;
mod temperature;
mod top_k;
mod top_n_sigma;
mod top_p;
mod typical_p;
mod xtc;

pub use candidates::Candidate;
pub use draws::Draws;
pub use logprobs::{log_sum_exp, top_logprobs};
pub use parameters::{Dry, Filter, Sampling, SamplingError};

use candidates::Candidates;

/// Why nothing can be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NonFiniteLogits {
    /// A logit is not a number, or infinite upwards.
    #[error("logit {token} is not finite")]
    At {
        /// The first such token.
        token: u32,
    },
    /// Every logit is infinite downwards.
    #[error("no token has a finite logit")]
    Everywhere,
}

/// Chooses tokens; holds the room it needs for that, so that nothing is allocated for a token.
pub struct Sampler {
    candidates: Candidates,
    recent: Vec<u32>,
    dry: dry::Room,
    changes: Changes,
}

/// What logits were before bias and penalties, so that they can be put back.
#[derive(Default)]
pub(crate) struct Changes(Vec<(u32, f32)>);

impl Changes {
    /// Changes the logit of a token.
    pub(crate) fn change(&mut self, logits: &mut [f32], token: u32, change: impl FnOnce(f32) -> f32) {
        let logit = &mut logits[token as usize];
        self.0.push((token, *logit));
        *logit = change(*logit);
    }

    fn undo(&mut self, logits: &mut [f32]) {
        for (token, logit) in self.0.drain(..).rev() {
            logits[token as usize] = logit;
        }
    }
}

impl Sampler {
    /// Room for vocabularies of this size.
    pub fn new(vocabulary_size: usize) -> Self {
        Self {
            candidates: Candidates::new(vocabulary_size),
            recent: Vec::new(),
            dry: dry::Room::default(),
            changes: Changes::default(),
        }
    }

    /// Chooses the token that follows `history` (prompt included). `logits` is `[vocabulary_size]`; it is worked on, and
    /// holds the same values again afterwards.
    ///
    /// The draw depends on nothing but the arguments; `draws` names the seed and the token's index.
    pub fn sample(
        &mut self,
        logits: &mut [f32],
        sampling: &Sampling,
        history: &[u32],
        mut draws: Draws,
    ) -> Result<u32, NonFiniteLogits> {
        self.adjust(logits, sampling, history);
        let chosen = greatest(logits).map(|(best, _)| {
            if sampling.is_greedy() {
                return best;
            }
            self.filter(logits, sampling, &mut draws);
            self.candidates.draw(draws.uniform())
        });
        self.changes.undo(logits);
        chosen
    }

    /// The tokens that the filters leave, with their probabilities, by token: what [`Sampler::sample`] draws from at a
    /// temperature above 0.
    pub fn survivors(
        &mut self,
        logits: &mut [f32],
        sampling: &Sampling,
        history: &[u32],
        mut draws: Draws,
    ) -> Result<&[Candidate], NonFiniteLogits> {
        self.adjust(logits, sampling, history);
        let filtered = greatest(logits).map(|_| self.filter(logits, sampling, &mut draws));
        self.changes.undo(logits);
        filtered?;
        self.candidates.sort_by_token();
        self.candidates.softmax();
        Ok(self.candidates.items())
    }

    fn adjust(&mut self, logits: &mut [f32], sampling: &Sampling, history: &[u32]) {
        for &(token, bias) in &sampling.logit_bias {
            self.changes.change(logits, token, |logit| logit + bias);
        }
        penalties::apply(sampling, history, &mut self.recent, logits, &mut self.changes);
        dry::apply(&sampling.dry, history, &mut self.dry, logits, &mut self.changes);
    }

    fn filter(&mut self, logits: &[f32], sampling: &Sampling, draws: &mut Draws) {
        let candidates = &mut self.candidates;
        let mut filters = sampling.order.iter().filter(|filter| filter.is_active(sampling)).peekable();
        // Top-k first is the common case and need not look at the other tokens twice.
        if filters.next_if(|&&filter| filter == Filter::TopK).is_some() {
            candidates.fill_greatest(logits, sampling.top_k);
        } else {
            candidates.fill(logits);
        }
        for filter in filters {
            filter.apply(sampling, candidates, draws);
        }
    }
}

impl Filter {
    fn is_active(self, sampling: &Sampling) -> bool {
        match self {
            Self::TopNSigma => sampling.top_n_sigma > 0.0,
            Self::TopK => sampling.top_k > 0,
            Self::TypicalP => sampling.typical_p < 1.0,
            Self::TopP => sampling.top_p < 1.0,
            Self::MinP => sampling.min_p > 0.0,
            Self::Xtc => sampling.xtc_probability > 0.0,
            Self::Temperature => sampling.temperature != 1.0,
        }
    }

    fn apply(self, sampling: &Sampling, candidates: &mut Candidates, draws: &mut Draws) {
        match self {
            Self::TopNSigma => top_n_sigma::apply(sampling.top_n_sigma, candidates),
            Self::TopK => top_k::apply(sampling.top_k, candidates),
            Self::TypicalP => typical_p::apply(sampling.typical_p, candidates),
            Self::TopP => top_p::apply(sampling.top_p, candidates),
            Self::MinP => min_p::apply(sampling.min_p, candidates),
            Self::Xtc => xtc::apply(sampling.xtc_probability, sampling.xtc_threshold, candidates, draws),
            Self::Temperature => temperature::apply(sampling.temperature, candidates),
        }
    }
}

/// Logits that are looked at together: independent of each other, so that the compiler can use vectors.
const LANES: usize = 16;

/// The greatest logit and the first token that has it.
pub(crate) fn greatest(logits: &[f32]) -> Result<(u32, f32), NonFiniteLogits> {
    let (chunks, rest) = logits.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    // As wide as the logits, or the vectors would be taken apart.
    let mut not_finite = [0u32; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = if chunk[lane] > lanes[lane] { chunk[lane] } else { lanes[lane] };
            // False for NaN too.
            not_finite[lane] |= !u32::from(chunk[lane] < f32::INFINITY) & 1;
        }
    }
    let is_not_finite = |logit: &f32| logit.is_nan() || *logit == f32::INFINITY;
    if not_finite != [0; LANES] || rest.iter().any(is_not_finite) {
        let token = logits.iter().position(is_not_finite).unwrap_or_default();
        return Err(NonFiniteLogits::At { token: token as u32 });
    }
    let greatest = lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |greatest, &logit| greatest.max(logit));
    if greatest == f32::NEG_INFINITY {
        return Err(NonFiniteLogits::Everywhere);
    }
    let has_it = |chunk: &[f32; LANES]| chunk.iter().fold(0, |found, &logit| found | u32::from(logit == greatest)) != 0;
    let before = chunks.iter().position(has_it).unwrap_or(chunks.len()) * LANES;
    let token = before + logits[before..].iter().position(|&logit| logit == greatest).unwrap_or_default();
    Ok((token as u32, greatest))
}
