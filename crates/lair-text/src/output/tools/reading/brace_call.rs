//! A name and an object whose texts stand between marks: `call:weather{city:<|"|>Rome<|"|>,days:3}`.

use serde_json::{Map, Value as Json};

use super::{Calls, Step, ToolSet, is_name};

/// Brackets within brackets.
const DEPTH_MAX: usize = 64;

/// The marks.
#[derive(Clone, Copy, Debug)]
pub(in crate::output::tools) struct BraceStyle {
    /// Begins a call.
    pub open: &'static str,
    /// Stands before and behind each text.
    pub quote: &'static str,
}

/// Reads one call, when its last brace is there.
#[derive(Clone, Debug)]
pub(super) struct BraceCall {
    style: &'static BraceStyle,
    text: String,
    depth: usize,
    is_quoted: bool,
}

impl BraceCall {
    pub(super) fn new(style: &'static BraceStyle) -> BraceCall {
        BraceCall { style, text: String::new(), depth: 0, is_quoted: false }
    }

    pub(super) fn push(&mut self, c: char, _tools: &ToolSet, calls: &mut Calls) -> Step {
        self.text.push(c);
        if self.text.ends_with(self.style.quote) {
            self.is_quoted = !self.is_quoted;
            return Step::More;
        }
        match c {
            _ if self.is_quoted => {}
            '{' | '[' => self.depth += 1,
            '}' | ']' => match self.depth {
                0 => return Step::Broken,
                1 => return self.end(calls),
                _ => self.depth -= 1,
            },
            _ if self.depth == 0 && !is_name(self.text.trim()) => return Step::Broken,
            _ => {}
        }
        if self.depth > DEPTH_MAX { Step::Broken } else { Step::More }
    }

    fn end(&mut self, calls: &mut Calls) -> Step {
        let Some((name, _)) = self.text.split_once('{') else { return Step::Broken };
        let name = name.trim().to_owned();
        let mut reader = Reader { rest: &self.text[self.text.find('{').unwrap_or(0)..], quote: self.style.quote };
        let arguments = reader.value(0).filter(|value| value.is_object() && reader.rest.is_empty());
        let Some(arguments) = arguments.filter(|_| is_name(&name)) else { return Step::Broken };
        calls.whole(String::new(), name, &arguments.to_string());
        Step::Done
    }
}

struct Reader<'t> {
    rest: &'t str,
    quote: &'static str,
}

impl<'t> Reader<'t> {
    fn take(&mut self, text: &str) -> Option<()> {
        self.rest = self.rest.trim_start().strip_prefix(text)?;
        Some(())
    }

    fn value(&mut self, depth: usize) -> Option<Json> {
        if depth > DEPTH_MAX {
            return None;
        }
        if self.take(self.quote).is_some() {
            return self.until_quote().map(Json::from);
        }
        if self.take("{").is_some() {
            let mut fields = Map::new();
            while self.take("}").is_none() {
                let key = if self.take(self.quote).is_some() { self.until_quote()? } else { self.until(&[':'])? };
                self.take(":")?;
                fields.insert(key.trim().trim_matches('"').to_owned(), self.value(depth + 1)?);
                if !self.rest.trim_start().starts_with('}') {
                    self.take(",")?;
                }
            }
            return Some(Json::Object(fields));
        }
        if self.take("[").is_some() {
            let mut items = Vec::new();
            while self.take("]").is_none() {
                items.push(self.value(depth + 1)?);
                if !self.rest.trim_start().starts_with(']') {
                    self.take(",")?;
                }
            }
            return Some(Json::Array(items));
        }
        if self.rest.trim_start().starts_with('"') {
            let mut values = serde_json::Deserializer::from_str(self.rest).into_iter::<Json>();
            let value = values.next()?.ok()?;
            self.rest = &self.rest[values.byte_offset()..];
            return Some(value);
        }
        let word = self.until(&[',', '}', ']'])?.trim();
        Some(serde_json::from_str(word).unwrap_or_else(|_| Json::from(word)))
    }

    fn until(&mut self, ends: &[char]) -> Option<&'t str> {
        let end = self.rest.find(ends)?;
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(text)
    }

    fn until_quote(&mut self) -> Option<&'t str> {
        let (text, rest) = self.rest.split_once(self.quote)?;
        self.rest = rest;
        Some(text)
    }
}
