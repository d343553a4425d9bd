//! Lair, the local AI runtime: the program.

mod activation_dump;
mod adapter_choice;
mod answer_format;
mod answer_printer;
mod bench;
mod chat;
mod choices;
mod commands;
mod config;
mod doctor;
mod download_bar;
mod failure;
mod fit;
mod human;
mod interrupt;
mod locate;
mod machine;
mod make_model;
mod measured_machine;
mod memory_ledger;
mod offers;
mod offline;
mod parameters;
mod pictures;
mod predictor;
mod prompt_cache;
mod provenance;
mod sampling;
mod serve;
mod server_address;
mod serving;
mod session;
mod slm;
mod speculate;
mod stored_model;
mod synthetic;
mod terminal;
mod text_chunks;
mod timings;
mod weight_cache;
mod weights;
mod word_wrap;

use std::ffi::OsString;

use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::ParseError;
use crate::failure::{ExitCode, Failure, Outcome};

/// Runs open-weight language models on this machine.
#[derive(Parser, Debug)]
#[command(name = "lair", disable_version_flag = true)]
struct Cli {
    /// Fetch nothing and ask nobody beyond this machine; what is not here is refused
    #[arg(long, global = true)]
    offline: bool,
    /// Print the version; with --json as an object
    #[arg(long, short = 'V', action = ArgAction::SetTrue)]
    version: bool,
    /// With --version: one JSON object
    #[arg(long, requires = "version")]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Answer a prompt, or chat
    #[command(after_help = config::HELP)]
    Run(Box<commands::run::RunArgs>),
    /// Answer clients of Ollama and OpenAI over HTTP
    #[command(visible_alias = "start", after_help = config::HELP)]
    Serve(Box<commands::serve::ServeArgs>),
    /// Open the page in a browser: chats, models, measurements
    Ui(commands::ui::UiArgs),
    /// List the models in the memory of the running server
    Ps(commands::ps::PsArgs),
    /// Have the running server give up the memory of models
    Stop(commands::ps::StopArgs),
    /// Make, list and take back keys of the server
    Key(commands::key::KeyArgs),
    /// Show what the server recorded of its requests
    Log(commands::log::LogArgs),
    /// Bring a model here
    Pull(commands::pull::PullArgs),
    /// Give a model to a registry
    Push(commands::push::PushArgs),
    /// Look for models in the catalogue and on the hub
    Search(commands::search::SearchArgs),
    /// Say which models have changed where they came from
    Outdated(commands::outdated::OutdatedArgs),
    /// Bring what has changed
    Update(commands::outdated::UpdateArgs),
    /// Make a GGUF file of a checkpoint in safetensors or PyTorch's files
    Convert(commands::convert::ConvertArgs),
    /// Add low-rank adapters (LoRA) to a model's weights for good
    ExportLora(commands::export_lora::ExportLoraArgs),
    /// Make one model of several, as a file in mergekit's YAML says
    Merge(commands::merge::MergeArgs),
    /// Make a model of a Modelfile
    Create(commands::create::CreateArgs),
    /// Say what a model file is
    Show(commands::show::ShowArgs),
    /// List the models on this machine, whoever keeps them
    #[command(visible_alias = "ls")]
    List(commands::list::ListArgs),
    /// Give a model a second name
    Cp(commands::rm::CpArgs),
    /// Remove models
    #[command(visible_aliases = ["remove", "delete"])]
    Rm(commands::rm::RmArgs),
    /// Take model files of yours into the store, without copying where that is possible
    Import(commands::import::ImportArgs),
    /// Hash stored models again
    Verify(commands::verify::VerifyArgs),
    /// Remove what nothing needs, or what was not used for longest
    Gc(commands::gc::GcArgs),
    /// Keep models from being removed by `gc --quota`
    Pin(commands::gc::PinArgs),
    /// End what `pin` began
    Unpin(commands::gc::PinArgs),
    /// Estimate whether a model runs here, how fast, and with how much context
    Fit(commands::fit::FitArgs),
    /// Name the models that are best for this machine, with the reasons
    Recommend(commands::recommend::RecommendArgs),
    /// Look for what costs speed, space or safety on this machine, and say what to do about it
    Doctor(commands::doctor::DoctorArgs),
    /// Measure a short generation and name what holds it up
    WhySlow(commands::why_slow::WhySlowArgs),
    /// Make a smaller model file of a larger one
    Quantize(Box<commands::quantize::QuantizeArgs>),
    /// Look into model files, change their keys, split and join them
    Gguf(commands::gguf::GgufArgs),
    /// Measure how fast a model runs, beside what the machine allows
    Bench(commands::bench::BenchArgs),
    /// Look into a computation: compare what stands behind each layer
    Debug(Box<commands::debug::DebugArgs>),
    /// Find out which columns of weights matter, for quantizing; merge and show such matrices
    Imatrix(commands::imatrix::ImatrixArgs),
    /// Measure how well a model predicts a text
    Perplexity(commands::perplexity::PerplexityArgs),
    /// Measure how far a model's predictions are from another's
    Kl(commands::kl::KlArgs),
    /// Compare size, loss and speed of quantizations of a model
    Quality(commands::quality::QualityArgs),
    /// Ask a model tasks with known answers, and count
    Eval(commands::eval::EvalArgs),
    /// Do as SLM Packager does: its YAML files and commands
    Slm(commands::slm::SlmArgs),
    /// Say what is set and by what, and set it
    Config(commands::config::ConfigArgs),
    /// Print the completions for a shell
    Completions(commands::completions::CompletionsArgs),
}

