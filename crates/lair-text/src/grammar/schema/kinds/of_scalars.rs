//! `null`, truth values, numbers and texts.

use std::collections::HashMap;

use serde_json::Value as Json;

use super::super::decimal::Decimal;
use super::super::expand::{Expansion, Sign, negation};
use super::super::node::Keywords;
use super::super::nodes::{Claim, ScopeId};
use super::super::numbers::{Bound, Fraction, Interval, Numbers};
use super::super::scalars::{Algebra, Words};
use super::super::text::Text;
use super::{Kind, Known, Parts, PointAndRest, not_meant};
use crate::grammar::GrammarError;

/// `null` and truth values.
pub(in super::super) struct OfWords;

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
pub(in super::super) struct OfNumbers;

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
pub(in super::super) struct OfTexts;

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
