//! The numbers of a merged tensor. Everything is computed in single precision, in the order of the models.
//!
//! Sources: Shoemake, "Animating rotation with quaternion curves" (slerp); Ilharco et al., "Editing models with task
//! arithmetic"; Yadav et al., "TIES-merging"; Yu et al., "Language models are super mario" (DARE).

use super::config::Method;

/// Directions nearer than this are mixed along the line, where the arc's formula divides by nearly nothing.
const DOT_MAX: f64 = 0.9995;
/// Shorter vectors have no direction.
const NORM_MIN: f64 = 1e-8;
/// Weights that sum to less are not divided by.
const DIVISOR_MIN: f32 = 1e-8;
/// A tensor with less is not scaled back to what it was.
const SUM_MIN: f64 = 1e-7;

/// A model's part in a tensor.
pub(super) struct Part {
    pub(super) values: Vec<f32>,
    pub(super) is_base: bool,
    pub(super) weight: f32,
    pub(super) density: f64,
    pub(super) scale: Option<f32>,
    /// What chance of this model begins from.
    pub(super) seed: u64,
}

/// What holds for a tensor, whatever the model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shared {
    pub(super) t: f64,
    pub(super) normalize: bool,
    pub(super) rescale: bool,
    pub(super) lambda: f32,
}

/// Merges the parts, all of one length.
pub(super) fn merge(method: Method, mut parts: Vec<Part>, shared: Shared) -> Vec<f32> {
    match method {
        Method::Linear => linear(&parts, shared),
        Method::Slerp => slerp(&parts, shared.t),
        Method::Passthrough => {
            let part = parts.swap_remove(0);
            match part.scale {
                None => part.values,
                Some(scale) => part.values.into_iter().map(|value| value * scale).collect(),
            }
        }
        Method::TaskArithmetic | Method::Ties | Method::DareTies | Method::DareLinear => tasks(method, parts, shared),
    }
}

fn linear(parts: &[Part], shared: Shared) -> Vec<f32> {
    let mut sum = vec![0.0f32; parts[0].values.len()];
    for part in parts {
        sum.iter_mut().zip(&part.values).for_each(|(sum, value)| *sum += part.weight * value);
    }
    let divisor: f32 = parts.iter().map(|part| part.weight).sum();
    if shared.normalize {
        sum.iter_mut().for_each(|value| *value /= divisor);
    }
    sum
}

/// The point at `t` of the arc from the base to the other.
fn slerp(parts: &[Part], t: f64) -> Vec<f32> {
    let (base, other) = if parts[0].is_base { (&parts[0], &parts[1]) } else { (&parts[1], &parts[0]) };
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let norm = |values: &[f32]| {
        let norm = product(values, values).sqrt();
        if norm > NORM_MIN { norm } else { 1.0 }
    };
    let dot = product(&base.values, &other.values) / norm(&base.values) / norm(&other.values);
    let dot = dot.clamp(-1.0, 1.0);
    let [of_base, of_other] = if dot.abs() > DOT_MAX {
        [1.0 - t, t]
    } else {
        let theta = dot.acos();
        [((1.0 - t) * theta).sin() / theta.sin(), (t * theta).sin() / theta.sin()]
    };
    let (of_base, of_other) = (of_base as f32, of_other as f32);
    base.values.iter().zip(&other.values).map(|(base, other)| of_base * base + of_other * other).collect()
}

/// The base and what the others changed in it, thinned out and, by TIES, where most agree on the sign.
fn tasks(method: Method, mut parts: Vec<Part>, shared: Shared) -> Vec<f32> {
    let place = parts.iter().position(|part| part.is_base).expect("the plan sees to a base");
    let base = parts.remove(place).values;
    for part in &mut parts {
        part.values.iter_mut().zip(&base).for_each(|(value, base)| *value -= base);
        match method {
            Method::Ties => keep_largest(&mut part.values, part.density, shared.rescale),
            Method::DareTies | Method::DareLinear => {
                drop_by_chance(&mut part.values, part.density, part.seed, shared.rescale);
            }
            _ => {}
        }
        let weight = part.weight;
        part.values.iter_mut().for_each(|value| *value *= weight);
    }
    let elects = matches!(method, Method::Ties | Method::DareTies);
    let all: f32 = parts.iter().map(|part| part.weight).sum();
    let all = if all.abs() < DIVISOR_MIN { 1.0 } else { all };
    let merged = base.iter().enumerate().map(|(index, base)| {
        let deltas = parts.iter().map(|part| (part.values[index], part.weight));
        let (mut sum, mut divisor) = (deltas.clone().map(|(delta, _)| delta).sum::<f32>(), all);
        if elects {
            let is_positive = sum >= 0.0;
            let agrees = |delta: f32| if is_positive { delta > 0.0 } else { delta < 0.0 };
            let kept = deltas.filter(|(delta, _)| agrees(*delta));
            (sum, divisor) = kept.fold((0.0, 0.0), |(sum, weights), (delta, weight)| (sum + delta, weights + weight));
            if divisor == 0.0 {
                divisor = 1.0;
            }
        }
        let change = if shared.normalize { sum / divisor } else { sum };
        base + change * shared.lambda
    });
    merged.collect()
}

