//! Logits to a token.
//!
//! In three stages. Logit bias, penalties and DRY change single logits in place. Filters then drop tokens, in the order
//! that the request gives (by default llama.cpp's). Last, one of the survivors is drawn in proportion to its
//! probability; at temperature 0 the greatest changed logit wins instead, the lower token on a tie. Mirostat, where it is
//! asked for, stands in place of penalties and filters ([`mirostat`]).
//!
//! Cost: a vocabulary of 150k is 600 kB of logits; reading them once from the second-level cache takes some 10 us, taking
//! the exponential of each some 25 us. Greedy reads them once ([`survey`]). Top-k or min-p first look again only into
//! the few blocks of logits whose greatest is great enough. Exponentials of all are taken where the whole distribution
//! counts: a draw without filters, and top-p or typical-p first, which look only at tokens that a sample says are needed, and
//! compare only those at the edge of what stays ([`nucleus`]).
//! What survives is never sorted ([`candidates`]).

mod candidates;
mod draws;
mod dry;
mod logprobs;
mod min_p;
mod mirostat;
mod nucleus;
mod parameters;
mod penalties;
mod survey;
mod temperature;
mod top_k;
mod top_n_sigma;
mod top_p;
mod typical_p;
mod weights;
mod xtc;

pub use candidates::Candidate;
pub use draws::Draws;
pub use logprobs::{log_sum_exp, top_logprobs};
pub use mirostat::{Mirostat, MirostatState, MirostatVersion};
pub use parameters::{Dry, Filter, Sampling, SamplingError};

use candidates::Candidates;
use lair_simd::{Isa, IsaChoice, Range};
use nucleus::Nucleus;
use survey::Survey;
pub(crate) use survey::greatest;
use top_p::TopP;
use typical_p::TypicalP;
use weights::Scale;

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
    survey: Survey,
    candidates: Candidates,
    /// Sums of the weights of blocks of logits.
    block_sums: Vec<f64>,
    seen: penalties::Seen,
    dry: dry::Room,
    changes: Changes,
    nucleus: Nucleus,
}

