//! A loaded model with everything around it: tokenizer, chat template, engine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lair_compute::cpu::{Cpu, CpuOptions, IsaChoice};
use lair_engine::{
    Engine, EngineError, EngineHandle, EngineOptions, Event, FinishReason, MemoryOptions, ModelRunner, Refusal,
    Request, Sampling, SequenceError, Speculation, TokenLogprob, Usage,
};
use lair_gguf::GgufFile;
use lair_model::{Model, ModelError};
use lair_text::template::{ChatTemplate, RenderInput, RenderLimits};
use lair_text::tokenizer::{AddSpecial, Position, Segment, ShowSpecial, Special, StreamDecoder, Tokenizer};

use crate::commands::run::KvChoice;
use crate::commands::show::bytes_text;
use crate::failure::{ExitCode, Failure};
use crate::locate::Located;
use crate::speculate::{DraftChoice, LoadedDraft};
use crate::{interrupt, machine, sampling};

/// How a model is loaded.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Longest sequence; the largest that model and memory allow if not given.
    pub context_length: Option<usize>,
    /// Threads to compute with; all that the process may use if not given.
    pub threads: Option<usize>,
    /// How keys and values are kept.
    pub kv: KvChoice,
    /// Whether pages of earlier prompts are used again.
    pub prefix_cache: bool,
    /// The best instruction set that may be used.
    pub isa: IsaChoice,
    /// Sequences that are computed at the same time.
    pub sequences_max: usize,
    /// Tokens that all sequences may have together; as many as one of them if not given.
    pub memory_length: Option<usize>,
    /// Whether tokens are guessed ahead.
    pub speculation: Speculation,
    /// The model that guesses.
    pub draft: Option<DraftChoice>,
}

impl Default for LoadOptions {
    fn default() -> LoadOptions {
        LoadOptions {
            context_length: None,
            threads: None,
            kv: KvChoice::F16,
            prefix_cache: true,
            isa: IsaChoice::Auto,
            sequences_max: 1,
            memory_length: None,
            speculation: Speculation::Lookup,
            draft: None,
        }
    }
}

/// A message of a conversation.
#[derive(Clone, Debug)]
pub struct Message {
    /// Who says it: `system`, `user` or `assistant`.
    pub role: &'static str,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A message.
    pub fn new(role: &'static str, content: &str) -> Message {
        Message { role, content: content.to_owned() }
    }
}

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

/// A loaded model.
pub struct Session {
    /// Asked whether it is still what was loaded.
    file: GgufFile,
    tokenizer: Tokenizer,
    /// The chat template, or why it cannot be used.
    template: Option<Result<ChatTemplate, String>>,
    template_source: Option<String>,
    engine: EngineHandle,
    default_sampling: Sampling,
    context_length: usize,
    model_context_length: usize,
    kv_token_bytes: f64,
    load: Duration,
    description: String,
}

/// Rows a step may have. A prompt is computed in pieces of this length; longer ones use caches no better.
pub const ROWS_MAX: usize = 512;
/// Slots of recurrent state: the running conversation, and checkpoints of it to come back to.
const STATE_SLOTS: usize = 8;
/// Bytes of text that a token of context is counted as, for the limit on what a chat template may give.
const CONTEXT_BYTES_A_TOKEN: usize = 16;
/// Part of the memory that is left after the weights which keys and values may take without being asked to.
const CONTEXT_SHARE: f64 = 0.75;
/// Memory that is left to the rest of the system and of the program.
const RESERVE_BYTES: u64 = 256 << 20;
/// How often a waiting answer looks for Ctrl-C.
const INTERRUPT_POLL: Duration = Duration::from_millis(50);

