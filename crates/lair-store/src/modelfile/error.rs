//! What can be wrong with a Modelfile or with the settings of a stored model.

use thiserror::Error;

/// A Modelfile, or settings, that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ModelfileError {
    /// Longer than any honest one.
    #[error("Modelfile has {found_bytes} bytes, at most {limit_bytes} are read")]
    TooLong {
        /// Its length.
        found_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// Bytes that are no text.
    #[error("line {line}: not valid {encoding} text")]
    NotText {
        /// Where the first wrong byte is.
        line: u32,
        /// `UTF-8` or `UTF-16`.
        encoding: &'static str,
    },
    /// A word that is no instruction.
    #[error("line {line}: `{found}` is not an instruction{}", near_words(.near))]
    UnknownInstruction {
        /// Where.
        line: u32,
        /// The word, cut if it is long.
        found: String,
        /// The instruction that may be meant.
        near: Option<String>,
    },
    /// An instruction with nothing after it.
    #[error("line {line}: `{instruction}` needs {expected} after it")]
    MissingValue {
        /// Where.
        line: u32,
        /// The instruction.
        instruction: &'static str,
        /// What is missing.
        expected: &'static str,
    },
    /// A role that `MESSAGE` does not know.
    #[error("line {line}: message role `{found}` must be one of `system`, `user` or `assistant`")]
    UnknownRole {
        /// Where.
        line: u32,
        /// The role.
        found: String,
    },
    /// A quote that does not end before the file does.
    #[error("line {line}: text begins with {quote} that nothing ends")]
    OpenQuote {
        /// Where the text begins.
        line: u32,
        /// `"` or `"""`.
        quote: &'static str,
    },
    /// A parameter that does not exist.
    #[error("{}`{name}` is not a parameter{}", line_words(.line), near_words(.near))]
    UnknownParameter {
        /// Where, in a Modelfile.
        line: Option<u32>,
        /// The name.
        name: String,
        /// The parameter that may be meant.
        near: Option<String>,
    },
    /// A value of the wrong type.
    #[error("{}parameter `{name}` is `{found}`, expected {expected}", line_words(.line))]
    ParameterValue {
        /// Where, in a Modelfile.
        line: Option<u32>,
        /// The parameter.
        name: String,
        /// Its value.
        found: String,
        /// What fits.
        expected: &'static str,
    },
    /// A version that is none.
    #[error("{}`REQUIRES {found}` is not a version such as 0.14.0", line_words(.line))]
    Version {
        /// Where, in a Modelfile.
        line: Option<u32>,
        /// As written.
        found: String,
    },
    /// No instruction says what the model is made from.
    #[error("Modelfile has no FROM line")]
    NoFrom,
    /// A text that can stand in no Modelfile.
    #[error("{instruction} holds a text with quotes at the end of a line, which no quotes of a Modelfile can hold")]
    Unprintable {
        /// The instruction.
        instruction: &'static str,
    },
}

impl ModelfileError {
    /// What to do about it, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            ModelfileError::TooLong { .. } | ModelfileError::NotText { .. } => "check that the file is a Modelfile",
            ModelfileError::UnknownInstruction { .. } => {
                "a Modelfile has FROM, PARAMETER, TEMPLATE, SYSTEM, ADAPTER, LICENSE, MESSAGE, REQUIRES, DRAFT, RENDERER, \
                 PARSER and `#` comments; texts over several lines stand between `\"\"\"`"
            }
            ModelfileError::OpenQuote { .. } => "end the text with the quotes it begins with, at the end of a line",
            ModelfileError::UnknownParameter { .. } => "docs/reference/modelfile.md lists the parameters",
            ModelfileError::ParameterValue { found, .. } if found.contains('#') => {
                "a comment stands on a line of its own: behind a value it belongs to the value, as in Ollama"
            }
            ModelfileError::NoFrom => "begin with `FROM` and a model, a GGUF file or a digest",
            ModelfileError::Unprintable { .. } => "show the parts one by one: `--template`, `--system`, `--license`",
            ModelfileError::MissingValue { .. }
            | ModelfileError::UnknownRole { .. }
            | ModelfileError::ParameterValue { .. }
            | ModelfileError::Version { .. } => return None,
        };
        Some(hint.to_string())
    }
}

fn line_words(line: &Option<u32>) -> String {
    line.map(|line| format!("line {line}: ")).unwrap_or_default()
}

fn near_words(near: &Option<String>) -> String {
    near.as_ref().map(|near| format!(", did you mean `{near}`?")).unwrap_or_default()
}
