//! A grammar as rules, before it is text: what can never be finished is taken out of it here.
//!
//! The compiler follows whatever a rule begins with; an alternative that nothing completes would lead an answer into a place
//! that it cannot leave.

use std::collections::HashMap;
use std::fmt::Write;

use serde_json::Value as Json;

use super::super::lark_text::lark_string;
use super::endless;
use super::terminal::{Terminal, TerminalFacts};
use crate::grammar::{GrammarError, GrammarKind};

/// Symbols in all rules together. The compiler goes from rule to rule by recursion.
const SYMBOLS_MAX: usize = 100_000;

/// A rule by its number.
pub(super) type RuleId = usize;

/// A part of an alternative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Symbol {
    /// A text.
    Text(String),
    /// A word by its number.
    Word(usize),
    /// What a schema describes that is left to the compiler, by its number.
    Schema(usize),
    /// A rule.
    Rule(RuleId),
    /// Some words, each once at most, with commas between, by their number.
    Distinct(usize),
    /// A rule so many times.
    Times(RuleId, usize, Option<usize>),
}

/// Rules, of which the first is where an answer begins.
#[derive(Default)]
pub(super) struct Rules {
    rules: Vec<Vec<Vec<Symbol>>>,
    words: Vec<Terminal>,
    numbers_of_words: HashMap<Terminal, usize>,
    schemas: Vec<Json>,
    distinct: Vec<Distinct>,
    symbol_count: usize,
}

/// Some of these words, at least and at most so many.
#[derive(Clone, Debug)]
struct Distinct {
    words: Vec<Symbol>,
    least: usize,
    most: usize,
}

/// A text as a symbol.
pub(super) fn text(text: &str) -> Symbol {
    Symbol::Text(text.to_owned())
}

impl Rules {
    /// A rule without alternatives yet.
    pub(super) fn rule(&mut self) -> RuleId {
        self.rules.push(Vec::new());
        self.rules.len() - 1
    }

    /// Another alternative of a rule.
    pub(super) fn add(&mut self, rule: RuleId, symbols: Vec<Symbol>) -> Result<(), GrammarError> {
        self.symbol_count += symbols.len() + 1;
        if self.symbol_count > SYMBOLS_MAX {
            let (kind, what) = (GrammarKind::Schema, "symbols in its rules");
            return Err(GrammarError::TooLarge { kind, what, found: self.symbol_count, limit: SYMBOLS_MAX });
        }
        self.rules[rule].push(symbols);
        Ok(())
    }

    /// A rule with one alternative.
    pub(super) fn sequence(&mut self, symbols: Vec<Symbol>) -> Result<RuleId, GrammarError> {
        let rule = self.rule();
        self.add(rule, symbols)?;
        Ok(rule)
    }

    /// A word, if it can be anything.
    pub(super) fn word(&mut self, word: Terminal, facts: &mut TerminalFacts) -> Result<Option<Symbol>, GrammarError> {
        if facts.is_empty(&word)? {
            return Ok(None);
        }
        let next = self.words.len();
        let number = *self.numbers_of_words.entry(word.clone()).or_insert(next);
        if number == next {
            self.words.push(word);
        }
        Ok(Some(Symbol::Word(number)))
    }

    /// What a schema describes.
    pub(super) fn schema(&mut self, schema: Json) -> Symbol {
        let known = self.schemas.iter().position(|known| *known == schema);
        Symbol::Schema(known.unwrap_or_else(|| {
            self.schemas.push(schema);
            self.schemas.len() - 1
        }))
    }

    /// Some of these words, which are at most 64, at least and at most so many.
    pub(super) fn distinct(&mut self, words: Vec<Symbol>, least: usize, most: usize) -> Symbol {
        self.distinct.push(Distinct { words, least, most });
        Symbol::Distinct(self.distinct.len() - 1)
    }

    /// The rules that can be finished, if `is_finished` tells which of those they are made of can.
    fn finishing(&self, is_finished: &[bool]) -> Vec<bool> {
        let ends = |symbol: &Symbol| match symbol {
            Symbol::Rule(rule) | Symbol::Times(rule, 1.., _) => is_finished[*rule],
            Symbol::Times(..) | Symbol::Text(_) | Symbol::Word(_) | Symbol::Schema(_) | Symbol::Distinct(_) => true,
        };
        self.rules.iter().map(|ways| ways.iter().any(|way| way.iter().all(ends))).collect()
    }

