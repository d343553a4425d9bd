//! Splits text into words before merging, in linear time and constant stack.
//!
//! A pre-tokenizer is a list of steps; each step splits every word of the step before it. Expressions run on the
//! automata of the `regex` crate. The one look-ahead all these tokenizers use, `\s+(?!\S)`, is a rule of its own: a run
//! of whitespace before a word leaves its last character to that word.

use regex::Regex;

use super::error::TokenizerError;

/// The most steps a pre-tokenizer may have.
const STEPS_MAX: usize = 32;
/// The longest expression accepted, in bytes.
const PATTERN_LENGTH_MAX: usize = 16 << 10;

/// How one step is written down; see [`super::pre_tokenizers`] for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// `PATTERN|\s+(?!\S)|\s+`: words, then whitespace that leaves its last character to the word behind it.
    Words(&'static str),
    /// `PATTERN` and then whitespace in powers of two up to 512, as Jais 2 does it.
    WordsThenPowers(&'static str),
    /// Every match is a word, and so is the text between two matches.
    Isolate(&'static str),
    /// Runs of digits in groups of three, counted from the right. With `to_word_end`, only where no letter follows.
    DigitGroups {
        /// Leave a run alone that a letter, mark or underscore follows (`\b`).
        to_word_end: bool,
    },
    /// Whitespace separates words and is dropped.
    DropWhitespace,
}

/// The words of BERT: whitespace separates, every punctuation character is a word.
pub(crate) const BERT_WORDS: &[Pattern] = &[Pattern::DropWhitespace, Pattern::Isolate(r"[!-/:-@\[-`{-~\p{P}]")];

/// A compiled step.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// See [`Pattern::Words`]; the expression is anchored at its start.
    Words(Regex, Whitespace),
    /// See [`Pattern::Isolate`].
    Isolate(Regex),
    /// Matches are separators: kept as words of their own, dropped, or joined to a neighbour.
    Separate(Regex, Separator),
    /// Matches are words, the rest is dropped.
    KeepMatches(Regex),
    /// See [`Pattern::DigitGroups`].
    DigitGroups {
        /// See [`Pattern::DigitGroups`].
        to_word_end: bool,
    },
    /// See [`Pattern::DropWhitespace`].
    DropWhitespace,
}

/// What becomes of whitespace that no word took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whitespace {
    /// One word, without the last character if a word follows.
    KeepLast,
    /// Words of 512, 256 ... 4, 2 or 1 characters, each followed by more whitespace or by the end.
    Powers,
}

/// What becomes of a match (the `behavior` of Hugging Face's `Split`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Separator {
    /// It is dropped.
    Removed,
    /// It ends the word before it.
    MergedWithPrevious,
    /// It begins the word after it.
    MergedWithNext,
    /// Neighbouring matches form one word.
    Contiguous,
}

/// A pre-tokenizer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Splitter {
    steps: Vec<Step>,
}

impl Splitter {
    /// Compiles the steps of a known pre-tokenizer.
    pub(crate) fn from_patterns(patterns: &[Pattern]) -> Result<Self, TokenizerError> {
        Self::from_steps(patterns.iter().map(|&pattern| Step::new(pattern)).collect::<Result<_, _>>()?)
    }

    /// A pre-tokenizer of compiled steps.
    pub(crate) fn from_steps(steps: Vec<Step>) -> Result<Self, TokenizerError> {
        if steps.len() > STEPS_MAX {
            let (found, limit) = (steps.len() as u64, STEPS_MAX as u64);
            return Err(TokenizerError::LimitExceeded { what: "number of pre-tokenizer steps", found, limit });
        }
        Ok(Self { steps })
    }

    /// Whether both have the same steps with the same expressions.
    pub(crate) fn splits_like(&self, other: &Splitter) -> bool {
        let pairs = || self.steps.iter().zip(&other.steps);
        self.steps.len() == other.steps.len() && pairs().all(|(step, other)| step.splits_like(other))
    }

    /// Hands the words of `text` to `emit`, in order.
    pub(crate) fn split<'t>(&self, text: &'t str, emit: &mut dyn FnMut(&'t str)) {
        split_by(&self.steps, text, emit);
    }
}

/// One level of recursion a step, so at most [`STEPS_MAX`].
fn split_by<'t>(steps: &[Step], text: &'t str, emit: &mut dyn FnMut(&'t str)) {
    if text.is_empty() {
        return;
    }
    match steps.split_first() {
        None => emit(text),
        Some((step, rest)) => step.split(text, &mut |word| split_by(rest, word, emit)),
    }
}

/// Compiles an expression to an automaton.
pub(crate) fn compile(pattern: &str) -> Result<Regex, TokenizerError> {
    if pattern.len() > PATTERN_LENGTH_MAX {
        let (found, limit) = (pattern.len() as u64, PATTERN_LENGTH_MAX as u64);
        return Err(TokenizerError::LimitExceeded { what: "length of a regular expression", found, limit });
    }
    Regex::new(pattern)
        .map_err(|error| TokenizerError::UnsupportedRegex { pattern: pattern.to_owned(), reason: error.to_string() })
}

