//! What a schema allows of one kind of values, with "and", "or" and "not" carried out.
//!
//! Claims are pushed down to keywords: a schema that must not hold becomes "or" over its keywords that must not, and so on.
//! For values without parts the result is a set ([`super::scalars`]); for lists and objects it is a list of ways to fulfil
//! the schema, whose parts have claims of their own, to be carried out when it is their turn.

use std::collections::{HashMap, HashSet};

use super::alternative::{Alternative, WAYS_MAX};
use super::kinds::Kind;
use super::node::{ANYTHING, Keywords, NodeId};
use super::nodes::{Body, Claim, Nodes, ScopeId};
use super::scalars::Algebra;
use super::terminal::TerminalFacts;
use super::text::Text;
use super::{endless, kinds};
use crate::grammar::{GrammarError, GrammarKind};

/// Schemas that are gone through at one place of a value: references, `allOf` and the like, each of which takes stack.
const IN_PLACE_MAX: usize = 96;
/// Combinations that are looked at in all, so that a schema cannot take a processor for long.
const WORK_MAX: usize = 3_000_000;
/// What it counts for to ask whether an expression matches anything.
const WORK_OF_EXPRESSION: usize = 1_000;
/// Ways to tell the parts of a `oneOf` apart: beyond this, one for each is chosen.
const TOLD_APART_MAX: usize = 200;
/// Branches of which any set may hold at once, where it matters which do.
const SUBSETS_OF_MAX: usize = 6;

/// Whether keywords are to hold, or one of them is to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Holds,
    Fails,
}

/// The schemas, and what was found out about them.
pub(super) struct Expansion<'s> {
    pub(super) nodes: Nodes<'s>,
    pub(super) facts: TerminalFacts,
    pub(super) known: kinds::Known,
    open: HashSet<(Claim, u8)>,
    work: usize,
    surely_empty: HashMap<Vec<Claim>, bool>,
}

