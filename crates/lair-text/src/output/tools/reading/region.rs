//! A region of calls: between what opens it and what closes it.

use super::{CallBody, CallStyle, Calls, Form, Step, ToolSet};

/// What a character did to a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Inside,
    /// It ends with this character.
    Closed,
    /// It ended before; the raw text of the calls is what follows it.
    Left,
    /// With this character it is no region of calls, or none any more.
    Broken,
}

#[derive(Clone, Debug)]
pub(super) struct Region {
    form: &'static Form,
    /// How its calls are written, once the first is met.
    style: Option<&'static CallStyle>,
    call: Option<CallBody>,
    /// Between calls: what may be the beginning of a tag.
    held: String,
    /// Whether a bracket was opened around the calls.
    is_list: bool,
    has_call: bool,
}

impl Region {
    pub(super) fn new(form: &'static Form) -> Region {
        Region { form, style: None, call: None, held: String::new(), is_list: false, has_call: false }
    }

    pub(super) fn push(&mut self, c: char, tools: &ToolSet, calls: &mut Calls) -> Outcome {
        let Some(call) = &mut self.call else { return self.between(c, tools, calls) };
        match call.push(c, tools, calls) {
            Step::More => Outcome::Inside,
            Step::Broken => Outcome::Broken,
            Step::Done => {
                (self.call, self.has_call) = (None, true);
                Outcome::Inside
            }
            Step::DoneBefore => {
                (self.call, self.has_call) = (None, true);
                calls.raw.push(c);
                self.between(c, tools, calls)
            }
        }
    }

    /// The answer is over.
    pub(super) fn finish(&mut self, calls: &mut Calls) {
        let has_ended = match &mut self.call {
            Some(call) => call.finish(calls).is_some(),
            None => self.has_call,
        };
        if !has_ended {
            calls.broken();
        }
    }

    fn between(&mut self, c: char, tools: &ToolSet, calls: &mut Calls) -> Outcome {
        self.held.push(c);
        if self.held.chars().all(char::is_whitespace) {
            self.held.clear();
            return Outcome::Inside;
        }
        // White space may be part of a tag, or stand before one.
        let held = self.held.trim_start();
        if self.form.close.contains(&held) {
            self.held.clear();
            return if self.has_call { Outcome::Closed } else { Outcome::Broken };
        }
        let styles =
            || self.form.styles.iter().filter(|style| self.style.is_none_or(|known| std::ptr::eq(known, *style)));
        if styles().any(|style| style.trailers().contains(&held)) && self.has_call {
            self.held.clear();
            calls.raw.clear();
            return Outcome::Inside;
        }
        if let Some(style) = styles().find(|style| !style.open().is_empty() && style.open() == held) {
            self.begin(style);
            return Outcome::Inside;
        }
        let mut tags = self.form.close.iter().copied().chain(styles().flat_map(|style| {
            let trailers = if self.has_call { style.trailers() } else { &[] };
            trailers.iter().copied().chain([style.open()])
        }));
        if tags.any(|tag| tag.starts_with(held)) {
            return Outcome::Inside;
        }
        if self.separator(held) {
            let closes = held == "]" && self.is_list && self.form.close.is_empty();
            self.is_list |= held == "[";
            if self.has_call && matches!(held, "}" | "]") {
                calls.raw.clear();
            }
            self.held.clear();
            return if closes && self.has_call { Outcome::Closed } else { Outcome::Inside };
        }
        let first = held.chars().next().unwrap_or(c);
        let begins_name = first.is_alphabetic() || first == '_';
        let bare = styles().find(|style| {
            let has_room = !self.has_call || matches!(style, CallStyle::Python);
            style.open().is_empty() && has_room && begins_name
        });
        if let Some(style) = bare {
            let held = std::mem::take(&mut self.held);
            self.begin(style);
            return self.replay(held.trim_start(), tools, calls);
        }
        if self.has_call { Outcome::Left } else { Outcome::Broken }
    }

    fn begin(&mut self, style: &'static CallStyle) {
        self.held.clear();
        self.style = Some(style);
        self.call = Some(style.begin(self.form.is_strict));
    }

    /// Gives held characters to the call that they began.
    fn replay(&mut self, held: &str, tools: &ToolSet, calls: &mut Calls) -> Outcome {
        for c in held.chars() {
            match self.push(c, tools, calls) {
                Outcome::Inside => {}
                other => return other,
            }
        }
        Outcome::Inside
    }

    /// What may stand between calls besides tags.
    fn separator(&self, held: &str) -> bool {
        match held {
            "[" => !self.has_call && !self.is_list && self.form.styles.iter().any(is_list_style),
            "," | ";" => self.has_call,
            "]" => self.is_list,
            // One brace too many, or those around a list of calls.
            "}" => self.has_call && matches!(self.style, Some(CallStyle::Json(_))),
            _ => false,
        }
    }
}

fn is_list_style(style: &CallStyle) -> bool {
    matches!(style, CallStyle::Json(_) | CallStyle::Python)
}
