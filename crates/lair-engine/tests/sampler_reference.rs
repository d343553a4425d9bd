//! The sampler against a naive one: every filter on a list of all tokens, in plain loops, with whole sorts.
//!
//! Both take weights by the same exponential and count them in multiples of 2^-34, rounded down, which is part of what the sampler is
//! defined to be; everything else is written here a second time.

#![allow(clippy::unwrap_used)] // A test that meets an error has failed.

use lair_engine::{
    Filter, Sampler, Sampling,
    sampler::{Draws, NonFiniteLogits, log_sum_exp, top_logprobs},
};
use lair_simd::{IsaChoice, Scalar, Simd, math};

type Token = (u32, f32);

fn weight(relative: f32) -> f64 {
    let weight = f64::from(Scalar.to_array(math::exp_of_negative(Scalar, Scalar.splat(relative)))[0]);
    (weight * 2f64.powi(34)).floor() / 2f64.powi(34)
}

fn greatest(tokens: &[Token]) -> f32 {
    tokens.iter().fold(f32::NEG_INFINITY, |greatest, token| greatest.max(token.1))
}

fn weights(tokens: &[Token]) -> Vec<f64> {
    let best = greatest(tokens);
    tokens.iter().map(|token| weight(token.1 - best)).collect()
}

fn sort_by_logit(tokens: &mut [Token]) {
    tokens.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0)));
}

/// How many of the first tokens have so much weight.
fn count_until(tokens: &[Token], by: &[Token], is_enough: impl Fn(f64) -> bool) -> usize {
    let (best, mut sum) = (greatest(by), 0.0);
    let reached = tokens.iter().position(|token| {
        sum += weight(token.1 - best);
        is_enough(sum)
    });
    reached.map_or(tokens.len(), |place| place + 1)
}

fn apply(filter: Filter, sampling: &Sampling, tokens: &mut Vec<Token>, draws: &mut Draws) {
    let all = tokens.clone();
    let best = greatest(&all);
    let total: f64 = weights(&all).iter().sum();
    match filter {
        Filter::TopK if sampling.top_k > 0 => {
            sort_by_logit(tokens);
            tokens.truncate(sampling.top_k);
        }
        Filter::TopP if sampling.top_p < 1.0 => {
            sort_by_logit(tokens);
            tokens.truncate(count_until(tokens, &all, |sum| sum >= f64::from(sampling.top_p) * total));
        }
        Filter::MinP if sampling.min_p > 0.0 => tokens.retain(|token| token.1 >= best + sampling.min_p.ln()),
        Filter::Temperature if sampling.temperature != 1.0 => {
            let inverse = (1.0 / sampling.temperature).min(f32::MAX);
            tokens.iter_mut().for_each(|token| token.1 = ((token.1 - best) * inverse).max(f32::MIN));
        }
        Filter::TypicalP if sampling.typical_p < 1.0 => {
            let on_grid = |x: f32| (f64::from(x) * 2f64.powi(34)).floor() / 2f64.powi(34);
            let term = |token: &Token| match weight(token.1 - best) {
                0.0 => 0.0,
                weight => -on_grid(weight as f32 * (best - token.1)),
            };
            let expected = all.iter().map(term).sum::<f64>() / total;
            let distance = |token: &Token| (f64::from(token.1 - best) - expected).abs();
            sort_by_logit(tokens);
            tokens.sort_by(|left, right| distance(left).total_cmp(&distance(right)));
            tokens.truncate(count_until(tokens, &all, |sum| sum > f64::from(sampling.typical_p) * total));
        }
        Filter::TopNSigma if sampling.top_n_sigma > 0.0 => {
            let sum_of = |function: &dyn Fn(f64) -> f64| {
                let mut sums = [0.0; 8];
                all.iter().enumerate().for_each(|(place, token)| sums[place % 8] += function(f64::from(token.1)));
                sums.iter().sum::<f64>()
            };
            let count = all.len() as f64;
            let mean = sum_of(&|logit| logit) / count;
            let deviation = (sum_of(&|logit| (logit - mean).powi(2)) / count).sqrt();
            let least = f64::from(best) - f64::from(sampling.top_n_sigma) * deviation;
            tokens.retain(|token| f64::from(token.1) >= least);
        }
        Filter::Xtc if sampling.xtc_probability > 0.0 => {
            let is_off = sampling.xtc_threshold > 0.5 || tokens.len() < 2;
            if is_off || draws.uniform() >= f64::from(sampling.xtc_probability) {
                return;
            }
            sort_by_logit(tokens);
            let is_likely = |token: &Token| (weight(token.1 - best) / total) as f32 >= sampling.xtc_threshold;
            let likely = tokens.iter().filter(|token| is_likely(token)).count();
            tokens.drain(..likely.saturating_sub(1));
        }
        _ => {}
    }
    tokens.sort_by_key(|token| token.0);
}

