//! What was found, how bad it is, and what to do about it.

use std::io::{self, Write};

use serde_json::{Value as Json, json};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Good,
    /// Worth knowing.
    Note,
    /// It costs speed, space or safety.
    Warning,
    /// Something does not work.
    Problem,
}

impl Severity {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Good => "ok",
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Problem => "problem",
        }
    }
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A word for what it is about, the same from version to version: `cpu-quota`, `swap`, `broken-blob`.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was found, with numbers.
    pub text: String,
    /// What to do about it.
    pub fix: Option<String>,
}

impl Finding {
    /// Something as it should be.
    pub fn good(id: &'static str, text: impl Into<String>) -> Finding {
        Finding { id, severity: Severity::Good, text: text.into(), fix: None }
    }

    /// Something worth knowing.
    pub fn note(id: &'static str, text: impl Into<String>) -> Finding {
        Finding { severity: Severity::Note, ..Finding::good(id, text) }
    }

    /// Something that costs, with what helps.
    pub fn warning(id: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { severity: Severity::Warning, fix: Some(fix.into()), ..Finding::good(id, text) }
    }

    /// Something that does not work, with what mends it.
    pub fn problem(id: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { severity: Severity::Problem, ..Finding::warning(id, text, fix) }
    }

    /// It as an object.
    pub fn json(&self) -> Json {
        json!({ "id": self.id, "severity": self.severity.name(), "text": self.text, "fix": self.fix })
    }

    /// Prints it in a line, its fix below.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{:8} {}", self.severity.name(), self.text)?;
        match &self.fix {
            Some(fix) => writeln!(out, "{:8} fix: {fix}", ""),
            None => Ok(()),
        }
    }
}
