//! `lair` alone: what to type next.

use std::io::Write;

use crate::failure::Outcome;

const WELCOME: &str = "\
Lair runs open-weight language models on this machine.

  lair run                      chat with the default model
  lair run MODEL \"a question\"   answer and end; MODEL is a name or a GGUF file
  lair list                     the models on this machine
  lair show MODEL               what a model is
  lair bench MODEL              how fast it runs here
  lair --help                   all commands; `lair COMMAND --help` their options
";

/// Prints it.
pub fn welcome() -> Outcome {
    Ok(std::io::stdout().lock().write_all(WELCOME.as_bytes())?)
}
