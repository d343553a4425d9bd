//! The sampler: survivors against llama.cpp's, draws against exact probabilities, and logits that are not numbers.

#![allow(clippy::unwrap_used)] // A test that meets an error has failed.

use lair_engine::{
    Filter, Sampler, Sampling,
    sampler::{Draws, Dry, NonFiniteLogits, log_sum_exp, top_logprobs},
};
use serde_json::Value;

/// Made by `goldens/make_sampler_goldens.py`.
const GOLDENS: &str = include_str!("goldens/sampler.json");

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn sampling_of(parameters: &Value) -> Sampling {
    let mut sampling = Sampling { xtc_probability: 1.0, xtc_threshold: 1.0, ..Sampling::default() };
    for (name, value) in parameters.as_object().unwrap() {
        let number = value.as_f64().unwrap() as f32;
        match name.as_str() {
            "temperature" => sampling.temperature = number,
            "top_k" => sampling.top_k = number as usize,
            "top_p" => sampling.top_p = number,
            "min_p" => sampling.min_p = number,
            "typical_p" => sampling.typical_p = number,
            "top_n_sigma" => sampling.top_n_sigma = number,
            "xtc_threshold" => sampling.xtc_threshold = number,
            "repeat_penalty" => sampling.repeat_penalty = number,
            "frequency_penalty" => sampling.frequency_penalty = number,
            "presence_penalty" => sampling.presence_penalty = number,
            "penalty_last_n" => sampling.penalty_last_n = number as usize,
            other => panic!("the golden file names {other}"),
        }
    }
    sampling
}

#[test]
fn filters_leave_what_llama_cpp_leaves() {
    let goldens: Value = serde_json::from_str(GOLDENS).unwrap();
    let cases = goldens["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 4 * 33);
    for case in cases {
        let vector = &goldens["vectors"][case["vector"].as_u64().unwrap() as usize];
        let mut logits: Vec<f32> = numbers(&vector["logits"]).into_iter().map(|logit| logit as f32).collect();
        let history: Vec<u32> = numbers(&vector["history"]).into_iter().map(|token| token as u32).collect();
        let before = logits.clone();
        let mut sampler = Sampler::new(logits.len());
        let sampling = sampling_of(&case["parameters"]);
        let name = format!("vector {} of {}, {}", case["vector"], logits.len(), case["parameters"]);
        let survivors = sampler.survivors(&mut logits, &sampling, &history, Draws::new(1, 1)).unwrap();
        assert_eq!(survivors.len() as u64, case["count"].as_u64().unwrap(), "{name}");
        if let Some(checksum) = case.get("checksum") {
            let sum: u64 = survivors.iter().zip(1..).map(|(survivor, place)| place * u64::from(survivor.token)).sum();
            assert_eq!(sum % 1_000_003, checksum.as_u64().unwrap(), "{name}");
        }
        for ((token, probability), survivor) in
            numbers(&case["tokens"]).into_iter().zip(numbers(&case["probabilities"])).zip(survivors)
        {
            assert_eq!(survivor.token, token as u32, "{name}");
            assert!((f64::from(survivor.probability) - probability).abs() < 2e-6, "{name}: token {token}");
        }
        assert_eq!(logits, before, "the logits are put back");
    }
}

/// Probabilities of all tokens; 0 for those that were dropped.
fn probabilities(sampling: &Sampling, from: &[f32], history: &[u32]) -> Vec<f32> {
    let mut logits: Vec<f32> = from.iter().map(|probability| probability.ln()).collect();
    let mut sampler = Sampler::new(logits.len());
    let mut probabilities = vec![0.0; from.len()];
    for survivor in sampler.survivors(&mut logits, sampling, history, Draws::new(1, 1)).unwrap() {
        probabilities[survivor.token as usize] = survivor.probability;
    }
    probabilities
}

fn assert_near(found: &[f32], expected: &[f32]) {
    let is_near = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-5);
    assert!(is_near && found.len() == expected.len(), "{found:?}, expected {expected:?}");
}

/// Cases and results are those of llama.cpp's `tests/test-sampling.cpp`, `test_dry`.
#[test]
fn dry_takes_what_llama_cpp_takes() {
    let check = |from: &[f32], history: &[u32], expected: &[f32], multiplier, allowed_length, last_n, breakers| {
        let dry = Dry { multiplier, base: 1.1, allowed_length, last_n, breakers };
        assert_near(&probabilities(&Sampling { dry, ..Sampling::default() }, from, history), expected);
    };
    let (four, five) = ([0.25; 4], [0.2; 5]);
    check(&four, &[0, 1], &four, 1.0, 2, 4, vec![]);
    check(&four, &[0, 1, 2, 0, 1], &[0.296923, 0.296923, 0.109232, 0.296923], 1.0, 2, 5, vec![]);
    check(&five, &[0, 1, 3, 4, 0, 1], &five, 1.0, 2, 6, vec![vec![3]]);
    check(&five, &[0, 1, 2, 0, 1], &[0.241818, 0.241818, 0.032727, 0.241818, 0.241818], 2.0, 2, 5, vec![]);
    check(&five, &[0, 1, 2, 3, 4, 0, 1], &five, 1.0, 4, 7, vec![]);
    // A breaker of two tokens within the repetition leaves one repeated token, which is allowed.
    check(&five, &[0, 1, 2, 3, 0, 1, 2], &five, 1.0, 2, 7, vec![vec![0, 1]]);
}

