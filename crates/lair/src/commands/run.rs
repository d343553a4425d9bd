//! `lair run`: answers a prompt, or chats.

use std::io::{IsTerminal, Read, Write};

use clap::{Args, ValueEnum};
use lair_compute::KvElement;
use lair_convert::quantize::FileType;
use lair_store::modelfile::Parameters;
use lair_text::grammar::GrammarSource;
use serde_json::json;

use crate::adapter_choice::AdapterArgs;
use crate::answer_format::answer_format;
use crate::answer_printer::{AnswerLook, AnswerPrinter};
use crate::chat;
use crate::failure::{ExitCode, Failure, Outcome};
use crate::interrupt;
use crate::locate::{self, Located};
use crate::pictures::refuse_pictures;
use crate::predictor::ActivationChoice;
use crate::sampling::SamplingArgs;
use crate::session::{Answer, LoadOptions, Message, Session, Think, Wishes, chat_template_asked_for};
use crate::speculate::SpeculateArgs;
use crate::timings::{acceptance_rate, timings};
use crate::weight_cache::WeightCacheArgs;
use crate::{machine, parameters};

/// What to run, on what, and how.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The model, then what to answer: `[MODEL] [PROMPT]...`. One word alone is a model if it can be one [default:
    /// smollm2]. Without a prompt, and with nothing on standard input, a chat begins. Text on standard input is put after
    /// the prompt
    #[arg(value_name = "MODEL] [PROMPT")]
    words: Vec<String>,
    /// What the model is told before the conversation
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Stop after so many tokens [default: when the model ends, or the context is full]
    #[arg(long, value_name = "COUNT")]
    max_tokens: Option<usize>,
    /// Stop before this text; may be given several times [default: the model's]
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Give the prompt to the model as it is, without the chat template
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    weight_cache: WeightCacheArgs,
    /// What activations are multiplied as, where weights are quantised [default: words in narrow models and
    /// where errors cost most, else bytes]
    #[arg(long, value_enum, value_name = "TYPE", help_heading = "Loading")]
    activations: Option<ActivationChoice>,
    #[command(flatten)]
    speculate: SpeculateArgs,
    #[command(flatten)]
    adapters: AdapterArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    look: LookArgs,
    /// One JSON object with the answer, its tokens and timings, instead of streamed text
    #[arg(long)]
    pub json: bool,
    /// With --json: log-probabilities of each token and of this many others beside it
    #[arg(long, value_name = "COUNT", requires = "json")]
    logprobs: Option<usize>,
    /// Of an embedding model: print only the first so many numbers of the vector, at length 1 again
    #[arg(long, value_name = "COUNT")]
    dimensions: Option<usize>,
    /// Of an embedding model: cut a text that is too long, or refuse it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = true)]
    truncate: bool,
    /// How long the model stays loaded after the answer: 0, for it is unloaded when the command ends
    #[arg(long, visible_alias = "keep-alive", value_name = "DURATION", allow_hyphen_values = true)]
    keepalive: Option<String>,
}

/// How answers are made and shown.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Answers")]
pub struct LookArgs {
    /// Durations, counts and rates, as Ollama prints them, and peak memory after each answer
    #[arg(long, short)]
    verbose: bool,
    /// Do not break lines between words
    #[arg(long)]
    nowordwrap: bool,
    /// Form of the answer: `json`, a JSON schema, or a file with one
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Think before answering, or not: true, false, low, medium, high [default: as the model does]
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    think: Option<Think>,
    /// Leave reasoning out of what is shown
    #[arg(long)]
    hidethinking: bool,
}

