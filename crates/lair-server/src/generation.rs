//! From tokens to a stream of text: the one path that all dialects share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lair_engine::{
    Constraint, Event, FinishReason, FlowLimits, PrefixScope, Request, RequestGuard, Sampling, TokenLogprob, Usage,
};
use lair_text::output::StopMatcher;
use lair_text::tokenizer::{Position, ShowSpecial, StreamDecoder, Tokenizer, TokenizerError};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::caller::caller;
use crate::connections::STALL_MAX;
use crate::error::{ApiError, ErrorKind};
use crate::keys::Key;
use crate::loaded::Lease;
use crate::metrics::{METRICS, Outcome, Watch};
use crate::request_log::Noting;

/// Bytes of an answer that may lie unread before it is paused.
const UNREAD_BYTES_MAX: usize = 256 << 10;

/// What is to be generated.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// The prompt.
    pub tokens: Vec<u32>,
    /// Longest answer in tokens; to the end of the context if not given.
    pub max_tokens: Option<usize>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Texts that end the answer; they are not part of it.
    pub stop: Vec<String>,
    /// Whether the model's own end of an answer is passed over.
    pub ignores_end: bool,
    /// Log-probabilities of each token, with those of so many others.
    pub logprobs: Option<usize>,
    /// Log-probabilities of the prompt's tokens as well.
    pub prompt_logprobs: bool,
    /// Control tokens that are shown as text, for whoever takes the answer apart; all others are hidden.
    pub marks: Vec<u32>,
    /// With whom cached prompts are shared; not said, it is whose key was shown.
    pub scope: PrefixScope,
    /// What the answer must be.
    pub constraint: Option<Constraint>,
    /// The factor of each of the model's adapters; not said, they are as they are set for the model.
    pub adapter_scales: Option<Vec<f32>>,
}

/// A token of an answer.
#[derive(Clone, Debug)]
pub struct TokenStep {
    /// Which.
    pub token: u32,
    /// Its log-probability, if asked for.
    pub logprob: Option<f32>,
    /// The most likely tokens there, best first.
    pub top: Vec<TokenLogprob>,
}

/// What a generation delivers.
#[derive(Clone, Debug)]
pub enum Piece {
    /// The prompt is computed; only if its log-probabilities were asked for.
    Prompt {
        /// `logprobs[i]` is of token `i + 1`.
        logprobs: Vec<f32>,
        /// Beside each, the most likely tokens.
        top: Vec<Vec<TokenLogprob>>,
    },
    /// Some text, whole characters, and the tokens that were chosen since the last piece.
    Text {
        /// The text; empty while a character or a possible stop string is not complete.
        text: String,
        /// The tokens.
        tokens: Vec<TokenStep>,
    },
    /// The end; nothing follows.
    End(End),
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Whole {
    /// Its text.
    pub text: String,
    /// Its tokens.
    pub steps: Vec<TokenStep>,
    /// As in [`Piece::Prompt`], if asked for.
    pub prompt: Option<(Vec<f32>, Vec<Vec<TokenLogprob>>)>,
    /// How it ended.
    pub end: End,
}

/// How a generation ended.
#[derive(Clone, Debug)]
pub struct End {
    /// Why.
    pub reason: EndReason,
    /// What was counted.
    pub usage: Usage,
    /// From the request to the first token.
    pub prefill: Duration,
    /// From the first token to the end.
    pub decode: Duration,
}

/// Why a generation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The model ended its answer.
    Model,
    /// A stop string came.
    StopString(String),
    /// As many tokens as asked for, or as the context holds.
    Length,
    /// The model called tools and waits for what they give.
    ToolCalls,
}

impl EndReason {
    /// `stop`, `length` or `tool_calls`: what most dialects call it.
    pub fn word(&self) -> &'static str {
        match self {
            EndReason::Model | EndReason::StopString(_) => "stop",
            EndReason::Length => "length",
            EndReason::ToolCalls => "tool_calls",
        }
    }
}

