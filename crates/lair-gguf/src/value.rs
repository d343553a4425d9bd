//! The values of metadata keys: their types, how they are read, and how they are held.

use crate::cursor::{Cursor, Field, LengthWidth, malformed, not_utf8};
use crate::error::GgufError;
use crate::header::limits;
use crate::string_array::StringArray;

/// The type of a value or of the elements of an array. The discriminant is the id in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The names say it.
#[repr(u32)]
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    String = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl ValueType {
    /// Every type, in the order of the ids.
    pub const ALL: [ValueType; 13] = {
        use ValueType::*;
        [U8, I8, U16, I16, U32, I32, F32, Bool, String, Array, U64, I64, F64]
    };

    /// The type with this id in a file, if there is one.
    pub fn from_id(id: u32) -> Option<ValueType> {
        ValueType::ALL.get(usize::try_from(id).ok()?).copied()
    }

    /// The name used in messages and listings, for example `u32`.
    pub fn name(self) -> &'static str {
        use ValueType::*;
        match self {
            U8 => "u8",
            I8 => "i8",
            U16 => "u16",
            I16 => "i16",
            U32 => "u32",
            I32 => "i32",
            F32 => "f32",
            Bool => "bool",
            String => "string",
            Array => "array",
            U64 => "u64",
            I64 => "i64",
            F64 => "f64",
        }
    }

    /// The fewest bytes a value of this type takes in a file.
    fn size_min(self, width: LengthWidth) -> u64 {
        use ValueType::*;
        match self {
            U8 | I8 | Bool => 1,
            U16 | I16 => 2,
            U32 | I32 | F32 => 4,
            U64 | I64 | F64 => 8,
            String => width.size_bytes(),
            Array => 4 + width.size_bytes(),
        }
    }
}

impl std::fmt::Display for ValueType {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The value of a metadata key.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // One variant for each `ValueType`.
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(Box<str>),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// For messages and listings: numbers and bools as they are, text in backticks and cut, arrays by type and length.
impl std::fmt::Display for Value {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::U8(number) => write!(formatter, "{number}"),
            Value::I8(number) => write!(formatter, "{number}"),
            Value::U16(number) => write!(formatter, "{number}"),
            Value::I16(number) => write!(formatter, "{number}"),
            Value::U32(number) => write!(formatter, "{number}"),
            Value::I32(number) => write!(formatter, "{number}"),
            Value::U64(number) => write!(formatter, "{number}"),
            Value::I64(number) => write!(formatter, "{number}"),
            Value::F32(number) => write!(formatter, "{number}"),
            Value::F64(number) => write!(formatter, "{number}"),
            Value::Bool(truth) => write!(formatter, "{truth}"),
            Value::String(text) => write!(formatter, "`{}`", Excerpt(text)),
            Value::Array(_) => formatter.write_str(&self.describe_type()),
        }
    }
}

/// The start of a text, since a file's text may be as long as the file.
pub(crate) struct Excerpt<'a>(pub(crate) &'a str);

impl std::fmt::Display for Excerpt<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const CHARS_MAX: usize = 100;
        match self.0.char_indices().nth(CHARS_MAX) {
            Some((end, _)) => write!(formatter, "{}... ({} bytes)", &self.0[..end], self.0.len()),
            None => formatter.write_str(self.0),
        }
    }
}

/// The value of a metadata key that is an array: all elements are of one type.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // One variant for each `ValueType`.
pub enum Array {
    U8(Box<[u8]>),
    I8(Box<[i8]>),
    U16(Box<[u16]>),
    I16(Box<[i16]>),
    U32(Box<[u32]>),
    I32(Box<[i32]>),
    F32(Box<[f32]>),
    Bool(Box<[bool]>),
    String(StringArray),
    Array(NestedArray),
    U64(Box<[u64]>),
    I64(Box<[i64]>),
    F64(Box<[f64]>),
}

/// An array of arrays: checked when it is read, kept as the bytes of the file, taken apart when it is asked for.
///
/// No known model has one; held this way a hostile one costs no more memory than it takes in the file.
#[derive(Clone, Debug)]
pub struct NestedArray {
    /// `count` arrays, each as type, length and elements.
    bytes: Box<[u8]>,
    count: usize,
    width: LengthWidth,
}

impl NestedArray {
    /// An array of these arrays.
    ///
    /// # Errors
    /// If they are nested deeper than [`limits::ARRAY_DEPTH_MAX`].
    pub fn new(arrays: &[Array]) -> Result<NestedArray, GgufError> {
        let mut bytes = Vec::new();
        for array in arrays {
            array.encode(&mut bytes);
        }
        let mut cursor = Cursor::new(&bytes, LengthWidth::Eight);
        for _ in arrays {
            skip_array(&mut cursor, "array", 1)?;
        }
        Ok(NestedArray { bytes: bytes.into(), count: arrays.len(), width: LengthWidth::Eight })
    }

