//! What a filter leaves that keeps the tokens nearest to something until they have a share of the whole weight: top-p, typical-p.
//!
//! To sort all tokens, or only to put each into a list with what belongs to it, takes ten times what reading all logits takes. So it is
//! reckoned from a sample how far such a filter has to look ([`reach`]). Logits within that are packed beside each other, their weights are
//! summed by block, and only tokens about the place where there comes to be enough are compared with each other. What is left out cannot
//! change the outcome: the last token that is kept is checked to lie where the sample said, and all tokens are listed if it does not.

use std::cmp::Ordering;

use lair_simd::{Isa, PICKED, Range, pick_within, picked_index, picked_place, picked_places, select_within};

use super::candidates::{BIN_COUNT, Bins, Candidate, Candidates, arrange_by_weight};
use super::survey::{BLOCK, Survey};
use super::weights;

/// Of so many blocks of logits one is looked into. What it has beside its greatest stands for all of them.
const STRIDE: usize = 64;
/// Fewer blocks than this are not worth a sample.
const BLOCKS_MIN: usize = 2 * STRIDE;
/// Bins beyond the one where the sample has enough: what distances are rounded by.
const MARGIN: usize = 1;
/// How far the sample may be off, in standard deviations: if it is off by more, all tokens are listed.
const DEVIATIONS: f64 = 3.5;
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
            // Of numbers in order, from one that is within to one that is not.
            let (mut within, mut beyond) = (ordered(center), ordered(limit));
            if self.distance(limit) <= distance {
                return limit;
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

    /// Adds those of `list` that are in the range.
    fn pick(&mut self, isa: Isa, list: &[f32], range: Range) {
        pick_within(isa, list, range, &mut self.masks, &mut self.logits);
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

    /// Adds those of `list` that are in the range, by their place there.
    fn select(&mut self, isa: Isa, list: &[f32], range: Range) {
        select_within(isa, (list, 0), range, &mut self.places, &mut self.logits);
    }

    /// Adds those that are not, where the range has numbers.
    fn select_outside(&mut self, isa: Isa, list: &[f32], range: Range) {
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

/// The tokens that are left, packed. Holds room for all.
pub(super) struct Nucleus {
    /// Of all logits those that were looked at.
    listed: Picked,
    /// Those of them that stay, but for some that are minus infinity.
    kept: Picked,
    /// Those of them that surely stay, in the end or not.
    surely: Picked,
    /// Sums of the weights of blocks of those, at the last draw.
    sums: Vec<f64>,
    /// The greatest logit that stays.
    greatest: f32,
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
            listed: Picked::with_room(vocabulary_size),
            kept: Picked::with_room(vocabulary_size),
            surely: Picked::with_room(vocabulary_size),
            sums: Vec::with_capacity(vocabulary_size.div_ceil(weights::SUM_BLOCK)),
            greatest: 0.0,
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
        let Some((near, far)) = reach(survey, logits, (greatest, total), nearest) else { return false };
        self.listed.clear();
        survey.pick(logits, nearest.within(far), &mut self.listed.masks, &mut self.listed.logits);
        let Some(last) = self.last(survey.isa, greatest, (near, far), nearest) else { return false };
        let Self { listed, kept, compared, .. } = self;
        kept.clear();
        let distance = nearest.distance(last.logit);
        kept.pick(survey.isa, &listed.logits, nearest.within(distance));
        // Behind the last one in the order are some of the same distance.
        let is_behind = |item: &Candidate| {
            nearest.distance(item.logit) <= distance && nearest.compare(item, &last) == Ordering::Greater
        };
        for item in compared.iter().filter(|item| is_behind(item)) {
            if let Some(index) = picked_index(&kept.masks, item.token as usize) {
                kept.logits[index] = f32::NEG_INFINITY;
            }
        }
        let is_greatest_kept = nearest.distance(greatest) < nearest.distance(last.logit);
        let found = if is_greatest_kept { Ok((0, greatest)) } else { super::greatest(&kept.logits) };
        self.greatest = found.map_or(greatest, |(_, logit)| logit);
        true
    }

    /// The last of the listed tokens that stays; `None` if all of them are not enough. It is reckoned to lie between the two distances.
    ///
    /// The undecided are cut in two by distance, over and over: where the weight that is wanted would be if it were spread evenly, and in the
    /// middle.
    fn last(&mut self, isa: Isa, greatest: f32, (near, far): (f64, f64), nearest: &impl Nearest) -> Option<Candidate> {
        let Self { listed, surely: sure, sums, undecided, parts: [nearer, others], compared, .. } = self;
        let listed = &listed.logits;
        let mut weigh = |logits: &[f32]| weights::sum_blocks(isa, logits, (greatest, 1.0), f32::NEG_INFINITY, sums);
        undecided.clear();
        let (mut before, mut left, mut begin, mut end) = (0.0, 0.0, 0.0, far.min(Bins::end(BIN_COUNT - 2)));
        let surely = nearest.within(near);
        let is_listed = surely.least <= surely.most && {
            sure.clear();
            sure.pick(isa, listed, surely);
            before = weigh(&sure.logits);
            !nearest.is_enough(before)
        };
        if is_listed {
            undecided.select_outside(isa, listed, surely);
            begin = near;
        } else {
            before = 0.0;
            undecided.select(isa, listed, Range { least: f32::MIN, most: f32::MAX });
        }
        left += weigh(&undecided.logits);
        let (mut idle_steps, mut is_even) = (0, false);
        while undecided.places.len() > COMPARED && idle_steps < IDLE_STEPS_MAX {
            // Few tokens may have all the weight, so every other cut is in the middle.
            let part = if is_even { 0.5 } else { ((nearest.enough() - before) / left).clamp(0.05, 0.95) };
            is_even = !is_even;
            let cut = begin + (end - begin) * part;
            let range = nearest.within(cut);
            nearer.clear();
            nearer.select(isa, &undecided.logits, range);
            let weight = weigh(&nearer.logits);
            let is_enough = nearest.is_enough(before + weight);
            let part = if is_enough {
                (left, end) = (weight, cut);
                &mut *nearer
            } else {
                others.clear();
                others.select_outside(isa, &undecided.logits, range);
                (before, left, begin) = (before + weight, left - weight, cut);
                &mut *others
            };
            idle_steps = if part.places.len() == undecided.places.len() { idle_steps + 1 } else { 0 };
            // Back to places in the list.
            part.places.iter_mut().for_each(|place| *place = undecided.places[*place as usize]);
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
        let (logits, scale) = (&self.kept.logits, (self.greatest, temperature));
        weights::sum_blocks(isa, logits, scale, least, &mut self.sums);
        let place = weights::draw(isa, logits, scale, least, &self.sums, uniform);
        picked_place(&self.listed.masks, picked_place(&self.kept.masks, place)) as u32
    }

    /// Puts the tokens into the candidates.
    pub(super) fn list(&self, candidates: &mut Candidates) {
        candidates.fill(|found| {
            let mut kept = picked_places(&self.kept.masks).zip(&self.kept.logits).peekable();
            for (place, token) in picked_places(&self.listed.masks).enumerate() {
                // Both go up.
                if let Some((_, &logit)) = kept.next_if(|(kept, _)| *kept == place)
                    && logit > f32::NEG_INFINITY
                {
                    found.push(Candidate { token: token as u32, logit, probability: 0.0 });
                }
            }
        });
    }
}

/// A distance at which tokens are reckoned not to have enough weight of `total` yet, and one at which they have; `None` if a sample
/// cannot tell.
///
/// The greatest of each block counts as it is, so that a few likely tokens are never missed; the others are sampled, and stand
/// for what the greatest leave of the whole.
fn reach(survey: &Survey, logits: &[f32], (greatest, total): (f32, f64), nearest: &impl Nearest) -> Option<(f64, f64)> {
    let maxima = survey.maxima();
    if maxima.len() < BLOCKS_MIN {
        return None;
    }
    let (mut bins, mut others, mut squares) = (Bins::new(), Bins::new(), Bins::new());
    let weigh = |logits: &[f32]| weights::about_block(survey.isa, logits, greatest);
    let places = |logits: &[f32]| {
        let mut places = [0; BLOCK];
        let place = |logit: f32| Bins::place_about((nearest.center() - logit).abs());
        places.iter_mut().zip(logits).for_each(|(out, &logit)| *out = place(logit));
        places
    };
    for maxima in maxima.chunks(BLOCK) {
        let (places, weights) = (places(maxima), weigh(maxima));
        places.iter().zip(weights).take(maxima.len()).for_each(|(&place, weight)| bins.add_at(place, weight));
    }
    for (index, block) in logits.chunks(BLOCK).enumerate().step_by(STRIDE) {
        let (places, mut weights) = (places(block), weigh(block));
        // The greatest has been counted by itself.
        if let Some(place) = block.iter().position(|logit| *logit == maxima[index]) {
            weights[place] = 0.0;
        }
        for (&place, weight) in places.iter().zip(weights).take(block.len()) {
            others.add_at(place, weight);
            squares.add_at(place, weight * weight);
        }
    }
    let (sampled, rest) = (others.total(), (total - bins.total()).max(0.0));
    let enough = nearest.enough();
    if sampled > 0.0 {
        bins.add_all(&others, rest / sampled);
    }
    let cumulated = bins.cumulated();
    let first = |weight: f64| cumulated.partition_point(|&had| had < weight);
    let mut deviation = 0.0;
    if sampled > 0.0 {
        // By how much the sample's share of what is nearer is off on average, as its tokens were drawn by chance.
        let place = first(enough);
        let (share, square) = (others.until(place) / sampled, squares.until(place));
        let variance = (1.0 - share).powi(2) * square + share.powi(2) * (squares.total() - square);
        deviation = rest * variance.max(0.0).sqrt() / sampled;
    }
    // At the end, where there is hardly any weight more, no more than half of that.
    let far = first((enough + DEVIATIONS * deviation).min(f64::midpoint(enough, total)));
    let near = first(enough - DEVIATIONS_MOSTLY * deviation);
    // No token has a distance below 0.
    let near = near.checked_sub(MARGIN + 1).map_or(-1.0, Bins::end);
    Some((near, Bins::end(far + MARGIN)))
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
