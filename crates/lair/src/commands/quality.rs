//! `lair quality`: size, loss and speed of each quantization of a model, side by side, so that one chooses by data.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use lair_eval::{Chart, ChartPoint, Divergence, Estimate, best};
use lair_gguf::GgufFile;
use lair_text::tokenizer::Special;
use serde_json::json;

use crate::bench::measure::answer;
use crate::commands::kl::{OpenBase, divergence_from, write_base};
use crate::commands::perplexity::Surprise;
use crate::failure::{ExitCode, Failure, Outcome};
use crate::human::size_text;
use crate::locate::{self, Located};
use crate::predictor::{Predictor, PredictorArgs, tokenizer_of};
use crate::session::{LoadOptions, Session};
use crate::text_chunks::{ChunkArgs, Chunks};

/// Which models, and on what text.
#[derive(Args, Debug)]
pub struct QualityArgs {
    /// GGUF files or short names of models, all made of one
    #[arg(required = true)]
    models: Vec<String>,
    /// The text to predict
    #[arg(long, value_name = "FILE", required_unless_present = "base", conflicts_with = "base")]
    text: Option<PathBuf>,
    /// The original that the others are compared with; it is not listed itself unless it is named among them
    #[arg(long, value_name = "MODEL", requires = "text")]
    reference: Option<String>,
    /// Its predictions, from `lair kl --write-base`, instead
    #[arg(long, value_name = "FILE")]
    base: Option<PathBuf>,
    #[command(flatten)]
    cut: ChunkArgs,
    #[command(flatten)]
    predictor: PredictorArgs,
    /// Leave out the speed
    #[arg(long)]
    no_speed: bool,
    /// Rounds of the speed; the fastest counts
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    repeats: u32,
    /// Draw a chart, size across and loss upwards
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// A table in Markdown
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// Tokens of the prompt and the answer that the speed is measured with.
const PROMPT_TOKENS: usize = 512;
const ANSWER_TOKENS: usize = 48;

/// One line of the report.
struct Row {
    name: String,
    size_bytes: u64,
    bits_per_weight: f64,
    perplexity: Estimate,
    divergence: Option<Divergence>,
    speed: Option<Speed>,
    is_best: bool,
}

/// Tokens a second.
#[derive(Clone, Copy)]
struct Speed {
    prefill: f64,
    decode: f64,
}

/// What predictions are compared with.
enum Reference {
    None(Chunks),
    Base(PathBuf),
}

/// Runs the command.
pub fn quality(args: &QualityArgs) -> Outcome {
    args.cut.check()?;
    let located: Vec<Located> =
        args.models.iter().map(|model| locate::locate(Some(model), true)).collect::<Result<_, _>>()?;
    // A base takes tens of megabytes a chunk: it goes where other large temporary files go.
    let folder = tempfile::tempdir()?;
    let reference = reference(args, &located[0], folder.path())?;
    let mut rows = Vec::with_capacity(located.len());
    for (number, located) in located.iter().enumerate() {
        if !args.json {
            eprintln!("{}/{} {}", number + 1, args.models.len(), located.name);
        }
        rows.push(row(args, located, &reference)?);
    }
    let pairs: Vec<(f64, f64)> = rows.iter().map(|row| (row.size_bytes as f64, row.loss().value)).collect();
    rows.iter_mut().zip(best(&pairs)).for_each(|(row, is_best)| row.is_best = is_best);
    rows.sort_by_key(|row| row.size_bytes);
    if let Some(path) = &args.svg {
        draw(&rows, path)?;
    }
    if args.json {
        println!("{}", json!({ "models": rows.iter().map(Row::json).collect::<Vec<_>>() }));
        return Ok(());
    }
    print(&rows, args.markdown)
}

fn reference(args: &QualityArgs, first: &Located, folder: &Path) -> Result<Reference, Failure> {
    if let Some(base) = &args.base {
        return Ok(Reference::Base(base.clone()));
    }
    let Some(text) = &args.text else { unreachable!("the command line has a base or a text") };
    let Some(reference) = &args.reference else {
        let file = crate::weights::open(&first.path)?;
        return Ok(Reference::None(Chunks::of_file(text, &args.cut, &tokenizer_of(&file)?, (Special::AsText, 0))?));
    };
    let located = locate::locate(Some(reference), true)?;
    if !args.json {
        eprintln!("reference {}", located.name);
    }
    let file = crate::weights::open(&located.path)?;
    let chunks = Chunks::of_file(text, &args.cut, &tokenizer_of(&file)?, (Special::AsText, 0))?;
    let base = folder.join("reference.base");
    write_base(&file, &chunks, &args.predictor, (&base, args.json))?;
    Ok(Reference::Base(base))
}

fn row(args: &QualityArgs, located: &Located, reference: &Reference) -> Result<Row, Failure> {
    let file = crate::weights::open(&located.path)?;
    let (perplexity, divergence) = match reference {
        Reference::Base(path) => {
            let mut base = OpenBase::open(path, args.cut.chunks)?;
            let found = divergence_from(&file, &mut base, &args.predictor, args.json)?;
            (found.perplexity(), Some(found))
        }
        Reference::None(chunks) => (perplexity(&file, chunks, args)?, None),
    };
    let elements: u64 = file.tensors().iter().map(|tensor| tensor.element_count()).sum();
    let bytes: u64 = file.tensors().iter().map(|tensor| tensor.size_bytes).sum();
    let size_bytes = file.size_bytes();
    drop(file);
    let speed = if args.no_speed { None } else { Some(speed(args, located)?) };
    Ok(Row {
        name: located.name.clone(),
        size_bytes,
        bits_per_weight: 8.0 * bytes as f64 / elements.max(1) as f64,
        perplexity,
        divergence,
        speed,
        is_best: false,
    })
}

fn perplexity(file: &GgufFile, chunks: &Chunks, args: &QualityArgs) -> Result<Estimate, Failure> {
    let mut model = Predictor::load(file, &args.predictor.options(file, chunks.length()))?;
    let vocabulary = model.vocabulary_size();
    if chunks.tokens().iter().any(|token| *token as usize >= vocabulary) {
        let cause = format!("`{}` has another vocabulary than the first model", file.path().display());
        return Err(Failure::new(ExitCode::Usage, cause));
    }
    let mut found = Surprise::default();
    chunks.for_each(args.json, |chunk| {
        model.predict(chunk, chunk.len() / 2, |place, logits| found.add(logits, vocabulary, &chunk[place + 1..]))?;
        Ok(format!("perplexity {:.4}", found.perplexity().0))
    })?;
    let (value, error) = found.perplexity();
    Ok(Estimate { value, error })
}

/// Speed as `lair run` has it: the fastest of some rounds, since others on the machine only ever slow it down.
fn speed(args: &QualityArgs, located: &Located) -> Result<Speed, Failure> {
    let options = LoadOptions {
        context_length: Some(PROMPT_TOKENS + ANSWER_TOKENS),
        prefix_cache: false,
        speculation: lair_engine::Speculation::Off,
        threads: args.predictor.threads,
        ..LoadOptions::default()
    };
    let session = Session::load(located, &options)?;
    let words = "It was the year in which the river rose above its banks, and everyone had a story about it. ";
    let mut prompt = session.tokens_of_plain_text(&words.repeat(PROMPT_TOKENS / 8));
    prompt.truncate(PROMPT_TOKENS);
    let (mut prefill, mut decode) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..args.repeats {
        prefill = prefill.min(answer(&session, prompt.clone(), 1)?.prefill.as_secs_f64());
        decode = decode.min(answer(&session, prompt[..1].to_vec(), ANSWER_TOKENS)?.decode.as_secs_f64());
    }
    session.unload();
    Ok(Speed { prefill: prompt.len() as f64 / prefill, decode: (ANSWER_TOKENS - 1) as f64 / decode })
}

impl Row {
    /// What counts as the loss: the divergence where it is known, else the perplexity.
    fn loss(&self) -> Estimate {
        self.divergence.as_ref().map_or(self.perplexity, Divergence::mean)
    }

