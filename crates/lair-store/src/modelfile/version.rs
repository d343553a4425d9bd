//! Versions as `REQUIRES` writes them, compared.

use std::cmp::Ordering;

/// Whether `left` is a later version than `right`, by the rules of semantic versions: numbers count, a suffix behind `-` is
/// earlier than none, what stands behind `+` does not count. Missing numbers are 0; text that is none is 0 as well.
///
/// Source: "Semantic Versioning 2.0.0", section 11.
pub fn is_newer(left: &str, right: &str) -> bool {
    compare(left, right) == Ordering::Greater
}

fn compare(left: &str, right: &str) -> Ordering {
    let ((left, left_suffix), (right, right_suffix)) = (parts(left), parts(right));
    left.cmp(&right).then_with(|| match (left_suffix, right_suffix) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(left), Some(right)) => compare_suffixes(left, right),
    })
}

fn parts(version: &str) -> ([u64; 3], Option<&str>) {
    let version = version.trim().trim_start_matches('v').split('+').next().unwrap_or_default();
    let (numbers, suffix) = version.split_once('-').map_or((version, None), |(numbers, rest)| (numbers, Some(rest)));
    let mut all = [0; 3];
    for (place, number) in all.iter_mut().zip(numbers.split('.')) {
        *place = number.parse().unwrap_or(0);
    }
    (all, suffix)
}

/// Identifiers between dots, from left to right: numbers by their value and before words.
fn compare_suffixes(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.split('.'), right.split('.'));
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(left), Some(right)) => match (left.parse::<u64>(), right.parse::<u64>()) {
                (Ok(left), Ok(right)) => left.cmp(&right),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => left.cmp(right),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        // From the earliest to the latest; the example of the specification among them.
        let order = [
            "0.5",
            "0.9.9",
            "0.10.0",
            "v0.14",
            "0.14.1-rc0",
            "0.14.1",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
        ];
        for (index, left) in order.iter().enumerate() {
            for (other, right) in order.iter().enumerate() {
                assert_eq!(is_newer(left, right), index > other, "{left} and {right}");
            }
        }
        assert!(!is_newer("0.14.0+build", "0.14") && !is_newer("soon", "0.0.1"));
    }
}
