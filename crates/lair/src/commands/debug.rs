//! `lair debug`: looks into a computation.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use lair_compute::cpu::{ActivationTypes, Cpu, CpuOptions};
use lair_compute::reference::Reference;
use lair_text::prompt::{begin_token, tokens_of_text};
use lair_text::tokenizer::{Special, Tokenizer};
use serde_json::json;

use crate::activation_dump::{Difference, Dump, TOKENS_MAX};
use crate::failure::{ExitCode, Failure, Outcome};
use crate::locate;
use crate::predictor::ActivationChoice;

/// What to look at.
#[derive(Args, Debug)]
pub struct DebugArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Compare what stands behind each layer on two sides, and name the first that differs
    Diff(DiffArgs),
}

/// Two sides of a comparison.
#[derive(Args, Debug)]
struct DiffArgs {
    /// A GGUF file or the name of a model
    model: String,
    /// The other side: another model, or activations in a .safetensors file, which `--write` or another program made
    /// [default: the same model, computed by the naive backend]
    other: Option<String>,
    /// The text that both read
    #[arg(long, default_value = "The quick brown fox jumps over the lazy dog.", conflicts_with = "tokens")]
    prompt: String,
    /// The tokens that both read, in place of a text
    #[arg(long, value_name = "ID,ID...", value_delimiter = ',')]
    tokens: Option<Vec<u32>>,
    /// What computes the model [default: fast]
    #[arg(long, value_enum)]
    backend: Option<BackendChoice>,
    /// What computes the other side [default: naive for the same model, else fast]
    #[arg(long, value_enum)]
    other_backend: Option<BackendChoice>,
    /// Threads of the fast backend [default: all]
    #[arg(long, short, value_name = "COUNT")]
    threads: Option<usize>,
    /// Threads of the fast backend on the other side
    #[arg(long, value_name = "COUNT")]
    other_threads: Option<usize>,
    /// What activations are multiplied as, where weights are quantised [default: as the fast backend chooses]
    #[arg(long, value_enum, value_name = "TYPE")]
    activations: Option<ActivationChoice>,
    /// The same on the other side
    #[arg(long, value_enum, value_name = "TYPE")]
    other_activations: Option<ActivationChoice>,
    /// Differences up to this normalised mean squared error count as none
    #[arg(long, value_name = "ERROR", default_value_t = 1e-6)]
    tolerance: f64,
    /// Write the model's activations to this .safetensors file and compare nothing
    #[arg(long, value_name = "FILE", conflicts_with = "other")]
    write: Option<PathBuf>,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum BackendChoice {
    /// The CPU backend, as `run` and `serve` use it
    Fast,
    /// The plain formulas, slow: what the fast one is checked against
    Naive,
}

impl DebugArgs {
    /// Whether a failure is to be said in JSON.
    pub fn is_json(&self) -> bool {
        let Action::Diff(args) = &self.action;
        args.json
    }
}

/// How one side is computed.
struct Side<'a> {
    path: &'a Path,
    backend: BackendChoice,
    threads: Option<usize>,
    activations: Option<ActivationTypes>,
}

impl Side<'_> {
    fn compute(&self, tokens: &[u32]) -> Result<Dump, Failure> {
        let file = crate::weights::open(self.path)?;
        let dump = match self.backend {
            BackendChoice::Naive => Dump::compute(&file, Reference, tokens),
            BackendChoice::Fast => {
                let options = CpuOptions { threads: self.threads, ..CpuOptions::default() };
                let backend = Cpu::new(options).map_err(|error| Failure::new(ExitCode::Engine, error))?;
                let activations = self.activations.unwrap_or_else(|| crate::session::activations_of(&file));
                Dump::compute(&file, backend.with_activations(activations), tokens)
            }
        };
        file.check_unchanged()?;
        dump
    }
}

/// Runs the command.
pub fn debug(args: &DebugArgs) -> Outcome {
    match &args.action {
        Action::Diff(args) => diff(args),
    }
}

