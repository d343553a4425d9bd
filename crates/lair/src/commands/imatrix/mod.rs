//! `lair imatrix`: importance matrices, which say what columns of weights matter.

mod compute;
mod merge;
mod show;

use std::path::Path;

use clap::{Args, Subcommand, ValueEnum};
use lair_convert::quantize::ImportanceMatrix;

use crate::failure::{ExitCode, Failure, Outcome};

/// What to do with importance matrices.
#[derive(Args, Debug)]
pub struct ImatrixArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Compute one: run a text through a model and add up what its matrices are multiplied with
    Compute(compute::ComputeArgs),
    /// Add up several, or write one in the other format
    Merge(merge::MergeArgs),
    /// Say what one holds: figures of every tensor and layer
    Show(show::ShowArgs),
}

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// GGUF, with counts for each expert
    Gguf,
    /// The older list of means
    Dat,
}

impl ImatrixArgs {
    /// Whether a failure is to be said in JSON.
    pub fn is_json(&self) -> bool {
        match &self.action {
            Action::Compute(args) => args.json,
            Action::Merge(args) => args.json,
            Action::Show(args) => args.json,
        }
    }
}

/// Runs the command.
pub fn imatrix(args: &ImatrixArgs) -> Outcome {
    match &args.action {
        Action::Compute(args) => compute::compute(args),
        Action::Merge(args) => merge::merge(args),
        Action::Show(args) => show::show(args),
    }
}

/// The format of a file of this name, if none is asked for.
fn format_of(path: &Path, asked: Option<Format>) -> Format {
    let is_old = path.extension().is_some_and(|ending| ending == "dat");
    asked.unwrap_or(if is_old { Format::Dat } else { Format::Gguf })
}

/// Refuses a file that is there and may not be replaced.
fn check_out(path: &Path, may_replace: bool) -> Outcome {
    if path.exists() && !may_replace {
        return Err(Failure::new(ExitCode::Usage, format!("`{}` is there already", path.display()))
            .with_hint("`--force` replaces it".to_string()));
    }
    Ok(())
}

fn write(matrix: &ImportanceMatrix, path: &Path, format: Format) -> Outcome {
    match format {
        Format::Gguf => matrix.write(path)?,
        Format::Dat => matrix.write_old(path)?,
    }
    Ok(())
}
