//! The tokens that are still in, with their logits.

use std::cmp::Ordering;

use lair_simd::{Isa, LANES, Simd, math, vectorize};

use super::nucleus::Nearest;
use super::{survey::BLOCK, weights};

/// A token that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The token.
    pub token: u32,
    /// Its logit, as changed so far.
    pub logit: f32,
    /// Its probability among the candidates. While tokens are dropped it is the weight, which is not divided by the sum.
    pub probability: f32,
}

impl Candidate {
    /// Greater logits first, then lower tokens: a total order, for logits are not NaN.
    pub(crate) fn by_logit(&self, other: &Self) -> Ordering {
        other.logit.total_cmp(&self.logit).then(self.token.cmp(&other.token))
    }

    fn by_token(&self, other: &Self) -> Ordering {
        self.token.cmp(&other.token)
    }

    pub(super) fn weight(&self) -> f64 {
        f64::from(self.probability)
    }
}

/// The candidates of one token, in no order that counts; never empty once filled.
pub(crate) struct Candidates {
    isa: Isa,
    items: Vec<Candidate>,
    is_by_token: bool,
    /// What the weights are relative to, where they are those of the logits.
    weighed_by: Option<f32>,
    /// Room for those near the end of what a filter keeps.
    edge: Vec<Candidate>,
}

impl Candidates {
    pub(crate) fn new(isa: Isa, vocabulary_size: usize) -> Self {
        let room = || Vec::with_capacity(vocabulary_size);
        Self { isa, items: room(), is_by_token: true, weighed_by: None, edge: room() }
    }

    pub(crate) fn items(&self) -> &[Candidate] {
        &self.items
    }

    pub(crate) fn items_mut(&mut self) -> &mut [Candidate] {
        self.weighed_by = None;
        &mut self.items
    }

    /// Takes the candidates that `fill` puts into the empty list, by token; there must be one.
    pub(crate) fn fill(&mut self, fill: impl FnOnce(&mut Vec<Candidate>)) {
        self.items.clear();
        fill(&mut self.items);
        (self.is_by_token, self.weighed_by) = (true, None);
        debug_assert!(!self.items.is_empty() && self.items.is_sorted_by_key(|candidate| candidate.token));
    }

    /// Keeps the `count` first by logit.
    pub(crate) fn keep_greatest(&mut self, count: usize) {
        if count >= self.items.len() {
            return;
        }
        self.items.select_nth_unstable_by(count - 1, Candidate::by_logit);
        self.items.truncate(count);
        self.is_by_token = false;
    }

    pub(crate) fn sort_by_token(&mut self) {
        if !self.is_by_token {
            self.items.sort_unstable_by(Candidate::by_token);
            self.is_by_token = true;
        }
    }

    /// Keeps the nearest candidates, as few as have enough weight; all if they never have. The candidates must be weighed;
    /// they stay in their order.
    ///
    /// Distances are counted in bins first, so that only the candidates of one bin are compared with each other.
    pub(crate) fn keep_until(&mut self, nearest: &impl Nearest) {
        let mut bins = Bins::new();
        let place_of = |item: &Candidate| Bins::place(nearest.distance(item.logit));
        self.items.iter().for_each(|item| bins.add(nearest.distance(item.logit), item.weight()));
        let Some((bin, before)) = bins.first_reaching(|weight| nearest.is_enough(weight)) else { return };
        self.edge.clear();
        self.edge.extend(self.items.iter().filter(|item| place_of(item) == bin));
        let compare = |left: &Candidate, right: &Candidate| nearest.compare(left, right);
        let place = arrange_by_weight(&mut self.edge, compare, |weight| nearest.is_enough(before + weight));
        // Where sums were rounded in another order, the last of the bin may be the one.
        let last = place.map_or_else(|| self.edge.iter().copied().max_by(compare), |place| Some(self.edge[place]));
        let Some(last) = last else { return };
        self.items.retain(|item| {
            let place = place_of(item);
            place < bin || place == bin && nearest.compare(item, &last) != Ordering::Greater
        });
    }

    /// Keeps those that fulfil a condition; at least one must.
    pub(crate) fn keep_if(&mut self, condition: impl Fn(&Candidate) -> bool) {
        self.items.retain(condition);
        debug_assert!(!self.items.is_empty());
    }

    /// The greatest logit.
    pub(crate) fn greatest(&self) -> f32 {
        self.items.iter().fold(f32::NEG_INFINITY, |greatest, candidate| greatest.max(candidate.logit))
    }

    /// Sets the weights, relative to the greatest logit; returns their sum.
    pub(crate) fn weigh(&mut self) -> f64 {
        let greatest = self.greatest();
        self.weigh_by(greatest)
    }

