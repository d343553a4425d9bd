//! Lists.

use std::collections::HashMap;

use serde_json::Value as Json;

use super::super::alternative::{Alternative, Alternatives, ItemCount, Items};
use super::super::expand::{Expansion, Sign, negation};
use super::super::node::{ANYTHING, Keywords};
use super::super::nodes::{Claim, ScopeId};
use super::{
    Kind, Known, Parts, PointAndRest, all_evaluated, are_apart, beyond_counts, first_of_each, not_meant, of_parts,
    possible,
};
use crate::grammar::GrammarError;

/// Lists.
pub(in super::super) struct OfLists;

impl Kind for OfLists {
    type Set = Alternatives;
    const BITS: u8 = 32;
    const HAS_PARTS: bool = true;

    fn known(known: &mut Known) -> &mut HashMap<Claim, Alternatives> {
        &mut known.lists
    }

    fn own(expansion: &mut Expansion<'_>, keywords: &Keywords, scope: ScopeId, sign: Sign) -> Parts<Alternatives> {
        if let Some(parts) = not_meant(keywords, Self::BITS, sign) {
            return Ok(parts);
        }
        let mut holds = Alternative::default();
        let mut fails = Vec::new();
        for (index, node) in keywords.prefix.iter().enumerate() {
            let claim = expansion.nodes.claim(*node, scope)?;
            holds.items.push(Items { from: index, to: Some(index + 1), claim });
            let item = Items { from: index, to: Some(index + 1), claim: claim.negated() };
            fails.push(Alternative { items: vec![item], least: index + 1, ..Alternative::default() });
        }
        let rest = keywords.prefix.len();
        if let Some(node) = keywords.items {
            let claim = expansion.nodes.claim(node, scope)?;
            holds.items.push(Items { from: rest, to: None, claim });
            fails.push(counting(rest, claim.negated(), 1, None));
        }
        if let Some(contains) = &keywords.contains {
            let claim = expansion.nodes.claim(contains.node, scope)?;
            if contains.least > 0 || contains.most.is_some() {
                let (least, most) = (contains.least, contains.most);
                holds.counts.push(ItemCount { from: 0, claim, least, most });
            }
            if let Some(fewer) = contains.least.checked_sub(1) {
                fails.push(counting(0, claim, 0, Some(fewer)));
            }
            fails.extend(contains.most.map(|most| counting(0, claim, most + 1, None)));
            if keywords.contains_evaluates && expansion.nodes.asks_for_evaluated {
                holds.evaluated.items.push(claim);
            }
        }
        (holds.least, holds.most) = (keywords.items_least, keywords.items_most);
        fails.extend(beyond_counts(keywords.items_least, keywords.items_most));
        if expansion.nodes.asks_for_evaluated {
            holds.evaluated.prefix = rest;
            holds.evaluated.is_all = keywords.items.is_some();
        }
        holds.unique_at = keywords.is_unique.then(|| keywords.pointer.clone());
        match sign {
            Sign::Holds => Ok(vec![Alternatives::one(holds)]),
            Sign::Fails if keywords.is_unique => Err(negation("uniqueItems", keywords)),
            Sign::Fails => Ok(vec![possible(fails)]),
        }
    }

    fn value(expansion: &mut Expansion<'_>, keywords: &Keywords, value: &Json) -> PointAndRest<Alternatives> {
        of_parts::<Self>(expansion, keywords, value)
    }

    fn are_disjoint(
        expansion: &mut Expansion<'_>,
        one: &Alternatives,
        two: &Alternatives,
    ) -> Result<bool, GrammarError> {
        are_apart(expansion, one, two)
    }

    fn one_each(
        expansion: &mut Expansion<'_>,
        one: &Alternatives,
        two: &Alternatives,
    ) -> Result<Alternatives, GrammarError> {
        first_of_each(expansion, one, two)
    }

    fn unnoted(set: Alternatives) -> Alternatives {
        set.unnoted()
    }

    fn unevaluated_keyword(keywords: &Keywords) -> Option<&'static str> {
        keywords.unevaluated_items.filter(|node| *node != ANYTHING).map(|_| "unevaluatedItems")
    }

    fn unevaluated(
        expansion: &mut Expansion<'_>,
        keywords: &Keywords,
        scope: ScopeId,
        mut set: Alternatives,
    ) -> Result<Alternatives, GrammarError> {
        let Some(node) = keywords.unevaluated_items else { return Ok(set) };
        let claim = expansion.nodes.claim(node, scope)?;
        for way in &mut set.0 {
            let evaluated = std::mem::replace(&mut way.evaluated, all_evaluated());
            if evaluated.is_all {
                continue;
            }
            let mut claims = evaluated.items;
            claims.push(claim);
            let claim = match claims.as_slice() {
                [one] => *one,
                _ => Claim { node: expansion.nodes.any_of(claims), ..Claim::ALWAYS },
            };
            way.items.push(Items { from: evaluated.prefix, to: None, claim });
        }
        Ok(set)
    }
}

fn counting(from: usize, claim: Claim, least: usize, most: Option<usize>) -> Alternative {
    Alternative { counts: vec![ItemCount { from, claim, least, most }], ..Alternative::default() }
}
