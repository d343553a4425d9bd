//! `lair completions`: what a shell needs to complete commands and options.

use std::io::Write;

use clap::Args;
use clap_complete::Shell;

use crate::failure::Outcome;

/// For which shell.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell. For bash: `lair completions bash > ~/.local/share/bash-completion/completions/lair`
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script for a shell.
pub fn completions(args: &CompletionsArgs, mut program: clap::Command) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, "lair", &mut script);
    Ok(std::io::stdout().lock().write_all(&script)?)
}
