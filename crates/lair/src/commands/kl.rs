//! `lair kl`: how far a model's predictions are from another's, whose predictions lie in a file.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use lair_eval::{
    BASE_FLOOR, BaseFileError, BaseReader, BaseShape, BaseWriter, Divergence, Estimate, PERCENTILES, Reference,
    compare, log_sum_exp,
};
use lair_gguf::GgufFile;
use lair_text::tokenizer::Special;
use serde_json::json;

use crate::commands::perplexity::{Surprise, not_finite};
use crate::failure::{ExitCode, Failure, Outcome};
use crate::human::size_text;
use crate::locate;
use crate::predictor::{Predictor, PredictorArgs, tokenizer_of};
use crate::text_chunks::{ChunkArgs, Chunks};

/// Which model, and what to compare it with.
#[derive(Args, Debug)]
pub struct KlArgs {
    /// A GGUF file or the short name of a model
    model: String,
    /// Predictions of another model, from `--write-base` or from `llama-perplexity --kl-divergence-base`
    #[arg(long, value_name = "FILE", required_unless_present = "write_base", conflicts_with = "write_base")]
    base: Option<PathBuf>,
    /// Write this model's predictions to a file, for others to be compared with
    #[arg(long, value_name = "FILE", requires = "text")]
    write_base: Option<PathBuf>,
    /// The text to predict; a base knows its own
    #[arg(long, value_name = "FILE", conflicts_with = "base")]
    text: Option<PathBuf>,
    #[command(flatten)]
    cut: ChunkArgs,
    #[command(flatten)]
    predictor: PredictorArgs,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub fn kl(args: &KlArgs) -> Outcome {
    match (&args.base, &args.write_base, &args.text) {
        (Some(base), ..) => measure(args, base),
        (None, Some(out), Some(text)) => write(args, text, out),
        _ => unreachable!("the command line has a base, or a text to write one of"),
    }
}

fn measure(args: &KlArgs, base: &Path) -> Outcome {
    let mut base = OpenBase::open(base, args.cut.chunks)?;
    let located = locate::locate(Some(&args.model), args.json)?;
    let file = crate::weights::open(&located.path)?;
    let found = divergence_from(&file, &mut base, &args.predictor, args.json)?;
    if args.json {
        let mut result = divergence_json(&found);
        result["model"] = json!(located.name);
        result["chunks"] = json!(base.chunk_count);
        result["chunk_length"] = json!(base.shape().chunk_length);
        println!("{result}");
        return Ok(());
    }
    print_divergence(&found)
}

/// Writes the predictions of a model; the file appears whole or not at all.
fn write(args: &KlArgs, text: &Path, out: &Path) -> Outcome {
    args.cut.check()?;
    if out.exists() && !args.force {
        return Err(Failure::new(ExitCode::Usage, format!("`{}` is there already", out.display()))
            .with_hint("`--force` replaces it".to_string()));
    }
    let located = locate::locate(Some(&args.model), args.json)?;
    let file = crate::weights::open(&located.path)?;
    let chunks = Chunks::of_file(text, &args.cut, &tokenizer_of(&file)?, (Special::AsText, 0))?;
    let (surprise, size_bytes) = write_base(&file, &chunks, &args.predictor, (out, args.json))?;
    let (perplexity, error) = surprise.perplexity();
    if args.json {
        let result = json!({
            "model": located.name, "path": out, "size_bytes": size_bytes, "chunks": chunks.count(),
            "chunk_length": chunks.length(), "perplexity": perplexity, "standard_error": error,
        });
        println!("{result}");
    } else {
        eprintln!("perplexity: {perplexity:.4} +/- {error:.5}; {}", size_text(size_bytes));
        println!("{}", out.display());
    }
    Ok(())
}

/// Writes the predictions of a model, and gives what it predicted and the bytes of the file.
pub fn write_base(
    file: &GgufFile,
    chunks: &Chunks,
    predictor: &PredictorArgs,
    (out, is_quiet): (&Path, bool),
) -> Result<(Surprise, u64), Failure> {
    let mut model = Predictor::load(file, &predictor.options(file, chunks.length()))?;
    let vocabulary = model.vocabulary_size();
    let shape = BaseShape { chunk_length: chunks.length(), vocabulary_size: vocabulary, chunk_count: chunks.count() };
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Some(free) = lair_store::free_bytes(folder).filter(|free| *free < shape.size_bytes()) {
        let (needed, free) = (size_text(shape.size_bytes()), size_text(free));
        let cause = format!("the base takes {needed}, `{}` has {free} left", folder.display());
        return Err(Failure::new(ExitCode::Other, cause).with_hint("`--chunks` takes less of the text".to_owned()));
    }
    let mut partial = out.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let wrong = |error: std::io::Error| Failure::new(ExitCode::Other, format!("`{}`: {error}", out.display()));
    let mut surprise = Surprise::default();
    let mut write = || -> Outcome {
        let place = BufWriter::with_capacity(1 << 20, File::create(&partial).map_err(wrong)?);
        let mut writer = BaseWriter::new(place, shape, chunks.tokens()).map_err(wrong)?;
        chunks.for_each(is_quiet, |chunk| {
            model.predict(chunk, shape.first_place(), |place, logits| {
                surprise.add(logits, vocabulary, &chunk[place + 1..])?;
                logits.chunks_exact(vocabulary).try_for_each(|logits| {
                    let total = log_sum_exp(logits).map_err(not_finite)?;
                    writer.add(logits, total).map_err(wrong)
                })
            })?;
            Ok(format!("perplexity {:.4}", surprise.perplexity().0))
        })?;
        let place = writer.finish().map_err(wrong)?.into_inner().map_err(|error| wrong(error.into_error()))?;
        place.sync_all().map_err(wrong)?;
        std::fs::rename(&partial, out).map_err(wrong)
    };
    let written = write();
    if written.is_err() {
        // What is left of it is of no use; that it cannot be removed says nothing new.
        let _ = std::fs::remove_file(&partial);
    }
    written.map(|()| (surprise, shape.size_bytes()))
}

/// A base that is being read.
pub struct OpenBase {
    path: PathBuf,
    reader: BaseReader<BufReader<File>>,
    /// Chunks that are compared.
    pub chunk_count: usize,
}

impl OpenBase {
    /// Opens a base, of which at most so many chunks are compared.
    ///
    /// # Errors
    /// If it cannot be read or is no base.
    pub fn open(path: &Path, chunks: Option<usize>) -> Result<OpenBase, Failure> {
        let unreadable = |error: std::io::Error| {
            let code = if error.kind() == std::io::ErrorKind::NotFound { ExitCode::Usage } else { ExitCode::Other };
            Failure::new(code, format!("{}: {error}", path.display()))
        };
        let file = File::open(path).map_err(unreadable)?;
        let size_bytes = file.metadata().map_err(unreadable)?.len();
        let reader = BaseReader::new(BufReader::with_capacity(1 << 20, file), size_bytes).map_err(|error| {
            let code = if matches!(error, BaseFileError::Io(_)) { ExitCode::Other } else { ExitCode::Usage };
            let cause = format!("`{}` is no base of predictions: {error}", path.display());
            Failure::new(code, cause).with_hint(error.hint())
        })?;
        let count = reader.shape().chunk_count;
        Ok(OpenBase { path: path.to_owned(), reader, chunk_count: chunks.unwrap_or(count).clamp(1, count) })
    }

