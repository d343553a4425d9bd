//! `lair perplexity`: how well a model predicts a text.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use lair_compute::cpu::ActivationType;
use lair_text::prompt::{begin_token, tokens_of_text};
use lair_text::tokenizer::{Special, Tokenizer};
use serde_json::json;

use crate::commands::run::LoadArgs;
use crate::divergence::{Divergence, Precision, Predictor};
use crate::failure::{ExitCode, Failure, Outcome};
use crate::interrupt;
use crate::locate::{self, Located};
use crate::session::{LoadOptions, Session, activations_of};

/// Which text, which model.
#[derive(Args, Debug)]
pub struct PerplexityArgs {
    /// A text file
    file: PathBuf,
    /// A GGUF file or the short name of a model [default: smollm2]
    #[arg(long, short)]
    model: Option<String>,
    /// Tokens a chunk has. The text is cut into chunks; of each, the second half counts, after the first as its context
    #[arg(long, value_name = "COUNT", default_value_t = 512)]
    chunk_length: usize,
    /// Use only the first bytes of the text, up to the end of the last whole character
    #[arg(long, value_name = "COUNT")]
    bytes: Option<usize>,
    /// What activations are multiplied as, where weights are quantised [default: words if the model is narrow, else
    /// bytes]
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

/// What activations are multiplied as, where weights are quantised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ActivationChoice {
    /// Signed bytes with a scale for every 32
    Bytes,
    /// Two bytes: what the first leaves over is coded again
    Words,
    /// Single precision: several times slower
    F32,
}

impl ActivationChoice {
    /// The backend's word for it.
    pub fn activation_type(self) -> ActivationType {
        match self {
            ActivationChoice::Bytes => ActivationType::Bytes,
            ActivationChoice::Words => ActivationType::Words,
            ActivationChoice::F32 => ActivationType::F32,
        }
    }
}

/// Fewest tokens of a chunk: half of it must be something to predict.
const CHUNK_LENGTH_MIN: usize = 4;

/// Runs the command.
///
/// The text is cut as llama-perplexity cuts it: chunks of equal length, the rest of the text unused, the first token of a
/// chunk replaced by the begin token where the model has one; positions from the middle of the chunk on count.
pub fn perplexity(args: &PerplexityArgs) -> Outcome {
    if args.chunk_length < CHUNK_LENGTH_MIN {
        let cause = format!("--chunk-length is {}, at least {CHUNK_LENGTH_MIN} expected", args.chunk_length);
        return Err(Failure::new(ExitCode::Usage, cause));
    }
    let text = read_text(args)?;
    let located = locate::locate(args.model.as_deref(), args.json)?;
    if args.compare { compare(args, &located, &text) } else { measure(args, &located, &text) }
}

/// The perplexity alone, by way of the engine.
fn measure(args: &PerplexityArgs, located: &Located, text: &str) -> Outcome {
    let activations = args.activations.map(ActivationChoice::activation_type);
    let options = LoadOptions {
        context_length: Some(args.chunk_length),
        prefix_cache: false,
        activations,
        ..args.load.options()?
    };
    let session = Session::load(located, &options)?;
    let chunks = Chunks::new(args, session.tokens_of_plain_text(text), session.begin_token())?;
    let (mut total, mut squares, mut counted) = (0.0f64, 0.0f64, 0usize);
    chunks.for_each(args, |chunk| {
        let logprobs = session.prompt_logprobs(chunk)?;
        // `logprobs[i]` is that of token `i + 1`; the positions from the middle on predict their successors.
        for &logprob in &logprobs[args.chunk_length / 2..] {
            total -= f64::from(logprob);
            squares += f64::from(logprob).powi(2);
            counted += 1;
        }
        Ok((total / counted as f64).exp())
    })?;
    let mean = total / counted as f64;
    let value = mean.exp();
    let deviation = (squares / counted as f64 - mean * mean).max(0.0).sqrt();
    let error = value * deviation / ((counted - 1).max(1) as f64).sqrt();
    let mut out = std::io::stdout().lock();
    if args.json {
        let result = json!({
            "model": located.name, "perplexity": value, "standard_error": error, "tokens": chunks.tokens.len(),
            "chunks": chunks.count(), "chunk_length": args.chunk_length, "counted_tokens": counted,
        });
        writeln!(out, "{result}")?;
    } else {
        let chunk_count = chunks.count();
        writeln!(out, "\nperplexity: {value:.4} +/- {error:.5} ({counted} tokens of {chunk_count} chunks)")?;
    }
    Ok(())
}

