//! What one look at all logits tells: whether they are a distribution, and the greatest of each block.
//!
//! Logits of 150k tokens are 600 kB, more than a first-level cache, so they are read as seldom as can be: once here,
//! and then only the blocks whose greatest is great enough. The `k` greatest logits lie in blocks whose greatest is at
//! least the `k`-th greatest of the blocks' (each of those blocks gives one logit that is), so with `k` of 40 some 40
//! blocks of 2344 are looked into.

use lair_simd::{Isa, IsaChoice, LANES, Simd, vectorize};

use super::{Candidate, NonFiniteLogits};

/// Logits of a block: eight vectors.
pub(super) const BLOCK: usize = 8 * LANES;

/// The greatest logit of each block.
pub(super) struct Survey {
    pub(super) isa: Isa,
    /// `[vocabulary_size / BLOCK]`, rounded up.
    maxima: Vec<f32>,
    /// Room to find one of them by rank.
    ranked: Vec<f32>,
}

impl Survey {
    pub(super) fn new(isa: Isa, vocabulary_size: usize) -> Self {
        let block_count = vocabulary_size.div_ceil(BLOCK);
        Self { isa, maxima: Vec::with_capacity(block_count), ranked: Vec::with_capacity(block_count) }
    }

    /// Looks at all logits; the greatest and the first token that has it.
    pub(super) fn look(&mut self, logits: &[f32]) -> Result<(u32, f32), NonFiniteLogits> {
        self.maxima.clear();
        let (maxima, mut fault) = (&mut self.maxima, 0.0);
        vectorize!(self.isa, look_at, logits: &[f32] = logits, maxima: &mut Vec<f32> = maxima, fault: &mut f32 = &mut fault);
        let greatest = self.maxima.iter().fold(f32::NEG_INFINITY, |greatest, &maximum| greatest.max(maximum));
        check(logits, greatest, fault)?;
        let before = self.maxima.iter().position(|&maximum| maximum == greatest).unwrap_or_default() * BLOCK;
        let token = before + logits[before..].iter().position(|&logit| logit == greatest).unwrap_or_default();
        Ok((token as u32, greatest))
    }

    /// The greatest logit of each block, as last seen.
    pub(super) fn maxima(&self) -> &[f32] {
        &self.maxima
    }

    /// A logit that at least `count` others reach or surpass; `None` if the blocks are too few to tell.
    pub(super) fn bound_of_greatest(&mut self, count: usize) -> Option<f32> {
        // With nearly as many blocks as tokens wanted, most blocks would have to be looked into.
        if count == 0 || count > self.maxima.len() / 2 {
            return None;
        }
        self.ranked.clear();
        self.ranked.extend_from_slice(&self.maxima);
        let (_, bound, _) = self.ranked.select_nth_unstable_by(count - 1, |left, right| right.total_cmp(left));
        Some(*bound)
    }

    /// Puts the tokens whose logits are at least `bound` into `found`, by token. A bound of minus infinity is passed by
    /// all that are finite.
    pub(super) fn find_at_least(&self, logits: &[f32], bound: f32, found: &mut Vec<Candidate>) {
        // The least finite number: what is infinite downwards is no candidate.
        let bound = bound.max(f32::MIN);
        self.isa.run(AtLeast { logits, maxima: &self.maxima, bound, below: f32::INFINITY, found });
    }

    /// As [`Survey::find_at_least`], of logits below another bound.
    pub(super) fn find_between(&self, logits: &[f32], bound: f32, below: f32, found: &mut Vec<Candidate>) {
        self.isa.run(AtLeast { logits, maxima: &self.maxima, bound: bound.max(f32::MIN), below, found });
    }
}

/// The greatest logit and the first token that has it.
pub(crate) fn greatest(logits: &[f32]) -> Result<(u32, f32), NonFiniteLogits> {
    let isa = Isa::detect(IsaChoice::Auto);
    let (mut greatest, mut fault, mut token) = (f32::NEG_INFINITY, 0.0, 0);
    vectorize!(isa, greatest_with,
        logits: &[f32] = logits,
        greatest: &mut f32 = &mut greatest,
        fault: &mut f32 = &mut fault,
        token: &mut usize = &mut token,
    );
    check(logits, greatest, fault)?;
    Ok((token as u32, greatest))
}

