//! Random arrivals, lengths, cancels and memory, all from a seed: nothing is lost, no one starves, every sequence gets the
//! tokens it would get alone, and all memory comes back.

use std::collections::HashMap;

use lair_engine::{
    DraftOptions, EngineOptions, EngineStats, Event, PrefixScope, Request, Sampling, SequenceId, Speculation,
    sampler::Draws,
};

use crate::fake::{FakeRunner, MemoryArchive, alone_from, engine};

const SEED_COUNT: u64 = 3000;

/// Choices of one simulation.
pub struct Dice(pub u64, pub u64);

impl Dice {
    /// A number from `low` to `high`, both included.
    pub fn roll(&mut self, low: usize, high: usize) -> usize {
        self.1 += 1;
        low + (Draws::new(self.0, self.1).uniform() * (high - low + 1) as f64) as usize
    }

    pub fn chance(&mut self, one_in: usize) -> bool {
        self.roll(1, one_in) == 1
    }
}

struct Open {
    request: Request,
    tokens: Vec<u32>,
    /// How many tokens it had when it was forked off another one.
    forked_at: usize,
    prompt_logprobs: Option<usize>,
}

pub fn random_request(dice: &mut Dice, memory_length: usize) -> Request {
    let longest = if dice.chance(4) { memory_length } else { memory_length.min(40) };
    let length = dice.roll(1, longest);
    // Few prefixes, so that many are shared, and parted from at any place.
    let shared = dice.roll(0, length);
    let family = dice.roll(1, 3) as u32;
    let own = dice.roll(0, 40) as u32;
    let tokens =
        (0..length as u32).map(|i| if (i as usize) < shared { i * family % 45 } else { (own + i) % 45 }).collect();
    let mut sampling = Sampling { seed: Some(dice.roll(0, 1 << 30) as u64), ..Sampling::default() };
    if dice.chance(3) {
        sampling.temperature = 0.0;
        sampling.frequency_penalty = 0.5;
    } else if dice.chance(2) {
        sampling.top_k = 10;
        sampling.top_p = 0.9;
    }
    let max_tokens = if dice.chance(8) { None } else { Some(dice.roll(0, 40)) };
    let stop_tokens = if dice.chance(2) { vec![dice.roll(0, 44) as u32] } else { Vec::new() };
    let prompt_logprobs = dice.chance(6);
    let scope = PrefixScope([dice.roll(1, 2) as u8; 32]);
    Request { tokens, max_tokens, stop_tokens, sampling, prompt_logprobs, scope, ..Request::default() }
}

