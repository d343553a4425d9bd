//! Text to instructions.
//!
//! An instruction is a word of letters, at the beginning of a line, and its text, which ends with the line unless it begins
//! with a quote: then it ends with the first line that ends with the same quote. Blanks around the text do not belong to it.
//! There are no escapes.

use super::error::ModelfileError;
use super::parameters::check_parameter;
use super::{Instruction, MESSAGE_ROLES, MODELFILE_BYTES_MAX, Message, Modelfile};
use crate::near::near;

/// Names of the instructions, as they are printed.
pub(super) const INSTRUCTIONS: [&str; 11] = [
    "FROM",
    "PARAMETER",
    "TEMPLATE",
    "SYSTEM",
    "ADAPTER",
    "LICENSE",
    "MESSAGE",
    "REQUIRES",
    "DRAFT",
    "RENDERER",
    "PARSER",
];

/// Characters of an unknown word that an error repeats.
const SHOWN_CHARACTERS_MAX: usize = 40;

pub(super) fn parse(bytes: &[u8]) -> Result<Modelfile, ModelfileError> {
    if bytes.len() > MODELFILE_BYTES_MAX {
        return Err(ModelfileError::TooLong { found_bytes: bytes.len(), limit_bytes: MODELFILE_BYTES_MAX });
    }
    let text = decode(bytes)?;
    let mut cursor = Cursor { text: &text, position: 0, line: 1 };
    let mut modelfile = Modelfile::default();
    while let Some(instruction) = cursor.instruction()? {
        modelfile.instructions.push(instruction);
    }
    if modelfile.from().next().is_none() {
        return Err(ModelfileError::NoFrom);
    }
    Ok(modelfile)
}

/// A byte order mark chooses the encoding; without one it is UTF-8.
fn decode(bytes: &[u8]) -> Result<String, ModelfileError> {
    match bytes {
        [0xEF, 0xBB, 0xBF, rest @ ..] => decode_utf8(rest),
        [0xFF, 0xFE, rest @ ..] => decode_utf16(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => decode_utf16(rest, u16::from_be_bytes),
        _ => decode_utf8(bytes),
    }
}

fn decode_utf8(bytes: &[u8]) -> Result<String, ModelfileError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_string()),
        Err(error) => {
            let before = &bytes[..error.valid_up_to()];
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count() as u32;
            Err(ModelfileError::NotText { line, encoding: "UTF-8" })
        }
    }
}

fn decode_utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, ModelfileError> {
    let mut text = String::with_capacity(bytes.len() / 2);
    let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    let is_whole = bytes.len().is_multiple_of(2);
    for character in char::decode_utf16(units) {
        match character {
            Ok(character) => text.push(character),
            Err(_) => return Err(ModelfileError::NotText { line: line_count(&text), encoding: "UTF-16" }),
        }
    }
    if is_whole { Ok(text) } else { Err(ModelfileError::NotText { line: line_count(&text), encoding: "UTF-16" }) }
}

fn line_count(text: &str) -> u32 {
    1 + text.bytes().filter(|byte| *byte == b'\n').count() as u32
}

struct Cursor<'t> {
    text: &'t str,
    position: usize,
    /// Of `position`, from 1.
    line: u32,
}

impl<'t> Cursor<'t> {
    /// The next instruction, or nothing at the end.
    fn instruction(&mut self) -> Result<Option<Instruction>, ModelfileError> {
        self.skip_to_instruction();
        if self.peek().is_none() {
            return Ok(None);
        }
        let line = self.line;
        let word = self.take_while(|character| !is_blank(character) && !is_line_end(character));
        let Some(name) = INSTRUCTIONS.iter().find(|name| name.eq_ignore_ascii_case(word)) else {
            let found = word.chars().take(SHOWN_CHARACTERS_MAX).collect();
            return Err(ModelfileError::UnknownInstruction { line, found, near: near_instruction(word) });
        };
        if !self.peek().is_some_and(is_blank) {
            return Err(ModelfileError::MissingValue { line, instruction: name, expected: "a value" });
        }
        let instruction = match *name {
            "PARAMETER" => self.parameter(line)?,
            "MESSAGE" => self.message(line)?,
            "FROM" => Instruction::From(self.value()?),
            "TEMPLATE" => Instruction::Template(self.value()?),
            "SYSTEM" => Instruction::System(self.value()?),
            "ADAPTER" => Instruction::Adapter(self.value()?),
            "LICENSE" => Instruction::License(self.value()?),
            "REQUIRES" => Instruction::Requires(self.value()?),
            "DRAFT" => Instruction::Draft(self.value()?),
            "RENDERER" => Instruction::Renderer(self.value()?),
            _ => Instruction::Parser(self.value()?),
        };
        check_not_empty(&instruction, line)?;
        Ok(Some(instruction))
    }

