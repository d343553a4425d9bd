//! Mirostat and the dynamic temperature: against llama.cpp's own, step after step, and against naive ones.

#![allow(clippy::unwrap_used)] // A test that meets an error has failed.

use lair_engine::{
    Filter, Sampler, Sampling,
    sampler::{Draws, Mirostat, MirostatState, MirostatVersion},
};
use lair_simd::IsaChoice;
use serde_json::Value;

/// Made by `goldens/make_mirostat_goldens.py`.
const GOLDENS: &str = include_str!("goldens/mirostat.json");

fn number(case: &Value, name: &str) -> f32 {
    case[name].as_f64().unwrap_or_else(|| panic!("{name} of {case}")) as f32
}

fn sampling_of(case: &Value) -> Sampling {
    let version = match case["mirostat"].as_u64().unwrap() {
        0 => {
            return Sampling {
                temperature: number(case, "temperature"),
                temperature_range: number(case, "range"),
                temperature_exponent: number(case, "exponent"),
                top_k: case["top_k"].as_u64().unwrap() as usize,
                ..Sampling::default()
            };
        }
        1 => MirostatVersion::One,
        _ => MirostatVersion::Two,
    };
    let mirostat = Mirostat { version, target: number(case, "tau"), rate: number(case, "eta") };
    // What stands beside it has no say.
    Sampling {
        temperature: number(case, "temperature"),
        mirostat: Some(mirostat),
        top_k: 3,
        top_p: 0.1,
        repeat_penalty: 2.0,
        ..Sampling::default()
    }
}

