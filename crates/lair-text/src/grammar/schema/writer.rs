//! Turns schemas into rules: one for each set of claims that a value may have to fulfil at once.

use std::collections::HashMap;

use super::alternative::Alternative;
use super::expand::Expansion;
use super::kinds::{OfLists, OfNumbers, OfObjects, OfTexts, OfWords};
use super::nodes::Claim;
use super::numbers::NumberWord;
use super::rules::{RuleId, Rules, Symbol};
use super::scalars::Algebra;
use super::terminal::{Terminal, is_ast_empty};
use super::{lists, objects};
use crate::grammar::{ExtraProperties, GrammarError, GrammarKind};

/// Sets of claims that have a rule.
const VALUES_MAX: usize = 10_000;

/// Writes rules.
pub(super) struct Writer<'s> {
    pub(super) expansion: Expansion<'s>,
    pub(super) rules: Rules,
    pub(super) extra_properties: ExtraProperties,
    values: HashMap<Vec<Claim>, RuleId>,
    open: Vec<(Vec<Claim>, RuleId)>,
}

impl<'s> Writer<'s> {
    pub(super) fn new(expansion: Expansion<'s>, extra_properties: ExtraProperties) -> Writer<'s> {
        Writer { expansion, rules: Rules::default(), extra_properties, values: HashMap::new(), open: Vec::new() }
    }

    /// The rules of a schema.
    pub(super) fn write(mut self, root: Claim) -> Result<Rules, GrammarError> {
        let start = self.rules.rule();
        if let Some(value) = self.value(vec![root])? {
            self.rules.add(start, vec![Symbol::Rule(value)])?;
        }
        while let Some((claims, rule)) = self.open.pop() {
            self.write_value(&claims, rule)?;
        }
        self.rules.prune()?;
        Ok(self.rules)
    }

    /// The rule of the values that fulfil all claims; nothing if there are none for certain.
    pub(super) fn value(&mut self, mut claims: Vec<Claim>) -> Result<Option<RuleId>, GrammarError> {
        claims.retain(|claim| *claim != Claim::ALWAYS);
        claims.sort_unstable();
        claims.dedup();
        if claims.contains(&Claim::NEVER) || claims.iter().any(|claim| claims.contains(&claim.negated())) {
            return Ok(None);
        }
        if let Some(&known) = self.values.get(&claims) {
            return Ok(Some(known));
        }
        if self.values.len() >= VALUES_MAX {
            let (kind, what, found) = (GrammarKind::Schema, "combinations of its parts", self.values.len() + 1);
            return Err(GrammarError::TooLarge { kind, what, found, limit: VALUES_MAX });
        }
        let rule = self.rules.rule();
        self.values.insert(claims.clone(), rule);
        self.open.push((claims, rule));
        Ok(Some(rule))
    }

    fn write_value(&mut self, claims: &[Claim], rule: RuleId) -> Result<(), GrammarError> {
        let mut words: Vec<Terminal> = Vec::new();
        let constants = self.expansion.all::<OfWords>(claims)?;
        words.extend(constants.spelled().map(|word| Terminal::Literal(word.to_owned())));
        for word in self.expansion.all::<OfNumbers>(claims)?.words() {
            match word {
                NumberWord::Terminal(terminal) => words.push(terminal),
                NumberWord::Schema(_, None) => {
                    let cause = "numbers cannot be multiples of such long ones".to_owned();
                    return Err(GrammarError::TooComplex { kind: GrammarKind::Schema, cause });
                }
                NumberWord::Schema(schema, Some(ast)) => {
                    if !is_ast_empty(&ast)? {
                        let symbol = self.rules.schema(schema);
                        self.rules.add(rule, vec![symbol])?;
                    }
                }
            }
        }
        words.extend(self.expansion.all::<OfTexts>(claims)?.terminal());
        let mut able = Vec::new();
        for word in words {
            if !self.expansion.facts.is_empty(&word)? {
                able.push(word);
            }
        }
        let word = if able.len() > 1 { Some(Terminal::Or(able)) } else { able.pop() };
        if let Some(word) = word
            && let Some(symbol) = self.rules.word(word, &mut self.expansion.facts)?
        {
            self.rules.add(rule, vec![symbol])?;
        }
        for way in distinct(self.expansion.all::<OfLists>(claims)?.0) {
            lists::write(self, &way, rule)?;
        }
        for way in distinct(self.expansion.all::<OfObjects>(claims)?.0) {
            objects::write(self, &way, rule)?;
        }
        Ok(())
    }
}

/// Ways that differ in more than in what was looked at, without those that another one contains.
fn distinct(ways: Vec<Alternative>) -> Vec<Alternative> {
    let ways = super::alternative::Alternatives(ways).unnoted();
    let ways = super::alternative::Alternatives::none().or(ways).0;
    let everything = Alternative::default();
    if ways.contains(&everything) { vec![everything] } else { ways }
}
