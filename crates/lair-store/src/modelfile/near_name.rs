//! The name that is probably meant.

/// No name that is looked for is longer; what is longer is near to nothing.
const NAME_CHARACTERS_MAX: usize = 64;

/// The name nearest to `found`, if at most a third of its characters are wrong.
pub(crate) fn nearest<'n>(found: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let found: Vec<char> = found.chars().take(NAME_CHARACTERS_MAX + 1).flat_map(char::to_lowercase).collect();
    if found.is_empty() || found.len() > NAME_CHARACTERS_MAX {
        return None;
    }
    let scored = names.into_iter().map(|name| {
        let letters: Vec<char> = name.chars().flat_map(char::to_lowercase).collect();
        (distance(&found, &letters), name)
    });
    let (score, name) = scored.min_by_key(|(score, _)| *score)?;
    (score * 3 <= found.len().max(name.len()).max(3)).then_some(name)
}

/// Levenshtein distance: how many characters are inserted, removed or replaced to get from one to the other.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, letter) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_probably_meant_and_nothing_far() {
        let names = ["temperature", "top_k", "top_p", "stop"];
        for (found, expected) in [
            ("temprature", Some("temperature")),
            ("TEMPERATURE", Some("temperature")),
            ("topk", Some("top_k")),
            ("stopp", Some("stop")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(found, names), expected, "{found}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), names), None);
    }
}
