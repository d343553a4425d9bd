//! Rules of objects: properties by name in their order, then others, each kind of name with its own values.

use std::collections::HashMap;

use super::alternative::Alternative;
use super::nodes::Claim;
use super::rules::{RuleId, Symbol, text};
use super::scalars::Algebra;
use super::text::Text;
use super::writer::Writer;
use crate::grammar::{ExtraProperties, GrammarError, GrammarKind};

/// Kinds of names that an object tells apart by patterns.
const REGIONS_MAX: usize = 64;
/// Choices of where the properties stand that must be there under some name.
const CHOICES_MAX: usize = 256;

/// A property by name.
#[derive(Clone)]
struct Property {
    name: String,
    claims: Vec<Claim>,
    is_required: bool,
}

/// Names of other properties, and what holds for these.
#[derive(Clone)]
struct Region {
    names: Text,
    claims: Vec<Claim>,
}

/// Where the properties stand that must be there under some name.
#[derive(Clone)]
struct Choice {
    properties: Vec<Property>,
    /// Those that are not under a name of their own.
    others: Vec<(Text, Claim)>,
}

/// Adds the objects of one way to a rule.
pub(super) fn write(writer: &mut Writer<'_>, way: &Alternative, rule: RuleId) -> Result<(), GrammarError> {
    let properties = properties(writer, way)?;
    let names: Vec<Text> = properties.iter().map(|property| Text::Exactly(property.name.clone())).collect();
    let is_closed = writer.extra_properties == ExtraProperties::OnlyNamed && is_enough_said(way, &properties);
    let regions = if is_closed { Vec::new() } else { regions(writer, way, Text::some_of(names).not())? };
    for choice in choices(writer, way, properties)? {
        write_choice(writer, way, &choice, &regions, rule)?;
    }
    Ok(())
}

/// Whether an object may well end with the properties that it names.
fn is_enough_said(way: &Alternative, properties: &[Property]) -> bool {
    let is_named = |(name, _): &(Text, Claim)| matches!(name, Text::Exactly(name) if way.named.contains(name));
    !way.speaks_of_others && !way.named.is_empty() && way.some.iter().all(is_named) && way.least <= properties.len()
}

/// All names that are mentioned, in the order in which they come.
fn properties(writer: &mut Writer<'_>, way: &Alternative) -> Result<Vec<Property>, GrammarError> {
    let mut names: Vec<&str> = way.named.iter().map(String::as_str).collect();
    for (class, _) in way.some.iter().chain(&way.every) {
        class.mentioned(&mut names);
    }
    let mut properties = Vec::new();
    for name in names {
        let mut claims = Vec::new();
        for (class, claim) in &way.every {
            if class.has(name, &mut writer.expansion.facts)? {
                claims.push(*claim);
            }
        }
        let exactly = Text::Exactly(name.to_owned());
        let required = || way.some.iter().filter(|(class, _)| *class == exactly);
        claims.extend(required().map(|(_, claim)| *claim));
        properties.push(Property { name: name.to_owned(), claims, is_required: required().next().is_some() });
    }
    Ok(properties)
}

/// Sets the properties that must be there under some name on those that have a name, or on others.
fn choices(writer: &mut Writer<'_>, way: &Alternative, properties: Vec<Property>) -> Result<Vec<Choice>, GrammarError> {
    let mut choices = vec![Choice { properties, others: Vec::new() }];
    for (class, claim) in way.some.iter().filter(|(class, _)| !matches!(class, Text::Exactly(_))) {
        let mut next = Vec::new();
        for choice in choices {
            for (index, property) in choice.properties.iter().enumerate() {
                if class.has(&property.name, &mut writer.expansion.facts)? {
                    let mut chosen = choice.clone();
                    chosen.properties[index].is_required = true;
                    chosen.properties[index].claims.push(*claim);
                    next.push(chosen);
                }
            }
            let others = class.of_others();
            if !others.is_none() {
                let mut chosen = choice.clone();
                chosen.others.push((others, *claim));
                next.push(chosen);
            }
        }
        choices = next;
        if choices.len() > CHOICES_MAX {
            return Err(too_large("choices of names", choices.len(), CHOICES_MAX));
        }
    }
    Ok(choices)
}

fn too_large(what: &'static str, found: usize, limit: usize) -> GrammarError {
    GrammarError::TooLarge { kind: GrammarKind::Schema, what, found, limit }
}

/// The names besides those that are mentioned, by what holds for them.
fn regions(writer: &mut Writer<'_>, way: &Alternative, unnamed: Text) -> Result<Vec<Region>, GrammarError> {
    let mut regions = vec![Region { names: unnamed, claims: Vec::new() }];
    for (class, claim) in &way.every {
        let class = class.of_others();
        if class.is_none() {
            continue;
        }
        let mut next: Vec<Region> = Vec::new();
        for region in regions {
            if *claim != Claim::NEVER {
                let mut claims = region.claims.clone();
                claims.push(*claim);
                next.push(Region { names: region.names.clone().and(class.clone()), claims });
            }
            if !class.is_all() {
                next.push(Region { names: region.names.and(class.clone().not()), claims: region.claims });
            }
        }
        regions = Vec::new();
        for region in next {
            if !writer.expansion.is_text_empty(&region.names)? {
                regions.push(region);
            }
        }
        if regions.len() > REGIONS_MAX {
            return Err(too_large("kinds of names in an object", regions.len(), REGIONS_MAX));
        }
    }
    Ok(regions)
}

