//! Formats whose codes are points of a grid: groups of four or eight elements share one index.
//!
//! The nearest point of a grid is not found element by element. For every pattern of nearest levels a list of the points
//! around it is made once; a group is compared with the points of its pattern only: some 10 to 60 of them, a vector each.

use lair_simd::{LANES, Simd};

use super::{as_half, scaled};

/// A grid, and for each pattern of levels the points near it.
pub(crate) struct Grid {
    /// Elements of a point: 4 or 8.
    length: usize,
    /// `[points]`: elements that a point does not have are 0.
    points: Vec<[f32; LANES]>,
    /// Between one level and the next, ascending.
    thresholds: Vec<f32>,
    /// `[patterns + 1]`: where the points of each pattern begin in `near`.
    starts: Vec<u32>,
    near: Vec<u16>,
}

impl Grid {
    /// A grid of these points, whose elements take these levels, ascending. The points near a pattern are those of the
    /// `ring_count` smallest different distances, or the pattern itself where it is a point.
    pub(crate) fn new<const LENGTH: usize>(points: &[[i8; LENGTH]], levels: &[i8], ring_count: usize) -> Grid {
        let level_of =
            |element: i8| levels.iter().position(|level| *level == element).expect("points consist of levels");
        let as_levels: Vec<[i32; LENGTH]> = points.iter().map(|point| point.map(|e| level_of(e) as i32)).collect();
        let pattern_count = levels.len().pow(LENGTH as u32);
        let (mut starts, mut near) = (vec![0], Vec::new());
        let mut distances = vec![0_usize; points.len()];
        // No two levels are further apart than this.
        let distance_max = LENGTH * (levels.len() - 1).pow(2);
        let mut is_taken = vec![false; distance_max + 1];
        for pattern in 0..pattern_count {
            let mut rest = pattern;
            let target: [i32; LENGTH] = std::array::from_fn(|_| {
                let level = rest % levels.len();
                rest /= levels.len();
                level as i32
            });
            is_taken.fill(false);
            for (distance, point) in distances.iter_mut().zip(&as_levels) {
                *distance = point.iter().zip(&target).map(|(a, b)| (a - b).pow(2) as usize).sum();
                is_taken[*distance] = true;
            }
            let mut rings = (0..=distance_max).filter(|distance| is_taken[*distance]);
            let furthest = match rings.next() {
                Some(0) => 0,
                first => rings.take(ring_count - 1).last().or(first).unwrap_or(0),
            };
            near.extend((0..points.len()).filter(|point| distances[*point] <= furthest).map(|point| point as u16));
            starts.push(near.len() as u32);
        }
        let padded = |point: &[i8; LENGTH]| std::array::from_fn(|i| point.get(i).map_or(0.0, |e| f32::from(*e)));
        Grid {
            length: LENGTH,
            points: points.iter().map(padded).collect(),
            thresholds: levels.windows(2).map(|pair| (f32::from(pair[0]) + f32::from(pair[1])) / 2.0).collect(),
            starts,
            near,
        }
    }

    /// The point which, times the scale, is nearest to the values by these weights. What the group does not have is 0.
    #[inline(always)]
    fn nearest<S: Simd>(&self, s: S, scale: f32, values: &[f32; LANES], weights: &[f32; LANES]) -> u16 {
        let inverse = 1.0 / scale;
        let level_count = self.thresholds.len() + 1;
        let mut pattern = 0;
        for value in values[..self.length].iter().rev() {
            let place = value * inverse;
            let level = self.thresholds.iter().filter(|threshold| place > **threshold).count();
            pattern = pattern * level_count + level;
        }
        let near = &self.near[self.starts[pattern] as usize..self.starts[pattern + 1] as usize];
        if let [only] = near {
            return *only;
        }
        let (x, w, scale) = (s.load(values), s.load(weights), s.splat(scale));
        let mut best = (near[0], f32::INFINITY);
        for point in near {
            let difference = s.sub(s.mul(scale, s.load(&self.points[usize::from(*point)])), x);
            let error = s.sum(s.mul(s.mul(w, difference), difference));
            if error < best.1 {
                best = (*point, error);
            }
        }
        best.0
    }
}

/// What a grid format adds to its points.
#[derive(Clone, Copy)]
pub(crate) struct Layout<'a> {
    pub grid: &'a Grid,
    /// Elements of a sub-block: 16 or 32.
    pub sub_length: usize,
    /// A sub-block's scale is `2 n + 1` times the super scale times this, n from 0 to `step_max`.
    pub unit: f32,
    pub step_max: i32,
    /// What may be added to all elements of a group, in the unit of the points; `[0.0]` for nothing.
    pub shifts: &'a [f32],
    /// Whether each group has its own shift, or all of a sub-block the same.
    pub has_shift_for_each_group: bool,
}

/// A block of points.
#[derive(Clone, Debug)]
pub(crate) struct Points {
    /// As it is stored, in half precision.
    pub super_scale: f32,
    /// `[sub-blocks]`: the n of each scale.
    pub steps: [u8; 16],
    /// `[groups]`
    pub points: [u16; 64],
    /// `[groups]`: which of the shifts.
    pub shifts: [u8; 64],
}

