//! Splits a template into text and tokens, with Jinja's rules for whitespace around tags.
//!
//! Settings are those that chat templates are written for: `trim_blocks` (a newline directly after a block or comment
//! tag is dropped), `lstrip_blocks` (blanks before such a tag at the start of a line are dropped), `-` strips all
//! whitespace on its side, `+` switches both rules off, one newline at the very end is dropped.

use super::error::{TemplateError, TemplateFault};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Raw(String),
    VariableBegin,
    VariableEnd,
    BlockBegin,
    BlockEnd,
    Name(String),
    Integer(i128),
    Float(f64),
    Text(String),
    Operator(&'static str),
}

/// Longest first, so that `//` is not read as two divisions.
const OPERATORS: [&str; 25] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".",
    ":", "|", ",",
];

/// Whitespace as Python's `str.isspace` and `\s` have it.
pub(super) fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\x1c'..='\x1f').contains(&character)
}

/// The tokens of `source` with their lines.
pub(super) fn tokenize(source: &str) -> Result<Vec<(Token, u32)>, TemplateError> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let source = source.strip_suffix('\n').unwrap_or(&source);
    let mut lexer = Lexer { source, position: 0, line: 1, starts_line: true, tokens: Vec::new() };
    lexer.run()?;
    Ok(lexer.tokens)
}

struct Lexer<'s> {
    source: &'s str,
    position: usize,
    line: u32,
    /// Whether the last tag took the newline after it, so that what follows starts a line.
    starts_line: bool,
    tokens: Vec<(Token, u32)>,
}

impl<'s> Lexer<'s> {
    fn run(&mut self) -> Result<(), TemplateError> {
        while let Some((start, kind)) = self.next_tag() {
            let sign = self.source.as_bytes().get(start + 2).copied().filter(|sign| matches!(sign, b'-' | b'+'));
            let text = self.text_before_tag(start, kind, sign);
            self.push_raw(text);
            self.advance_to(start + 2 + usize::from(sign.is_some()));
            match kind {
                b'#' => self.comment()?,
                b'{' => self.tag(Token::VariableBegin)?,
                _ if self.raw_begin() => self.raw()?,
                _ => self.tag(Token::BlockBegin)?,
            }
        }
        let rest = &self.source[self.position..];
        self.push_raw(rest);
        Ok(())
    }