/// A running generation. Dropping it cancels the request, before its next token.
pub struct Generation {
    events: UnboundedReceiver<Event>,
    /// Dropped as soon as nothing more is wanted.
    guard: Option<RequestGuard>,
    decoder: StreamDecoder<Arc<Tokenizer>>,
    marks: Vec<u32>,
    stop: StopMatcher,
    start: Instant,
    first: Option<Instant>,
    prompt_tokens: usize,
    completion_tokens: usize,
    /// Decided, and to be delivered next.
    end: Option<End>,
    has_ended: bool,
    watch: Watch,
    noting: Noting,
    /// Whose tokens they are.
    key: Option<Arc<Key>>,
    /// Kept also so that the model stays loaded.
    model: Arc<Lease>,
}

impl Generation {
    /// Hands the request to the model's engine.
    pub fn start(model: &Arc<Lease>, ask: Ask) -> Result<Generation, ApiError> {
        let caller = caller();
        let prompt_tokens = ask.tokens.len();
        if let Some(key) = &caller.key {
            key.limiter.take_prompt(prompt_tokens, Instant::now())?;
        }
        let max_tokens = ask.max_tokens;
        let noting = Noting::begin(caller.trace.as_ref(), model, &ask);
        let stop_tokens = if ask.ignores_end { Vec::new() } else { model.tokenizer.ends_of_generation().to_vec() };
        let request = Request {
            tokens: ask.tokens,
            max_tokens: ask.max_tokens,
            stop_tokens,
            sampling: ask.sampling,
            logprobs: ask.logprobs,
            prompt_logprobs: ask.prompt_logprobs,
            scope: if ask.scope == PrefixScope::default() { caller.scope } else { ask.scope },
            constraint: ask.constraint,
            adapter_scales: ask.adapter_scales.unwrap_or_else(|| model.adapters.scales()),
        };
        // The channel is bounded by the flow: the engine pauses what runs too far ahead of its reader.
        let event_bytes = size_of::<Event>() + ask.logprobs.unwrap_or(0) * size_of::<TokenLogprob>();
        let limits = FlowLimits { events_max: UNREAD_BYTES_MAX / event_bytes, stall_max: STALL_MAX };
        let (sender, events) = unbounded_channel();
        let guard = model.engine.submit_flowing(request, Box::new(move |event| drop(sender.send(event))), limits)?;
        Ok(Generation {
            events,
            guard: Some(guard),
            decoder: StreamDecoder::new(Arc::clone(&model.tokenizer), Position::Middle, ShowSpecial::Hide),
            marks: ask.marks,
            stop: StopMatcher::new(&ask.stop),
            start: Instant::now(),
            first: None,
            prompt_tokens,
            completion_tokens: 0,
            end: None,
            has_ended: false,
            watch: METRICS.watch(&model.facts.name, prompt_tokens, max_tokens),
            noting,
            key: caller.key,
            model: Arc::clone(model),
        })
    }

    /// The model that answers.
    pub(crate) fn model(&self) -> &Lease {
        &self.model
    }

    /// The number under which running requests are listed.
    pub fn slot(&self) -> usize {
        self.watch.slot()
    }