/// Logits after bias and penalties.
fn adjust(logits: &[f32], sampling: &Sampling, history: &[u32]) -> Vec<f32> {
    let mut logits = logits.to_vec();
    for &(token, bias) in &sampling.logit_bias {
        logits[token as usize] += bias;
    }
    if sampling.penalty_last_n > 0 {
        let recent = &history[history.len().saturating_sub(sampling.penalty_last_n)..];
        for (token, logit) in logits.iter_mut().enumerate() {
            let count = recent.iter().filter(|&&seen| seen as usize == token).count();
            if count > 0 {
                let scaled =
                    if *logit <= 0.0 { *logit * sampling.repeat_penalty } else { *logit / sampling.repeat_penalty };
                *logit = scaled - (count as f32 * sampling.frequency_penalty + sampling.presence_penalty);
            }
        }
    }
    logits
}

fn sample(
    logits: &[f32],
    sampling: &Sampling,
    history: &[u32],
    mut draws: Draws,
) -> Result<(u32, Vec<Token>), NonFiniteLogits> {
    let logits = adjust(logits, sampling, history);
    if let Some(token) = logits.iter().position(|logit| logit.is_nan() || *logit == f32::INFINITY) {
        return Err(NonFiniteLogits::At { token: token as u32 });
    }
    let mut tokens: Vec<Token> = (0..).zip(logits).filter(|token| token.1 > f32::NEG_INFINITY).collect();
    if tokens.is_empty() {
        return Err(NonFiniteLogits::Everywhere);
    }
    if sampling.temperature <= 0.0 {
        let best = tokens.iter().find(|token| token.1 == greatest(&tokens)).unwrap();
        return Ok((best.0, vec![*best]));
    }
    for &filter in &sampling.order {
        apply(filter, sampling, &mut tokens, &mut draws);
    }
    let weights = weights(&tokens);
    let target = draws.uniform() * weights.iter().sum::<f64>();
    let mut sum = 0.0;
    let place = weights.iter().position(|weight| {
        sum += weight;
        sum > target
    });
    let place = place.or_else(|| weights.iter().rposition(|&weight| weight > 0.0));
    Ok((tokens[place.unwrap()].0, tokens))
}

/// Numbers without a pattern, from one seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 += 1;
        Draws::new(77, self.0).uniform()
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() * end as f64) as usize
    }

    fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    fn logits(&mut self, length: usize) -> Vec<f32> {
        let kind = self.below(8);
        (0..length)
            .map(|_| {
                let normal = ((0..6).map(|_| self.next()).sum::<f64>() - 3.0) as f32 * 4.0;
                match kind {
                    0 => 1.5,
                    // Many ties.
                    1 => normal.round(),
                    2 => self.pick(&[0.0, -0.0, f32::NEG_INFINITY]),
                    3 if self.next() < 0.7 => f32::NEG_INFINITY,
                    4 => normal * 1e5,
                    5 => self.pick(&[f32::MIN, f32::MAX, 1.0, -1e30]),
                    6 if self.next() < 0.002 => self.pick(&[f32::NAN, f32::INFINITY]),
                    7 => normal * 8.0,
                    _ => normal,
                }
            })
            .collect()
    }

    fn sampling(&mut self, length: usize) -> Sampling {
        let mut order = Filter::DEFAULT_ORDER.to_vec();
        match self.below(4) {
            0 => order.reverse(),
            1 => order = (0..self.below(5)).map(|_| self.pick(&Filter::DEFAULT_ORDER)).collect(),
            _ => {}
        }
        let is_rich = self.next() < 0.3;
        let mut maybe = |on: &[f32], off: f32| if self.next() < 0.35 { self.pick(on) } else { off };
        Sampling {
            temperature: maybe(&[0.0, 0.3, 0.8, 1.7, 1e-30], 1.0),
            top_p: maybe(&[0.0, 0.1, 0.5, 0.95, 0.999_999_9], 1.0),
            min_p: maybe(&[1e-6, 0.05, 0.5, 1.0], 0.0),
            typical_p: if is_rich { maybe(&[0.0, 0.2, 0.9], 1.0) } else { 1.0 },
            top_n_sigma: if is_rich { maybe(&[0.1, 1.0, 3.0], 0.0) } else { 0.0 },
            xtc_probability: if is_rich { maybe(&[0.5, 1.0], 0.0) } else { 0.0 },
            xtc_threshold: maybe(&[0.0, 0.3, 0.6], 0.1),
            repeat_penalty: maybe(&[0.5, 1.1, 2.0], 1.0),
            presence_penalty: maybe(&[-1.0, 0.6], 0.0),
            frequency_penalty: maybe(&[-0.5, 0.4], 0.0),
            penalty_last_n: self.pick(&[0, 1, 5, 64, 1000]),
            top_k: if self.next() < 0.5 { self.pick(&[1, 2, 3, 40, 41, length - 1, length, length + 9]) } else { 0 },
            logit_bias: (0..self.below(4))
                .map(|_| (self.below(length) as u32, self.pick(&[-100.0, 2.5, 9.0])))
                .collect(),
            order,
            ..Sampling::default()
        }
    }
}

