//! `lair eval`: what a model knows, by tasks with answers.

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use lair_engine::Sampling;
use lair_eval::{Accuracy, EvalError, Generation, Item, Measure, Shots, Tally, Task, Verdict};
use serde_json::json;

use crate::choices::{ChoiceScorer, TokenizedChoices};
use crate::commands::run::LoadArgs;
use crate::failure::{ExitCode, Failure, Outcome};
use crate::interrupt;
use crate::locate::{self, Located};
use crate::predictor::{Precision, tokenizer_of};
use crate::session::{Prompt, Session, Wishes, activations_of};

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
    interrupt::catch();
    let (tally, seconds) = if args.task.measure == Measure::Generated {
        generate_all(&located, &items, args)?
    } else {
        score_all(&located, &items, args)?
    };
    report(args, &located.name, &tally, seconds)
}

/// Answers of tasks that are generated, and the seconds they took.
fn generate_all(located: &Located, items: &[Item], args: &EvalArgs) -> Result<(Tally, f64), Failure> {
    let session = Session::load(located, &args.load.options()?)?;
    let start = Instant::now();
    let mut progress = Progress::new(args, items.len());
    for item in items {
        let Item::Generation(item) = item else { unreachable!("a task has items of one kind") };
        let is_right = item.is_right(&generated(&session, item)?);
        progress.add(Verdict { plain: is_right, by_byte: is_right, by_token: is_right })?;
    }
    Ok((progress.end(), start.elapsed().as_secs_f64()))
}

/// Answers of tasks that are chosen among given ones, and the seconds they took.
fn score_all(located: &Located, items: &[Item], args: &EvalArgs) -> Result<(Tally, f64), Failure> {
    let file = crate::weights::open(&located.path)?;
    let tokenizer = tokenizer_of(&file)?;
    let choices = || {
        items.iter().map(|item| match item {
            Item::Choices(choices) => choices,
            Item::Generation(_) => unreachable!("a task has items of one kind"),
        })
    };
    let tasks: Vec<TokenizedChoices> = choices().map(|choices| TokenizedChoices::new(&tokenizer, choices)).collect();
    let load = args.load.options()?;
    let precision = Precision { activations: activations_of(&file), kv: load.kv.element() };
    let mut scorer = ChoiceScorer::load(&file, precision, (load.threads, load.context_length), &tasks)?;
    let start = Instant::now();
    let mut progress = Progress::new(args, items.len());
    for (choices, task) in choices().zip(&tasks) {
        progress.add(choices.verdict(&scorer.score(task)?))?;
    }
    Ok((progress.end(), start.elapsed().as_secs_f64()))
}

/// Counts, and shows the estimate so far.
struct Progress<'a> {
    args: &'a EvalArgs,
    count: usize,
    asked: usize,
    tally: Tally,
    shows: bool,
    shown: Instant,
}

impl Progress<'_> {
    fn new(args: &EvalArgs, count: usize) -> Progress<'_> {
        let shows = !args.json && std::io::stderr().is_terminal();
        Progress { args, count, asked: 0, tally: Tally::default(), shows, shown: Instant::now() }
    }

    fn add(&mut self, verdict: Verdict) -> Outcome {
        self.tally.add(verdict);
        self.asked += 1;
        let so_far = || sentence(chosen(self.args.task.measure, &self.tally));
        if interrupt::was_pressed() {
            let cause = format!("stopped by Ctrl-C after {} of {} tasks", self.asked, self.count);
            return Err(Failure::new(ExitCode::Interrupted, cause).with_hint(format!("so far: {}", so_far())));
        }
        if self.shows && (self.shown.elapsed() > PROGRESS || self.asked == self.count) {
            let mut err = std::io::stderr().lock();
            write!(err, "\r\x1b[2K{} of {}: {}", self.asked, self.count, so_far())?;
            err.flush()?;
            self.shown = Instant::now();
        }
        Ok(())
    }

    fn end(self) -> Tally {
        if self.shows {
            eprintln!();
        }
        self.tally
    }
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
