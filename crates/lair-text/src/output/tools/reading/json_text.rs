//! One value of JSON, character by character: checked, and put right where models write it wrong.
//!
//! What is put right: line breaks and other control characters in strings, escapes that JSON does not know (`\d`, `\'`),
//! halves of surrogate pairs, a comma before a closing bracket, Python's words for true, false and null. What comes out
//! is valid JSON, otherwise as the model wrote it.

/// Brackets within brackets; what reads arguments refuses more.
const DEPTH_MAX: usize = 100;
/// Characters of a number or a word.
const WORD_MAX: usize = 64;

/// What a character did to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::output) enum Scan {
    /// More must follow.
    More,
    /// The value is complete with it.
    Done,
    /// The value was complete before it: a number or a word ends only where something else begins.
    DoneBefore,
    /// It can stand in no JSON here.
    Broken,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// A value is expected.
    Value,
    /// A value or the end of the list.
    FirstItem,
    /// A key or the end of the object.
    Key,
    Colon,
    String {
        is_key: bool,
    },
    Escape {
        is_key: bool,
    },
    /// `\u` with the digits so far.
    Unicode {
        is_key: bool,
        digits: String,
    },
    Word(String),
    /// Behind a value in an object or a list.
    Behind,
    End,
}

/// Reads one value.
#[derive(Clone, Debug)]
pub(in crate::output) struct JsonText {
    state: State,
    /// The open brackets, `{` and `[`.
    open: Vec<char>,
    /// A comma and white space behind it: shown when something follows that needs it.
    comma: String,
    /// The first half of a surrogate pair.
    surrogate: Option<u16>,
}

impl JsonText {
    pub(in crate::output) fn new() -> JsonText {
        JsonText { state: State::Value, open: Vec::new(), comma: String::new(), surrogate: None }
    }

    /// Takes the next character and appends what it stands for.
    pub(in crate::output) fn push(&mut self, c: char, out: &mut String) -> Scan {
        match std::mem::replace(&mut self.state, State::End) {
            State::String { is_key } => self.in_string(c, is_key, out),
            State::Escape { is_key } => self.escape(c, is_key, out),
            State::Unicode { is_key, digits } => self.unicode(c, is_key, digits, out),
            State::Word(word) => self.word(c, word, out),
            State::End => Scan::Broken,
            state if matches!(c, ' ' | '\t' | '\n' | '\r') => {
                self.state = state;
                if self.comma.is_empty() {
                    out.push(c)
                } else {
                    self.comma.push(c)
                }
                Scan::More
            }
            state => self.structure(c, state, out),
        }
    }

    fn structure(&mut self, c: char, state: State, out: &mut String) -> Scan {
        let next = match (state, c) {
            (State::Key | State::FirstItem | State::Behind, '}' | ']') => return self.close(c, out),
            (State::Behind, ',') => {
                self.comma.push(',');
                if self.open.last() == Some(&'{') { State::Key } else { State::FirstItem }
            }
            (State::Key, '"') => State::String { is_key: true },
            (State::Colon, ':') => State::Value,
            (State::Value | State::FirstItem, '"') => State::String { is_key: false },
            (State::Value | State::FirstItem, '{' | '[') if self.open.len() < DEPTH_MAX => {
                self.open.push(c);
                if c == '{' { State::Key } else { State::FirstItem }
            }
            (State::Value | State::FirstItem, '-' | '0'..='9' | 'a'..='z' | 'A'..='Z') => {
                out.push_str(&std::mem::take(&mut self.comma));
                self.state = State::Word(c.to_string());
                return Scan::More;
            }
            _ => return Scan::Broken,
        };
        if c != ',' {
            out.push_str(&std::mem::take(&mut self.comma));
            out.push(c);
        }
        self.state = next;
        Scan::More
    }

    fn close(&mut self, c: char, out: &mut String) -> Scan {
        let expected = if c == '}' { '{' } else { '[' };
        if self.open.pop() != Some(expected) {
            return Scan::Broken;
        }
        // A comma that nothing follows is left out, the white space behind it is not.
        out.push_str(self.comma.trim_start_matches(','));
        self.comma.clear();
        out.push(c);
        self.behind_value()
    }

    fn behind_value(&mut self) -> Scan {
        if self.open.is_empty() {
            return Scan::Done;
        }
        self.state = State::Behind;
        Scan::More
    }

    fn in_string(&mut self, c: char, is_key: bool, out: &mut String) -> Scan {
        if c == '\\' {
            self.state = State::Escape { is_key };
            return Scan::More;
        }
        self.lone_surrogate(out);
        match c {
            '"' => {
                out.push('"');
                if !is_key {
                    return self.behind_value();
                }
                self.state = State::Colon;
                return Scan::More;
            }
            c => push_escaped(c, out),
        }
        self.state = State::String { is_key };
        Scan::More
    }

