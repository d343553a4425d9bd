//! How a command ends when it cannot do what it was asked: a one-line cause, a hint, and an exit code.

use std::fmt::Display;

/// Exit codes of the program. They are stable: scripts may rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Something failed that no other code names, a broken pipe or a full disk.
    Other = 1,
    /// The command line or the input is wrong: an unknown flag, a value out of range, text that is not UTF-8.
    Usage = 2,
    /// The model is not there and could not be fetched.
    NotFound = 3,
    /// The model file is damaged, or of a kind that Lair does not run.
    BadModel = 4,
    /// It does not fit: the model into memory, or the prompt into the context.
    DoesNotFit = 5,
    /// The computation went wrong: the model gives no finite numbers, or a part of the program failed.
    Engine = 6,
    /// Stopped by Ctrl-C.
    Interrupted = 130,
}

/// A failure as the user sees it.
#[derive(Debug)]
pub struct Failure {
    /// How the program exits.
    pub code: ExitCode,
    /// What went wrong, in one line: what, where, found, expected.
    pub cause: String,
    /// More lines, where one does not do: what was tried, one after the other.
    pub details: Vec<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// What commands return.
pub type Outcome = Result<(), Failure>;

impl Failure {
    /// A failure without a hint.
    pub fn new(code: ExitCode, cause: impl Display) -> Failure {
        Failure { code, cause: one_line(&cause.to_string()), details: Vec::new(), hint: None }
    }

    /// A failure whose text has a line of cause and further lines of details.
    pub fn with_lines(code: ExitCode, text: &str) -> Failure {
        let mut lines = text.lines();
        let cause = one_line(lines.next().unwrap_or_default());
        Failure { code, cause, details: lines.map(one_line).collect(), hint: None }
    }

    /// The same failure with a hint.
    pub fn with_hint(self, hint: impl Into<Option<String>>) -> Failure {
        Failure { hint: hint.into(), ..self }
    }

    /// Prints it to standard error, as JSON if the command was asked for JSON, and gives the exit code.
    pub fn report(&self, as_json: bool) -> std::process::ExitCode {
        if as_json {
            let value = serde_json::json!({
                "error": { "cause": self.cause, "details": self.details, "hint": self.hint, "exit_code": self.code as u8 }
            });
            eprintln!("{value}");
        } else {
            eprintln!("error: {}", self.cause);
            for line in &self.details {
                eprintln!("{line}");
            }
            if let Some(hint) = &self.hint {
                eprintln!("hint: {hint}");
            }
        }
        std::process::ExitCode::from(self.code as u8)
    }
}

/// Control characters in a message, from a file's own text for example, are shown, not obeyed.
fn one_line(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::new(ExitCode::Other, error)
    }
}

impl From<lair_store::StoreError> for Failure {
    fn from(error: lair_store::StoreError) -> Failure {
        use lair_store::StoreError as E;
        let code = match &error {
            E::Reference(_) | E::Name(_) | E::AmbiguousId { .. } | E::NotOneModel { .. } | E::NotOurs { .. } => {
                ExitCode::Usage
            }
            E::NotPullable { .. } | E::NotPushable { .. } => ExitCode::Usage,
            E::Damaged { .. } | E::MissingBlob { .. } | E::WrongDigest { .. } | E::BadManifest { .. } => {
                ExitCode::BadModel
            }
            E::BadModel { .. } | E::NoWeights { .. } => ExitCode::BadModel,
            E::NoSpace { .. } | E::Changed { .. } => ExitCode::Other,
            E::Source(source) if source.is_about_this_disk() => ExitCode::Other,
            E::Io { reason, .. } if reason.kind() != std::io::ErrorKind::NotFound => ExitCode::Other,
            _ => ExitCode::NotFound,
        };
        Failure::with_lines(code, &error.to_string()).with_hint(error.hint())
    }
}

impl From<lair_gguf::GgufError> for Failure {
    fn from(error: lair_gguf::GgufError) -> Failure {
        let is_absent = std::error::Error::source(&error)
            .and_then(|source| source.downcast_ref::<std::io::Error>())
            .is_some_and(|source| source.kind() == std::io::ErrorKind::NotFound);
        let code = if is_absent { ExitCode::NotFound } else { ExitCode::BadModel };
        Failure::new(code, &error).with_hint(error.hint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_one_line_without_control_characters() {
        let failure = Failure::new(ExitCode::Other, "bad name `a\nb\x1b[31m`");
        assert_eq!(failure.cause, "bad name `a\\nb\\u{1b}[31m`");
    }
}
