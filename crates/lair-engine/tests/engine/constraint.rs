//! Sequences whose tokens are not free.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lair_engine::{
    Constraint, ConstraintFailure, EngineOptions, Event, FinishReason, Request, Sampling, SequenceError,
    TokenConstraint, TokenLogprob, TokenSet,
};

use crate::fake::{alone, end_of, engine, logits_after, run, tokens_of};

/// Allows one residue of 3 after the other; panics or allows nothing when told to.
struct Residues {
    next: u32,
    allows_nothing_at: u32,
    panics_at: u32,
}

impl TokenConstraint for Residues {
    fn restrict(&mut self, allowed: &mut TokenSet) -> Result<(), ConstraintFailure> {
        assert!(self.next != self.panics_at, "the constraint was asked to panic");
        assert!((0..48).all(|token| allowed.contains(token)));
        allowed.clear();
        if self.next != self.allows_nothing_at {
            (0..48).filter(|token| token % 3 == self.next % 3).for_each(|token| allowed.insert(token));
        }
        Ok(())
    }

    fn accept(&mut self, token: u32) -> Result<(), ConstraintFailure> {
        assert_eq!(token % 3, self.next % 3);
        self.next += 1;
        Ok(())
    }

    fn fork(&self) -> Box<dyn TokenConstraint> {
        Box::new(Self { ..*self })
    }
}

fn request(constraint: Option<Residues>) -> Request {
    Request {
        tokens: vec![1, 2, 3],
        max_tokens: Some(12),
        sampling: Sampling { seed: Some(1), temperature: 2.0, ..Sampling::default() },
        logprobs: Some(1),
        constraint: constraint.map(Constraint::new),
        ..Request::default()
    }
}

fn residues() -> Residues {
    Residues { next: 0, allows_nothing_at: u32::MAX, panics_at: u32::MAX }
}

#[test]
fn only_allowed_tokens_are_chosen_in_a_fork_too() {
    let mut engine = engine(16, 0, EngineOptions::default());
    let id = engine.submit(request(Some(residues()))).unwrap();
    let mut events = Vec::new();
    (0..5).for_each(|_| engine.step(&mut events));
    let fork = engine.fork(id, Sampling::default()).unwrap();
    events.extend(run(&mut engine));
    let tokens = tokens_of(&events, id);
    assert!(tokens.len() == 12 && tokens.iter().zip(0..).all(|(token, place)| token % 3 == place % 3), "{tokens:?}");
    let forked = tokens_of(&events, fork);
    assert!(forked.len() == 7 && forked.iter().zip(5..).all(|(token, place)| token % 3 == place % 3), "{forked:?}");
}

#[test]
fn log_probabilities_are_those_without_the_constraint() {
    let mut engine = engine(16, 0, EngineOptions::default());
    engine.submit(request(Some(residues()))).unwrap();
    let mut tokens = vec![1, 2, 3];
    let mut has_refused_the_best = false;
    for event in run(&mut engine) {
        let Event::Token { token, logprob, top, .. } = event else { continue };
        let logits = logits_after(&tokens, false);
        let total = logits.iter().map(|&logit| f64::from(logit).exp()).sum::<f64>().ln();
        assert!((f64::from(logprob.unwrap()) - (f64::from(logits[token as usize]) - total)).abs() < 1e-5);
        let best =
            (0..48).max_by(|&left: &u32, &right| logits[left as usize].total_cmp(&logits[right as usize])).unwrap();
        assert!(matches!(top[..], [TokenLogprob { token, .. }] if token == best));
        has_refused_the_best |= best % 3 != tokens.len() as u32 % 3;
        tokens.push(token);
    }
    assert!(has_refused_the_best);
}

#[test]
fn a_failing_constraint_ends_only_its_sequence() {
    let mut engine = engine(16, 0, EngineOptions::default());
    let good = engine.submit(request(None)).unwrap();
    let panics = engine.submit(request(Some(Residues { panics_at: 4, ..residues() }))).unwrap();
    let stuck = engine.submit(request(Some(Residues { allows_nothing_at: 2, ..residues() }))).unwrap();
    let events = run(&mut engine);
    assert_eq!(tokens_of(&events, good), alone(&request(None), false, 257).0);
    for (id, count, expected) in [
        (panics, 4, SequenceError::ConstraintPanicked { cause: "the constraint was asked to panic".to_owned() }),
        (stuck, 2, SequenceError::NothingAllowed { position: 5 }),
    ] {
        assert_eq!(tokens_of(&events, id).len(), count);
        let Event::Failed { error, .. } = end_of(&events, id) else { panic!("{events:?}") };
        assert_eq!(*error, expected);
    }
}

/// The same, told token by token as well; counts what it is asked.
struct Checked {
    residues: Residues,
    asked: Arc<[AtomicUsize; 2]>,
}

impl TokenConstraint for Checked {
    fn restrict(&mut self, allowed: &mut TokenSet) -> Result<(), ConstraintFailure> {
        self.asked[0].fetch_add(1, Ordering::Relaxed);
        self.residues.restrict(allowed)
    }

    fn allows(&mut self, token: u32) -> Result<Option<bool>, ConstraintFailure> {
        self.asked[1].fetch_add(1, Ordering::Relaxed);
        Ok((token < 40).then_some(token % 3 == self.residues.next % 3))
    }

    fn accept(&mut self, token: u32) -> Result<(), ConstraintFailure> {
        self.residues.accept(token)
    }

    fn fork(&self) -> Box<dyn TokenConstraint> {
        unreachable!("nothing is forked")
    }
}