    fn rest(&self) -> &'s str {
        &self.source[self.position..]
    }

    fn advance_to(&mut self, position: usize) {
        self.line += self.source[self.position..position].bytes().filter(|&byte| byte == b'\n').count() as u32;
        self.position = position;
    }

    fn push(&mut self, token: Token) {
        self.tokens.push((token, self.line));
    }

    fn push_raw(&mut self, text: &str) {
        if !text.is_empty() {
            self.push(Token::Raw(text.to_owned()));
        }
    }

    /// The next `{{`, `{%` or `{#`: where it starts and its second byte.
    fn next_tag(&self) -> Option<(usize, u8)> {
        let bytes = self.source.as_bytes();
        let mut from = self.position;
        while let Some(offset) = self.source[from..].find('{') {
            let start = from + offset;
            match bytes.get(start + 1) {
                Some(&kind @ (b'{' | b'%' | b'#')) => return Some((start, kind)),
                _ => from = start + 1,
            }
        }
        None
    }

    fn text_before_tag(&self, start: usize, kind: u8, sign: Option<u8>) -> &'s str {
        let text = &self.source[self.position..start];
        match sign {
            Some(b'-') => text.trim_end_matches(is_space),
            None if kind != b'{' => {
                let line_start = text.rfind('\n').map_or(0, |newline| newline + 1);
                let is_at_line_start = line_start > 0 || self.starts_line;
                if is_at_line_start && text[line_start..].chars().all(is_space) { &text[..line_start] } else { text }
            }
            _ => text,
        }
    }

    /// Moves behind a closing tag that ends at `end`, and over the whitespace that goes with it.
    fn close(&mut self, end: usize, strip_all: bool, strip_newline: bool) {
        let rest = &self.source[end..];
        let next = if strip_all {
            self.source.len() - rest.trim_start_matches(is_space).len()
        } else {
            end + usize::from(strip_newline && rest.starts_with('\n'))
        };
        self.starts_line = self.source[..next].ends_with('\n');
        self.advance_to(next);
    }

    fn comment(&mut self) -> Result<(), TemplateError> {
        let Some(length) = self.rest().find("#}") else {
            return Err(TemplateFault::syntax(self.line, "missing end of comment tag"));
        };
        let sign = self.rest()[..length].bytes().last();
        self.close(self.position + length + 2, sign == Some(b'-'), sign != Some(b'+'));
        Ok(())
    }

    /// Whether the block tag just opened is `raw`; if so, moves behind it.
    fn raw_begin(&mut self) -> bool {
        let Some(rest) = self.rest().trim_start_matches(is_space).strip_prefix("raw") else { return false };
        let rest = rest.trim_start_matches(is_space);
        let (rest, strip_all) = rest.strip_prefix('-').map_or((rest, false), |rest| (rest, true));
        let Some(rest) = rest.strip_prefix("%}") else { return false };
        self.close(self.source.len() - rest.len(), strip_all, false);
        true
    }

    fn raw(&mut self) -> Result<(), TemplateError> {
        let mut from = self.position;
        while let Some(offset) = self.source[from..].find("{%") {
            let start = from + offset;
            let inner = &self.source[start + 2..];
            let sign = inner.bytes().next().filter(|sign| matches!(sign, b'-' | b'+'));
            let inner = inner[usize::from(sign.is_some())..].trim_start_matches(is_space);
            if let Some(rest) = inner.strip_prefix("endraw") {
                let rest = rest.trim_start_matches(is_space);
                let end_sign = rest.bytes().next().filter(|sign| matches!(sign, b'-' | b'+'));
                if let Some(rest) = rest[usize::from(end_sign.is_some())..].strip_prefix("%}") {
                    let text = self.text_before_tag(start, b'%', sign);
                    self.push_raw(text);
                    self.close(self.source.len() - rest.len(), end_sign == Some(b'-'), end_sign != Some(b'+'));
                    return Ok(());
                }
            }
            from = start + 2;
        }
        Err(TemplateFault::syntax(self.line, "missing end of raw block"))
    }

    /// The tokens of a `{{` or `{%` tag, whose opening has been read.
    fn tag(&mut self, begin: Token) -> Result<(), TemplateError> {
        let is_variable = begin == Token::VariableBegin;
        self.push(begin);
        let closing = if is_variable { "}}" } else { "%}" };
        let mut open_brackets = Vec::new();
        loop {
            let blank = self.rest().len() - self.rest().trim_start_matches(is_space).len();
            self.advance_to(self.position + blank);
            if open_brackets.is_empty() {
                let sign = self.rest().bytes().next();
                let has_sign = sign == Some(b'-') || (sign == Some(b'+') && !is_variable);
                if self.rest()[usize::from(has_sign)..].starts_with(closing) {
                    let end = self.position + usize::from(has_sign) + 2;
                    self.push(if is_variable { Token::VariableEnd } else { Token::BlockEnd });
                    self.close(end, has_sign && sign == Some(b'-'), !has_sign && !is_variable);
                    return Ok(());
                }
            }
            let token = self.token()?;
            if let Token::Operator(operator) = &token {
                self.balance(operator, &mut open_brackets)?;
            }
            self.push(token);
        }
    }

    fn balance(&self, operator: &'static str, open_brackets: &mut Vec<&'static str>) -> Result<(), TemplateError> {
        match operator {
            "(" => open_brackets.push(")"),
            "[" => open_brackets.push("]"),
            "{" => open_brackets.push("}"),
            ")" | "]" | "}" if open_brackets.pop() != Some(operator) => {
                return Err(TemplateFault::syntax(self.line, format!("unexpected `{operator}`")));
            }
            _ => {}
        }
        Ok(())
    }

    fn token(&mut self) -> Result<Token, TemplateError> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Err(TemplateFault::syntax(self.line, "missing end of tag"));
        };
        if first.is_ascii_digit() {
            return self.number();
        }
        if first == '_' || first.is_alphabetic() {
            let length = rest.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(rest.len());
            self.advance_to(self.position + length);
            return Ok(Token::Name(rest[..length].to_owned()));
        }
        if first == '\'' || first == '"' {
            return self.text(first);
        }
        for operator in OPERATORS {
            if rest.starts_with(operator) {
                self.advance_to(self.position + operator.len());
                return Ok(Token::Operator(operator));
            }
        }
        Err(TemplateFault::syntax(self.line, format!("unexpected character {first:?}")))
    }

    fn number(&mut self) -> Result<Token, TemplateError> {
        let rest = self.rest();
        let bytes = rest.as_bytes();
        let digits =
            |from: usize| from + bytes[from..].iter().take_while(|b| b.is_ascii_digit() || **b == b'_').count();
        let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        let radix = match bytes.get(..2) {
            Some(b"0x" | b"0X") => Some(16),
            Some(b"0o" | b"0O") => Some(8),
            Some(b"0b" | b"0B") => Some(2),
            _ => None,
        };
        let bad_number = |line| TemplateFault::syntax(line, "number out of range");
        if let Some(radix) = radix {
            let length = 2 + bytes[2..].iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
            let value = i128::from_str_radix(&rest[2..length].replace('_', ""), radix);
            let value = value.map_err(|_| bad_number(self.line))?;
            self.advance_to(self.position + length);
            return Ok(Token::Integer(value));
        }
        let mut length = digits(0);
        // After a dot (`items.0.5`) a number is an index, never a fraction.
        let may_be_float = !matches!(self.tokens.last(), Some((Token::Operator("."), _)));
        let mut is_float = false;
        if may_be_float && bytes.get(length) == Some(&b'.') && is_digit(length + 1) {
            length = digits(length + 1);
            is_float = true;
        }
        if may_be_float && matches!(bytes.get(length), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
            if is_digit(length + 1 + sign) {
                length = digits(length + 1 + sign);
                is_float = true;
            }
        }
        let digits = rest[..length].replace('_', "");
        let token = if is_float {
            Token::Float(digits.parse().map_err(|_| bad_number(self.line))?)
        } else {
            Token::Integer(digits.parse().map_err(|_| bad_number(self.line))?)
        };
        self.advance_to(self.position + length);
        Ok(token)
    }

    fn text(&mut self, quote: char) -> Result<Token, TemplateError> {
        let start = self.position + 1;
        let mut is_escaped = false;
        for (offset, character) in self.source[start..].char_indices() {
            if is_escaped {
                is_escaped = false;
            } else if character == '\\' {
                is_escaped = true;
            } else if character == quote {
                let text = unescape(&self.source[start..start + offset])
                    .ok_or_else(|| TemplateFault::syntax(self.line, "invalid escape in a string"))?;
                self.advance_to(start + offset + 1);
                return Ok(Token::Text(text));
            }
        }
        Err(TemplateFault::syntax(self.line, "missing end of string"))
    }
}

/// Resolves Python's escapes; an unknown one stays as it is, backslash included.
fn unescape(source: &str) -> Option<String> {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let escape = rest.chars().next()?;
        rest = &rest[escape.len_utf8()..];
        match escape {
            'n' => text.push('\n'),
            't' => text.push('\t'),
            'r' => text.push('\r'),
            'a' => text.push('\x07'),
            'b' => text.push('\x08'),
            'f' => text.push('\x0c'),
            'v' => text.push('\x0b'),
            '\\' | '\'' | '"' => text.push(escape),
            '\n' => {}
            '0'..='7' => {
                let more = rest.bytes().take(2).take_while(|b| (b'0'..=b'7').contains(b)).count();
                let octal = format!("{escape}{}", &rest[..more]);
                text.push(char::from_u32(u32::from_str_radix(&octal, 8).ok()?)?);
                rest = &rest[more..];
            }
            'x' | 'u' | 'U' => {
                let length = match escape {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                text.push(char::from_u32(u32::from_str_radix(rest.get(..length)?, 16).ok()?)?);
                rest = &rest[length..];
            }
            other => {
                text.push('\\');
                text.push(other);
            }
        }
    }
    text.push_str(rest);
    Some(text)
}
