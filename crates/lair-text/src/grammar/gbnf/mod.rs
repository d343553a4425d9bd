//! GBNF, llama.cpp's notation for grammars, translated to Lark.
//!
//! GBNF knows no words, only characters; Lark cuts a text into the longest words first. So that both mean the same, a
//! grammar without recursion becomes one regular expression, and any other one whose words are single characters.
//!
//! Source of the notation: llama.cpp, `grammars/README.md`.

mod lark;
mod parse;

use super::error::GrammarError;
use crate::tokenizer::Tokenizer;

/// What a rule says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    /// These characters.
    Text(String),
    /// A character in, or not in, these ranges, both ends included.
    Class { is_negated: bool, ranges: Vec<(char, char)> },
    /// Any character.
    Any,
    /// What a rule says.
    Rule(usize),
    /// A token, or any but this one.
    Token { id: u32, is_negated: bool },
    /// One after the other.
    Sequence(Vec<Node>),
    /// One of them.
    Choice(Vec<Node>),
    /// So many times; without end if `most` is not given.
    Repeat { node: Box<Node>, least: usize, most: Option<usize> },
}

impl Node {
    /// The nodes directly in this one.
    fn children(&self) -> &[Node] {
        match self {
            Node::Sequence(nodes) | Node::Choice(nodes) => nodes,
            Node::Repeat { node, .. } => std::slice::from_ref(node),
            _ => &[],
        }
    }
}

/// A parsed grammar; the first rule that is derived is `rules[root]`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rules {
    names: Vec<String>,
    rules: Vec<Node>,
    root: usize,
}

/// A grammar in Lark that derives from `start` what this one derives from `root`.
pub(super) fn lark_of_gbnf(source: &str, tokenizer: &Tokenizer) -> Result<String, GrammarError> {
    let rules = parse::parse(source, tokenizer)?;
    rules.check_finite()?;
    Ok(rules.to_lark())
}

impl Rules {
    /// Refuses a grammar whose texts never end.
    fn check_finite(&self) -> Result<(), GrammarError> {
        let mut finite = vec![false; self.rules.len()];
        // Each round finds one more rule, or it is the last.
        loop {
            let mut has_changed = false;
            for index in 0..self.rules.len() {
                if !finite[index] && is_finite(&self.rules[index], &finite) {
                    finite[index] = true;
                    has_changed = true;
                }
            }
            if !has_changed {
                break;
            }
        }
        if finite[self.root] {
            return Ok(());
        }
        let cause = "no text that `root` derives ever ends".to_owned();
        Err(GrammarError::Impossible { kind: super::GrammarKind::Gbnf, cause })
    }
}

/// Nesting was bounded when it was parsed, so the recursion ends.
fn is_finite(node: &Node, finite: &[bool]) -> bool {
    match node {
        Node::Rule(index) => finite[*index],
        Node::Choice(nodes) => nodes.iter().any(|node| is_finite(node, finite)),
        Node::Repeat { least: 0, .. } => true,
        _ => node.children().iter().all(|node| is_finite(node, finite)),
    }
}

#[cfg(test)]
mod tests;