/// What logits were before bias and penalties, so that they can be put back.
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
    /// Room for vocabularies of this size, on the best instruction set there is: the tokens are the same on all.
    pub fn new(vocabulary_size: usize) -> Self {
        Self::with_isa(vocabulary_size, IsaChoice::Auto)
    }

    /// As [`Sampler::new`], on a given instruction set.
    pub fn with_isa(vocabulary_size: usize, isa: IsaChoice) -> Self {
        let isa = Isa::detect(isa);
        // Room that is never used is never touched, so it takes no memory.
        Self {
            survey: Survey::new(isa, vocabulary_size),
            candidates: Candidates::new(isa, vocabulary_size),
            block_sums: Vec::with_capacity(vocabulary_size.div_ceil(weights::SUM_BLOCK)),
            seen: penalties::Seen::new(vocabulary_size),
            dry: dry::Room::default(),
            changes: Changes(Vec::with_capacity(2 * vocabulary_size)),
            nucleus: Nucleus::new(vocabulary_size),
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
        draws: Draws,
    ) -> Result<u32, NonFiniteLogits> {
        self.sample_carrying(logits, sampling, history, draws, &mut MirostatState::default())
    }

    /// The same for a sequence that carries something from token to token.
    pub fn sample_carrying(
        &mut self,
        logits: &mut [f32],
        sampling: &Sampling,
        history: &[u32],
        mut draws: Draws,
        state: &mut MirostatState,
    ) -> Result<u32, NonFiniteLogits> {
        self.adjust(logits, sampling, history);
        let chosen = self.survey.look(logits).map(|(best, greatest)| {
            if sampling.is_greedy() {
                return best;
            }
            if let Some(mirostat) = sampling.mirostat {
                self.fill_by_mirostat(logits, greatest, sampling, (mirostat, state));
                let token = self.candidates.draw(draws.uniform());
                state.note(mirostat, self.candidates.share_of(token));
                return token;
            }
            let mut filters = sampling.order.iter().copied().filter(|filter| filter.is_active(sampling));
            let is_plain = !sampling.has_dynamic_temperature();
            match [filters.next(), filters.next(), filters.next(), filters.next()] {
                [None, ..] => self.draw_from_all(logits, Scale::new(greatest), draws.uniform()),
                [Some(Filter::Temperature), None, ..] if is_plain => {
                    self.draw_from_all(logits, Scale::at(greatest, sampling.temperature), draws.uniform())
                }
                [Some(filter), rest @ ..]
                    if is_plain
                        && can_be_drawn_packed(filter, &rest)
                        && self.take_nucleus(filter, logits, greatest, sampling) =>
                {
                    let min_p =
                        if sampling.min_p > 0.0 && rest.contains(&Some(Filter::MinP)) { sampling.min_p } else { 0.0 };
                    let least = if min_p > 0.0 { min_p::least_logit(min_p, greatest) } else { f32::NEG_INFINITY };
                    self.nucleus.draw(self.survey.isa, sampling.temperature, least, draws.uniform())
                }
                _ => self.filter_and_draw(logits, greatest, sampling, draws),
            }
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
        draws: Draws,
    ) -> Result<&[Candidate], NonFiniteLogits> {
        self.survivors_carrying(logits, sampling, history, draws, &MirostatState::default())
    }

    /// The same for a sequence that carries something from token to token.
    pub fn survivors_carrying(
        &mut self,
        logits: &mut [f32],
        sampling: &Sampling,
        history: &[u32],
        mut draws: Draws,
        state: &MirostatState,
    ) -> Result<&[Candidate], NonFiniteLogits> {
        self.adjust(logits, sampling, history);
        let looked = self.survey.look(logits);
        let filtered = looked.map(|(_, greatest)| match sampling.mirostat {
            Some(mirostat) => self.fill_by_mirostat(logits, greatest, sampling, (mirostat, state)),
            None => self.filter(logits, greatest, sampling, &mut draws),
        });
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
        if sampling.mirostat.is_some() {
            return;
        }
        penalties::apply(sampling, history, &mut self.seen, logits, &mut self.changes);
        dry::apply(&sampling.dry, history, &mut self.dry, logits, &mut self.changes);
    }

    fn filter(&mut self, logits: &[f32], greatest: f32, sampling: &Sampling, draws: &mut Draws) {
        let first = sampling.order.iter().find(|filter| filter.is_active(sampling));
        let is_filled = first.is_some_and(|&filter| self.fill_by(filter, logits, greatest, sampling));
        if !is_filled {
            self.fill(logits, f32::NEG_INFINITY);
        }
        self.apply(usize::from(is_filled), sampling, draws);
    }

    /// Applies the filters that are asked for, from one of them on.
    fn apply(&mut self, first: usize, sampling: &Sampling, draws: &mut Draws) {
        for filter in sampling.order.iter().filter(|filter| filter.is_active(sampling)).skip(first) {
            filter.apply(sampling, &mut self.candidates, draws);
        }
    }

    fn filter_and_draw(&mut self, logits: &[f32], greatest: f32, sampling: &Sampling, mut draws: Draws) -> u32 {
        self.filter(logits, greatest, sampling, &mut draws);
        self.candidates.draw(draws.uniform())
    }

    /// Takes as candidates the tokens of at least this logit.
    fn fill(&mut self, logits: &[f32], bound: f32) {
        let Self { survey, candidates, .. } = self;
        candidates.fill(|found| survey.find_at_least(logits, bound, found));
    }

    /// Takes as candidates what a filter leaves of all tokens, if that can be had without listing all; `false` if not.
    fn fill_by(&mut self, filter: Filter, logits: &[f32], greatest: f32, sampling: &Sampling) -> bool {
        match filter {
            Filter::TopK => {
                let Some(bound) = self.survey.bound_of_greatest(sampling.top_k) else { return false };
                self.fill(logits, bound);
                self.candidates.keep_greatest(sampling.top_k);
                true
            }
            Filter::MinP => {
                self.fill(logits, min_p::least_logit(sampling.min_p, greatest));
                true
            }
            Filter::TopP | Filter::TypicalP => {
                let is_taken = self.take_nucleus(filter, logits, greatest, sampling);
                if is_taken {
                    self.nucleus.list(&mut self.candidates);
                }
                is_taken
            }
            _ => false,
        }
    }

    /// Takes what top-p or typical-p leaves of all tokens; `false` if a sample cannot tell how far they look.
    fn take_nucleus(&mut self, filter: Filter, logits: &[f32], greatest: f32, sampling: &Sampling) -> bool {
        let Self { survey, nucleus, block_sums, .. } = self;
        match filter {
            Filter::TopP => {
                let total = weights::sum_blocks(survey.isa, logits, Scale::new(greatest), Range::ALL, block_sums);
                let nearest = TopP::new(sampling.top_p, (greatest, total));
                nucleus.take(survey, logits, (greatest, total), &nearest)
            }
            Filter::TypicalP => {
                let sums = weights::sum_weighted(survey.isa, logits, greatest);
                let nearest = TypicalP::new(sampling.typical_p, greatest, sums);
                nucleus.take(survey, logits, (greatest, sums.0), &nearest)
            }
            _ => false,
        }
    }

    /// The first token at which the cumulated weight of all tokens passes `uniform` times the whole.
    fn draw_from_all(&mut self, logits: &[f32], scale: Scale, uniform: f64) -> u32 {
        let isa = self.survey.isa;
        weights::sum_blocks(isa, logits, scale, Range::ALL, &mut self.block_sums);
        weights::draw(isa, logits, scale, Range::ALL, &mut self.block_sums, uniform) as u32
    }
}

/// Whether what this filter leaves can be drawn from as it is packed: nothing but a temperature follows, or after top-p, which keeps
/// the greatest logit, min-p before it.
fn can_be_drawn_packed(filter: Filter, rest: &[Option<Filter>; 3]) -> bool {
    matches!(
        (filter, rest),
        (Filter::TopP | Filter::TypicalP, [None, ..] | [Some(Filter::Temperature), None, ..])
            | (Filter::TopP, [Some(Filter::MinP), None, ..] | [Some(Filter::MinP), Some(Filter::Temperature), None])
    )
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
            Self::Temperature => sampling.temperature != 1.0 || sampling.has_dynamic_temperature(),
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
            Self::Temperature if sampling.has_dynamic_temperature() => temperature::apply_dynamic(sampling, candidates),
            Self::Temperature => temperature::apply(sampling.temperature, candidates),
        }
    }
}
