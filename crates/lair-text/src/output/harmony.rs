//! The answers of gpt-oss: messages with a header that says in which channel they are and whom they are for.
//!
//! ```text
//! <|channel|>analysis<|message|>They ask for the weather.<|end|>
//! <|start|>assistant<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{"city": "Rome"}<|call|>
//! ```
//!
//! `analysis` is reasoning, `commentary` and `final` are content, what has a recipient is a call.
//!
//! Source: OpenAI's description of the harmony format.

use super::Part;
use super::tools::{Calls, JsonText, Scan, is_name};

/// Bytes of a header.
const HEADER_BYTES_MAX: usize = 512;
/// What begins an answer whose header the prompt has begun, or another message.
const OPENINGS: [&str; 4] = ["<|channel|>", "<|start|>", "to=", "<|message|>"];
/// What ends a message.
const ENDINGS: [&str; 5] = ["<|end|>", "<|call|>", "<|return|>", "<|start|>", "<|channel|>"];
const MESSAGE: &str = "<|message|>";

/// Whether calls are read, or left in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallReading {
    /// They are read.
    Calls,
    /// The request has no tools: what is written to one is text.
    Text,
}

#[derive(Clone, Debug)]
enum State {
    /// Between messages: a header may begin.
    Between {
        held: String,
    },
    Header(String),
    /// In a message; what may be the beginning of a mark is held back.
    Message {
        is_reasoning: bool,
        held: String,
    },
    Call {
        arguments: JsonText,
        has_begun: bool,
    },
    /// Behind the arguments of a call, up to what ends its message.
    Called {
        held: String,
    },
}

/// Reads an answer.
#[derive(Clone, Debug)]
pub struct HarmonyReader {
    state: State,
    calls: Calls,
    reading: CallReading,
    /// White space of reasoning that is shown if more follows.
    spaces: String,
    has_reasoned: bool,
    parts: Vec<Part>,
}

impl HarmonyReader {
    /// A reader of the answer to a prompt that ends with `<|start|>assistant`.
    pub fn new(reading: CallReading) -> HarmonyReader {
        HarmonyReader {
            state: State::Between { held: String::new() },
            calls: Calls::default(),
            reading,
            spaces: String::new(),
            has_reasoned: false,
            parts: Vec::new(),
        }
    }

    /// Takes the next piece of text and gives what is certain, in order.
    pub fn push(&mut self, piece: &str) -> Vec<Part> {
        piece.chars().for_each(|c| self.character(c));
        self.parts.extend(self.calls.take());
        std::mem::take(&mut self.parts)
    }

    /// What was held back when the answer ends.
    pub fn finish(&mut self) -> Vec<Part> {
        match std::mem::replace(&mut self.state, State::Between { held: String::new() }) {
            State::Between { held } | State::Header(held) => self.calls.content(&held),
            State::Message { is_reasoning, held } => self.say(is_reasoning, &held),
            State::Call { has_begun: false, .. } if self.calls.raw.ends_with(MESSAGE) => self.calls.broken(),
            State::Call { .. } => self.calls.broken(),
            State::Called { .. } => {}
        }
        self.calls.finish();
        self.parts.extend(self.calls.take());
        std::mem::take(&mut self.parts)
    }

    fn say(&mut self, is_reasoning: bool, text: &str) {
        if !is_reasoning {
            return self.calls.content(text);
        }
        // White space around reasoning belongs to the marks, as with other models.
        self.parts.extend(self.calls.take());
        for c in text.chars() {
            if c.is_whitespace() {
                self.spaces.push(c);
                continue;
            }
            let mut shown = std::mem::take(&mut self.spaces);
            if !std::mem::replace(&mut self.has_reasoned, true) {
                shown.clear();
            }
            shown.push(c);
            match self.parts.last_mut() {
                Some(Part::Reasoning(reasoning)) => reasoning.push_str(&shown),
                _ => self.parts.push(Part::Reasoning(shown)),
            }
        }
    }

