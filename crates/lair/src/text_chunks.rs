//! A text, cut into chunks of tokens that a model is measured on.

use std::path::Path;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use lair_text::prompt::{begin_token, tokens_of_text};
use lair_text::tokenizer::{Special, Tokenizer};

use crate::failure::{ExitCode, Failure};
use crate::interrupt;

/// How a text is cut.
#[derive(Args, Clone, Debug)]
pub struct ChunkArgs {
    /// Tokens a chunk has. The text is cut into chunks; of each, the second half counts, after the first as its context
    #[arg(long, value_name = "COUNT", default_value_t = 512)]
    pub chunk_length: usize,
    /// Use only the first chunks
    #[arg(long, value_name = "COUNT")]
    pub chunks: Option<usize>,
    /// Use only the first bytes of the text, up to the end of the last whole character
    #[arg(long, value_name = "COUNT")]
    pub bytes: Option<usize>,
}

/// Fewest tokens of a chunk: half of it must be something to predict.
const CHUNK_LENGTH_MIN: usize = 4;

impl ChunkArgs {
    /// Refuses what cannot be measured.
    ///
    /// # Errors
    /// If chunks are too short or there are none.
    pub fn check(&self) -> Result<(), Failure> {
        if self.chunk_length < CHUNK_LENGTH_MIN {
            let cause = format!("--chunk-length is {}, at least {CHUNK_LENGTH_MIN} expected", self.chunk_length);
            return Err(Failure::new(ExitCode::Usage, cause));
        }
        if self.chunks == Some(0) {
            return Err(Failure::new(ExitCode::Usage, "--chunks is 0, at least 1 expected"));
        }
        Ok(())
    }
}

/// A text's tokens, cut into chunks.
///
/// As llama-perplexity does: chunks of equal length, the rest of the text unused, the first token of a chunk replaced by the
/// begin token where the model has one.
pub struct Chunks {
    tokens: Vec<u32>,
    length: usize,
    begin: Option<u32>,
    /// Tokens of the whole text.
    pub text_tokens: usize,
}

impl Chunks {
    /// Cuts a text. `skipped` chunks at its beginning are left out.
    ///
    /// # Errors
    /// If it cannot be read, is no UTF-8, or is too short.
    pub fn of_file(
        path: &Path,
        args: &ChunkArgs,
        tokenizer: &Tokenizer,
        (special, skipped): (Special, usize),
    ) -> Result<Chunks, Failure> {
        args.check()?;
        let text = read_text(path, args.bytes)?;
        let mut tokens = tokens_of_text(tokenizer, &text, special);
        let length = args.chunk_length;
        let all = tokens.len();
        tokens.drain(..skipped.saturating_mul(length).min(all));
        tokens.truncate(tokens.len() / length * length);
        if let Some(count) = args.chunks {
            tokens.truncate(count.saturating_mul(length));
        }
        if tokens.is_empty() {
            let cause = match skipped {
                0 => format!("{} has {all} tokens, at least one chunk of {length} expected", path.display()),
                _ => format!("{} has {} chunks, {skipped} of them are skipped", path.display(), all / length),
            };
            return Err(Failure::new(ExitCode::Usage, cause)
                .with_hint("use a longer text or a shorter --chunk-length".to_owned()));
        }
        Ok(Chunks { tokens, length, begin: begin_token(tokenizer), text_tokens: all })
    }

    /// The same chunks as another program cut.
    pub fn of_tokens(tokens: Vec<u32>, length: usize, tokenizer: &Tokenizer) -> Chunks {
        let text_tokens = tokens.len();
        Chunks { tokens, length, begin: begin_token(tokenizer), text_tokens }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.tokens.len() / self.length
    }

    /// Tokens of each.
    pub fn length(&self) -> usize {
        self.length
    }

    /// All tokens, as the text has them.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Calls `add` with every chunk, until Ctrl-C; what it gives is shown as the estimate so far.
    ///
    /// # Errors
    /// As `add`; if Ctrl-C was pressed.
    pub fn for_each(
        &self,
        is_quiet: bool,
        mut add: impl FnMut(&[u32]) -> Result<String, Failure>,
    ) -> Result<(), Failure> {
        interrupt::catch();
        let bar = bar(self.count(), is_quiet);
        for (index, chunk) in self.tokens.chunks_exact(self.length).enumerate() {
            let mut chunk = chunk.to_vec();
            if let Some(begin) = self.begin {
                chunk[0] = begin;
            }
            let so_far = add(&chunk)?;
            bar.set_message(so_far.clone());
            bar.inc(1);
            if interrupt::was_pressed() {
                bar.finish_and_clear();
                let cause = format!("stopped by Ctrl-C after {} of {} chunks", index + 1, self.count());
                return Err(Failure::new(ExitCode::Interrupted, cause).with_hint(format!("so far: {so_far}")));
            }
        }
        bar.finish_and_clear();
        Ok(())
    }
}

fn bar(count: usize, is_quiet: bool) -> ProgressBar {
    use std::io::IsTerminal;
    if is_quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(count as u64);
    let form = ProgressStyle::with_template("{bar:20} {pos}/{len} {eta} {msg}");
    bar.set_style(form.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// The text, or the beginning of it that was asked for.
fn read_text(path: &Path, limit: Option<usize>) -> Result<String, Failure> {
    let bytes = std::fs::read(path).map_err(|error| {
        let code = if error.kind() == std::io::ErrorKind::NotFound { ExitCode::Usage } else { ExitCode::Other };
        Failure::new(code, format!("{}: {error}", path.display()))
    })?;
    let limit = limit.unwrap_or(bytes.len()).min(bytes.len());
    let is_cut = limit < bytes.len();
    match std::str::from_utf8(&bytes[..limit]) {
        Ok(text) => Ok(text.to_owned()),
        // Cut inside a character: it is left out.
        Err(error) if is_cut && error.error_len().is_none() => {
            Ok(String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned())
        }
        Err(error) => {
            let (path, offset) = (path.display(), error.valid_up_to());
            let cause = format!("{path} is not UTF-8: the byte at offset {offset} begins no character");
            Err(Failure::new(ExitCode::Usage, cause))
        }
    }
}
