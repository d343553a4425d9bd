//! `{"name": "weather", "arguments": {"city": "Rome"}}`, the members in any order and under any of their names.

use super::json_text::{JsonText, Scan};
use super::{Calls, Step, ToolSet, is_name};

/// Names of the member that names the tool.
const NAME_KEYS: [&str; 3] = ["name", "tool_name", "function_name"];
/// Names of the member that has the arguments.
const ARGUMENT_KEYS: [&str; 5] = ["arguments", "parameters", "args", "input", "kwargs"];
/// Names of the member that names the call.
const ID_KEYS: [&str; 3] = ["id", "tool_call_id", "call_id"];
/// Bytes of a member other than the arguments.
const MEMBER_BYTES_MAX: usize = 4096;

/// How the object is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::output::tools) enum JsonKeys {
    /// With members for name and arguments.
    Named,
    /// `{"weather": {"city": "Rome"}}`: one member, the tool.
    Short,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Name,
    Arguments,
    Id,
    /// `"function": {...}` around name and arguments, or the name itself.
    Function,
    Other,
}

#[derive(Clone, Debug)]
enum State {
    KeyOrEnd,
    Key(JsonText, String),
    Colon(String),
    ValueStart(Role),
    Value(Role, JsonText, String),
    /// Arguments that are shown as they come.
    Arguments(JsonText),
    Behind,
}

/// Reads one object, whose opening brace is read already.
#[derive(Clone, Debug)]
pub(super) struct JsonCall {
    state: State,
    keys: JsonKeys,
    /// Only calls of tools there are count, and no member that a call does not have.
    is_strict: bool,
    id: String,
    name: Option<String>,
    arguments: Option<String>,
    has_begun: bool,
    is_complete: bool,
    /// Within the braces of `function`.
    is_nested: bool,
}

impl JsonCall {
    pub(super) fn new(keys: JsonKeys, is_strict: bool) -> JsonCall {
        JsonCall {
            state: State::KeyOrEnd,
            keys,
            is_strict,
            id: String::new(),
            name: None,
            arguments: None,
            has_begun: false,
            is_complete: false,
            is_nested: false,
        }
    }

    pub(super) fn push(&mut self, c: char, tools: &ToolSet, calls: &mut Calls) -> Step {
        match &mut self.state {
            State::Key(text, key) => {
                let scan = text.push(c, key);
                if key.len() > MEMBER_BYTES_MAX || scan == Scan::Broken {
                    return Step::Broken;
                }
                if scan == Scan::Done {
                    let Ok(key) = serde_json::from_str(key) else { return Step::Broken };
                    self.state = State::Colon(key);
                }
                Step::More
            }
            State::Arguments(text) => {
                let mut out = String::new();
                let scan = text.push(c, &mut out);
                calls.arguments(&out);
                match scan {
                    Scan::More => Step::More,
                    Scan::Done => {
                        (self.is_complete, self.state) = (true, State::Behind);
                        Step::More
                    }
                    Scan::DoneBefore | Scan::Broken => Step::Broken,
                }
            }
            State::Value(..) => self.value(c, tools, calls),
            _ if matches!(c, ' ' | '\t' | '\n' | '\r') => Step::More,
            State::KeyOrEnd => match c {
                '"' => {
                    let (mut text, mut key) = (JsonText::new(), String::new());
                    text.push('"', &mut key);
                    self.state = State::Key(text, key);
                    Step::More
                }
                '}' => self.close(calls),
                _ => Step::Broken,
            },
            State::Colon(key) => {
                let key = std::mem::take(key);
                if c == ':' { self.member(key, tools) } else { Step::Broken }
            }
            State::ValueStart(role) => {
                let role = *role;
                self.begin_value(role, c, tools, calls)
            }
            State::Behind => match c {
                ',' => {
                    self.state = State::KeyOrEnd;
                    Step::More
                }
                '}' => self.close(calls),
                // The arguments are all that matters: a model that forgets the last brace has still called.
                _ if self.is_complete => self.finish(calls).map_or(Step::Broken, |()| Step::DoneBefore),
                _ => Step::Broken,
            },
        }
    }

    fn member(&mut self, key: String, tools: &ToolSet) -> Step {
        let has = |keys: &[&str]| keys.contains(&key.as_str());
        let role = match self.keys {
            JsonKeys::Short if self.name.is_none() => {
                if !self.take_name(key, tools) {
                    return Step::Broken;
                }
                Role::Arguments
            }
            JsonKeys::Short => return Step::Broken,
            JsonKeys::Named if has(&NAME_KEYS) => Role::Name,
            JsonKeys::Named if has(&ARGUMENT_KEYS) => Role::Arguments,
            JsonKeys::Named if has(&ID_KEYS) => Role::Id,
            JsonKeys::Named if key == "function" => Role::Function,
            JsonKeys::Named if self.is_strict && key != "type" => return Step::Broken,
            JsonKeys::Named => Role::Other,
        };
        self.state = State::ValueStart(role);
        Step::More
    }

