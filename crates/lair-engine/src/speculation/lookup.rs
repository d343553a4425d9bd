//! Prompt lookup: what followed the last time that a sequence ended as it ends now.
//!
//! Answers that edit, quote or summarise repeat stretches of their prompt and of themselves. The index finds the places in
//! a sequence's own tokens whose last tokens are the sequence's last tokens, and the tokens after the best such place are
//! the guess for what comes next (Saxena, "Prompt Lookup Decoding", 2023).
//!
//! Cost: a token is put into the index once, which is a hash and two stores, 8 bytes of memory. A search looks at no more
//! than [`PLACES_MAX`] places and compares no more than [`MATCH_LENGTH_MAX`] tokens at each: a thousand comparisons, about
//! a microsecond, where a step takes milliseconds.

/// Tokens that must agree for a place to be found through the index. Single tokens recur too often to tell anything.
pub(crate) const MATCH_LENGTH_MIN: usize = 2;
/// More agreement than this is not told apart.
pub(crate) const MATCH_LENGTH_MAX: usize = 32;
/// Places that are compared, the latest ones first.
const PLACES_MAX: usize = 32;
/// Tokens after the place where an edit began within which the copied text is looked for again.
const EDIT_LENGTH_MAX: usize = 12;
/// Least number of buckets; a power of two, as all are.
const BUCKETS_MIN: usize = 256;

/// An index of the places in one sequence by the two tokens before them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lookup {
    /// `[bucket]`: the latest place of the bucket, 0 for none (place 0 has no tokens before it).
    latest: Vec<u32>,
    /// `[place]`: the place of the same bucket before this one, 0 for none.
    previous: Vec<u32>,
    /// Where the text that is being copied goes on, if the last search found one.
    source: Option<Source>,
}

#[derive(Clone, Copy, Debug)]
struct Source {
    /// The place whose token was expected next.
    place: usize,
    /// Tokens there were when it was.
    at: usize,
    /// Tokens that agreed before it.
    length: usize,
}

/// A place whose tokens may follow again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    /// The token here is the guess.
    pub(crate) place: usize,
    /// Tokens before it that agree with the end of the sequence, at most [`MATCH_LENGTH_MAX`]. Fewer than
    /// [`MATCH_LENGTH_MIN`] after an edit: then the text before the edit agreed.
    pub(crate) length: usize,
}

impl Lookup {
    /// An index with room for sequences of `length_max` tokens.
    pub(crate) fn with_capacity(length_max: usize) -> Self {
        let buckets = length_max.next_power_of_two().max(BUCKETS_MIN);
        // Zeroed pages come from the system when they are first written, so a long context costs what is used of it.
        Self { latest: vec![0; buckets], previous: Vec::with_capacity(length_max), source: None }
    }

    /// The best place in `tokens` to go on from, if any. `tokens` begins with those of earlier calls.
    pub(crate) fn find(&mut self, tokens: &[u32]) -> Option<Match> {
        self.extend(tokens);
        let continued = self.continued(tokens);
        let found = match continued {
            // The index cannot find a longer one.
            Some(found) if found.length == MATCH_LENGTH_MAX => Some(found),
            _ => self.search(tokens, continued),
        };
        match (found, self.source) {
            (Some(found), _) => {
                let Match { place, length } = found;
                self.source = Some(Source { place, at: tokens.len(), length });
                Some(found)
            }
            (None, Some(source)) => after_edit(tokens, source),
            (None, None) => None,
        }
    }

    /// Puts the places before the end into the index. The end itself has nothing after it yet.
    fn extend(&mut self, tokens: &[u32]) {
        for place in self.previous.len()..tokens.len() {
            let before = match self.bucket(tokens, place) {
                Some(bucket) => std::mem::replace(&mut self.latest[bucket], place as u32),
                None => 0,
            };
            self.previous.push(before);
        }
    }

    /// The bucket of the tokens before a place.
    fn bucket(&self, tokens: &[u32], place: usize) -> Option<usize> {
        let before = place.checked_sub(MATCH_LENGTH_MIN)?;
        let hash = tokens[before..place]
            .iter()
            .fold(0u64, |hash, &token| (hash ^ u64::from(token)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29));
        Some(hash as usize & (self.latest.len() - 1))
    }

    /// Where the text goes on that the last search found, if the tokens since are its own.
    fn continued(&self, tokens: &[u32]) -> Option<Match> {
        let Source { place, at, length } = self.source?;
        let since = tokens.get(at..)?;
        // A source that overlaps the end repeats itself, so the tokens after it are there by now.
        let agrees = tokens.get(place..place + since.len()).is_some_and(|source| source == since);
        agrees.then(|| Match { place: place + since.len(), length: (length + since.len()).min(MATCH_LENGTH_MAX) })
    }

    /// The place with the longest agreement; `first`, then the latest, of equals.
    fn search(&self, tokens: &[u32], first: Option<Match>) -> Option<Match> {
        let mut best = first;
        let mut next = self.bucket(tokens, tokens.len()).map_or(0, |bucket| self.latest[bucket] as usize);
        for _ in 0..PLACES_MAX {
            if next == 0 {
                break;
            }
            let length = agreement(tokens, next);
            if length >= MATCH_LENGTH_MIN && best.is_none_or(|best| length > best.length) {
                best = Some(Match { place: next, length });
                if length == MATCH_LENGTH_MAX {
                    break;
                }
            }
            next = self.previous[next] as usize;
        }
        best
    }
}