#[test]
fn filters_apply_in_the_order_given() {
    let from = [0.5, 0.3, 0.1, 0.06, 0.04];
    let sampling = Sampling { temperature: 3.0, top_p: 0.7, ..Sampling::default() };
    let default = probabilities(&sampling, &from, &[]);
    assert_eq!(default.iter().filter(|&&probability| probability > 0.0).count(), 2);
    let order = vec![Filter::Temperature, Filter::TopP];
    let flattened = probabilities(&Sampling { order, ..sampling.clone() }, &from, &[]);
    assert_eq!(flattened.iter().filter(|&&probability| probability > 0.0).count(), 3);
    let none = probabilities(&Sampling { order: Vec::new(), ..sampling }, &from, &[]);
    assert_near(&none, &from);
}

/// Draws many tokens and compares their frequencies with the probabilities.
fn check_distribution(sampling: &Sampling, logits: &[f32], exact: &[f64]) {
    const DRAW_COUNT: u64 = 40_000;
    let mut logits = logits.to_vec();
    let mut sampler = Sampler::new(logits.len());
    let mut counts = vec![0.0; logits.len()];
    for index in 0..DRAW_COUNT {
        let token = sampler.sample(&mut logits, sampling, &[], Draws::new(2026, index)).unwrap();
        counts[token as usize] += 1.0;
    }
    let (mut chi_square, mut freedom) = (0.0, -1.0);
    for (count, probability) in counts.iter().zip(exact) {
        let expected = probability * DRAW_COUNT as f64;
        if expected == 0.0 {
            assert_eq!(*count, 0.0, "a token was drawn that cannot be");
            continue;
        }
        assert!(expected >= 5.0, "too few draws to tell");
        chi_square += (count - expected).powi(2) / expected;
        freedom += 1.0;
    }
    // Wilson and Hilferty's approximation of the 99.9th percentile.
    let spread: f64 = 2.0 / (9.0 * freedom);
    let limit = freedom * (1.0 - spread + 3.09 * spread.sqrt()).powi(3);
    assert!(chi_square < limit, "chi-square {chi_square} with {freedom} degrees of freedom: {sampling:?}");
}

#[test]
fn draws_have_the_exact_distribution() {
    let logits: Vec<f32> = (0..24).map(|token| ((token * 7) % 24) as f32 / 6.0).collect();
    let softmax = |temperature: f64, is_in: &dyn Fn(f32) -> bool| -> Vec<f64> {
        let weight = |&logit: &f32| if is_in(logit) { (f64::from(logit) / temperature).exp() } else { 0.0 };
        let total: f64 = logits.iter().map(weight).sum();
        logits.iter().map(|logit| weight(logit) / total).collect()
    };
    let plain = Sampling::default();
    check_distribution(&plain, &logits, &softmax(1.0, &|_| true));
    let warm = Sampling { temperature: 1.5, ..plain.clone() };
    check_distribution(&warm, &logits, &softmax(1.5, &|_| true));
    let top_k = Sampling { temperature: 0.7, top_k: 5, ..plain.clone() };
    check_distribution(&top_k, &logits, &softmax(f64::from(0.7f32), &|logit| logit > 18.5 / 6.0));
    // Ten logits are within ln(1 / 0.22) = 1.51 of the greatest, which is 23/6.
    let min_p = Sampling { min_p: 0.22, ..plain.clone() };
    check_distribution(&min_p, &logits, &softmax(1.0, &|logit| logit > 23.0 / 6.0 - 1.51));
    // XTC acts half of the time, and then leaves only one of the tokens of at least 0.1.
    let all = softmax(1.0, &|_| true);
    let likely = all.iter().filter(|&&probability| probability >= 0.1).count();
    assert!(likely > 1);
    let least_likely = all.iter().copied().filter(|&probability| probability >= 0.1).fold(1.0, f64::min);
    let dropped = |probability: f64| probability > least_likely + 1e-9;
    let left: f64 = all.iter().filter(|&&probability| !dropped(probability)).sum();
    let mixed: Vec<f64> = all.iter().map(|&p| 0.5 * p + if dropped(p) { 0.0 } else { 0.5 * p / left }).collect();
    check_distribution(&Sampling { xtc_probability: 0.5, xtc_threshold: 0.1, ..plain }, &logits, &mixed);
}