    fn begin_value(&mut self, role: Role, c: char, tools: &ToolSet, calls: &mut Calls) -> Step {
        let has_arguments = self.has_begun || self.arguments.is_some();
        match (role, c) {
            (Role::Function, '{') if !self.is_nested => {
                (self.is_nested, self.state) = (true, State::KeyOrEnd);
                return Step::More;
            }
            (Role::Arguments, '{') if self.name.is_some() && !has_arguments => {
                self.begin(calls);
                self.state = State::Arguments(JsonText::new());
                return self.push(c, tools, calls);
            }
            (Role::Arguments, '{' | '"' | 'n' | 'N') if !has_arguments => {}
            (Role::Name | Role::Id, '"') | (Role::Function, '"') | (Role::Other, _) => {}
            // Some write `"id": 0`.
            (Role::Id, _) => {}
            _ => return Step::Broken,
        }
        self.state = State::Value(role, JsonText::new(), String::new());
        self.value(c, tools, calls)
    }

    fn value(&mut self, c: char, tools: &ToolSet, calls: &mut Calls) -> Step {
        let State::Value(role, text, value) = &mut self.state else { return Step::Broken };
        let scan = text.push(c, value);
        let role = *role;
        match scan {
            Scan::More if role != Role::Arguments && value.len() > MEMBER_BYTES_MAX => Step::Broken,
            Scan::More => Step::More,
            Scan::Broken => Step::Broken,
            Scan::Done | Scan::DoneBefore => {
                let value = std::mem::take(value);
                self.state = State::Behind;
                if !self.take_value(role, value, tools, calls) {
                    return Step::Broken;
                }
                if scan == Scan::DoneBefore { self.push(c, tools, calls) } else { Step::More }
            }
        }
    }

    fn take_value(&mut self, role: Role, value: String, tools: &ToolSet, calls: &mut Calls) -> bool {
        let text = || serde_json::from_str::<String>(&value).ok();
        match role {
            Role::Other => return true,
            Role::Name | Role::Function => {
                if !text().is_some_and(|name| self.take_name(name, tools)) {
                    return false;
                }
            }
            Role::Id => self.id = text().unwrap_or_else(|| value.clone()),
            Role::Arguments => match arguments_of(&value) {
                Some(arguments) => self.arguments = Some(arguments),
                None => return false,
            },
        }
        if self.name.is_some()
            && !self.has_begun
            && let Some(arguments) = self.arguments.take()
        {
            self.begin(calls);
            calls.arguments(&arguments);
            self.is_complete = true;
        }
        true
    }

    fn take_name(&mut self, name: String, tools: &ToolSet) -> bool {
        let is_good = self.name.is_none() && is_name(&name) && (!self.is_strict || tools.has(&name));
        self.name = Some(name);
        is_good
    }

    fn begin(&mut self, calls: &mut Calls) {
        self.has_begun = true;
        calls.begin(std::mem::take(&mut self.id), self.name.clone().unwrap_or_default());
    }

    fn close(&mut self, calls: &mut Calls) -> Step {
        if self.is_nested {
            (self.is_nested, self.state) = (false, State::Behind);
            return Step::More;
        }
        // A tool without parameters may be called without arguments.
        if self.name.is_some() && !self.has_begun && self.arguments.is_none() {
            self.begin(calls);
            calls.arguments("{}");
            self.is_complete = true;
        }
        self.finish(calls).map_or(Step::Broken, |()| Step::Done)
    }

    /// Ends the call if its name and its arguments are there.
    pub(super) fn finish(&mut self, calls: &mut Calls) -> Option<()> {
        if !self.is_complete || !matches!(self.state, State::Behind | State::KeyOrEnd) {
            return None;
        }
        calls.end();
        Some(())
    }
}

/// The object that a value stands for, as JSON text: itself, its text read again, or nothing.
pub(super) fn arguments_of(value: &str) -> Option<String> {
    match value.as_bytes().first()? {
        b'{' => Some(value.to_owned()),
        b'n' => Some("{}".to_owned()),
        _ => {
            let text = serde_json::from_str::<String>(value).ok()?;
            let text = if text.trim().is_empty() { "{}" } else { text.trim() };
            serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).ok().map(|_| text.to_owned())
        }
    }
}
