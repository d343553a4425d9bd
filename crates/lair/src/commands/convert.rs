//! `lair convert`: a checkpoint of the Hugging Face layout as a GGUF file.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use lair_convert::{Conversion, OutputType};
use serde_json::json;

use super::show::bytes_text;
use crate::failure::{Failure, Outcome};

/// What to convert.
#[derive(Args, Debug)]
pub struct ConvertArgs {
    /// The folder with `config.json`, weights and tokenizer, or a file of weights in it
    checkpoint: PathBuf,
    /// The file to write, or the folder for it [default: named after the model, in this folder]
    out: Option<PathBuf>,
    /// What the weights are stored as; `auto` keeps what the checkpoint has
    #[arg(short = 't', long = "type", value_name = "TYPE", value_enum, default_value = "auto")]
    output: OutputChoice,
    /// Say what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// [`OutputType`] as the command line has it.
#[derive(Clone, Copy, Debug)]
struct OutputChoice(OutputType);

impl ValueEnum for OutputChoice {
    fn value_variants<'a>() -> &'a [OutputChoice] {
        const ALL: [OutputChoice; OutputType::ALL.len()] = {
            let mut all = [OutputChoice(OutputType::Auto); OutputType::ALL.len()];
            let mut index = 0;
            while index < all.len() {
                all[index] = OutputChoice(OutputType::ALL[index].0);
                index += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.0.name()))
    }
}

/// Runs the command.
pub fn convert(args: &ConvertArgs) -> Outcome {
    let conversion = Conversion::plan(&args.checkpoint, args.output.0)?;
    let path = match &args.out {
        Some(out) if out.is_dir() => out.join(conversion.file_name()),
        Some(out) => out.clone(),
        None => conversion.file_name(),
    };
    if !args.dry_run {
        write(&conversion, &path, args.json)?;
    }
    report(args, &conversion, &path)
}

/// Writes the file, with a bar for those who wait.
pub(crate) fn write(conversion: &Conversion, path: &Path, is_quiet: bool) -> Result<(), Failure> {
    let is_shown = !is_quiet && std::io::stderr().is_terminal();
    let bar = if is_shown { ProgressBar::no_length() } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{bar:30} {bytes} of {total_bytes} {bytes_per_sec} {msg}");
    bar.set_style(style.expect("the template is sound"));
    let outcome = conversion.write(path, |progress| {
        bar.set_length(progress.total_bytes);
        bar.set_position(progress.written_bytes);
        bar.set_message(progress.tensor.name.clone());
    });
    bar.finish_and_clear();
    Ok(outcome?)
}

fn report(args: &ConvertArgs, conversion: &Conversion, path: &Path) -> Outcome {
    let writer = conversion.writer();
    let mut types: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for tensor in writer.tensors() {
        let (count, bytes) = types.entry(tensor.tensor_type.name()).or_default();
        *count += 1;
        *bytes += tensor.size_bytes;
    }
    let architecture = writer.metadata().str("general.architecture")?;
    let mut out = std::io::stdout().lock();
    if args.json {
        let types: serde_json::Map<_, _> = types
            .iter()
            .map(|(name, (count, bytes))| ((*name).to_owned(), json!({"tensors": count, "size_bytes": bytes})))
            .collect();
        let value = json!({
            "path": path,
            "written": !args.dry_run,
            "architecture": architecture,
            "size_bytes": writer.size_bytes(),
            "tensor_count": writer.tensors().len(),
            "types": types,
            "left_out": conversion.left_out(),
        });
        return Ok(writeln!(out, "{value:#}")?);
    }
    let verb = if args.dry_run { "would write" } else { "wrote" };
    let (size, count) = (bytes_text(writer.size_bytes()), writer.tensors().len());
    writeln!(out, "{verb} {} ({architecture}, {count} tensors, {size})", path.display())?;
    for (name, (count, bytes)) in types {
        writeln!(out, "  {name:<6} {count:>6} tensors {:>10}", bytes_text(bytes))?;
    }
    for name in conversion.left_out() {
        writeln!(out, "  left out: {}", super::show::printable(name))?;
    }
    Ok(())
}
