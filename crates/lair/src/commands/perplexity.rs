//! `lair perplexity`: how well a model predicts a text.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::commands::run::LoadArgs;
use crate::failure::{ExitCode, Failure, Outcome};
use crate::session::{LoadOptions, Session};
use crate::{interrupt, locate};

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
    #[command(flatten)]
    load: LoadArgs,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
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
    let options = LoadOptions { context_length: Some(args.chunk_length), prefix_cache: false, ..args.load.options()? };
    let session = Session::load(&located, &options)?;
    interrupt::catch();
    let tokens = session.tokens_of_plain_text(&text);
    let chunk_count = tokens.len() / args.chunk_length;
    if chunk_count == 0 {
        let cause = format!(
            "{} has {} tokens, at least one chunk of {} expected",
            args.file.display(),
            tokens.len(),
            args.chunk_length
        );
        return Err(
            Failure::new(ExitCode::Usage, cause).with_hint("use a longer text or a shorter --chunk-length".to_owned())
        );
    }
    let mut out = std::io::stdout().lock();
    let (mut total, mut squares, mut counted) = (0.0f64, 0.0f64, 0usize);
    for (index, chunk) in tokens.chunks_exact(args.chunk_length).enumerate() {
        let mut chunk = chunk.to_vec();
        if let Some(begin) = session.begin_token() {
            chunk[0] = begin;
        }
        let logprobs = session.prompt_logprobs(&chunk)?;
        // `logprobs[i]` is that of token `i + 1`; the positions from the middle on predict their successors.
        for &logprob in &logprobs[args.chunk_length / 2..] {
            total -= f64::from(logprob);
            squares += f64::from(logprob).powi(2);
            counted += 1;
        }
        if !args.json {
            write!(out, "[{}]{:.4},", index + 1, (total / counted as f64).exp())?;
            out.flush()?;
        }
        if interrupt::was_pressed() {
            writeln!(out)?;
            return Err(Failure::new(
                ExitCode::Interrupted,
                format!("stopped by Ctrl-C after {} of {chunk_count} chunks", index + 1),
            ));
        }
    }
    let mean = total / counted as f64;
    let value = mean.exp();
    let deviation = (squares / counted as f64 - mean * mean).max(0.0).sqrt();
    let error = value * deviation / ((counted - 1).max(1) as f64).sqrt();
    if args.json {
        let result = json!({
            "model": located.name, "perplexity": value, "standard_error": error, "tokens": tokens.len(),
            "chunks": chunk_count, "chunk_length": args.chunk_length, "counted_tokens": counted,
        });
        writeln!(out, "{result}")?;
    } else {
        writeln!(out, "\nperplexity: {value:.4} +/- {error:.5} ({counted} tokens of {chunk_count} chunks)")?;
    }
    Ok(())
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