/// How a model is loaded.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Loading")]
pub struct LoadArgs {
    /// Tokens that prompt and answer may have together [default: as many as model and memory allow]
    #[arg(long, value_name = "COUNT")]
    context_length: Option<usize>,
    /// Threads to compute with [default: as many as this process may use]
    #[arg(long, value_name = "COUNT")]
    threads: Option<usize>,
    /// Quantize the weights while they are loaded, as `lair quantize` would: Q4_K_M, Q8_0 ... Nothing is written
    #[arg(long, value_name = "TYPE", value_parser = file_type)]
    quantize: Option<FileType>,
    /// Write conversations in this format (chatml, llama3, gemma ...), or with the Jinja template in this file [default: the
    /// model's own]
    #[arg(long, alias = "chat-template-file", value_name = "NAME|FILE")]
    chat_template: Option<String>,
    /// How keys and values are kept
    #[arg(long, alias = "kv", value_enum, value_name = "TYPE", default_value_t = KvChoice::Q8_0)]
    kv_type: KvChoice,
    /// llama.cpp's name for --kv-type, for keys: to be given with --cache-type-v, the same
    #[arg(long, value_enum, value_name = "TYPE", hide = true, conflicts_with = "kv_type", requires = "cache_type_v")]
    cache_type_k: Option<KvChoice>,
    /// The same for values
    #[arg(long, value_enum, value_name = "TYPE", hide = true, conflicts_with = "kv_type", requires = "cache_type_k")]
    cache_type_v: Option<KvChoice>,
}

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KvChoice {
    /// Four bytes an element
    F32,
    /// Two bytes an element
    F16,
    /// About one byte an element
    #[value(name = "q8_0")]
    Q8_0,
    /// About half a byte an element: answers get worse, and with some models (Qwen2.5) useless
    #[value(name = "q4_0")]
    Q4_0,
}

impl KvChoice {
    /// By its name, in whatever case.
    pub fn of_name(name: &str) -> Option<KvChoice> {
        KvChoice::from_str(name, true).ok()
    }

    /// What users call it.
    pub fn name(self) -> &'static str {
        match self {
            KvChoice::F32 => "f32",
            KvChoice::F16 => "f16",
            KvChoice::Q8_0 => "q8_0",
            KvChoice::Q4_0 => "q4_0",
        }
    }

    /// The same as the cache names it.
    pub fn element(self) -> KvElement {
        match self {
            KvChoice::F32 => KvElement::F32,
            KvChoice::F16 => KvElement::F16,
            KvChoice::Q8_0 => KvElement::Q8_0,
            KvChoice::Q4_0 => KvElement::Q4_0,
        }
    }
}

impl LoadArgs {
    /// The same as the options of a session.
    ///
    /// # Errors
    /// If keys and values are asked for in different types.
    pub fn options(&self) -> Result<LoadOptions, Failure> {
        let kv = match (self.cache_type_k, self.cache_type_v) {
            (Some(keys), Some(values)) if keys != values => {
                let cause = "--cache-type-k and --cache-type-v differ, but keys and values are kept in one type";
                return Err(Failure::new(ExitCode::Usage, cause).with_hint("use --kv-type TYPE".to_owned()));
            }
            (Some(both), Some(_)) => both,
            _ => self.kv_type,
        };
        let (context_length, threads, quantize) = (self.context_length, self.threads, self.quantize);
        let chat_template = self.chat_template.as_deref().map(chat_template_asked_for).transpose()?;
        Ok(LoadOptions { context_length, threads, kv, quantize, chat_template, ..LoadOptions::default() })
    }
}

fn file_type(text: &str) -> Result<FileType, String> {
    FileType::from_name(text).ok_or_else(|| "no kind of file; `lair quantize --types` lists all".to_owned())
}

/// Runs the command.
pub fn run(args: &RunArgs) -> Outcome {
    check_wishes(args)?;
    let (model, prompt) = split_words(&args.words)?;
    let prompt = with_standard_input(prompt)?;
    if args.json && prompt.is_none() {
        let cause = "--json needs a prompt, on the command line or on standard input";
        return Err(Failure::new(ExitCode::Usage, cause));
    }
    prompt.as_deref().map_or(Ok(()), refuse_pictures)?;
    let located = locate::locate(model.as_deref(), args.json).map_err(|failure| match args.words.as_slice() {
        // A single word could have been meant either way.
        [word] if failure.code == ExitCode::NotFound && !word.contains(['/', '\\']) => {
            let hint = failure.hint.clone().map(|hint| format!("{hint}; ")).unwrap_or_default();
            failure.with_hint(format!(
                "{hint}to use `{word}` as the prompt, name the model first: `lair run smollm2 {word}`"
            ))
        }
        _ => failure,
    })?;
    let activations = args.activations.map(ActivationChoice::activation_types);
    let load = LoadOptions { activations, weight_cache: args.weight_cache.open()?, ..args.load.options()? };
    let load = args.adapters.over(args.speculate.over(load, args.json)?);
    let session = Session::load(&located, &located.load_options(&Parameters::default(), &load)?)?;
    // A context that is shorter than the model's is said without being asked: it is what an answer may run into.
    let has_short_context = session.has_reduced_context() && args.load.context_length.is_none();
    if args.look.verbose || (has_short_context && prompt.is_some() && !args.json) {
        eprintln!("{}", session.summary());
    }
    interrupt::catch();
    if session.is_embedder() {
        return print_vector(args, &located, &session, prompt.as_deref());
    }
    if args.dimensions.is_some() {
        let cause = format!("--dimensions is for embedding models, `{}` gives text", located.name);
        return Err(Failure::new(ExitCode::Usage, cause));
    }
    match prompt {
        Some(prompt) => answer_once(args, &located, &session, &prompt),
        None => chat::chat(located, session, chat_settings(args, load)?),
    }
}

