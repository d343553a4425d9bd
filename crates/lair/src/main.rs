//! Lair, the local AI runtime: the program.

mod bench;
mod chat;
mod commands;
mod download_bar;
mod failure;
mod interrupt;
mod locate;
mod machine;
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
    /// Say what a model file is
    Show(commands::show::ShowArgs),
    /// Measure how fast a model runs, beside what the machine allows
    Bench(commands::bench::BenchArgs),
    /// Measure how well a model predicts a text
    Perplexity(commands::perplexity::PerplexityArgs),
}

fn main() -> std::process::ExitCode {
    // clap exits with 2 on a wrong command line, which is `ExitCode::Usage`.
    let (outcome, as_json) = match Cli::parse().command {
        Command::Run(args) => (commands::run::run(&args), args.json),
        Command::Show(args) => (commands::show::show(&args), args.json),
        Command::Bench(args) => (commands::bench::bench(&args), args.is_json()),
        Command::Perplexity(args) => (commands::perplexity::perplexity(&args), args.json),
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(failure) => failure.report(as_json),
    }
}
