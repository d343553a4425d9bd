//! One way to fulfil a schema with an object or a list: all that must hold for its parts, without "or".

use super::nodes::Claim;
use super::scalars::Algebra;
use super::text::Text;

/// Ways to fulfil a schema at one place: each becomes a rule of the grammar.
pub(super) const WAYS_MAX: usize = 2_000;

/// Items from one index to before another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Items {
    pub(super) from: usize,
    pub(super) to: Option<usize>,
    pub(super) claim: Claim,
}

/// How many items from an index on make a claim true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ItemCount {
    pub(super) from: usize,
    pub(super) claim: Claim,
    pub(super) least: usize,
    pub(super) most: Option<usize>,
}

/// What keywords have looked at: others ask for the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Evaluated {
    /// All properties, or all items.
    pub(super) is_all: bool,
    /// Properties of these names.
    pub(super) names: Vec<Text>,
    /// That many items.
    pub(super) prefix: usize,
    /// Items for which one of these holds.
    pub(super) items: Vec<Claim>,
}

/// One way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Alternative {
    /// What holds for every property of these names.
    pub(super) every: Vec<(Text, Claim)>,
    /// What holds for some property of these names.
    pub(super) some: Vec<(Text, Claim)>,
    /// Names that `properties` gives, in its order.
    pub(super) named: Vec<String>,
    /// Whether it says something of properties that it does not name.
    pub(super) speaks_of_others: bool,
    pub(super) items: Vec<Items>,
    pub(super) counts: Vec<ItemCount>,
    /// Whether items differ from each other: where it says so.
    pub(super) unique_at: Option<String>,
    /// Properties or items at least, and at most.
    pub(super) least: usize,
    pub(super) most: Option<usize>,
    pub(super) evaluated: Evaluated,
}

fn append<T: PartialEq + Clone>(list: &mut Vec<T>, more: &[T]) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

impl Alternative {
    /// A property must be there.
    pub(super) fn requiring(name: &str) -> Alternative {
        Alternative { some: vec![(Text::Exactly(name.to_owned()), Claim::ALWAYS)], ..Alternative::default() }
    }

    /// A property must not be there.
    pub(super) fn without(name: &str) -> Alternative {
        Alternative { every: vec![(Text::Exactly(name.to_owned()), Claim::NEVER)], ..Alternative::default() }
    }

    /// Some property of these names makes the claim true.
    pub(super) fn with_some(names: Text, claim: Claim) -> Alternative {
        Alternative { some: vec![(names, claim)], ..Alternative::default() }
    }

    /// Both at once; nothing if they contradict each other.
    pub(super) fn and(&self, other: &Alternative) -> Option<Alternative> {
        if *self == Alternative::default() {
            return other.is_possible().then(|| other.clone());
        }
        let mut both = self.clone();
        append(&mut both.every, &other.every);
        append(&mut both.some, &other.some);
        append(&mut both.named, &other.named);
        both.speaks_of_others |= other.speaks_of_others;
        append(&mut both.items, &other.items);
        append(&mut both.counts, &other.counts);
        both.unique_at = both.unique_at.or_else(|| other.unique_at.clone());
        both.least = both.least.max(other.least);
        both.most = both.most.into_iter().chain(other.most).min();
        both.evaluated.is_all |= other.evaluated.is_all;
        append(&mut both.evaluated.names, &other.evaluated.names);
        both.evaluated.prefix = both.evaluated.prefix.max(other.evaluated.prefix);
        append(&mut both.evaluated.items, &other.evaluated.items);
        both.is_possible().then_some(both)
    }

    /// Whether nothing in it contradicts itself at first sight.
    pub(super) fn is_possible(&self) -> bool {
        if self.most.is_some_and(|most| most < self.least) {
            return false;
        }
        self.some.iter().all(|(names, claim)| {
            // Under one name there is one value; of several names another one may be meant each time.
            let is_one = matches!(names, Text::Exactly(_));
            let every = self.every.iter().filter(|(class, _)| class == names).map(|(_, every)| *every);
            let claims = if is_one { self.claims_of(names) } else { every.collect() };
            !claims.contains(&Claim::NEVER) && claims.iter().chain([claim]).all(|one| !claims.contains(&one.negated()))
        })
    }

    /// What is claimed of a property by its name.
    pub(super) fn claims_of(&self, name: &Text) -> Vec<Claim> {
        let every = self.every.iter().filter(|(names, _)| names == name).map(|(_, claim)| *claim);
        let some = self.some.iter().filter(|(names, _)| names == name).map(|(_, claim)| *claim);
        every.chain(some).collect()
    }
}

/// Ways, of which one is enough.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Alternatives(pub(super) Vec<Alternative>);

impl Alternatives {
    /// One way.
    pub(super) fn one(way: Alternative) -> Alternatives {
        Alternatives(if way.is_possible() { vec![way] } else { Vec::new() })
    }

    /// The same, without a note of what was looked at.
    pub(super) fn unnoted(mut self) -> Alternatives {
        for way in &mut self.0 {
            way.evaluated = Evaluated::default();
        }
        self
    }
}

impl Algebra for Alternatives {
    fn all() -> Alternatives {
        Alternatives(vec![Alternative::default()])
    }

    fn none() -> Alternatives {
        Alternatives(Vec::new())
    }

    fn and(self, other: Alternatives) -> Alternatives {
        let mut ways = Vec::new();
        for one in &self.0 {
            for two in &other.0 {
                let both = one.and(two);
                ways.extend(both.filter(|both| !ways.contains(both)));
                // More than may be: whoever asked sees it by the size.
                if ways.len() > WAYS_MAX {
                    return Alternatives(ways);
                }
            }
        }
        Alternatives(ways)
    }

    fn or(mut self, other: Alternatives) -> Alternatives {
        append(&mut self.0, &other.0);
        self
    }

    fn is_all(&self) -> bool {
        self.0.iter().any(|way| *way == Alternative::default())
    }

    fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    fn size(&self) -> usize {
        self.0.len()
    }
}
