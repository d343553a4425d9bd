//! The kinds of values, and what the keywords of a schema say of each.

use std::collections::HashMap;

use serde_json::Value as Json;

use super::alternative::{Alternative, Alternatives, Evaluated, ItemCount, Items};
use super::decimal::Decimal;
use super::expand::{Expansion, Sign, negation};
use super::node::{ANYTHING, Dependent, Keywords};
use super::nodes::{Claim, ScopeId};
use super::numbers::{Bound, Fraction, Interval, Numbers};
use super::scalars::{Algebra, Words};
use super::text::Text;
use crate::grammar::GrammarError;

/// Sets that are cut with each other where keywords hold, and joined where one fails.
type Parts<A> = Result<Vec<A>, GrammarError>;
/// A value alone, and all others of its kind.
type PointAndRest<A> = Result<(A, A), GrammarError>;

/// What was found out, by claim.
#[derive(Default)]
pub(super) struct Known {
    words: HashMap<Claim, Words>,
    numbers: HashMap<Claim, Numbers>,
    texts: HashMap<Claim, Text>,
    lists: HashMap<Claim, Alternatives>,
    objects: HashMap<Claim, Alternatives>,
}

/// A kind of values.
pub(super) trait Kind {
    /// What schemas allow of it.
    type Set: Algebra;
    /// Its types, as [`Keywords::types`] has them.
    const BITS: u8;
    /// Whether its values have parts.
    const HAS_PARTS: bool = false;