    fn parameter(&mut self, line: u32) -> Result<Instruction, ModelfileError> {
        let name = self.word();
        if name.is_empty() || !self.peek().is_some_and(is_blank) {
            return Err(ModelfileError::MissingValue {
                line,
                instruction: "PARAMETER",
                expected: "a name and a value",
            });
        }
        let value = self.value()?;
        check_parameter(name, &value, Some(line))?;
        Ok(Instruction::Parameter { name: name.to_string(), value })
    }

    fn message(&mut self, line: u32) -> Result<Instruction, ModelfileError> {
        let role = self.word();
        if role.is_empty() || !self.peek().is_some_and(is_blank) {
            return Err(ModelfileError::MissingValue { line, instruction: "MESSAGE", expected: "a role and a text" });
        }
        if !MESSAGE_ROLES.contains(&role) {
            let found = role.chars().take(SHOWN_CHARACTERS_MAX).collect();
            return Err(ModelfileError::UnknownRole { line, found });
        }
        Ok(Instruction::Message(Message { role: role.to_string(), content: self.value()? }))
    }

    /// The text of an instruction, to the end of the line that ends it.
    fn value(&mut self) -> Result<String, ModelfileError> {
        let line = self.line;
        // Blanks before the text never belong to it, line ends in front of it end it.
        self.take_while(is_blank);
        let start = self.position;
        // End of the last character so far that is no blank: what trimming would leave.
        let mut end = start;
        loop {
            let next = self.peek();
            if next.is_none_or(is_line_end) {
                match unquoted(self.text[start..end].trim_start()) {
                    Ok(text) => return Ok(text.to_string()),
                    Err(quote) if next.is_none() => return Err(ModelfileError::OpenQuote { line, quote }),
                    Err(_) => {}
                }
            }
            let Some(character) = next else { unreachable!("a text that ends the file has returned") };
            self.advance(character);
            if !character.is_whitespace() {
                end = self.position;
            }
        }
    }

    /// Blanks, then the letters, digits and underscores after them.
    fn word(&mut self) -> &'t str {
        self.take_while(is_blank);
        self.take_while(|character| character == '_' || character.is_ascii_alphanumeric())
    }

    fn skip_to_instruction(&mut self) {
        loop {
            self.take_while(|character| is_blank(character) || is_line_end(character));
            if self.peek() != Some('#') {
                return;
            }
            self.take_while(|character| !is_line_end(character));
        }
    }

    fn take_while(&mut self, is_wanted: impl Fn(char) -> bool) -> &'t str {
        let start = self.position;
        while let Some(character) = self.peek().filter(|character| is_wanted(*character)) {
            self.advance(character);
        }
        &self.text[start..self.position]
    }

    fn peek(&self) -> Option<char> {
        self.text[self.position..].chars().next()
    }

    fn advance(&mut self, character: char) {
        self.position += character.len_utf8();
        self.line += u32::from(character == '\n');
    }
}

fn near_instruction(word: &str) -> Option<String> {
    let names = INSTRUCTIONS.map(str::to_ascii_lowercase);
    near(word, names.iter().map(String::as_str)).first().map(|name| name.to_ascii_uppercase())
}

fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t')
}

fn is_line_end(character: char) -> bool {
    matches!(character, '\n' | '\r')
}

/// The text without its quotes, or the quote that is still open. `text` has no blanks around it.
fn unquoted(text: &str) -> Result<&str, &'static str> {
    for quote in ["\"\"\"", "\""] {
        if let Some(rest) = text.strip_prefix(quote) {
            return rest.strip_suffix(quote).ok_or(quote);
        }
    }
    Ok(text)
}

/// A path or a name must be there; a text may be empty.
fn check_not_empty(instruction: &Instruction, line: u32) -> Result<(), ModelfileError> {
    let (instruction, expected, value) = match instruction {
        Instruction::From(from) => ("FROM", "a model, a file or a digest", from),
        Instruction::Adapter(path) => ("ADAPTER", "a file", path),
        Instruction::Draft(path) => ("DRAFT", "a file", path),
        _ => return Ok(()),
    };
    if value.is_empty() { Err(ModelfileError::MissingValue { line, instruction, expected }) } else { Ok(()) }
}