    /// Sets the weights, relative to a logit that none of them surpasses; returns their sum.
    pub(crate) fn weigh_by(&mut self, greatest: f32) -> f64 {
        if self.weighed_by == Some(greatest) {
            return self.items.iter().map(Candidate::weight).sum();
        }
        self.weighed_by = Some(greatest);
        weights::weigh(self.isa, &mut self.items, greatest)
    }

    /// Sets the probabilities.
    pub(crate) fn softmax(&mut self) {
        let sum = self.weigh();
        for candidate in &mut self.items {
            candidate.probability = (candidate.weight() / sum) as f32;
        }
        self.weighed_by = None;
    }

    /// The first token, by token, at which the cumulated weight passes `uniform` times the whole.
    pub(crate) fn draw(&mut self, uniform: f64) -> u32 {
        let target = uniform * self.weigh();
        let place = if self.is_by_token {
            first_reaching(&self.items, 0.0, |weight| weight > target)
        } else {
            arrange_by_weight(&mut self.items, Candidate::by_token, |weight| weight > target)
        };
        let drawn = place.map(|place| self.items[place]);
        // `uniform` is below 1, but its product with the sum may be rounded up to it.
        let last = || self.items.iter().filter(|candidate| candidate.probability > 0.0).max_by_key(|item| item.token);
        drawn.or_else(|| last().copied()).unwrap_or(self.items[0]).token
    }

    /// The share that a weighed candidate has of all weight.
    pub(crate) fn share_of(&self, token: u32) -> f64 {
        let weight = self.items.iter().filter(|candidate| candidate.token == token).map(Candidate::weight).sum::<f64>();
        weight / self.items.iter().map(Candidate::weight).sum::<f64>()
    }
}

/// Fewer candidates than this are sorted.
const SORTED: usize = 48;

/// Finds the first candidate, in the order of `compare`, with which the cumulated weight `is_reached`; puts all before it
/// there and returns its place. Weights sum to the same in any order, so nothing needs to be sorted: the part that has
/// the candidate is cut in two, over and over, in linear time.
pub(super) fn arrange_by_weight(
    items: &mut [Candidate],
    compare: impl Fn(&Candidate, &Candidate) -> Ordering,
    is_reached: impl Fn(f64) -> bool,
) -> Option<usize> {
    let (mut begin, mut end, mut before) = (0, items.len(), 0.0);
    while end - begin > SORTED {
        // Mostly few are enough, so the cut is nearer to the begin.
        let cut = begin + (end - begin) / 4;
        items[begin..end].select_nth_unstable_by(cut - begin, &compare);
        let with_first = before + items[begin..cut].iter().map(Candidate::weight).sum::<f64>();
        if is_reached(with_first) {
            end = cut;
        } else {
            (begin, before) = (cut, with_first);
        }
    }
    items[begin..end].sort_unstable_by(&compare);
    first_reaching(&items[begin..end], before, is_reached).map(|place| begin + place)
}

/// The place with which the cumulated weight, `before` and that of the items up to there, `is_reached`.
fn first_reaching(items: &[Candidate], mut before: f64, is_reached: impl Fn(f64) -> bool) -> Option<usize> {
    items.iter().position(|candidate| {
        before += candidate.weight();
        is_reached(before)
    })
}

/// The bins of a block of tokens, by their distance from a center, and about their weights: not counted on the grid, for what no
/// outcome depends on. Where the block ends early hardly any weight is behind it.
#[derive(Clone)]
pub(super) struct Sampled {
    pub(super) places: [u32; BLOCK],
    pub(super) weights: [f32; BLOCK],
}

impl Sampled {
    pub(super) fn of(isa: Isa, logits: &[f32], (greatest, center): (f32, f32)) -> Self {
        let mut sampled = Self { places: [0; BLOCK], weights: [0.0; BLOCK] };
        vectorize!(isa, sample_with,
            logits: &[f32] = logits,
            greatest: f32 = greatest,
            center: f32 = center,
            sampled: &mut Sampled = &mut sampled,
        );
        sampled
    }

    /// The sums of the squares of the weights in bins up to one, which is among them, and in all.
    pub(super) fn squares(isa: Isa, sampled: &[Sampled], until: u32) -> (f64, f64) {
        let mut sums = [0.0; 2];
        vectorize!(isa, squares_with, sampled: &[Sampled] = sampled, until: u32 = until, sums: &mut [f64; 2] = &mut sums);
        sums.into()
    }
}