/// Refuses logits that are no distribution; `fault` is no number if one of them is none, or infinite upwards.
fn check(logits: &[f32], greatest: f32, fault: f32) -> Result<(), NonFiniteLogits> {
    if fault.is_nan() {
        let is_not_finite = |logit: &f32| logit.is_nan() || *logit == f32::INFINITY;
        let token = logits.iter().position(is_not_finite).unwrap_or_default();
        return Err(NonFiniteLogits::At { token: token as u32 });
    }
    if greatest == f32::NEG_INFINITY { Err(NonFiniteLogits::Everywhere) } else { Ok(()) }
}

#[inline(always)]
fn greatest_with<S: Simd>(s: S, logits: &[f32], greatest: &mut f32, fault: &mut f32, token: &mut usize) {
    let mut faults = s.splat(0.0);
    let mut place = 0;
    for (index, block) in logits.chunks(BLOCK).enumerate() {
        let maximum = look_at_block(s, block, &mut faults);
        if maximum > *greatest {
            (*greatest, place) = (maximum, index * BLOCK);
        }
    }
    *fault = s.sum(faults);
    *token = place + logits[place..].iter().position(|logit| logit == greatest).unwrap_or_default();
}

#[inline(always)]
fn look_at<S: Simd>(s: S, logits: &[f32], maxima: &mut Vec<f32>, fault: &mut f32) {
    let mut faults = s.splat(0.0);
    for block in logits.chunks(BLOCK) {
        maxima.push(look_at_block(s, block, &mut faults));
    }
    *fault = s.sum(faults);
}

/// The greatest logit of a block; `faults` becomes no number where a logit is none, or infinite upwards.
#[inline(always)]
fn look_at_block<S: Simd>(s: S, block: &[f32], faults: &mut S::F) -> f32 {
    // No closures here: what is not inlined is compiled without the instruction set.
    let mut greatest = s.splat(f32::NEG_INFINITY);
    let (vectors, rest) = block.as_chunks::<LANES>();
    for vector in vectors {
        let x = s.load(vector);
        greatest = s.max(x, greatest);
        // Zero times what is infinite or no number is no number; minus infinity is replaced, for it is allowed.
        *faults = s.fma(s.max(s.splat(f32::MIN), x), s.splat(0.0), *faults);
    }
    if !rest.is_empty() {
        let x = s.load_part(rest, f32::NEG_INFINITY);
        greatest = s.max(x, greatest);
        *faults = s.fma(s.max(s.splat(f32::MIN), x), s.splat(0.0), *faults);
    }
    s.largest(greatest)
}

struct AtLeast<'a> {
    logits: &'a [f32],
    maxima: &'a [f32],
    bound: f32,
    /// What logits do not reach; all that are finite are below infinity.
    below: f32,
    found: &'a mut Vec<Candidate>,
}

impl lair_simd::Work for AtLeast<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (bound, below) = (s.splat(self.bound), s.splat(self.below));
        for (index, &maximum) in self.maxima.iter().enumerate() {
            if maximum < self.bound {
                continue;
            }
            let begin = index * BLOCK;
            let block = &self.logits[begin..self.logits.len().min(begin + BLOCK)];
            for (place, lanes) in block.chunks(LANES).enumerate() {
                let x = match lanes.first_chunk() {
                    Some(lanes) => s.load(lanes),
                    None => s.load_part(lanes, f32::NEG_INFINITY),
                };
                let mut bits = s.at_least(x, bound) & !s.at_least(x, below);
                while bits != 0 {
                    let lane = bits.trailing_zeros() as usize;
                    let token = (begin + place * LANES + lane) as u32;
                    self.found.push(Candidate { token, logit: lanes[lane], probability: 0.0 });
                    bits &= bits - 1;
                }
            }
        }
    }
}