#[test]
fn a_token_is_the_same_whether_it_is_checked_or_the_set_is_asked_for() {
    let changed = Sampling { repeat_penalty: 1.3, logit_bias: vec![(4, 2.0), (6, -1.0)], ..Sampling::greedy() };
    let filtered = Sampling { top_k: 5, min_p: 0.01, ..request(None).sampling };
    for sampling in [Sampling::greedy(), changed, request(None).sampling, filtered] {
        let mut engine = engine(16, 0, EngineOptions::default());
        let asked = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let request = |constraint| Request { sampling: sampling.clone(), constraint, ..request(None) };
        let by_set = engine.submit(request(Some(Constraint::new(residues())))).unwrap();
        let checked = Checked { residues: residues(), asked: Arc::clone(&asked) };
        let checked = engine.submit(request(Some(Constraint::new(checked)))).unwrap();
        let events = run(&mut engine);
        let (by_set, checked) = (tokens_of(&events, by_set), tokens_of(&events, checked));
        assert!(by_set.len() == 12 && by_set == checked, "{by_set:?} {checked:?}");
        let [sets, checks] = [0, 1].map(|index| asked[index].load(Ordering::Relaxed));
        // Some of those drawn first are allowed, some are not: both ways are gone.
        assert!(checks == 12 && (1..12).contains(&sets), "{sets} sets, {checks} checks");
    }
}

#[test]
fn the_likeliest_allowed_token_is_chosen() {
    let mut engine = engine(16, 0, EngineOptions::default());
    let greedy = Request { sampling: Sampling::greedy(), ..request(Some(residues())) };
    let id = engine.submit(greedy).unwrap();
    let mut tokens = vec![1, 2, 3];
    for (token, place) in tokens_of(&run(&mut engine), id).into_iter().zip(0..) {
        let logits = logits_after(&tokens, false);
        let expected = (0..48usize).filter(|token| token % 3 == place % 3).rev();
        let expected = expected.max_by(|&left, &right| logits[left].total_cmp(&logits[right])).unwrap();
        assert_eq!(token as usize, expected);
        tokens.push(token);
    }
    assert_eq!(tokens.len(), 15);
}

#[test]
fn allowed_tokens_are_drawn_as_often_as_the_model_says() {
    const DRAWS: u64 = 4_000;
    let mut counts = [0.0f64; 48];
    for seed in 0..DRAWS {
        let mut engine = engine(16, 0, EngineOptions::default());
        let sampling = Sampling { seed: Some(seed), ..request(None).sampling };
        let id = engine.submit(Request { sampling, max_tokens: Some(1), ..request(Some(residues())) }).unwrap();
        counts[tokens_of(&run(&mut engine), id)[0] as usize] += 1.0;
    }
    let logits = logits_after(&[1, 2, 3], false);
    let weight = |token: usize| (f64::from(logits[token]) / 2.0).exp();
    let total: f64 = (0..48).step_by(3).map(weight).sum();
    let deviation = |token: usize| {
        let expected = weight(token) / total * DRAWS as f64;
        (counts[token] - expected).powi(2) / expected
    };
    let chi_square: f64 = (0..48).step_by(3).map(deviation).sum();
    // The 99.9th percentile for 15 degrees of freedom.
    assert!(chi_square < 37.7, "{chi_square}");
    assert_eq!(counts.iter().step_by(3).sum::<f64>(), DRAWS as f64);
}

/// After each free token three that are fixed; over after 14.
#[derive(Clone)]
struct Phrases {
    place: usize,
    announces: bool,
}

impl Phrases {
    fn fixed(&self) -> Option<u32> {
        [None, Some(9), Some(10), Some(11)][self.place % 4]
    }
}

impl TokenConstraint for Phrases {
    fn restrict(&mut self, allowed: &mut TokenSet) -> Result<(), ConstraintFailure> {
        if let Some(token) = self.fixed() {
            allowed.clear();
            allowed.insert(token);
        }
        Ok(())
    }

    fn accept(&mut self, token: u32) -> Result<(), ConstraintFailure> {
        if self.fixed().is_some_and(|fixed| fixed != token) {
            return Err(ConstraintFailure(format!("{token} at {}", self.place)));
        }
        self.place += 1;
        Ok(())
    }

    fn forced(&self) -> Option<u32> {
        self.fixed().filter(|_| self.announces)
    }

    fn is_over(&self) -> bool {
        self.place == 14
    }

    fn fork(&self) -> Box<dyn TokenConstraint> {
        Box::new(self.clone())
    }
}

#[test]
fn forced_tokens_take_no_steps_and_change_nothing() {
    for max_tokens in [3, 7, 14, 20] {
        let run_with = |announces: bool| {
            let mut engine = engine(16, 0, EngineOptions::default());
            let constraint = Some(Constraint::new(Phrases { place: 0, announces }));
            let wish = Request { constraint, logprobs: None, max_tokens: Some(max_tokens), ..request(None) };
            let id = engine.submit(wish).unwrap();
            let events = run(&mut engine);
            let Event::Finished { reason, usage, .. } = end_of(&events, id) else { panic!("{events:?}") };
            (tokens_of(&events, id), *reason, usage.completion_tokens, engine.stats().steps)
        };
        let (jumped, stepped) = (run_with(true), run_with(false));
        assert_eq!((&jumped.0, jumped.1, jumped.2), (&stepped.0, stepped.1, stepped.2));
        assert_eq!(jumped.0.len(), max_tokens.min(14));
        assert_eq!(jumped.1, if max_tokens >= 14 { FinishReason::Complete } else { FinishReason::MaxTokens });
        assert!(jumped.3 < stepped.3 && jumped.3 as usize == max_tokens.min(14).div_ceil(4), "{} steps", jumped.3);
    }
}