/// The points of a group or more, and what they are worth.
#[derive(Clone, Copy, Default)]
struct Choice {
    points: [u16; 8],
    shifts: [u8; 8],
    /// Weighted sums of points times values, and of squares of points.
    product: f32,
    square: f32,
}

impl Choice {
    /// The weighted squared error at this scale, less that of all zeros.
    #[inline(always)]
    fn error(&self, scale: f32) -> f32 {
        scale * (scale * self.square - 2.0 * self.product)
    }
}

/// Multiples tried around a guess.
const NEIGHBOURS: [i32; 3] = [0, -1, 1];

impl Layout<'_> {
    /// The block of smallest error that was found. `scales` has a first guess for each sub-block, in units of the points.
    #[inline(always)]
    pub(crate) fn encode<S: Simd>(&self, s: S, scales: &[f32], values: &[f32; 256], weights: &[f32; 256]) -> Points {
        let mut fitted = [0.0; 16];
        for (sub, scale) in scales.iter().enumerate() {
            fitted[sub] = self.refine(s, sub, *scale, values, weights);
        }
        let largest = fitted.iter().copied().fold(0.0, f32::max);
        let multiple_max = (2 * self.step_max + 1) as f32;
        let super_scale = as_half(largest / multiple_max / self.unit);
        let (mut best, mut best_error) = self.choose(s, super_scale, &fitted, values, weights);
        let again = self.fit(&best.1);
        if again > 0.0 && again != super_scale {
            let steps = best.0.steps;
            let scales: [f32; 16] =
                std::array::from_fn(|sub| super_scale * self.unit * f32::from(2 * u16::from(steps[sub]) + 1));
            let (second, error) = self.choose(s, again, &scales, values, weights);
            if error < best_error {
                (best, best_error) = (second, error);
            }
        }
        // All zeros are better than a block that makes things worse.
        if best_error >= 0.0 {
            best.0.super_scale = 0.0;
        }
        best.0
    }

    /// A better scale for a sub-block, by least squares on the points that belong to scales near the guess.
    #[inline(always)]
    fn refine<S: Simd>(&self, s: S, sub: usize, guess: f32, values: &[f32; 256], weights: &[f32; 256]) -> f32 {
        if guess <= 0.0 || !guess.is_finite() {
            return 0.0;
        }
        let mut best = (0.0, guess);
        for factor in [1.0, 0.93, 1.08] {
            let mut scale = guess * factor;
            for _ in 0..2 {
                let choice = self.choose_sub(s, sub, scale, values, weights);
                let gain = choice.product * choice.product / choice.square;
                scale = choice.product / choice.square;
                if !(scale > 0.0 && scale.is_finite()) {
                    break;
                }
                if gain > best.0 {
                    best = (gain, scale);
                }
            }
        }
        best.1
    }

    /// The best multiples near the scales, with their points, and the error less that of all zeros.
    #[inline(always)]
    fn choose<S: Simd>(
        &self,
        s: S,
        super_scale: f32,
        scales: &[f32; 16],
        values: &[f32; 256],
        weights: &[f32; 256],
    ) -> ((Points, [(f32, Choice); 16]), f32) {
        let mut block = Points { super_scale, steps: [0; 16], points: [0; 64], shifts: [0; 64] };
        let mut chosen = [(0.0, Choice::default()); 16];
        let mut total = 0.0;
        let unit = super_scale * self.unit;
        if unit <= 0.0 {
            return ((block, chosen), 0.0);
        }
        for sub in 0..256 / self.sub_length {
            let guess = ((scales[sub] / unit - 1.0) / 2.0).round_ties_even() as i32;
            let (mut best, mut tried) = ((0, Choice::default(), f32::INFINITY), -1);
            for by in NEIGHBOURS {
                let step = (guess + by).clamp(0, self.step_max);
                if step == tried {
                    continue;
                }
                tried = step;
                let scale = unit * (2 * step + 1) as f32;
                let choice = self.choose_sub(s, sub, scale, values, weights);
                let error = choice.error(scale);
                if error < best.2 {
                    best = (step, choice, error);
                }
            }
            let (step, choice, error) = best;
            total += if error.is_finite() { error } else { 0.0 };
            block.steps[sub] = step as u8;
            chosen[sub] = ((2 * step + 1) as f32, choice);
            let group_count = self.sub_length / self.grid.length;
            let groups = sub * group_count..(sub + 1) * group_count;
            block.points[groups.clone()].copy_from_slice(&choice.points[..group_count]);
            block.shifts[groups].copy_from_slice(&choice.shifts[..group_count]);
        }
        ((block, chosen), total)
    }

    /// The super scale that fits the chosen points best, in half precision.
    fn fit(&self, chosen: &[(f32, Choice); 16]) -> f32 {
        let (mut products, mut squares) = (0.0_f64, 0.0_f64);
        for (multiple, choice) in chosen {
            let multiple = f64::from(multiple * self.unit);
            products += multiple * f64::from(choice.product);
            squares += multiple * multiple * f64::from(choice.square);
        }
        if squares > 0.0 { as_half((products / squares) as f32) } else { 0.0 }
    }

    /// The best points, and shifts, of a sub-block at a scale.
    #[inline(always)]
    fn choose_sub<S: Simd>(&self, s: S, sub: usize, scale: f32, values: &[f32; 256], weights: &[f32; 256]) -> Choice {
        let group_count = self.sub_length / self.grid.length;
        let mut best = Choice::default();
        let mut best_error = f32::INFINITY;
        if self.has_shift_for_each_group {
            best = Choice::default();
            for group in 0..group_count {
                let mut of_group = (0, Choice::default(), f32::INFINITY);
                for shift in 0..self.shifts.len() {
                    let choice = self.choose_groups(s, sub, group..group + 1, shift, scale, values, weights);
                    let error = choice.error(scale);
                    if error < of_group.2 {
                        of_group = (shift, choice, error);
                    }
                }
                let (shift, choice, _) = of_group;
                (best.points[group], best.shifts[group]) = (choice.points[0], shift as u8);
                best.product += choice.product;
                best.square += choice.square;
            }
            return best;
        }
        for shift in 0..self.shifts.len() {
            let choice = self.choose_groups(s, sub, 0..group_count, shift, scale, values, weights);
            let error = choice.error(scale);
            if error < best_error {
                (best, best_error) = (choice, error);
            }
        }
        best
    }

    /// The best points of some groups of a sub-block at a scale, all with one shift.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)] // A choice has as many sides.
    fn choose_groups<S: Simd>(
        &self,
        s: S,
        sub: usize,
        groups: std::ops::Range<usize>,
        shift: usize,
        scale: f32,
        values: &[f32; 256],
        weights: &[f32; 256],
    ) -> Choice {
        let length = self.grid.length;
        let added = s.splat(self.shifts[shift]);
        let mut choice = Choice::default();
        let (mut product, mut square) = (s.splat(0.0), s.splat(0.0));
        for (place, group) in groups.enumerate() {
            let start = sub * self.sub_length + group * length;
            let (x, w) =
                (s.load_part(&values[start..start + length], 0.0), s.load_part(&weights[start..start + length], 0.0));
            let moved = s.to_array(s.sub(x, s.mul(s.splat(scale), added)));
            let point = self.grid.nearest(s, scale, &moved, &s.to_array(w));
            choice.points[place] = point;
            choice.shifts[place] = shift as u8;
            let q = s.add(s.load(&self.grid.points[usize::from(point)]), added);
            let weighted = s.mul(w, q);
            product = s.fma(weighted, x, product);
            square = s.fma(weighted, q, square);
        }
        (choice.product, choice.square) = (s.sum(product), s.sum(square));
        choice
    }
}