#[inline(always)]
fn sample_with<S: Simd>(s: S, logits: &[f32], greatest: f32, center: f32, sampled: &mut Sampled) {
    // Beyond 2^23 a number in single precision is an integer, in its last bits.
    const INTEGER: f32 = 8_388_608.0;
    let (places, weights) = (sampled.places.as_chunks_mut::<LANES>().0, sampled.weights.as_chunks_mut::<LANES>().0);
    for (index, (places, weights)) in places.iter_mut().zip(weights).enumerate() {
        let x = match logits.get(index * LANES..).unwrap_or_default() {
            logits if logits.len() < LANES => s.load_part(logits, f32::NEG_INFINITY),
            logits => s.load(&logits.as_chunks().0[0]),
        };
        *weights = s.to_array(math::exp_of_negative(s, s.sub(x, s.splat(greatest))));
        // A bin and a half further than where its middle is rounded to.
        let place = s.fma(s.abs(s.sub(x, s.splat(center))), s.splat(BINS_A_UNIT as f32), s.splat(-0.5));
        let place = s.min(s.max(place, s.splat(0.0)), s.splat((BIN_COUNT - 1) as f32));
        *places = s.to_array(s.add(place, s.splat(INTEGER))).map(|place| place.to_bits() - INTEGER.to_bits());
    }
}

#[inline(always)]
fn squares_with<S: Simd>(_: S, sampled: &[Sampled], until: u32, sums: &mut [f64; 2]) {
    // Lane by lane, which compilers make vectors of.
    let (mut nearer, mut all) = ([0.0; 2 * LANES], [0.0; 2 * LANES]);
    for sampled in sampled {
        for (places, weights) in sampled.places.chunks_exact(2 * LANES).zip(sampled.weights.chunks_exact(2 * LANES)) {
            for lane in 0..2 * LANES {
                let square = weights[lane] * weights[lane];
                all[lane] += square;
                nearer[lane] += if places[lane] <= until { square } else { 0.0 };
            }
        }
    }
    *sums = [nearer, all].map(|lanes: [f32; 2 * LANES]| lanes.into_iter().map(f64::from).sum());
}

/// Weights by distance.
pub(super) struct Bins([f64; BIN_COUNT]);

/// Distances are of logits, and a weight is nothing from 24.3 on: the last bins have hardly anything.
pub(super) const BIN_COUNT: usize = 512;
const BINS_A_UNIT: f64 = 20.0;

/// A sum that does not wait for each addition before the next.
fn sum(values: &[f64]) -> f64 {
    let (eights, rest) = values.as_chunks::<8>();
    let mut lanes = [0.0; 8];
    eights.iter().for_each(|eight| lanes.iter_mut().zip(eight).for_each(|(lane, value)| *lane += value));
    lanes.iter().chain(rest).sum()
}

impl Bins {
    pub(super) fn new() -> Self {
        Self([0.0; BIN_COUNT])
    }

    fn place(distance: f64) -> usize {
        ((distance * BINS_A_UNIT) as usize).min(BIN_COUNT - 1)
    }

    pub(super) fn add(&mut self, distance: f64, weight: f64) {
        self.0[Self::place(distance)] += weight;
    }

    /// Adds the weights of blocks to the bins of their places.
    pub(super) fn add_samples<'a>(&mut self, samples: impl IntoIterator<Item = &'a Sampled>) {
        // Neighbours often go to the same bin, where one addition would wait for the other.
        let mut odd = Self::new();
        for sampled in samples {
            let (places, weights) = (sampled.places.as_chunks::<2>().0, sampled.weights.as_chunks::<2>().0);
            for (places, weights) in places.iter().zip(weights) {
                self.0[places[0] as usize % BIN_COUNT] += f64::from(weights[0]);
                odd.0[places[1] as usize % BIN_COUNT] += f64::from(weights[1]);
            }
        }
        self.add_all(&odd, 1.0);
    }

    /// Adds the weights of others, so many times.
    pub(super) fn add_all(&mut self, others: &Bins, factor: f64) {
        self.0.iter_mut().zip(others.0).for_each(|(weight, other)| *weight += factor * other);
    }

    /// The weight of the bins up to one, which is among them.
    pub(super) fn until(&self, bin: usize) -> f64 {
        sum(&self.0[..BIN_COUNT.min(bin + 1)])
    }

    pub(super) fn total(&self) -> f64 {
        sum(&self.0)
    }

    /// The weight up to each bin, which is among it.
    pub(super) fn cumulated(&self) -> [f64; BIN_COUNT] {
        let mut weight = 0.0;
        self.0.map(|of_bin| {
            weight += of_bin;
            weight
        })
    }

    /// The first bin with which the weight `is_reached`, and the weight of the bins before it.
    pub(super) fn first_reaching(&self, is_reached: impl Fn(f64) -> bool) -> Option<(usize, f64)> {
        let mut before = 0.0;
        for (bin, weight) in self.0.iter().enumerate() {
            if is_reached(before + weight) {
                return Some((bin, before));
            }
            before += weight;
        }
        None
    }

    /// The distance at which a bin ends.
    pub(super) fn end(bin: usize) -> f64 {
        if bin + 1 < BIN_COUNT { (bin + 1) as f64 / BINS_A_UNIT } else { f64::INFINITY }
    }
}