/// Tokens before `place` that agree with the end.
fn agreement(tokens: &[u32], place: usize) -> usize {
    let ends = tokens[..place].iter().rev().zip(tokens.iter().rev());
    ends.take(MATCH_LENGTH_MAX).take_while(|(left, right)| left == right).count()
}

/// Where the copied text may go on after tokens of it were replaced: at the last token if it stands nearby in the source,
/// or else behind the one token that was replaced.
fn after_edit(tokens: &[u32], source: Source) -> Option<Match> {
    let since = tokens.len().checked_sub(source.at)?;
    if since == 0 || since > EDIT_LENGTH_MAX || source.length < MATCH_LENGTH_MIN {
        return None;
    }
    let last = tokens[tokens.len() - 1];
    let end = (source.place + since + EDIT_LENGTH_MAX).min(tokens.len() - 1);
    let nearby = tokens.get(source.place..end)?.iter().position(|&token| token == last);
    match nearby {
        Some(nearby) => Some(Match { place: source.place + nearby + 1, length: 1 }),
        None => (since == 1 && source.place + 1 < tokens.len()).then_some(Match { place: source.place + 1, length: 0 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The guess after `tokens` when they arrive one by one behind the first `known`.
    fn find(tokens: &[u32], known: usize) -> Option<Match> {
        let mut lookup = Lookup::with_capacity(1000);
        (known..=tokens.len()).map(|length| lookup.find(&tokens[..length])).last().flatten()
    }

    #[test]
    fn finds_the_longest_agreement_and_the_latest_of_equals() {
        let check = |tokens: &[u32], expected: Option<(usize, usize)>| {
            let expected = expected.map(|(place, length)| Match { place, length });
            assert_eq!(find(tokens, tokens.len()), expected, "{tokens:?}");
        };
        check(&[], None);
        check(&[1], None);
        check(&[1, 1], None);
        check(&[1, 1, 1], Some((2, 2)));
        check(&[1, 2, 3, 4], None);
        check(&[1, 2, 3, 9, 1, 2], Some((2, 2)));
        check(&[1, 2, 3, 9, 1, 2, 4, 9, 9, 1, 2], Some((6, 3)));
        check(&[1, 2, 3, 8, 1, 2, 4, 9, 1, 2], Some((6, 2)));
        check(&[7, 1, 2, 3, 8, 1, 2, 4, 7, 1, 2], Some((3, 3)));
        // One token alone tells nothing.
        check(&[1, 2, 3, 4, 9, 2], None);
    }

    #[test]
    fn agreement_is_counted_no_further_than_is_told_apart() {
        let tokens: Vec<u32> = (0..50).chain([99]).chain(0..50).collect();
        assert_eq!(find(&tokens, tokens.len()), Some(Match { place: 50, length: MATCH_LENGTH_MAX }));
    }

    #[test]
    fn goes_on_with_the_text_that_is_copied_though_others_end_alike_more_recently() {
        // The copied text, then more of its last pair than are looked at.
        let mut tokens: Vec<u32> = (0..40).collect();
        (0..2 * PLACES_MAX as u32).for_each(|other| tokens.extend([25, 26, 100 + other]));
        let known = tokens.len();
        tokens.extend(0..27);
        assert_eq!(find(&tokens, known), Some(Match { place: 27, length: 27 }));
    }

    #[test]
    fn comes_back_to_the_copied_text_after_an_edit() {
        let text: Vec<u32> = (0..30).collect();
        let check = |edited: &[u32], expected: Option<(usize, usize)>| {
            let tokens = [&text, &[99][..], &text[..12], edited].concat();
            let expected = expected.map(|(place, length)| Match { place, length });
            assert_eq!(find(&tokens, 31), expected, "{edited:?}");
        };
        // Token 12 is replaced by one other.
        check(&[50], Some((13, 0)));
        check(&[50, 13], Some((14, 1)));
        check(&[50, 13, 14], Some((15, 2)));
        // By three others.
        check(&[50, 51], None);
        check(&[50, 51, 52, 13], Some((14, 1)));
        // Left out.
        check(&[13], Some((14, 1)));
        check(&[14], Some((15, 1)));
        // Something else altogether.
        let other: Vec<u32> = (200..230).collect();
        check(&other, None);
    }

    #[test]
    fn a_clone_goes_its_own_way() {
        let mut lookup = Lookup::with_capacity(64);
        let tokens = [1, 2, 3, 9, 1, 2];
        assert_eq!(lookup.find(&tokens), Some(Match { place: 2, length: 2 }));
        let mut other = lookup.clone();
        assert_eq!(lookup.find(&[1, 2, 3, 9, 1, 2, 3]), Some(Match { place: 3, length: 3 }));
        assert_eq!(other.find(&[1, 2, 3, 9, 1, 2, 7, 9, 1]), Some(Match { place: 5, length: 2 }));
    }
}