    /// Reads `count` arrays. `depth` is the number of arrays around the one that holds them.
    fn read(cursor: &mut Cursor<'_>, count: u64, key: &str, depth: usize) -> Result<NestedArray, GgufError> {
        let start = cursor.clone();
        (0..count).try_for_each(|_| skip_array(cursor, key, depth + 1))?;
        let bytes: Box<[u8]> = start.bytes_until(cursor).into();
        // Once more over the copy, which cannot change: see `Cursor::string`.
        let mut copy = Cursor::new(&bytes, cursor.width);
        (0..count).try_for_each(|_| skip_array(&mut copy, key, depth + 1))?;
        let count = usize::try_from(count).expect("so many arrays lie in memory");
        Ok(NestedArray { bytes, count, width: cursor.width })
    }

    /// How many arrays it holds.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True if it holds none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The arrays it holds, in order.
    pub fn iter(&self) -> impl Iterator<Item = Array> + '_ {
        let mut cursor = Cursor::new(&self.bytes, self.width);
        (0..self.count).map(move |_| read_array(&mut cursor, "array", 1).expect("the bytes were checked when read"))
    }
}

impl PartialEq for NestedArray {
    fn eq(&self, other: &NestedArray) -> bool {
        self.count == other.count && self.iter().eq(other.iter())
    }
}

impl Value {
    /// Its type.
    pub fn value_type(&self) -> ValueType {
        match self {
            Value::U8(_) => ValueType::U8,
            Value::I8(_) => ValueType::I8,
            Value::U16(_) => ValueType::U16,
            Value::I16(_) => ValueType::I16,
            Value::U32(_) => ValueType::U32,
            Value::I32(_) => ValueType::I32,
            Value::F32(_) => ValueType::F32,
            Value::Bool(_) => ValueType::Bool,
            Value::String(_) => ValueType::String,
            Value::Array(_) => ValueType::Array,
            Value::U64(_) => ValueType::U64,
            Value::I64(_) => ValueType::I64,
            Value::F64(_) => ValueType::F64,
        }
    }

    /// The type as messages say it, for example `u32` or `array of 5 strings`.
    pub fn describe_type(&self) -> String {
        match self {
            Value::Array(array) => format!("an array of {} {}", array.len(), array.element_type()),
            other => format!("a value of type {}", other.value_type()),
        }
    }

    /// The value as an integer, whatever its width; `None` for anything that is not an integer.
    pub fn as_integer(&self) -> Option<i128> {
        Some(match self {
            Value::U8(value) => (*value).into(),
            Value::I8(value) => (*value).into(),
            Value::U16(value) => (*value).into(),
            Value::I16(value) => (*value).into(),
            Value::U32(value) => (*value).into(),
            Value::I32(value) => (*value).into(),
            Value::U64(value) => (*value).into(),
            Value::I64(value) => (*value).into(),
            _ => return None,
        })
    }

    /// The value as text, if it is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The array, if it is one.
    pub fn as_array(&self) -> Option<&Array> {
        match self {
            Value::Array(array) => Some(array),
            _ => None,
        }
    }

    /// Reads type and value of `key`.
    pub(crate) fn read(cursor: &mut Cursor<'_>, key: &str) -> Result<Value, GgufError> {
        let value_type = read_type(cursor, key)?;
        let field = Field::Key(key, "value");
        Ok(match value_type {
            ValueType::U8 => Value::U8(u8::from_le_bytes(cursor.array(field)?)),
            ValueType::I8 => Value::I8(i8::from_le_bytes(cursor.array(field)?)),
            ValueType::U16 => Value::U16(u16::from_le_bytes(cursor.array(field)?)),
            ValueType::I16 => Value::I16(i16::from_le_bytes(cursor.array(field)?)),
            ValueType::U32 => Value::U32(u32::from_le_bytes(cursor.array(field)?)),
            ValueType::I32 => Value::I32(i32::from_le_bytes(cursor.array(field)?)),
            ValueType::F32 => Value::F32(f32::from_le_bytes(cursor.array(field)?)),
            ValueType::U64 => Value::U64(u64::from_le_bytes(cursor.array(field)?)),
            ValueType::I64 => Value::I64(i64::from_le_bytes(cursor.array(field)?)),
            ValueType::F64 => Value::F64(f64::from_le_bytes(cursor.array(field)?)),
            ValueType::Bool => {
                let offset = cursor.position();
                Value::Bool(read_bool(cursor.array(field)?, offset, field)?)
            }
            ValueType::String => Value::String(cursor.string(field)?.into()),
            ValueType::Array => Value::Array(read_array(cursor, key, 0)?),
        })
    }
}

