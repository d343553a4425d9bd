//! The metadata of a model: keys with values, in the order of the file, and typed access to them.

use crate::cursor::{Cursor, Field, fault_of_name, malformed};
use crate::error::GgufError;
use crate::header::limits;
use crate::string_array::StringArray;
use crate::value::{Array, Value};

/// Keys and values in the order of the file. Every key is there once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    entries: Vec<(Box<str>, Value)>,
    /// Indices into `entries`, sorted by key.
    by_key: Vec<u32>,
}

impl Metadata {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keys and values in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_ref(), value))
    }

    /// The value of `key`, if it is there.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.place(key).ok().map(|place| &self.entries[self.by_key[place] as usize].1)
    }

    /// True if `key` is there.
    pub fn contains(&self, key: &str) -> bool {
        self.place(key).is_ok()
    }

    /// Sets `key`: in its place if it is there, else at the end.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        match self.place(key) {
            Ok(place) => self.entries[self.by_key[place] as usize].1 = value.into(),
            Err(place) => {
                let index = u32::try_from(self.entries.len()).expect("no more than 2^32 keys are ever set");
                self.by_key.insert(place, index);
                self.entries.push((key.into(), value.into()));
            }
        }
    }

    /// Removes `key`; gives its value, if it was there.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let index = self.by_key.remove(self.place(key).ok()?);
        for other in self.by_key.iter_mut().filter(|other| **other > index) {
            *other -= 1;
        }
        Some(self.entries.remove(index as usize).1)
    }

    /// The value of `key` as a `T`.
    ///
    /// # Errors
    /// [`GgufError::MissingKey`] if the key is not there, [`GgufError::WrongValue`] if it holds something else.
    pub fn required<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<T, GgufError> {
        self.optional(key)?.ok_or_else(|| GgufError::MissingKey { key: key.to_owned(), expected: T::EXPECTED })
    }

    /// The value of `key` as a `T`, or `None` if the key is not there.
    ///
    /// # Errors
    /// [`GgufError::WrongValue`] if it holds something else.
    pub fn optional<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<Option<T>, GgufError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        T::from_value(value).map(Some).map_err(|found| GgufError::WrongValue {
            key: key.to_owned(),
            found,
            expected: T::EXPECTED.to_owned(),
        })
    }

    fn place(&self, key: &str) -> Result<usize, usize> {
        self.by_key.binary_search_by(|index| self.entries[*index as usize].0.as_ref().cmp(key))
    }

    /// The index of `key` in the order of the file.
    pub(crate) fn index(&self, key: &str) -> Option<usize> {
        self.place(key).ok().map(|place| self.by_key[place] as usize)
    }

    /// Reads `count` keys with their values, and says where each began.
    pub(crate) fn read(cursor: &mut Cursor<'_>, count: u64) -> Result<(Metadata, Vec<u64>), GgufError> {
        let count = usize::try_from(count).expect("the count was compared with its limit");
        let mut entries: Vec<(Box<str>, Value)> = Vec::with_capacity(count);
        let mut offsets = Vec::with_capacity(count);
        for index in 0..count {
            offsets.push(cursor.position());
            let key = read_key(cursor, index as u64)?;
            let value = Value::read(cursor, &key)?;
            entries.push((key.into_boxed_str(), value));
        }
        let mut by_key: Vec<u32> = (0..count as u32).collect();
        by_key.sort_by(|left, right| entries[*left as usize].0.cmp(&entries[*right as usize].0));
        for pair in by_key.windows(2) {
            let [first, second] = [pair[0] as usize, pair[1] as usize];
            if entries[first].0 == entries[second].0 {
                let found = format!("`{}`, which is key {first} too", entries[second].0);
                return Err(malformed(offsets[second], Field::KeyName(second as u64), found, "each key once"));
            }
        }
        Ok((Metadata { entries, by_key }, offsets))
    }
}

fn read_key(cursor: &mut Cursor<'_>, index: u64) -> Result<String, GgufError> {
    let offset = cursor.position();
    let key = cursor.string(Field::KeyName(index))?;
    if let Some((found, expected)) = fault_of_name(&key, limits::KEY_LENGTH_MAX) {
        return Err(malformed(offset, Field::KeyName(index), found, expected));
    }
    Ok(key)
}

/// One pair of getters for each type that keys are read as.
macro_rules! getters {
    ($($type:ty, $required:ident, $optional:ident, $what:literal;)*) => {
        impl Metadata {
            $(
                #[doc = concat!("The value of `key` as ", $what, "; an error if it is missing or anything else.")]
                pub fn $required(&self, key: &str) -> Result<$type, GgufError> {
                    self.required(key)
                }

                #[doc = concat!("The value of `key` as ", $what, " if it is there; an error if it is anything else.")]
                pub fn $optional(&self, key: &str) -> Result<Option<$type>, GgufError> {
                    self.optional(key)
                }
            )*
        }
    };
}

