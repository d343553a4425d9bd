//! Rules of lists: items by their places, and counts of those for which something holds.

use std::collections::HashMap;

use super::alternative::{Alternative, ItemCount};
use super::nodes::Claim;
use super::rules::{RuleId, Symbol, text};
use super::unique;
use super::writer::Writer;
use crate::grammar::{GrammarError, GrammarKind};

/// Counts of different things in one list.
const COUNTS_MAX: usize = 6;

/// Adds the lists of one way to a rule.
pub(super) fn write(writer: &mut Writer<'_>, way: &Alternative, rule: RuleId) -> Result<(), GrammarError> {
    if way.counts.len() > COUNTS_MAX {
        let (kind, what) = (GrammarKind::Schema, "different things to count in a list");
        return Err(GrammarError::TooLarge { kind, what, found: way.counts.len(), limit: COUNTS_MAX });
    }
    let placed = way.items.iter().map(|items| items.to.unwrap_or(items.from)).max().unwrap_or(0);
    let counted = way.counts.iter().map(|count| count.from).max().unwrap_or(0);
    let places = Places { placed: placed.max(counted) };
    if let Some(pointer) = way.unique_at.as_ref().filter(|_| way.most.is_none_or(|most| most > 1)) {
        if unique::write(writer, way, &places, rule)? {
            return Ok(());
        }
        return Err(GrammarError::UnsupportedKeyword { keyword: "uniqueItems".to_owned(), pointer: pointer.clone() });
    }
    let mut items = Items { writer, way, places, known: HashMap::new() };
    let first = items.after(0, vec![0; way.counts.len()])?;
    writer.rules.add(rule, vec![text("["), Symbol::Rule(first), text("]")])
}

/// Where items stand.
pub(super) struct Places {
    /// Items from here on are alike.
    pub(super) placed: usize,
}

impl Places {
    /// What holds for the item there.
    pub(super) fn claims_at(&self, way: &Alternative, index: usize) -> Vec<Claim> {
        let is_at = |items: &&super::alternative::Items| items.from <= index && items.to.is_none_or(|to| index < to);
        way.items.iter().filter(is_at).map(|items| items.claim).collect()
    }

    /// Whether a list may end there.
    pub(super) fn may_end(&self, way: &Alternative, index: usize, counts: &[usize]) -> bool {
        let are_counted = way.counts.iter().zip(counts).all(|(count, found)| *found >= count.least);
        index >= way.least && are_counted
    }
}

/// Writes the rules between the brackets, each of which stands for what may come after so many items.
pub(super) struct Items<'w, 'a, 's> {
    writer: &'w mut Writer<'s>,
    way: &'a Alternative,
    places: Places,
    known: HashMap<(usize, Vec<usize>), RuleId>,
}

impl Items<'_, '_, '_> {
    /// What may come after `index` items, of which so many were counted.
    fn after(&mut self, index: usize, counts: Vec<usize>) -> Result<RuleId, GrammarError> {
        // Places beyond which nothing changes are one, except that the first item has no comma before it.
        let last = self.places.placed.max(self.way.least).max(self.way.most.map_or(0, |most| most + 1)).max(1);
        let index = index.min(last);
        if let Some(&known) = self.known.get(&(index, counts.clone())) {
            return Ok(known);
        }
        let rule = self.writer.rules.rule();
        self.known.insert((index, counts.clone()), rule);
        if self.way.counts.is_empty() && index >= self.places.placed && index > 0 {
            self.alike(rule, index)?;
            return Ok(rule);
        }
        let may_end = self.places.may_end(self.way, index, &counts);
        if self.way.most.is_some_and(|most| index >= most) {
            if may_end {
                self.writer.rules.add(rule, Vec::new())?;
            }
            return Ok(rule);
        }
        let comma = || (index > 0).then(|| text(","));
        let (mut ways, mut again) = (Vec::new(), None);
        for (mut claims, next_counts) in Items::choices(self.way, index, &counts) {
            claims.extend(self.places.claims_at(self.way, index));
            let Some(value) = self.writer.value(claims)? else { continue };
            let next = self.after(index + 1, next_counts)?;
            if next == rule {
                // As repetition, for recursion to the right takes more with every item.
                let again = *again.get_or_insert_with(|| self.writer.rules.rule());
                self.writer.rules.add(again, vec![text(","), Symbol::Rule(value)])?;
            } else {
                ways.push(comma().into_iter().chain([Symbol::Rule(value), Symbol::Rule(next)]).collect());
            }
        }
        ways.extend(may_end.then(Vec::new));
        for way in ways {
            let again = again.map(|again| Symbol::Times(again, 0, None));
            self.writer.rules.add(rule, again.into_iter().chain(way).collect())?;
        }
        Ok(rule)
    }

    /// Items that are all alike, and not counted.
    fn alike(&mut self, rule: RuleId, index: usize) -> Result<(), GrammarError> {
        let least = self.way.least.saturating_sub(index);
        let most = self.way.most.map(|most| most.saturating_sub(index));
        match self.writer.value(self.places.claims_at(self.way, self.places.placed))? {
            Some(value) => {
                let item = self.writer.rules.sequence(vec![text(","), Symbol::Rule(value)])?;
                self.writer.rules.add(rule, vec![Symbol::Times(item, least, most)])
            }
            None if least == 0 => self.writer.rules.add(rule, Vec::new()),
            None => Ok(()),
        }
    }

    /// What the next item may be to the counts: its claims, and the counts with it.
    pub(super) fn choices(way: &Alternative, index: usize, counts: &[usize]) -> Vec<(Vec<Claim>, Vec<usize>)> {
        let mut choices = vec![(Vec::new(), Vec::new())];
        for (count, &found) in way.counts.iter().zip(counts) {
            let mut next = Vec::new();
            for (claims, counts) in choices {
                for (claim, found) in steps(count, found, index) {
                    let (mut claims, mut counts): (Vec<Claim>, Vec<usize>) = (claims.clone(), counts.clone());
                    claims.extend(claim);
                    counts.push(found);
                    next.push((claims, counts));
                }
            }
            choices = next;
        }
        choices
    }
}

/// What one item may be to a count: a claim on it, and the count with it.
fn steps(count: &ItemCount, found: usize, index: usize) -> Vec<(Option<Claim>, usize)> {
    if index < count.from {
        return vec![(None, found)];
    }
    match count.most {
        // One more that is not counted does no harm.
        None if found >= count.least => vec![(None, found)],
        None => vec![(Some(count.claim), found + 1), (None, found)],
        Some(most) => {
            let mut steps = vec![(Some(count.claim.negated()), found)];
            steps.extend((found < most).then_some((Some(count.claim), found + 1)));
            steps
        }
    }
}
