//! Reads what the user types: lines, messages of several lines, history, completion of commands.

use std::borrow::Cow;
use std::path::PathBuf;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::{Hint, Hinter};
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, Helper};

use super::help::{COMMANDS, Entry, SET, SHOW};
use crate::answer_printer::{DIM, NOT_DIM};
use crate::failure::{ExitCode, Failure};
use crate::terminal;

/// Lines of history that are kept.
const HISTORY_LENGTH: usize = 1000;
/// Begins and ends a message of several lines.
const FENCE: &str = "\"\"\"";
/// Keeps what is typed out of the history, as in Ollama.
const NO_HISTORY_VARIABLE: &str = "OLLAMA_NOHISTORY";

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A message or a command.
    Text(String),
    /// Ctrl-C: what was typed is dropped.
    Dropped,
    /// Ctrl-D: the user leaves.
    End,
}

/// Reads from the terminal.
pub struct Reader {
    editor: Editor<CommandHelper, DefaultHistory>,
    history: PathBuf,
    /// Whether what is typed is kept for the next chat.
    pub keeps_history: bool,
}

impl Reader {
    /// A reader with the history of this file, which need not be there.
    pub fn new(history: PathBuf) -> Result<Reader, Failure> {
        let config = Config::builder().max_history_size(HISTORY_LENGTH).map_err(|error| failure(&error))?.build();
        let mut editor = Editor::with_config(config).map_err(|error| failure(&error))?;
        editor.set_helper(Some(CommandHelper { has_styles: terminal::has_styles() }));
        // Absent before the first chat; and a chat without its history is still a chat.
        let _ = editor.load_history(&history);
        let keeps_history = std::env::var_os(NO_HISTORY_VARIABLE).is_none_or(|value| value.is_empty() || value == "0");
        Ok(Reader { editor, history, keeps_history })
    }

    /// Reads a line, or the lines between two fences.
    pub fn read(&mut self) -> Result<Input, Failure> {
        let mut assembly = Assembly::default();
        loop {
            let prompt = if assembly.is_open() { "... " } else { ">>> " };
            match self.editor.readline(prompt) {
                Ok(line) => {
                    if let Some(text) = assembly.push(line.trim_end_matches('\r')) {
                        self.keep(&text);
                        return Ok(Input::Text(text));
                    }
                }
                Err(ReadlineError::Interrupted) => return Ok(Input::Dropped),
                Err(ReadlineError::Eof) => return Ok(Input::End),
                Err(error) => return Err(failure(&error)),
            }
        }
    }

    fn keep(&mut self, text: &str) {
        if self.keeps_history && !text.trim().is_empty() {
            // Nothing but a full memory can keep a line out of the list.
            let _ = self.editor.add_history_entry(text);
        }
    }

    /// Writes the history for the next chat.
    pub fn save_history(&mut self) {
        if let Err(error) = self.editor.save_history(&self.history) {
            eprintln!("the history could not be kept in {}: {error}", self.history.display());
        }
    }
}

fn failure(error: &ReadlineError) -> Failure {
    Failure::new(ExitCode::Other, format!("the terminal cannot be read: {error}"))
}

/// Lines that become one message.
#[derive(Debug, Default)]
struct Assembly {
    /// What stands before the fence: nothing, or a command that takes a text.
    command: String,
    lines: Vec<String>,
}

