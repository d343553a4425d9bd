//! Lists whose items differ from each other, where there are few values that an item can be.
//!
//! What was written is remembered in the rule: one for each set of values that are used up, or, for items that are all alike,
//! one rule with a bit for each value. Nothing leads to a place where only values are left that are used up.

use std::collections::HashMap;

use super::alternative::Alternative;
use super::kinds::{OfLists, OfNumbers, OfObjects, OfTexts, OfWords};
use super::lists::{Items, Places};
use super::nodes::Claim;
use super::numbers::Interval;
use super::rules::{RuleId, Symbol, text};
use super::scalars::Algebra;
use super::terminal::Terminal;
use super::text::Text;
use super::writer::Writer;
use crate::grammar::GrammarError;

/// Values that a rule with a bit for each can tell apart.
const VALUES_MAX: usize = 64;
/// Values of which each set has a rule.
const VALUES_IN_SETS_MAX: usize = 8;

/// Adds the lists of one way, whose items differ, to a rule; `false` if there are too many values for that.
pub(super) fn write(
    writer: &mut Writer<'_>,
    way: &Alternative,
    places: &Places,
    rule: RuleId,
) -> Result<bool, GrammarError> {
    if places.placed == 0 && way.counts.is_empty() {
        let claims = places.claims_at(way, 0);
        let Some(values) = values(writer, &claims)? else { return Ok(false) };
        if values.len() <= VALUES_MAX {
            write_alike(writer, way, values, rule)?;
            return Ok(true);
        }
    }
    let mut sets = Sets { writer, way, places, values: Vec::new(), known: HashMap::new() };
    let Some(first) = sets.after(0, vec![0; way.counts.len()], 0)? else { return Ok(false) };
    writer.rules.add(rule, vec![text("["), Symbol::Rule(first), text("]")])?;
    Ok(true)
}

fn write_alike(
    writer: &mut Writer<'_>,
    way: &Alternative,
    values: Vec<Terminal>,
    rule: RuleId,
) -> Result<(), GrammarError> {
    let most = way.most.unwrap_or(VALUES_MAX).min(values.len());
    if way.least > most {
        return Ok(());
    }
    let mut words = Vec::new();
    for value in values {
        words.extend(writer.rules.word(value, &mut writer.expansion.facts)?);
    }
    let items = writer.rules.distinct(words, way.least, most);
    writer.rules.add(rule, vec![text("["), items, text("]")])
}

/// The values that fulfil all claims, if these are few and have no parts.
fn values(writer: &mut Writer<'_>, claims: &[Claim]) -> Result<Option<Vec<Terminal>>, GrammarError> {
    let expansion = &mut writer.expansion;
    let has_parts = !expansion.all::<OfLists>(claims)?.is_none() || !expansion.all::<OfObjects>(claims)?.is_none();
    if has_parts {
        return Ok(None);
    }
    let mut values: Vec<Terminal> =
        expansion.all::<OfWords>(claims)?.spelled().map(|word| Terminal::Literal(word.to_owned())).collect();
    for interval in expansion.all::<OfNumbers>(claims)?.0 {
        match interval.points(VALUES_MAX) {
            Some(points) => values.extend(points.into_iter().map(Terminal::Literal)),
            None => return Ok(None),
        }
    }
    let texts = match expansion.all::<OfTexts>(claims)? {
        Text::Nothing => Vec::new(),
        Text::Some(texts) => texts,
        one => vec![one],
    };
    for text in texts {
        match text {
            Text::Exactly(_) => values.extend(text.terminal()),
            Text::All(_) if expansion.is_text_empty(&text)? => {}
            Text::All(ref parts) => match parts.iter().find(|part| matches!(part, Text::Exactly(_))) {
                Some(one) => values.extend(one.terminal()),
                None => return Ok(None),
            },
            _ => return Ok(None),
        }
    }
    let mut distinct: Vec<Terminal> = Vec::new();
    for value in values {
        if !distinct.contains(&value) {
            distinct.push(value);
        }
    }
    Ok(Some(distinct))
}

/// Writes a rule for each place, count and set of values that are used up.
struct Sets<'w, 'a, 's> {
    writer: &'w mut Writer<'s>,
    way: &'a Alternative,
    places: &'a Places,
    values: Vec<Terminal>,
    known: HashMap<(usize, Vec<usize>, u64), RuleId>,
}

impl Sets<'_, '_, '_> {
    fn after(&mut self, index: usize, counts: Vec<usize>, used: u64) -> Result<Option<RuleId>, GrammarError> {
        let key = (index, counts.clone(), used);
        if let Some(&known) = self.known.get(&key) {
            return Ok(Some(known));
        }
        let rule = self.writer.rules.rule();
        self.known.insert(key, rule);
        if self.places.may_end(self.way, index, &counts) {
            self.writer.rules.add(rule, Vec::new())?;
        }
        if self.way.most.is_some_and(|most| index >= most) {
            return Ok(Some(rule));
        }
        for (mut claims, next_counts) in Items::choices(self.way, index, &counts) {
            claims.extend(self.places.claims_at(self.way, index));
            let Some(values) = values(self.writer, &claims)? else { return Ok(None) };
            for value in values {
                let known = self.values.iter().position(|known| *known == value);
                let number = known.unwrap_or(self.values.len());
                if known.is_none() {
                    self.values.push(value.clone());
                }
                if number >= VALUES_IN_SETS_MAX {
                    return Ok(None);
                }
                if used >> number & 1 == 1 {
                    continue;
                }
                let Some(next) = self.after(index + 1, next_counts.clone(), used | 1 << number)? else {
                    return Ok(None);
                };
                let Some(word) = self.writer.rules.word(value, &mut self.writer.expansion.facts)? else { continue };
                let mut symbols = vec![word, Symbol::Rule(next)];
                if index > 0 {
                    symbols.insert(0, text(","));
                }
                self.writer.rules.add(rule, symbols)?;
            }
        }
        Ok(Some(rule))
    }
}

impl Interval {
    /// The numbers in it as they are spelled, if they are at most so many.
    fn points(&self, most: usize) -> Option<Vec<String>> {
        let (low, high) = (self.low.as_ref()?, self.high.as_ref()?);
        if low.at == high.at {
            return Some(vec![low.at.spelled()]);
        }
        let is_counted = self.fraction == super::numbers::Fraction::Never && self.multiple_of.is_empty();
        let (Some(first), Some(last)) = (low.number.as_i64(), high.number.as_i64()) else { return None };
        let (first, last) = (first + i64::from(!low.is_in), last - i64::from(!high.is_in));
        let is_few = is_counted && last.checked_sub(first)? < i64::try_from(most).ok()?;
        is_few.then(|| (first..=last).map(|number| number.to_string()).collect())
    }
}
