//! `lair slm`: the commands of SLM Packager over Lair's own engine and store.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::answer_printer::{AnswerLook, AnswerPrinter};
use crate::commands::serve::ServeArgs;
use crate::commands::show::bytes_text;
use crate::failure::{ExitCode, Failure, Outcome};
use crate::locate;
use crate::sampling::SamplingArgs;
use crate::session::{Answer, LoadOptions, Message, Prompt, Session, Think, Wishes};
use crate::slm::project::{DEVICES, FORMATS, RUNTIMES};
use crate::slm::registry::{self, ListedModel};
use crate::slm::workshop::Meant;
use crate::slm::{Opened, Project, ServedProjects, Workshop};
use crate::{interrupt, machine, offline};

/// Which command.
#[derive(Args, Debug)]
pub struct SlmArgs {
    #[command(subcommand)]
    command: SlmCommand,
}

#[derive(Subcommand, Debug)]
enum SlmCommand {
    /// Write a project's file; asks for what is not given
    Init(InitArgs),
    /// List the models that have a name, or the projects that are here
    List {
        /// The projects in `~/.slm/configs`
        #[arg(long)]
        installed: bool,
    },
    /// Fetch a model and make a project of it
    Pull(PullArgs),
    /// Answer a prompt with a project, by its file or by its name
    Run(SlmRunArgs),
    /// Measure a project's model with one prompt
    Benchmark {
        /// A project's file or name, or a GGUF file
        model: String,
    },
    /// Remove a project
    Rm {
        /// Its name
        model: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Quantize a model file, as `lair quantize` does
    Quantize {
        /// A GGUF file
        input: PathBuf,
        /// What to write
        output: Option<PathBuf>,
        /// The type of the weights
        #[arg(long = "type", default_value = "q4_k_m")]
        quantization: String,
    },
    /// Answer over HTTP: SLM Packager's own paths, and all that `lair serve` answers
    Serve {
        /// A project's file or name, to begin with; `POST /load` opens another
        config: Option<String>,
        #[command(flatten)]
        serve: Box<ServeArgs>,
    },
}

#[derive(Args, Debug)]
struct InitArgs {
    /// Name of the model
    #[arg(long)]
    name: Option<String>,
    /// Its file
    #[arg(long)]
    path: Option<String>,
    /// Its format
    #[arg(long, value_parser = FORMATS)]
    format: Option<String>,
    /// What runs it; Lair's own engine stands for all
    #[arg(long, value_parser = RUNTIMES)]
    runtime: Option<String>,
    /// Where it is computed
    #[arg(long, value_parser = DEVICES, default_value = DEVICES[0])]
    device: String,
    /// The file to write
    #[arg(long, short, default_value = "slm.yaml")]
    output: PathBuf,
}

#[derive(Args, Debug)]
struct PullArgs {
    /// A name of the list, or a repository of the hub
    model: String,
    /// The file of the repository
    file: Option<String>,
    /// The quantization [default: the recommended one]
    #[arg(long, visible_alias = "quantization", conflicts_with = "file")]
    quant: Option<String>,
    /// Say which quantizations there are, and fetch nothing
    #[arg(long)]
    list_variants: bool,
    /// What to call the project [default: the name of the model]
    #[arg(long)]
    name: Option<String>,
}

#[derive(Args, Debug)]
struct SlmRunArgs {
    /// A project's file or name, a GGUF file, or a model of the list or of `lair run`
    model: String,
    /// What to answer; asked for if not given
    #[arg(long, short)]
    prompt: Option<String>,
    /// Show the answer as it comes (so it is without --no-stream)
    #[arg(long, overrides_with = "no_stream")]
    stream: bool,
    /// Show the answer when it is whole
    #[arg(long)]
    no_stream: bool,
    /// Give the prompt to the model as it is, without the chat template
    #[arg(long)]
    raw: bool,
}

/// What SLM Packager measures with.
const BENCHMARK_PROMPT: &str = "The quick brown fox jumps over the lazy dog.";

/// Runs the command.
pub fn slm(args: &SlmArgs) -> Outcome {
    match &args.command {
        SlmCommand::Init(args) => init(args),
        SlmCommand::List { installed: true } => list_installed(),
        SlmCommand::List { installed: false } => list_known(),
        SlmCommand::Pull(args) => pull(args),
        SlmCommand::Run(args) => run(args),
        SlmCommand::Benchmark { model } => benchmark(model),
        SlmCommand::Rm { model, yes } => remove(model, *yes),
        SlmCommand::Quantize { input, output, quantization } => quantize(input, output.as_deref(), quantization),
        SlmCommand::Serve { config, serve } => {
            let first = config.as_deref().map(open).transpose()?;
            super::serve::serve_projects(serve, ServedProjects::new(first))
        }
    }
}

/// Beside the model, unless it is said where.
fn quantize(input: &Path, output: Option<&Path>, quantization: &str) -> Outcome {
    if !input.is_file() {
        let cause = format!("the model file `{}` is not there", input.display());
        return Err(Failure::new(ExitCode::NotFound, cause));
    }
    let default = || input.with_extension(format!("{}.gguf", quantization.to_lowercase()));
    let output = output.map_or_else(default, Path::to_path_buf);
    super::quantize::quantize_file(input, quantization, &output, false)?;
    Ok(writeln!(std::io::stdout(), "Quantized model saved to {}", output.display())?)
}

fn init(args: &InitArgs) -> Outcome {
    let name = given_or_asked(args.name.as_deref(), "Model Name", &[])?;
    let path = given_or_asked(args.path.as_deref(), "Model Path", &[])?;
    let format = given_or_asked(args.format.as_deref(), "Model Format", &FORMATS)?;
    let runtime = given_or_asked(args.runtime.as_deref(), "Runtime", &RUNTIMES)?;
    let mut project = Project::new(&name, &path, &format, &runtime);
    project.device = args.device.clone();
    project.write(&args.output)?;
    Ok(writeln!(std::io::stdout(), "Config saved to {}", args.output.display())?)
}

/// An option, or what the user answers; asks again until it is one of `choices`, if there are any.
fn given_or_asked(given: Option<&str>, what: &str, choices: &[&str]) -> Result<String, Failure> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let question = if choices.is_empty() { what.to_owned() } else { format!("{what} ({})", choices.join(", ")) };
    loop {
        let answer = ask(&question)?;
        match answer.as_str() {
            "" => {}
            answer if choices.is_empty() || choices.contains(&answer) => return Ok(answer.to_owned()),
            answer => println!("`{answer}` is none of {}", choices.join(", ")),
        }
    }
}

