//! Many strings in two allocations: a vocabulary of 150,000 pieces must not be 150,000 of them.

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

    /// Gathers `count` strings that take `text_length` bytes together; `next` gives them one by one.
    pub(crate) fn gather<'a>(
        count: usize,
        text_length: usize,
        mut next: impl FnMut(usize) -> Result<&'a str, GgufError>,
    ) -> Result<StringArray, GgufError> {
        let mut text = String::with_capacity(text_length);
        let mut ends = Vec::with_capacity(count);
        for index in 0..count {
            text.push_str(next(index)?);
            ends.push(text.len());
        }
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
