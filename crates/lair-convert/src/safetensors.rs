//! Reads the header of a safetensors file. Pure: bytes in, tensors out.
//!
//! ```text
//! 0      u64: length of the header, little-endian
//! 8      header: one JSON object, {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...},
//!        and under `__metadata__` an object of texts
//! 8 + n  data; offsets are counted from here; the tensors fill it without holes
//! ```
//!
//! Source: the format's description in the repository of safetensors. Every rule of it is checked.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use crate::element::ElementType;
use crate::error::Fault;
use crate::stored::{StoredTensor, element_count};

/// Limits of what is accepted; a file beyond one is damaged or an attack.
pub mod limits {
    /// Bytes of a header, as the format's own reader has it.
    pub const HEADER_BYTES_MAX: u64 = 100_000_000;
    /// Tensors of a file.
    pub const TENSOR_COUNT_MAX: usize = 1 << 20;
    /// Dimensions of a tensor.
    pub const DIMENSION_COUNT_MAX: usize = 8;
}

const LENGTH_BYTES: usize = 8;

/// What a file holds.
#[derive(Clone, Debug, Default)]
pub struct Header {
    /// The tensors, by name; bytes are counted from the start of the file.
    pub tensors: Vec<StoredTensor>,
    /// The texts of `__metadata__`.
    pub metadata: BTreeMap<String, String>,
}

impl Header {
    /// Reads the header of the file whose bytes these are.
    ///
    /// # Errors
    /// If a length, name, type, shape or place breaks a rule of the format: the fault names the tensor.
    pub fn parse(bytes: &[u8]) -> Result<Header, Fault> {
        let too_short = |length: usize| Fault::malformed("the file", format!("{length} bytes"), "at least 8");
        let length: [u8; LENGTH_BYTES] =
            bytes.get(..LENGTH_BYTES).and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| too_short(bytes.len()))?;
        let length = u64::from_le_bytes(length);
        if length > limits::HEADER_BYTES_MAX {
            let expected = format!("at most {}", limits::HEADER_BYTES_MAX);
            return Err(Fault::malformed("the length of the header", length, expected));
        }
        let header = bytes[LENGTH_BYTES..].get(..length as usize).ok_or_else(|| {
            Fault::malformed("the length of the header", length, format!("at most {}", bytes.len() - LENGTH_BYTES))
        })?;
        let data_start = LENGTH_BYTES + header.len();
        let Raw { entries, metadata } = serde_json::from_slice(header)
            .map_err(|error| Fault::malformed("the header", error, "one JSON object of tensors"))?;
        let data_length = (bytes.len() - data_start) as u64;
        let mut tensors = Vec::with_capacity(entries.len());
        for (name, entry) in entries {
            tensors.push(entry.check(name, data_start as u64, data_length)?);
        }
        check_no_holes(&tensors, data_start as u64, data_length)?;
        Ok(Header { tensors, metadata })
    }
}