getters! {
    u32, u32, optional_u32, "an integer of any width that fits 32 bits without sign";
    u64, u64, optional_u64, "an integer of any width that fits 64 bits without sign";
    i32, i32, optional_i32, "an integer of any width that fits 32 bits with sign";
    f32, f32, optional_f32, "a floating-point number";
    bool, bool, optional_bool, "a bool";
    &str, str, optional_str, "a string";
    &StringArray, strings, optional_strings, "an array of strings";
    Vec<u32>, u32_array, optional_u32_array, "an array of integers that fit 32 bits without sign";
    Vec<i32>, i32_array, optional_i32_array, "an array of integers that fit 32 bits with sign";
    Vec<f32>, f32_array, optional_f32_array, "an array of floating-point numbers";
    Vec<bool>, bool_array, optional_bool_array, "an array of bools";
}

/// A type that the value of a key can be read as.
pub trait FromValue<'a>: Sized {
    /// What is expected, for messages.
    const EXPECTED: &'static str;

    /// The value as this type, or a description of what it is instead.
    fn from_value(value: &'a Value) -> Result<Self, String>;
}

macro_rules! integers_from_value {
    ($($type:ty, $one:literal, $many:literal;)*) => {$(
        impl FromValue<'_> for $type {
            const EXPECTED: &'static str = $one;

            fn from_value(value: &Value) -> Result<$type, String> {
                let integer = value.as_integer().ok_or_else(|| value.describe_type())?;
                <$type>::try_from(integer).map_err(|_| format!("the {} {integer}", value.value_type()))
            }
        }

        impl FromValue<'_> for Vec<$type> {
            const EXPECTED: &'static str = $many;

            fn from_value(value: &Value) -> Result<Vec<$type>, String> {
                let array = value.as_array().ok_or_else(|| value.describe_type())?;
                let element = |index| {
                    let integer = array.integer(index).ok_or_else(|| value.describe_type())?;
                    <$type>::try_from(integer).map_err(|_| format!("{integer} as element {index}"))
                };
                // An array of another type is refused even when it is empty.
                if !is_integer(array) {
                    return Err(value.describe_type());
                }
                (0..array.len()).map(element).collect()
            }
        }
    )*};
}

integers_from_value! {
    u32, "an integer from 0 to 4294967295", "an array of integers from 0 to 4294967295";
    i32, "an integer from -2147483648 to 2147483647", "an array of integers from -2147483648 to 2147483647";
    u64, "an integer from 0 to 18446744073709551615", "an array of integers from 0 to 18446744073709551615";
    i64, "an integer of 64 bits", "an array of integers of 64 bits";
}

fn is_integer(array: &Array) -> bool {
    !matches!(array, Array::F32(_) | Array::F64(_) | Array::Bool(_) | Array::String(_) | Array::Array(_))
}

impl FromValue<'_> for f32 {
    const EXPECTED: &'static str = "a floating-point number";

    fn from_value(value: &Value) -> Result<f32, String> {
        match value {
            Value::F32(number) => Ok(*number),
            Value::F64(number) => Ok(*number as f32),
            other => Err(other.describe_type()),
        }
    }
}

impl FromValue<'_> for Vec<f32> {
    const EXPECTED: &'static str = "an array of floating-point numbers";

    fn from_value(value: &Value) -> Result<Vec<f32>, String> {
        match value {
            Value::Array(Array::F32(numbers)) => Ok(numbers.to_vec()),
            Value::Array(Array::F64(numbers)) => Ok(numbers.iter().map(|number| *number as f32).collect()),
            other => Err(other.describe_type()),
        }
    }
}

impl FromValue<'_> for bool {
    const EXPECTED: &'static str = "a bool";

    fn from_value(value: &Value) -> Result<bool, String> {
        match value {
            Value::Bool(truth) => Ok(*truth),
            other => Err(other.describe_type()),
        }
    }
}

impl FromValue<'_> for Vec<bool> {
    const EXPECTED: &'static str = "an array of bools";

    fn from_value(value: &Value) -> Result<Vec<bool>, String> {
        match value {
            Value::Array(Array::Bool(truths)) => Ok(truths.to_vec()),
            other => Err(other.describe_type()),
        }
    }
}

impl<'a> FromValue<'a> for &'a str {
    const EXPECTED: &'static str = "a string";

    fn from_value(value: &'a Value) -> Result<&'a str, String> {
        value.as_str().ok_or_else(|| value.describe_type())
    }
}

impl<'a> FromValue<'a> for &'a StringArray {
    const EXPECTED: &'static str = "an array of strings";

    fn from_value(value: &'a Value) -> Result<&'a StringArray, String> {
        value.as_array().and_then(Array::as_strings).ok_or_else(|| value.describe_type())
    }
}

macro_rules! value_from {
    ($($type:ty => $variant:ident;)*) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Value {
                Value::$variant(value.into())
            }
        }

        impl From<Vec<$type>> for Value {
            fn from(elements: Vec<$type>) -> Value {
                Value::Array(Array::$variant(elements.into_iter().collect()))
            }
        }
    )*};
}

value_from! {
    u8 => U8; i8 => I8; u16 => U16; i16 => I16; u32 => U32; i32 => I32; u64 => U64; i64 => I64;
    f32 => F32; f64 => F64; bool => Bool; String => String; &str => String;
}

impl From<StringArray> for Value {
    fn from(strings: StringArray) -> Value {
        Value::Array(Array::String(strings))
    }
}

impl From<Array> for Value {
    fn from(array: Array) -> Value {
        Value::Array(array)
    }
}
