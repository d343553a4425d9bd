//! Reads GBNF.

use std::collections::HashMap;

use super::super::error::{GrammarError, GrammarKind};
use super::super::limits::{DEPTH_MAX, REPETITIONS_MAX};
use super::{Node, Rules};
use crate::tokenizer::{AddSpecial, Special, Tokenizer};

/// Rules of a grammar.
const RULES_MAX: usize = 10_000;
/// Symbols that a rule may come to with its repetitions written out.
const EXPANDED_MAX: usize = 100_000;

struct Parser<'g> {
    source: &'g str,
    place: usize,
    tokenizer: &'g Tokenizer,
    indices: HashMap<String, usize>,
    names: Vec<String>,
    rules: Vec<Option<Node>>,
}

/// Reads a grammar.
pub(super) fn parse(source: &str, tokenizer: &Tokenizer) -> Result<Rules, GrammarError> {
    let (indices, names, rules) = (HashMap::new(), Vec::new(), Vec::new());
    let mut parser = Parser { source, place: 0, tokenizer, indices, names, rules };
    parser.skip_blanks(true);
    while parser.peek().is_some() {
        parser.rule()?;
    }
    let root = parser.indices.get("root").copied();
    let root = root.filter(|&root| parser.rules[root].is_some());
    let root = root.ok_or_else(|| parser.wrong("there is no rule `root`"))?;
    let mut rules = Vec::with_capacity(parser.rules.len());
    for (name, rule) in parser.names.iter().zip(&parser.rules) {
        let rule = rule.clone().ok_or_else(|| parser.wrong(&format!("the rule `{name}` is used and not defined")))?;
        let expanded = expanded(&rule);
        if expanded > EXPANDED_MAX {
            let (kind, what) = (GrammarKind::Gbnf, "symbols in a rule with its repetitions");
            return Err(GrammarError::TooLarge { kind, what, found: expanded, limit: EXPANDED_MAX });
        }
        rules.push(rule);
    }
    Ok(Rules { names: parser.names, rules, root })
}

