//! Source to tokens: text, and what stands between `{{` and `}}`.
//!
//! `{{- ` takes away the blanks in front of it, ` -}}` those behind it. Blanks between operands are tokens, because
//! `.A.B` is a field of a field and `.A .B` are two operands.

use crate::template::TemplateError;
use crate::template::error::TemplateFault;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Text(String),
    Open,
    Close,
    Blank,
    /// A name or a keyword.
    Word(String),
    /// `.Name`
    Field(String),
    Dot,
    /// `$name`, without `$`.
    Variable(String),
    Int(i64),
    Float(f64),
    Quoted(String),
    Declare,
    Assign,
    Pipe,
    Comma,
    OpenParenthesis,
    CloseParenthesis,
}

/// A token and its line.
pub(super) type Placed = (Token, u32);

pub(super) fn tokenize(source: &str) -> Result<Vec<Placed>, TemplateError> {
    let mut lexer = Lexer { source, position: 0, line: 1, tokens: Vec::new() };
    lexer.run()?;
    Ok(lexer.tokens)
}

struct Lexer<'s> {
    source: &'s str,
    position: usize,
    line: u32,
    tokens: Vec<Placed>,
}

/// The blanks that trim markers take away, and that separate operands.
fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

fn is_name_part(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

impl<'s> Lexer<'s> {
    fn run(&mut self) -> Result<(), TemplateError> {
        let mut trims = false;
        loop {
            let rest = self.rest();
            let Some(open) = rest.find("{{") else {
                self.text(rest, trims, false);
                return Ok(());
            };
            let behind = &rest[open + 2..];
            let trims_before = behind.starts_with('-') && behind[1..].starts_with(is_blank);
            self.text(&rest[..open], trims, trims_before);
            self.advance(open + 2 + usize::from(trims_before));
            trims = self.action()?;
        }
    }

    fn text(&mut self, text: &str, trims_front: bool, trims_back: bool) {
        let line = self.line;
        let mut kept = text;
        if trims_front {
            kept = kept.trim_start_matches(is_blank);
        }
        if trims_back {
            kept = kept.trim_end_matches(is_blank);
        }
        if !kept.is_empty() {
            self.tokens.push((Token::Text(kept.to_string()), line));
        }
    }

    /// What stands between `{{` and `}}`; tells whether the end trims.
    fn action(&mut self) -> Result<bool, TemplateError> {
        let blanks = self.rest().len() - self.rest().trim_start_matches(is_blank).len();
        // A comment stands alone, directly behind the opening or its trim marker.
        let is_trimmed = self.source[..self.position].ends_with("{{-");
        let comment_at = if is_trimmed { blanks } else { 0 };
        if self.rest()[comment_at..].starts_with("/*") {
            return self.comment(comment_at);
        }
        self.push(Token::Open);
        loop {
            let rest = self.rest();
            let blanks = rest.len() - rest.trim_start_matches(is_blank).len();
            if blanks > 0 && rest[blanks..].starts_with("-}}") {
                self.advance(blanks + 3);
                self.push(Token::Close);
                return Ok(true);
            }
            if rest.starts_with("}}") {
                self.advance(2);
                self.push(Token::Close);
                return Ok(false);
            }
            if blanks > 0 {
                self.push(Token::Blank);
                self.advance(blanks);
                continue;
            }
            self.token()?;
        }
    }

    fn comment(&mut self, start: usize) -> Result<bool, TemplateError> {
        let Some(end) = self.rest()[start..].find("*/") else { return Err(self.error("comment is not closed")) };
        self.advance(start + end + 2);
        let rest = self.rest();
        let blanks = rest.len() - rest.trim_start_matches(is_blank).len();
        if blanks > 0 && rest[blanks..].starts_with("-}}") {
            self.advance(blanks + 3);
            Ok(true)
        } else if rest.starts_with("}}") {
            self.advance(2);
            Ok(false)
        } else {
            Err(self.error("comment ends before the closing `}}`"))
        }
    }

    fn token(&mut self) -> Result<(), TemplateError> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Err(self.error("action is not closed by `}}`")) };
        let second = rest[first.len_utf8()..].chars().next();
        match first {
            ':' if second == Some('=') => self.push_over(Token::Declare, 2),
            '=' => self.push_over(Token::Assign, 1),
            '|' => self.push_over(Token::Pipe, 1),
            ',' => self.push_over(Token::Comma, 1),
            '(' => self.push_over(Token::OpenParenthesis, 1),
            ')' => self.push_over(Token::CloseParenthesis, 1),
            '"' => self.quoted()?,
            '`' => self.raw()?,
            '\'' => self.character()?,
            '$' => {
                let name = self.name_at(1);
                self.push_over(Token::Variable(name.to_string()), 1 + name.len());
                return self.check_end("variable");
            }
            '.' if !second.is_some_and(|second| second.is_ascii_digit()) => {
                let name = self.name_at(1);
                let token = if name.is_empty() { Token::Dot } else { Token::Field(name.to_string()) };
                self.push_over(token, 1 + name.len());
                return self.check_end("field");
            }
            '+' | '-' | '.' | '0'..='9' => self.number()?,
            _ if is_name_part(first) => {
                let name = self.name_at(0);
                self.push_over(Token::Word(name.to_string()), name.len());
                return self.check_end("name");
            }
            _ => return Err(self.error(format!("unexpected character `{first}` in an action"))),
        }
        Ok(())
    }

    /// A name may be followed by what cannot be part of an operand.
    fn check_end(&self, what: &str) -> Result<(), TemplateError> {
        match self.rest().chars().next() {
            None | Some('.' | ',' | '|' | ':' | '=' | '(' | ')' | '}') => Ok(()),
            Some(character) if is_blank(character) => Ok(()),
            Some(character) => Err(self.error(format!("unexpected character `{character}` behind a {what}"))),
        }
    }

    fn quoted(&mut self) -> Result<(), TemplateError> {
        let mut text = String::new();
        let mut rest = self.rest()[1..].char_indices();
        let length = loop {
            match rest.next() {
                None | Some((_, '\n')) => return Err(self.error("quoted text is not closed")),
                Some((index, '"')) => break index + 2,
                Some((_, '\\')) => match unescape(&mut rest, '"') {
                    Some(character) => text.push(character),
                    None => return Err(self.error("quoted text has an escape that does not exist")),
                },
                Some((_, character)) => text.push(character),
            }
        };
        self.push_over(Token::Quoted(text), length);
        Ok(())
    }

    fn raw(&mut self) -> Result<(), TemplateError> {
        let Some(length) = self.rest()[1..].find('`') else { return Err(self.error("raw text is not closed")) };
        let text = self.rest()[1..1 + length].replace('\r', "");
        self.push_over(Token::Quoted(text), length + 2);
        Ok(())
    }

    fn character(&mut self) -> Result<(), TemplateError> {
        let mut rest = self.rest()[1..].char_indices();
        let value = match rest.next() {
            Some((_, '\\')) => unescape(&mut rest, '\''),
            Some((_, character)) if !matches!(character, '\'' | '\n') => Some(character),
            _ => None,
        };
        let (Some(value), Some((end, '\''))) = (value, rest.next()) else {
            return Err(self.error("character is not one character between `'`"));
        };
        self.push_over(Token::Int(i64::from(u32::from(value))), end + 2);
        Ok(())
    }

    fn number(&mut self) -> Result<(), TemplateError> {
        let rest = self.rest();
        let sign_bytes = usize::from(rest.starts_with(['+', '-']));
        let mut previous = ' ';
        let is_hexadecimal = rest[sign_bytes..].starts_with("0x") || rest[sign_bytes..].starts_with("0X");
        let length = rest[sign_bytes..]
            .char_indices()
            .find(|(_, character)| {
                let is_exponent_sign = matches!(character, '+' | '-')
                    && (matches!(previous, 'p' | 'P') || (!is_hexadecimal && matches!(previous, 'e' | 'E')));
                previous = *character;
                !(is_name_part(*character) || *character == '.' || is_exponent_sign)
            })
            .map_or(rest.len(), |(index, _)| sign_bytes + index);
        let text = &rest[..length];
        let token = parse_number(text).ok_or_else(|| self.error(format!("`{text}` is not a number")))?;
        self.push_over(token, length);
        self.check_end("number")
    }

    fn name_at(&self, start: usize) -> &'s str {
        let rest = &self.rest()[start..];
        &rest[..rest.find(|character| !is_name_part(character)).unwrap_or(rest.len())]
    }

    fn rest(&self) -> &'s str {
        &self.source[self.position..]
    }

    fn push(&mut self, token: Token) {
        self.tokens.push((token, self.line));
    }

    fn push_over(&mut self, token: Token, length: usize) {
        self.push(token);
        self.advance(length);
    }

    fn advance(&mut self, length: usize) {
        let passed = &self.source[self.position..self.position + length];
        self.line += passed.bytes().filter(|byte| *byte == b'\n').count() as u32;
        self.position += length;
    }

    fn error(&self, message: impl Into<String>) -> TemplateError {
        TemplateFault::syntax(self.line, message)
    }
}

