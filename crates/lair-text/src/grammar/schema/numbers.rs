//! Sets of numbers: what bounds, `multipleOf`, `type` and constants leave, and the expressions that spell them.

use llguidance::derivre::RegexAst;
use serde_json::{Map, Number, Value as Json, json};

use super::decimal::Decimal;
use super::scalars::Algebra;
use super::terminal::Terminal;

/// Any number as JSON writes it.
const FREE: &str = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?";
/// Numbers without exponents, which bounds are spelled for.
const PLAIN: &str = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?";
/// Whole numbers, written without a fraction.
const WHOLE: &str = r"-?(?:0|[1-9][0-9]*)";
/// Numbers with a fraction that is not zero.
const BROKEN: &str = r"-?(?:0|[1-9][0-9]*)\.[0-9]*[1-9][0-9]*";

/// An end of an interval.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Bound {
    /// Where.
    pub(super) at: Decimal,
    /// Whether the number there is in.
    pub(super) is_in: bool,
    /// As it was written.
    pub(super) number: Number,
}

/// Whether numbers have a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fraction {
    /// They may.
    Either,
    /// They are whole.
    Never,
    /// They are not whole.
    Always,
}

/// Numbers in one interval.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Interval {
    pub(super) low: Option<Bound>,
    pub(super) high: Option<Bound>,
    pub(super) fraction: Fraction,
    /// What they are multiples of.
    pub(super) multiple_of: Vec<Number>,
}

/// Numbers in one of some intervals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Numbers(pub(super) Vec<Interval>);

/// A word of the grammar for some numbers.
pub(super) enum NumberWord {
    /// As an expression.
    Terminal(Terminal),
    /// As a schema for the compiler, which can write multiples, with an expression for the same if there is one.
    Schema(Json, Option<RegexAst>),
}

impl Interval {
    /// All numbers.
    pub(super) fn all() -> Interval {
        Interval { low: None, high: None, fraction: Fraction::Either, multiple_of: Vec::new() }
    }

    /// The numbers that are in both.
    fn and(&self, other: &Interval) -> Option<Interval> {
        let low = tighter(&self.low, &other.low, |one, two| one.at > two.at || (one.at == two.at && !one.is_in));
        let high = tighter(&self.high, &other.high, |one, two| one.at < two.at || (one.at == two.at && !one.is_in));
        let fraction = match (self.fraction, other.fraction) {
            (Fraction::Either, fraction) | (fraction, Fraction::Either) => fraction,
            (one, two) if one == two => one,
            _ => return None,
        };
        if let (Some(low), Some(high)) = (&low, &high) {
            let is_point = low.at == high.at && low.is_in && high.is_in;
            if low.at >= high.at && !is_point {
                return None;
            }
            let fits = match fraction {
                Fraction::Either => true,
                Fraction::Never => low.at.is_whole(),
                Fraction::Always => !low.at.is_whole(),
            };
            if is_point && !fits {
                return None;
            }
        }
        let mut multiple_of = self.multiple_of.clone();
        multiple_of.extend(other.multiple_of.iter().filter(|number| !self.multiple_of.contains(number)).cloned());
        let has_whole_step = multiple_of.iter().any(|number| Decimal::of(number).is_some_and(|step| step.is_whole()));
        if fraction == Fraction::Always && has_whole_step {
            return None;
        }
        Some(Interval { low, high, fraction, multiple_of })
    }

    fn terminal(&self) -> Terminal {
        let regex = |text: &str| Terminal::Regex(text.to_owned());
        let is_free = self.low.is_none() && self.high.is_none() && self.multiple_of.is_empty();
        let class = match self.fraction {
            Fraction::Either if is_free => return regex(FREE),
            Fraction::Either => PLAIN,
            Fraction::Never => WHOLE,
            Fraction::Always => BROKEN,
        };
        if let (Some(low), Some(high)) = (&self.low, &self.high)
            && low.at == high.at
        {
            return Terminal::Literal(low.at.spelled());
        }
        let mut parts = vec![regex(class)];
        parts.extend(self.low.iter().map(|low| Terminal::Regex(at_least(&low.at, low.is_in))));
        parts.extend(self.high.iter().map(|high| Terminal::Regex(at_most(&high.at, high.is_in))));
        if parts.len() == 1 { parts.remove(0) } else { Terminal::And(parts) }
    }

    /// The same with what they are multiples of; nothing if that is more than the compiler's automaton can count.
    fn ast(&self) -> Option<RegexAst> {
        let (digits, places) = self.multiple_of.iter().try_fold((1, 0), common_step)?;
        let sign = RegexAst::Regex("-?".to_owned());
        let multiple = RegexAst::Concat(vec![sign, RegexAst::MultipleOf(digits, places)]);
        Some(RegexAst::And(vec![self.terminal().ast(), multiple]))
    }