/// Symbols of a node with its repetitions written out.
fn expanded(node: &Node) -> usize {
    match node {
        Node::Text(text) => text.chars().count(),
        Node::Repeat { node, least, most } => expanded(node).saturating_mul(most.unwrap_or(*least).max(1)),
        other => other.children().iter().map(expanded).fold(1, usize::saturating_add),
    }
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.source[self.place..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.place += next.len_utf8();
        Some(next)
    }

    fn takes(&mut self, text: &str) -> bool {
        let is_there = self.source[self.place..].starts_with(text);
        self.place += if is_there { text.len() } else { 0 };
        is_there
    }

    fn wrong(&self, cause: &str) -> GrammarError {
        let before = &self.source[..self.place];
        let line = before.matches('\n').count() + 1;
        let column = before[before.rfind('\n').map_or(0, |end| end + 1)..].chars().count() + 1;
        GrammarError::Invalid { kind: GrammarKind::Gbnf, cause: format!("{cause} (line {line}, column {column})") }
    }

    /// Passes over blanks and comments, and over line breaks where a rule may go on behind them.
    fn skip_blanks(&mut self, over_lines: bool) {
        while let Some(next) = self.peek() {
            match next {
                ' ' | '\t' => self.place += 1,
                '\n' | '\r' if over_lines => self.place += 1,
                '#' => {
                    let rest = &self.source[self.place..];
                    self.place += rest.find(['\n', '\r']).unwrap_or(rest.len());
                }
                _ => break,
            }
        }
    }

    fn name(&mut self) -> Option<String> {
        let is_word = |character: char| character.is_ascii_alphanumeric() || character == '-' || character == '_';
        let rest = &self.source[self.place..];
        let length = rest.find(|character| !is_word(character)).unwrap_or(rest.len());
        self.place += length;
        (length > 0).then(|| rest[..length].to_owned())
    }

    fn index_of(&mut self, name: String) -> Result<usize, GrammarError> {
        if let Some(&index) = self.indices.get(&name) {
            return Ok(index);
        }
        let index = self.names.len();
        if index == RULES_MAX {
            let (kind, what) = (GrammarKind::Gbnf, "rules");
            return Err(GrammarError::TooLarge { kind, what, found: index + 1, limit: RULES_MAX });
        }
        self.indices.insert(name.clone(), index);
        self.names.push(name);
        self.rules.push(None);
        Ok(index)
    }

    fn rule(&mut self) -> Result<(), GrammarError> {
        let name = self.name().ok_or_else(|| self.wrong("the name of a rule is expected"))?;
        self.skip_blanks(false);
        let index = self.index_of(name)?;
        if self.rules[index].is_some() {
            return Err(self.wrong(&format!("the rule `{}` is defined twice", self.names[index])));
        }
        if !self.takes("::=") {
            return Err(self.wrong("`::=` is expected"));
        }
        self.skip_blanks(true);
        let node = self.choice(0)?;
        self.rules[index] = Some(node);
        match self.peek() {
            None | Some('\n' | '\r') => {
                self.skip_blanks(true);
                Ok(())
            }
            Some(other) => Err(self.wrong(&format!("`{other}` is not expected"))),
        }
    }

    /// `depth` parentheses are open.
    fn choice(&mut self, depth: usize) -> Result<Node, GrammarError> {
        if depth > DEPTH_MAX {
            let (kind, what) = (GrammarKind::Gbnf, "levels of nesting");
            return Err(GrammarError::TooLarge { kind, what, found: depth, limit: DEPTH_MAX });
        }
        let mut nodes = vec![self.sequence(depth)?];
        while self.takes("|") {
            self.skip_blanks(true);
            nodes.push(self.sequence(depth)?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::Choice(nodes) })
    }

    fn sequence(&mut self, depth: usize) -> Result<Node, GrammarError> {
        let mut nodes = Vec::new();
        while let Some(next) = self.peek() {
            let node = match next {
                '"' => self.text()?,
                '[' => self.class()?,
                '.' => {
                    self.place += 1;
                    Node::Any
                }
                '<' | '!' => self.token()?,
                '(' => {
                    self.place += 1;
                    self.skip_blanks(true);
                    let inner = self.choice(depth + 1)?;
                    if !self.takes(")") {
                        return Err(self.wrong("`)` is expected"));
                    }
                    inner
                }
                _ => match self.name() {
                    Some(name) => Node::Rule(self.index_of(name)?),
                    None => break,
                },
            };
            nodes.push(self.repeated(node)?);
            self.skip_blanks(depth > 0);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::Sequence(nodes) })
    }

    fn repeated(&mut self, mut node: Node) -> Result<Node, GrammarError> {
        loop {
            let (least, most) = match self.peek() {
                Some('*') => (0, None),
                Some('+') => (1, None),
                Some('?') => (0, Some(1)),
                Some('{') => self.bounds()?,
                _ => return Ok(node),
            };
            self.place += 1;
            node = Node::Repeat { node: Box::new(node), least, most };
        }
    }

    /// `{m}`, `{m,}`, `{m,n}`, `{,n}`, up to the closing brace.
    fn bounds(&mut self) -> Result<(usize, Option<usize>), GrammarError> {
        let rest = &self.source[self.place + 1..];
        let end = rest.find('}').ok_or_else(|| self.wrong("`}` is expected"))?;
        let bound = |text: &str| {
            let count = text.trim().parse::<usize>().map_err(|_| self.wrong("a number of repetitions is expected"))?;
            if count > REPETITIONS_MAX {
                let (kind, what) = (GrammarKind::Gbnf, "repetitions");
                return Err(GrammarError::TooLarge { kind, what, found: count, limit: REPETITIONS_MAX });
            }
            Ok(count)
        };
        let bounds = match rest[..end].split_once(',') {
            None => bound(&rest[..end]).map(|count| (count, Some(count)))?,
            Some((least, most)) => {
                let least = if least.trim().is_empty() { 0 } else { bound(least)? };
                (least, if most.trim().is_empty() { None } else { Some(bound(most)?) })
            }
        };
        if bounds.1.is_some_and(|most| most < bounds.0) {
            return Err(self.wrong("the bounds of a repetition are the wrong way round"));
        }
        self.place += end + 1;
        Ok(bounds)
    }

    fn text(&mut self) -> Result<Node, GrammarError> {
        self.place += 1;
        let mut text = String::new();
        loop {
            match self.next() {
                None => return Err(self.wrong("`\"` is expected")),
                Some('"') => return Ok(Node::Text(text)),
                Some('\\') => text.push(self.escape()?),
                Some(other) => text.push(other),
            }
        }
    }

    fn class(&mut self) -> Result<Node, GrammarError> {
        self.place += 1;
        let is_negated = self.takes("^");
        let mut ranges = Vec::new();
        while !self.takes("]") {
            let first = self.class_character()?;
            let rest = &self.source[self.place..];
            let last = if rest.starts_with('-') && !rest.starts_with("-]") {
                self.place += 1;
                self.class_character()?
            } else {
                first
            };
            if last < first {
                return Err(self.wrong("the ends of a range are the wrong way round"));
            }
            ranges.push((first, last));
        }
        Ok(if ranges.is_empty() && is_negated { Node::Any } else { Node::Class { is_negated, ranges } })
    }

    fn class_character(&mut self) -> Result<char, GrammarError> {
        match self.next() {
            None => Err(self.wrong("`]` is expected")),
            Some('\\') => self.escape(),
            Some(other) => Ok(other),
        }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<char, GrammarError> {
        let digits = match self.next() {
            Some('n') => return Ok('\n'),
            Some('r') => return Ok('\r'),
            Some('t') => return Ok('\t'),
            Some(same @ ('\\' | '"' | '[' | ']' | '-' | '^')) => return Ok(same),
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            _ => return Err(self.wrong("an escape is n, r, t, \\, \", [, ], xXX, uXXXX or UXXXXXXXX")),
        };
        let code = self.source.get(self.place..self.place + digits);
        let code = code.filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let character = code.and_then(|code| u32::from_str_radix(code, 16).ok()).and_then(char::from_u32);
        self.place += if character.is_some() { digits } else { 0 };
        character.ok_or_else(|| self.wrong("the number of a character is expected"))
    }

    /// `<[id]>` or `<spelling>`, with `!` before it for any other token.
    fn token(&mut self) -> Result<Node, GrammarError> {
        let is_negated = self.takes("!");
        if !self.takes("<") {
            return Err(self.wrong("`<` is expected"));
        }
        let rest = &self.source[self.place..];
        let end = rest.find('>').ok_or_else(|| self.wrong("`>` is expected"))?;
        let number = rest[..end].strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let id = match number {
            Some(number) => number.parse().ok().filter(|&id| (id as usize) < self.tokenizer.vocabulary_size()),
            None => {
                let spelling = &self.source[self.place - 1..self.place + end + 1];
                match self.tokenizer.encode(spelling, Special::Parse, AddSpecial::No).as_slice() {
                    [id] => Some(*id),
                    _ => None,
                }
            }
        };
        let id = id.ok_or_else(|| self.wrong(&format!("`<{}>` is not a token of the model", &rest[..end])))?;
        self.place += end + 1;
        Ok(Node::Token { id, is_negated })
    }
}