impl<'s> Expansion<'s> {
    pub(super) fn new(nodes: Nodes<'s>) -> Expansion<'s> {
        Expansion {
            nodes,
            facts: TerminalFacts::default(),
            known: kinds::Known::default(),
            open: HashSet::new(),
            work: 0,
            surely_empty: HashMap::new(),
        }
    }

    /// What a claim allows of a kind.
    pub(super) fn expand<K: Kind>(&mut self, claim: Claim) -> Result<K::Set, GrammarError> {
        if let Some(known) = K::known(&mut self.known).get(&claim) {
            return Ok(known.clone());
        }
        if self.open.len() >= IN_PLACE_MAX {
            let what = "schemas at one place of a value, one in the other";
            return Err(too_large(what, self.open.len() + 1, IN_PLACE_MAX));
        }
        if !self.open.insert((claim, K::BITS)) {
            return Err(endless());
        }
        let set = self.carry_out::<K>(claim);
        self.open.remove(&(claim, K::BITS));
        let set = set?;
        K::known(&mut self.known).insert(claim, set.clone());
        Ok(set)
    }

    fn carry_out<K: Kind>(&mut self, claim: Claim) -> Result<K::Set, GrammarError> {
        match (self.nodes.body(claim.node)?, claim.is_negated) {
            (Body::Anything, false) | (Body::Nothing, true) => Ok(K::Set::all()),
            (Body::Nothing, false) | (Body::Anything, true) => Ok(K::Set::none()),
            (Body::AnyOf(claims), false) => self.some::<K>(&claims),
            (Body::AnyOf(claims), true) => {
                let claims: Vec<Claim> = claims.iter().map(|claim| claim.negated()).collect();
                self.all::<K>(&claims)
            }
            (Body::Keywords(keywords), false) => self.holding::<K>(&keywords, claim.scope),
            (Body::Keywords(keywords), true) => self.failing::<K>(&keywords, claim.scope),
        }
    }

    /// What all claims allow.
    pub(super) fn all<K: Kind>(&mut self, claims: &[Claim]) -> Result<K::Set, GrammarError> {
        let mut set = K::Set::all();
        for claim in claims {
            if set.is_none() {
                break;
            }
            let next = self.expand::<K>(*claim)?;
            set = self.both(set, next)?;
        }
        Ok(set)
    }

    fn some<K: Kind>(&mut self, claims: &[Claim]) -> Result<K::Set, GrammarError> {
        let mut set = K::Set::none();
        for claim in claims {
            let next = self.expand::<K>(*claim)?;
            set = self.either(set, next)?;
        }
        Ok(set)
    }

    fn claims(&mut self, nodes: &[NodeId], scope: ScopeId) -> Result<Vec<Claim>, GrammarError> {
        nodes.iter().map(|node| self.nodes.claim(*node, scope)).collect()
    }

    fn holding<K: Kind>(&mut self, keywords: &Keywords, scope: ScopeId) -> Result<K::Set, GrammarError> {
        let mut set = K::Set::all();
        for part in K::own(self, keywords, scope, Sign::Holds)? {
            set = self.both(set, part)?;
        }
        for values in &keywords.values {
            if set.is_none() {
                return Ok(set);
            }
            let mut any = K::Set::none();
            for value in values {
                let next = K::value(self, keywords, value)?.0;
                any = self.either(any, next)?;
            }
            set = self.both(set, any)?;
        }
        if set.is_none() {
            return Ok(set);
        }
        let mut claims = Vec::new();
        for reference in &keywords.references {
            claims.push(self.nodes.follow(reference, scope)?);
        }
        claims.extend(self.claims(&keywords.all_of, scope)?);
        for claim in claims {
            let next = self.expand::<K>(claim)?;
            set = self.both(set, next)?;
        }
        if let Some(nodes) = &keywords.any_of {
            let claims = self.claims(nodes, scope)?;
            let any = self.any_of::<K>(&claims)?;
            set = self.both(set, any)?;
        }
        if let Some(nodes) = &keywords.one_of {
            let claims = self.claims(nodes, scope)?;
            let one = self.one_of::<K>(&claims)?;
            set = self.both(set, one)?;
        }
        if let Some(node) = keywords.not {
            let claim = self.nodes.claim(node, scope)?.negated();
            let next = K::unnoted(self.expand::<K>(claim)?);
            set = self.both(set, next)?;
        }
        if let Some([condition, then, other]) = keywords.condition
            && (then != ANYTHING || other != ANYTHING || self.nodes.asks_for_evaluated)
        {
            let [condition, then, other] = [condition, then, other].map(|node| self.nodes.claim(node, scope));
            let (condition, then, other) = (condition?, then?, other?);
            let first = self.all::<K>(&[condition, then])?;
            let not_condition = K::unnoted(self.expand::<K>(condition.negated())?);
            let other = self.expand::<K>(other)?;
            let second = self.both(not_condition, other)?;
            let one = self.either(first, second)?;
            set = self.both(set, one)?;
        }
        K::unevaluated(self, keywords, scope, set)
    }

    fn failing<K: Kind>(&mut self, keywords: &Keywords, scope: ScopeId) -> Result<K::Set, GrammarError> {
        let mut set = K::Set::none();
        for part in K::own(self, keywords, scope, Sign::Fails)? {
            set = self.either(set, part)?;
        }
        // Where the kind is not meant at all, nothing else matters.
        if set.is_all() {
            return Ok(set);
        }
        for values in &keywords.values {
            let mut none = K::Set::all();
            for value in values {
                let next = K::value(self, keywords, value)?.1;
                none = self.both(none, next)?;
            }
            set = self.either(set, none)?;
        }
        let mut claims = Vec::new();
        for reference in &keywords.references {
            claims.push(self.nodes.follow(reference, scope)?);
        }
        claims.extend(self.claims(&keywords.all_of, scope)?);
        for claim in claims {
            let next = self.expand::<K>(claim.negated())?;
            set = self.either(set, next)?;
        }
        if let Some(nodes) = &keywords.any_of {
            let claims: Vec<Claim> = self.claims(nodes, scope)?.into_iter().map(Claim::negated).collect();
            let none = self.all::<K>(&claims)?;
            set = self.either(set, none)?;
        }
        if let Some(nodes) = &keywords.one_of {
            let claims = self.claims(nodes, scope)?;
            let not_one = self.not_one_of::<K>(&claims)?;
            set = self.either(set, not_one)?;
        }
        if let Some(node) = keywords.not {
            let claim = self.nodes.claim(node, scope)?;
            let next = self.expand::<K>(claim)?;
            set = self.either(set, next)?;
        }
        if let Some([condition, then, other]) = keywords.condition {
            let [condition, then, other] = [condition, then, other].map(|node| self.nodes.claim(node, scope));
            let (condition, then, other) = (condition?, then?, other?);
            let next = self.all::<K>(&[condition, then.negated()])?;
            set = self.either(set, next)?;
            let next = self.all::<K>(&[condition.negated(), other.negated()])?;
            set = self.either(set, next)?;
        }
        if let Some(keyword) = K::unevaluated_keyword(keywords).filter(|_| !set.is_all()) {
            return Err(negation(keyword, keywords));
        }
        Ok(K::unnoted(set))
    }

    fn any_of<K: Kind>(&mut self, claims: &[Claim]) -> Result<K::Set, GrammarError> {
        if !K::HAS_PARTS || !self.nodes.asks_for_evaluated || claims.len() > SUBSETS_OF_MAX {
            return self.some::<K>(claims);
        }
        // Each that holds evaluates parts, so it matters which do.
        let mut set = K::Set::none();
        for subset in 1..1u32 << claims.len() {
            let chosen: Vec<Claim> = claims
                .iter()
                .enumerate()
                .filter(|(index, _)| subset >> index & 1 == 1)
                .map(|(_, claim)| *claim)
                .collect();
            let next = self.all::<K>(&chosen)?;
            set = self.either(set, next)?;
        }
        Ok(set)
    }

    fn one_of<K: Kind>(&mut self, claims: &[Claim]) -> Result<K::Set, GrammarError> {
        let mut possible = Vec::new();
        for claim in claims {
            let set = self.expand::<K>(*claim)?;
            if !set.is_none() {
                possible.push((*claim, set));
            }
        }
        let mut result = K::Set::none();
        for (index, (_, set)) in possible.iter().enumerate() {
            let mut alone = set.clone();
            for (place, (other, other_set)) in possible.iter().enumerate() {
                if place == index || alone.is_none() || K::are_disjoint(self, &alone, other_set)? {
                    continue;
                }
                let without = K::unnoted(self.expand::<K>(other.negated())?);
                let found = alone.size().saturating_mul(without.size());
                self.count(found)?;
                // Ways multiply with each part that overlaps. One way to fail is enough for each way to hold.
                alone = if found > TOLD_APART_MAX {
                    K::one_each(self, &alone, &without)?
                } else {
                    self.both(alone, without)?
                };
            }
            result = self.either(result, alone)?;
        }
        Ok(result)
    }

    fn not_one_of<K: Kind>(&mut self, claims: &[Claim]) -> Result<K::Set, GrammarError> {
        let none: Vec<Claim> = claims.iter().map(|claim| claim.negated()).collect();
        let mut set = self.all::<K>(&none)?;
        for (index, one) in claims.iter().enumerate() {
            for two in &claims[index + 1..] {
                let next = self.all::<K>(&[*one, *two])?;
                set = self.either(set, next)?;
            }
        }
        Ok(set)
    }

    /// Whether no value fulfils all claims, as far as can be seen at a glance.
    pub(super) fn are_surely_empty(&mut self, claims: &[Claim], depth: usize) -> Result<bool, GrammarError> {
        if claims.contains(&Claim::NEVER) || claims.iter().any(|claim| claims.contains(&claim.negated())) {
            return Ok(true);
        }
        if claims.is_empty() || depth == 0 {
            return Ok(false);
        }
        let mut key = claims.to_vec();
        key.sort_unstable();
        key.dedup();
        if let Some(&known) = self.surely_empty.get(&key) {
            return Ok(known);
        }
        // What is being carried out is not known yet; a part that comes back to it may well have values.
        let Ok(is_empty) = self.is_empty_of_all_kinds(claims, depth) else { return Ok(false) };
        self.surely_empty.insert(key, is_empty);
        Ok(is_empty)
    }

    fn is_empty_of_all_kinds(&mut self, claims: &[Claim], depth: usize) -> Result<bool, GrammarError> {
        if !self.all::<kinds::OfWords>(claims)?.is_none() || !self.all::<kinds::OfNumbers>(claims)?.is_none() {
            return Ok(false);
        }
        let texts = self.all::<kinds::OfTexts>(claims)?;
        if !self.is_text_empty(&texts)? {
            return Ok(false);
        }
        if !self.all::<kinds::OfLists>(claims)?.is_none() {
            return Ok(false);
        }
        let objects = self.all::<kinds::OfObjects>(claims)?;
        for way in &objects.0 {
            if !self.is_way_surely_empty(way, depth - 1)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether no string is in a set.
    pub(super) fn is_text_empty(&mut self, text: &Text) -> Result<bool, GrammarError> {
        let Some(terminal) = text.terminal() else { return Ok(true) };
        self.count(if self.facts.is_known(&terminal) { 1 } else { WORK_OF_EXPRESSION })?;
        self.facts.is_empty(&terminal)
    }

    /// Whether an object must have a property that cannot be.
    pub(super) fn is_way_surely_empty(&mut self, way: &Alternative, depth: usize) -> Result<bool, GrammarError> {
        for (name, _) in way.some.iter().filter(|(name, _)| matches!(name, Text::Exactly(_))) {
            if self.are_surely_empty(&way.claims_of(name), depth)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Expansion<'_> {
    fn both<A: Algebra>(&mut self, one: A, two: A) -> Result<A, GrammarError> {
        self.count(one.size().saturating_mul(two.size()))?;
        checked(one.and(two))
    }

    fn either<A: Algebra>(&mut self, one: A, two: A) -> Result<A, GrammarError> {
        self.count(one.size().saturating_add(two.size()))?;
        checked(one.or(two))
    }

    fn count(&mut self, work: usize) -> Result<(), GrammarError> {
        self.work = self.work.saturating_add(work);
        if self.work > WORK_MAX {
            return Err(too_large("combinations of its parts in all", self.work, WORK_MAX));
        }
        Ok(())
    }
}

fn checked<A: Algebra>(set: A) -> Result<A, GrammarError> {
    if set.size() > WAYS_MAX {
        return Err(too_large("combinations of its parts at one place", set.size(), WAYS_MAX));
    }
    Ok(set)
}

fn too_large(what: &'static str, found: usize, limit: usize) -> GrammarError {
    GrammarError::TooLarge { kind: GrammarKind::Schema, what, found, limit }
}

/// A keyword must fail, and what makes it fail cannot be said.
pub(super) fn negation(keyword: &str, keywords: &Keywords) -> GrammarError {
    GrammarError::UnsupportedNegation { keyword: keyword.to_owned(), pointer: keywords.pointer.clone() }
}
