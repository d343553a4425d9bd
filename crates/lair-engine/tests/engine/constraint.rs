//! Sequences whose tokens are not free.

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
