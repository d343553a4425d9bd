//! What a model answers, as it comes.

use std::time::{Duration, Instant};

use lair_engine::{Event, FinishReason, Request, Sampling, TokenLogprob, Usage};
use lair_text::tokenizer::{Position, ShowSpecial, StreamDecoder};

use super::{Session, broken, refusal};
use crate::failure::{ExitCode, Failure};
use crate::interrupt;

/// How an answer is made.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Longest answer in tokens.
    pub max_tokens: Option<usize>,
    /// Log-probabilities of each token and of this many others.
    pub logprobs: Option<usize>,
}

/// One token of an answer with the probabilities it was chosen from.
#[derive(Clone, Debug)]
pub struct TokenStep {
    /// The chosen token.
    pub token: u32,
    /// Its log-probability.
    pub logprob: f32,
    /// The most likely tokens and theirs.
    pub top: Vec<(u32, f32)>,
}

/// A finished answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its text, without control tokens.
    pub text: String,
    /// Its tokens, the one that ended it not among them.
    pub tokens: Vec<u32>,
    /// `stop`, `length`, or `interrupted`.
    pub finish_reason: &'static str,
    /// Tokens counted.
    pub usage: Usage,
    /// From asking to the first token.
    pub time_to_first_token_ms: f64,
    /// Prompt tokens computed a second; 0 if none was.
    pub prefill_tokens_per_second: f64,
    /// Tokens after the first, a second; 0 if there is none.
    pub decode_tokens_per_second: f64,
    /// One entry for each token, if asked for.
    pub logprobs: Vec<TokenStep>,
    /// Whether Ctrl-C ended it.
    pub was_interrupted: bool,
}

/// How often a waiting answer looks for Ctrl-C.
const INTERRUPT_POLL: Duration = Duration::from_millis(50);

impl Session {
    /// Log-probability of each token after the first, given those before it: `[tokens - 1]`.
    pub fn prompt_logprobs(&self, tokens: &[u32]) -> Result<Vec<f32>, Failure> {
        let request =
            Request { tokens: tokens.to_vec(), max_tokens: Some(0), prompt_logprobs: true, ..Request::default() };
        let mut events = self.engine.submit(request).map_err(refusal)?;
        let mut result = Vec::new();
        while let Some(event) = events.next_event() {
            match event {
                Event::PromptLogprobs { logprobs, .. } => result.extend(logprobs),
                Event::Failed { error, .. } => return Err(broken(&error)),
                Event::Token { .. } => {}
                Event::Finished { .. } => break,
            }
        }
        Ok(result)
    }

    /// Streams an answer: `write` gets its text as it comes, whole characters at a time. Ctrl-C ends it.
    pub fn answer(
        &self,
        tokens: &[u32],
        wishes: &Wishes,
        write: &mut dyn FnMut(&str) -> std::io::Result<()>,
    ) -> Result<Answer, Failure> {
        let request = Request {
            tokens: tokens.to_vec(),
            max_tokens: wishes.max_tokens,
            stop_tokens: self.tokenizer.ends_of_generation().to_vec(),
            sampling: wishes.sampling.clone(),
            logprobs: wishes.logprobs,
            ..Request::default()
        };
        let start = Instant::now();
        let mut events = self.engine.submit(request).map_err(refusal)?;
        let mut decoder = StreamDecoder::new(&self.tokenizer, Position::Middle, ShowSpecial::Hide);
        let mut answer = Answer::empty(tokens.len());
        let (mut first, mut last) = (None, start);
        loop {
            if interrupt::was_pressed() {
                answer.was_interrupted = true;
                answer.finish_reason = "interrupted";
                break;
            }
            let event = match events.next_event_within(INTERRUPT_POLL) {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(_) => continue,
            };
            match event {
                Event::Token { token, logprob, top, .. } => {
                    last = Instant::now();
                    first.get_or_insert(last);
                    answer.take_token(token, logprob, &top);
                    let text = decoder.push(token).map_err(|error| Failure::new(ExitCode::Engine, error))?;
                    write(&text)?;
                    answer.text.push_str(&text);
                }
                Event::Finished { reason, usage, .. } => {
                    answer.usage = usage;
                    answer.finish_reason = match reason {
                        FinishReason::Stop { .. } => "stop",
                        FinishReason::MaxTokens | FinishReason::ContextFull => "length",
                    };
                    break;
                }
                Event::Failed { error, .. } => return Err(broken(&error)),
                Event::PromptLogprobs { .. } => {}
            }
        }
        // Weights that are used from the mapped file may have gone while they were used.
        if self.file.was_damaged() {
            self.file.check_unchanged()?;
        }
        let rest = decoder.finish();
        write(&rest)?;
        answer.text.push_str(&rest);
        answer.measure(start, first.unwrap_or(last), last);
        Ok(answer)
    }
}

impl Answer {
    fn empty(prompt_tokens: usize) -> Answer {
        Answer {
            text: String::new(),
            tokens: Vec::new(),
            finish_reason: "stop",
            usage: Usage { prompt_tokens, ..Usage::default() },
            time_to_first_token_ms: 0.0,
            prefill_tokens_per_second: 0.0,
            decode_tokens_per_second: 0.0,
            logprobs: Vec::new(),
            was_interrupted: false,
        }
    }

    fn take_token(&mut self, token: u32, logprob: Option<f32>, top: &[TokenLogprob]) {
        self.tokens.push(token);
        self.usage.completion_tokens = self.tokens.len();
        if let Some(logprob) = logprob {
            let top = top.iter().map(|likely| (likely.token, likely.logprob)).collect();
            self.logprobs.push(TokenStep { token, logprob, top });
        }
    }

    fn measure(&mut self, start: Instant, first: Instant, last: Instant) {
        let rate = |count: usize, time: Duration| {
            if count == 0 || time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() }
        };
        let computed = self.usage.prompt_tokens.saturating_sub(self.usage.cached_tokens);
        self.time_to_first_token_ms = (first - start).as_secs_f64() * 1e3;
        self.prefill_tokens_per_second = rate(computed, first - start);
        self.decode_tokens_per_second = rate(self.tokens.len().saturating_sub(1), last - first);
    }
}