    fn character(&mut self, c: char) {
        match std::mem::replace(&mut self.state, State::Between { held: String::new() }) {
            State::Between { held } => self.between(held, c),
            State::Header(text) => self.header(text, c),
            State::Message { is_reasoning, held } => self.message(is_reasoning, held, c),
            State::Call { arguments, has_begun } => self.call(arguments, has_begun, c),
            State::Called { mut held } => {
                held.push(c);
                let text = held.trim_start();
                if let Some(ending) = ENDINGS.iter().find(|ending| **ending == text) {
                    self.ended(ending);
                } else if ENDINGS.iter().any(|ending| ending.starts_with(text)) {
                    self.state = State::Called { held };
                } else {
                    // Content that nothing announced.
                    self.state = State::Message { is_reasoning: false, held: String::new() };
                    held.chars().for_each(|c| self.character(c));
                }
            }
        }
    }

    fn between(&mut self, mut held: String, c: char) {
        held.push(c);
        let text = held.trim_start();
        if OPENINGS.contains(&text) {
            let header = text.to_owned();
            self.state = State::Header(if header == MESSAGE { String::new() } else { header.clone() });
            if header == MESSAGE {
                self.open(String::new());
            }
        } else if OPENINGS.iter().chain(&ENDINGS).any(|mark| mark.starts_with(text)) {
            self.state = State::Between { held: if ENDINGS.contains(&text) { String::new() } else { held } };
        } else {
            // An answer without a header is content.
            self.state = State::Message { is_reasoning: false, held: String::new() };
            held.chars().for_each(|c| self.character(c));
        }
    }

    fn header(&mut self, mut text: String, c: char) {
        text.push(c);
        if text.ends_with(MESSAGE) {
            self.open(text);
        } else if text.len() > HEADER_BYTES_MAX {
            self.calls.content(&text);
            self.state = State::Message { is_reasoning: false, held: String::new() };
        } else {
            self.state = State::Header(text);
        }
    }

    /// Begins a message with this header.
    fn open(&mut self, header: String) {
        let recipient = header.split_once("to=").map(|(_, rest)| rest);
        let recipient = recipient.map(|rest| rest.split([' ', '<']).next().unwrap_or_default());
        let channel = header.rsplit_once("<|channel|>").map_or("final", |(_, channel)| channel).trim_start();
        match recipient.map(|name| name.strip_prefix("functions.").unwrap_or(name)) {
            Some(name) if is_name(name) && self.reading == CallReading::Calls => {
                self.calls.raw = header.clone();
                self.parts.extend(self.calls.take());
                self.calls.begin(String::new(), name.to_owned());
                self.state = State::Call { arguments: JsonText::new(), has_begun: false };
            }
            recipient => {
                let is_reasoning = recipient.is_none() && channel.starts_with("analysis");
                if recipient.is_some() {
                    self.calls.content(&header);
                }
                if is_reasoning && self.has_reasoned {
                    self.spaces = "\n\n".to_owned();
                }
                self.state = State::Message { is_reasoning, held: String::new() };
            }
        }
    }

    fn message(&mut self, is_reasoning: bool, mut held: String, c: char) {
        held.push(c);
        while !held.is_empty() {
            if let Some(ending) = ENDINGS.iter().find(|ending| **ending == held) {
                return self.ended(ending);
            }
            if ENDINGS.iter().any(|ending| ending.starts_with(&held)) {
                break;
            }
            let first = held.remove(0);
            self.say(is_reasoning, first.encode_utf8(&mut [0; 4]));
        }
        self.state = State::Message { is_reasoning, held };
    }

    fn ended(&mut self, ending: &str) {
        self.spaces.clear();
        self.state = match ending {
            "<|start|>" | "<|channel|>" => State::Header(ending.to_owned()),
            _ => State::Between { held: String::new() },
        };
    }

    fn call(&mut self, mut arguments: JsonText, has_begun: bool, c: char) {
        self.calls.raw.push(c);
        if !has_begun && c.is_whitespace() {
            self.state = State::Call { arguments, has_begun };
            return;
        }
        // A tool without parameters may be called without arguments.
        if !has_begun && c == '<' {
            self.calls.arguments("{}");
            self.calls.end();
            self.state = State::Called { held: "<".to_owned() };
            return;
        }
        let mut out = String::new();
        let scan = if has_begun || c == '{' { arguments.push(c, &mut out) } else { Scan::Broken };
        self.calls.arguments(&out);
        self.state = match scan {
            Scan::More => State::Call { arguments, has_begun: true },
            Scan::Done => {
                self.calls.end();
                State::Called { held: String::new() }
            }
            Scan::DoneBefore | Scan::Broken => {
                self.calls.broken();
                State::Message { is_reasoning: false, held: String::new() }
            }
        };
    }
}