    fn escape(&mut self, c: char, is_key: bool, out: &mut String) -> Scan {
        self.state = State::String { is_key };
        if c == 'u' {
            self.state = State::Unicode { is_key, digits: String::new() };
            return Scan::More;
        }
        self.lone_surrogate(out);
        match c {
            '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't' => out.extend(['\\', c]),
            '\'' => out.push('\''),
            c => {
                out.push_str("\\\\");
                push_escaped(c, out);
            }
        }
        Scan::More
    }

    fn unicode(&mut self, c: char, is_key: bool, mut digits: String, out: &mut String) -> Scan {
        if !c.is_ascii_hexdigit() {
            return Scan::Broken;
        }
        digits.push(c);
        if digits.len() < 4 {
            self.state = State::Unicode { is_key, digits };
            return Scan::More;
        }
        self.state = State::String { is_key };
        let unit = u16::from_str_radix(&digits, 16).expect("four hexadecimal digits fit");
        match (self.surrogate.take(), unit) {
            (Some(high), 0xDC00..=0xDFFF) => out.push_str(&format!("\\u{high:04x}\\u{digits}")),
            (lone, _) => {
                if lone.is_some() {
                    out.push('\u{FFFD}');
                }
                match unit {
                    0xD800..=0xDBFF => self.surrogate = Some(unit),
                    0xDC00..=0xDFFF => out.push('\u{FFFD}'),
                    _ => out.push_str(&format!("\\u{digits}")),
                }
            }
        }
        Scan::More
    }

    fn lone_surrogate(&mut self, out: &mut String) {
        if self.surrogate.take().is_some() {
            out.push('\u{FFFD}');
        }
    }

    fn word(&mut self, c: char, mut word: String, out: &mut String) -> Scan {
        if (c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')) && word.len() < WORD_MAX {
            word.push(c);
            self.state = State::Word(word);
            return Scan::More;
        }
        let Some(spelled) = spelled(&word) else { return Scan::Broken };
        out.push_str(spelled);
        match self.behind_value() {
            Scan::Done => Scan::DoneBefore,
            _ => self.push(c, out),
        }
    }
}

/// A number or a word as JSON spells it.
fn spelled(word: &str) -> Option<&str> {
    match word {
        "true" | "True" => Some("true"),
        "false" | "False" => Some("false"),
        "null" | "None" => Some("null"),
        number => serde_json::from_str::<serde_json::Number>(number).is_ok().then_some(number),
    }
}

/// A character as it stands in a string of JSON; `"` and `\` are to be escaped by the caller where they are text.
fn push_escaped(c: char, out: &mut String) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
        c => out.push(c),
    }
}

/// Appends a character of a text to a string of JSON.
pub(in crate::output) fn push_text_character(c: char, out: &mut String) {
    if matches!(c, '"' | '\\') {
        out.push('\\');
    }
    push_escaped(c, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Scan, String) {
        let (mut value, mut out) = (JsonText::new(), String::new());
        let mut scan = Scan::More;
        for c in text.chars() {
            assert_eq!(scan, Scan::More, "{text} goes on behind {out}");
            scan = value.push(c, &mut out);
        }
        (scan, out)
    }

    #[test]
    fn valid_json_comes_out_as_it_is() {
        for text in [
            "{}",
            "[]",
            r#"{"a": [1, -2.5e+10, true], "b": {"c": null}, "ü": "é\n\"\\\u00e9\ud83d\ude00"}"#,
            "[ [ ] , { } ]",
            r#""text""#,
        ] {
            assert_eq!(read(text), (Scan::Done, text.to_owned()));
        }
        assert_eq!(read("12 "), (Scan::DoneBefore, "12".to_owned()));
    }

    #[test]
    fn usual_mistakes_are_put_right() {
        for (text, expected) in [
            ("{\"a\": \"x\ny\t\u{1}\"}", r#"{"a": "x\ny\t\u0001"}"#),
            (r#"{"a": "it\'s \d+"}"#, r#"{"a": "it's \\d+"}"#),
            (r#"{"a": [1, 2, ], }"#, r#"{"a": [1, 2 ] }"#),
            (r#"{"a": True, "b": None, "c": False}"#, r#"{"a": true, "b": null, "c": false}"#),
            (
                r#"["\ud83d", "\ud83dx", "\ude00", "\ud83d\n"]"#,
                "[\"\u{FFFD}\", \"\u{FFFD}x\", \"\u{FFFD}\", \"\u{FFFD}\\n\"]",
            ),
        ] {
            let (scan, out) = read(text);
            assert_eq!((scan, out.as_str()), (Scan::Done, expected));
            serde_json::from_str::<serde_json::Value>(&out).expect("valid");
        }
    }

    #[test]
    fn what_is_no_json_is_found_at_once() {
        for text in [
            "}", "{]", "[}", "{1", "{\"a\"]", "{\"a\" 1", "[1 2", "[01,", "[1e999,", "[tru,", "\"\\ux", "'", "[,", "{,",
        ] {
            assert_eq!(read(text).0, Scan::Broken, "{text}");
        }
        assert_eq!(read(&"[".repeat(DEPTH_MAX + 1)).0, Scan::Broken);
    }
}