/// Compiles an expression that only matches where the search starts.
pub(crate) fn compile_anchored(pattern: &str) -> Result<Regex, TokenizerError> {
    compile(&format!("^(?:{pattern})"))
}

impl Step {
    /// Compiles one step of a known pre-tokenizer.
    pub(crate) fn new(pattern: Pattern) -> Result<Self, TokenizerError> {
        Ok(match pattern {
            Pattern::Words(pattern) => Self::Words(compile_anchored(pattern)?, Whitespace::KeepLast),
            Pattern::WordsThenPowers(pattern) => Self::Words(compile_anchored(pattern)?, Whitespace::Powers),
            Pattern::Isolate(pattern) => Self::Isolate(compile(pattern)?),
            Pattern::DigitGroups { to_word_end } => Self::DigitGroups { to_word_end },
            Pattern::DropWhitespace => Self::DropWhitespace,
        })
    }

    fn splits_like(&self, other: &Step) -> bool {
        match (self, other) {
            (Self::Words(words, whitespace), Self::Words(other, other_whitespace)) => {
                words.as_str() == other.as_str() && whitespace == other_whitespace
            }
            (Self::Isolate(separator), Self::Isolate(other)) => separator.as_str() == other.as_str(),
            (Self::DigitGroups { to_word_end }, Self::DigitGroups { to_word_end: other }) => to_word_end == other,
            (Self::DropWhitespace, Self::DropWhitespace) => true,
            // No named pre-tokenizer has the others.
            _ => false,
        }
    }

    fn split<'t>(&self, text: &'t str, emit: &mut dyn FnMut(&'t str)) {
        match self {
            Self::Words(words, whitespace) => split_words(words, *whitespace, text, emit),
            Self::Isolate(separator) => {
                let mut end = 0;
                for found in separator.find_iter(text).filter(|found| !found.is_empty()) {
                    emit_some(&text[end..found.start()], emit);
                    emit(found.as_str());
                    end = found.end();
                }
                emit_some(&text[end..], emit);
            }
            Self::KeepMatches(words) => words.find_iter(text).for_each(|word| emit_some(word.as_str(), emit)),
            Self::Separate(separator, behaviour) => split_at(separator, *behaviour, text, emit),
            Self::DigitGroups { to_word_end } => split_digits(*to_word_end, text, emit),
            Self::DropWhitespace => text.split(char::is_whitespace).for_each(|word| emit_some(word, emit)),
        }
    }
}

fn emit_some<'t>(word: &'t str, emit: &mut dyn FnMut(&'t str)) {
    if !word.is_empty() {
        emit(word);
    }
}

/// Words by the anchored expression `words`, whitespace by rule; neighbouring characters that neither takes form one
/// word.
fn split_words<'t>(words: &Regex, whitespace: Whitespace, text: &'t str, emit: &mut dyn FnMut(&'t str)) {
    let mut position = 0;
    let mut uncovered_start = 0;
    while position < text.len() {
        let rest = &text[position..];
        let mut taken = words.find(rest).map_or(0, |found| found.end());
        let mut space = 0;
        if taken == 0 {
            space = rest.len() - rest.trim_start().len();
            taken = space;
        }
        if taken == 0 {
            position += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        }
        emit_some(&text[uncovered_start..position], emit);
        if space == 0 {
            emit(&rest[..taken]);
        } else {
            taken = match whitespace {
                Whitespace::KeepLast => emit_run_but_last(rest, space, emit),
                Whitespace::Powers => emit_powers(rest, space, emit),
            };
        }
        position += taken;
        uncovered_start = position;
    }
    emit_some(&text[uncovered_start..], emit);
}

/// `\s+(?!\S)|\s+` at the start of `text`, which starts with `space` bytes of whitespace. Returns the bytes taken.
fn emit_run_but_last<'t>(text: &'t str, space: usize, emit: &mut dyn FnMut(&'t str)) -> usize {
    let mut taken = space;
    if space < text.len() {
        let last = text[..space].chars().next_back().map_or(0, char::len_utf8);
        if last < space {
            taken -= last;
        }
    }
    emit(&text[..taken]);
    taken
}

/// `\s{512}(?!\S)|\s{256}(?!\S)|...|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}`, for the whole run but a last character that a
/// word follows, which the caller offers to the words first. Returns the bytes taken.
fn emit_powers<'t>(text: &'t str, space: usize, emit: &mut dyn FnMut(&'t str)) -> usize {
    let run = &text[..space];
    let is_last = space == text.len();
    let mut remaining = run.chars().count();
    let mut offset = 0;
    let mut take = |count: usize, remaining: &mut usize| {
        let length = run[offset..].char_indices().nth(count).map_or(space - offset, |(length, _)| length);
        emit(&run[offset..offset + length]);
        offset += length;
        *remaining -= count;
    };
    if remaining == 1 {
        take(1, &mut remaining);
        return offset;
    }
    // What may be taken as one word: everything at the end of the text, all but one character before a word.
    let spare = usize::from(!is_last);
    while remaining > spare {
        let count = [512, 256, 128, 64, 32, 16, 8, 4, 2, 1].into_iter().find(|&count| count + spare <= remaining);
        take(count.unwrap_or(1), &mut remaining);
    }
    offset
}