/// A difference is no failure: the exit code is 0 either way, and `first` in the JSON tells.
fn diff(args: &DiffArgs) -> Outcome {
    let model = locate::locate(Some(&args.model), args.json)?;
    let tokens = tokens(args, &model.path)?;
    let side = Side {
        path: &model.path,
        backend: args.backend.unwrap_or(BackendChoice::Fast),
        threads: args.threads,
        activations: args.activations.map(ActivationChoice::activation_types),
    };
    let found = side.compute(&tokens)?;
    if let Some(path) = &args.write {
        found
            .write(path)
            .map_err(|error| Failure::new(ExitCode::Other, format!("cannot write {}: {error}", path.display())))?;
        let mut out = std::io::stdout().lock();
        let (places, path) = (found.seen.len(), path.display());
        match args.json {
            true => writeln!(out, "{}", json!({ "file": path.to_string(), "places": places, "tokens": tokens }))?,
            false => writeln!(out, "{places} places of {} tokens in {path}", tokens.len())?,
        }
        return Ok(());
    }
    let expected = other_side(args, &model.path, &tokens)?;
    let differences = found.compare(&expected)?;
    let first = differences.iter().find(|difference| difference.error > args.tolerance);
    report(args, &tokens, &differences, first)
}

/// The other side: stored activations, another model, or the same one computed in another way.
fn other_side(args: &DiffArgs, path: &Path, tokens: &[u32]) -> Result<Dump, Failure> {
    let other = match args.other.as_deref() {
        Some(other) if other.ends_with(".safetensors") && Path::new(other).is_file() => {
            return Dump::read(Path::new(other));
        }
        Some(other) => Some(locate::locate(Some(other), args.json)?),
        None => None,
    };
    let is_same_way = args.other_threads.is_none() && args.other_activations.is_none() && other.is_none();
    let backend = if is_same_way { BackendChoice::Naive } else { BackendChoice::Fast };
    let side = Side {
        path: other.as_ref().map_or(path, |other| &other.path),
        backend: args.other_backend.unwrap_or(backend),
        threads: args.other_threads.or(args.threads),
        activations: args.other_activations.or(args.activations).map(ActivationChoice::activation_types),
    };
    side.compute(tokens)
}

/// The tokens that both sides read.
fn tokens(args: &DiffArgs, path: &Path) -> Result<Vec<u32>, Failure> {
    let tokens = match &args.tokens {
        Some(tokens) => tokens.clone(),
        None => {
            let file = crate::weights::open(path)?;
            let tokenizer = Tokenizer::from_gguf(file.metadata())
                .map_err(|error| Failure::new(ExitCode::BadModel, &error).with_hint(error.hint()))?;
            let text = tokens_of_text(&tokenizer, &args.prompt, Special::AsText);
            begin_token(&tokenizer).into_iter().chain(text).collect()
        }
    };
    if tokens.is_empty() || tokens.len() > TOKENS_MAX {
        let cause = format!("{} tokens to compare, 1 to {TOKENS_MAX} expected", tokens.len());
        return Err(Failure::new(ExitCode::Usage, cause));
    }
    Ok(tokens)
}

fn report(args: &DiffArgs, tokens: &[u32], differences: &[Difference], first: Option<&Difference>) -> Outcome {
    let mut out = std::io::stdout().lock();
    if args.json {
        // JSON has no infinity: what is no number on one side only is said by a null.
        let place = |difference: &Difference| {
            json!({
                "place": difference.place, "error": difference.error, "largest": difference.largest,
                "row": difference.row,
            })
        };
        let places: Vec<serde_json::Value> = differences.iter().map(place).collect();
        let first = first.map(|difference| &difference.place);
        let result = json!({ "first": first, "tolerance": args.tolerance, "tokens": tokens, "places": places });
        writeln!(out, "{result}")?;
        return Ok(());
    }
    writeln!(out, "{:<20} {:>10} {:>12} {:>5}", "place", "error", "largest", "row")?;
    for difference in differences {
        let mark = if first.is_some_and(|first| first == difference) { "  <- first" } else { "" };
        let Difference { place, error, largest, row } = difference;
        writeln!(out, "{place:<20} {error:>10.2e} {largest:>12.4e} {row:>5}{mark}")?;
    }
    match first {
        Some(first) => writeln!(out, "\nthe sides differ from `{}` on (tolerance {:e})", first.place, args.tolerance)?,
        None => writeln!(out, "\nno place differs by more than {:e}", args.tolerance)?,
    }
    Ok(())
}