impl Array {
    /// The type of its elements.
    pub fn element_type(&self) -> ValueType {
        match self {
            Array::U8(_) => ValueType::U8,
            Array::I8(_) => ValueType::I8,
            Array::U16(_) => ValueType::U16,
            Array::I16(_) => ValueType::I16,
            Array::U32(_) => ValueType::U32,
            Array::I32(_) => ValueType::I32,
            Array::F32(_) => ValueType::F32,
            Array::Bool(_) => ValueType::Bool,
            Array::String(_) => ValueType::String,
            Array::Array(_) => ValueType::Array,
            Array::U64(_) => ValueType::U64,
            Array::I64(_) => ValueType::I64,
            Array::F64(_) => ValueType::F64,
        }
    }

    /// How many elements it has.
    pub fn len(&self) -> usize {
        match self {
            Array::U8(elements) => elements.len(),
            Array::I8(elements) => elements.len(),
            Array::U16(elements) => elements.len(),
            Array::I16(elements) => elements.len(),
            Array::U32(elements) => elements.len(),
            Array::I32(elements) => elements.len(),
            Array::F32(elements) => elements.len(),
            Array::Bool(elements) => elements.len(),
            Array::String(elements) => elements.len(),
            Array::Array(elements) => elements.len(),
            Array::U64(elements) => elements.len(),
            Array::I64(elements) => elements.len(),
            Array::F64(elements) => elements.len(),
        }
    }

    /// True if it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The strings, if it is an array of strings.
    pub fn as_strings(&self) -> Option<&StringArray> {
        match self {
            Array::String(strings) => Some(strings),
            _ => None,
        }
    }

    /// The element at `index` as an integer, whatever its width; `None` outside, or if they are no integers.
    pub fn integer(&self, index: usize) -> Option<i128> {
        Some(match self {
            Array::U8(elements) => (*elements.get(index)?).into(),
            Array::I8(elements) => (*elements.get(index)?).into(),
            Array::U16(elements) => (*elements.get(index)?).into(),
            Array::I16(elements) => (*elements.get(index)?).into(),
            Array::U32(elements) => (*elements.get(index)?).into(),
            Array::I32(elements) => (*elements.get(index)?).into(),
            Array::U64(elements) => (*elements.get(index)?).into(),
            Array::I64(elements) => (*elements.get(index)?).into(),
            _ => return None,
        })
    }

    /// Appends the array as a file of version 3 holds it: element type, length, elements.
    pub(crate) fn encode(&self, into: &mut Vec<u8>) {
        into.extend((self.element_type() as u32).to_le_bytes());
        into.extend((self.len() as u64).to_le_bytes());
        match self {
            Array::U8(elements) => into.extend_from_slice(elements),
            Array::I8(elements) => elements.iter().for_each(|element| into.extend(element.to_le_bytes())),
            Array::U16(elements) => elements.iter().for_each(|element| into.extend(element.to_le_bytes())),
            Array::I16(elements) => elements.iter().for_each(|element| into.extend(element.to_le_bytes())),
            Array::U32(elements) => elements.iter().for_each(|element| into.extend(element.to_le_bytes())),
            Array::I32(elements) => elements.iter().for_each(|element| into.extend(element.to_le_bytes())),
            Array::F32(elements) => elements.iter().for_each(|element| into.extend(element.to_le_bytes())),
            Array::U64(elements) => elements.iter().for_each(|element| into.extend(element.to_le_bytes())),
            Array::I64(elements) => elements.iter().for_each(|element| into.extend(element.to_le_bytes())),
            Array::F64(elements) => elements.iter().for_each(|element| into.extend(element.to_le_bytes())),
            Array::Bool(elements) => elements.iter().for_each(|element| into.push(u8::from(*element))),
            Array::String(elements) => elements.iter().for_each(|element| encode_string(element, into)),
            Array::Array(elements) => elements.iter().for_each(|element| element.encode(into)),
        }
    }
}

/// Appends a string as a file of version 3 holds it: length, bytes.
pub(crate) fn encode_string(text: &str, into: &mut Vec<u8>) {
    into.extend((text.len() as u64).to_le_bytes());
    into.extend_from_slice(text.as_bytes());
}