fn main() -> std::process::ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let parsed = config::parse(Cli::command(), &words).and_then(|matches| Ok(Cli::from_arg_matches(&matches)?));
    let cli = match parsed {
        Ok(cli) => cli,
        // clap exits with 2 on a wrong command line, which is `ExitCode::Usage`.
        Err(ParseError::Clap(error)) => error.exit(),
        Err(ParseError::Failure(failure)) => return failure.report(words.iter().any(|word| word == "--json")),
    };
    offline::set(cli.offline);
    let (outcome, as_json) = match cli.command {
        Some(command) if cli.version => (Err(version_with_command(&command)), cli.json),
        Some(command) => match offline_refusal(&command) {
            Some(failure) => (Err(failure), false),
            None => run(command),
        },
        None if cli.version => (commands::version::version(cli.json), cli.json),
        None => (commands::welcome::welcome(), false),
    };
    let code = match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(failure) => failure.report(as_json),
    };
    weight_cache::finish();
    code
}

/// Runs a command; gives what came of it, and whether a failure is to be said in JSON.
fn run(command: Command) -> (Outcome, bool) {
    match command {
        Command::Run(args) => (commands::run::run(&args), args.json),
        Command::Serve(args) => (commands::serve::serve(&args), false),
        Command::Ui(args) => (commands::ui::ui(&args), false),
        Command::Ps(args) => (commands::ps::ps(&args), args.server.json),
        Command::Stop(args) => (commands::ps::stop(&args), args.server.json),
        Command::Key(args) => (commands::key::key(&args), args.is_json()),
        Command::Log(args) => (commands::log::log(&args), args.json),
        Command::Pull(args) => (commands::pull::pull(&args), args.transfer.json),
        Command::Push(args) => (commands::push::push(&args), args.transfer.json),
        Command::Search(args) => (commands::search::search(&args), args.transfer.json),
        Command::Outdated(args) => (commands::outdated::outdated(&args), args.transfer.json),
        Command::Update(args) => (commands::outdated::update(&args), args.outdated.transfer.json),
        Command::Convert(args) => (commands::convert::convert(&args), args.json),
        Command::Merge(args) => (commands::merge::merge(&args), args.json),
        Command::ExportLora(args) => (commands::export_lora::export_lora(&args), args.json),
        Command::Create(args) => (commands::create::create_model(&args), args.json),
        Command::Show(args) => (commands::show::show(&args), args.json),
        Command::List(args) => (commands::list::list(&args), args.json),
        Command::Cp(args) => (commands::rm::cp(&args), args.json),
        Command::Rm(args) => (commands::rm::rm(&args), args.json),
        Command::Import(args) => (commands::import::import(&args), args.json),
        Command::Verify(args) => (commands::verify::verify(&args), args.json),
        Command::Gc(args) => (commands::gc::gc(&args), args.json),
        Command::Pin(args) => (commands::gc::pin(&args), args.json),
        Command::Unpin(args) => (commands::gc::unpin(&args), args.json),
        Command::Recommend(args) => (commands::recommend::recommend(&args), args.json),
        Command::Doctor(args) => (commands::doctor::doctor(&args), args.json),
        Command::WhySlow(args) => (commands::why_slow::why_slow(&args), args.json),
        Command::Fit(args) => (commands::fit::fit(&args), args.json),
        Command::Quantize(args) => (commands::quantize::quantize(&args), args.json),
        Command::Gguf(args) => (commands::gguf::gguf(&args), args.is_json()),
        Command::Bench(args) => (commands::bench::bench(&args), args.is_json()),
        Command::Debug(args) => (commands::debug::debug(&args), args.is_json()),
        Command::Perplexity(args) => (commands::perplexity::perplexity(&args), args.json),
        Command::Imatrix(args) => (commands::imatrix::imatrix(&args), args.is_json()),
        Command::Kl(args) => (commands::kl::kl(&args), args.json),
        Command::Quality(args) => (commands::quality::quality(&args), args.json),
        Command::Eval(args) => (commands::eval::eval(&args), args.json),
        Command::Slm(args) => (commands::slm::slm(&args), false),
        Command::Config(args) => (commands::config::config(&args), args.is_json()),
        Command::Completions(args) => (commands::completions::completions(&args, Cli::command()), false),
    }
}

/// Why a command that is about the network cannot run offline.
fn offline_refusal(command: &Command) -> Option<Failure> {
    let name = match command {
        Command::Pull(_) => "pull",
        Command::Push(_) => "push",
        Command::Search(_) => "search",
        Command::Outdated(_) => "outdated",
        Command::Update(_) => "update",
        _ => return None,
    };
    offline::reason().map(|reason| Failure::new(ExitCode::Usage, format!("{reason} forbids `lair {name}`")))
}

fn version_with_command(command: &Command) -> Failure {
    let name = format!("{command:?}").split(['(', ' ']).next().unwrap_or_default().to_lowercase();
    Failure::new(ExitCode::Usage, format!("--version takes no command, `{name}` is given"))
}