impl Session {
    /// Loads a model.
    pub fn load(located: &Located, options: &LoadOptions) -> Result<Session, Failure> {
        let start = Instant::now();
        let file = GgufFile::open(&located.path)?;
        let available = machine::available_memory_bytes();
        check_weights_fit(&file, available)?;
        let draft = options.draft.as_ref().map(|draft| draft.load(&file, options)).transpose()?;
        let available = available.map(|bytes| bytes.saturating_sub(draft.as_ref().map_or(0, |draft| draft.size_bytes)));
        check_weights_fit(&file, available)?;
        let tokenizer = std::thread::scope(|scope| -> Result<_, Failure> {
            // Reading 150,000 pieces takes as long as packing a small model: side by side.
            let tokenizer = scope.spawn(|| Tokenizer::from_gguf(file.metadata()));
            let backend = Cpu::new(CpuOptions { threads: options.threads, isa: options.isa })
                .map_err(|error| Failure::new(ExitCode::Engine, error))?;
            let loaded = load_model(&file, backend, draft, options, available);
            let tokenizer = tokenizer
                .join()
                .map_err(|_| Failure::new(ExitCode::Engine, "reading the tokenizer failed"))?
                .map_err(|error| Failure::new(ExitCode::BadModel, &error).with_hint(error.hint()));
            // Of two refusals the model's says more.
            let loaded = loaded?;
            Ok((tokenizer?, loaded))
        });
        let (tokenizer, loaded) = tokenizer?;
        // A file that was cut while its weights were read gives zeros for what is missing.
        file.check_unchanged()?;
        let template_source = file.metadata().optional::<&str>("tokenizer.chat_template")?.map(str::to_owned);
        // A template that cannot be read is no reason not to load: the model still completes text.
        let template = template_source.as_deref().map(|source| {
            ChatTemplate::parse(source).map_err(|error| format!("the model's chat template cannot be used: {error}"))
        });
        if let Some(Err(cause)) = &template {
            eprintln!("warning: {cause}");
        }
        let description = format!("{}, {}", file.architecture()?, bytes_text(file.size_bytes()));
        let default_sampling = sampling::defaults(file.metadata(), located.recommended);
        Ok(Session {
            file,
            tokenizer,
            template,
            template_source,
            engine: EngineHandle::spawn("engine", loaded.engine)?,
            default_sampling,
            context_length: loaded.context_length,
            model_context_length: loaded.model_context_length,
            kv_token_bytes: loaded.kv_token_bytes,
            load: start.elapsed(),
            description,
        })
    }

    /// One line: what was loaded, and the context with its reason.
    pub fn summary(&self) -> String {
        let context = if self.context_length == self.model_context_length {
            format!("context {}", self.context_length)
        } else {
            format!("context {} of the model's {}", self.context_length, self.model_context_length)
        };
        format!("{}, {context}, loaded in {} ms", self.description, self.load.as_millis())
    }

    /// Whether the context is shorter than the model's own.
    pub fn has_reduced_context(&self) -> bool {
        self.context_length < self.model_context_length
    }

    /// Tokens that prompt and answer may have together.
    pub fn context_length(&self) -> usize {
        self.context_length
    }

    /// How long loading took.
    pub fn load_ms(&self) -> u128 {
        self.load.as_millis()
    }

    /// The engine itself, for who has tokens instead of text.
    pub fn engine(&self) -> &EngineHandle {
        &self.engine
    }

    /// Bytes of keys and values that a token keeps in all layers.
    pub fn kv_token_bytes(&self) -> f64 {
        self.kv_token_bytes
    }

    /// What the model's author recommends, over the defaults.
    pub fn default_sampling(&self) -> &Sampling {
        &self.default_sampling
    }

    /// The chat template as it stands in the file.
    pub fn template_source(&self) -> Option<&str> {
        self.template_source.as_deref()
    }

    /// The token that begins a text, where the model wants one.
    pub fn begin_token(&self) -> Option<u32> {
        self.tokenizer.bos().filter(|_| self.tokenizer.adds_bos())
    }

    /// The spelling of a token, control tokens included.
    pub fn text_of_token(&self, token: u32) -> String {
        self.tokenizer.decode(&[token], ShowSpecial::Show).unwrap_or_default()
    }

    /// Tokens of a text that the operator gives as it is: control tokens may be spelled in it.
    pub fn tokens_of_text(&self, text: &str) -> Vec<u32> {
        self.with_begin_token(self.tokenizer.encode(text, Special::Parse, AddSpecial::No))
    }

    /// Tokens of a text that is only to be predicted: the spellings of control tokens in it are text.
    pub fn tokens_of_plain_text(&self, text: &str) -> Vec<u32> {
        self.with_begin_token(self.tokenizer.encode(text, Special::AsText, AddSpecial::No))
    }