fn read_type(cursor: &mut Cursor<'_>, key: &str) -> Result<ValueType, GgufError> {
    let offset = cursor.position();
    let field = Field::Key(key, "type");
    let id = cursor.u32(field)?;
    ValueType::from_id(id).ok_or_else(|| malformed(offset, field, format!("id {id}"), "a value type, 0 to 12"))
}

fn read_bool(byte: [u8; 1], offset: u64, field: Field<'_>) -> Result<bool, GgufError> {
    match byte[0] {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(malformed(offset, field, other, "0 or 1 for a bool")),
    }
}

/// Reads an array: element type, length, elements. `depth` is the number of arrays around it.
fn read_array(cursor: &mut Cursor<'_>, key: &str, depth: usize) -> Result<Array, GgufError> {
    let (element_type, count) = read_array_head(cursor, key, depth)?;
    Ok(match element_type {
        ValueType::U8 => Array::U8(cursor.take(count, Field::Key(key, "value"))?.into()),
        ValueType::I8 => Array::I8(read_numbers(cursor, count, key, i8::from_le_bytes)?),
        ValueType::U16 => Array::U16(read_numbers(cursor, count, key, u16::from_le_bytes)?),
        ValueType::I16 => Array::I16(read_numbers(cursor, count, key, i16::from_le_bytes)?),
        ValueType::U32 => Array::U32(read_numbers(cursor, count, key, u32::from_le_bytes)?),
        ValueType::I32 => Array::I32(read_numbers(cursor, count, key, i32::from_le_bytes)?),
        ValueType::F32 => Array::F32(read_numbers(cursor, count, key, f32::from_le_bytes)?),
        ValueType::U64 => Array::U64(read_numbers(cursor, count, key, u64::from_le_bytes)?),
        ValueType::I64 => Array::I64(read_numbers(cursor, count, key, i64::from_le_bytes)?),
        ValueType::F64 => Array::F64(read_numbers(cursor, count, key, f64::from_le_bytes)?),
        ValueType::Bool => Array::Bool(read_bools(cursor, count, key)?.iter().map(|byte| *byte == 1).collect()),
        ValueType::String => Array::String(StringArray::read(cursor, count, key)?),
        ValueType::Array => Array::Array(NestedArray::read(cursor, count, key, depth)?),
    })
}

/// The bytes of `count` bools, each of them 0 or 1.
fn read_bools<'a>(cursor: &mut Cursor<'a>, count: u64, key: &str) -> Result<&'a [u8], GgufError> {
    let offset = cursor.position();
    let bytes = cursor.take(count, Field::Key(key, "value"))?;
    for (index, byte) in (0..).zip(bytes) {
        read_bool([*byte], offset + index, Field::Element(key, index))?;
    }
    Ok(bytes)
}

fn read_numbers<const N: usize, T>(
    cursor: &mut Cursor<'_>,
    count: u64,
    key: &str,
    from_bytes: fn([u8; N]) -> T,
) -> Result<Box<[T]>, GgufError> {
    let bytes = cursor.take(count * N as u64, Field::Key(key, "value"))?;
    let (elements, _) = bytes.as_chunks::<N>();
    Ok(elements.iter().map(|element| from_bytes(*element)).collect())
}

/// Element type and length of an array; the length is known to fit what remains.
fn read_array_head(cursor: &mut Cursor<'_>, key: &str, depth: usize) -> Result<(ValueType, u64), GgufError> {
    if depth >= limits::ARRAY_DEPTH_MAX {
        let expected = format!("at most {}", limits::ARRAY_DEPTH_MAX);
        return Err(malformed(cursor.position(), Field::Key(key, "nesting of arrays"), "more levels", expected));
    }
    let element_type = read_type(cursor, key)?;
    let count = cursor.count(element_type.size_min(cursor.width), Field::Key(key, "array length"))?;
    Ok((element_type, count))
}

/// Checks an array without keeping it.
fn skip_array(cursor: &mut Cursor<'_>, key: &str, depth: usize) -> Result<(), GgufError> {
    let (element_type, count) = read_array_head(cursor, key, depth)?;
    match element_type {
        ValueType::Array => (0..count).try_for_each(|_| skip_array(cursor, key, depth + 1)),
        ValueType::String => (0..count).try_for_each(|index| {
            let (offset, field) = (cursor.position(), Field::Element(key, index));
            let bytes = cursor.text_bytes(field)?;
            std::str::from_utf8(bytes).map(|_| ()).map_err(|error| not_utf8(offset, field, error))
        }),
        ValueType::Bool => read_bools(cursor, count, key).map(|_| ()),
        number => cursor.take(count * number.size_min(cursor.width), Field::Key(key, "value")).map(|_| ()),
    }
}
