//! A call as Python writes it: `weather(city="Rome", days=[1, 2])`.

use serde_json::{Map, Value as Json};

use super::{Calls, Step, ToolSet, is_name};

/// Brackets within brackets.
const DEPTH_MAX: usize = 64;

/// Reads one call, when its last parenthesis is there.
#[derive(Clone, Debug, Default)]
pub(super) struct PythonCall {
    text: String,
    depth: usize,
    quote: Option<char>,
    is_escaped: bool,
    is_strict: bool,
}

impl PythonCall {
    pub(super) fn new(is_strict: bool) -> PythonCall {
        PythonCall { is_strict, ..PythonCall::default() }
    }

    pub(super) fn push(&mut self, c: char, tools: &ToolSet, calls: &mut Calls) -> Step {
        self.text.push(c);
        if let Some(quote) = self.quote {
            match c {
                _ if self.is_escaped => self.is_escaped = false,
                '\\' => self.is_escaped = true,
                c if c == quote => self.quote = None,
                _ => {}
            }
            return Step::More;
        }
        if self.depth == 0 && c != '(' {
            let name = self.text.trim();
            let can_be = if self.is_strict { tools.has_beginning(name) } else { name.is_empty() || is_name(name) };
            return if can_be { Step::More } else { Step::Broken };
        }
        match c {
            '(' if self.depth == 0 => {
                let name = self.text[..self.text.len() - 1].trim();
                if !is_name(name) || (self.is_strict && !tools.has(name)) {
                    return Step::Broken;
                }
                self.depth = 1;
            }
            '(' | '[' | '{' => self.depth += 1,
            ')' | ']' | '}' => {
                self.depth -= 1;
                if self.depth == 0 {
                    return self.end(tools, calls);
                }
            }
            '"' | '\'' => self.quote = Some(c),
            _ => {}
        }
        if self.depth > DEPTH_MAX { Step::Broken } else { Step::More }
    }

    fn end(&mut self, tools: &ToolSet, calls: &mut Calls) -> Step {
        let Some((name, rest)) = self.text.trim().split_once('(') else { return Step::Broken };
        let Some(arguments) = rest.strip_suffix(')') else { return Step::Broken };
        // Llama writes the tools it has built in as `name.call(...)`.
        let name = name.trim();
        let name = name.strip_suffix(".call").filter(|_| !tools.has(name)).unwrap_or(name);
        let Some(arguments) = Reader::new(arguments).arguments(tools.keys(name)) else { return Step::Broken };
        calls.whole(String::new(), name.to_owned(), &Json::Object(arguments).to_string());
        Step::Done
    }
}

/// Reads literals of Python.
struct Reader {
    characters: Vec<char>,
    at: usize,
    depth: usize,
}

impl Reader {
    fn new(text: &str) -> Reader {
        Reader { characters: text.chars().collect(), at: 0, depth: 0 }
    }

    fn peek(&mut self) -> Option<char> {
        while self.characters.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
        self.characters.get(self.at).copied()
    }

    fn take(&mut self, c: char) -> Option<()> {
        (self.peek()? == c).then(|| self.at += 1)
    }

    fn word(&mut self) -> String {
        self.peek();
        let rest = &self.characters[self.at..];
        let word: String =
            rest.iter().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '+' | '-')).collect();
        self.at += word.chars().count();
        word
    }

    /// `city="Rome", days=3`; values without a name take the names of the tool's parameters in their order.
    fn arguments(&mut self, keys: Vec<String>) -> Option<Map<String, Json>> {
        let mut arguments = Map::new();
        let mut keys = keys.into_iter();
        while self.peek().is_some() {
            let start = self.at;
            let word = self.word();
            let key = if is_name(&word) && self.take('=').is_some() {
                word
            } else {
                self.at = start;
                keys.next()?
            };
            let value = self.value()?;
            arguments.insert(key, value);
            if self.peek().is_some() {
                self.take(',')?;
            }
        }
        Some(arguments)
    }

    fn value(&mut self) -> Option<Json> {
        if self.depth >= DEPTH_MAX {
            return None;
        }
        self.depth += 1;
        let value = match self.peek()? {
            '"' | '\'' => self.string().map(Json::from),
            '[' => self.list('[', ']'),
            '(' => self.list('(', ')'),
            '{' => self.dict(),
            _ => match self.word().as_str() {
                "True" | "true" => Some(Json::Bool(true)),
                "False" | "false" => Some(Json::Bool(false)),
                "None" | "null" => Some(Json::Null),
                number => serde_json::from_str::<serde_json::Number>(number).ok().map(Json::Number),
            },
        };
        self.depth -= 1;
        value
    }

    fn list(&mut self, open: char, close: char) -> Option<Json> {
        self.take(open)?;
        let mut items = Vec::new();
        while self.peek()? != close {
            items.push(self.value()?);
            if self.peek()? != close {
                self.take(',')?;
            }
        }
        self.take(close)?;
        Some(Json::Array(items))
    }

    fn dict(&mut self) -> Option<Json> {
        self.take('{')?;
        let mut fields = Map::new();
        while self.peek()? != '}' {
            let key = match self.value()? {
                Json::String(key) => key,
                Json::Number(key) => key.to_string(),
                _ => return None,
            };
            self.take(':')?;
            fields.insert(key, self.value()?);
            if self.peek()? != '}' {
                self.take(',')?;
            }
        }
        self.take('}')?;
        Some(Json::Object(fields))
    }

    fn string(&mut self) -> Option<String> {
        let quote = self.peek()?;
        let mut text = String::new();
        self.at += 1;
        loop {
            let c = *self.characters.get(self.at)?;
            self.at += 1;
            match c {
                c if c == quote => return Some(text),
                '\\' => self.escape(&mut text)?,
                c => text.push(c),
            }
        }
    }

    fn escape(&mut self, text: &mut String) -> Option<()> {
        let c = *self.characters.get(self.at)?;
        self.at += 1;
        let digit_count = match c {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            c => {
                match c {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    '\n' => {}
                    '\\' | '\'' | '"' => text.push(c),
                    // As Python has it, an unknown escape is two characters.
                    c => text.extend(['\\', c]),
                }
                return Some(());
            }
        };
        let digits: String = self.characters.get(self.at..self.at + digit_count)?.iter().collect();
        self.at += digit_count;
        text.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
        Some(())
    }
}
