//! What a filter leaves that keeps the tokens nearest to something until they have a share of the whole weight: top-p, typical-p.
//!
//! To sort all tokens, or only to put each into a list with what belongs to it, takes ten times what reading all logits takes. So it is
//! reckoned from a sample how far such a filter has to look ([`reach`]). Logits within that are packed beside each other, their weights are
//! summed by block, and only tokens about the place where there comes to be enough are compared with each other. What is left out cannot
//! change the outcome: the last token that is kept is checked to lie where the sample said, and all tokens are listed if it does not.

use std::cmp::Ordering;

use lair_simd::{Isa, LANES, PICKED, Range, Simd, picked_place, picked_places, select_within, vectorize};

use super::candidates::{BIN_COUNT, Bins, Candidate, Candidates, Sampled, arrange_by_weight};
use super::survey::{BLOCK, Survey};
use super::weights::{self, Scale};

/// Of so many blocks of logits one is looked into. What it has beside its greatest stands for all of them.
const STRIDE: usize = 64;
/// Fewer blocks than this are not worth a sample.
const BLOCKS_MIN: usize = 2 * STRIDE;
/// Bins beyond the one where the sample has enough: what distances are rounded by.
const MARGIN: usize = 1;
/// How far the sample may be off, in standard deviations, at first and then: if it is off by more, all tokens are listed.
const DEVIATIONS: [f64; 2] = [2.0, 4.5];
/// How far it mostly is off at most: if it is off by more, some tokens more are compared.
const DEVIATIONS_MOSTLY: f64 = 1.5;
/// So few undecided tokens are compared with each other.
const COMPARED: usize = 64;
/// After so many cuts in a row that leave them all they are, whatever their number is: most have the same logit.
const IDLE_STEPS_MAX: usize = 6;

/// An order of tokens, and the weight that the first of them shall have.
pub(super) trait Nearest {
    /// How far a token of this logit is from what is wanted, 0 or more; never falls along the order, nor away from [`Nearest::center`].
    fn distance(&self, logit: f32) -> f64;
    /// The order: total, and by distance.
    fn compare(&self, left: &Candidate, right: &Candidate) -> Ordering;
    /// The weight that is wanted.
    fn enough(&self) -> f64;
    /// Whether this much is enough.
    fn is_enough(&self, weight: f64) -> bool;
    /// About the logit of the least distance.
    fn center(&self) -> f32;

    /// The finite logits of at most this distance; a range without any numbers if there are none.
    fn within(&self, distance: f64) -> Range {
        let center = self.center();
        if self.distance(center) > distance {
            return Range { least: f32::MAX, most: f32::MIN };
        }
        let end = |limit: f32| {
            if self.distance(limit) <= distance {
                return limit;
            }
            // Of numbers in order, from one that is within to one that is not.
            let (mut within, mut beyond) = (ordered(center), ordered(limit));
            // Mostly it is next to this, or at least near.
            let about = ordered((f64::from(center) + distance.copysign(f64::from(limit))) as f32);
            for step in [-4096, 4096, -4, 4] {
                let place = about.saturating_add(step);
                if within.min(beyond) < place && place < within.max(beyond) {
                    match self.distance(unordered(place)) <= distance {
                        true => within = place,
                        false => beyond = place,
                    }
                }
            }
            while within.abs_diff(beyond) > 1 {
                let middle = i32::midpoint(within, beyond);
                match self.distance(unordered(middle)) <= distance {
                    true => within = middle,
                    false => beyond = middle,
                }
            }
            unordered(within)
        };
        Range { least: end(f32::MIN), most: end(f32::MAX) }
    }
}

/// Bits of a number that are in the order of numbers.
fn ordered(number: f32) -> i32 {
    let bits = number.to_bits() as i32;
    if bits < 0 { i32::MIN - bits } else { bits }
}

fn unordered(bits: i32) -> f32 {
    f32::from_bits((if bits < 0 { i32::MIN - bits } else { bits }) as u32)
}

/// Logits of a list beside each other, and bits that say which of the list they are, as [`pick_within`] gives them.
struct Picked {
    masks: Vec<u16>,
    logits: Vec<f32>,
}