/// The character that an escape behind `\` stands for, as in Go; bytes outside ASCII only as `\u` or `\U`.
fn unescape(rest: &mut std::str::CharIndices, quote: char) -> Option<char> {
    let (_, kind) = rest.next()?;
    let mut digits = |count: usize, radix: u32| {
        (0..count).try_fold(0u32, |value, _| Some(value * radix + rest.next()?.1.to_digit(radix)?))
    };
    match kind {
        'a' => Some('\u{7}'),
        'b' => Some('\u{8}'),
        'f' => Some('\u{c}'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'v' => Some('\u{b}'),
        '\\' => Some('\\'),
        'x' => digits(2, 16).filter(|value| *value < 0x80).and_then(char::from_u32),
        'u' => digits(4, 16).and_then(char::from_u32),
        'U' => digits(7, 16)
            .and_then(|high| Some(high.checked_mul(16)? + rest.next()?.1.to_digit(16)?))
            .and_then(char::from_u32),
        '0'..='7' => {
            let first = kind.to_digit(8)?;
            digits(2, 8).map(|value| first * 64 + value).filter(|value| *value < 0x80).and_then(char::from_u32)
        }
        _ if kind == quote => Some(quote),
        _ => None,
    }
}

/// A number of Go: decimal, `0x`, `0o`, `0`, `0b`, with `_` between digits; or with a point or an exponent.
fn parse_number(text: &str) -> Option<Token> {
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (-1i128, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = unsigned.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'0'..=b'7' | b'_', ..] if lower.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_') => {
            (8, &lower[1..])
        }
        _ => (10, lower.as_str()),
    };
    let plain = digits.replace('_', "");
    let is_spaced_right = !digits.starts_with('_') || radix != 10;
    if !is_spaced_right || digits.ends_with('_') || digits.contains("__") || plain.is_empty() {
        return None;
    }
    if plain.chars().all(|digit| digit.is_digit(radix)) {
        let value = i128::from_str_radix(&plain, radix).ok()? * sign;
        return i64::try_from(value).ok().map(Token::Int);
    }
    let is_float = radix == 10 && plain.bytes().all(|byte| byte.is_ascii_digit() || b".e+-".contains(&byte));
    let value: f64 = is_float.then(|| plain.parse().ok()).flatten()?;
    value.is_finite().then_some(Token::Float(value * sign as f64))
}
