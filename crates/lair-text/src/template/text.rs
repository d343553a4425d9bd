//! Strings that remember which of their bytes came from the conversation.
//!
//! Every string operation of a template goes through [`TextBuilder`], which copies the origin along with the bytes.
//! The template sees plain strings: length, search, comparison and slicing do not know about origins.

use std::ops::Range;
use std::rc::Rc;

use super::budget::{Budget, Charge, TEXT_BYTES_MAX};
use super::error::{TemplateError, TemplateFault};

/// Memory of an empty text: the two headers and the reference counts.
const TEXT_OVERHEAD_BYTES: usize = 96;

/// Who wrote a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The template, the tokenizer's own tokens or the engine: may be a special token.
    Template,
    /// The conversation: messages, tools, extra variables. Never a special token.
    Content,
}

/// An immutable string with the origin of each byte.
pub(crate) struct Text {
    string: String,
    /// The bytes of origin [`Origin::Content`]: sorted, not touching each other.
    content: Vec<Range<usize>>,
    /// Whether it is `Markup`: the result of `safe` or `escape`, which escapes plain strings that are added to it.
    is_markup: bool,
    charge: Charge,
}

impl Text {
    pub(crate) fn new(budget: &Rc<Budget>, string: &str, origin: Origin) -> Result<Rc<Text>, TemplateError> {
        let mut builder = TextBuilder::new(budget)?;
        builder.push(string, origin)?;
        Ok(builder.finish())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.string
    }

    pub(crate) fn is_markup(&self) -> bool {
        self.is_markup
    }

    pub(crate) fn budget(&self) -> &Rc<Budget> {
        self.charge.budget()
    }

    /// A copy of the bytes in `range`, which must lie on character boundaries.
    pub(crate) fn slice(&self, range: Range<usize>) -> Result<Rc<Text>, TemplateError> {
        let mut builder = TextBuilder::like(self)?;
        builder.push_slice(self, range)?;
        Ok(builder.finish())
    }

    /// The runs of equal origin in `range`, in order, without gaps.
    pub(crate) fn runs(&self, range: Range<usize>) -> Vec<(Range<usize>, Origin)> {
        let mut runs = Vec::new();
        let mut position = range.start;
        let first = self.content.partition_point(|content| content.end <= range.start);
        for content in &self.content[first..] {
            if content.start >= range.end {
                break;
            }
            let start = content.start.max(range.start);
            let end = content.end.min(range.end);
            if position < start {
                runs.push((position..start, Origin::Template));
            }
            runs.push((start..end, Origin::Content));
            position = end;
        }
        if position < range.end {
            runs.push((position..range.end, Origin::Template));
        }
        runs
    }

    /// A text with each run of equal origin replaced by `change` of it: for mappings that look at single characters.
    pub(crate) fn map_runs(&self, change: impl Fn(&str) -> String) -> Result<Rc<Text>, TemplateError> {
        let mut builder = TextBuilder::like(self)?;
        for (range, origin) in self.runs(0..self.string.len()) {
            builder.push(&change(&self.string[range]), origin)?;
        }
        Ok(builder.finish())
    }

    /// The string and the runs that cover it, for the world outside.
    pub(crate) fn into_parts(self) -> (String, Vec<(Range<usize>, Origin)>) {
        let runs = self.runs(0..self.string.len());
        (self.string, runs)
    }
}

/// Builds a [`Text`], paying for each byte and refusing what grows too long.
pub(crate) struct TextBuilder {
    text: Text,
    bytes_max: usize,
}

impl TextBuilder {
    pub(crate) fn new(budget: &Rc<Budget>) -> Result<TextBuilder, TemplateError> {
        TextBuilder::with_limit(budget, TEXT_BYTES_MAX)
    }

    pub(crate) fn with_limit(budget: &Rc<Budget>, bytes_max: usize) -> Result<TextBuilder, TemplateError> {
        let charge = Charge::new(budget, TEXT_OVERHEAD_BYTES)?;
        Ok(TextBuilder {
            text: Text { string: String::new(), content: Vec::new(), is_markup: false, charge },
            bytes_max,
        })
    }

    /// For a text made of `text`, which is markup if that is.
    pub(crate) fn like(text: &Text) -> Result<TextBuilder, TemplateError> {
        let mut builder = TextBuilder::new(text.budget())?;
        builder.text.is_markup = text.is_markup;
        Ok(builder)
    }

    pub(crate) fn is_markup(&self) -> bool {
        self.text.is_markup
    }

    /// Makes the text markup.
    pub(crate) fn mark_up(&mut self) {
        self.text.is_markup = true;
    }

    pub(crate) fn budget(&self) -> &Rc<Budget> {
        self.text.budget()
    }

    pub(crate) fn push(&mut self, string: &str, origin: Origin) -> Result<(), TemplateError> {
        if string.is_empty() {
            return Ok(());
        }
        let start = self.text.string.len();
        let end = start + string.len();
        if end > self.bytes_max {
            return Err(TemplateFault::OutputTooLarge { limit_bytes: self.bytes_max }.into());
        }
        self.text.budget().spend_bytes(string.len())?;
        self.text.charge.grow(string.len())?;
        if origin == Origin::Content {
            match self.text.content.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => {
                    self.text.charge.grow(size_of::<Range<usize>>())?;
                    self.text.content.push(start..end);
                }
            }
        }
        self.text.string.push_str(string);
        Ok(())
    }

    /// Appends what the template itself wrote.
    pub(crate) fn push_own(&mut self, string: &str) -> Result<(), TemplateError> {
        self.push(string, Origin::Template)
    }

    pub(crate) fn push_char(&mut self, character: char, origin: Origin) -> Result<(), TemplateError> {
        self.push(character.encode_utf8(&mut [0; 4]), origin)
    }

    /// Appends `count` times the character: padding, paid before it is written.
    pub(crate) fn push_repeated(&mut self, character: char, count: usize) -> Result<(), TemplateError> {
        if count.saturating_mul(character.len_utf8()) > self.bytes_max {
            return Err(TemplateFault::OutputTooLarge { limit_bytes: self.bytes_max }.into());
        }
        for _ in 0..count {
            self.push_char(character, Origin::Template)?;
        }
        Ok(())
    }

    pub(crate) fn push_text(&mut self, text: &Text) -> Result<(), TemplateError> {
        self.push_slice(text, 0..text.string.len())
    }

    pub(crate) fn push_slice(&mut self, text: &Text, range: Range<usize>) -> Result<(), TemplateError> {
        // Most texts have one origin: spare them the list of runs.
        match text.content.as_slice() {
            [] => self.push(&text.string[range], Origin::Template),
            [content] if content.start <= range.start && range.end <= content.end => {
                self.push(&text.string[range], Origin::Content)
            }
            _ => text.runs(range).into_iter().try_for_each(|(run, origin)| self.push(&text.string[run], origin)),
        }
    }

    pub(crate) fn finish(self) -> Rc<Text> {
        Rc::new(self.text)
    }

    pub(crate) fn into_text(self) -> Text {
        self.text
    }
}