impl Picked {
    /// With room for all of so many; a vector may be stored whole behind the last.
    fn with_room(count: usize) -> Self {
        Self { masks: Vec::with_capacity(count.div_ceil(PICKED)), logits: Vec::with_capacity(count + PICKED) }
    }

    fn clear(&mut self) {
        self.masks.clear();
        self.logits.clear();
    }
}

/// Places of tokens, and their logits.
#[derive(Default)]
struct Packed {
    places: Vec<u32>,
    logits: Vec<f32>,
}

impl Packed {
    fn with_room(room: usize) -> Self {
        Self { places: Vec::with_capacity(room), logits: Vec::with_capacity(room) }
    }

    fn clear(&mut self) {
        self.places.clear();
        self.logits.clear();
    }

    /// Adds those of a list that are in the range; without places, by where they are there.
    fn select(&mut self, isa: Isa, list: (&[f32], Option<&[u32]>), range: Range) {
        select_within(isa, list, range, &mut self.places, &mut self.logits);
    }

    /// Adds those that are not, where the range has numbers.
    fn select_outside(&mut self, isa: Isa, list: (&[f32], Option<&[u32]>), range: Range) {
        if range.least > range.most {
            return self.select(isa, list, Range { least: f32::MIN, most: f32::MAX });
        }
        for (least, most) in [(f32::MIN, range.least.next_down()), (range.most.next_up(), f32::MAX)] {
            if least <= most {
                self.select(isa, list, Range { least, most });
            }
        }
    }
}

/// The tokens that are left, packed among others. Holds room for all.
pub(super) struct Nucleus {
    /// What was looked into to reckon how far to look.
    sampled: Vec<Sampled>,
    /// Of all logits those that were looked at; minus infinity where a token has the last distance that stays, but does not.
    listed: Picked,
    /// What the logits that stay are within.
    kept: Range,
    /// The greatest logit that stays.
    greatest: f32,
    /// Sums of the weights of blocks of those.
    sums: Vec<f64>,
    undecided: Packed,
    /// Parts of the undecided: nearer ones, and the others.
    parts: [Packed; 2],
    /// Undecided ones that are compared with each other; `token` is the place in the list.
    compared: Vec<Candidate>,
}

impl Nucleus {
    pub(super) fn new(vocabulary_size: usize) -> Self {
        // A vector more than there are tokens, as it may be stored whole behind the last.
        let room = || Packed::with_room(vocabulary_size + 16);
        Self {
            sampled: Vec::with_capacity(vocabulary_size.div_ceil(BLOCK).div_ceil(STRIDE)),
            listed: Picked::with_room(vocabulary_size),
            kept: Range::ALL,
            greatest: 0.0,
            sums: Vec::with_capacity(vocabulary_size.div_ceil(weights::SUM_BLOCK)),
            undecided: room(),
            parts: [room(), room()],
            compared: Vec::with_capacity(vocabulary_size),
        }
    }

    /// Takes what the filter leaves of all tokens, of which the greatest logit and the whole weight are given; `false` if the
    /// sample cannot tell, or was wrong.
    pub(super) fn take(
        &mut self,
        survey: &Survey,
        logits: &[f32],
        (greatest, total): (f32, f64),
        nearest: &impl Nearest,
    ) -> bool {
        let reached = reach(survey, logits, (greatest, total), nearest, &mut self.sampled);
        let Some((near, fars)) = reached else { return false };
        let last = fars.into_iter().find_map(|far| {
            self.listed.clear();
            survey.pick(logits, nearest.within(far), &mut self.listed.masks, &mut self.listed.logits);
            self.last(survey.isa, greatest, (near, far), nearest)
        });
        let Some(last) = last else { return false };
        let distance = nearest.distance(last.logit);
        self.kept = nearest.within(distance);
        // Behind the last one in the order are some of the same distance.
        for item in &self.compared {
            if nearest.distance(item.logit) <= distance && nearest.compare(item, &last) == Ordering::Greater {
                self.listed.logits[item.token as usize] = f32::NEG_INFINITY;
            }
        }
        let is_greatest_kept = nearest.distance(greatest) < distance;
        self.greatest =
            if is_greatest_kept { greatest } else { greatest_within(survey.isa, &self.listed.logits, self.kept) };
        true
    }