impl Assembly {
    fn is_open(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Takes a line; gives the message once it is whole.
    fn push(&mut self, line: &str) -> Option<String> {
        if self.is_open() {
            return match line.trim_end().strip_suffix(FENCE) {
                Some(last) => {
                    self.lines.push(last.to_owned());
                    Some(self.finish())
                }
                None => {
                    self.lines.push(line.to_owned());
                    None
                }
            };
        }
        let Some((command, text)) = split_at_fence(line) else { return Some(line.to_owned()) };
        self.command = command.to_owned();
        match text.trim_end().strip_suffix(FENCE) {
            Some(text) => {
                self.lines.push(text.to_owned());
                Some(self.finish())
            }
            None => {
                self.lines.push(text.to_owned());
                None
            }
        }
    }

    fn finish(&mut self) -> String {
        let text = std::mem::take(&mut self.lines).join("\n");
        // The line ends beside the fences belong to them.
        let text = text.strip_prefix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\n').unwrap_or(text);
        std::mem::take(&mut self.command) + text
    }
}

/// A line with a fence: what stands before it, and the text after it. Only `/set system` takes a text that way.
fn split_at_fence(line: &str) -> Option<(&str, &str)> {
    let (before, text) = line.split_once(FENCE)?;
    let is_command = before.split_whitespace().eq(["/set", "system"]);
    (before.trim().is_empty() || is_command).then(|| if is_command { (before, text) } else { ("", text) })
}

/// Completes commands, and says what to do where nothing is typed yet.
struct CommandHelper {
    /// Whether the terminal can show that a text was not typed.
    has_styles: bool,
}

/// Stands on an empty line; never becomes part of it.
struct Placeholder;

impl Hint for Placeholder {
    fn display(&self) -> &str {
        "Send a message (/? for help)"
    }

    fn completion(&self) -> Option<&str> {
        None
    }
}

impl Helper for CommandHelper {}
impl Validator for CommandHelper {}

impl Highlighter for CommandHelper {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(format!("{DIM}{hint}{NOT_DIM}"))
    }
}

impl Hinter for CommandHelper {
    type Hint = Placeholder;

    fn hint(&self, line: &str, _position: usize, _context: &Context<'_>) -> Option<Placeholder> {
        (line.is_empty() && self.has_styles).then_some(Placeholder)
    }
}

impl Completer for CommandHelper {
    type Candidate = String;

    fn complete(&self, line: &str, position: usize, _: &Context<'_>) -> Result<(usize, Vec<String>), ReadlineError> {
        Ok((0, completions(&line[..position])))
    }
}

/// The commands that begin so, without their placeholders.
fn completions(beginning: &str) -> Vec<String> {
    if !beginning.starts_with('/') {
        return Vec::new();
    }
    let is_word = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '/');
    let commands = [COMMANDS, SET, SHOW].concat();
    let mut found: Vec<String> = commands
        .iter()
        .map(|Entry(command, _)| command.split(' ').take_while(is_word).collect::<Vec<_>>().join(" "))
        .filter(|command| command.starts_with(beginning) && command != beginning)
        .collect();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], expected: &str) {
        let mut assembly = Assembly::default();
        for (index, line) in lines.iter().enumerate() {
            let text = assembly.push(line);
            assert_eq!(text.is_some(), index + 1 == lines.len(), "{lines:?} at {index}");
            if let Some(text) = text {
                assert_eq!(text, expected, "{lines:?}");
            }
        }
    }

    #[test]
    fn fences_hold_lines_together() {
        check(&["one line"], "one line");
        check(&["\"\"\"one\"\"\""], "one");
        check(&["\"\"\"one", "", "  two\"\"\""], "one\n\n  two");
        check(&["\"\"\"", "one", "two", "\"\"\""], "one\ntwo");
        check(&["/set system \"\"\"", "be", "brief\"\"\" "], "/set system be\nbrief");
        check(&["say \"\"\" to me"], "say \"\"\" to me");
        check(&["\"\"\"\"\"\""], "");
    }

    #[test]
    fn commands_are_completed() {
        assert_eq!(
            completions("/sh"),
            [
                "/show",
                "/show info",
                "/show license",
                "/show modelfile",
                "/show parameters",
                "/show system",
                "/show template",
                "/show history"
            ]
        );
        assert_eq!(completions("/set w"), ["/set wordwrap"]);
        assert_eq!(completions("/set f"), ["/set format json"]);
        assert!(completions("hello").is_empty());
    }
}
