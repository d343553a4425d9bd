//! `lair bench`: how fast a model runs, beside what the machine allows.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use lair_compute::cpu::probe::{self, Peaks};
use lair_compute::cpu::{CpuOptions, IsaChoice};
use lair_gguf::GgufFile;
use lair_model::ModelCost;
use lair_sizing::Roofline;

use crate::bench::measure::Bench;
use crate::bench::noise::Others;
use crate::bench::plan::{self, Test};
use crate::bench::report::{MachineReport, ModelReport, Report};
use crate::bench::start::{self, Child, Starts};
use crate::bench::{Measured, Unit, machine_of};
use crate::commands::run::KvChoice;
use crate::commands::show::{bytes_text, file_type_text};
use crate::failure::{ExitCode, Failure, Outcome};
use crate::locate::{self, Located};
use crate::session::{LoadOptions, ROWS_MAX, Session, model_failure};
use crate::synthetic::mixes::{MIXES, Mix};
use crate::synthetic::shapes::{SHAPES, Shape};
use crate::synthetic::{Synthetic, TemporaryModel};
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
    #[arg(long, value_enum, default_value_t = KvChoice::F16, help_heading = "Loading")]
    kv: KvChoice,
    /// How the figures are printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// What a process does that was started to be measured
    #[arg(long, hide = true, value_delimiter = ',', num_args = 2)]
    child: Option<Vec<usize>>,
}

/// Instruction sets to choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IsaArg {
    /// The best that the machine has
    Auto,
    /// At most AVX2
    Avx2,
    /// No vector instructions
    Scalar,
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

/// One way to run the model.
#[derive(Clone, Copy, Debug)]
struct Setup {
    isa: IsaArg,
    threads: Option<usize>,
}

impl Setup {
    fn choice(self) -> IsaChoice {
        match self.isa {
            IsaArg::Auto => IsaChoice::Auto,
            IsaArg::Avx2 => IsaChoice::Avx2,
            IsaArg::Scalar => IsaChoice::Scalar,
        }
    }

    fn load_options(self, kv: KvChoice) -> LoadOptions {
        LoadOptions { threads: self.threads, kv, isa: self.choice(), ..LoadOptions::default() }
    }

    /// The same as arguments of this command.
    fn arguments(self, kv: KvChoice) -> Vec<String> {
        let name = |value: Option<clap::builder::PossibleValue>| value.map(|value| value.get_name().to_owned());
        let mut arguments = vec!["--isa".to_owned(), name(self.isa.to_possible_value()).unwrap_or_default()];
        arguments.extend(["--kv".to_owned(), name(kv.to_possible_value()).unwrap_or_default()]);
        if let Some(threads) = self.threads {
            arguments.extend(["--threads".to_owned(), threads.to_string()]);
        }
        arguments
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
    let tests = args.tests();
    let (mut measured, mut others, mut warnings) = (Vec::new(), Others::default(), Vec::new());
    let mut kv_token_bytes = 0.0;
    let mut peaks = Vec::new();
    for setup in args.setups() {
        say("measuring the machine");
        peaks.push(measure_machine(setup)?);
    }
    let bench = Benchmark { args, model: &model };
    // Before any model is loaded: pages that a process has mapped do not leave the page cache.
    if !args.no_start {
        for (setup, peaks) in args.setups().into_iter().zip(&peaks) {
            let parts = bench.starts(setup, peaks, &mut warnings, &mut say)?;
            measured.extend(parts.measured);
            kv_token_bytes = parts.kv_token_bytes;
        }
    }
    if !tests.is_empty() {
        for (setup, peaks) in args.setups().into_iter().zip(&peaks) {
            let parts = bench.tests(setup, peaks, &tests, &mut say)?;
            measured.extend(parts.measured);
            kv_token_bytes = parts.kv_token_bytes;
        }
    }
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
    let session = Session::load(&located, &setup.load_options(args.kv))?;
    start::run_as_child(&session, counts[0], counts[1])
}

/// The model's file, made or fetched if need be.
fn model(args: &BenchArgs, say: &mut dyn FnMut(&str)) -> Result<Model, Failure> {
    let (located, temporary) = match &args.synthetic {
        None => (locate::locate(args.model.as_deref(), args.is_json())?, None),
        Some(shape) => synthetic(args, shape, say)?,
    };
    let file = GgufFile::open(&located.path)?;
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
    Ok((Located { path, name: synthetic.name, recommended: Default::default() }, temporary))
}

/// The read bandwidth and the rates of multiply-adds with this set-up.
fn measure_machine(setup: Setup) -> Result<Peaks, Failure> {
    // Four times the largest cache, so that hardly anything is found there; no more than a quarter of what is free.
    let wanted = probe::BUFFER_BYTES.max(4 * machine::largest_cache_bytes().unwrap_or(0) as usize);
    let most = machine::available_memory_bytes().map_or(usize::MAX, |bytes| (bytes / 4) as usize);
    let options = CpuOptions { threads: setup.threads, isa: setup.choice() };
    probe::measure(&options, wanted.min(most)).map_err(|error| Failure::new(ExitCode::Engine, error))
}

/// What one set-up gave.
struct Parts {
    measured: Vec<Measured>,
    kv_token_bytes: f64,
}

struct Benchmark<'a> {
    args: &'a BenchArgs,
    model: &'a Model,
}

