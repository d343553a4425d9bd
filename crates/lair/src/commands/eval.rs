//! `lair eval`: what a model knows, by tasks with answers.

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use lair_engine::Sampling;
use lair_eval::{Accuracy, Candidate, EvalError, Generation, Item, Measure, Shots, Tally, Task, Verdict};
use serde_json::json;

use crate::commands::run::LoadArgs;
use crate::failure::{ExitCode, Failure, Outcome};
use crate::interrupt;
use crate::locate;
use crate::session::{Prompt, Session, Wishes};

/// Which tasks, which model.
#[derive(Args, Debug)]
pub struct EvalArgs {
    /// hellaswag, mmlu, arc, winogrande or gsm8k
    task: Task,
    /// A file of such tasks; `-` reads standard input
    file: PathBuf,
    /// A GGUF file or the short name of a model [default: smollm2]
    #[arg(long, short)]
    model: Option<String>,
    /// Ask only the first so many
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    /// Show so many solved tasks before each one
    #[arg(long, value_name = "COUNT", requires = "shots_file")]
    shots: Option<usize>,
    /// A file of the same format with the solved tasks
    #[arg(long, value_name = "FILE", requires = "shots")]
    shots_file: Option<PathBuf>,
    #[command(flatten)]
    load: LoadArgs,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// Between two lines of progress.
const PROGRESS: std::time::Duration = std::time::Duration::from_secs(1);

/// Runs the command.
pub fn eval(args: &EvalArgs) -> Outcome {
    let shots = Shots {
        text: args.shots_file.as_deref().map(read_text).transpose()?.unwrap_or_default(),
        count: args.shots.unwrap_or(0),
    };
    let refused = |error: &EvalError| refusal(&args.file, error);
    let mut items = args.task.read(&read_text(&args.file)?, &shots).map_err(|error| refused(&error))?;
    items.truncate(args.limit.unwrap_or(items.len()));
    if items.is_empty() {
        return Err(Failure::new(ExitCode::Usage, "--limit is 0, at least 1 expected"));
    }
    let located = locate::locate(args.model.as_deref(), args.json)?;
    let session = Session::load(&located, &args.load.options()?)?;
    interrupt::catch();
    let start = Instant::now();
    let tally = ask_all(&session, &items, args)?;
    let seconds = start.elapsed().as_secs_f64();
    report(args, &located.name, &tally, seconds)
}

fn ask_all(session: &Session, items: &[Item], args: &EvalArgs) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    let shows = !args.json && std::io::stderr().is_terminal();
    let mut shown = Instant::now();
    for (index, item) in items.iter().enumerate() {
        tally.add(match item {
            Item::Choices(choices) => {
                let scores = choices.options.iter().map(|option| score(session, option));
                choices.verdict(&scores.collect::<Result<Vec<_>, Failure>>()?)
            }
            Item::Generation(item) => {
                let is_right = item.is_right(&generated(session, item)?);
                Verdict { plain: is_right, by_byte: is_right, by_token: is_right }
            }
        });
        let asked = index + 1;
        if interrupt::was_pressed() {
            let cause = format!("stopped by Ctrl-C after {asked} of {} tasks", items.len());
            let so_far = format!("so far: {}", sentence(chosen(args.task.measure, &tally)));
            return Err(Failure::new(ExitCode::Interrupted, cause).with_hint(so_far));
        }
        if shows && (shown.elapsed() > PROGRESS || asked == items.len()) {
            shown = Instant::now();
            let mut err = std::io::stderr().lock();
            write!(err, "\r\x1b[2K{asked} of {}: {}", items.len(), sentence(chosen(args.task.measure, &tally)))?;
            err.flush()?;
        }
    }
    if shows {
        writeln!(std::io::stderr())?;
    }
    Ok(tally)
}

