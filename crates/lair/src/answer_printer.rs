//! An answer on the terminal as it comes: words wrapped, reasoning dimmed or hidden.

use std::io::{self, IsTerminal, Write};

use lair_text::output::Channel;

use crate::terminal;
use crate::word_wrap::WordWrap;

/// How answers are shown.
#[derive(Clone, Copy, Debug)]
pub struct AnswerLook {
    /// Columns of a line; `None` wraps nothing.
    pub columns: Option<usize>,
    /// Whether reasoning is left out.
    pub hides_reasoning: bool,
    /// Whether it goes to a terminal: to anything else the text goes as it is.
    pub is_terminal: bool,
    /// Whether the terminal shows dim text.
    pub has_styles: bool,
}

impl AnswerLook {
    /// The look for standard output.
    pub fn of_terminal(wraps_words: bool, hides_reasoning: bool) -> AnswerLook {
        // The last column stays free: some terminals break the line when it is filled.
        let columns = terminal::width().map(|width| width.saturating_sub(1)).filter(|_| wraps_words);
        AnswerLook {
            columns,
            hides_reasoning,
            is_terminal: std::io::stdout().is_terminal(),
            has_styles: terminal::has_styles(),
        }
    }
}

/// Around reasoning, as Ollama writes it.
const REASONING_BEGINS: &str = "Thinking...\n";
const REASONING_ENDS: &str = "\n...done thinking.\n\n";
/// Makes text dim (ECMA-48, SGR 2).
pub const DIM: &str = "\x1b[2m";
/// Ends that (SGR 22).
pub const NOT_DIM: &str = "\x1b[22m";

/// Prints one answer.
pub struct AnswerPrinter<'o> {
    out: &'o mut dyn Write,
    look: AnswerLook,
    wrap: WordWrap,
    /// What the last piece was.
    channel: Option<Channel>,
}

impl<'o> AnswerPrinter<'o> {
    /// A printer for one answer.
    pub fn new(out: &'o mut dyn Write, look: AnswerLook) -> AnswerPrinter<'o> {
        AnswerPrinter { out, look, wrap: WordWrap::new(look.columns), channel: None }
    }

    /// Shows the next piece.
    pub fn write(&mut self, channel: Channel, text: &str) -> io::Result<()> {
        if channel == Channel::Reasoning && self.look.hides_reasoning {
            return Ok(());
        }
        if self.channel != Some(channel) {
            self.leave()?;
            if channel == Channel::Reasoning {
                self.write_all(if self.look.has_styles { DIM } else { "" })?;
                self.write_all(REASONING_BEGINS)?;
            }
            self.channel = Some(channel);
        }
        let shown = if self.look.is_terminal { self.wrap.push(&visible(text)) } else { self.wrap.push(text) };
        self.write_all(&shown)?;
        self.out.flush()
    }

    /// Shows what was held back. The cursor stays at the end of the answer.
    pub fn finish(&mut self) -> io::Result<()> {
        let rest = self.wrap.finish();
        self.write_all(&rest)?;
        if self.channel == Some(Channel::Reasoning) && self.look.has_styles {
            self.write_all(NOT_DIM)?;
        }
        self.out.flush()
    }

    /// Ends the reasoning, if it was that.
    fn leave(&mut self) -> io::Result<()> {
        if self.channel != Some(Channel::Reasoning) {
            return Ok(());
        }
        let rest = self.wrap.finish();
        self.write_all(&rest)?;
        self.write_all(REASONING_ENDS)?;
        self.write_all(if self.look.has_styles { NOT_DIM } else { "" })?;
        self.wrap = WordWrap::new(self.look.columns);
        Ok(())
    }

    fn write_all(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())
    }
}

/// Text of a model without what would command the terminal: escape sequences could move the cursor, set the title or
/// write to the clipboard. Line ends and tabulators stay.
pub fn visible(text: &str) -> String {
    text.chars().filter(|character| !character.is_control() || matches!(character, '\n' | '\t')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(look: AnswerLook, pieces: &[(Channel, &str)]) -> String {
        let mut out = Vec::new();
        let mut printer = AnswerPrinter::new(&mut out, look);
        for (channel, text) in pieces {
            printer.write(*channel, text).expect("written");
        }
        printer.finish().expect("written");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn reasoning_is_marked_dimmed_or_hidden() {
        let pieces = [(Channel::Reasoning, "One and "), (Channel::Reasoning, "one."), (Channel::Answer, "Two.")];
        let look = AnswerLook { columns: None, hides_reasoning: false, is_terminal: false, has_styles: false };
        assert_eq!(shown(look, &pieces), "Thinking...\nOne and one.\n...done thinking.\n\nTwo.");
        let dim = shown(AnswerLook { has_styles: true, ..look }, &pieces);
        assert_eq!(dim, "\x1b[2mThinking...\nOne and one.\n...done thinking.\n\n\x1b[22mTwo.");
        assert_eq!(shown(AnswerLook { hides_reasoning: true, ..look }, &pieces), "Two.");
        let cut = shown(AnswerLook { has_styles: true, columns: Some(9), ..look }, &pieces[..2]);
        assert_eq!(cut, "\x1b[2mThinking...\nOne and\none.\x1b[22m", "a style never outlives the answer");
    }

    #[test]
    fn a_model_cannot_command_the_terminal() {
        let look = AnswerLook { columns: Some(80), hides_reasoning: false, is_terminal: true, has_styles: true };
        let pieces = [(Channel::Answer, "a\x1b]0;title\x07b\r\n\tc\u{9b}2J")];
        assert_eq!(shown(look, &pieces), "a]0;titleb\n\tc2J");
        let file = AnswerLook { columns: None, is_terminal: false, ..look };
        assert_eq!(shown(file, &pieces), pieces[0].1, "a file gets what the model wrote");
    }
}