    /// As a schema for the compiler, whose numbers can be multiples.
    fn schema(&self) -> Json {
        let mut schema = Map::new();
        let whole = if self.fraction == Fraction::Never { "integer" } else { "number" };
        schema.insert("type".to_owned(), json!(whole));
        for (bound, inclusive, exclusive) in
            [(&self.low, "minimum", "exclusiveMinimum"), (&self.high, "maximum", "exclusiveMaximum")]
        {
            if let Some(bound) = bound {
                let key = if bound.is_in { inclusive } else { exclusive };
                schema.insert(key.to_owned(), Json::Number(bound.number.clone()));
            }
        }
        let steps: Vec<Json> = self.multiple_of.iter().map(|step| json!({ "multipleOf": step })).collect();
        schema.insert("allOf".to_owned(), Json::Array(steps));
        Json::Object(schema)
    }
}

/// The least number that both divide, as digits and how many of them stand after the point. The automaton counts in 32 bits:
/// remainders times ten, and a digit at the last place.
pub(super) fn common_step(step: (u32, u32), next: &Number) -> Option<(u32, u32)> {
    let next = Decimal::of(next)?;
    let next_places = u32::try_from(next.fraction.len()).ok()?;
    let places = step.1.max(next_places);
    let one = u64::from(step.0).checked_mul(10u64.checked_pow(places - step.1)?)?;
    let two = format!("{}{}", next.whole, next.fraction).parse::<u64>().ok()?;
    let two = two.checked_mul(10u64.checked_pow(places - next_places)?)?;
    let (mut divisor, mut rest) = (one, two);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    // A step of 1 is where counting begins, and divides whole numbers only.
    let digits = if step == (1, 0) { two } else { one.checked_div(divisor)?.checked_mul(two)? };
    let largest = digits.checked_mul(10)?.checked_add(9u64.checked_mul(10u64.checked_pow(places)?)?)?;
    u32::try_from(largest).ok()?;
    Some((u32::try_from(digits).ok()?, places))
}

fn tighter(one: &Option<Bound>, two: &Option<Bound>, is_tighter: impl Fn(&Bound, &Bound) -> bool) -> Option<Bound> {
    match (one, two) {
        (Some(one), Some(two)) => Some(if is_tighter(one, two) { one.clone() } else { two.clone() }),
        (bound, None) | (None, bound) => bound.clone(),
    }
}

impl Numbers {
    /// The number alone.
    pub(super) fn point(at: Decimal, number: &Number) -> Numbers {
        let bound = Bound { at, is_in: true, number: number.clone() };
        Numbers(vec![Interval { low: Some(bound.clone()), high: Some(bound), ..Interval::all() }])
    }

    /// All but the number.
    pub(super) fn all_but(at: Decimal, number: &Number) -> Numbers {
        let bound = Bound { at, is_in: false, number: number.clone() };
        let below = Interval { high: Some(bound.clone()), ..Interval::all() };
        let above = Interval { low: Some(bound), ..Interval::all() };
        Numbers(vec![below, above])
    }

    /// Numbers with or without a fraction.
    pub(super) fn with(fraction: Fraction) -> Numbers {
        Numbers(vec![Interval { fraction, ..Interval::all() }])
    }

    /// The words that spell them.
    pub(super) fn words(&self) -> Vec<NumberWord> {
        let word = |interval: &Interval| {
            if interval.multiple_of.is_empty() {
                NumberWord::Terminal(interval.terminal())
            } else {
                NumberWord::Schema(interval.schema(), interval.ast())
            }
        };
        self.0.iter().map(word).collect()
    }
}

impl Algebra for Numbers {
    fn all() -> Numbers {
        Numbers(vec![Interval::all()])
    }

    fn none() -> Numbers {
        Numbers(Vec::new())
    }

    fn and(self, other: Numbers) -> Numbers {
        let mut parts = Vec::new();
        for one in &self.0 {
            parts.extend(other.0.iter().filter_map(|two| one.and(two)));
        }
        Numbers(parts)
    }

    fn or(mut self, other: Numbers) -> Numbers {
        for interval in other.0 {
            if !self.0.contains(&interval) {
                self.0.push(interval);
            }
        }
        self
    }

    fn is_all(&self) -> bool {
        self.0.contains(&Interval::all())
    }

    fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    fn size(&self) -> usize {
        self.0.len()
    }
}

/// An expression for the numbers from a bound on. It need not care what is no number: the class beside it does.
fn at_least(bound: &Decimal, is_in: bool) -> String {
    if bound.is_negative {
        return format!("[0-9].*|-(?:{})", magnitudes_up_to(&bound.magnitude(), is_in));
    }
    magnitudes_from(bound, is_in)
}

/// An expression for the numbers up to a bound.
fn at_most(bound: &Decimal, is_in: bool) -> String {
    if bound.is_negative {
        return format!("-(?:{})", magnitudes_from(&bound.magnitude(), is_in));
    }
    // Zero is not written with a sign.
    let below_zero = format!("-(?:{})", magnitudes_from(&Decimal { whole: "0".to_owned(), ..zero() }, false));
    if *bound == zero() && !is_in {
        return below_zero;
    }
    format!("{below_zero}|{}", magnitudes_up_to(bound, is_in))
}