/// Runs one simulation; returns what was counted in it.
fn simulate(seed: u64) -> EngineStats {
    let mut dice = Dice(seed, 0);
    let page_count = dice.roll(2, 16);
    let sequences_max = dice.roll(1, 6);
    let has_state = dice.chance(2);
    let slot_count = if has_state { sequences_max + dice.roll(0, 4) } else { 0 };
    let rows_max = sequences_max + dice.roll(0, 30);
    let prefill_rows_while_decoding = dice.roll(1, 20);
    let prefix_cache = !dice.chance(4);
    let options = EngineOptions {
        context_length: 220,
        rows_max,
        prefill_rows_while_decoding,
        step_time_max: dice.chance(3).then_some(std::time::Duration::from_micros(20)),
        sequences_max,
        requests_max: 64,
        prefix_cache,
        speculation: [Speculation::Off, Speculation::Lookup, Speculation::Lookup, Speculation::Draft][dice.roll(0, 3)],
    };
    let has_draft = options.speculation == Speculation::Draft;
    let mut engine = engine(page_count, slot_count, options);
    if has_draft && !has_state {
        let draft_pages = dice.roll(1, 20);
        let draft = if dice.chance(2) { FakeRunner::with_flaw(draft_pages) } else { FakeRunner::new(draft_pages, 0) };
        let probability_min = if dice.chance(2) { 0.0 } else { 0.6 };
        let options = DraftOptions { probability_min, tokens_max: dice.roll(1, 20), ..DraftOptions::default() };
        engine = engine.with_draft(Box::new(draft), options).expect("the draft model can be used");
    }
    if dice.chance(2) {
        let archive = MemoryArchive { lost_one_in: [0, 2, 5][dice.roll(0, 2)], ..MemoryArchive::default() };
        engine = engine.with_archive(Box::new(archive));
    }
    let limits = engine.limits();
    let length_max = limits.context_length.min(limits.memory_length + 1);
    let prompt_max = limits.memory_length.min(limits.context_length - 1);
    let mut open: HashMap<SequenceId, Open> = HashMap::new();
    let mut arrivals_left = dice.roll(1, 20);
    let mut forks_left = 5;
    let mut pauses_left = 5;
    let mut paused = None;
    let mut events = Vec::new();
    let mut steps = 0;
    while arrivals_left > 0 || !engine.is_idle() {
        while arrivals_left > 0 && dice.chance(3) {
            arrivals_left -= 1;
            let request = random_request(&mut dice, prompt_max);
            let id = engine.submit(request.clone()).expect("the request fits");
            let prompt_logprobs = request.prompt_logprobs.then_some(request.tokens.len() - 1);
            assert!(open.insert(id, Open { request, tokens: Vec::new(), forked_at: 0, prompt_logprobs }).is_none());
        }
        if dice.chance(40) {
            let oldest = open.keys().min().copied();
            if let Some(id) = oldest {
                assert!(engine.cancel(id));
                open.remove(&id);
            }
        }
        let forked = open.iter().filter(|(_, open)| open.prompt_logprobs.is_none()).map(|(&id, _)| id).min();
        if let Some(source) = forked.filter(|_| forks_left > 0 && dice.chance(20)) {
            forks_left -= 1;
            let Open { request, tokens, .. } = &open[&source];
            let sampling = Sampling { seed: Some(dice.roll(0, 1 << 30) as u64), ..request.sampling.clone() };
            let id = engine.fork(source, sampling.clone()).expect("there is room for a fork");
            let request = Request { sampling, ..request.clone() };
            let fork = Open { request, tokens: tokens.clone(), forked_at: tokens.len(), prompt_logprobs: None };
            assert!(open.insert(id, fork).is_none());
        }
        if let Some(id) = paused.take_if(|_| dice.chance(4)) {
            engine.resume(id);
        } else if let Some(id) = open.keys().min().copied().filter(|_| paused.is_none() && dice.chance(10))
            && pauses_left > 0
        {
            pauses_left -= 1;
            assert!(engine.pause(id));
            paused = Some(id);
        }
        let is_busy = engine.has_work();
        let done = |stats: EngineStats| stats.rows + stats.restored_tokens;
        let done_before = done(engine.stats());
        engine.step(&mut events);
        assert!(!is_busy || done(engine.stats()) > done_before, "a step did nothing");
        engine.check_integrity();
        for event in events.drain(..) {
            take(&mut open, event, has_state, length_max);
        }
        // Each of at most 25 sequences has at most 220 tokens; losing memory costs the oldest none.
        steps += 1;
        assert!(steps < 25 * 220 * 3, "someone starves: {:?}", engine.stats());
    }
    assert!(open.is_empty(), "sequences were lost");
    let stats = engine.stats();
    assert_eq!(stats.held_page_count, 0);
    stats
}

fn take(open: &mut HashMap<SequenceId, Open>, event: Event, has_state: bool, length_max: usize) {
    let id = event.id();
    let sequence = open.get_mut(&id).expect("the sequence is open");
    match event {
        Event::Token { token, .. } => sequence.tokens.push(token),
        Event::PromptLogprobs { logprobs, .. } => assert_eq!(Some(logprobs.len()), sequence.prompt_logprobs.take()),
        Event::Finished { reason, usage, .. } => {
            let (tokens, expected) =
                alone_from(&sequence.request, &sequence.tokens[..sequence.forked_at], has_state, length_max);
            assert_eq!(sequence.tokens, tokens, "other tokens than alone");
            assert_eq!(reason, expected);
            assert_eq!(usage.prompt_tokens, sequence.request.tokens.len());
            assert_eq!(sequence.prompt_logprobs, None, "log-probabilities of the prompt are missing");
            open.remove(&id);
        }
        Event::Failed { error, .. } => panic!("{error}"),
    }
}

#[test]
fn sequences_get_what_they_would_get_alone() {
    let first = match std::env::var("LAIR_SIMULATION_SEED") {
        Ok(seed) => seed.parse().expect("LAIR_SIMULATION_SEED is a number"),
        Err(_) => 0,
    };
    let (mut preemptions, mut reused, mut restored, mut guessed, mut accepted) = (0, 0, 0, 0, 0);
    for seed in first..first + SEED_COUNT {
        let outcome = std::panic::catch_unwind(|| simulate(seed));
        let Ok(counts) = outcome else { panic!("the simulation of seed {seed} fails (LAIR_SIMULATION_SEED={seed})") };
        preemptions += counts.preemptions;
        reused += counts.reused_tokens;
        restored += counts.restored_tokens;
        guessed += counts.guessed_tokens;
        accepted += counts.accepted_tokens;
    }
    // Or the simulation shows nothing.
    assert!(restored > SEED_COUNT, "{restored} tokens restored");
    assert!(preemptions > SEED_COUNT && reused > 10 * SEED_COUNT, "{preemptions} preemptions, {reused} tokens reused");
    assert!(
        accepted > 10 * SEED_COUNT && guessed > accepted + 10 * SEED_COUNT,
        "{accepted} of {guessed} guesses came true"
    );
}
