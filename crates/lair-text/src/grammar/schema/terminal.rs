//! Words of a grammar: regular expressions that are combined with "and", "or" and "not", which texts alone cannot be.

use std::collections::HashMap;
use std::fmt::Write;

use llguidance::derivre::{RegexAst, RegexBuilder};

use super::super::error::{GrammarError, GrammarKind};
use super::super::lark_text::lark_string;

/// States that are looked through when it is asked whether an expression matches anything.
const EMPTINESS_FUEL: u64 = 50_000;

/// An expression over the bytes of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Terminal {
    /// This text.
    Literal(String),
    /// What an expression in the syntax of the `regex` crate matches from end to end.
    Regex(String),
    /// What all match.
    And(Vec<Terminal>),
    /// What one matches.
    Or(Vec<Terminal>),
    /// What it does not match.
    Not(Box<Terminal>),
}

impl Terminal {
    /// Whether parts are combined in ways that may leave nothing.
    fn may_be_empty(&self) -> bool {
        match self {
            Terminal::Literal(_) => false,
            // An expression may hold an empty class.
            Terminal::Regex(text) => text.contains("[^\\x00-"),
            Terminal::And(_) | Terminal::Not(_) => true,
            Terminal::Or(parts) => parts.iter().all(Terminal::may_be_empty),
        }
    }

    /// As an expression of a Lark terminal.
    pub(super) fn write(&self, lark: &mut String) {
        match self {
            Terminal::Literal(text) => lark.push_str(&lark_string(text)),
            Terminal::Regex(text) => {
                let _ = write!(lark, "/{text}/");
            }
            Terminal::And(parts) => write_list(parts, " & ", lark),
            Terminal::Or(parts) => write_list(parts, " | ", lark),
            Terminal::Not(part) => {
                lark.push('~');
                write_list(std::slice::from_ref(part), "", lark);
            }
        }
    }

    /// As the compiler has it.
    pub(super) fn ast(&self) -> RegexAst {
        let all = |parts: &[Terminal]| parts.iter().map(Terminal::ast).collect();
        match self {
            Terminal::Literal(text) => RegexAst::Literal(text.clone()),
            Terminal::Regex(text) => RegexAst::Regex(text.clone()),
            Terminal::And(parts) => RegexAst::And(all(parts)),
            Terminal::Or(parts) => RegexAst::Or(all(parts)),
            Terminal::Not(part) => RegexAst::Not(Box::new(part.ast())),
        }
    }
}

fn write_list(parts: &[Terminal], between: &str, lark: &mut String) {
    lark.push('(');
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            lark.push_str(between);
        }
        part.write(lark);
    }
    lark.push(')');
}

/// Answers about terminals, kept.
#[derive(Default)]
pub(super) struct TerminalFacts {
    empty: HashMap<Terminal, bool>,
    matches: HashMap<(Terminal, String), bool>,
}

impl TerminalFacts {
    /// Whether it takes no work to tell if it matches anything.
    pub(super) fn is_known(&self, terminal: &Terminal) -> bool {
        !terminal.may_be_empty() || self.empty.contains_key(terminal)
    }

    /// Whether it matches nothing.
    pub(super) fn is_empty(&mut self, terminal: &Terminal) -> Result<bool, GrammarError> {
        if !terminal.may_be_empty() {
            return Ok(false);
        }
        if let Some(&known) = self.empty.get(terminal) {
            return Ok(known);
        }
        let is_empty = is_ast_empty(&terminal.ast())?;
        self.empty.insert(terminal.clone(), is_empty);
        Ok(is_empty)
    }

    /// Whether it matches a text from end to end.
    pub(super) fn matches(&mut self, terminal: &Terminal, text: &str) -> Result<bool, GrammarError> {
        let key = (terminal.clone(), text.to_owned());
        if let Some(&known) = self.matches.get(&key) {
            return Ok(known);
        }
        let mut builder = RegexBuilder::new();
        let expression = builder.mk(&terminal.ast()).map_err(|error| invalid(&error))?;
        let mut regex = builder.into_regex_limited(expression, EMPTINESS_FUEL).map_err(|error| too_complex(&error))?;
        let is_match = regex.is_match(text);
        self.matches.insert(key, is_match);
        Ok(is_match)
    }
}

/// Whether an expression matches nothing.
pub(super) fn is_ast_empty(ast: &RegexAst) -> Result<bool, GrammarError> {
    let mut builder = RegexBuilder::new();
    let expression = builder.mk(ast).map_err(|error| invalid(&error))?;
    if builder.exprset().is_positive(expression) {
        return Ok(false);
    }
    let mut regex = builder.into_regex_limited(expression, EMPTINESS_FUEL).map_err(|error| too_complex(&error))?;
    Ok(regex.always_empty())
}

fn invalid(error: &impl std::fmt::Display) -> GrammarError {
    GrammarError::Invalid { kind: GrammarKind::Schema, cause: error.to_string() }
}

fn too_complex(error: &impl std::fmt::Display) -> GrammarError {
    let cause = format!("it cannot be found out whether an expression matches anything: {error}");
    GrammarError::TooComplex { kind: GrammarKind::Schema, cause }
}