/// Keeps the part `density` of the numbers that are largest, whatever their sign; of equal ones the first. What is left is
/// scaled to the sum of all, if that is wanted.
fn keep_largest(values: &mut [f32], density: f64, is_rescaled: bool) {
    if density >= 1.0 || values.is_empty() {
        return;
    }
    if density <= 0.0 {
        return values.fill(0.0);
    }
    let count = ((density * values.len() as f64) as usize).max(1);
    let mut sizes: Vec<f32> = values.iter().map(|value| value.abs()).collect();
    let (larger, least, _) = sizes.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
    let least = *least;
    // How many of those that are as large as the least are kept.
    let mut left = count - larger.iter().filter(|size| **size > least).count();
    let sum = |values: &[f32]| values.iter().map(|value| f64::from(value.abs())).sum::<f64>();
    let before = sum(values);
    for value in values.iter_mut() {
        let size = value.abs();
        if size < least || size == least && left == 0 {
            *value = 0.0;
        } else if size == least {
            left -= 1;
        }
    }
    let after = sum(values);
    if is_rescaled && before >= SUM_MIN && after >= SUM_MIN {
        let factor = (before / after) as f32;
        values.iter_mut().for_each(|value| *value *= factor);
    }
}

/// Keeps each number by the chance `density`; what is left is divided by it, so that the sum is expected to stay.
fn drop_by_chance(values: &mut [f32], density: f64, seed: u64, is_rescaled: bool) {
    if density >= 1.0 {
        return;
    }
    let density = density.max(0.0);
    let threshold = (density * (1u64 << 53) as f64) as u64;
    let factor = if is_rescaled && density > 0.0 { (1.0 / density) as f32 } else { 1.0 };
    for (value, index) in values.iter_mut().zip(0u64..) {
        *value = if chance(seed, index) >> 11 < threshold { *value * factor } else { 0.0 };
    }
}

/// Evenly spread bits for an element: SplitMix64 (Steele et al., "Fast splittable pseudorandom number generators").
fn chance(seed: u64, index: u64) -> u64 {
    let state = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// What the chance of a model in a tensor begins from.
pub(super) fn seed_of(seed: u64, tensor: &str, model: usize) -> u64 {
    // FNV-1a, 64 bits.
    let bytes = tensor.bytes().chain(model.to_le_bytes()).chain(seed.to_le_bytes());
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_kept_and_of_equal_ones_the_first() {
        let kept = |density: f64| {
            let mut values = [1.0, -3.0, 2.0, 2.0, -2.0, 0.5];
            keep_largest(&mut values, density, false);
            values
        };
        assert_eq!(kept(0.5), [0.0, -3.0, 2.0, 2.0, 0.0, 0.0]);
        assert_eq!(kept(0.01), [0.0, -3.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(kept(0.0), [0.0; 6]);
        assert_eq!(kept(1.0), [1.0, -3.0, 2.0, 2.0, -2.0, 0.5]);
        let mut values = [1.0, -3.0, 2.0, 2.0];
        keep_largest(&mut values, 0.5, true);
        assert_eq!(values, [0.0, -4.8, 3.2, 0.0]);
    }

    #[test]
    fn chance_keeps_as_many_as_it_should_and_the_same_again() {
        let drawn = |seed| {
            let mut values = vec![1.0f32; 100_000];
            drop_by_chance(&mut values, 0.3, seed, true);
            values
        };
        let values = drawn(seed_of(1, "a", 0));
        let kept = values.iter().filter(|value| **value != 0.0).count();
        assert!((29_400..30_600).contains(&kept), "{kept} of 100000");
        assert!(values.iter().all(|value| *value == 0.0 || (*value - 1.0 / 0.3).abs() < 1e-6));
        assert_eq!(values, drawn(seed_of(1, "a", 0)));
        for other in [seed_of(2, "a", 0), seed_of(1, "b", 0), seed_of(1, "a", 1)] {
            assert_ne!(values, drawn(other));
        }
    }

    #[test]
    fn opposite_and_equal_directions_are_mixed_along_the_line() {
        let part = |values: &[f32], is_base| Part {
            values: values.to_vec(),
            is_base,
            weight: 1.0,
            density: 1.0,
            scale: None,
            seed: 0,
        };
        let at = |other: &[f32], t: f64| slerp(&[part(other, false), part(&[1.0, 0.0], true)], t);
        assert_eq!(at(&[1.0, 0.0], 0.5), [1.0, 0.0]);
        assert_eq!(at(&[-1.0, 0.0], 0.25), [0.5, 0.0]);
        assert_eq!(at(&[0.0, 0.0], 0.0), [1.0, 0.0]);
        let middle = at(&[0.0, 1.0], 0.5);
        assert!((middle[0] - 0.5f32.sqrt()).abs() < 1e-6 && (middle[0] - middle[1]).abs() < 1e-6);
    }
}