    /// Takes out what cannot be finished.
    ///
    /// # Errors
    /// If nothing is left: because parts contradict each other, or because each would contain another one without end.
    pub(super) fn prune(&mut self) -> Result<(), GrammarError> {
        // The least fixed point: what ends in texts. Then the greatest: what may at least go on for ever.
        let least = self.fixed_point(vec![false; self.rules.len()]);
        if !least.first().copied().unwrap_or(false) {
            let greatest = self.fixed_point(vec![true; self.rules.len()]);
            if greatest.first().copied().unwrap_or(false) {
                return Err(endless());
            }
            let cause = "what it asks for excludes each other".to_owned();
            return Err(GrammarError::Impossible { kind: GrammarKind::Schema, cause });
        }
        let is_left = |symbol: &Symbol| match symbol {
            Symbol::Rule(rule) | Symbol::Times(rule, 1.., _) => least[*rule],
            _ => true,
        };
        for ways in &mut self.rules {
            ways.retain(|way| way.iter().all(is_left));
            for way in ways {
                way.retain(|symbol| !matches!(symbol, Symbol::Times(rule, ..) if !least[*rule]));
            }
        }
        Ok(())
    }

    fn fixed_point(&self, mut is_finished: Vec<bool>) -> Vec<bool> {
        loop {
            let next = self.finishing(&is_finished);
            if next == is_finished {
                return next;
            }
            is_finished = next;
        }
    }

    /// As text in Lark. `space` is the expression of white space between words.
    pub(super) fn lark(&self, space: Option<&str>, number_options: &Json) -> String {
        let mut lark = String::new();
        if let Some(space) = space {
            let _ = writeln!(lark, "%llguidance {{\"ignore_once\": true}}\n%ignore /{space}/");
        }
        lark.push_str("start: r0\n");
        let (mut open, mut seen) = (vec![0], vec![false; self.rules.len()]);
        let mut used_words = vec![false; self.words.len()];
        seen[0] = true;
        while let Some(rule) = open.pop() {
            let _ = write!(lark, "r{rule}: ");
            for (index, way) in self.rules[rule].iter().enumerate() {
                lark.push_str(if index > 0 { "\n | " } else { "" });
                if way.is_empty() {
                    lark.push_str("\"\"");
                }
                for symbol in way {
                    self.write_symbol(symbol, number_options, &mut lark);
                    match symbol {
                        Symbol::Rule(rule) | Symbol::Times(rule, ..) if !seen[*rule] => {
                            seen[*rule] = true;
                            open.push(*rule);
                        }
                        Symbol::Word(word) => used_words[*word] = true,
                        Symbol::Distinct(number) => {
                            for word in &self.distinct[*number].words {
                                if let Symbol::Word(word) = word {
                                    used_words[*word] = true;
                                }
                            }
                        }
                        _ => {}
                    }
                }
            }
            lark.push('\n');
        }
        for (number, distinct) in self.distinct.iter().enumerate() {
            self.write_distinct(number, distinct, number_options, &mut lark);
        }
        for (number, word) in self.words.iter().enumerate().filter(|(number, _)| used_words[*number]) {
            let _ = write!(lark, "W{number}: ");
            word.write(&mut lark);
            lark.push('\n');
        }
        lark
    }

    fn write_symbol(&self, symbol: &Symbol, number_options: &Json, lark: &mut String) {
        let _ = match symbol {
            Symbol::Text(text) => write!(lark, "{} ", lark_string(text)),
            Symbol::Word(word) => write!(lark, "W{word} "),
            Symbol::Distinct(number) => write!(lark, "d{number} "),
            Symbol::Rule(rule) => write!(lark, "r{rule} "),
            Symbol::Schema(schema) => {
                let mut schema = self.schemas[*schema].clone();
                schema[super::OPTIONS_KEY] = number_options.clone();
                write!(lark, "%json {schema} ")
            }
            Symbol::Times(_, _, Some(0)) => Ok(()),
            Symbol::Times(rule, 0, None) => write!(lark, "r{rule}* "),
            Symbol::Times(rule, least, Some(most)) => write!(lark, "r{rule}{{{least},{most}}} "),
            Symbol::Times(rule, least, None) => write!(lark, "r{rule}{{{least},}} "),
        };
    }

    /// Words that were written are the bits of the rule's parameter.
    fn write_distinct(&self, number: usize, distinct: &Distinct, number_options: &Json, lark: &mut String) {
        let Distinct { words, least, most } = distinct;
        let mut first: Vec<String> = (*least == 0).then(|| "\"\"".to_owned()).into_iter().collect();
        let mut next = vec![format!("\"\" %if bit_count_ge(_, {least})")];
        for (bit, word) in words.iter().enumerate().filter(|_| *most > 0) {
            let mut spelled = String::new();
            self.write_symbol(word, number_options, &mut spelled);
            first.push(format!("{spelled}e{number}::0x{:x}", 1u64 << bit));
            next.push(format!(
                "\",\" {spelled}e{number}::set_bit({bit}) %if and(bit_clear({bit}), bit_count_lt(_, {most}))"
            ));
        }
        let _ = writeln!(lark, "d{number}: {}", first.join("\n | "));
        if *most > 0 {
            let _ = writeln!(lark, "e{number}::_ : {}", next.join("\n | "));
        }
    }
}
