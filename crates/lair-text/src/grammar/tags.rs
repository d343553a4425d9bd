//! Structural tags: free text in which certain beginnings must be followed by a value of a schema and an end.
//!
//! Source: vLLM 0.11, `response_format` of the type `structural_tag` with `structures` and `triggers`.

use std::fmt::Write;

use serde_json::Value as Json;

use super::error::{GrammarError, GrammarKind};
use super::lark_text::{lark_literal, lark_string};
use super::limits::CHOICES_MAX;
use super::schema::lark_schema;
use super::source::SchemaStyle;
use crate::tokenizer::Tokenizer;

/// A part of an answer that must have a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagStructure {
    /// How it begins; one of the triggers is the beginning of that.
    pub begin: String,
    /// The schema of the value behind that.
    pub schema: Json,
    /// What stands behind the value.
    pub end: String,
}

/// Free text with such parts in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StructuralTags {
    /// The parts there may be, any of them any number of times.
    pub structures: Vec<TagStructure>,
    /// Texts after which one of the parts must come.
    pub triggers: Vec<String>,
    /// How the schemas are read.
    pub style: SchemaStyle,
}

impl StructuralTags {
    /// As a grammar in llguidance's variant of Lark. A trigger is found as soon as it stands there: its lexeme is lazy.
    pub(super) fn lark(&self, tokenizer: &Tokenizer) -> Result<String, GrammarError> {
        self.check()?;
        let tags: Vec<String> = (0..self.triggers.len()).map(|index| format!("tag_{index}")).collect();
        let mut lark = format!("start: ({})* rest\nrest: /(.|\\n)*/\n", tags.join(" | "));
        for (index, trigger) in self.triggers.iter().enumerate() {
            let literal = lark_literal(tokenizer, trigger);
            // A control token is no text and ends the free text by itself.
            let free = if literal.contains("<[") {
                let _ = writeln!(lark, "free_{index}: /(.|\\n)*/");
                format!("free_{index} {literal}")
            } else {
                let _ = writeln!(lark, "free_{index}[suffix={}]: /(.|\\n)*/", lark_string(trigger));
                format!("free_{index}")
            };
            let mut ways = Vec::new();
            for (place, structure) in self.structures.iter().enumerate() {
                let Some(rest) = self.rest_after(structure, index) else { continue };
                let literal = |text: &str| if text.is_empty() { String::new() } else { lark_literal(tokenizer, text) };
                let _ = writeln!(lark, "value_{place}: {}", lark_schema(&structure.schema, &self.style)?);
                ways.push(format!("{} value_{place} {}", literal(rest), literal(&structure.end)));
            }
            let _ = writeln!(lark, "tag_{index}: {free} ({})", ways.join(" | "));
        }
        Ok(lark)
    }

    /// Bytes of texts.
    pub(super) fn text_bytes(&self) -> usize {
        let of_structures = self.structures.iter().map(|structure| structure.begin.len() + structure.end.len());
        of_structures.chain(self.triggers.iter().map(String::len)).sum()
    }

    /// What of the beginning stands behind this trigger, if it is the one that the part belongs to: the longest that fits.
    fn rest_after<'s>(&self, structure: &'s TagStructure, trigger: usize) -> Option<&'s str> {
        let fitting = self.triggers.iter().enumerate().filter(|(_, text)| structure.begin.starts_with(text.as_str()));
        let (longest, text) = fitting.max_by_key(|(_, text)| text.len())?;
        (longest == trigger).then(|| &structure.begin[text.len()..])
    }

    fn check(&self) -> Result<(), GrammarError> {
        let kind = GrammarKind::StructuralTag;
        let invalid = |cause: String| Err(GrammarError::Invalid { kind, cause });
        for (what, found) in [("structures", self.structures.len()), ("triggers", self.triggers.len())] {
            if found == 0 {
                return invalid(format!("there are no {what}"));
            }
            if found > CHOICES_MAX {
                return Err(GrammarError::TooLarge { kind, what, found, limit: CHOICES_MAX });
            }
        }
        if let Some(place) = self.triggers.iter().position(String::is_empty) {
            return invalid(format!("triggers[{place}] is empty"));
        }
        for (place, structure) in self.structures.iter().enumerate() {
            if !self.triggers.iter().any(|trigger| structure.begin.starts_with(trigger.as_str())) {
                return invalid(format!("structures[{place}].begin is `{}`, no trigger begins that", structure.begin));
            }
        }
        for (index, trigger) in self.triggers.iter().enumerate() {
            if !self.structures.iter().any(|structure| self.rest_after(structure, index).is_some()) {
                return invalid(format!("triggers[{index}] is `{trigger}`, no structure begins so"));
            }
        }
        Ok(())
    }
}
