//! `lair bench`: how fast a model runs, beside what the machine allows.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use lair_compute::cpu::CpuOptions;
use lair_compute::cpu::probe::Peaks;
use lair_gguf::GgufFile;
use lair_model::ModelCost;
use lair_sizing::Roofline;

use crate::bench::noise::Others;
use crate::bench::plan::Test;
use crate::bench::report::{MachineReport, ModelReport, Report};
use crate::bench::start;
use crate::bench::suite::{Entry, IsaArg, Setup, Suite};
use crate::bench::{Measured, machine_of};
use crate::commands::run::KvChoice;
use crate::commands::show::{bytes_text, file_type_text};
use crate::failure::{ExitCode, Failure, Outcome};
use crate::locate::{self, Located};
use crate::measured_machine;
use crate::session::{LoadOptions, ROWS_MAX, Session, model_failure};
use crate::synthetic::mixes::{MIXES, Mix};
use crate::synthetic::shapes::{SHAPES, Shape};
use crate::synthetic::{Synthetic, TemporaryModel};
use crate::weight_cache::WeightCacheArgs;
use crate::{interrupt, machine};

/// What to measure, on which model.
#[derive(Args, Debug)]
pub struct BenchArgs {
    /// A GGUF file or the short name of a model [default: smollm2]
    #[arg(conflicts_with = "synthetic")]
    model: Option<String>,
    /// A model of this shape with random weights instead: tinyllama-1.1b, qwen2.5-7b and others
    #[arg(long, value_name = "SHAPE")]
    synthetic: Option<String>,
    /// Its quantization: any type, or a mix as Q4_K_M
    #[arg(long = "type", value_name = "TYPE", requires = "synthetic", default_value = "Q4_K_M")]
    mix: String,
    /// So many layers instead of all of the shape
    #[arg(long, value_name = "COUNT", requires = "synthetic")]
    layers: Option<u32>,
    /// Write it to this file and leave it there
    #[arg(long, value_name = "FILE", requires = "synthetic")]
    keep: Option<PathBuf>,
    /// Lengths of prompts to measure prefill with; 0 leaves it out
    #[arg(long, value_name = "COUNTS", value_delimiter = ',', default_value = "512", help_heading = "Tests")]
    prefill: Vec<usize>,
    /// Lengths of answers to measure decoding with; 0 leaves it out
    #[arg(long, value_name = "COUNTS", value_delimiter = ',', default_value = "128", help_heading = "Tests")]
    decode: Vec<usize>,
    /// Tokens in the context before decoding is measured
    #[arg(long, value_name = "COUNTS", value_delimiter = ',', default_value = "0", help_heading = "Tests")]
    depth: Vec<usize>,
    /// Sequences at once, each with its prompt and its answer
    #[arg(long, value_name = "COUNTS", value_delimiter = ',', help_heading = "Tests")]
    streams: Vec<usize>,
    /// Tokens of the prompt of each
    #[arg(long, value_name = "COUNT", default_value_t = 125, help_heading = "Tests")]
    stream_prompt: usize,
    /// Tokens of the answer of each
    #[arg(long, value_name = "COUNT", default_value_t = 64, help_heading = "Tests")]
    stream_answer: usize,
    /// Leave out the time to the first token of a new process, and its memory
    #[arg(long, help_heading = "Tests")]
    no_start: bool,
    /// Rounds; the median counts
    #[arg(long, short, value_name = "COUNT", default_value_t = 5)]
    repeats: usize,
    /// Threads to compute with, several to compare [default: as many as this process may use]
    #[arg(long, short, value_name = "COUNTS", value_delimiter = ',', help_heading = "Loading")]
    threads: Vec<usize>,
    /// The best instruction set that may be used, several to compare
    #[arg(long, value_enum, value_delimiter = ',', default_value = "auto", help_heading = "Loading")]
    isa: Vec<IsaArg>,
    /// How keys and values are kept
    #[arg(long, value_enum, default_value_t = KvChoice::Q8_0, help_heading = "Loading")]
    kv: KvChoice,
    #[command(flatten)]
    weight_cache: WeightCacheArgs,
    /// How the figures are printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// What a process does that was started to be measured
    #[arg(long, hide = true, num_args = 2, value_names = ["PROMPT", "ANSWER"])]
    child: Option<Vec<usize>>,
}

/// How figures are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people
    Table,
    /// A Markdown table
    Md,
    /// A line for each test, with machine and model
    Csv,
    /// One object
    Json,
}

impl BenchArgs {
    /// Whether failures are to be JSON too.
    pub fn is_json(&self) -> bool {
        self.json || self.format == Format::Json
    }

    fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }

    /// Every combination of instruction set and number of threads that was asked for.
    fn setups(&self) -> Vec<Setup> {
        let threads: Vec<Option<usize>> = match &self.threads[..] {
            [] => vec![None],
            counts => counts.iter().map(|count| Some(*count)).collect(),
        };
        let with = |isa: IsaArg| threads.iter().map(move |&threads| Setup { isa, threads });
        self.isa.iter().flat_map(|&isa| with(isa)).collect()
    }

    fn tests(&self) -> Vec<Test> {
        let some = |counts: &[usize]| counts.iter().copied().filter(|count| *count > 0).collect::<Vec<_>>();
        let mut tests: Vec<Test> = some(&self.prefill).into_iter().map(|tokens| Test::Prefill { tokens }).collect();
        for &depth in &self.depth {
            tests.extend(some(&self.decode).into_iter().map(|tokens| Test::Decode { depth, tokens }));
        }
        let (prompt, answer) = (self.stream_prompt, self.stream_answer);
        tests.extend(some(&self.streams).into_iter().map(|streams| Test::Streams { streams, prompt, answer }));
        tests
    }

    fn check(&self) -> Result<(), Failure> {
        for (name, least) in [
            ("--repeats", self.repeats),
            ("--stream-prompt", self.stream_prompt),
            ("--stream-answer", self.stream_answer),
            ("--threads", self.threads.iter().copied().min().unwrap_or(1)),
            ("--layers", self.layers.unwrap_or(1) as usize),
        ] {
            if least == 0 {
                return Err(Failure::new(ExitCode::Usage, format!("{name} is 0, at least 1 expected")));
            }
        }
        // As many as a step has rows.
        match self.streams.iter().find(|streams| **streams > ROWS_MAX) {
            Some(streams) => {
                Err(Failure::new(ExitCode::Usage, format!("--streams is {streams}, at most {ROWS_MAX} expected")))
            }
            None => Ok(()),
        }
    }
}

/// The model that is measured.
struct Model {
    located: Located,
    file: GgufFile,
    cost: ModelCost,
    /// Removes a synthetic model's file in the end.
    temporary: Option<TemporaryModel>,
}

/// Runs the command.
pub fn bench(args: &BenchArgs) -> Outcome {
    args.check()?;
    if let Some(counts) = &args.child {
        return as_child(args, counts);
    }
    interrupt::catch();
    // With --json, what stands on standard error is one object if anything.
    let is_quiet = args.is_json() && !std::io::stderr().is_terminal();
    let mut say = |text: &str| {
        if !is_quiet {
            eprintln!("{text}");
        }
    };
    let model = model(args, &mut say)?;
    let setups = args.setups();
    say("measuring the machine");
    let before = measure_machine(&setups)?;
    let weight_cache = (args.weight_cache.open()?, args.weight_cache.arguments());
    let suite = Suite { located: &model.located, file: &model.file, kv: args.kv, weight_cache, repeats: args.repeats };
    let (mut entries, mut warnings) = (Vec::new(), Vec::new());
    // Before any model is loaded: pages that a process has mapped do not leave the page cache.
    if !args.no_start {
        let longest = |counts: &[usize]| counts.iter().copied().max().unwrap_or(0).max(1);
        let lengths = (longest(&args.prefill), longest(&args.decode));
        for setup in &setups {
            entries.extend(suite.starts(setup, lengths, &mut warnings, &mut say)?);
        }
    }
    let tests = args.tests();
    if !tests.is_empty() {
        for setup in &setups {
            entries.extend(suite.tests(setup, &tests, &mut say)?);
        }
    }
    // Whatever disturbed the first measurement hardly disturbs both.
    say("measuring the machine once more");
    let after = measure_machine(&setups)?;
    let peaks: Vec<Peaks> = before.iter().zip(&after).map(|(before, after)| before.better_of(after)).collect();
    let kv_token_bytes = entries.first().map_or(0.0, |entry| entry.kv_token_bytes);
    let kv_element_bytes = kv_token_bytes / model.cost.kept_elements().max(1) as f64;
    let roofline = |peaks: &Peaks| Roofline {
        cost: &model.cost,
        machine: machine_of(peaks),
        kv_element_bytes,
        step_tokens_max: ROWS_MAX,
        reached: None,
    };
    let per_setup = |entry: &Entry| setups.iter().position(|setup| *setup == entry.setup).unwrap_or(0);
    let measured: Vec<Measured> = entries
        .into_iter()
        .map(|entry| {
            let peaks = &peaks[per_setup(&entry)];
            entry.measured(peaks, &roofline(peaks))
        })
        .collect();
    let mut others = Others::default();
    measured.iter().for_each(|measured| others.merge(&measured.others));
    warnings.extend(others.warning());
    let report = Report {
        machine: MachineReport {
            processor: machine::processor_name().unwrap_or_else(|| "a processor without a name".to_owned()),
            processor_count: CpuOptions::default().thread_count(),
            peaks,
        },
        model: describe(&model, kv_token_bytes)?,
        measured,
        repeats: args.repeats,
        warnings,
    };
    let text = match args.format() {
        Format::Table => report.table(),
        Format::Md => report.markdown(),
        Format::Csv => report.csv(),
        Format::Json => format!("{:#}\n", report.json()),
    };
    Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
}