fn chat_settings(args: &RunArgs, load: LoadOptions) -> Result<chat::Settings, Failure> {
    Ok(chat::Settings {
        format: args.look.format()?,
        system: args.system.clone(),
        sampling: args.sampling.clone(),
        max_tokens: args.max_tokens,
        stop: args.stop.clone(),
        parameters: Parameters::default(),
        load,
        think: args.look.think.unwrap_or_default(),
        hides_reasoning: args.look.hidethinking,
        wraps_words: !args.look.nowordwrap,
        is_verbose: args.look.verbose,
    })
}

/// Refuses what the command takes and cannot do, before anything is loaded.
fn check_wishes(args: &RunArgs) -> Outcome {
    args.look.format()?;
    let is_zero = |text: &str| text.trim_end_matches(['s', 'm', 'h']).chars().all(|c| matches!(c, '0' | '.'));
    match args.keepalive.as_deref() {
        Some(duration) if duration.is_empty() || !is_zero(duration) => {
            let cause = format!(
                "--keepalive {duration} needs a server: this command loads the model itself and gives it up at its end"
            );
            let hint = "leave it out: `lair run` unloads the model when it ends".to_owned();
            Err(Failure::new(ExitCode::Usage, cause).with_hint(hint))
        }
        _ => Ok(()),
    }
}

impl LookArgs {
    /// What answers must be.
    fn format(&self) -> Result<Option<GrammarSource>, Failure> {
        self.format.as_deref().map(answer_format).transpose()
    }
}

/// The model and the prompt. One word alone is a model if it can be one, else it is the prompt.
fn split_words(words: &[String]) -> Result<(Option<String>, Option<String>), Failure> {
    Ok(match words {
        [] => (None, None),
        [word] if locate::means_a_model(word)? => (Some(word.clone()), None),
        [word] => (None, Some(word.clone())),
        [model, prompt @ ..] => (Some(model.clone()), Some(prompt.join(" "))),
    })
}

/// The prompt with what stands on standard input, if that is not a terminal.
fn with_standard_input(prompt: Option<String>) -> Result<Option<String>, Failure> {
    let mut stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Ok(prompt);
    }
    let mut bytes = Vec::new();
    stdin.read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        Failure::new(
            ExitCode::Usage,
            format!("standard input is not UTF-8: the byte at offset {offset} begins no character"),
        )
        .with_hint("convert it first, for example with `iconv -t UTF-8`".to_owned())
    })?;
    let text = text.trim_end_matches(['\n', '\r']);
    Ok(match (prompt, text.is_empty()) {
        (prompt, true) => prompt,
        (None, false) => Some(text.to_owned()),
        (Some(prompt), false) => Some(format!("{prompt}\n\n{text}")),
    })
}

