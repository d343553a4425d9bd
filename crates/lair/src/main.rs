//! Lair, the local AI runtime: the program.

mod bench;
mod chat;
mod commands;
mod download_bar;
mod failure;
mod human;
mod interrupt;
mod locate;
mod machine;
mod provenance;
mod sampling;
mod session;
mod speculate;
mod synthetic;

use clap::{Parser, Subcommand};

/// Runs open-weight language models on this machine.
#[derive(Parser, Debug)]
#[command(name = "lair", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Answer a prompt, or chat
    Run(Box<commands::run::RunArgs>),
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
    /// Measure how fast a model runs, beside what the machine allows
    Bench(commands::bench::BenchArgs),
    /// Measure how well a model predicts a text
    Perplexity(commands::perplexity::PerplexityArgs),
}

fn main() -> std::process::ExitCode {
    // clap exits with 2 on a wrong command line, which is `ExitCode::Usage`.
    let (outcome, as_json) = match Cli::parse().command {
        Command::Run(args) => (commands::run::run(&args), args.json),
        Command::Pull(args) => (commands::pull::pull(&args), args.transfer.json),
        Command::Push(args) => (commands::push::push(&args), args.transfer.json),
        Command::Search(args) => (commands::search::search(&args), args.transfer.json),
        Command::Outdated(args) => (commands::outdated::outdated(&args), args.transfer.json),
        Command::Update(args) => (commands::outdated::update(&args), args.outdated.transfer.json),
        Command::Show(args) => (commands::show::show(&args), args.json),
        Command::List(args) => (commands::list::list(&args), args.json),
        Command::Cp(args) => (commands::rm::cp(&args), false),
        Command::Rm(args) => (commands::rm::rm(&args), false),
        Command::Import(args) => (commands::import::import(&args), false),
        Command::Verify(args) => (commands::verify::verify(&args), args.json),
        Command::Gc(args) => (commands::gc::gc(&args), args.json),
        Command::Pin(args) => (commands::gc::pin(&args), false),
        Command::Unpin(args) => (commands::gc::unpin(&args), false),
        Command::Bench(args) => (commands::bench::bench(&args), args.is_json()),
        Command::Perplexity(args) => (commands::perplexity::perplexity(&args), args.json),
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(failure) => failure.report(as_json),
    }
}
