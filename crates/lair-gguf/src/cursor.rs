//! Reads numbers and strings off untrusted bytes; every step is checked against what remains.

use std::fmt;
use std::str::Utf8Error;

use crate::error::GgufError;

/// Names a field in an error. It is only turned into text when something is wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Field<'a> {
    /// A field of the fixed part.
    Header(&'static str),
    /// The name of the key with this index.
    KeyName(u64),
    /// A part ("type", "length", "value" ...) of the value of this key.
    Key(&'a str, &'static str),
    /// An element of the array of this key.
    Element(&'a str, u64),
    /// The name of the tensor with this index.
    TensorName(u64),
    /// A part ("dimensions", "type" ...) of this tensor.
    Tensor(&'a str, &'static str),
}

impl fmt::Display for Field<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Header(name) => write!(formatter, "the field `{name}`"),
            Field::KeyName(index) => write!(formatter, "the name of key {index}"),
            Field::Key(key, part) => write!(formatter, "the {part} of key `{key}`"),
            Field::Element(key, index) => write!(formatter, "element {index} of key `{key}`"),
            Field::TensorName(index) => write!(formatter, "the name of tensor {index}"),
            Field::Tensor(name, part) => write!(formatter, "the {part} of tensor `{name}`"),
        }
    }
}

/// How wide counts and lengths are: 4 bytes in version 1, 8 since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LengthWidth {
    Four,
    Eight,
}

impl LengthWidth {
    pub(crate) fn size_bytes(self) -> u64 {
        match self {
            LengthWidth::Four => 4,
            LengthWidth::Eight => 8,
        }
    }
}

/// A place in `bytes`.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
    pub(crate) width: LengthWidth,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8], width: LengthWidth) -> Cursor<'a> {
        Cursor { bytes, position: 0, width }
    }

    pub(crate) fn position(&self) -> u64 {
        self.position as u64
    }

    pub(crate) fn remaining(&self) -> u64 {
        (self.bytes.len() - self.position) as u64
    }

    /// The next `length` bytes.
    pub(crate) fn take(&mut self, length: u64, field: Field<'_>) -> Result<&'a [u8], GgufError> {
        let end = usize::try_from(length).ok().and_then(|length| self.position.checked_add(length));
        let Some(taken) = end.and_then(|end| self.bytes.get(self.position..end)) else {
            return Err(GgufError::Truncated {
                offset: self.position(),
                field: field.to_string(),
                needed: length,
                available: self.remaining(),
            });
        };
        self.position += taken.len();
        Ok(taken)
    }

    /// The bytes from here to where `later`, a cursor over the same bytes, stands.
    pub(crate) fn bytes_until(&self, later: &Cursor<'a>) -> &'a [u8] {
        &self.bytes[self.position..later.position]
    }

    pub(crate) fn array<const N: usize>(&mut self, field: Field<'_>) -> Result<[u8; N], GgufError> {
        let taken = self.take(N as u64, field)?;
        Ok(*taken.first_chunk().expect("`take` gives exactly the length asked for"))
    }

    pub(crate) fn u32(&mut self, field: Field<'_>) -> Result<u32, GgufError> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, field: Field<'_>) -> Result<u64, GgufError> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// A count or a length, in the width of the file's version.
    pub(crate) fn length(&mut self, field: Field<'_>) -> Result<u64, GgufError> {
        match self.width {
            LengthWidth::Four => self.u32(field).map(u64::from),
            LengthWidth::Eight => self.u64(field),
        }
    }

    /// A count of things of which each takes at least `size_min` bytes: more than the rest can hold is refused.
    pub(crate) fn count(&mut self, size_min: u64, field: Field<'_>) -> Result<u64, GgufError> {
        let offset = self.position();
        let count = self.length(field)?;
        match count.checked_mul(size_min) {
            Some(needed) if needed <= self.remaining() => Ok(count),
            needed => Err(GgufError::Truncated {
                offset,
                field: format!("{field} ({count} items)"),
                needed: needed.unwrap_or(u64::MAX),
                available: self.remaining(),
            }),
        }
    }

    /// A length and that many bytes.
    pub(crate) fn text_bytes(&mut self, field: Field<'_>) -> Result<&'a [u8], GgufError> {
        let length = self.length(field)?;
        self.take(length, field)
    }

    /// A length and that many bytes of UTF-8, copied and then checked: the bytes may be those of a mapped file, which
    /// somebody may be changing, and a `String` must never change.
    pub(crate) fn string(&mut self, field: Field<'_>) -> Result<String, GgufError> {
        let offset = self.position();
        let bytes = self.text_bytes(field)?.to_vec();
        String::from_utf8(bytes).map_err(|error| not_utf8(offset, field, error.utf8_error()))
    }
}

/// What is wrong with the name of a key or a tensor, found and expected, if anything.
pub(crate) fn fault_of_name(name: &str, length_max: usize) -> Option<(String, String)> {
    if name.is_empty() || name.len() > length_max {
        return Some((format!("{} bytes", name.len()), format!("1 to {length_max} bytes")));
    }
    // Such a name is cut short by every reader written in C.
    name.contains('\0').then(|| ("a zero byte".to_owned(), "a name without zero bytes".to_owned()))
}

pub(crate) fn not_utf8(offset: u64, field: Field<'_>, error: Utf8Error) -> GgufError {
    malformed(offset, field, format!("a byte that is not UTF-8 at place {}", error.valid_up_to()), "UTF-8 text")
}

pub(crate) fn malformed(
    offset: u64,
    field: Field<'_>,
    found: impl fmt::Display,
    expected: impl fmt::Display,
) -> GgufError {
    GgufError::Malformed { offset, field: field.to_string(), found: found.to_string(), expected: expected.to_string() }
}
