//! `lair merge`: several models made into one, as a file in mergekit's YAML says.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use lair_convert::merge::{Merge, MergeConfig, MergeError, MergeOptions, PART_BYTES_MAX};
use serde_json::json;

use crate::failure::{ExitCode, Failure, Outcome};
use crate::human::parse_size;
use crate::locate;

/// What to merge.
#[derive(Args, Debug)]
pub struct MergeArgs {
    /// The configuration, in mergekit's YAML
    config: PathBuf,
    /// What to write: a file that ends in `.gguf`, or the folder of a checkpoint in safetensors
    out: PathBuf,
    /// What the chance of DARE begins from
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,
    /// Bytes of a part of the checkpoint at most
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value_t = PART_BYTES_MAX)]
    max_shard_size: u64,
    /// Check everything and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Replace what is there
    #[arg(long)]
    force: bool,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub fn merge(args: &MergeArgs) -> Outcome {
    let text = std::fs::read_to_string(&args.config).map_err(|error| {
        let code = if error.kind() == std::io::ErrorKind::NotFound { ExitCode::NotFound } else { ExitCode::Usage };
        Failure::new(code, format!("cannot read `{}`: {error}", args.config.display()))
    })?;
    let is_taken = args.out.is_file() || args.out.join("config.json").exists();
    if is_taken && !args.force && !args.dry_run {
        return Err(Failure::new(ExitCode::Usage, format!("`{}` is there already", args.out.display()))
            .with_hint("`--force` replaces it".to_owned()));
    }
    let config = MergeConfig::parse(&text)?;
    let options = MergeOptions { seed: args.seed, part_bytes_max: args.max_shard_size };
    let merge = Merge::plan(&config, &args.out, options, |name| place(name, &args.config, args.json))?;
    if !args.dry_run {
        let is_shown = !args.json && std::io::stderr().is_terminal();
        let bar = if is_shown { ProgressBar::new(merge.tensor_count() as u64) } else { ProgressBar::hidden() };
        bar.set_style(ProgressStyle::with_template("{bar:30} {pos} of {len} {msg}").expect("the template is sound"));
        merge.write(&args.out, |progress| {
            bar.set_position(progress.index as u64);
            bar.set_message(progress.tensor.to_owned());
        })?;
        bar.finish_and_clear();
    }
    let (method, tensors, layers) = (config.method().name(), merge.tensor_count(), merge.layer_count());
    let mut out = std::io::stdout().lock();
    if args.json {
        let value = json!({
            "path": args.out, "written": !args.dry_run, "merge_method": method, "models": config.models(),
            "tensor_count": tensors, "layer_count": layers,
        });
        return Ok(writeln!(out, "{value:#}")?);
    }
    let verb = if args.dry_run { "would write" } else { "wrote" };
    let path = args.out.display();
    Ok(writeln!(
        out,
        "{verb} {path} ({method} of {} models, {layers} layers, {tensors} tensors)",
        config.models().len()
    )?)
}

/// Where a model of the configuration is: beside it, as a path from here, or a model that is here under this name.
fn place(name: &str, config: &Path, is_quiet: bool) -> Result<PathBuf, Failure> {
    let beside = config.parent().map(|folder| folder.join(name)).filter(|path| path.exists());
    match beside {
        _ if Path::new(name).exists() => Ok(PathBuf::from(name)),
        Some(path) => Ok(path),
        None => Ok(locate::locate(Some(name), is_quiet)?.path),
    }
}

impl From<MergeError> for Failure {
    fn from(error: MergeError) -> Failure {
        let hint = error.hint();
        let code = match error {
            MergeError::Convert(error) => return error.into(),
            MergeError::Mismatch { .. } => ExitCode::BadModel,
            _ => ExitCode::Usage,
        };
        Failure::new(code, &error).with_hint(hint)
    }
}
