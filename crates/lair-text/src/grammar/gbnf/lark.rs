//! Writes GBNF's rules as Lark.

use std::fmt::Write;

use super::{Node, Rules};

/// Length of a regular expression for a whole grammar; longer ones are written as rules.
const REGEX_BYTES_MAX: usize = 100_000;

impl Rules {
    pub(super) fn to_lark(&self) -> String {
        if let Some(regex) = self.as_regex() {
            return format!("start: TEXT\nTEXT: /{regex}/\n");
        }
        let mut lark = format!("start: r{}\n", self.root);
        for (index, rule) in self.rules.iter().enumerate() {
            let _ = write!(lark, "r{index}: ");
            write_rule(&mut lark, rule);
            lark.push('\n');
        }
        lark
    }

    /// The grammar as one regular expression, if no rule leads back to itself and it is not too long.
    fn as_regex(&self) -> Option<String> {
        let mut regexes = vec![None; self.rules.len()];
        for index in self.order_of_use()? {
            let mut regex = String::new();
            write_regex(&mut regex, &self.rules[index], &regexes)?;
            regexes[index] = Some(regex);
        }
        regexes.swap_remove(self.root).filter(|regex| !regex.is_empty())
    }

    /// The rules that the root needs, each after those it needs itself; `None` if a rule needs itself.
    fn order_of_use(&self) -> Option<Vec<usize>> {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            New,
            Open,
            Done,
        }
        let mut marks = vec![Mark::New; self.rules.len()];
        let (mut order, mut open) = (Vec::new(), vec![self.root]);
        while let Some(&index) = open.last() {
            match marks[index] {
                Mark::New => {
                    marks[index] = Mark::Open;
                    let mut nodes = vec![&self.rules[index]];
                    while let Some(node) = nodes.pop() {
                        match node {
                            Node::Rule(used) if marks[*used] == Mark::Open => return None,
                            Node::Rule(used) if marks[*used] == Mark::New => open.push(*used),
                            other => nodes.extend(other.children()),
                        }
                    }
                }
                Mark::Open => {
                    marks[index] = Mark::Done;
                    order.push(index);
                    open.pop();
                }
                Mark::Done => {
                    open.pop();
                }
            }
        }
        Some(order)
    }
}

/// Appends a node as a regular expression; `None` if it cannot be one, or is too long.
fn write_regex(regex: &mut String, node: &Node, regexes: &[Option<String>]) -> Option<()> {
    match node {
        Node::Text(text) => text.chars().for_each(|character| write_character(regex, character)),
        Node::Class { .. } | Node::Any => write_class(regex, node),
        Node::Token { .. } => return None,
        Node::Rule(index) => {
            let _ = write!(regex, "(?:{})", regexes[*index].as_ref()?);
        }
        Node::Sequence(nodes) => nodes.iter().try_for_each(|node| write_regex(regex, node, regexes))?,
        Node::Choice(nodes) => {
            regex.push_str("(?:");
            for (index, node) in nodes.iter().enumerate() {
                regex.push_str(if index > 0 { "|" } else { "" });
                write_regex(regex, node, regexes)?;
            }
            regex.push(')');
        }
        Node::Repeat { node, least, most } => {
            regex.push_str("(?:");
            write_regex(regex, node, regexes)?;
            let _ = match most {
                Some(most) => write!(regex, "){{{least},{most}}}"),
                None => write!(regex, "){{{least},}}"),
            };
        }
    }
    (regex.len() <= REGEX_BYTES_MAX).then_some(())
}

/// Appends a node as an expression of a Lark rule whose words are single characters.
fn write_rule(lark: &mut String, node: &Node) {
    match node {
        Node::Text(text) if text.is_empty() => lark.push_str("\"\""),
        Node::Text(text) => {
            lark.push_str("( ");
            for character in text.chars() {
                lark.push('/');
                write_character(lark, character);
                lark.push_str("/ ");
            }
            lark.push(')');
        }
        Node::Class { .. } | Node::Any => {
            lark.push('/');
            write_class(lark, node);
            lark.push('/');
        }
        Node::Token { id, is_negated } => {
            let _ = write!(lark, "<[{}{id}]>", if *is_negated { "^" } else { "" });
        }
        Node::Rule(index) => {
            let _ = write!(lark, "r{index}");
        }
        Node::Sequence(nodes) if nodes.is_empty() => lark.push_str("\"\""),
        Node::Sequence(nodes) => {
            lark.push('(');
            for node in nodes {
                lark.push(' ');
                write_rule(lark, node);
            }
            lark.push(')');
        }
        Node::Choice(nodes) => {
            lark.push('(');
            for (index, node) in nodes.iter().enumerate() {
                lark.push_str(if index > 0 { " | " } else { "" });
                write_rule(lark, node);
            }
            lark.push(')');
        }
        Node::Repeat { node, least, most } => {
            lark.push('(');
            write_rule(lark, node);
            lark.push(')');
            let _ = match (least, most) {
                (0, None) => write!(lark, "*"),
                (1, None) => write!(lark, "+"),
                (0, Some(1)) => write!(lark, "?"),
                (least, None) => write!(lark, "{{{least},}}"),
                (least, Some(most)) => write!(lark, "{{{least},{most}}}"),
            };
        }
    }
}

fn write_character(regex: &mut String, character: char) {
    if character.is_ascii_alphanumeric() || character == ' ' {
        regex.push(character);
    } else {
        let _ = write!(regex, "\\x{{{:X}}}", character as u32);
    }
}

fn write_class(regex: &mut String, node: &Node) {
    let Node::Class { is_negated, ranges } = node else {
        regex.push_str("(?s:.)");
        return;
    };
    regex.push_str(if *is_negated { "[^" } else { "[" });
    for (first, last) in ranges {
        let _ = write!(regex, "\\x{{{:X}}}-\\x{{{:X}}}", *first as u32, *last as u32);
    }
    // A class of nothing matches nothing.
    regex.push_str(if ranges.is_empty() { "&&[a]]" } else { "]" });
}