/// Asks on standard output, reads a line of standard input.
fn ask(question: &str) -> Result<String, Failure> {
    let mut out = std::io::stdout();
    write!(out, "{question}: ")?;
    out.flush()?;
    let mut line = String::new();
    if std::io::stdin().lock().read_line(&mut line)? == 0 {
        writeln!(out)?;
        let cause = format!("standard input ended before `{question}` was answered");
        return Err(Failure::new(ExitCode::Usage, cause));
    }
    Ok(line.trim().to_owned())
}

fn list_known() -> Outcome {
    let mut out = std::io::stdout().lock();
    writeln!(out, "Available models:\n")?;
    for model in registry::MODELS {
        let recommended = model.variant(None).map_or("none", |variant| variant.name);
        writeln!(out, "  {} - {}", model.name, model.title)?;
        writeln!(out, "    Format: {}, Runtime: {}", model.format, model.runtime)?;
        writeln!(out, "    Recommended: {recommended}\n")?;
    }
    writeln!(out, "`lair slm pull NAME` fetches one, `lair slm pull NAME --list-variants` lists its files.")?;
    Ok(())
}

fn list_installed() -> Outcome {
    let projects = Workshop::of_home()?.projects()?;
    let mut out = std::io::stdout().lock();
    if projects.is_empty() {
        writeln!(out, "No models installed yet. `lair slm pull tinyllama` fetches one.")?;
        return Ok(());
    }
    writeln!(out, "Installed models:\n")?;
    for (path, project) in projects {
        match project {
            Ok(project) => {
                let size = std::fs::metadata(&project.path).map_or("missing".to_owned(), |data| bytes_text(data.len()));
                writeln!(out, "  {} ({size})", project.name)?;
                writeln!(out, "    Format: {}\n    Path: {}\n", project.format, project.path)?;
            }
            Err(failure) => writeln!(out, "  {} cannot be read: {}\n", path.display(), failure.cause)?,
        }
    }
    Ok(())
}

