//! Lair, the local AI runtime: the program.

mod answer_format;
mod answer_printer;
mod bench;
mod chat;
mod commands;
mod divergence;
mod download_bar;
mod failure;
mod human;
mod interrupt;
mod locate;
mod machine;
mod memory_ledger;
mod offline;
mod parameters;
mod pictures;
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
mod timings;
mod word_wrap;

use clap::{ArgAction, CommandFactory, Parser, Subcommand};

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
    Run(Box<commands::run::RunArgs>),
    /// Answer clients of Ollama and OpenAI over HTTP
    #[command(visible_alias = "start")]
    Serve(Box<commands::serve::ServeArgs>),
    /// List the models in the memory of the running server
    Ps(commands::ps::PsArgs),
    /// Have the running server give up the memory of models
    Stop(commands::ps::StopArgs),
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
    /// Make a smaller model file of a larger one
    Quantize(Box<commands::quantize::QuantizeArgs>),
    /// Look into model files, change their keys, split and join them
    Gguf(commands::gguf::GgufArgs),
    /// Measure how fast a model runs, beside what the machine allows
    Bench(commands::bench::BenchArgs),
    /// Measure how well a model predicts a text
    Perplexity(commands::perplexity::PerplexityArgs),
    /// Do as SLM Packager does: its YAML files and commands
    Slm(commands::slm::SlmArgs),
    /// Print the completions for a shell
    Completions(commands::completions::CompletionsArgs),
}

fn main() -> std::process::ExitCode {
    // clap exits with 2 on a wrong command line, which is `ExitCode::Usage`.
    let cli = Cli::parse();
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
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(failure) => failure.report(as_json),
    }
}

/// Runs a command; gives what came of it, and whether a failure is to be said in JSON.
fn run(command: Command) -> (Outcome, bool) {
    match command {
        Command::Run(args) => (commands::run::run(&args), args.json),
        Command::Serve(args) => (commands::serve::serve(&args), false),
        Command::Ps(args) => (commands::ps::ps(&args), args.server.json),
        Command::Stop(args) => (commands::ps::stop(&args), args.server.json),
        Command::Pull(args) => (commands::pull::pull(&args), args.transfer.json),
        Command::Push(args) => (commands::push::push(&args), args.transfer.json),
        Command::Search(args) => (commands::search::search(&args), args.transfer.json),
        Command::Outdated(args) => (commands::outdated::outdated(&args), args.transfer.json),
        Command::Update(args) => (commands::outdated::update(&args), args.outdated.transfer.json),
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
        Command::Quantize(args) => (commands::quantize::quantize(&args), args.json),
        Command::Gguf(args) => (commands::gguf::gguf(&args), args.is_json()),
        Command::Bench(args) => (commands::bench::bench(&args), args.is_json()),
        Command::Perplexity(args) => (commands::perplexity::perplexity(&args), args.json),
        Command::Slm(args) => (commands::slm::slm(&args), false),
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