    fn json(&self) -> serde_json::Value {
        let mut value = json!({
            "model": self.name, "size_bytes": self.size_bytes, "bits_per_weight": self.bits_per_weight,
            "perplexity": self.perplexity.value, "perplexity_standard_error": self.perplexity.error,
            "is_best": self.is_best,
        });
        if let Some(found) = &self.divergence {
            let (mean, same, root) = (found.mean(), found.same_likeliest(), found.root_mean_square_shift());
            value["divergence"] = json!(mean.value);
            value["divergence_standard_error"] = json!(mean.error);
            value["same_likeliest"] = json!(same.value);
            value["rms_probability_difference"] = json!(root.value);
        }
        if let Some(speed) = self.speed {
            value["prefill_tokens_per_second"] = json!(speed.prefill);
            value["decode_tokens_per_second"] = json!(speed.decode);
        }
        value
    }

    /// The cells of a table; a star marks what no other beats in size and loss.
    fn cells(&self) -> Vec<String> {
        let mut cells = vec![
            format!("{}{}", self.name, if self.is_best { " *" } else { "" }),
            size_text(self.size_bytes),
            format!("{:.2}", self.bits_per_weight),
            format!("{:.3} +/- {:.3}", self.perplexity.value, self.perplexity.error),
        ];
        if let Some(found) = &self.divergence {
            let mean = found.mean();
            cells.push(format!("{:.5} +/- {:.5}", mean.value, mean.error));
            cells.push(format!("{:.2} %", 100.0 * found.same_likeliest().value));
            cells.push(format!("{:.2} %", 100.0 * found.root_mean_square_shift().value));
        }
        if let Some(speed) = self.speed {
            cells.push(format!("{:.0}", speed.prefill));
            cells.push(format!("{:.1}", speed.decode));
        }
        cells
    }
}

fn print(rows: &[Row], as_markdown: bool) -> Outcome {
    let mut head = vec!["model", "size", "bits", "perplexity"];
    if rows[0].divergence.is_some() {
        head.extend(["divergence", "same token", "rms"]);
    }
    if rows[0].speed.is_some() {
        head.extend(["prefill/s", "decode/s"]);
    }
    let head: Vec<String> = head.into_iter().map(str::to_owned).collect();
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let mut out = std::io::stdout().lock();
    for (number, cells) in lines.iter().enumerate() {
        let cells = cells.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("{cell:width$}"),
            _ => format!("{cell:>width$}"),
        });
        let cells: Vec<String> = cells.collect();
        if !as_markdown {
            writeln!(out, "{}", cells.join("  ").trim_end())?;
            continue;
        }
        writeln!(out, "| {} |", cells.join(" | "))?;
        if number == 0 {
            let rules = widths.iter().enumerate().map(|(column, width)| match column {
                0 => "-".repeat(*width),
                _ => format!("{}:", "-".repeat(width - 1)),
            });
            writeln!(out, "| {} |", rules.collect::<Vec<_>>().join(" | "))?;
        }
    }
    writeln!(out, "\n* no other is smaller and loses less")?;
    Ok(())
}

fn draw(rows: &[Row], path: &Path) -> Outcome {
    let has_divergence = rows.iter().all(|row| row.divergence.is_some());
    let point = |row: &Row| {
        let loss = row.loss();
        let label = Path::new(&row.name)
            .file_stem()
            .map_or_else(|| row.name.clone(), |stem| stem.to_string_lossy().into_owned());
        ChartPoint { label, x: row.size_bytes as f64 / 1e6, y: loss.value, error: loss.error }
    };
    let chart = Chart {
        title: "Size and loss".to_owned(),
        x_name: "megabytes".to_owned(),
        y_name: if has_divergence { "KL divergence, nats a token" } else { "perplexity" }.to_owned(),
        points: rows.iter().map(point).collect(),
    };
    let svg = chart.svg().ok_or_else(|| Failure::new(ExitCode::Engine, "a figure of the chart is not finite"))?;
    std::fs::write(path, svg).map_err(|error| Failure::new(ExitCode::Other, format!("`{}`: {error}", path.display())))
}