#[test]
fn a_large_vocabulary_is_cut_like_a_sorted_one() {
    let mut state = 9u64;
    let logits: Vec<f32> = (0..150_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Coarse, so that there are many ties.
            ((state >> 40) % 4000) as f32 / 100.0
        })
        .collect();
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    order.sort_by(|&left, &right| logits[right as usize].total_cmp(&logits[left as usize]).then(left.cmp(&right)));
    let mut sampler = Sampler::new(logits.len());
    for top_k in [1, 2, 40, 127, 128, 129, 1000, 37_000, 40_000, 149_999, 150_000, 200_000] {
        let sampling = Sampling { top_k, ..Sampling::default() };
        let survivors = sampler.survivors(&mut logits.clone(), &sampling, &[], Draws::new(1, 1)).unwrap();
        let mut expected = order[..top_k.min(order.len())].to_vec();
        expected.sort_unstable();
        assert!(survivors.iter().map(|survivor| survivor.token).eq(expected), "top_k {top_k}");
    }
    // A flat distribution: the nucleus is larger than what is sorted at first.
    let flat: Vec<f32> = (0..150_000).map(|token| token as f32 * 1e-6).collect();
    let sampling = Sampling { top_p: 0.5, ..Sampling::default() };
    let survivors = sampler.survivors(&mut flat.clone(), &sampling, &[], Draws::new(1, 1)).unwrap();
    let weights: Vec<f64> = flat.iter().map(|&logit| f64::from(logit).exp()).collect();
    let (total, mut sum) = (weights.iter().sum::<f64>(), 0.0);
    let expected = weights.iter().rev().take_while(|&&weight| {
        let is_in = sum < 0.5 * total;
        sum += weight;
        is_in
    });
    assert!((survivors.len() as i64 - expected.count() as i64).abs() <= 1);
    let top = top_logprobs(&logits, log_sum_exp(&logits).unwrap(), 300);
    assert!(top.iter().map(|entry| entry.token).eq(order[..300].iter().copied()));
}

#[test]
fn greedy_takes_the_lowest_of_the_best() {
    let mut sampler = Sampler::new(5);
    let greedy = Sampling::greedy();
    let mut choose = |sampling: &Sampling, logits: [f32; 5], history: &[u32]| {
        sampler.sample(&mut logits.clone(), sampling, history, Draws::new(0, 0)).unwrap()
    };
    assert_eq!(choose(&greedy, [1.0, 3.0, 2.0, 3.0, -1.0], &[]), 1);
    let penalised = Sampling { repeat_penalty: 2.0, ..greedy.clone() };
    assert_eq!(choose(&penalised, [1.0, 3.0, 2.0, 3.0, -1.0], &[1]), 3);
    assert_eq!(choose(&penalised, [-1.0, -1.5, -9.0, -9.0, -9.0], &[0]), 1);
    let biased = Sampling { logit_bias: vec![(4, 5.0)], ..greedy };
    assert_eq!(choose(&biased, [1.0, 3.0, 2.0, 3.0, -1.0], &[]), 4);
}

#[test]
fn logits_that_are_no_distribution_are_an_error() {
    let every_filter = Sampling {
        temperature: 0.01,
        top_k: 3,
        top_p: 0.9,
        min_p: 0.1,
        typical_p: 0.9,
        top_n_sigma: 1.0,
        xtc_probability: 1.0,
        repeat_penalty: 1.1,
        ..Sampling::default()
    };
    let (nan, infinite) = (f32::NAN, f32::INFINITY);
    let cases: [(&[f32], Option<NonFiniteLogits>); 8] = [
        (&[0.0, nan, 1.0], Some(NonFiniteLogits::At { token: 1 })),
        (&[nan; 4], Some(NonFiniteLogits::At { token: 0 })),
        (&[0.0, 1.0, infinite], Some(NonFiniteLogits::At { token: 2 })),
        (&[-infinite; 4], Some(NonFiniteLogits::Everywhere)),
        (&[-infinite, 2.0, -infinite], None),
        (&[f32::MAX, -f32::MAX, f32::MAX], None),
        (&[-f32::MAX, -f32::MAX], None),
        (&[0.0], None),
    ];
    for (logits, expected) in cases {
        for sampling in [&Sampling::default(), &Sampling::greedy(), &every_filter] {
            let mut sampler = Sampler::new(logits.len());
            let found = sampler.sample(&mut logits.to_vec(), sampling, &[0], Draws::new(0, 0));
            assert_eq!(found.err(), expected, "{logits:?}");
            if let Ok(token) = found {
                assert!(logits[token as usize] > f32::NEG_INFINITY);
            }
        }
        assert_eq!(log_sum_exp(logits).err(), expected);
    }
}