#[test]
fn the_sampler_chooses_what_the_naive_one_chooses() {
    let mut numbers = Numbers(0);
    let lengths = [1, 2, 7, 8, 9, 63, 64, 65, 130, 1000, 5003, 9000];
    for round in 0..1200 {
        let length = numbers.pick(&lengths);
        let logits = numbers.logits(length);
        let sampling = numbers.sampling(length);
        let history: Vec<u32> = (0..numbers.below(40)).map(|_| numbers.below(length) as u32).collect();
        let draws = Draws::new(5, round);
        let expected = sample(&logits, &sampling, &history, draws);
        for isa in [IsaChoice::Auto, IsaChoice::Scalar] {
            let mut sampler = Sampler::with_isa(length, isa);
            let mut worked_on = logits.clone();
            let name = || format!("round {round}, {length} logits, {isa:?}, {sampling:?}");
            let chosen = sampler.sample(&mut worked_on, &sampling, &history, draws);
            assert_eq!(chosen, expected.as_ref().map(|found| found.0).map_err(|error| *error), "{}", name());
            assert!(worked_on.iter().zip(&logits).all(|(a, b)| a.to_bits() == b.to_bits()), "{}", name());
            if sampling.temperature > 0.0
                && let Ok((_, tokens)) = &expected
            {
                let survivors = sampler.survivors(&mut worked_on, &sampling, &history, draws).unwrap();
                assert!(survivors.iter().map(|one| one.token).eq(tokens.iter().map(|one| one.0)), "{}", name());
            }
        }
    }
}

/// Flat distributions, of which top-p and typical-p leave thousands of tokens: of these only some are compared.
#[test]
fn wide_nuclei_are_those_of_the_naive_sampler() {
    let mut numbers = Numbers(1 << 40);
    let length = 12_000;
    for round in 0..150 {
        let spread = numbers.pick(&[0.0, 0.01, 0.3, 1.0, 2.0, 4.0]);
        let is_coarse = numbers.next() < 0.4;
        let logits: Vec<f32> = (0..length)
            .map(|_| {
                let normal = ((0..6).map(|_| numbers.next()).sum::<f64>() - 3.0) as f32 * spread;
                // Many equal ones, so that the last that stays is one of them.
                if is_coarse { (normal * 8.0).round() / 8.0 } else { normal }
            })
            .collect();
        let share = numbers.pick(&[0.001, 0.3, 0.7, 0.9, 0.95, 0.999]);
        let sampling = Sampling {
            temperature: numbers.pick(&[1.0, 0.8, 1.7]),
            xtc_probability: numbers.pick(&[0.0, 0.0, 0.0, 1.0]),
            xtc_threshold: 1e-4,
            ..Sampling::default()
        };
        let sampling = match round % 3 {
            0 => Sampling { typical_p: share, ..sampling },
            _ => Sampling { top_p: share, min_p: numbers.pick(&[0.0, 0.0, 0.05, 0.4]), ..sampling },
        };
        let (mut alone, mut vectors) =
            (Sampler::with_isa(length, IsaChoice::Scalar), Sampler::with_isa(length, IsaChoice::Auto));
        for draw in 0..4 {
            let draws = Draws::new(round, draw);
            let expected = sample(&logits, &sampling, &[], draws).map(|found| found.0);
            let mut worked_on = logits.clone();
            assert_eq!(alone.sample(&mut worked_on, &sampling, &[], draws), expected, "{round}, {sampling:?}");
            assert_eq!(vectors.sample(&mut worked_on, &sampling, &[], draws), expected, "{round}, {sampling:?}");
        }
        let draws = Draws::new(round, 9);
        let expected = sample(&logits, &sampling, &[], draws).unwrap().1;
        let mut worked_on = logits.clone();
        let survivors = vectors.survivors(&mut worked_on, &sampling, &[], draws).unwrap();
        assert!(survivors.iter().map(|one| one.token).eq(expected.iter().map(|one| one.0)), "{round}, {sampling:?}");
    }
}

#[test]
fn log_probabilities_are_those_of_double_precision() {
    let mut numbers = Numbers(1 << 40);
    for length in [1, 3, 8, 9, 1000, 50_000] {
        for _ in 0..20 {
            let logits = numbers.logits(length);
            let Ok(total) = log_sum_exp(&logits) else { continue };
            let best = f64::from(logits.iter().fold(f32::NEG_INFINITY, |best, &logit| best.max(logit)));
            let exact = best + logits.iter().map(|&logit| (f64::from(logit) - best).exp()).sum::<f64>().ln();
            assert!((total - exact).abs() <= 1e-6 * (1.0 + 1e-9 * exact.abs()), "{total}, {exact} expected");
            let mut order: Vec<Token> = (0..).zip(logits.iter().copied()).collect();
            order.sort_by(|left, right| right.1.partial_cmp(&left.1).unwrap().then(left.0.cmp(&right.0)));
            for count in [0, 1, 5, length, length + 1] {
                let count = count.min(3000);
                let top = top_logprobs(&logits, total, count);
                assert!(top.iter().map(|one| one.token).eq(order.iter().take(count).map(|one| one.0)));
            }
        }
    }
}