fn split_at<'t>(separator: &Regex, behaviour: Separator, text: &'t str, emit: &mut dyn FnMut(&'t str)) {
    let mut end = 0;
    let mut pending_start = 0;
    for found in separator.find_iter(text).filter(|found| !found.is_empty()) {
        match behaviour {
            Separator::Removed => emit_some(&text[end..found.start()], emit),
            Separator::MergedWithPrevious => emit(&text[end..found.end()]),
            Separator::MergedWithNext => {
                emit_some(&text[pending_start..found.start()], emit);
                pending_start = found.start();
            }
            Separator::Contiguous => {
                if found.start() > end {
                    emit_some(&text[pending_start..end], emit);
                    emit(&text[end..found.start()]);
                    pending_start = found.start();
                }
            }
        }
        end = found.end();
    }
    match behaviour {
        Separator::Removed | Separator::MergedWithPrevious => emit_some(&text[end..], emit),
        Separator::MergedWithNext => emit_some(&text[pending_start..], emit),
        Separator::Contiguous => {
            emit_some(&text[pending_start..end], emit);
            emit_some(&text[end..], emit);
        }
    }
}

fn split_digits<'t>(to_word_end: bool, text: &'t str, emit: &mut dyn FnMut(&'t str)) {
    let mut start = 0;
    let mut characters = text.char_indices().peekable();
    while let Some((run_start, character)) = characters.next() {
        if !character.is_numeric() {
            continue;
        }
        let mut count = 1;
        let mut run_end = run_start + character.len_utf8();
        while let Some(&(offset, character)) = characters.peek().filter(|(_, character)| character.is_numeric()) {
            count += 1;
            run_end = offset + character.len_utf8();
            characters.next();
        }
        let is_continued = characters.peek().is_some_and(|&(_, next)| next.is_alphanumeric() || next == '_');
        if to_word_end && is_continued {
            continue;
        }
        emit_some(&text[start..run_start], emit);
        let mut group_start = run_start;
        for (index, (offset, _)) in text[run_start..run_end].char_indices().enumerate().skip(1) {
            if (count - index) % 3 == 0 {
                emit(&text[group_start..run_start + offset]);
                group_start = run_start + offset;
            }
        }
        emit(&text[group_start..run_end]);
        start = run_end;
    }
    emit_some(&text[start..], emit);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(pattern: Pattern, text: &str) -> Vec<&str> {
        let splitter = Splitter::from_patterns(&[pattern]).expect("a valid pattern");
        let mut words = Vec::new();
        splitter.split(text, &mut |word| words.push(word));
        words
    }

    #[test]
    fn whitespace_leaves_its_last_character_to_the_word() {
        let pattern = Pattern::Words(r" ?\p{L}+");
        assert_eq!(words(pattern, "a   b"), ["a", "  ", " b"]);
        assert_eq!(words(pattern, "a\n\nb  "), ["a", "\n", "\n", "b", "  "]);
        assert_eq!(words(pattern, "\u{3000}\u{3000}a"), ["\u{3000}", "\u{3000}", "a"]);
        assert_eq!(words(pattern, "?!a\u{1}"), ["?!", "a", "\u{1}"]);
    }

    #[test]
    fn powers_of_whitespace() {
        let lengths = |text: &str| -> Vec<usize> {
            words(Pattern::WordsThenPowers(r" ?\p{L}+|\s*[\r\n]+"), text).iter().map(|word| word.len()).collect()
        };
        assert_eq!(lengths(&" ".repeat(515)), [512, 2, 1]);
        assert_eq!(lengths(&format!("{}a", " ".repeat(515))), [512, 2, 2]);
        assert_eq!(lengths("  a"), [1, 2]);
        assert_eq!(lengths("\t1"), [1, 1]);
        assert_eq!(lengths("    a"), [2, 1, 2]);
    }

    #[test]
    fn digits_are_grouped_from_the_right() {
        let plain = Pattern::DigitGroups { to_word_end: false };
        assert_eq!(words(plain, "ab1234567c12"), ["ab", "1", "234", "567", "c", "12"]);
        let to_word_end = Pattern::DigitGroups { to_word_end: true };
        assert_eq!(words(to_word_end, "1234567 1234a"), ["1", "234", "567", " 1234a"]);
    }

    #[test]
    fn separators_go_where_they_are_told() {
        let split = |behaviour| {
            let splitter = Splitter::from_steps(vec![Step::Separate(compile("-").expect("valid"), behaviour)]);
            let mut words = Vec::new();
            splitter.expect("one step").split("the-final--countdown-", &mut |word| words.push(word.to_owned()));
            words.join("|")
        };
        assert_eq!(split(Separator::Removed), "the|final|countdown");
        assert_eq!(split(Separator::MergedWithPrevious), "the-|final-|-|countdown-");
        assert_eq!(split(Separator::MergedWithNext), "the|-final|-|-countdown|-");
        assert_eq!(split(Separator::Contiguous), "the|-|final|--|countdown|-");
    }
}
