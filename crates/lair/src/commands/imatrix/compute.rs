//! `lair imatrix compute`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use lair_compute::cpu::{InputSums, InputTaps};
use lair_convert::quantize::{Counted, Entry, ImportanceMatrix};
use lair_gguf::{GgufFile, ShardName};
use lair_text::tokenizer::Special;
use serde_json::json;

use super::{Format, check_out, format_of, write};
use crate::commands::perplexity::Surprise;
use crate::failure::{ExitCode, Failure, Outcome};
use crate::locate;
use crate::predictor::{Predictor, PredictorArgs, tokenizer_of};
use crate::text_chunks::{ChunkArgs, Chunks};

/// Which text, which model.
#[derive(Args, Debug)]
pub(super) struct ComputeArgs {
    /// A text file, like what the model will be used for
    text: PathBuf,
    /// A GGUF file or the short name of a model, best in F16, BF16 or F32 [default: smollm2]
    #[arg(long, short)]
    model: Option<String>,
    /// The new file [default: named after the model, ending in .imatrix.gguf, where the model lies or here]
    #[arg(long, short)]
    out: Option<PathBuf>,
    #[command(flatten)]
    cut: ChunkArgs,
    /// Leave out so many chunks at the beginning of the text
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    from_chunk: usize,
    /// Add to a matrix that was computed before; may be repeated
    #[arg(long, value_name = "FILE")]
    in_file: Vec<PathBuf>,
    /// The head as well: its weights are usually better off without
    #[arg(long)]
    process_output: bool,
    /// Read control tokens that the text spells out as what they are
    #[arg(long)]
    parse_special: bool,
    /// Do not measure the perplexity beside: somewhat faster
    #[arg(long)]
    no_perplexity: bool,
    /// The format of the file [default: by its ending]
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    predictor: PredictorArgs,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    /// One JSON object instead of text
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn compute(args: &ComputeArgs) -> Outcome {
    args.cut.check()?;
    let mut earlier = ImportanceMatrix::default();
    for path in &args.in_file {
        let mut matrix = ImportanceMatrix::read(path)?;
        matrix.count_rows(args.cut.chunk_length as u32);
        earlier.merge(&matrix)?;
    }
    let located = locate::locate(args.model.as_deref(), args.json)?;
    let file = crate::weights::open(&located.path)?;
    let out = args.out.clone().unwrap_or_else(|| default_out(&located.path, args.model.as_deref()));
    check_out(&out, args.force)?;
    let special = if args.parse_special { Special::Parse } else { Special::AsText };
    let chunks = Chunks::of_file(&args.text, &args.cut, &tokenizer_of(&file)?, (special, args.from_chunk))?;
    warn_of_quantized(&file);

    let taps = InputTaps::default();
    let mut options = args.predictor.options(&file, chunks.length());
    options.taps = Some(taps.clone());
    let mut model = Predictor::load(&file, &options)?;
    let started = Instant::now();
    let (ended, surprise, done) = run(args, &chunks, &mut model);
    let interrupted = ended.as_ref().is_err_and(|failure| failure.code == ExitCode::Interrupted);
    if let (Err(failure), false) = (ended, interrupted && done > 0) {
        return Err(failure);
    }
    let mut matrix = matrix_of(taps.sums(), args, &chunks, done)?;
    matrix.merge(&earlier)?;
    write(&matrix, &out, format_of(&out, args.format))?;
    if interrupted {
        let cause = format!("stopped by Ctrl-C after {done} of {} chunks", chunks.count());
        let hint =
            format!("`{}` holds these; `--from-chunk {} --in-file` goes on", out.display(), args.from_chunk + done);
        return Err(Failure::new(ExitCode::Interrupted, cause).with_hint(hint));
    }
    report(args, &located.name, &out, &matrix, (surprise, started.elapsed().as_secs_f64()));
    Ok(())
}

/// Runs the text through the model; how it ended, what it predicted, and how many chunks were run.
fn run(args: &ComputeArgs, chunks: &Chunks, model: &mut Predictor) -> (Outcome, Surprise, usize) {
    let vocabulary = model.vocabulary_size();
    let (mut surprise, mut done) = (Surprise::default(), 0);
    let ended = chunks.for_each(args.json, |chunk| {
        let first = (!args.no_perplexity || args.process_output).then_some(chunk.len() / 2);
        // With the head, its inputs are of all rows as everything else's.
        let first = if args.process_output { Some(0) } else { first };
        model.run_through(chunk, first, |position, logits| {
            let skipped = (chunk.len() / 2).saturating_sub(position);
            let place = position + skipped;
            match logits.get(skipped * vocabulary..) {
                Some(logits) if !args.no_perplexity => {
                    surprise.add(logits, vocabulary, &chunk[chunk.len().min(place + 1)..])
                }
                _ => Ok(()),
            }
        })?;
        done += 1;
        Ok(match surprise.count {
            0 => String::new(),
            _ => format!("perplexity {:.4}", surprise.perplexity().0),
        })
    });
    (ended, surprise, done)
}

/// The sums as a matrix: those of layers, and of the head if it is wanted.
fn matrix_of(
    sums: Vec<InputSums>,
    args: &ComputeArgs,
    chunks: &Chunks,
    done: usize,
) -> Result<ImportanceMatrix, Failure> {
    let is_head = |name: &str| name == "output.weight" || name == "token_embd.weight";
    let mut matrix = ImportanceMatrix {
        datasets: vec![args.text.display().to_string()],
        chunk_count: done as u32,
        chunk_size: chunks.length() as u32,
        counted: Counted::Rows,
        ..ImportanceMatrix::default()
    };
    for sums in sums {
        let is_wanted = sums.name.starts_with("blk.") || args.process_output && is_head(&sums.name);
        if !is_wanted {
            continue;
        }
        if sums.sums.iter().any(|sum| !sum.is_finite()) {
            let cause = format!("what `{}` is multiplied with has numbers that are not finite", sums.name);
            return Err(Failure::new(ExitCode::Engine, cause));
        }
        let entry = Entry {
            sums: sums.sums.iter().map(|sum| *sum as f32).collect(),
            counts: sums.counts.iter().map(|count| *count as f32).collect(),
        };
        // A tensor that serves several layers was tapped in each.
        let one = ImportanceMatrix { entries: [(sums.name, entry)].into(), ..ImportanceMatrix::default() };
        matrix.merge(&one)?;
    }
    Ok(matrix)
}

/// Sums of a model that is quantized already are of what quantizing has left.
fn warn_of_quantized(file: &GgufFile) {
    let is_quantized = |tensor: &&lair_gguf::TensorInfo| tensor.tensor_type.block_length() > 1;
    if let Some(tensor) = file.tensors().iter().find(is_quantized) {
        let (name, kind) = (&tensor.name, tensor.tensor_type);
        eprintln!("note: the model is quantized (`{name}` is {kind}); importances of the original are more exact");
    }
}

fn default_out(path: &Path, model: Option<&str>) -> PathBuf {
    let stem = ShardName::parse(path)
        .map(|shard| shard.prefix)
        .or_else(|| path.extension().is_some_and(|ending| ending == "gguf").then(|| path.with_extension("")));
    let stem = stem.unwrap_or_else(|| PathBuf::from(model.unwrap_or("model").replace(['/', ':', '\\'], "-")));
    let mut name = stem.into_os_string();
    name.push(".imatrix.gguf");
    PathBuf::from(name)
}

fn report(
    args: &ComputeArgs,
    model: &str,
    out: &Path,
    matrix: &ImportanceMatrix,
    (surprise, seconds): (Surprise, f64),
) {
    let unseen: Vec<(&String, usize)> = matrix
        .entries
        .iter()
        .map(|(name, entry)| (name, entry.counts.iter().filter(|count| **count <= 0.0).count()))
        .filter(|(_, unseen)| *unseen > 0)
        .collect();
    let perplexity = (surprise.count > 0).then(|| surprise.perplexity());
    if args.json {
        let result = json!({
            "model": model, "path": out, "chunks": matrix.chunk_count, "chunk_length": matrix.chunk_size,
            "tensors": matrix.entries.len(), "seconds": seconds,
            "perplexity": perplexity.map(|(value, _)| value), "standard_error": perplexity.map(|(_, error)| error),
            "unseen_experts": unseen.iter().map(|(name, count)| ((*name).clone(), json!(count)))
                .collect::<serde_json::Map<_, _>>(),
        });
        println!("{result}");
        return;
    }
    for (name, count) in &unseen {
        eprintln!("note: {count} experts of `{name}` saw nothing of this text; they count as equally important");
    }
    if let Some((value, error)) = perplexity {
        eprintln!("perplexity: {value:.4} +/- {error:.5}");
    }
    eprintln!(
        "{} tensors, {} chunks of {} tokens in {seconds:.1} s",
        matrix.entries.len(),
        matrix.chunk_count,
        matrix.chunk_size
    );
    println!("{}", out.display());
}
