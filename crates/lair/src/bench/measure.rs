//! Runs tests on a loaded model, through the same engine that answers prompts.
//!
//! Tokens are random, choice is greedy and nothing ends a sequence early. Rounds go over all tests in turn, so that a
//! noisy minute hurts all of them a little instead of one of them much.

use std::time::{Duration, Instant};

use lair_engine::{Event, EventStream, Request, Sampling, Timings};

use super::noise::{CpuTimes, Others};
use super::plan::Test;
use crate::failure::{ExitCode, Failure};
use crate::interrupt;
use crate::session::{Session, broken, refusal};
use crate::synthetic::Random;

/// How often a waiting measurement looks for Ctrl-C.
const INTERRUPT_POLL: Duration = Duration::from_millis(50);

/// A loaded model that tests are run on.
pub struct Bench<'a> {
    session: &'a Session,
    random: Random,
}

impl<'a> Bench<'a> {
    /// Runs tests on this model.
    pub fn new(session: &'a Session) -> Bench<'a> {
        Bench { session, random: Random(1) }
    }

    /// Measures all tests: a warm-up, then `repeats` rounds. Gives for each test its rates in tokens a second, and who else
    /// used the processors. `say` hears what has been measured, as it comes.
    ///
    /// # Errors
    /// If a test does not fit, the model gives no finite numbers, or Ctrl-C is pressed.
    pub fn measure(
        &mut self,
        tests: &[Test],
        repeats: usize,
        say: &mut dyn FnMut(&str),
    ) -> Result<Vec<(Vec<f64>, Others)>, Failure> {
        // What decoding begins with stays the same over all rounds: the prefix cache has it after the first time.
        let contexts: Vec<Vec<u32>> = tests.iter().map(|test| self.prompt(test.prompt_tokens())).collect();
        for (test, context) in tests.iter().zip(&contexts) {
            say(&format!("{}: warm-up", test.name()));
            self.run(&test.warm_up(), context)?;
        }
        let mut results: Vec<(Vec<f64>, Others)> = vec![Default::default(); tests.len()];
        for round in 1..=repeats {
            for ((test, context), (samples, others)) in tests.iter().zip(&contexts).zip(&mut results) {
                let before = CpuTimes::now();
                let seconds = self.run(test, context)?;
                others.add(before, CpuTimes::now());
                let rate = test.counted_tokens() as f64 / seconds;
                samples.push(rate);
                say(&format!("{}: round {round} of {repeats}, {rate:.1} tokens/s", test.name()));
            }
        }
        Ok(results)
    }

    /// Seconds that a test took.
    fn run(&mut self, test: &Test, context: &[u32]) -> Result<f64, Failure> {
        match test {
            // New tokens each time: a prompt that is known already would not be computed.
            Test::Prefill { tokens } => {
                let prompt = self.prompt(*tokens);
                let timings = answer(self.session, prompt, test.wanted_tokens())?;
                Ok((timings.waiting + timings.prefill).as_secs_f64())
            }
            Test::Decode { .. } => {
                let timings = answer(self.session, context.to_vec(), test.wanted_tokens())?;
                Ok(timings.decode.as_secs_f64())
            }
            Test::Streams { streams, prompt, .. } => {
                let prompts: Vec<Vec<u32>> = (0..*streams).map(|_| self.prompt(*prompt)).collect();
                let start = Instant::now();
                let submitted: Result<Vec<_>, _> =
                    prompts.into_iter().map(|prompt| submit(self.session, prompt, test.wanted_tokens())).collect();
                for events in submitted? {
                    wait(events, test.wanted_tokens())?;
                }
                Ok(start.elapsed().as_secs_f64())
            }
        }
    }

    fn prompt(&mut self, length: usize) -> Vec<u32> {
        let vocabulary_size = self.session.engine().limits().vocabulary_size as u64;
        (0..length).map(|_| (self.random.bits() % vocabulary_size) as u32).collect()
    }
}

/// Has the engine generate so many tokens after a prompt. The engine takes the times itself: on a busy machine this thread
/// may learn of tokens late and several at a time.
///
/// # Errors
/// As [`Bench::measure`].
pub fn answer(session: &Session, prompt: Vec<u32>, wanted: usize) -> Result<Timings, Failure> {
    wait(submit(session, prompt, wanted)?, wanted)
}

fn submit(session: &Session, prompt: Vec<u32>, wanted: usize) -> Result<EventStream, Failure> {
    let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
    let request = Request { tokens: prompt, max_tokens: Some(wanted), sampling, ..Request::default() };
    session.engine().submit(request).map_err(refusal)
}

fn wait(mut events: EventStream, wanted: usize) -> Result<Timings, Failure> {
    let mut count = 0;
    loop {
        if interrupt::was_pressed() {
            return Err(Failure::new(ExitCode::Interrupted, "stopped by Ctrl-C"));
        }
        match events.next_event_within(INTERRUPT_POLL) {
            Ok(Some(Event::Token { .. })) => count += 1,
            Ok(Some(Event::Failed { error, .. })) => return Err(broken(&error)),
            Ok(Some(Event::Finished { timings, .. })) if count == wanted => return Ok(timings),
            Ok(Some(Event::Finished { .. }) | None) => {
                let cause = format!("the engine gave {count} tokens, {wanted} expected");
                return Err(Failure::new(ExitCode::Engine, cause));
            }
            Ok(Some(Event::PromptLogprobs { .. })) | Err(_) => {}
        }
    }
}
