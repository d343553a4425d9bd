//! Modelfiles: what a model is made from, in Ollama's language.
//!
//! ```text
//! FROM mistral                      # a model, a file, a folder or a digest; may occur again for a projector
//! SYSTEM "You are concise."         # "..." and """...""" may go over several lines
//! PARAMETER temperature 0.3
//! ```
//!
//! [`Modelfile`] is the text as a list of instructions; [`ModelSettings`] is what they amount to, and what the layers of a
//! stored model amount to; [`create`] makes a stored model of them.
//!
//! Source: Ollama's documentation of the Modelfile, and the behaviour of its parser (`parser/parser.go`, MIT).

mod config;
mod create;
mod create_error;
mod error;
mod family;
mod go_json;
mod parameters;
mod parser;
mod printer;
mod safetensors;
mod settings;
mod version;
mod weights;

pub use create::{CreateRequest, CreateStep, Created, SaveRequest, create, save, stored_modelfile};
pub use create_error::CreateError;
pub use error::ModelfileError;
pub use parameters::{KnownParameter, ParameterEffect, ParameterKind, ParameterValue, Parameters, known_parameters};
pub use settings::{LayerReadError, ModelSettings, Part};
pub use version::is_newer;
pub use weights::QUANTIZATIONS;

/// The longest Modelfile that is read: licences are the longest part of published ones, at most some 100 KiB.
pub const MODELFILE_BYTES_MAX: usize = 16 << 20;

/// The roles that `MESSAGE` knows.
pub const MESSAGE_ROLES: [&str; 3] = ["system", "user", "assistant"];

/// A Modelfile: instructions in their order, at least one of them [`Instruction::From`] if it was parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modelfile {
    /// The instructions.
    pub instructions: Vec<Instruction>,
}

/// One instruction with its text, quotes removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// What the model is made from: a reference, a path, or the digest of a blob.
    From(String),
    /// A parameter; `stop` adds one stop text each time.
    Parameter {
        /// One of [`known_parameters`].
        name: String,
        /// As it is written.
        value: String,
    },
    /// A Go template.
    Template(String),
    /// The system prompt.
    System(String),
    /// A LoRA adapter: a path.
    Adapter(String),
    /// The text of a licence.
    License(String),
    /// A message that a chat begins with.
    Message(Message),
    /// The lowest version of Ollama that runs the model.
    Requires(String),
    /// A draft model for speculative decoding: a path.
    Draft(String),
    /// Name of a built-in renderer of prompts.
    Renderer(String),
    /// Name of a built-in parser of answers.
    Parser(String),
}

/// A message that a chat begins with.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Message {
    /// Who says it; `MESSAGE` knows [`MESSAGE_ROLES`], stored models may hold others.
    pub role: String,
    /// What is said.
    #[serde(default)]
    pub content: String,
}

impl Modelfile {
    /// Reads the bytes of a Modelfile: UTF-8, or UTF-16 if it begins with a byte order mark.
    ///
    /// # Errors
    /// Anything but a Modelfile, with the line: an unknown instruction, parameter or role, a value that does not fit its
    /// parameter, a quote that does not end, no `FROM`.
    pub fn parse(bytes: &[u8]) -> Result<Modelfile, ModelfileError> {
        parser::parse(bytes)
    }

    /// The Modelfile as text, as `ollama show --modelfile` prints it; parsing that gives the same instructions.
    ///
    /// # Errors
    /// [`ModelfileError::Unprintable`] for texts that no quotes can hold.
    pub fn print(&self) -> Result<String, ModelfileError> {
        printer::print(self)
    }

    /// What it is made from, in order.
    pub fn from(&self) -> impl Iterator<Item = &str> {
        self.instructions.iter().filter_map(|instruction| match instruction {
            Instruction::From(from) => Some(from.as_str()),
            _ => None,
        })
    }
}