    fn with_begin_token(&self, mut tokens: Vec<u32>) -> Vec<u32> {
        if let Some(begin) = self.begin_token()
            && tokens.first() != Some(&begin)
        {
            tokens.insert(0, begin);
        }
        tokens
    }

    /// Tokens of a conversation through the model's chat template, up to where the answer begins. A model without a
    /// template gets the texts as they are.
    pub fn tokens_of_messages(&self, messages: &[Message]) -> Result<Vec<u32>, Failure> {
        let template = match &self.template {
            Some(Ok(template)) => Some(template),
            Some(Err(cause)) => {
                let hint = "use --raw to give the model the prompt as it is".to_owned();
                return Err(Failure::new(ExitCode::BadModel, cause).with_hint(hint));
            }
            None => None,
        };
        let Some(template) = template else {
            let text = messages.iter().map(|message| message.content.as_str()).collect::<Vec<_>>().join("\n\n");
            return Ok(self.tokens_of_plain_text(&text));
        };
        let spelling = |token: Option<u32>| token.map(|token| self.text_of_token(token)).unwrap_or_default();
        let messages: Vec<_> = messages
            .iter()
            .map(|message| serde_json::json!({ "role": message.role, "content": message.content }))
            .collect();
        let (begin, end) = (spelling(self.tokenizer.bos()), spelling(self.tokenizer.eos()));
        let input = RenderInput {
            messages: &messages,
            add_generation_prompt: true,
            tokens: &[("bos_token", &begin), ("eos_token", &end)],
            limits: RenderLimits::for_context(self.context_length.saturating_mul(CONTEXT_BYTES_A_TOKEN)),
            ..RenderInput::default()
        };
        let rendered = template.render(&input).map_err(|error| {
            Failure::new(ExitCode::BadModel, format!("the model's chat template refuses the conversation: {error}"))
                .with_hint(error.hint())
        })?;
        let segments: Vec<Segment<'_>> = rendered.pieces().map(|(text, trusted)| Segment { text, trusted }).collect();
        Ok(self.with_begin_token(self.tokenizer.encode_segments(&segments, AddSpecial::No)))
    }

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

/// What [`load_model`] makes.
struct Loaded {
    engine: Engine<ModelRunner<Cpu>>,
    context_length: usize,
    model_context_length: usize,
    kv_token_bytes: f64,
}

/// Loads the weights and makes an engine with as large a context as was asked for, or as fits.
fn load_model(
    file: &GgufFile,
    backend: Cpu,
    draft: Option<LoadedDraft>,
    options: &LoadOptions,
    available: Option<u64>,
) -> Result<Loaded, Failure> {
    let model_options = lair_model::LoadOptions { context_length: options.context_length };
    let model = Model::load(file, &backend, model_options).map_err(model_failure)?;
    if !model.has_logits() {
        let cause = format!("`{}` is an embedding model: it gives vectors, not text", file.architecture()?);
        return Err(
            Failure::new(ExitCode::BadModel, cause).with_hint("choose a model that was made to chat".to_owned())
        );
    }
    let element = options.kv.element();
    let draft_page_bytes = draft.as_ref().map_or(0, |draft| draft.model.kv_layout(element, 1).page_bytes());
    let page_bytes = (model.kv_layout(element, 1).page_bytes() + draft_page_bytes) as u64;
    let left = available.map(|bytes| bytes.saturating_sub(file.size_bytes() + RESERVE_BYTES));
    let context_length = plan_context(options.context_length, model.context_length(), page_bytes, left)?;
    let memory_length = match options.memory_length {
        Some(length) => plan_context(Some(length.max(context_length)), length, page_bytes, left)?,
        None => context_length,
    };
    let memory = MemoryOptions {
        kv_element: element,
        page_count: memory_length.div_ceil(lair_compute::PAGE_LENGTH),
        state_slot_count: STATE_SLOTS.max(2 * options.sequences_max),
        rows_max: ROWS_MAX,
    };
    let model_context_length = model.context_length();
    let runner = ModelRunner::new(Arc::new(model), backend, context_length, memory)
        .map_err(|error| Failure::new(ExitCode::DoesNotFit, error))?;
    let engine_options = EngineOptions {
        context_length,
        rows_max: ROWS_MAX,
        prefill_rows_while_decoding: ROWS_MAX,
        sequences_max: options.sequences_max,
        prefix_cache: options.prefix_cache,
        speculation: options.speculation,
        ..EngineOptions::default()
    };
    let mut engine = Engine::new(runner, engine_options).map_err(engine_failure)?;
    if let Some(LoadedDraft { model, backend, options, .. }) = draft {
        let context_length = context_length.min(model.context_length());
        let runner = ModelRunner::new(model, backend, context_length, memory)
            .map_err(|error| Failure::new(ExitCode::DoesNotFit, error))?;
        engine = engine.with_draft(Box::new(runner), options).map_err(engine_failure)?;
    }
    let kv_token_bytes = page_bytes as f64 / lair_compute::PAGE_LENGTH as f64;
    Ok(Loaded { engine, context_length, model_context_length, kv_token_bytes })
}

/// Refuses a model whose weights alone are larger than the memory there is.
fn check_weights_fit(file: &GgufFile, available: Option<u64>) -> Result<(), Failure> {
    let needed = file.size_bytes() + RESERVE_BYTES;
    match available {
        Some(available) if available < needed => Err(Failure::new(
            ExitCode::DoesNotFit,
            format!("the model needs {} of memory, {} are available", bytes_text(needed), bytes_text(available)),
        )
        .with_hint("close other programs, or use a smaller model or a smaller quantization of it".to_owned())),
        _ => Ok(()),
    }
}

/// How long sequences can be: what was asked for if it fits, else as much as model and memory allow.
fn plan_context(
    wanted: Option<usize>,
    model_length: usize,
    page_bytes: u64,
    left: Option<u64>,
) -> Result<usize, Failure> {
    let page_length = lair_compute::PAGE_LENGTH;
    let fitting = |bytes: u64| (bytes / page_bytes.max(1)) as usize * page_length;
    if let Some(wanted) = wanted {
        if wanted == 0 {
            return Err(Failure::new(ExitCode::Usage, "--context-length is 0, at least 1 expected"));
        }
        let most = left.map_or(usize::MAX, fitting);
        if wanted > most {
            return Err(Failure::new(
                ExitCode::DoesNotFit,
                format!("a context of {wanted} tokens is asked for, memory is left for {most}"),
            )
            .with_hint(format!("use --context-length {most} or less")));
        }
        return Ok(wanted);
    }
    let most = left.map_or(model_length, |bytes| fitting((bytes as f64 * CONTEXT_SHARE) as u64));
    if most == 0 {
        return Err(Failure::new(ExitCode::DoesNotFit, "after the weights no memory is left for keys and values")
            .with_hint("close other programs, or use a smaller model".to_owned()));
    }
    Ok(model_length.min(most))
}

fn engine_failure(error: EngineError) -> Failure {
    Failure::new(ExitCode::Engine, error)
}

pub(crate) fn model_failure(error: ModelError) -> Failure {
    Failure::new(ExitCode::BadModel, &error).with_hint(error.hint())
}

pub(crate) fn refusal(error: Refusal) -> Failure {
    let code = match &error {
        Refusal::ContextTooShort { .. } | Refusal::MemoryTooSmall { .. } => ExitCode::DoesNotFit,
        Refusal::EngineStopped => ExitCode::Engine,
        _ => ExitCode::Usage,
    };
    Failure::new(code, &error).with_hint(error.hint())
}

pub(crate) fn broken(error: &SequenceError) -> Failure {
    Failure::new(ExitCode::Engine, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_as_large_as_model_and_memory_allow() {
        let plan = |wanted, left| plan_context(wanted, 8192, 1000, left).map_err(|failure| failure.code);
        assert_eq!(plan(None, None), Ok(8192));
        assert_eq!(plan(None, Some(1 << 40)), Ok(8192));
        assert_eq!(plan(None, Some(100_000)), Ok(75 * 16));
        assert_eq!(plan(None, Some(100)), Err(ExitCode::DoesNotFit));
        assert_eq!(plan(Some(100), Some(1_000_000)), Ok(100));
        assert_eq!(plan(Some(100_000), Some(1_000_000)), Err(ExitCode::DoesNotFit));
        assert_eq!(plan(Some(0), None), Err(ExitCode::Usage));
    }
}