/// The perplexity beside that of the same model with F32 activations and F16 keys and values.
fn compare(args: &PerplexityArgs, located: &Located, text: &str) -> Outcome {
    let options = args.load.options()?;
    let file = crate::weights::open(&located.path)?;
    let tokenizer = Tokenizer::from_gguf(file.metadata())
        .map_err(|error| Failure::new(ExitCode::BadModel, &error).with_hint(error.hint()))?;
    let chunks = Chunks::new(args, tokens_of_text(&tokenizer, text, Special::AsText), begin_token(&tokenizer))?;
    let activations = args.activations.map_or_else(|| activations_of(&file), ActivationChoice::activation_type);
    let chosen = Precision { activations, kv: options.kv.element() };
    let load = |precision| Predictor::load(&file, args.chunk_length, options.threads, precision);
    let mut sides = [load(chosen)?, load(Precision::REFERENCE)?];
    let mut found = Divergence::default();
    chunks.for_each(args, |chunk| {
        found.add_text(&mut sides, chunk)?;
        Ok(found.perplexity().0)
    })?;
    let (perplexity, excess, divergence) = (found.perplexity(), found.excess(), found.mean());
    let same = found.same_likeliest as f64 / found.tokens as f64;
    let mut out = std::io::stdout().lock();
    if args.json {
        let result = json!({
            "model": located.name, "perplexity": perplexity.0, "standard_error": perplexity.1,
            "tokens": chunks.tokens.len(), "chunks": chunks.count(), "chunk_length": args.chunk_length,
            "counted_tokens": found.tokens, "excess": excess.0, "excess_standard_error": excess.1,
            "divergence": divergence.0, "divergence_standard_error": divergence.1, "same_likeliest": same,
        });
        writeln!(out, "{result}")?;
    } else {
        let (tokens, chunk_count) = (found.tokens, chunks.count());
        let value = perplexity.0;
        writeln!(out, "\nperplexity: {value:.4} +/- {:.5} ({tokens} tokens of {chunk_count} chunks)", perplexity.1)?;
        writeln!(out, "over the reference's: {:+.4} % +/- {:.4}", 100.0 * excess.0, 100.0 * excess.1)?;
        writeln!(out, "mean KL divergence: {:.6} +/- {:.6} nats a token", divergence.0, divergence.1)?;
        writeln!(out, "same likeliest token: {:.2} %", 100.0 * same)?;
    }
    Ok(())
}

/// A text's tokens, cut into chunks.
struct Chunks {
    tokens: Vec<u32>,
    length: usize,
    begin: Option<u32>,
}

impl Chunks {
    fn new(args: &PerplexityArgs, tokens: Vec<u32>, begin: Option<u32>) -> Result<Chunks, Failure> {
        let length = args.chunk_length;
        if tokens.len() < length {
            let (file, count) = (args.file.display(), tokens.len());
            let cause = format!("{file} has {count} tokens, at least one chunk of {length} expected");
            return Err(Failure::new(ExitCode::Usage, cause)
                .with_hint("use a longer text or a shorter --chunk-length".to_owned()));
        }
        Ok(Chunks { tokens, length, begin })
    }

    fn count(&self) -> usize {
        self.tokens.len() / self.length
    }

    /// Calls `add` with every chunk, and prints the perplexity so far, which it gives.
    fn for_each(
        &self,
        args: &PerplexityArgs,
        mut add: impl FnMut(&[u32]) -> Result<f64, Failure>,
    ) -> Result<(), Failure> {
        interrupt::catch();
        let mut out = std::io::stdout().lock();
        for (index, chunk) in self.tokens.chunks_exact(self.length).enumerate() {
            let mut chunk = chunk.to_vec();
            if let Some(begin) = self.begin {
                chunk[0] = begin;
            }
            let so_far = add(&chunk)?;
            if !args.json {
                write!(out, "[{}]{so_far:.4},", index + 1)?;
                out.flush()?;
            }
            if interrupt::was_pressed() {
                writeln!(out)?;
                let cause = format!("stopped by Ctrl-C after {} of {} chunks", index + 1, self.count());
                return Err(Failure::new(ExitCode::Interrupted, cause));
            }
        }
        Ok(())
    }
}

/// The text, or the beginning of it that was asked for.
fn read_text(args: &PerplexityArgs) -> Result<String, Failure> {
    let bytes = std::fs::read(&args.file).map_err(|error| {
        let code = if error.kind() == std::io::ErrorKind::NotFound { ExitCode::Usage } else { ExitCode::Other };
        Failure::new(code, format!("{}: {error}", args.file.display()))
    })?;
    let limit = args.bytes.unwrap_or(bytes.len()).min(bytes.len());
    let is_cut = limit < bytes.len();
    match std::str::from_utf8(&bytes[..limit]) {
        Ok(text) => Ok(text.to_owned()),
        // Cut inside a character: it is left out.
        Err(error) if is_cut && error.error_len().is_none() => {
            Ok(String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned())
        }
        Err(error) => Err(Failure::new(
            ExitCode::Usage,
            format!(
                "{} is not UTF-8: the byte at offset {} begins no character",
                args.file.display(),
                error.valid_up_to()
            ),
        )),
    }
}