fn write_choice(
    writer: &mut Writer<'_>,
    way: &Alternative,
    choice: &Choice,
    regions: &[Region],
    rule: RuleId,
) -> Result<(), GrammarError> {
    let mut named = Vec::new();
    for property in &choice.properties {
        let value = writer.value(property.claims.clone())?;
        match value {
            Some(value) => {
                let quoted = serde_json::Value::from(property.name.as_str()).to_string();
                let item = writer.rules.sequence(vec![Symbol::Text(quoted), text(":"), Symbol::Rule(value)])?;
                named.push((item, property.is_required));
            }
            None if property.is_required => return Ok(()),
            None => {}
        }
    }
    let other = writer.rules.rule();
    for region in regions {
        write_other(writer, region, &Text::Any, None, other)?;
    }
    let mut certain = Vec::new();
    for (names, claim) in &choice.others {
        let item = writer.rules.rule();
        for region in regions {
            write_other(writer, region, names, Some(*claim), item)?;
        }
        certain.push(item);
    }
    let rest = writer.rules.sequence(vec![text(","), Symbol::Rule(other)])?;
    let mut members =
        Members { writer, named, certain, other, rest, least: way.least, most: way.most, known: HashMap::new() };
    let first = members.at(0, 0)?;
    writer.rules.add(rule, vec![text("{"), Symbol::Rule(first), text("}")])
}

/// Adds a property that has no name of its own.
fn write_other(
    writer: &mut Writer<'_>,
    region: &Region,
    names: &Text,
    claim: Option<Claim>,
    rule: RuleId,
) -> Result<(), GrammarError> {
    let names = region.names.clone().and(names.clone());
    let Some(terminal) = names.terminal() else { return Ok(()) };
    let claims = region.claims.iter().copied().chain(claim).collect();
    let Some(value) = writer.value(claims)? else { return Ok(()) };
    if let Some(word) = writer.rules.word(terminal, &mut writer.expansion.facts)? {
        writer.rules.add(rule, vec![word, text(":"), Symbol::Rule(value)])?;
    }
    Ok(())
}

/// Writes the rules between the brackets, each of which stands for what may come after so many properties.
struct Members<'w, 's> {
    writer: &'w mut Writer<'s>,
    /// Properties by name, and whether they must be there.
    named: Vec<(RuleId, bool)>,
    /// Others that must be there.
    certain: Vec<RuleId>,
    /// Any other, and the same after a comma.
    other: RuleId,
    rest: RuleId,
    least: usize,
    most: Option<usize>,
    known: HashMap<(usize, usize), RuleId>,
}

impl Members<'_, '_> {
    /// What may come where `index` of the named and certain properties are behind, and `count` properties written.
    fn at(&mut self, index: usize, count: usize) -> Result<RuleId, GrammarError> {
        // Without an upper bound it only matters whether there are enough, and whether a comma is needed.
        let count = if self.most.is_none() { count.min(self.least.max(1)) } else { count };
        if let Some(&known) = self.known.get(&(index, count)) {
            return Ok(known);
        }
        let rule = self.writer.rules.rule();
        self.known.insert((index, count), rule);
        let is_full = self.most.is_some_and(|most| count >= most);
        if let Some(&(item, is_required)) = self.named.get(index) {
            if !is_full {
                let next = self.at(index + 1, count + 1)?;
                self.add(rule, item, count, next)?;
            }
            if !is_required {
                let next = self.at(index + 1, count)?;
                self.writer.rules.add(rule, vec![Symbol::Rule(next)])?;
            }
        } else if let Some(&item) = self.certain.get(index - self.named.len()) {
            if !is_full {
                self.write_certain(rule, item, (index, count))?;
            }
        } else if self.certain.is_empty() {
            self.end(rule, count)?;
        } else if count >= self.least {
            self.writer.rules.add(rule, Vec::new())?;
        }
        Ok(rule)
    }

    /// A property that must be there under some name, before the first of which others may come. None comes after the last:
    /// of two with the same name, readers take the later one.
    fn write_certain(
        &mut self,
        rule: RuleId,
        item: RuleId,
        (index, count): (usize, usize),
    ) -> Result<(), GrammarError> {
        let next = self.at(index + 1, count + 1)?;
        let again = if index == self.named.len() { Some(self.at(index, count + 1)?) } else { None };
        if again == Some(rule) {
            // As repetition, for recursion to the right takes more with every property.
            let others = Symbol::Times(self.rest, 0, None);
            return self.writer.rules.add(rule, vec![others, text(","), Symbol::Rule(item), Symbol::Rule(next)]);
        }
        self.add(rule, item, count, next)?;
        again.map_or(Ok(()), |again| self.add(rule, self.other, count, again))
    }

    fn add(&mut self, rule: RuleId, item: RuleId, count: usize, next: RuleId) -> Result<(), GrammarError> {
        let mut symbols = vec![Symbol::Rule(item), Symbol::Rule(next)];
        if count > 0 {
            symbols.insert(0, text(","));
        }
        self.writer.rules.add(rule, symbols)
    }

    /// Others without a rule of their own.
    fn end(&mut self, rule: RuleId, count: usize) -> Result<(), GrammarError> {
        let least = self.least.saturating_sub(count);
        let most = self.most.map(|most| most.saturating_sub(count));
        if count > 0 {
            return self.writer.rules.add(rule, vec![Symbol::Times(self.rest, least, most)]);
        }
        if least == 0 {
            self.writer.rules.add(rule, Vec::new())?;
        }
        if most == Some(0) {
            return Ok(());
        }
        let more = Symbol::Times(self.rest, least.saturating_sub(1), most.map(|most| most - 1));
        self.writer.rules.add(rule, vec![Symbol::Rule(self.other), more])
    }
}