    /// The last of the listed tokens that stays; `None` if all of them are not enough. It is reckoned to lie between the two distances.
    ///
    /// The undecided are cut in two by distance, over and over: about where the weight that is wanted would be if it were spread evenly, or
    /// where that was of little use in the middle.
    fn last(&mut self, isa: Isa, greatest: f32, (near, far): (f64, f64), nearest: &impl Nearest) -> Option<Candidate> {
        let Self { listed, sums, undecided, parts: [nearer, others], compared, .. } = self;
        let listed = &listed.logits;
        let mut weigh = |logits: &[f32], range| weights::sum_blocks(isa, logits, Scale::new(greatest), range, sums);
        undecided.clear();
        let (mut before, mut left, mut begin, mut end) = (0.0, 0.0, 0.0, far.min(Bins::end(BIN_COUNT - 2)));
        let surely = nearest.within(near);
        if surely.least <= surely.most {
            before = weigh(listed, surely);
        }
        if before > 0.0 && !nearest.is_enough(before) {
            undecided.select_outside(isa, (listed, None), surely);
            begin = near;
        } else {
            before = 0.0;
            undecided.select(isa, (listed, None), Range { least: f32::MIN, most: f32::MAX });
        }
        left += weigh(&undecided.logits, Range::ALL);
        let (mut idle_steps, mut halves) = (0, false);
        while undecided.places.len() > COMPARED && idle_steps < IDLE_STEPS_MAX {
            let share = if left > 0.0 { ((nearest.enough() - before) / left).clamp(0.0, 1.0) } else { 0.5 };
            // A little beyond, so that it mostly is in the smaller part.
            let beyond = 1.5 / (undecided.places.len() as f64).sqrt();
            let part = match share < 0.5 {
                _ if halves => 0.5,
                true => share + beyond,
                false => share - beyond,
            };
            let cut = begin + (end - begin) * part;
            let range = nearest.within(cut);
            let list = (&undecided.logits[..], Some(&undecided.places[..]));
            nearer.clear();
            nearer.select(isa, list, range);
            let weight = weigh(&nearer.logits, Range::ALL);
            let is_enough = nearest.is_enough(before + weight);
            let part = if is_enough {
                (left, end) = (weight, cut);
                &mut *nearer
            } else {
                others.clear();
                others.select_outside(isa, list, range);
                (before, left, begin) = (before + weight, left - weight, cut);
                &mut *others
            };
            // Few tokens may have all the weight: then the next cut is in the middle.
            halves = !halves && 2 * part.places.len() > undecided.places.len();
            idle_steps = if part.places.len() == undecided.places.len() { idle_steps + 1 } else { 0 };
            std::mem::swap(undecided, part);
        }
        compared.clear();
        let candidate = |(&token, &logit)| Candidate { token, logit, probability: 0.0 };
        compared.extend(undecided.places.iter().zip(&undecided.logits).map(candidate));
        weights::weigh(isa, compared, greatest);
        let compare = |left: &Candidate, right: &Candidate| nearest.compare(left, right);
        let place = arrange_by_weight(compared, compare, |weight| nearest.is_enough(before + weight))?;
        Some(compared[place])
    }

    /// The first token at which the cumulated weight of those of at least the logit `least` passes `uniform` times the whole, at a
    /// temperature.
    pub(super) fn draw(&mut self, isa: Isa, temperature: f32, least: f32, uniform: f64) -> u32 {
        let (logits, scale) = (&self.listed.logits, Scale::at(self.greatest, temperature));
        let range = Range { least: self.kept.least.max(least), ..self.kept };
        weights::sum_blocks(isa, logits, scale, range, &mut self.sums);
        let place = weights::draw(isa, logits, scale, range, &mut self.sums, uniform);
        picked_place(&self.listed.masks, place) as u32
    }

