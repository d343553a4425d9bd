//! Names that are a slip of the finger away from what was written.

/// Longest text that is compared at all: what is longer is no name.
const COMPARED_LENGTH_MAX: usize = 128;
/// Letters that a beginning of a name must have to be taken for one.
const BEGINNING_LENGTH_MIN: usize = 3;

/// Those of `names` that are a slip of the finger away from `text`, nearest first, at most three.
pub(crate) fn near<'n>(text: &str, names: impl Iterator<Item = &'n str>) -> Vec<String> {
    let text = text.to_ascii_lowercase();
    if text.len() > COMPARED_LENGTH_MAX {
        return Vec::new();
    }
    let distance_max = (text.len() / 3).clamp(1, 3);
    let mut found: Vec<(usize, &str)> = names
        .map(|name| match text.len() {
            // A name that was not typed to its end.
            BEGINNING_LENGTH_MIN.. if name.starts_with(&text) => (0, name),
            _ => (edit_distance(text.as_bytes(), name.as_bytes()), name),
        })
        .filter(|(distance, _)| *distance <= distance_max)
        .collect();
    found.sort();
    found.into_iter().take(3).map(|(_, name)| name.to_string()).collect()
}

/// Levenshtein distance, one row at a time.
fn edit_distance(left: &[u8], right: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
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
    fn counts_edits() {
        for (left, right, distance) in
            [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2), ("same", "same", 0)]
        {
            assert_eq!(edit_distance(left.as_bytes(), right.as_bytes()), distance, "{left} {right}");
            assert_eq!(edit_distance(right.as_bytes(), left.as_bytes()), distance, "{right} {left}");
        }
    }

    #[test]
    fn proposes_the_nearest_first_and_nothing_far() {
        let names = ["smollm2", "smollm2:135m", "qwen2.5-coder"];
        assert_eq!(near("smolm", names.into_iter()), Vec::<String>::new());
        assert_eq!(near("smolm2", names.into_iter()), ["smollm2"]);
        assert_eq!(near("QWEN2-coder", names.into_iter()), ["qwen2.5-coder"]);
        assert!(near(&"x".repeat(100_000), names.into_iter()).is_empty());
    }
}