/// What a process does that was started to be measured.
fn as_child(args: &BenchArgs, counts: &[usize]) -> Outcome {
    let located = locate::locate(args.model.as_deref(), true)?;
    let [setup] = args.setups()[..] else {
        return Err(Failure::new(ExitCode::Usage, "--child takes one set-up"));
    };
    let options = LoadOptions { weight_cache: args.weight_cache.open()?, ..setup.load_options(args.kv) };
    let session = Session::load(&located, &options)?;
    start::run_as_child(&session, (counts[0], counts[1]))
}

/// The model's file, made or fetched if need be.
fn model(args: &BenchArgs, say: &mut dyn FnMut(&str)) -> Result<Model, Failure> {
    let (located, temporary) = match &args.synthetic {
        None => (locate::locate(args.model.as_deref(), args.is_json())?, None),
        Some(shape) => synthetic(args, shape, say)?,
    };
    let file = crate::weights::open(&located.path)?;
    let cost = ModelCost::of(file.metadata(), file.tensors()).map_err(model_failure)?;
    Ok(Model { located, file, cost, temporary })
}

fn synthetic(
    args: &BenchArgs,
    shape: &str,
    say: &mut dyn FnMut(&str),
) -> Result<(Located, Option<TemporaryModel>), Failure> {
    let Some(shape) = Shape::find(shape) else {
        let known: Vec<&str> = SHAPES.iter().map(|shape| shape.name).collect();
        return Err(Failure::new(ExitCode::Usage, format!("`{shape}` is no shape"))
            .with_hint(format!("shapes: {}", known.join(", "))));
    };
    let Some(mix) = Mix::find(&args.mix) else {
        let known: Vec<&str> = MIXES.iter().map(|mix| mix.name).collect();
        return Err(Failure::new(ExitCode::Usage, format!("`{}` is no quantization", args.mix))
            .with_hint(format!("types and mixes: {}", known.join(", "))));
    };
    let shape = args.layers.map_or(*shape, |layer_count| shape.with_layers(layer_count));
    let synthetic = Synthetic::new(&shape, mix)?;
    say(&format!("making {}, {}", synthetic.name, bytes_text(synthetic.size_bytes())));
    let (path, temporary) = match &args.keep {
        Some(path) => {
            synthetic.keep(path)?;
            (path.clone(), None)
        }
        None => {
            let model = synthetic.write_temporary()?;
            (model.path().to_owned(), Some(model))
        }
    };
    Ok((Located { name: synthetic.name, ..Located::file(path) }, temporary))
}

/// The read bandwidth and the rates of multiply-adds with each set-up.
fn measure_machine(setups: &[Setup]) -> Result<Vec<Peaks>, Failure> {
    let measure =
        |setup: &Setup| measured_machine::measure(&CpuOptions { threads: setup.threads, isa: setup.isa.choice() });
    setups.iter().map(measure).collect()
}

fn describe(model: &Model, kv_token_bytes: f64) -> Result<ModelReport, Failure> {
    let mut types: Vec<(String, u64)> = Vec::new();
    for tensor in model.file.tensors() {
        let name = tensor.tensor_type.name();
        match types.iter_mut().find(|(known, _)| known == name) {
            Some((_, size_bytes)) => *size_bytes += tensor.size_bytes,
            None => types.push((name.to_owned(), tensor.size_bytes)),
        }
    }
    types.sort_by_key(|(_, size_bytes)| std::cmp::Reverse(*size_bytes));
    Ok(ModelReport {
        name: model.located.name.clone(),
        path: model.temporary.is_none().then(|| model.located.path.display().to_string()),
        architecture: model.file.architecture()?.to_owned(),
        file_type: file_type_text(model.file.metadata()),
        parameters: model.cost.parameters,
        size_bytes: model.file.size_bytes(),
        types,
        bytes_a_token: model.cost.weight_bytes(1, 1),
        macs_a_token: model.cost.layer_macs(),
        kv_token_bytes,
    })
}
