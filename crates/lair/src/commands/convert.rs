//! `lair convert`: a checkpoint or an adapter of the Hugging Face layout as a GGUF file, and the way back.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use lair_convert::export::Export;
use lair_convert::merge::PART_BYTES_MAX;
use lair_convert::{Conversion, ElementType, OutputType, lora};
use lair_gguf::{GgufFile, GgufWriter};
use serde_json::json;

use super::show::bytes_text;
use crate::failure::{ExitCode, Failure, Outcome};
use crate::human::parse_size;

/// What to convert.
#[derive(Args, Debug)]
pub struct ConvertArgs {
    /// The folder with `config.json`, weights and tokenizer, or a file of weights in it; the folder of an adapter of PEFT's;
    /// or, with `--to safetensors`, a GGUF file
    checkpoint: PathBuf,
    /// The file to write, or the folder for it [default: named after the model, in this folder]
    out: Option<PathBuf>,
    /// What to make; `safetensors` of a GGUF file makes a folder that transformers loads, of an adapter one that PEFT loads
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "gguf")]
    to: Format,
    /// The model that an adapter is for: a GGUF file, or a folder with its `config.json`
    #[arg(long, value_name = "MODEL")]
    base: Option<PathBuf>,
    /// What the weights are stored as; `auto` keeps what the checkpoint has
    #[arg(short = 't', long = "type", value_name = "TYPE", value_enum, default_value = "auto")]
    output: OutputChoice,
    /// Bytes of a part of a checkpoint at most
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value_t = PART_BYTES_MAX)]
    max_shard_size: u64,
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

/// What a conversion makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Gguf,
    Safetensors,
}

/// Runs the command.
pub fn convert(args: &ConvertArgs) -> Outcome {
    if args.to == Format::Safetensors {
        return to_safetensors(args);
    }
    if lora::is_peft(&args.checkpoint) {
        return convert_adapter(args);
    }
    let conversion = Conversion::plan(&args.checkpoint, args.output.0)?;
    let path = match &args.out {
        Some(out) if out.is_dir() => out.join(conversion.file_name()),
        Some(out) => out.clone(),
        None => conversion.file_name(),
    };
    if !args.dry_run {
        write(&conversion, &path, args.json)?;
    }
    report(args, conversion.writer(), conversion.left_out(), &path)
}

/// An adapter of PEFT's as a GGUF file.
fn convert_adapter(args: &ConvertArgs) -> Outcome {
    let base = match &args.base {
        Some(base) => Some(base.clone()),
        None => lora::base_of(&args.checkpoint)?,
    };
    let base = base.ok_or_else(|| {
        Failure::new(ExitCode::Usage, "it is not said which model the adapter is for")
            .with_hint("name its GGUF file or the folder of its `config.json` with `--base`".to_owned())
    })?;
    let adapter = lora::open_peft(&args.checkpoint, &lora::Base::open(&base)?, args.output.0.tensor_type())?;
    let path = match &args.out {
        Some(out) if out.is_dir() => out.join(lora::adapter_file_name(&adapter)),
        Some(out) => out.clone(),
        None => lora::adapter_file_name(&adapter),
    };
    let writer = GgufWriter::like(&adapter)?;
    if !args.dry_run {
        let mut tensors = adapter.tensors().iter();
        writer.write_file(&path, |_, out| {
            out.write_all(&adapter.tensor_data(tensors.next().expect("as many were declared")))
        })?;
    }
    report(args, &writer, &[], &path)
}

/// The way back: an adapter for PEFT, or a model for transformers.
fn to_safetensors(args: &ConvertArgs) -> Outcome {
    if args.dry_run {
        return Err(Failure::new(ExitCode::Usage, "`--dry-run` is for GGUF files only"));
    }
    let file = GgufFile::open(&args.checkpoint)?;
    let stem = args.checkpoint.file_stem().map_or_else(|| PathBuf::from("model"), PathBuf::from);
    let folder = args.out.clone().unwrap_or(stem);
    if folder.join("config.json").exists() || folder.join("adapter_config.json").exists() {
        return Err(Failure::new(ExitCode::Usage, format!("`{}` holds a model already", folder.display())));
    }
    let mut out = std::io::stdout().lock();
    let (count, size_bytes) = match file.metadata().optional_str("general.type")? {
        Some("adapter") => {
            let base = args.base.as_deref().map_or_else(|| lora::Base::of_model(&file), lora::Base::open)?;
            lora::write_peft(&file, &base, &folder)?;
            (file.tensors().len(), file.tensors().iter().map(|tensor| tensor.size_bytes).sum())
        }
        _ => {
            let element = args.output.0.tensor_type().map(ElementType::of_tensor_type);
            if element == Some(None) {
                return Err(Failure::new(ExitCode::Usage, "checkpoints have f32, f16 and bf16, not blocks"));
            }
            let export = Export::plan(&file, element.flatten())?;
            export.write(&folder, args.max_shard_size, |_| {})?;
            (export.tensor_count(), export.size_bytes())
        }
    };
    match args.json {
        true => writeln!(out, "{:#}", json!({ "path": folder, "tensor_count": count, "size_bytes": size_bytes }))?,
        false => writeln!(out, "wrote {} ({count} tensors, {})", folder.display(), bytes_text(size_bytes))?,
    }
    Ok(())
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

fn report(args: &ConvertArgs, writer: &GgufWriter, left_out: &[String], path: &Path) -> Outcome {
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
            "left_out": left_out,
        });
        return Ok(writeln!(out, "{value:#}")?);
    }
    let verb = if args.dry_run { "would write" } else { "wrote" };
    let (size, count) = (bytes_text(writer.size_bytes()), writer.tensors().len());
    writeln!(out, "{verb} {} ({architecture}, {count} tensors, {size})", path.display())?;
    for (name, (count, bytes)) in types {
        writeln!(out, "  {name:<6} {count:>6} tensors {:>10}", bytes_text(bytes))?;
    }
    for name in left_out {
        writeln!(out, "  left out: {}", super::show::printable(name))?;
    }
    Ok(())
}
