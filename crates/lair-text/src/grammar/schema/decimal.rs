//! Decimal numbers of any size as JSON writes them, exact: what bounds of numbers are compared and spelled with.

use std::cmp::Ordering;

use serde_json::Number;

/// Places that a number may have before or after its point when it is written out.
const PLACES_MAX: i64 = 400;

/// A decimal number. Zero is never negative.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Decimal {
    /// Whether it is below zero.
    pub(super) is_negative: bool,
    /// Digits before the point, at least one, without zeros in front.
    pub(super) whole: String,
    /// Digits after the point, without zeros at the end.
    pub(super) fraction: String,
}

impl Decimal {
    /// The value of a number of JSON; nothing if it has more than [`PLACES_MAX`] places.
    pub(super) fn of(number: &Number) -> Option<Decimal> {
        let text = number.to_string();
        let (is_negative, text) = text.strip_prefix('-').map_or((false, text.as_str()), |rest| (true, rest));
        let (digits, exponent) = match text.split_once(['e', 'E']) {
            Some((digits, exponent)) => (digits, exponent.trim_start_matches('+').parse::<i64>().ok()?),
            None => (text, 0),
        };
        if exponent.abs() > PLACES_MAX {
            return None;
        }
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let (mut whole, mut fraction) = (whole.to_owned(), fraction.to_owned());
        for _ in 0..exponent.max(0) {
            whole.push(if fraction.is_empty() { '0' } else { fraction.remove(0) });
        }
        for _ in 0..(-exponent).max(0) {
            fraction.insert(0, whole.pop().unwrap_or('0'));
        }
        let whole = match whole.trim_start_matches('0') {
            "" => "0".to_owned(),
            digits => digits.to_owned(),
        };
        let fraction = fraction.trim_end_matches('0').to_owned();
        let is_zero = whole == "0" && fraction.is_empty();
        Some(Decimal { is_negative: is_negative && !is_zero, whole, fraction })
    }

    /// Whether it has no fraction.
    pub(super) fn is_whole(&self) -> bool {
        self.fraction.is_empty()
    }

    /// As JSON writes it, without an exponent.
    pub(super) fn spelled(&self) -> String {
        let sign = if self.is_negative { "-" } else { "" };
        let point = if self.fraction.is_empty() { "" } else { "." };
        format!("{sign}{}{point}{}", self.whole, self.fraction)
    }

    /// The same without its sign.
    pub(super) fn magnitude(&self) -> Decimal {
        Decimal { is_negative: false, ..self.clone() }
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Decimal) -> Ordering {
        let size = |number: &Decimal| (number.whole.len(), number.whole.clone(), number.fraction.clone());
        match (self.is_negative, other.is_negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => size(self).cmp(&size(other)),
            (true, true) => size(other).cmp(&size(self)),
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Decimal) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(value: serde_json::Value) -> Decimal {
        Decimal::of(value.as_number().expect("a number")).expect("few places")
    }

    #[test]
    fn numbers_are_read_and_compared_exactly() {
        let parts = |number: Decimal| (number.is_negative, number.whole, number.fraction);
        assert_eq!(parts(decimal((-12.50).into())), (true, "12".to_owned(), "5".to_owned()));
        assert_eq!(parts(decimal(1e21.into())), (false, format!("1{}", "0".repeat(21)), String::new()));
        assert_eq!(parts(decimal(1.5e-7.into())), (false, "0".to_owned(), "00000015".to_owned()));
        assert_eq!(parts(decimal((-0.0).into())), (false, "0".to_owned(), String::new()));
        let rising = [-10.5, -10.0, -9.99, -0.1, 0.0, 0.05, 0.1, 0.11, 9.0, 10.0, 10.01, 1e30];
        for pair in rising.windows(2) {
            assert!(decimal(pair[0].into()) < decimal(pair[1].into()), "{pair:?}");
        }
    }
}