/// The vector of a text, as Ollama prints it: one list in JSON.
fn print_vector(args: &RunArgs, located: &Located, session: &Session, text: Option<&str>) -> Outcome {
    let name = &located.name;
    let unused = [
        ("--system", args.system.is_some()),
        ("--max-tokens", args.max_tokens.is_some()),
        ("--stop", !args.stop.is_empty()),
        ("--logprobs", args.logprobs.is_some()),
    ];
    if let Some((option, _)) = unused.into_iter().find(|(_, is_given)| *is_given) {
        let cause = format!("{option} is for models that give text, `{name}` gives vectors");
        return Err(Failure::new(ExitCode::Usage, cause));
    }
    let Some(text) = text else {
        let cause = format!("`{name}` is an embedding model: it gives the vector of a text, and does not chat");
        let hint = format!("give it a text: `lair run {name} \"Why is the sky blue?\"`");
        return Err(Failure::new(ExitCode::Usage, cause).with_hint(hint));
    };
    let embedding = session.embed(text, args.dimensions, args.truncate)?;
    let vector = serde_json::to_string(&embedding.vector).map_err(|error| Failure::new(ExitCode::Engine, error))?;
    let mut out = std::io::stdout().lock();
    match args.json {
        false => writeln!(out, "{vector}")?,
        true => {
            let tokens = embedding.token_count;
            writeln!(out, r#"{{"model":{},"embedding":{vector},"usage":{{"prompt_tokens":{tokens}}}}}"#, json!(name))?;
        }
    }
    Ok(())
}

/// One prompt, one answer.
fn answer_once(args: &RunArgs, located: &Located, session: &Session, text: &str) -> Outcome {
    let prompt = if args.raw {
        session.prompt_of_text(text)
    } else {
        let system = args.system.as_ref().or(located.settings.system.as_ref()).filter(|text| !text.is_empty());
        let mut messages: Vec<Message> = system.map(|text| Message::new("system", text)).into_iter().collect();
        messages.extend(located.messages());
        messages.push(Message::new("user", text));
        session.prompt_of_messages(&messages, args.look.think.unwrap_or_default())?
    };
    let stored = &located.settings.parameters;
    let wishes = Wishes {
        sampling: args.sampling.over(session.default_sampling())?,
        max_tokens: args.max_tokens.or_else(|| parameters::max_tokens(stored)),
        stop: if args.stop.is_empty() { stored.stop().to_vec() } else { args.stop.clone() },
        logprobs: args.logprobs,
        format: args.look.format()?,
    };
    let mut out = std::io::stdout().lock();
    let look = AnswerLook::of_terminal(!args.look.nowordwrap, args.look.hidethinking);
    let mut printer = AnswerPrinter::new(&mut out, look);
    let answer = session.answer(&prompt, &wishes, &mut |channel, text| match args.json {
        true => Ok(()),
        false => printer.write(channel, text),
    });
    printer.finish()?;
    let answer = answer?;
    if args.json {
        writeln!(out, "{}", describe(located, session, &prompt.tokens, &answer))?;
    } else {
        writeln!(out)?;
    }
    if args.look.verbose {
        eprintln!("\n{}", timings(&answer, session.load_duration()));
    }
    if answer.was_interrupted {
        return Err(Failure::new(ExitCode::Interrupted, "stopped by Ctrl-C"));
    }
    Ok(())
}

/// The answer as JSON.
fn describe(located: &Located, session: &Session, prompt_tokens: &[u32], answer: &Answer) -> serde_json::Value {
    let mut value = json!({
        "model": located.name,
        "text": answer.text,
        "finish_reason": answer.finish_reason,
        "prompt_token_ids": prompt_tokens,
        "token_ids": answer.tokens,
        "usage": {
            "prompt_tokens": answer.usage.prompt_tokens,
            "cached_tokens": answer.usage.cached_tokens,
            "completion_tokens": answer.usage.completion_tokens,
            "guessed_tokens": answer.usage.guessed_tokens,
            "accepted_tokens": answer.usage.accepted_tokens,
            "acceptance_rate": acceptance_rate(answer),
        },
        "context_length": session.context_length(),
        "time_to_first_token_ms": answer.time_to_first_token_ms,
        "prefill_tokens_per_second": answer.prefill_tokens_per_second,
        "decode_tokens_per_second": answer.decode_tokens_per_second,
        "peak_memory_bytes": machine::peak_memory_bytes(),
        "load_ms": session.load_duration().as_millis(),
    });
    if !answer.reasoning.is_empty() {
        value["reasoning"] = answer.reasoning.clone().into();
    }
    if !answer.logprobs.is_empty() {
        let entries = answer.logprobs.iter().map(|step| {
            let likely = step.top.iter().map(|(token, logprob)| {
                json!({ "token_id": token, "text": session.text_of_token(*token), "logprob": logprob })
            });
            json!({
                "token_id": step.token, "text": session.text_of_token(step.token), "logprob": step.logprob,
                "top": likely.collect::<Vec<_>>(),
            })
        });
        value["logprobs"] = entries.collect();
    }
    value
}