/// How the signs of eight elements are stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signs {
    /// All eight.
    Free,
    /// Seven of them: the number of minus signs is even. Where it is not, the element that costs least gets the wrong one.
    Even,
}

/// Takes the signs off: the magnitudes, negative for an element that gets the wrong sign, and a bit for each minus sign.
#[inline(always)]
pub(crate) fn split_signs(
    rule: Signs,
    values: &[f32; 256],
    weights: &[f32; 256],
    magnitudes: &mut [f32; 256],
) -> [u8; 32] {
    let mut signs = [0; 32];
    let groups = values.as_chunks::<8>().0.iter().zip(weights.as_chunks::<8>().0);
    for (((values, weights), magnitudes), signs) in groups.zip(magnitudes.as_chunks_mut::<8>().0).zip(&mut signs) {
        *signs = (0..8).fold(0_u8, |bits, i| bits | u8::from(values[i] < 0.0) << i);
        *magnitudes = values.map(f32::abs);
        if rule == Signs::Even && signs.count_ones() % 2 == 1 {
            let cost = |i: usize| weights[i] * values[i] * values[i];
            let cheapest = (1..8).fold(0, |best, i| if cost(i) < cost(best) { i } else { best });
            magnitudes[cheapest] = -magnitudes[cheapest];
            *signs ^= 1 << cheapest;
        }
    }
    signs
}

/// First guesses for the scales of the sub-blocks: as if every element could take the level it likes best.
#[inline(always)]
pub(crate) fn guesses<S: Simd, C: scaled::CodeSet, const SUB: usize>(
    s: S,
    sets: &[C],
    targets: &scaled::Targets,
    values: &[f32; 256],
    weights: &[f32; 256],
) -> [f32; 16] {
    let mut guesses = [0.0; 16];
    let subs = values.as_chunks::<SUB>().0.iter().zip(weights.as_chunks::<SUB>().0);
    for (guess, (values, weights)) in guesses.iter_mut().zip(subs) {
        let mut best = 0.0;
        for set in sets {
            let (gain, scale) = scaled::search_gain(s, *set, targets, values, weights);
            if gain > best {
                (best, *guess) = (gain, scale.abs());
            }
        }
    }
    guesses
}