impl Benchmark<'_> {
    fn roofline(&self, peaks: &Peaks, kv_token_bytes: f64) -> Roofline<'_> {
        let cost = &self.model.cost;
        let kv_element_bytes = kv_token_bytes / cost.kept_elements().max(1) as f64;
        Roofline { cost, machine: machine_of(peaks), kv_element_bytes, step_tokens_max: ROWS_MAX }
    }

    /// The tests on the loaded model.
    fn tests(&self, setup: Setup, peaks: &Peaks, tests: &[Test], say: &mut dyn FnMut(&str)) -> Result<Parts, Failure> {
        let (context_length, memory_length, sequences_max) = plan::room(tests);
        let options = LoadOptions {
            context_length: Some(context_length),
            memory_length: Some(memory_length),
            sequences_max,
            ..setup.load_options(self.args.kv)
        };
        say("loading the model");
        let session = Session::load(&self.model.located, &options)?;
        let kv_token_bytes = session.kv_token_bytes();
        let roofline = self.roofline(peaks, kv_token_bytes);
        let setup_names = (peaks.thread_count, peaks.isa_name);
        let measured = Bench::new(&session).measure(tests, self.args.repeats, &roofline, setup_names, say)?;
        // The next set-up needs the memory.
        session.engine().stop();
        Ok(Parts { measured, kv_token_bytes })
    }

    /// New processes: their first token with and without the page cache, and their memory.
    fn starts(
        &self,
        setup: Setup,
        peaks: &Peaks,
        warnings: &mut Vec<String>,
        say: &mut dyn FnMut(&str),
    ) -> Result<Parts, Failure> {
        let child = Child { path: self.model.located.path.clone(), load_arguments: setup.arguments(self.args.kv) };
        let repeats = self.args.repeats;
        let mut measured = Vec::new();
        let warm = start::warm(&child, repeats, say)?;
        let kv_token_bytes = warm.started[0].kv_token_bytes;
        let roofline = self.roofline(peaks, kv_token_bytes);
        let limit = roofline.prefill(1, start::PROMPT_TOKENS);
        measured.push(started("start, warm", &warm, peaks, (1e3 * limit.seconds, limit.bound.name())));
        let files: Vec<PathBuf> = self.model.file.paths().map(PathBuf::from).collect();
        match start::cold(&child, &files, repeats, say)? {
            Some((cold, read_seconds)) => {
                let limit = (1e3 * read_seconds.max(limit.seconds), "disk");
                measured.push(started("start, cold", &cold, peaks, limit));
            }
            None => warnings.push("the page cache does not forget the model's file here: no cold start".to_owned()),
        }
        let longest = |counts: &[usize]| counts.iter().copied().max().unwrap_or(0).max(1);
        let (prompt, answer) = (longest(&self.args.prefill), longest(&self.args.decode));
        say("memory: one prompt and one answer");
        let ran = child.run(prompt, answer)?;
        if let Some(memory) = ran.memory {
            let tensors: u64 = self.model.file.tensors().iter().map(|tensor| tensor.size_bytes).sum();
            measured.push(Measured {
                name: "peak memory".to_owned(),
                kind: "memory",
                prompt_tokens: prompt,
                generated_tokens: answer,
                unit: Unit::Bytes,
                samples: vec![memory.peak as f64],
                limit: Some(tensors as f64 + (prompt + answer) as f64 * kv_token_bytes),
                bound: "weights, keys and values",
                details: vec![("anonymous_bytes", memory.anonymous as f64), ("file_bytes", memory.file as f64)],
                ..started("", &Starts::default(), peaks, (0.0, ""))
            });
        }
        Ok(Parts { measured, kv_token_bytes })
    }
}

/// Times to a first token; `limit` in milliseconds with what sets it.
fn started(name: &str, starts: &Starts, peaks: &Peaks, (limit, bound): (f64, &'static str)) -> Measured {
    let mut loads: Vec<f64> = starts.started.iter().map(|started| 1e3 * started.load_seconds).collect();
    loads.sort_by(f64::total_cmp);
    Measured {
        name: name.to_owned(),
        kind: "start",
        prompt_tokens: start::PROMPT_TOKENS,
        generated_tokens: 1,
        depth: 0,
        streams: 1,
        thread_count: peaks.thread_count,
        isa_name: peaks.isa_name,
        unit: Unit::Milliseconds,
        samples: starts.started.iter().map(|started| 1e3 * started.seconds).collect(),
        limit: Some(limit),
        bound,
        others: starts.others,
        details: loads.get(loads.len() / 2).map(|median| ("load_ms", *median)).into_iter().collect(),
    }
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
