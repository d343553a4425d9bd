//! What one look at all logits tells: whether they are a distribution, and the greatest of each block.
//!
//! Logits of 150k tokens are 600 kB, more than a first-level cache, so they are read as seldom as can be: once here,
//! and then only the blocks whose greatest is great enough. The `k` greatest logits lie in blocks whose greatest is at
//! least the `k`-th greatest of the blocks' (each of those blocks gives one logit that is), so with `k` of 40 some 40
//! blocks of 2344 are looked into.

use lair_simd::{Isa, IsaChoice, LANES, MAXIMA_BLOCK, PICKED, Range, Simd, block_maxima, pick_within};

use super::{Candidate, NonFiniteLogits};

/// Logits of a block: eight vectors of eight.
pub(super) const BLOCK: usize = MAXIMA_BLOCK;

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
        self.maxima.resize(logits.len().div_ceil(BLOCK), 0.0);
        let greatest = check(logits, block_maxima(self.isa, logits, &mut self.maxima))?;
        let block = first_of(&self.maxima, 0, greatest) as usize;
        Ok((first_of(logits, block * BLOCK, greatest), greatest))
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

    /// Puts the logits within a range behind those in `found`, by token, and bits that say which tokens they are of behind those in
    /// `masks`, as [`pick_within`] does.
    pub(super) fn pick(&self, logits: &[f32], range: Range, masks: &mut Vec<u16>, found: &mut Vec<f32>) {
        // Blocks that follow each other are read as one.
        let mut blocks = self.maxima.iter().map(|&maximum| maximum >= range.least).enumerate().peekable();
        while let Some((first, is_wanted)) = blocks.next() {
            let mut end = first + 1;
            while blocks.next_if(|next| next.1 == is_wanted).is_some() {
                end += 1;
            }
            let logits = &logits[first * BLOCK..logits.len().min(end * BLOCK)];
            match is_wanted {
                true => pick_within(self.isa, logits, range, masks, found),
                false => masks.resize(masks.len() + logits.len().div_ceil(PICKED), 0),
            }
        }
    }
}

/// The greatest logit and the first token that has it.
pub(crate) fn greatest(logits: &[f32]) -> Result<(u32, f32), NonFiniteLogits> {
    let isa = Isa::detect(IsaChoice::Auto);
    let (mut found, mut place) = (Some(f32::NEG_INFINITY), 0);
    // No room is asked for: this is called within steps.
    let mut room = [0.0; 64];
    for (index, part) in logits.chunks(room.len() * BLOCK).enumerate() {
        let maximum = block_maxima(isa, part, &mut room[..part.len().div_ceil(BLOCK)]);
        if found < maximum {
            place = index * room.len() * BLOCK;
        }
        found = found.zip(maximum).map(|(found, maximum)| found.max(maximum));
    }
    let greatest = check(logits, found)?;
    Ok((first_of(logits, place, greatest), greatest))
}

/// The first token of this logit from a place on.
fn first_of(logits: &[f32], place: usize, logit: f32) -> u32 {
    // All of some are compared, which vectors do, before it is asked which one it was.
    let is_in = |some: &[f32]| some.iter().fold(false, |is_in, &other| is_in | (other == logit));
    let place = place + BLOCK * logits[place..].chunks(BLOCK).position(is_in).unwrap_or_default();
    (place + logits[place..].iter().position(|&other| other == logit).unwrap_or_default()) as u32
}

/// Refuses logits that are no distribution; `greatest` is there if all of them can be compared.
fn check(logits: &[f32], greatest: Option<f32>) -> Result<f32, NonFiniteLogits> {
    match greatest {
        None => {
            let is_not_finite = |logit: &f32| logit.is_nan() || *logit == f32::INFINITY;
            let token = logits.iter().position(is_not_finite).unwrap_or_default();
            Err(NonFiniteLogits::At { token: token as u32 })
        }
        Some(f32::NEG_INFINITY) => Err(NonFiniteLogits::Everywhere),
        Some(greatest) => Ok(greatest),
    }
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