    /// What it is about.
    pub fn shape(&self) -> BaseShape {
        self.reader.shape()
    }
}

/// Predicts what a base's model predicted, and compares.
///
/// # Errors
/// If the model cannot be loaded, has another vocabulary, or the base cannot be read.
pub fn divergence_from(
    file: &GgufFile,
    base: &mut OpenBase,
    predictor: &PredictorArgs,
    is_quiet: bool,
) -> Result<Divergence, Failure> {
    let shape = base.shape();
    let mut model = Predictor::load(file, &predictor.options(file, shape.chunk_length))?;
    let vocabulary = model.vocabulary_size();
    if vocabulary != shape.vocabulary_size {
        let found = shape.vocabulary_size;
        let cause = format!("the base is of a vocabulary of {found} tokens, the model's has {vocabulary}");
        return Err(Failure::new(ExitCode::Usage, cause)
            .with_hint("only models with one vocabulary can be compared".to_owned()));
    }
    let tokens = base.reader.tokens()[..base.chunk_count * shape.chunk_length].to_vec();
    let chunks = Chunks::of_tokens(tokens, shape.chunk_length, &tokenizer_of(file)?);
    let (mut found, mut expected) = (Divergence::default(), Vec::new());
    let OpenBase { path, reader, .. } = base;
    chunks.for_each(is_quiet, |chunk| {
        model.predict(chunk, shape.first_place(), |place, logits| {
            for (logits, token) in logits.chunks_exact(vocabulary).zip(&chunk[place + 1..]) {
                reader
                    .next_place(&mut expected)
                    .map_err(|error| Failure::new(ExitCode::Other, format!("`{}`: {error}", path.display())))?;
                let reference = Reference { logits: &expected, total: 0.0, floor: BASE_FLOOR };
                found.add(compare(logits, &reference, *token).map_err(not_finite)?);
            }
            Ok(())
        })?;
        Ok(format!("divergence {:.6}, perplexity {:.4}", found.mean().value, found.perplexity().value))
    })?;
    Ok(found)
}

/// What [`PERCENTILES`] are called.
const PERCENTILE_NAMES: [&str; PERCENTILES.len()] =
    ["minimum", "p0.1", "p1", "p5", "p10", "median", "p90", "p95", "p99", "p99.9", "maximum"];

/// All figures of a comparison.
pub fn divergence_json(found: &Divergence) -> serde_json::Value {
    let percentiles = |values: [f64; PERCENTILES.len()]| {
        PERCENTILE_NAMES.iter().zip(values).map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
    };
    let mut result = json!({ "counted_tokens": found.count() });
    let mut put = |name: &str, estimate: Estimate| {
        result[name] = json!(estimate.value);
        result[format!("{name}_standard_error")] = json!(estimate.error);
    };
    put("divergence", found.mean());
    put("perplexity", found.perplexity());
    put("base_perplexity", found.reference_perplexity());
    put("perplexity_ratio", found.ratio());
    put("same_likeliest", found.same_likeliest());
    put("mean_probability_difference", found.mean_shift());
    put("rms_probability_difference", found.root_mean_square_shift());
    result["divergence_percentiles"] = serde_json::Value::Object(percentiles(found.percentiles()));
    result["probability_difference_percentiles"] = serde_json::Value::Object(percentiles(found.shift_percentiles()));
    result
}

fn print_divergence(found: &Divergence) -> Outcome {
    let mut out = std::io::stdout().lock();
    let (perplexity, base, ratio) = (found.perplexity(), found.reference_perplexity(), found.ratio());
    writeln!(out, "perplexity           {:>11.4} +/- {:.4}", perplexity.value, perplexity.error)?;
    writeln!(out, "of the base          {:>11.4} +/- {:.4}", base.value, base.error)?;
    writeln!(out, "ratio                {:>11.6} +/- {:.6}", ratio.value, ratio.error)?;
    let (mean, same, root) = (found.mean(), found.same_likeliest(), found.root_mean_square_shift());
    writeln!(out, "mean KL divergence   {:>11.6} +/- {:.6} nats a token", mean.value, mean.error)?;
    writeln!(out, "same likeliest token {:>10.3}% +/- {:.3}", 100.0 * same.value, 100.0 * same.error)?;
    let shift = found.mean_shift();
    writeln!(out, "probability of the token that came, less the base's:")?;
    writeln!(out, "    mean             {:>10.3}% +/- {:.3}", 100.0 * shift.value, 100.0 * shift.error)?;
    writeln!(out, "    root mean square {:>10.3}% +/- {:.3}", 100.0 * root.value, 100.0 * root.error)?;
    writeln!(out, "\n{:>20}  {:>11}  {:>11}", "", "divergence", "probability")?;
    let rows = PERCENTILE_NAMES.iter().zip(found.percentiles().into_iter().zip(found.shift_percentiles()));
    for (name, (divergence, shift)) in rows.rev() {
        writeln!(out, "{name:>20}  {divergence:>11.6}  {:>+10.3}%", 100.0 * shift)?;
    }
    writeln!(out, "\n{} tokens", found.count())?;
    Ok(())
}
