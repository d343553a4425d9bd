//! `lair run`: answers a prompt, or chats.

use std::io::{IsTerminal, Read, Write};

use clap::{Args, ValueEnum};
use lair_engine::Usage;
use serde_json::json;

use crate::chat;
use crate::failure::{ExitCode, Failure, Outcome};
use crate::interrupt;
use crate::locate::{self, Located};
use crate::machine;
use crate::sampling::SamplingArgs;
use crate::session::{Answer, LoadOptions, Message, Session, Wishes};
use crate::speculate::SpeculateArgs;

/// What to run, on what, and how.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// A GGUF file or the short name of a model [default: smollm2]
    model: Option<String>,
    /// What to answer; without it, and with nothing on standard input, a chat begins. Text on standard input is put
    /// after it
    prompt: Option<String>,
    /// What the model is told before the conversation
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Stop after so many tokens [default: when the model ends, or the context is full]
    #[arg(long, value_name = "COUNT")]
    max_tokens: Option<usize>,
    /// Give the prompt to the model as it is, without the chat template
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    speculate: SpeculateArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Print prompt tokens, time to first token, decode rate and peak memory after each answer
    #[arg(long, short)]
    verbose: bool,
    /// One JSON object with the answer, its tokens and timings, instead of streamed text
    #[arg(long)]
    pub json: bool,
    /// With --json: log-probabilities of each token and of this many others beside it
    #[arg(long, value_name = "COUNT", requires = "json")]
    logprobs: Option<usize>,
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
    /// How keys and values are kept
    #[arg(long, value_enum, default_value_t = KvChoice::F16)]
    kv: KvChoice,
}

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KvChoice {
    /// Two bytes an element
    F16,
    /// Four bytes an element
    F32,
}

impl LoadArgs {
    /// The same as the options of a session.
    pub fn options(&self) -> LoadOptions {
        LoadOptions {
            context_length: self.context_length,
            threads: self.threads,
            kv: self.kv,
            ..LoadOptions::default()
        }
    }
}

/// Runs the command.
pub fn run(args: &RunArgs) -> Outcome {
    let (model, prompt) = split_arguments(args)?;
    let prompt = with_standard_input(prompt)?;
    if args.json && prompt.is_none() {
        let cause = "--json needs a prompt, on the command line or on standard input";
        return Err(Failure::new(ExitCode::Usage, cause));
    }
    let located = locate::locate(model.as_deref(), args.json).map_err(|failure| match (&args.model, &args.prompt) {
        // A single word could have been meant either way.
        (Some(word), None) if failure.code == ExitCode::NotFound && !word.contains(['/', '\\']) => {
            let hint = failure.hint.clone().map(|hint| format!("{hint}; ")).unwrap_or_default();
            failure.with_hint(format!(
                "{hint}to use `{word}` as the prompt, name the model first: `lair run smollm2 {word}`"
            ))
        }
        _ => failure,
    })?;
    let load = args.speculate.over(args.load.options(), args.json)?;
    let session = Session::load(&located, &load)?;
    // A context that is shorter than the model's is said without being asked: it is what an answer may run into.
    if args.verbose || (session.has_reduced_context() && args.load.context_length.is_none() && !args.json) {
        eprintln!("{}", session.summary());
    }
    interrupt::catch();
    match prompt {
        Some(prompt) => answer_once(args, &located, &session, prompt),
        None => {
            let settings = chat::Settings {
                system: args.system.clone(),
                sampling: args.sampling.clone(),
                max_tokens: args.max_tokens,
                load,
                is_verbose: args.verbose,
            };
            chat::chat(located, session, settings)
        }
    }
}

/// One word alone is a model if it can be one, else it is the prompt.
fn split_arguments(args: &RunArgs) -> Result<(Option<String>, Option<String>), Failure> {
    match (&args.model, &args.prompt) {
        (Some(word), None) if !locate::means_a_model(word)? => Ok((None, Some(word.clone()))),
        (model, prompt) => Ok((model.clone(), prompt.clone())),
    }
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

/// One prompt, one answer.
fn answer_once(args: &RunArgs, located: &Located, session: &Session, prompt: String) -> Outcome {
    let tokens = if args.raw {
        session.tokens_of_text(&prompt)
    } else {
        let system = args.system.iter().map(|text| Message::new("system", text));
        let messages: Vec<Message> = system.chain([Message::new("user", &prompt)]).collect();
        session.tokens_of_messages(&messages)?
    };
    let wishes = Wishes {
        sampling: args.sampling.over(session.default_sampling())?,
        max_tokens: args.max_tokens,
        logprobs: args.logprobs,
    };
    let mut out = std::io::stdout().lock();
    let answer = session.answer(&tokens, &wishes, &mut |text| {
        if !args.json {
            out.write_all(text.as_bytes())?;
            out.flush()?;
        }
        Ok(())
    })?;
    if args.json {
        writeln!(out, "{}", describe(located, session, &tokens, &answer))?;
    } else {
        writeln!(out)?;
    }
    if args.verbose {
        eprintln!("\n{}", report(&answer));
    }
    if answer.was_interrupted {
        return Err(Failure::new(ExitCode::Interrupted, "stopped by Ctrl-C"));
    }
    Ok(())
}

/// The figures of an answer, for people.
pub fn report(answer: &Answer) -> String {
    let peak = machine::peak_memory_bytes().map_or_else(|| "not known".to_owned(), super::show::bytes_text);
    let cached = match answer.usage.cached_tokens {
        0 => String::new(),
        count => format!(" ({count} from the prefix cache)"),
    };
    let guesses = acceptance_rate(answer).map_or_else(String::new, |rate| {
        let Usage { guessed_tokens, accepted_tokens, .. } = answer.usage;
        format!("guessed tokens:       {guessed_tokens}, {accepted_tokens} accepted ({:.0} %)\n", rate * 100.0)
    });
    format!(
        "prompt tokens:        {}{cached}\n\
         time to first token:  {:.0} ms\n\
         prefill rate:         {:.1} tokens/s\n\
         completion tokens:    {} ({})\n\
         decode rate:          {:.1} tokens/s\n\
         {guesses}\
         peak memory:          {peak}",
        answer.usage.prompt_tokens,
        answer.time_to_first_token_ms,
        answer.prefill_tokens_per_second,
        answer.usage.completion_tokens,
        answer.finish_reason,
        answer.decode_tokens_per_second,
    )
}

/// The part of the guessed tokens that were right, if any were guessed.
fn acceptance_rate(answer: &Answer) -> Option<f64> {
    let guessed = answer.usage.guessed_tokens;
    (guessed > 0).then(|| answer.usage.accepted_tokens as f64 / guessed as f64)
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
        "load_ms": session.load_ms(),
    });
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
