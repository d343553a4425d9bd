//! Draws from tokens that are told by a bound, without a list of them.
//!
//! What top-p leaves of a flat distribution is ten thousands of tokens, and to list and to weigh them takes ten times what
//! reading all logits takes. They are those from some logit on, and so are what min-p leaves of them; a temperature changes
//! weights alone. So the weights of blocks of logits are summed, of logits that surely stay, and only tokens
//! about the bound are listed and compared with each other.

use super::candidates::{Candidate, arrange_by_weight};
use super::nucleus::Reach;
use super::survey::BLOCK;
use super::{Draws, Filter, Sampler, Sampling, min_p, weights};

/// With tokens in fewer blocks than this, or in a smaller part of all blocks than one of so many, a list is quicker.
const LISTED_BLOCKS: usize = 128;
const LISTED_PART: usize = 4;

/// Tokens that stay: those not behind `last` in the order of logits, greater ones first and lower tokens first of equals.
#[derive(Clone, Copy, Debug)]
struct Kept {
    last: Candidate,
}

impl Kept {
    const ALL: Kept = Kept { last: Candidate { token: u32::MAX, logit: f32::NEG_INFINITY, probability: 0.0 } };

    fn has(self, token: u32, logit: f32) -> bool {
        Candidate { token, logit, probability: 0.0 }.by_logit(&self.last).is_le()
    }
}

/// The logit at a distance from the greatest.
fn bound_at(greatest: f32, distance: f64) -> f32 {
    (f64::from(greatest) - distance) as f32
}

/// Whether these filters, after top-p, are none but min-p and a temperature behind it.
pub(super) fn is_bounds_and_temperature(filters: &[Option<Filter>]) -> bool {
    matches!(
        filters,
        [None, ..]
            | [Some(Filter::MinP | Filter::Temperature), None, ..]
            | [Some(Filter::MinP), Some(Filter::Temperature), None, ..]
    )
}

impl Sampler {
    /// The first token at which the cumulated weight of all tokens passes `uniform` times the whole.
    pub(super) fn draw_from_all(&mut self, logits: &[f32], greatest: f32, temperature: f32, uniform: f64) -> u32 {
        let isa = self.survey.isa;
        let scale = (greatest, temperature);
        let total = weights::sum_blocks(isa, logits, scale, f32::NEG_INFINITY, &mut self.block_sums);
        self.draw_from_blocks(logits, scale, Kept::ALL, uniform * total, total)
    }

    /// A draw from what top-p leaves, and min-p of that, at a temperature.
    pub(super) fn draw_from_nucleus(
        &mut self,
        logits: &[f32],
        greatest: f32,
        sampling: &Sampling,
        mut draws: Draws,
    ) -> u32 {
        let Some((total, reach)) = self.reach_of_top_p(logits, greatest, sampling.top_p) else {
            self.fill(logits, f32::NEG_INFINITY);
            self.apply(0, sampling, &mut draws);
            return self.candidates.draw(draws.uniform());
        };
        let maxima = self.survey.maxima();
        let bound = bound_at(greatest, reach.distance());
        let blocks_within = maxima.iter().filter(|&&maximum| maximum >= bound).count();
        if blocks_within >= LISTED_BLOCKS.max(maxima.len() / LISTED_PART)
            && let Some(drawn) =
                self.draw_unlisted(logits, (greatest, total), &reach, sampling, Draws::uniform(&mut { draws }))
        {
            return drawn;
        }
        let is_listed = self.list_nucleus(logits, greatest, (sampling.top_p, total), &reach);
        if !is_listed {
            self.fill(logits, f32::NEG_INFINITY);
        }
        self.apply(usize::from(is_listed), sampling, &mut draws);
        self.candidates.draw(draws.uniform())
    }

    /// The same without a list of what surely stays; `None` where the sample was wrong about where the bound is.
    fn draw_unlisted(
        &mut self,
        logits: &[f32],
        (greatest, total): (f32, f64),
        reach: &Reach,
        sampling: &Sampling,
        uniform: f64,
    ) -> Option<u32> {
        let isa = self.survey.isa;
        let enough = f64::from(sampling.top_p) * total;
        let bound = bound_at(greatest, reach.distance());
        let within = weights::sum_blocks(isa, logits, (greatest, 1.0), bound, &mut self.block_sums);
        let (near, far) = reach.edge(within, enough);
        let (least, below) =
            if within >= enough { (bound, bound_at(greatest, near)) } else { (bound_at(greatest, far), bound) };
        self.edge.clear();
        self.survey.find_between(logits, least, if near == 0.0 { f32::INFINITY } else { below }, &mut self.edge);
        let about = weights::weigh(isa, &mut self.edge, greatest);
        let before = if within >= enough { within - about } else { within };
        if before >= enough {
            return None;
        }
        let place = arrange_by_weight(&mut self.edge, Candidate::by_logit, |weight| before + weight >= enough)?;
        let mut kept = Kept { last: self.edge[place] };
        let bound = if sampling.min_p > 0.0 { min_p::least_logit(sampling.min_p, greatest) } else { f32::NEG_INFINITY };
        if bound > kept.last.logit {
            kept.last = Candidate { token: u32::MAX, logit: bound, probability: 0.0 };
        }
        let scale = (greatest, sampling.temperature);
        let whole = if bound > self.edge[place].logit || sampling.temperature != 1.0 {
            weights::sum_blocks(isa, logits, scale, kept.last.logit, &mut self.block_sums)
                - self.take_off_ties(kept, scale)
        } else {
            // Of those about the bound the sums have all, or none.
            let (stay, go) = self.edge.split_at(place + 1);
            let (changed, sign) = if within >= enough { (go, -1.0) } else { (stay, 1.0) };
            for item in changed {
                self.block_sums[item.token as usize / BLOCK] += sign * item.weight();
            }
            before + stay.iter().map(Candidate::weight).sum::<f64>()
        };
        Some(self.draw_from_blocks(logits, scale, kept, uniform * whole, whole))
    }

    /// Takes what equals the last one, and is behind it, off the sums of its blocks; returns its weight.
    fn take_off_ties(&mut self, kept: Kept, scale: (f32, f32)) -> f64 {
        let mut sum = 0.0;
        for item in self.edge.iter().filter(|item| item.logit == kept.last.logit && !kept.has(item.token, item.logit)) {
            let weight = weights::of_block(self.survey.isa, &[item.logit], scale)[0];
            self.block_sums[item.token as usize / BLOCK] -= weight;
            sum += weight;
        }
        sum
    }

    /// The first token that stays at which the cumulated weight passes `target`; `block_sums` are those of tokens that stay,
    /// and `total` is their sum.
    fn draw_from_blocks(&self, logits: &[f32], scale: (f32, f32), kept: Kept, target: f64, total: f64) -> u32 {
        let (mut before, mut drawn) = (0.0, 0);
        for (index, block) in logits.chunks(BLOCK).enumerate() {
            let with_block = before + self.block_sums[index];
            let is_here = with_block > target;
            // The last token of any weight is needed where rounding makes the target the whole.
            if is_here || (with_block == total && self.block_sums[index] > 0.0) {
                for (place, weight) in weights::of_block(self.survey.isa, block, scale).iter().enumerate() {
                    let token = (index * BLOCK + place) as u32;
                    if *weight == 0.0 || !kept.has(token, block[place]) {
                        continue;
                    }
                    before += weight;
                    drawn = token;
                    if before > target {
                        return drawn;
                    }
                }
            }
            before = with_block;
        }
        drawn
    }
}