    /// Puts the tokens into the candidates.
    pub(super) fn list(&self, candidates: &mut Candidates) {
        let listed = picked_places(&self.listed.masks).zip(&self.listed.logits);
        let kept = listed.filter(|(_, logit)| self.kept.has(**logit));
        let candidate = |(token, &logit)| Candidate { token: token as u32, logit, probability: 0.0 };
        candidates.fill(|found| found.extend(kept.map(candidate)));
    }
}

/// The greatest logit within a range; minus infinity if there is none.
fn greatest_within(isa: Isa, logits: &[f32], range: Range) -> f32 {
    let mut greatest = f32::NEG_INFINITY;
    vectorize!(isa, greatest_within_with, logits: &[f32] = logits, range: Range = range, greatest: &mut f32 = &mut greatest);
    greatest
}

#[inline(always)]
fn greatest_within_with<S: Simd>(_: S, logits: &[f32], range: Range, greatest: &mut f32) {
    // Lane by lane, which compilers make vectors of.
    let mut lanes = [f32::NEG_INFINITY; 4 * LANES];
    for logits in logits.chunks(lanes.len()) {
        for (lane, &logit) in lanes.iter_mut().zip(logits) {
            let logit = if range.has(logit) { logit } else { f32::NEG_INFINITY };
            *lane = if logit > *lane { logit } else { *lane };
        }
    }
    *greatest = lanes.into_iter().fold(f32::NEG_INFINITY, f32::max);
}

/// A distance at which tokens are reckoned not to have enough weight of `total` yet, and two at which they have, mostly and nearly always;
/// `None` if a sample cannot tell.
///
/// The greatest of each block counts as it is, so that a few likely tokens are never missed; the others are sampled, and stand
/// for what the greatest leave of the whole.
fn reach(
    survey: &Survey,
    logits: &[f32],
    (greatest, total): (f32, f64),
    nearest: &impl Nearest,
    sampled: &mut Vec<Sampled>,
) -> Option<(f64, [f64; 2])> {
    let maxima = survey.maxima();
    if maxima.len() < BLOCKS_MIN {
        return None;
    }
    let (isa, scale) = (survey.isa, (greatest, nearest.center()));
    sampled.clear();
    sampled.extend(maxima.chunks(BLOCK).map(|maxima| Sampled::of(isa, maxima, scale)));
    let mut bins = Bins::new();
    bins.add_samples(&*sampled);
    sampled.clear();
    sampled.extend(logits.chunks(BLOCK).zip(maxima).step_by(STRIDE).map(|(block, maximum)| {
        let mut found = Sampled::of(isa, block, scale);
        // The greatest has been counted by itself.
        if let Some(place) = block.iter().position(|logit| logit == maximum) {
            found.weights[place] = 0.0;
        }
        found
    }));
    let mut others = Bins::new();
    others.add_samples(&*sampled);
    let (sampled_weight, rest) = (others.total(), (total - bins.total()).max(0.0));
    let enough = nearest.enough();
    if sampled_weight > 0.0 {
        bins.add_all(&others, rest / sampled_weight);
    }
    let cumulated = bins.cumulated();
    let first = |weight: f64| cumulated.partition_point(|&had| had < weight);
    let mut deviation = 0.0;
    if sampled_weight > 0.0 {
        // By how much the sample's share of what is nearer is off on average, as its tokens were drawn by chance.
        let place = first(enough);
        let (share, (nearer, all)) =
            (others.until(place) / sampled_weight, Sampled::squares(isa, sampled, place as u32));
        let variance = (1.0 - share).powi(2) * nearer + share.powi(2) * (all - nearer);
        deviation = rest * variance.max(0.0).sqrt() / sampled_weight;
    }
    // At the end, where there is hardly any weight more, no more than half of that.
    let far = |deviations: f64| {
        let bin = first((enough + deviations * deviation).min(f64::midpoint(enough, total)));
        Bins::end(bin + MARGIN)
    };
    let near = first(enough - DEVIATIONS_MOSTLY * deviation);
    // No token has a distance below 0.
    let near = near.checked_sub(MARGIN + 1).map_or(-1.0, Bins::end);
    Some((near, DEVIATIONS.map(far)))
}

