//! `lair perplexity`: how well a model predicts a text.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use lair_eval::{Divergence, NotFinite, Reference, compare, log_sum_exp};
use lair_gguf::GgufFile;
use lair_text::tokenizer::Special;
use serde_json::json;

use crate::commands::run::LoadArgs;
use crate::failure::{ExitCode, Failure, Outcome};
use crate::locate::{self, Located};
use crate::predictor::{ActivationChoice, Precision, Predictor, PredictorOptions, tokenizer_of};
use crate::session::activations_of;
use crate::text_chunks::{ChunkArgs, Chunks};

/// Which text, which model.
#[derive(Args, Debug)]
pub struct PerplexityArgs {
    /// A text file
    file: PathBuf,
    /// A GGUF file or the short name of a model [default: smollm2]
    #[arg(long, short)]
    model: Option<String>,
    #[command(flatten)]
    cut: ChunkArgs,
    /// What activations are multiplied as, where weights are quantised [default: words in narrow models and
    /// where errors cost most, else bytes]
    #[arg(long, value_enum, value_name = "TYPE")]
    activations: Option<ActivationChoice>,
    /// Also predict with F32 activations and F16 keys and values, and say how far the chosen ones are from that
    #[arg(long)]
    compare: bool,
    #[command(flatten)]
    load: LoadArgs,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// Runs the command. Of each chunk of the text, positions from the middle on count.
pub fn perplexity(args: &PerplexityArgs) -> Outcome {
    args.cut.check()?;
    std::fs::File::open(&args.file).map_err(|error| unreadable(args, &error))?;
    let located = locate::locate(args.model.as_deref(), args.json)?;
    let file = crate::weights::open(&located.path)?;
    let chunks = Chunks::of_file(&args.file, &args.cut, &tokenizer_of(&file)?, (Special::AsText, 0))?;
    if args.compare {
        compare_precisions(args, &located, &file, &chunks)
    } else {
        measure(args, &located, &file, &chunks)
    }
}

fn unreadable(args: &PerplexityArgs, error: &std::io::Error) -> Failure {
    let code = if error.kind() == std::io::ErrorKind::NotFound { ExitCode::Usage } else { ExitCode::Other };
    Failure::new(code, format!("{}: {error}", args.file.display()))
}

fn options(args: &PerplexityArgs, file: &GgufFile) -> Result<PredictorOptions, Failure> {
    let load = args.load.options()?;
    let activations = args.activations.map_or_else(|| activations_of(file), ActivationChoice::activation_types);
    let precision = Precision { activations, kv: load.kv.element() };
    Ok(PredictorOptions { length: args.cut.chunk_length, threads: load.threads, precision, taps: None })
}

/// A model whose logits are no numbers is beyond measuring.
pub fn not_finite(error: NotFinite) -> Failure {
    Failure::new(ExitCode::Engine, error)
}

/// Sums of negative log-probabilities.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surprise {
    total: f64,
    squares: f64,
    /// Tokens that were predicted.
    pub count: usize,
}

impl Surprise {
    /// Adds what logits, `[places, vocabulary]`, say of the tokens that came, one for each place.
    ///
    /// # Errors
    /// If a logit is not finite.
    pub fn add(&mut self, logits: &[f32], vocabulary: usize, tokens: &[u32]) -> Result<(), Failure> {
        for (logits, token) in logits.chunks_exact(vocabulary).zip(tokens) {
            let surprise = log_sum_exp(logits).map_err(not_finite)? - f64::from(logits[*token as usize]);
            self.total += surprise;
            self.squares += surprise * surprise;
            self.count += 1;
        }
        Ok(())
    }

    /// The perplexity and its standard error.
    pub fn perplexity(&self) -> (f64, f64) {
        let count = self.count.max(1) as f64;
        let mean = self.total / count;
        let deviation = (self.squares / count - mean * mean).max(0.0).sqrt();
        (mean.exp(), mean.exp() * deviation / (count - 1.0).max(1.0).sqrt())
    }
}