/// Log-probability of an answer after its context, and its tokens.
///
/// Both are tokenised together, as the model would have read them. The answer's tokens are those behind what the context
/// alone has in common with the whole, so that a token across the border counts for the answer.
fn score(session: &Session, candidate: &Candidate) -> Result<(f64, usize), Failure> {
    let whole = session.tokens_of_plain_text(&format!("{}{}", candidate.context, candidate.continuation));
    let context = session.tokens_of_plain_text(&candidate.context);
    let common = whole.iter().zip(&context).take_while(|(left, right)| left == right).count();
    // The first token has nothing before it.
    let first = common.min(whole.len().saturating_sub(1)).max(1);
    if whole.len() < 2 {
        return Ok((f64::NEG_INFINITY, 1));
    }
    // `logprobs[i]` is that of token `i + 1`.
    let logprobs = session.prompt_logprobs(&whole)?;
    let answer = &logprobs[first - 1..];
    Ok((answer.iter().map(|&logprob| f64::from(logprob)).sum(), answer.len()))
}

fn generated(session: &Session, item: &Generation) -> Result<String, Failure> {
    let prompt = Prompt { tokens: session.tokens_of_plain_text(&item.prompt), reasoning: None };
    let wishes = Wishes {
        max_tokens: Some(item.tokens_max),
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        stop: item.stop.clone(),
        logprobs: None,
        format: None,
    };
    let mut text = String::new();
    session.answer(&prompt, &wishes, &mut |_, piece| {
        text.push_str(piece);
        Ok(())
    })?;
    Ok(text)
}

/// The share that a task's known figures give.
fn chosen(measure: Measure, tally: &Tally) -> Accuracy {
    match measure {
        Measure::Plain | Measure::Generated => tally.plain(),
        Measure::ByByte => tally.by_byte(),
        Measure::ByToken => tally.by_token(),
    }
}

fn sentence(accuracy: Accuracy) -> String {
    let (low, high) = accuracy.interval();
    let percent = 100.0 * accuracy.share();
    format!(
        "{percent:.2} % right ({} of {}; 95 % within {:.2} to {:.2})",
        accuracy.right,
        accuracy.count,
        100.0 * low,
        100.0 * high
    )
}

fn report(args: &EvalArgs, model: &str, tally: &Tally, seconds: f64) -> Outcome {
    let measure = args.task.measure;
    let accuracy = chosen(measure, tally);
    let ways = [
        ("log-probability", tally.plain()),
        ("log-probability a byte", tally.by_byte()),
        ("log-probability a token", tally.by_token()),
    ];
    let mut out = std::io::stdout().lock();
    if args.json {
        let (low, high) = accuracy.interval();
        let mut result = json!({
            "model": model, "task": args.task.name, "measure": measure.name(), "accuracy": accuracy.share(),
            "accuracy_low": low, "accuracy_high": high, "right": accuracy.right, "tasks": accuracy.count,
            "shots": args.shots.unwrap_or(0), "seconds": seconds,
        });
        if measure != Measure::Generated {
            result["by_measure"] = ways.iter().map(|(name, way)| ((*name).to_owned(), json!(way.share()))).collect();
        }
        writeln!(out, "{result}")?;
        return Ok(());
    }
    writeln!(out, "{}, {model}, by {}: {}", args.task, measure.name(), sentence(accuracy))?;
    if measure != Measure::Generated {
        for (name, way) in ways.iter().filter(|(name, _)| *name != measure.name()) {
            writeln!(out, "    by {name}: {:.2} %", 100.0 * way.share())?;
        }
    }
    writeln!(out, "{:.1} tasks a second", accuracy.count as f64 / seconds.max(1e-9))?;
    Ok(())
}

fn read_text(path: &Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| {
        let code = if error.kind() == std::io::ErrorKind::NotFound { ExitCode::Usage } else { ExitCode::Other };
        Failure::new(code, format!("{}: {error}", path.display()))
    };
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map_err(failed)?;
        bytes
    } else {
        std::fs::read(path).map_err(failed)?
    };
    Task::text(bytes).map_err(|error| refusal(path, &error))
}

fn refusal(path: &Path, error: &EvalError) -> Failure {
    let name = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    let failure = Failure::new(ExitCode::Usage, format!("{name}: {error}"));
    match error.hint() {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}
