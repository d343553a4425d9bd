//! Wraps text that comes in pieces at the ends of words.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// What begins and ends a block of code, which keeps its lines as they are.
const CODE_FENCE: &str = "```";
/// Joins the characters before and behind it to one picture.
const ZERO_WIDTH_JOINER: char = '\u{200d}';

/// Wraps at a number of columns. Wide characters count two, combining ones none; lines of code blocks stay whole.
#[derive(Clone, Debug)]
pub struct WordWrap {
    /// Columns of a line; `None` wraps nothing.
    columns: Option<usize>,
    /// Columns of the present line that are written.
    column: usize,
    /// White space that is written only if a word follows on the same line.
    space: String,
    /// The word that has not ended yet.
    word: String,
    is_in_code: bool,
}

impl WordWrap {
    /// Lines of so many columns; `None` leaves the text as it is.
    pub fn new(columns: Option<usize>) -> WordWrap {
        let columns = columns.filter(|columns| *columns > 1);
        WordWrap { columns, column: 0, space: String::new(), word: String::new(), is_in_code: false }
    }

    /// Takes the next piece and gives what can be written.
    pub fn push(&mut self, piece: &str) -> String {
        let Some(columns) = self.columns else { return piece.to_owned() };
        let mut out = String::with_capacity(piece.len());
        for character in piece.chars() {
            match character {
                '\n' => {
                    self.end_word(columns, &mut out);
                    // White space at the end of a line is part of the text.
                    out.push_str(&std::mem::take(&mut self.space));
                    out.push('\n');
                    self.column = 0;
                }
                ' ' | '\t' => {
                    self.end_word(columns, &mut out);
                    self.space.push(character);
                }
                _ => {
                    if self.may_break_before(character) {
                        self.end_word(columns, &mut out);
                    }
                    self.word.push(character);
                }
            }
        }
        out
    }

    /// What is held back when the text ends.
    pub fn finish(&mut self) -> String {
        let mut out = String::new();
        if let Some(columns) = self.columns {
            self.end_word(columns, &mut out);
        }
        out.push_str(&std::mem::take(&mut self.space));
        out
    }

    /// Chinese, Japanese and Korean are written without spaces: a line may end before every wide character.
    fn may_break_before(&self, character: char) -> bool {
        let is_wide = |character: char| character.width() == Some(2);
        let last = self.word.chars().next_back();
        last.is_some_and(|last| {
            last != ZERO_WIDTH_JOINER && character.width() != Some(0) && (is_wide(character) || is_wide(last))
        })
    }

    fn end_word(&mut self, columns: usize, out: &mut String) {
        if self.word.is_empty() {
            return;
        }
        let word = std::mem::take(&mut self.word);
        let space = std::mem::take(&mut self.space);
        if self.column == 0 && word.starts_with(CODE_FENCE) {
            self.is_in_code = !self.is_in_code;
        }
        // A tabulator moves to the next multiple of eight.
        let after_space = space.chars().fold(self.column, |column, character| match character {
            '\t' => (column / 8 + 1) * 8,
            _ => column + 1,
        });
        let width = word.width();
        if self.is_in_code || after_space + width <= columns {
            out.push_str(&space);
            out.push_str(&word);
            self.column = after_space + width;
        } else {
            if self.column > 0 {
                out.push('\n');
            }
            self.column = 0;
            if width <= columns {
                out.push_str(&word);
                self.column = width;
            } else {
                self.push_long(&word, columns, out);
            }
        }
    }

    /// A word that is longer than a line, cut at the ends of lines.
    fn push_long(&mut self, word: &str, columns: usize, out: &mut String) {
        for character in word.chars() {
            let width = character.width().unwrap_or(0);
            if self.column + width > columns {
                out.push('\n');
                self.column = 0;
            }
            out.push(character);
            self.column += width;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(columns: usize, text: &str, expected: &str) {
        let characters: Vec<char> = text.chars().collect();
        for step in [1, 2, 7, characters.len().max(1)] {
            let mut wrap = WordWrap::new(Some(columns));
            let mut found: String =
                characters.chunks(step).map(|piece| wrap.push(&piece.iter().collect::<String>())).collect();
            found.push_str(&wrap.finish());
            assert_eq!(found, expected, "{text:?} in pieces of {step}");
        }
    }

    #[test]
    fn breaks_lines_between_words() {
        check(10, "", "");
        check(10, "one two three four", "one two\nthree four");
        check(10, "1234567890", "1234567890");
        check(10, "12345678901", "1234567890\n1");
        check(10, "ab 12345678901", "ab\n1234567890\n1");
        check(10, "a\n\nb  \n  c ", "a\n\nb  \n  c ");
        check(10, "\tab\tc", "\tab\nc");
    }

    #[test]
    fn counts_columns_not_characters() {
        check(6, "日本語です", "日本語\nです");
        check(5, "日本語", "日本\n語");
        check(6, "ab日本", "ab日本");
        check(4, "e\u{301}e\u{301}e\u{301}e\u{301} x", "e\u{301}e\u{301}e\u{301}e\u{301}\nx");
        check(4, "ab 👩\u{200d}👩\u{200d}👧", "ab\n👩\u{200d}👩\u{200d}👧");
    }

    #[test]
    fn leaves_code_as_it_is() {
        check(
            10,
            "see this:\n```c\nint long_name = another_name;\n```\nand then some",
            "see this:\n```c\nint long_name = another_name;\n```\nand then\nsome",
        );
    }

    #[test]
    fn wraps_nothing_without_a_width() {
        let text = "a long line that goes on and on";
        let mut wrap = WordWrap::new(None);
        assert_eq!(wrap.push(text) + &wrap.finish(), text);
    }
}