#[cfg(test)]
mod tests {
    use lair_simd::IsaChoice;

    use super::*;
    use crate::sampler::Draws;
    use crate::sampler::top_p::TopP;
    use crate::sampler::typical_p::TypicalP;

    /// What is within a distance is within the range, and nothing else, to the last bit.
    #[test]
    fn a_range_has_what_is_within_a_distance() {
        fn check(nearest: &impl Nearest, distances: &[f64]) {
            for &distance in distances {
                let Range { least, most } = nearest.within(distance);
                let mut around = vec![nearest.center(), 0.0, -0.0, 1e-30, -3e20, f32::MIN, f32::MAX];
                for end in [least, most] {
                    around.extend([end.next_down(), end, end.next_up()]);
                }
                for logit in around.into_iter().filter(|logit| logit.is_finite() && nearest.distance(*logit) >= 0.0) {
                    let is_within = nearest.distance(logit) <= distance;
                    assert_eq!(logit >= least && logit <= most, is_within, "{logit} within {distance}");
                }
            }
        }
        let distances = [-1.0, 0.0, 1e-9, 1e-3, 0.05, 0.7, 3.0, 24.0, 300.0, 1e30, f64::INFINITY];
        for greatest in [13.7, -4.0, 0.0, 1e5, -1e-3] {
            check(&TopP::new(0.9, (greatest, 1.0)), &distances);
            for expected in [-1e-12, -0.3, -4.125, -11.7] {
                check(&TypicalP::new(0.9, greatest, (1.0, expected)), &distances);
            }
        }
    }

    /// Logits of a spread, some of them far greater than the others.
    fn distribution(seed: u64, (spread, likely): (f32, usize)) -> Vec<f32> {
        let mut draws = Draws::new(11, seed);
        let mut normal = || ((0..12).map(|_| draws.uniform()).sum::<f64>() - 6.0) as f32;
        let mut logits: Vec<f32> = (0..40_000).map(|_| normal() * spread).collect();
        (0..likely).for_each(|index| logits[index * 199] += 6.0 * spread);
        logits
    }

    /// Of the distributions that there mostly are, a sample tells enough, and what is taken is what a sort would take.
    #[test]
    fn what_is_taken_is_what_a_list_of_all_leaves() {
        let isa = Isa::detect(IsaChoice::Auto);
        let mut taken = [0; 2];
        for seed in 0..60 {
            let kind = [(1.0, 0), (3.0, 0), (3.0, 1), (2.0, 150), (0.0, 3)][seed as usize % 5];
            let logits = distribution(seed, kind);
            let mut survey = Survey::new(isa, logits.len());
            let (_, greatest) = survey.look(&logits).unwrap_or_default();
            let mut nucleus = Nucleus::new(logits.len());
            let mut all = Candidates::new(isa, logits.len());
            all.fill(|found| survey.find_at_least(&logits, f32::MIN, found));
            let total = all.weigh();
            let share = [0.5, 0.9, 0.95, 0.99][seed as usize / 5 % 4];
            let is_taken = if seed % 2 == 0 {
                let nearest = TopP::new(share, (greatest, total));
                all.keep_until(&nearest);
                nucleus.take(&survey, &logits, (greatest, total), &nearest)
            } else {
                let nearest = TypicalP::new(share, greatest, weights::sum_weighted(isa, &logits, greatest));
                all.keep_until(&nearest);
                nucleus.take(&survey, &logits, (greatest, total), &nearest)
            };
            taken[usize::from(is_taken)] += 1;
            if is_taken {
                let mut packed = Candidates::new(isa, logits.len());
                nucleus.list(&mut packed);
                let tokens = |list: &Candidates| list.items().iter().map(|item| item.token).collect::<Vec<_>>();
                assert_eq!(tokens(&packed), tokens(&all), "{seed}, {kind:?}, {share}");
            }
        }
        assert!(taken[1] >= 55, "{taken:?}");
    }
}
