//! Many strings in two allocations: a vocabulary of 150,000 pieces must not be 150,000 of them.

use crate::cursor::{Cursor, Field, not_utf8};
use crate::error::GgufError;

/// An array of strings, held as one text and the places where each string ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StringArray {
    text: Box<str>,
    /// `ends[i]` is where string `i` ends in `text`; it begins where the one before ends.
    ends: Box<[usize]>,
}

impl StringArray {
    /// How many strings there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The string at `index`, if there is one.
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        Some(&self.text[start..end])
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        (0..self.len()).map(|index| self.get(index).expect("the index is below the length"))
    }

    /// Reads `count` strings of the array of `key`.
    pub(crate) fn read(cursor: &mut Cursor<'_>, count: u64, key: &str) -> Result<StringArray, GgufError> {
        // Twice over the bytes: once to know how long the text is, once to copy it.
        let mut ahead = cursor.clone();
        let mut text_length = 0;
        for index in 0..count {
            text_length += ahead.text_bytes(Field::Element(key, index))?.len();
        }
        let mut text: Vec<u8> = Vec::with_capacity(text_length);
        let mut ends = Vec::with_capacity(usize::try_from(count).expect("so many strings lie in memory"));
        for index in 0..count {
            let (offset, start, field) = (cursor.position(), text.len(), Field::Element(key, index));
            text.extend_from_slice(cursor.text_bytes(field)?);
            // The copy is checked, not the file, which may be changing: see `Cursor::string`.
            std::str::from_utf8(&text[start..]).map_err(|error| not_utf8(offset, field, error))?;
            ends.push(text.len());
        }
        let text = String::from_utf8(text).expect("every string in it was checked");
        Ok(StringArray { text: text.into_boxed_str(), ends: ends.into_boxed_slice() })
    }
}

impl<S: AsRef<str>> FromIterator<S> for StringArray {
    fn from_iter<I: IntoIterator<Item = S>>(strings: I) -> StringArray {
        let (mut text, mut ends) = (String::new(), Vec::new());
        for string in strings {
            text.push_str(string.as_ref());
            ends.push(text.len());
        }
        StringArray { text: text.into_boxed_str(), ends: ends.into_boxed_slice() }
    }
}