fn pull(args: &PullArgs) -> Outcome {
    let workshop = Workshop::of_home()?;
    if args.model.contains('/') {
        let Some(file) = &args.file else {
            let cause = format!("`{}` is a repository: which of its files is to be fetched is not said", args.model);
            let hint = format!("`lair slm pull {} FILE.gguf`", args.model);
            return Err(Failure::new(ExitCode::Usage, cause).with_hint(hint));
        };
        let last = args.model.rsplit('/').next().unwrap_or_default().to_lowercase();
        let name = args.name.clone().unwrap_or(last);
        let config = workshop.config_path(&name)?;
        let path = fetch(&args.model, file)?;
        let format = if file.to_ascii_lowercase().ends_with(".onnx") { "onnx" } else { "gguf" };
        let runtime = if format == "onnx" { "onnx" } else { "llama_cpp" };
        let mut project = Project::new(&name, &path.display().to_string(), format, runtime);
        project.description = Some(format!("{} — {file}", args.model));
        return install(&project, &config);
    }
    let model = known(&args.model)?;
    if args.list_variants {
        let mut out = std::io::stdout().lock();
        writeln!(out, "Available variants for {}:", model.title)?;
        for (index, variant) in model.variants.iter().enumerate() {
            let note = if index == 0 { ", recommended" } else { "" };
            writeln!(out, "  {} ({}{note})", variant.name, variant.size)?;
        }
        return Ok(());
    }
    pull_known(&workshop, model, args.quant.as_deref(), args.name.as_deref().unwrap_or(model.name)).map(|_| ())
}

fn known(name: &str) -> Result<&'static ListedModel, Failure> {
    registry::find(name).ok_or_else(|| {
        let names: Vec<&str> = registry::MODELS.iter().map(|model| model.name).collect();
        Failure::new(ExitCode::NotFound, format!("there is no model `{name}` in the list"))
            .with_hint(format!("there are {}; or name a repository and a file", names.join(", ")))
    })
}

/// Fetches a model of the list and makes a project of it; gives the project's file.
fn pull_known(
    workshop: &Workshop,
    model: &ListedModel,
    quantization: Option<&str>,
    name: &str,
) -> Result<PathBuf, Failure> {
    let variant = model.variant(quantization).ok_or_else(|| {
        let names: Vec<&str> = model.variants.iter().map(|variant| variant.name).collect();
        let cause = format!("`{}` has no quantization `{}`", model.name, quantization.unwrap_or_default());
        Failure::new(ExitCode::NotFound, cause).with_hint(format!("there are {}", names.join(", ")))
    })?;
    let config = workshop.config_path(name)?;
    let path = match model.format {
        "gguf" => fetch(model.repository, variant.file)?.display().to_string(),
        // As in SLM Packager the project names the repository; running it says what is missing.
        _ => model.repository.to_owned(),
    };
    let mut project = Project::new(name, &path, model.format, model.runtime);
    project.description = Some(format!("{} ({})", model.title, variant.name));
    install(&project, &config)?;
    Ok(config)
}

fn install(project: &Project, config: &Path) -> Outcome {
    project.write(config)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "Config saved to {}", config.display())?;
    writeln!(out, "Ready to use:\n   lair slm run {} --prompt \"Hello!\"", project.name)?;
    Ok(())
}

/// A file of a repository of the hub, fetched where it is missing.
fn fetch(repository: &str, file: &str) -> Result<PathBuf, Failure> {
    let reference = format!("hf.co/{repository}:{file}");
    locate::locate(Some(&reference), false).map(|located| located.path)
}

/// The project of this name or file. A model of the list that is not here is fetched; any other name is one of
/// `lair run`, with the defaults of a project.
fn open(text: &str) -> Result<Opened, Failure> {
    let workshop = Workshop::of_home()?;
    let config = match workshop.resolve(text)? {
        Meant::Config(path) => path,
        Meant::Name(name) => match registry::find(&name) {
            Some(model) => {
                offline::check(&name, &format!("lair slm pull {name}"))?;
                pull_known(&workshop, model, None, model.name)?
            }
            None => return open_model(&name),
        },
        Meant::ModelFile(path) => return open_model(&path.display().to_string()),
    };
    Opened::read(&config)
}

fn open_model(reference: &str) -> Result<Opened, Failure> {
    let located = locate::locate(Some(reference), false).map_err(|failure| {
        let hint = failure.hint.clone().map(|hint| format!("{hint}; ")).unwrap_or_default();
        failure.with_hint(format!("{hint}`lair slm list` lists models, `lair slm pull` fetches one"))
    })?;
    let project = Project::new(&located.name, &located.path.display().to_string(), "gguf", "llama_cpp");
    Ok(Opened { project, located })
}

impl Opened {
    fn load(&self) -> Result<Session, Failure> {
        Session::load(&self.located, &self.load_options(LoadOptions::default())?)
    }

