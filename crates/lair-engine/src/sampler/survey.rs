//! What one look at all logits tells: whether they are a distribution, and the greatest of each block.
//!
//! Logits of 150k tokens are 600 kB, more than a first-level cache, so they are read as seldom as can be: once here,
//! and then only the blocks whose greatest is great enough. The `k` greatest logits lie in blocks whose greatest is at
//! least the `k`-th greatest of the blocks' (each of those blocks gives one logit that is), so with `k` of 40 some 40
//! blocks of 2344 are looked into.

use lair_simd::{Isa, IsaChoice, LANES, Range, Simd, select_within, vectorize};

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
        self.isa.run(AtLeast { logits, maxima: &self.maxima, bound, found });
    }

    /// Puts the logits within a range behind those in `found`, by token, and their tokens behind those in `tokens`.
    pub(super) fn select(&self, logits: &[f32], range: Range, tokens: &mut Vec<u32>, found: &mut Vec<f32>) {
        // Blocks that follow each other are read as one.
        let mut blocks = self.maxima.iter().map(|&maximum| maximum >= range.least).enumerate().peekable();
        while let Some((first, is_wanted)) = blocks.next() {
            let mut end = first + 1;
            while blocks.next_if(|next| next.1 == is_wanted).is_some() {
                end += 1;
            }
            if is_wanted {
                let begin = first * BLOCK;
                let logits = &logits[begin..logits.len().min(end * BLOCK)];
                select_within(self.isa, (logits, begin as u32), range, tokens, found);
            }
        }
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
    let (pairs, rest) = block.as_chunks::<{ 2 * LANES }>();
    // Two of each, so that one does not wait for the other.
    let mut greatest = [s.splat(f32::NEG_INFINITY); 2];
    let mut fault = [s.splat(0.0); 2];
    for pair in pairs {
        let (vectors, _) = pair.as_chunks::<LANES>();
        for i in 0..2 {
            let x = s.load(&vectors[i]);
            greatest[i] = s.max(x, greatest[i]);
            // Zero times what is infinite or no number is no number; minus infinity is replaced, for it is allowed.
            fault[i] = s.fma(s.max(s.splat(f32::MIN), x), s.splat(0.0), fault[i]);
        }
    }
    for part in rest.chunks(LANES) {
        let x = s.load_part(part, f32::NEG_INFINITY);
        greatest[0] = s.max(x, greatest[0]);
        fault[0] = s.fma(s.max(s.splat(f32::MIN), x), s.splat(0.0), fault[0]);
    }
    *faults = s.add(*faults, s.add(fault[0], fault[1]));
    s.largest(s.max(greatest[0], greatest[1]))
}

struct AtLeast<'a> {
    logits: &'a [f32],
    maxima: &'a [f32],
    bound: f32,
    found: &'a mut Vec<Candidate>,
}

impl lair_simd::Work for AtLeast<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let bound = s.splat(self.bound);
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
                let mut bits = s.at_least(x, bound);
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