fn zero() -> Decimal {
    Decimal { is_negative: false, whole: "0".to_owned(), fraction: String::new() }
}

fn digits(count: usize) -> String {
    if count == 0 { String::new() } else { format!("[0-9]{{{count}}}") }
}

fn magnitudes_from(bound: &Decimal, is_in: bool) -> String {
    let whole = &bound.whole;
    let any_fraction = r"(?:\.[0-9]+)?";
    let mut parts = vec![format!("[1-9][0-9]{{{},}}{any_fraction}", whole.len())];
    for (index, digit) in whole.bytes().enumerate().filter(|(_, digit)| *digit < b'9') {
        let (before, next) = (&whole[..index], (digit + 1) as char);
        parts.push(format!("{before}[{next}-9]{}{any_fraction}", digits(whole.len() - index - 1)));
    }
    let fraction = &bound.fraction;
    for (index, digit) in fraction.bytes().enumerate().filter(|(_, digit)| *digit < b'9') {
        let (before, next) = (&fraction[..index], (digit + 1) as char);
        parts.push(format!(r"{whole}\.{before}[{next}-9][0-9]*"));
    }
    parts.push(match (fraction.is_empty(), is_in) {
        (true, true) => format!("{whole}{any_fraction}"),
        (true, false) => format!(r"{whole}\.[0-9]*[1-9][0-9]*"),
        (false, true) => format!(r"{whole}\.{fraction}[0-9]*"),
        (false, false) => format!(r"{whole}\.{fraction}[0-9]*[1-9][0-9]*"),
    });
    parts.join("|")
}

fn magnitudes_up_to(bound: &Decimal, is_in: bool) -> String {
    let whole = &bound.whole;
    let any_fraction = r"(?:\.[0-9]+)?";
    let mut parts = Vec::new();
    if whole.len() > 1 {
        parts.push(format!("(?:0|[1-9][0-9]{{0,{}}}){any_fraction}", whole.len() - 2));
    }
    for (index, digit) in whole.bytes().enumerate() {
        let least = if index == 0 && whole.len() > 1 { b'1' } else { b'0' };
        if digit > least {
            let (before, least, last) = (&whole[..index], least as char, (digit - 1) as char);
            parts.push(format!("{before}[{least}-{last}]{}{any_fraction}", digits(whole.len() - index - 1)));
        }
    }
    let fraction = &bound.fraction;
    for (index, digit) in fraction.bytes().enumerate() {
        let before = &fraction[..index];
        // Fewer places are less, for the last one is not zero.
        parts.push(if index == 0 { whole.clone() } else { format!(r"{whole}\.{before}") });
        if digit > b'0' {
            parts.push(format!(r"{whole}\.{before}[0-{}][0-9]*", (digit - 1) as char));
        }
    }
    if is_in {
        let end = if fraction.is_empty() { r"(?:\.0+)?".to_owned() } else { format!(r"\.{fraction}0*") };
        parts.push(format!("{whole}{end}"));
    }
    if parts.is_empty() { r"[^\x00-\x{10FFFF}]".to_owned() } else { parts.join("|") }
}

#[cfg(test)]
mod tests {
    use super::super::terminal::TerminalFacts;
    use super::*;

    const NUMBERS: [f64; 27] = [
        -1000.0, -101.0, -100.5, -100.0, -99.99, -10.0, -9.0, -1.5, -1.25, -1.0, -0.5, -0.05, 0.0, 0.05, 0.1, 0.5,
        0.99, 1.0, 1.25, 1.5, 2.0, 9.0, 10.0, 19.5, 100.0, 101.0, 1234.5,
    ];

    #[test]
    fn bounds_are_spelled_as_they_compare() {
        let mut facts = TerminalFacts::default();
        let bound = |value: f64, is_in| {
            let number = Number::from_f64(value).expect("finite");
            Some(Bound { at: Decimal::of(&number).expect("few places"), is_in, number })
        };
        for limit in NUMBERS {
            for is_in in [true, false] {
                let low = Interval { low: bound(limit, is_in), ..Interval::all() }.terminal();
                let high = Interval { high: bound(limit, is_in), ..Interval::all() }.terminal();
                for value in NUMBERS {
                    for text in [format!("{value}"), format!("{value:.4}")] {
                        let is_above = value > limit || (is_in && value == limit);
                        let is_below = value < limit || (is_in && value == limit);
                        assert_eq!(facts.matches(&low, &text).expect("it answers"), is_above, "{text} from {limit}");
                        assert_eq!(facts.matches(&high, &text).expect("it answers"), is_below, "{text} to {limit}");
                    }
                }
            }
        }
    }
}