/// The JSON object, before anything is compared with the file.
struct Raw {
    entries: BTreeMap<String, Entry>,
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl Entry {
    fn check(self, name: String, data_start: u64, data_length: u64) -> Result<StoredTensor, Fault> {
        let what = || format!("tensor `{name}`");
        let Some(element) = ElementType::from_name(&self.dtype) else {
            return Err(Fault::unsupported(format!("{}, of type `{}`,", what(), self.dtype)));
        };
        if self.shape.len() > limits::DIMENSION_COUNT_MAX {
            let expected = format!("at most {}", limits::DIMENSION_COUNT_MAX);
            return Err(Fault::malformed(what(), format!("{} dimensions", self.shape.len()), expected));
        }
        let (start, end) = self.data_offsets;
        if start > end || end > data_length {
            let expected = format!("places in the {data_length} bytes of data");
            return Err(Fault::malformed(what(), format!("bytes {start} to {end}"), expected));
        }
        let shape: Option<Vec<usize>> = self.shape.iter().map(|length| usize::try_from(*length).ok()).collect();
        let needed = shape.as_deref().and_then(element_count).and_then(|count| count.checked_mul(element.size_bytes()));
        match (shape, needed) {
            (Some(shape), Some(needed)) if needed as u64 == end - start => {
                Ok(StoredTensor { name, element, shape, strides: None, file: 0, start: data_start + start })
            }
            (_, needed) => {
                let needed = needed.map_or_else(|| "more than fits".to_owned(), |bytes| format!("{bytes} bytes"));
                let expected = format!("{needed}, as {element} of the shape {:?} takes", self.shape);
                Err(Fault::malformed(what(), format!("{} bytes", end - start), expected))
            }
        }
    }
}

/// Tensors must follow one another and fill the data.
fn check_no_holes(tensors: &[StoredTensor], data_start: u64, data_length: u64) -> Result<(), Fault> {
    let mut by_start: Vec<&StoredTensor> = tensors.iter().collect();
    by_start.sort_by_key(|tensor| (tensor.start, tensor.size_bytes()));
    let mut position = data_start;
    for tensor in by_start {
        if tensor.start != position {
            let found = format!("its first byte at {} of the data", tensor.start - data_start);
            let expected = format!("{}, where the one before it ends", position - data_start);
            return Err(Fault::malformed(format!("tensor `{}`", tensor.name), found, expected));
        }
        position += tensor.size_bytes();
    }
    match position - data_start {
        used if used == data_length => Ok(()),
        used => Err(Fault::malformed("the data", format!("{data_length} bytes"), format!("{used}, as tensors take"))),
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_map(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut raw = Raw { entries: BTreeMap::new(), metadata: BTreeMap::new() };
        let mut has_metadata = false;
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                if has_metadata {
                    return Err(A::Error::custom("`__metadata__` stands there twice"));
                }
                has_metadata = true;
                raw.metadata = map.next_value()?;
                continue;
            }
            if raw.entries.len() == limits::TENSOR_COUNT_MAX {
                return Err(A::Error::custom(format!("more than {} tensors", limits::TENSOR_COUNT_MAX)));
            }
            if raw.entries.contains_key(&name) {
                return Err(A::Error::custom(format!("tensor `{name}` stands there twice")));
            }
            let entry = map.next_value()?;
            raw.entries.insert(name, entry);
        }
        Ok(raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data_length: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + data_length, 0);
        bytes
    }

    #[test]
    fn reads_types_shapes_and_places() {
        let header = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},
            "a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"none":{"dtype":"I64","shape":[0],"data_offsets":[16,16]}}"#;
        let parsed = Header::parse(&file(header, 16)).expect("a sound file");
        let names: Vec<&str> = parsed.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "none"]);
        assert_eq!(parsed.tensors[1].shape, [2, 3]);
        assert_eq!(parsed.tensors[1].start, 8 + header.len() as u64 + 4);
        assert_eq!(parsed.metadata["format"], "pt");
    }

    #[test]
    fn refuses_what_breaks_a_rule_and_names_it() {
        let check = |header: &str, data_length: usize, said: &str| {
            let fault = Header::parse(&file(header, data_length)).expect_err(said).to_string();
            assert!(fault.contains(said), "{fault:?} does not say {said:?}");
        };
        let tensor = |dtype: &str, shape: &str, offsets: &str| {
            format!(r#"{{"x":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        check(&tensor("F32", "[2]", "[0,8]"), 4, "bytes 0 to 8");
        check(&tensor("F32", "[2]", "[8,0]"), 8, "bytes 8 to 0");
        check(&tensor("F32", "[3]", "[0,8]"), 8, "12 bytes");
        check(&tensor("F32", "[4294967296,4294967296]", "[0,8]"), 8, "more than fits");
        check(&tensor("F32", "[1]", "[4,8]"), 8, "first byte at 4");
        check(&tensor("F32", "[1]", "[0,4]"), 8, "the data: found 8 bytes");
        check(&tensor("C64", "[1]", "[0,8]"), 8, "`C64`");
        check(&tensor("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "9 dimensions");
        check(&tensor("F32", "[-1]", "[0,4]"), 4, "the header");
        let twice = r#"{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#;
        check(twice, 1, "`x` stands there twice");
        let overlapping = r#"{"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"y":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#;
        check(overlapping, 3, "tensor `y`");
        check(r#"{"x":1}"#, 0, "the header");
        check("[", 0, "the header");
    }

    #[test]
    fn refuses_a_header_that_is_longer_than_the_file_or_the_limit() {
        for length in [9u64, limits::HEADER_BYTES_MAX + 1, u64::MAX] {
            let mut bytes = length.to_le_bytes().to_vec();
            bytes.extend([b'{'; 8]);
            assert!(Header::parse(&bytes).expect_err("too long").to_string().contains("length of the header"));
        }
        assert!(Header::parse(&[0; 7]).is_err());
    }
}