#[test]
fn steps_leave_what_those_of_llama_cpp_leave() {
    let goldens: Value = serde_json::from_str(GOLDENS).unwrap();
    let cases = goldens["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 3 * (36 + 8));
    for case in cases {
        let sampling = sampling_of(case);
        let mut state = MirostatState::default();
        let vectors = goldens["vectors"][case["vectors"].as_u64().unwrap() as usize].as_array().unwrap();
        for (vector, step) in vectors.iter().zip(case["steps"].as_array().unwrap()) {
            let mut logits: Vec<f32> =
                vector.as_array().unwrap().iter().map(|logit| logit.as_f64().unwrap() as f32).collect();
            let name = format!("{} logits, {sampling:?}, {state:?}", logits.len());
            let mut sampler = Sampler::new(logits.len());
            let survivors = sampler.survivors_carrying(&mut logits, &sampling, &[1, 2, 3], Draws::new(1, 1), &state);
            let survivors = survivors.unwrap();
            assert_eq!(survivors.len() as u64, step["count"].as_u64().unwrap(), "{name}");
            let expected = step["tokens"].as_array().unwrap().iter().zip(step["probabilities"].as_array().unwrap());
            for (survivor, (token, probability)) in survivors.iter().zip(expected) {
                assert_eq!(u64::from(survivor.token), token.as_u64().unwrap(), "{name}");
                let difference = (f64::from(survivor.probability) - probability.as_f64().unwrap()).abs();
                assert!(difference < 2e-5, "{name}: {survivor:?}, {probability} expected");
            }
            if let Some(mirostat) = sampling.mirostat {
                let selected = step["selected"].as_u64().unwrap();
                let selected = survivors.iter().find(|survivor| u64::from(survivor.token) == selected).unwrap();
                state.note(mirostat, f64::from(selected.probability));
            }
        }
    }
}

/// Numbers without a pattern, from one seed.
fn logits(seed: u64, length: usize) -> Vec<f32> {
    let normal = |index: u64| (0..6).map(|draw| Draws::new(seed + draw, index).uniform()).sum::<f64>() - 3.0;
    (0..length as u64).map(|index| (normal(index) * 4.0) as f32).collect()
}

/// Tokens with their probabilities, the likeliest first.
fn distribution(logits: &[f32], temperature: f32) -> Vec<(u32, f64)> {
    let greatest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let weight = |logit: f32| ((f64::from(logit) - greatest) / f64::from(temperature)).exp();
    let total: f64 = logits.iter().map(|&logit| weight(logit)).sum();
    let mut tokens: Vec<(u32, f64)> = (0..).zip(logits.iter().map(|&logit| weight(logit) / total)).collect();
    tokens.sort_by(|left, right| right.1.total_cmp(&left.1));
    tokens
}

/// How many of the likeliest a naive Mirostat keeps; nothing where rounding may decide.
fn kept(tokens: &[(u32, f64)], mirostat: Mirostat, bound: f64) -> Option<usize> {
    if mirostat.version == MirostatVersion::Two {
        let is_near = tokens.iter().any(|token| (-token.1.log2() - bound).abs() < 1e-5);
        return (!is_near).then(|| tokens.iter().filter(|token| -token.1.log2() <= bound).count().max(1));
    }
    let first = &tokens[..tokens.len().min(100)];
    let (mut products, mut squares) = (0.0, 0.0);
    for place in 1..first.len() {
        let ranks = ((place + 1) as f64 / place as f64).ln();
        products += ranks * (first[place - 1].1 / first[place].1).ln();
        squares += ranks * ranks;
    }
    let steepness = products / squares;
    let excess = steepness - 1.0;
    let size = tokens.len() as f64;
    let count = (excess * bound.exp2() / (1.0 - size.powf(-excess))).powf(1.0 / steepness);
    ((count - count.round()).abs() > 1e-4).then(|| (count as usize).clamp(1, tokens.len()))
}

#[test]
fn the_sampler_keeps_and_follows_as_a_naive_one() {
    let mut compared = 0;
    for version in [MirostatVersion::One, MirostatVersion::Two] {
        for (target, rate) in [(5.0, 0.1), (2.0, 0.5), (0.5, 1.0), (9.0, 0.2)] {
            let mirostat = Mirostat { version, target, rate };
            for (temperature, length) in [(1.0, 130), (0.4, 64), (1.9, 1000), (0.8, 9003), (1.0, 2)] {
                let sampling = Sampling { temperature, mirostat: Some(mirostat), ..Sampling::default() };
                let (mut state, mut bound) = (MirostatState::default(), 2.0 * f64::from(target));
                for step in 0..12 {
                    let logits = logits(17 * step + length as u64, length);
                    let draws = Draws::new(3, step);
                    assert!((f64::from(state.bound(mirostat)) - bound).abs() < 1e-3 * (1.0 + bound.abs()));
                    bound = f64::from(state.bound(mirostat));
                    let tokens = distribution(&logits, temperature);
                    let before = state;
                    let mut chosen = Vec::new();
                    for isa in [IsaChoice::Auto, IsaChoice::Scalar] {
                        state = before;
                        let mut sampler = Sampler::with_isa(length, isa);
                        let token =
                            sampler.sample_carrying(&mut logits.clone(), &sampling, &[0], draws, &mut state).unwrap();
                        chosen.push((token, state));
                    }
                    assert_eq!(chosen[0], chosen[1], "on every instruction set");
                    let place = tokens.iter().position(|token| token.0 == chosen[0].0).unwrap();
                    let Some(count) = kept(&tokens, mirostat, bound) else {
                        bound = f64::from(state.bound(mirostat));
                        continue;
                    };
                    assert!(place < count, "{place} of {count}, {sampling:?}, bound {bound}");
                    let mut sampler = Sampler::new(length);
                    let survivors =
                        sampler.survivors_carrying(&mut logits.clone(), &sampling, &[0], draws, &before).unwrap();
                    assert_eq!(survivors.len(), count, "{sampling:?}, bound {bound}, {length} logits");
                    let share = tokens[place].1 / tokens[..count].iter().map(|token| token.1).sum::<f64>();
                    bound -= f64::from(rate) * (-share.log2() - f64::from(target));
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 400, "{compared}");
}

/// Over many tokens of one flat distribution the mean surprise comes to what was aimed at.
#[test]
fn surprise_comes_to_its_target() {
    let logits = logits(5, 5000);
    for version in [MirostatVersion::One, MirostatVersion::Two] {
        for target in [2.0, 4.0, 6.0] {
            let mirostat = Mirostat { version, target, rate: 0.1 };
            let sampling = Sampling { mirostat: Some(mirostat), ..Sampling::default() };
            let (mut sampler, mut state, mut sum) = (Sampler::new(logits.len()), MirostatState::default(), 0.0);
            let tokens = 600;
            for index in 0..tokens {
                let before = state.bound(mirostat);
                let draws = Draws::new(11, index);
                sampler.sample_carrying(&mut logits.clone(), &sampling, &[], draws, &mut state).unwrap();
                sum += f64::from((before - state.bound(mirostat)) / mirostat.rate + target);
            }
            let mean = sum / tokens as f64;
            assert!((mean - f64::from(target)).abs() < 0.3, "{version:?}: {mean}, {target} aimed at");
        }
    }
}

#[test]
fn a_dynamic_temperature_lies_between_its_ends_and_follows_evenness() {
    let survivors = |logits: &[f32], temperature: f32, range: f32| -> Vec<f32> {
        let sampling = Sampling { temperature, temperature_range: range, ..Sampling::default() };
        let mut sampler = Sampler::new(logits.len());
        let survivors = sampler.survivors(&mut logits.to_vec(), &sampling, &[], Draws::new(1, 1)).unwrap();
        survivors.iter().map(|survivor| survivor.probability).collect()
    };
    // Even: the upper end. One that has nearly all: the lower end.
    let even = [1.0, 1.0, 1.0, 1.0];
    assert_eq!(survivors(&even, 0.5, 0.4), survivors(&even, 0.9, 0.0));
    let sure = [30.0, 0.0, 0.0, 0.0];
    assert_eq!(survivors(&sure, 0.5, 0.4)[0], 1.0);
    // From nought it can rise, so it is not greedy; a filter before it may leave one token only.
    let sampling = Sampling { temperature: 0.0, temperature_range: 1.0, ..Sampling::default() };
    assert!(!sampling.is_greedy() && Sampling { temperature_range: 0.0, ..sampling.clone() }.is_greedy());
    let one = Sampling { top_k: 1, order: vec![Filter::TopK, Filter::Temperature], ..sampling };
    let mut sampler = Sampler::new(3);
    assert_eq!(sampler.sample(&mut [1.0, 3.0, 2.0], &one, &[], Draws::new(1, 1)), Ok(1));
}
