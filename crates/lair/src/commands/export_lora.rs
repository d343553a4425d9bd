//! `lair export-lora`: a model with low-rank adapters added to its weights for good.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use lair_convert::lora::{LoraMerge, MergedType};
use lair_gguf::TensorType;
use serde_json::json;

use super::show::bytes_text;
use crate::adapter_choice::{self, AdapterArgs};
use crate::failure::{ExitCode, Failure, Outcome};
use crate::locate;

/// What to add to what.
#[derive(Args, Debug)]
pub struct ExportLoraArgs {
    /// The model: a GGUF file, a checkpoint's folder, or a model that is here
    model: String,
    /// The file to write
    out: PathBuf,
    #[command(flatten)]
    adapters: AdapterArgs,
    /// What changed weights are stored as: `auto` keeps plain types and makes quantized ones F16, `same` quantizes again
    #[arg(short = 't', long = "type", value_name = "TYPE", value_enum, default_value = "auto")]
    merged: MergedChoice,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MergedChoice {
    Auto,
    Same,
    F32,
    F16,
    Bf16,
    #[value(name = "q8_0")]
    Q8_0,
}

impl MergedChoice {
    fn merged_type(self) -> MergedType {
        match self {
            MergedChoice::Auto => MergedType::Auto,
            MergedChoice::Same => MergedType::Same,
            MergedChoice::F32 => MergedType::Of(TensorType::F32),
            MergedChoice::F16 => MergedType::Of(TensorType::F16),
            MergedChoice::Bf16 => MergedType::Of(TensorType::BF16),
            MergedChoice::Q8_0 => MergedType::Of(TensorType::Q8_0),
        }
    }
}

/// Runs the command.
pub fn export_lora(args: &ExportLoraArgs) -> Outcome {
    let choices = args.adapters.choices();
    if choices.is_empty() {
        return Err(Failure::new(ExitCode::Usage, "no adapter is named")
            .with_hint("name one with `--lora FILE` or `--lora-scaled FILE:FACTOR`".to_owned()));
    }
    if args.out.exists() && !args.force {
        return Err(Failure::new(ExitCode::Usage, format!("`{}` is there already", args.out.display()))
            .with_hint("`--force` replaces it".to_owned()));
    }
    let located = locate::locate(Some(&args.model), args.json)?;
    let base = crate::weights::open(&located.path)?;
    let files = adapter_choice::open(&choices, &base)?;
    let adapters: Vec<_> = files.into_iter().zip(choices.iter().map(|choice| choice.scale)).collect();
    let merge = LoraMerge::plan(&base, &adapters, args.merged.merged_type())?;
    merge.write(&args.out, |_| {})?;
    let size_bytes = merge.writer().size_bytes();
    let mut out = std::io::stdout().lock();
    if args.json {
        let value =
            json!({ "path": args.out, "size_bytes": size_bytes, "changed_tensor_count": merge.changed_count() });
        return Ok(writeln!(out, "{value:#}")?);
    }
    let (path, count) = (args.out.display(), merge.changed_count());
    Ok(writeln!(out, "wrote {path} ({}, {count} tensors changed)", bytes_text(size_bytes))?)
}