    fn wishes(&self, session: &Session) -> Result<Wishes, Failure> {
        let params = &self.project.params;
        let sampling = SamplingArgs {
            temperature: Some(params.temperature),
            top_p: Some(params.top_p),
            top_k: Some(params.top_k),
            repeat_penalty: Some(params.repetition_penalty),
            ..SamplingArgs::default()
        };
        Ok(Wishes {
            sampling: sampling.over(session.default_sampling())?,
            max_tokens: Some(params.max_tokens),
            stop: params.stop.clone(),
            logprobs: None,
            format: None,
        })
    }
}

fn run(args: &SlmRunArgs) -> Outcome {
    let opened = open(&args.model)?;
    eprintln!("Loading model {} with {}...", opened.project.name, opened.project.runtime);
    let session = opened.load()?;
    let text = match &args.prompt {
        Some(prompt) => prompt.clone(),
        None => ask("Enter prompt")?,
    };
    let prompt = match args.raw {
        true => session.prompt_of_text(&text),
        false => session.prompt_of_messages(&[Message::new("user", &text)], Think::AsModel)?,
    };
    let answer = stream(&opened, &session, &prompt, !args.no_stream)?;
    if answer.was_interrupted {
        return Err(Failure::new(ExitCode::Interrupted, "stopped by Ctrl-C"));
    }
    Ok(())
}

fn stream(opened: &Opened, session: &Session, prompt: &Prompt, as_it_comes: bool) -> Result<Answer, Failure> {
    interrupt::catch();
    let wishes = opened.wishes(session)?;
    let mut out = std::io::stdout().lock();
    let mut printer = AnswerPrinter::new(&mut out, AnswerLook::of_terminal(true, false));
    let mut held = Vec::new();
    let answer = session.answer(prompt, &wishes, &mut |channel, text| match as_it_comes {
        true => printer.write(channel, text),
        false => {
            held.push((channel, text.to_owned()));
            Ok(())
        }
    });
    for (channel, text) in held {
        printer.write(channel, &text)?;
    }
    printer.finish()?;
    writeln!(out)?;
    answer
}

fn benchmark(model: &str) -> Outcome {
    let opened = open(model)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "Benchmarking {}...", opened.project.name)?;
    let session = opened.load()?;
    let wishes = opened.wishes(&session)?;
    interrupt::catch();
    let prompt = session.prompt_of_text(BENCHMARK_PROMPT);
    let answer = session.answer(&prompt, &wishes, &mut |_, _| Ok(()))?;
    if answer.was_interrupted {
        return Err(Failure::new(ExitCode::Interrupted, "stopped by Ctrl-C"));
    }
    let seconds = answer.total.as_secs_f64();
    let tokens = answer.usage.completion_tokens;
    let memory = machine::peak_memory_bytes()
        .map_or("not known".to_owned(), |bytes| format!("{:.2} MB", bytes as f64 / 1024.0 / 1024.0));
    writeln!(out, "\nBenchmark Results:")?;
    writeln!(out, "   Load Time: {:.2}s", session.load_duration().as_secs_f64())?;
    writeln!(out, "   Generation Time: {seconds:.2}s")?;
    writeln!(out, "   Memory Usage: {memory}")?;
    writeln!(out, "   Latency: {:.2} ms", seconds * 1e3)?;
    writeln!(out, "   Tokens: {tokens}")?;
    writeln!(out, "   TPS: {:.2}", tokens as f64 / seconds.max(f64::MIN_POSITIVE))?;
    writeln!(out, "\n`lair bench {}` measures prefill and decode apart.", opened.located.path.display())?;
    Ok(())
}

fn remove(name: &str, is_sure: bool) -> Outcome {
    let workshop = Workshop::of_home()?;
    let config = workshop.config_path(name)?;
    if !config.is_file() {
        let hint = "`lair slm list --installed` lists the models that are".to_owned();
        return Err(Failure::new(ExitCode::NotFound, format!("`{name}` is not installed")).with_hint(hint));
    }
    if !is_sure {
        let answer = ask(&format!("Delete model '{name}' and its files? [y/N]"))?;
        if !["y", "yes"].contains(&answer.to_lowercase().as_str()) {
            println!("Cancelled.");
            return Ok(());
        }
    }
    let kept = workshop.remove(&config)?;
    println!("Model '{name}' removed");
    if let Some(kept) = kept {
        println!("{} lies in another store and stays there", kept.display());
    }
    Ok(())
}