    /// What was found out.
    fn known(known: &mut Known) -> &mut HashMap<Claim, Self::Set>;
    /// What the keywords say that do not lead to other schemas at the same place; the type first.
    fn own(expansion: &mut Expansion<'_>, keywords: &Keywords, scope: ScopeId, sign: Sign) -> Parts<Self::Set>;
    /// What makes a value of an enumeration hold and fail.
    fn value(expansion: &mut Expansion<'_>, keywords: &Keywords, value: &Json) -> PointAndRest<Self::Set>;
    /// Whether nothing is in both sets.
    fn are_disjoint(expansion: &mut Expansion<'_>, one: &Self::Set, two: &Self::Set) -> Result<bool, GrammarError>;

    /// Some of what is in both sets, which grows no more than the first: each of its parts with one of the other's.
    fn one_each(_: &mut Expansion<'_>, one: &Self::Set, two: &Self::Set) -> Result<Self::Set, GrammarError> {
        Ok(one.clone().and(two.clone()))
    }

    /// The same, without a note of what was looked at.
    fn unnoted(set: Self::Set) -> Self::Set {
        set
    }

    /// The keyword for parts that no other has looked at, if it asks for something.
    fn unevaluated_keyword(_keywords: &Keywords) -> Option<&'static str> {
        None
    }

    /// The same, with what that keyword asks for.
    fn unevaluated(
        _expansion: &mut Expansion<'_>,
        _keywords: &Keywords,
        _scope: ScopeId,
        set: Self::Set,
    ) -> Result<Self::Set, GrammarError> {
        Ok(set)
    }
}

/// What `type` says, where it says that values of this kind are not meant.
fn not_meant<A: Algebra>(keywords: &Keywords, bits: u8, sign: Sign) -> Option<Vec<A>> {
    let is_meant = keywords.types.is_none_or(|types| types & bits != 0);
    (!is_meant).then(|| vec![if sign == Sign::Holds { A::none() } else { A::all() }])
}

/// `null` and truth values.
pub(super) struct OfWords;

impl Kind for OfWords {
    type Set = Words;
    const BITS: u8 = 7;

    fn known(known: &mut Known) -> &mut HashMap<Claim, Words> {
        &mut known.words
    }

    fn own(_: &mut Expansion<'_>, keywords: &Keywords, _: ScopeId, sign: Sign) -> Parts<Words> {
        let words = keywords.types.map(|types| Words(types & 7));
        Ok(words.map(|words| if sign == Sign::Holds { words } else { words.others() }).into_iter().collect())
    }

    fn value(_: &mut Expansion<'_>, _: &Keywords, value: &Json) -> PointAndRest<Words> {
        let word = Words::of(value).unwrap_or(Words(0));
        Ok((word, word.others()))
    }

    fn are_disjoint(_: &mut Expansion<'_>, one: &Words, two: &Words) -> Result<bool, GrammarError> {
        Ok(one.and(*two).is_none())
    }
}

/// Numbers.
pub(super) struct OfNumbers;

impl Kind for OfNumbers {
    type Set = Numbers;
    const BITS: u8 = 8;

    fn known(known: &mut Known) -> &mut HashMap<Claim, Numbers> {
        &mut known.numbers
    }

    fn own(_: &mut Expansion<'_>, keywords: &Keywords, _: ScopeId, sign: Sign) -> Parts<Numbers> {
        if let Some(parts) = not_meant(keywords, Self::BITS, sign) {
            return Ok(parts);
        }
        let mut parts = Vec::new();
        if keywords.is_whole {
            // `1.0` is whole in some drafts and not in others, so it is neither here.
            parts.push(Numbers::with(if sign == Sign::Holds { Fraction::Never } else { Fraction::Always }));
        }
        for interval in &keywords.intervals {
            parts.push(match sign {
                Sign::Holds => Numbers(vec![interval.clone()]),
                Sign::Fails => outside(interval).ok_or_else(|| negation("multipleOf", keywords))?,
            });
        }
        Ok(parts)
    }

    fn value(_: &mut Expansion<'_>, _: &Keywords, value: &Json) -> PointAndRest<Numbers> {
        let point = value.as_number().and_then(|number| Some((Decimal::of(number)?, number)));
        Ok(match point {
            Some((at, number)) => (Numbers::point(at.clone(), number), Numbers::all_but(at, number)),
            None => (Numbers::none(), Numbers::all()),
        })
    }

    fn are_disjoint(_: &mut Expansion<'_>, one: &Numbers, two: &Numbers) -> Result<bool, GrammarError> {
        Ok(one.clone().and(two.clone()).is_none())
    }
}

/// The numbers that are not in an interval of one bound, or not multiples of a number.
fn outside(interval: &Interval) -> Option<Numbers> {
    let beyond = |bound: &Bound| Some(Bound { is_in: !bound.is_in, ..bound.clone() });
    let mut parts = Vec::new();
    parts.extend(interval.low.iter().map(|low| Interval { high: beyond(low), ..Interval::all() }));
    parts.extend(interval.high.iter().map(|high| Interval { low: beyond(high), ..Interval::all() }));
    for step in &interval.multiple_of {
        // Numbers with a fraction are not multiples of a whole one. There are others, which no expression tells.
        if !Decimal::of(step).is_some_and(|step| step.is_whole()) {
            return None;
        }
        parts.push(Interval { fraction: Fraction::Always, ..Interval::all() });
    }
    Some(Numbers(parts))
}

/// Strings.
pub(super) struct OfTexts;

impl Kind for OfTexts {
    type Set = Text;
    const BITS: u8 = 16;

    fn known(known: &mut Known) -> &mut HashMap<Claim, Text> {
        &mut known.texts
    }

    fn own(_: &mut Expansion<'_>, keywords: &Keywords, _: ScopeId, sign: Sign) -> Parts<Text> {
        if let Some(parts) = not_meant(keywords, Self::BITS, sign) {
            return Ok(parts);
        }
        let mut parts = Vec::new();
        for (keyword, text) in &keywords.texts {
            parts.push(match sign {
                Sign::Holds => text.clone(),
                // The expression of a format leaves out some that have it.
                Sign::Fails if keyword.starts_with("format") => return Err(negation(keyword, keywords)),
                Sign::Fails => text.clone().not(),
            });
        }
        Ok(parts)
    }

    fn value(_: &mut Expansion<'_>, _: &Keywords, value: &Json) -> PointAndRest<Text> {
        let text = value.as_str().map_or(Text::Nothing, |text| Text::Exactly(text.to_owned()));
        Ok((text.clone(), text.not()))
    }

    fn are_disjoint(expansion: &mut Expansion<'_>, one: &Text, two: &Text) -> Result<bool, GrammarError> {
        expansion.is_text_empty(&one.clone().and(two.clone()))
    }
}

/// What makes an enumeration of lists or objects hold and fail.
fn of_parts<K: Kind>(expansion: &mut Expansion<'_>, keywords: &Keywords, value: &Json) -> PointAndRest<K::Set> {
    let is_of_kind = match value {
        Json::Array(_) => K::BITS == OfLists::BITS,
        Json::Object(_) => K::BITS == OfObjects::BITS,
        _ => false,
    };
    if !is_of_kind {
        return Ok((K::Set::none(), K::Set::all()));
    }
    let node = expansion.nodes.value(&keywords.pointer, value);
    let claim = expansion.nodes.claim(node, 0)?;
    Ok((expansion.expand::<K>(claim)?, expansion.expand::<K>(claim.negated())?))
}

/// Whether no two ways can be gone at once.
fn are_apart(expansion: &mut Expansion<'_>, one: &Alternatives, two: &Alternatives) -> Result<bool, GrammarError> {
    const LEVELS: usize = 3;
    for one in &one.0 {
        for two in &two.0 {
            if let Some(both) = one.and(two)
                && !expansion.is_way_surely_empty(&both, LEVELS)?
            {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Each way of one with the first way of the other that can be gone with it.
fn first_of_each(
    expansion: &mut Expansion<'_>,
    one: &Alternatives,
    two: &Alternatives,
) -> Result<Alternatives, GrammarError> {
    let mut ways = Vec::new();
    for one in &one.0 {
        for two in &two.0 {
            if let Some(both) = one.and(two)
                && !expansion.is_way_surely_empty(&both, 2)?
            {
                ways.push(both);
                break;
            }
        }
    }
    Ok(Alternatives(ways))
}

/// Lists.
pub(super) struct OfLists;

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

fn all_evaluated() -> Evaluated {
    Evaluated { is_all: true, ..Evaluated::default() }
}

fn counting(from: usize, claim: Claim, least: usize, most: Option<usize>) -> Alternative {
    Alternative { counts: vec![ItemCount { from, claim, least, most }], ..Alternative::default() }
}

/// Fewer or more parts than may be.
fn beyond_counts(least: usize, most: Option<usize>) -> Vec<Alternative> {
    let fewer = least.checked_sub(1).map(|fewer| Alternative { most: Some(fewer), ..Alternative::default() });
    let more = most.map(|most| Alternative { least: most + 1, ..Alternative::default() });
    fewer.into_iter().chain(more).collect()
}

fn possible(ways: Vec<Alternative>) -> Alternatives {
    Alternatives(ways.into_iter().filter(Alternative::is_possible).collect())
}

/// Objects.
pub(super) struct OfObjects;

impl Kind for OfObjects {
    type Set = Alternatives;
    const BITS: u8 = 64;
    const HAS_PARTS: bool = true;

    fn known(known: &mut Known) -> &mut HashMap<Claim, Alternatives> {
        &mut known.objects
    }

    fn own(expansion: &mut Expansion<'_>, keywords: &Keywords, scope: ScopeId, sign: Sign) -> Parts<Alternatives> {
        if let Some(parts) = not_meant(keywords, Self::BITS, sign) {
            return Ok(parts);
        }
        let mut holds = Alternative::default();
        let mut fails = Vec::new();
        let mut named = Vec::new();
        for (name, node) in &keywords.properties {
            let claim = expansion.nodes.claim(*node, scope)?;
            let text = Text::Exactly(name.clone());
            named.push(text.clone());
            holds.named.push(name.clone());
            fails.push(Alternative::with_some(text.clone(), claim.negated()));
            holds.every.push((text, claim));
        }
        for (pattern, node) in &keywords.patterns {
            let claim = expansion.nodes.claim(*node, scope)?;
            named.push(pattern.clone());
            fails.push(Alternative::with_some(pattern.clone(), claim.negated()));
            holds.every.push((pattern.clone(), claim));
        }
        if let Some(node) = keywords.additional {
            let claim = expansion.nodes.claim(node, scope)?;
            let others = Text::some_of(named.iter().cloned()).not();
            fails.push(Alternative::with_some(others.clone(), claim.negated()));
            holds.every.push((others, claim));
        }
        holds.speaks_of_others = !keywords.patterns.is_empty() || keywords.additional.is_some();
        if expansion.nodes.asks_for_evaluated {
            holds.evaluated.names = named;
            holds.evaluated.is_all = keywords.additional.is_some();
        }
        for name in &keywords.required {
            holds.some.push((Text::Exactly(name.clone()), Claim::ALWAYS));
            fails.push(Alternative::without(name));
        }
        (holds.least, holds.most) = (keywords.properties_least, keywords.properties_most);
        fails.extend(beyond_counts(keywords.properties_least, keywords.properties_most));
        let mut parts = vec![if sign == Sign::Holds { Alternatives::one(holds) } else { possible(fails) }];
        parts.extend(names_of_properties(expansion, keywords, scope, sign)?);
        for (name, dependent) in &keywords.dependents {
            parts.push(depending(expansion, name, dependent, scope, sign)?);
        }
        Ok(parts)
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
        keywords.unevaluated_properties.filter(|node| *node != ANYTHING).map(|_| "unevaluatedProperties")
    }

    fn unevaluated(
        expansion: &mut Expansion<'_>,
        keywords: &Keywords,
        scope: ScopeId,
        mut set: Alternatives,
    ) -> Result<Alternatives, GrammarError> {
        let Some(node) = keywords.unevaluated_properties else { return Ok(set) };
        let claim = expansion.nodes.claim(node, scope)?;
        for way in &mut set.0 {
            let evaluated = std::mem::replace(&mut way.evaluated, all_evaluated());
            way.speaks_of_others = true;
            if !evaluated.is_all {
                way.every.push((Text::some_of(evaluated.names).not(), claim));
            }
        }
        Ok(set)
    }
}

/// What `propertyNames` says.
fn names_of_properties(
    expansion: &mut Expansion<'_>,
    keywords: &Keywords,
    scope: ScopeId,
    sign: Sign,
) -> Result<Option<Alternatives>, GrammarError> {
    let Some(node) = keywords.names else { return Ok(None) };
    let claim = expansion.nodes.claim(node, scope)?;
    let way = match sign {
        Sign::Holds => {
            let others = expansion.expand::<OfTexts>(claim)?.not();
            Alternative { every: vec![(others, Claim::NEVER)], speaks_of_others: true, ..Alternative::default() }
        }
        Sign::Fails => Alternative::with_some(expansion.expand::<OfTexts>(claim.negated())?, Claim::ALWAYS),
    };
    Ok(Some(Alternatives::one(way)))
}

/// What a property asks of the object that has it.
fn depending(
    expansion: &mut Expansion<'_>,
    name: &str,
    dependent: &Dependent,
    scope: ScopeId,
    sign: Sign,
) -> Result<Alternatives, GrammarError> {
    let without = Alternatives::one(Alternative::without(name));
    let with = Alternatives::one(Alternative::requiring(name));
    let requiring = |name: &String| Alternatives::one(Alternative::requiring(name));
    let dependent = match (dependent, sign) {
        (Dependent::Required(names), Sign::Holds) => {
            names.iter().map(requiring).fold(Alternatives::all(), Algebra::and)
        }
        (Dependent::Required(names), Sign::Fails) => {
            possible(names.iter().map(|name| Alternative::without(name)).collect())
        }
        (Dependent::Schema(node), sign) => {
            let claim = expansion.nodes.claim(*node, scope)?;
            expansion.expand::<OfObjects>(if sign == Sign::Holds { claim } else { claim.negated() })?
        }
    };
    // What the schema evaluates counts only where the property is there.
    Ok(if sign == Sign::Holds { without.or(with.and(dependent)) } else { with.and(dependent) })
}