    /// The next piece; `None` after the end or an error.
    pub async fn next(&mut self) -> Option<Result<Piece, ApiError>> {
        if self.has_ended {
            return None;
        }
        if let Some(end) = self.end.take() {
            self.has_ended = true;
            return Some(Ok(Piece::End(end)));
        }
        let Some(event) = self.events.recv().await else {
            self.has_ended = true;
            self.watch.ended(Outcome::Error);
            self.noting.failed();
            let cause = "the engine ended before the answer did";
            return Some(Err(ApiError::new(ErrorKind::Internal, cause)));
        };
        self.guard.iter().for_each(RequestGuard::note_taken);
        Some(match event {
            Event::PromptLogprobs { logprobs, top, .. } => Ok(Piece::Prompt { logprobs, top }),
            Event::Token { token, logprob, top, .. } => {
                self.first.get_or_insert_with(Instant::now);
                self.completion_tokens += 1;
                self.watch.token();
                self.noting.token(token);
                self.key.iter().for_each(|key| key.limiter.take_token(Instant::now()));
                self.take(TokenStep { token, logprob, top })
            }
            Event::Failed { error, .. } => {
                self.has_ended = true;
                self.watch.ended(Outcome::Error);
                self.noting.failed();
                Err(error.into())
            }
            Event::Finished { reason, usage, timings, .. } => {
                self.watch.measured(&usage, &timings);
                self.noting.measured(usage, timings);
                Ok(self.finish(
                    match reason {
                        FinishReason::Stop { .. } | FinishReason::Complete => EndReason::Model,
                        FinishReason::MaxTokens | FinishReason::ContextFull => EndReason::Length,
                    },
                    usage,
                ))
            }
        })
    }

    fn take(&mut self, step: TokenStep) -> Result<Piece, ApiError> {
        let text = self.text_of(step.token).map_err(|error| ApiError::new(ErrorKind::Internal, error))?;
        let text = self.stop.push(&text);
        if let Some(stop) = self.stop.found() {
            let reason = EndReason::StopString(stop.to_owned());
            self.end = Some(self.measured(reason, self.counted()));
            self.guard = None;
        }
        Ok(Piece::Text { text, tokens: vec![step] })
    }

    /// Ends the generation before the model does: nothing follows.
    pub fn end_here(&mut self, reason: EndReason) -> End {
        (self.guard, self.has_ended) = (None, true);
        self.measured(reason, self.counted())
    }

    /// What was counted here, for an end that the engine does not tell of.
    fn counted(&self) -> Usage {
        let (prompt_tokens, completion_tokens) = (self.prompt_tokens, self.completion_tokens);
        Usage { prompt_tokens, completion_tokens, ..Usage::default() }
    }

    fn text_of(&mut self, token: u32) -> Result<String, TokenizerError> {
        if !self.marks.contains(&token) {
            return self.decoder.push(token);
        }
        Ok(self.decoder.finish() + &self.model.tokenizer.decode(&[token], ShowSpecial::Show)?)
    }

    /// The engine ended: what was held back comes out first.
    fn finish(&mut self, reason: EndReason, usage: Usage) -> Piece {
        let rest = self.decoder.finish();
        let mut text = self.stop.push(&rest);
        let reason = match self.stop.found() {
            Some(stop) => EndReason::StopString(stop.to_owned()),
            None => {
                text.push_str(&self.stop.finish());
                reason
            }
        };
        let end = self.measured(reason, usage);
        if text.is_empty() {
            self.has_ended = true;
            return Piece::End(end);
        }
        self.end = Some(end);
        Piece::Text { text, tokens: Vec::new() }
    }

    fn measured(&mut self, reason: EndReason, usage: Usage) -> End {
        self.noting.ended(&reason);
        self.watch.ended(if reason == EndReason::Length { Outcome::Length } else { Outcome::Stop });
        let now = Instant::now();
        let first = self.first.unwrap_or(now);
        End { reason, usage, prefill: first - self.start, decode: now - first }
    }

    /// The whole answer.
    pub async fn collect(mut self) -> Result<Whole, ApiError> {
        let (mut text, mut steps, mut prompt) = (String::new(), Vec::new(), None);
        while let Some(piece) = self.next().await {
            match piece? {
                Piece::Prompt { logprobs, top } => prompt = Some((logprobs, top)),
                Piece::Text { text: more, tokens } => {
                    text.push_str(&more);
                    steps.extend(tokens);
                }
                Piece::End(end) => return Ok(Whole { text, steps, prompt, end }),
            }
        }
        Err(ApiError::new(ErrorKind::Internal, "the answer ended without its end"))
    }
}