/// The perplexity alone.
fn measure(args: &PerplexityArgs, located: &Located, file: &GgufFile, chunks: &Chunks) -> Outcome {
    let mut model = Predictor::load(file, &options(args, file)?)?;
    let vocabulary = model.vocabulary_size();
    let mut found = Surprise::default();
    chunks.for_each(args.json, |chunk| {
        model.predict(chunk, chunk.len() / 2, |place, logits| found.add(logits, vocabulary, &chunk[place + 1..]))?;
        Ok(format!("perplexity {:.4}", found.perplexity().0))
    })?;
    let (value, error) = found.perplexity();
    let mut out = std::io::stdout().lock();
    if args.json {
        let result = json!({
            "model": located.name, "perplexity": value, "standard_error": error, "tokens": chunks.text_tokens,
            "chunks": chunks.count(), "chunk_length": chunks.length(), "counted_tokens": found.count,
        });
        writeln!(out, "{result}")?;
    } else {
        let (counted, chunk_count) = (found.count, chunks.count());
        writeln!(out, "perplexity: {value:.4} +/- {error:.5} ({counted} tokens of {chunk_count} chunks)")?;
    }
    Ok(())
}

/// The perplexity beside that of the same model with F32 activations and F16 keys and values.
fn compare_precisions(args: &PerplexityArgs, located: &Located, file: &GgufFile, chunks: &Chunks) -> Outcome {
    let chosen = options(args, file)?;
    let exact = PredictorOptions { precision: Precision::REFERENCE, ..chosen.clone() };
    let (mut candidate, mut reference) = (Predictor::load(file, &chosen)?, Predictor::load(file, &exact)?);
    let vocabulary = candidate.vocabulary_size();
    let mut found = Divergence::default();
    let mut expected: Vec<f32> = Vec::new();
    chunks.for_each(args.json, |chunk| {
        let first = chunk.len() / 2;
        expected.clear();
        reference.predict(chunk, first, |_, logits| {
            expected.extend_from_slice(logits);
            Ok(())
        })?;
        candidate.predict(chunk, first, |place, logits| {
            let expected = expected[(place - first) * vocabulary..].chunks_exact(vocabulary);
            for ((logits, expected), token) in logits.chunks_exact(vocabulary).zip(expected).zip(&chunk[place + 1..]) {
                let reference = Reference::of_logits(expected).map_err(not_finite)?;
                found.add(compare(logits, &reference, *token).map_err(not_finite)?);
            }
            Ok(())
        })?;
        Ok(format!("perplexity {:.4}", found.perplexity().value))
    })?;
    report_comparison(args, located, chunks, &found)
}

fn report_comparison(args: &PerplexityArgs, located: &Located, chunks: &Chunks, found: &Divergence) -> Outcome {
    let (perplexity, ratio, divergence) = (found.perplexity(), found.ratio(), found.mean());
    let (excess, same) = (ratio.value - 1.0, found.same_likeliest().value);
    let mut out = std::io::stdout().lock();
    if args.json {
        let result = json!({
            "model": located.name, "perplexity": perplexity.value, "standard_error": perplexity.error,
            "tokens": chunks.text_tokens, "chunks": chunks.count(), "chunk_length": chunks.length(),
            "counted_tokens": found.count(), "excess": excess, "excess_standard_error": ratio.error,
            "divergence": divergence.value, "divergence_standard_error": divergence.error, "same_likeliest": same,
        });
        writeln!(out, "{result}")?;
        return Ok(());
    }
    let (tokens, chunk_count) = (found.count(), chunks.count());
    let (value, error) = (perplexity.value, perplexity.error);
    writeln!(out, "perplexity: {value:.4} +/- {error:.5} ({tokens} tokens of {chunk_count} chunks)")?;
    writeln!(out, "over the reference's: {:+.4} % +/- {:.4}", 100.0 * excess, 100.0 * ratio.error)?;
    writeln!(out, "mean KL divergence: {:.6} +/- {:.6} nats a token", divergence.value, divergence.error)?;
    writeln!(out, "same likeliest token: {:.2} %", 100.0 * same)?;
    Ok(())
}
