//! Parses the part of a file before the weights: magic, version, metadata, tensor table.
//!
//! ```text
//! "GGUF" | version u32 | tensor count | key count | keys and values | tensor table | padding | tensor data
//! ```
//! Counts and lengths are u64, in version 1 u32. All numbers are little-endian. Source: the GGUF specification.

use crate::TensorType;
use crate::cursor::{Cursor, Field, LengthWidth, fault_of_name, malformed};
use crate::error::GgufError;
use crate::foreign::OtherFormat;
use crate::foreign_types::type_maker;
use crate::metadata::Metadata;
use crate::tensor_info::TensorInfo;
use crate::value::Value;

/// Bounds on what a file may ask for, each with its reason.
pub mod limits {
    /// Longest key in bytes. The specification's own limit.
    pub const KEY_LENGTH_MAX: usize = 65_535;
    /// Longest tensor name in bytes: ggml keeps 64 with the closing zero.
    pub const TENSOR_NAME_LENGTH_MAX: usize = 63;
    /// Most keys. Real files have fewer than a hundred; this keeps their bookkeeping below some megabytes.
    pub const KEY_COUNT_MAX: u64 = 65_536;
    /// Most tensors in one file. The largest models have some thousands.
    pub const TENSOR_COUNT_MAX: u64 = 65_536;
    /// Most dimensions of a tensor, as in ggml.
    pub const DIMENSION_COUNT_MAX: u32 = 4;
    /// Arrays in arrays in arrays: no known file has more than one level; reading them recurses.
    pub const ARRAY_DEPTH_MAX: usize = 4;
    /// Largest `general.alignment` in bytes: far above any page or cache line.
    pub const ALIGNMENT_MAX: u32 = 1 << 20;
    /// `general.alignment` of a file that does not say, by the specification.
    pub const ALIGNMENT_DEFAULT: u32 = 32;
    /// Most pieces in a vocabulary: ten times the largest known.
    pub const VOCABULARY_COUNT_MAX: usize = 4_000_000;
    /// Longest piece of a vocabulary in bytes.
    pub const PIECE_LENGTH_MAX: usize = 65_536;
}

/// Everything in a file that is not weights, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Version of the format: 1, 2 or 3.
    pub version: u32,
    /// Keys and values.
    pub metadata: Metadata,
    /// The tensor table, in the order of the file.
    pub tensors: Vec<TensorInfo>,
    /// Every tensor begins at a multiple of this, counted from `data_start`.
    pub alignment: u32,
    /// Where the data section begins, from the start of the file.
    pub data_start: u64,
}

impl Header {
    /// Parses and checks the header of a file of `file_length` bytes of which `bytes` are the first (or all).
    ///
    /// # Errors
    /// Names the field and its offset. Nothing panics, whatever the bytes, and no more memory is taken than a small
    /// multiple of `bytes`.
    pub fn parse(bytes: &[u8], file_length: u64) -> Result<Header, GgufError> {
        let header = Header::parse_without_data(bytes)?;
        header.check_data(file_length)?;
        Ok(header)
    }

    /// Parses and checks the header of a file whose weights are not at hand: all checks but that they lie in the file.
    ///
    /// # Errors
    /// As [`Header::parse`].
    pub fn parse_without_data(bytes: &[u8]) -> Result<Header, GgufError> {
        let (version, width) = read_magic_and_version(bytes)?;
        let mut cursor = Cursor::new(bytes, width);
        cursor.take(8, Field::Header("magic"))?;
        let width_bytes = width.size_bytes();
        // A table row is at least: name length, one byte of name, dimension count, type, offset. A key is at least:
        // length, one byte, type, one byte of value.
        let (row_min, key_min) = (width_bytes + 1 + 4 + 4 + 8, width_bytes + 1 + 4 + 1);
        let tensor_count = read_count(&mut cursor, row_min, limits::TENSOR_COUNT_MAX, "tensor count")?;
        let key_count = read_count(&mut cursor, key_min, limits::KEY_COUNT_MAX, "key count")?;
        if version == 1 && tensor_count == 0 && key_count == 0 {
            // Also how a mislabelled file of a later version reads: its counts are twice as wide.
            let found = "no keys and no tensors";
            return Err(malformed(8, Field::Header("tensor count"), found, "a model in a file of version 1"));
        }
        let (metadata, offsets) = Metadata::read(&mut cursor, key_count)?;
        let alignment = alignment(&metadata).map_err(|(found, expected)| {
            let offset = metadata.index(ALIGNMENT).map_or(0, |index| offsets[index]);
            malformed(offset, Field::Key(ALIGNMENT, "value"), found, expected)
        })?;
        let tensors = read_tensors(&mut cursor, tensor_count, alignment)?;
        let data_start = cursor
            .position()
            .checked_next_multiple_of(u64::from(alignment))
            .expect("a position in memory is far below 2^64");
        let header = Header { version, metadata, tensors, alignment, data_start };
        header.check_extents()?;
        Ok(header)
    }

    /// Where the bytes of `tensor` begin and end, from the start of the file.
    pub fn tensor_range(&self, tensor: &TensorInfo) -> std::ops::Range<u64> {
        let start = self.data_start + tensor.offset;
        start..start + tensor.size_bytes
    }

    /// `general.architecture`, for example `llama`.
    ///
    /// # Errors
    /// If it is missing or no string.
    pub fn architecture(&self) -> Result<&str, GgufError> {
        self.metadata.str("general.architecture")
    }

    /// Checks that every end fits 63 bits and that no two tensors share a byte.
    fn check_extents(&self) -> Result<(), GgufError> {
        for tensor in &self.tensors {
            let end = self.data_start.checked_add(tensor.offset).and_then(|start| start.checked_add(tensor.size_bytes));
            if end.is_none_or(|end| end > i64::MAX as u64) {
                return Err(GgufError::TensorPastEnd {
                    tensor: tensor.name.clone(),
                    end: u64::MAX,
                    file_length: i64::MAX as u64,
                });
            }
        }
        let mut by_offset: Vec<&TensorInfo> = self.tensors.iter().filter(|tensor| tensor.size_bytes > 0).collect();
        by_offset.sort_by_key(|tensor| tensor.offset);
        for pair in by_offset.windows(2) {
            let (first, second) = (self.tensor_range(pair[0]), self.tensor_range(pair[1]));
            if first.end > second.start {
                return Err(GgufError::Overlap {
                    first: pair[0].name.clone(),
                    second: pair[1].name.clone(),
                    first_end: first.end,
                    second_start: second.start,
                });
            }
        }
        Ok(())
    }

    /// Checks that every tensor lies in a file of this length. An empty one may stand anywhere.
    fn check_data(&self, file_length: u64) -> Result<(), GgufError> {
        let end = |tensor: &&TensorInfo| self.tensor_range(tensor).end;
        match self.tensors.iter().filter(|tensor| tensor.size_bytes > 0).max_by_key(end) {
            Some(last) if end(&last) > file_length => {
                Err(GgufError::TensorPastEnd { tensor: last.name.clone(), end: end(&last), file_length })
            }
            _ => Ok(()),
        }
    }
}

fn read_magic_and_version(bytes: &[u8]) -> Result<(u32, LengthWidth), GgufError> {
    if !b"GGUF".starts_with(&bytes[..bytes.len().min(4)]) || bytes.is_empty() {
        return Err(GgufError::NotGguf { format: OtherFormat::recognise(bytes) });
    }
    let mut cursor = Cursor::new(bytes, LengthWidth::Eight);
    cursor.take(4, Field::Header("magic"))?;
    let version = cursor.u32(Field::Header("version"))?;
    match version {
        1 => Ok((version, LengthWidth::Four)),
        2 | 3 => Ok((version, LengthWidth::Eight)),
        // A small number in the other order of bytes.
        _ if version & 0xffff == 0 && version != 0 => Err(GgufError::BigEndian { version: version.swap_bytes() }),
        _ => Err(GgufError::UnsupportedVersion { version }),
    }
}

fn read_count(cursor: &mut Cursor<'_>, size_min: u64, max: u64, name: &'static str) -> Result<u64, GgufError> {
    let offset = cursor.position();
    let count = cursor.count(size_min, Field::Header(name))?;
    if count > max {
        return Err(malformed(offset, Field::Header(name), count, format!("at most {max}")));
    }
    Ok(count)
}

const ALIGNMENT: &str = "general.alignment";

/// The alignment that the keys ask for, or what was found and what is expected.
pub(crate) fn alignment(metadata: &Metadata) -> Result<u32, (String, String)> {
    let alignment = match metadata.get(ALIGNMENT) {
        None => return Ok(limits::ALIGNMENT_DEFAULT),
        Some(Value::U32(alignment)) => *alignment,
        Some(other) => return Err((other.describe_type(), "a value of type u32".to_owned())),
    };
    if !alignment.is_power_of_two() || alignment > limits::ALIGNMENT_MAX {
        return Err((alignment.to_string(), format!("a power of two, at most {}", limits::ALIGNMENT_MAX)));
    }
    Ok(alignment)
}

fn read_tensors(cursor: &mut Cursor<'_>, count: u64, alignment: u32) -> Result<Vec<TensorInfo>, GgufError> {
    let count = usize::try_from(count).expect("the count was compared with its limit");
    let mut tensors = Vec::with_capacity(count);
    let mut offsets = Vec::with_capacity(count);
    for index in 0..count {
        offsets.push(cursor.position());
        tensors.push(read_tensor(cursor, index as u64, alignment)?);
    }
    let mut by_name: Vec<u32> = (0..count as u32).collect();
    by_name.sort_by(|left, right| tensors[*left as usize].name.cmp(&tensors[*right as usize].name));
    for pair in by_name.windows(2) {
        let [first, second] = [pair[0] as usize, pair[1] as usize];
        if tensors[first].name == tensors[second].name {
            let found = format!("`{}`, which is tensor {first} too", tensors[second].name);
            return Err(malformed(offsets[second], Field::TensorName(second as u64), found, "each name once"));
        }
    }
    Ok(tensors)
}

fn read_tensor(cursor: &mut Cursor<'_>, index: u64, alignment: u32) -> Result<TensorInfo, GgufError> {
    let name_offset = cursor.position();
    let name = cursor.string(Field::TensorName(index))?;
    if let Some((found, expected)) = fault_of_name(&name, limits::TENSOR_NAME_LENGTH_MAX) {
        return Err(malformed(name_offset, Field::TensorName(index), found, expected));
    }
    let shape_offset = cursor.position();
    let shape = read_shape(cursor, &name)?;
    let type_offset = cursor.position();
    let id = cursor.u32(Field::Tensor(&name, "type"))?;
    let Some(tensor_type) = TensorType::from_id(id) else {
        return Err(GgufError::UnknownTensorType { offset: type_offset, tensor: name, id, maker: type_maker(id) });
    };
    let size_bytes = size_of_tensor(&shape, tensor_type)
        .map_err(|expected| malformed(shape_offset, Field::Tensor(&name, "shape"), format!("{shape:?}"), expected))?;
    let start_offset = cursor.position();
    let offset = cursor.u64(Field::Tensor(&name, "offset"))?;
    if !offset.is_multiple_of(u64::from(alignment)) {
        let expected = format!("a multiple of the alignment, {alignment}");
        return Err(malformed(start_offset, Field::Tensor(&name, "offset"), offset, expected));
    }
    Ok(TensorInfo { name, shape, tensor_type, offset, size_bytes, shard: 0 })
}

fn read_shape(cursor: &mut Cursor<'_>, name: &str) -> Result<Vec<u64>, GgufError> {
    let offset = cursor.position();
    let field = Field::Tensor(name, "dimension count");
    let count = cursor.u32(field)?;
    if count > limits::DIMENSION_COUNT_MAX {
        return Err(malformed(offset, field, count, format!("at most {}", limits::DIMENSION_COUNT_MAX)));
    }
    if count == 0 {
        return Ok(vec![1]);
    }
    let field = Field::Tensor(name, "shape");
    (0..count).map(|_| cursor.length(field)).collect()
}

/// Bytes of a tensor, or what is expected of its shape instead.
pub(crate) fn size_of_tensor(shape: &[u64], tensor_type: TensorType) -> Result<u64, String> {
    const SIGNED_MAX: u64 = i64::MAX as u64;
    if shape.iter().any(|length| *length > SIGNED_MAX) {
        return Err("lengths below 2^63".to_owned());
    }
    let row_length = shape.first().copied().unwrap_or(1);
    let Some(row_bytes) = tensor_type.size_bytes(row_length) else {
        let block_length = tensor_type.block_length();
        return Err(format!("rows of a multiple of {block_length} elements for type {tensor_type}"));
    };
    let element_count = checked_product(shape).filter(|count| *count <= SIGNED_MAX);
    let size_bytes = shape
        .get(1..)
        .and_then(checked_product)
        .and_then(|rows| rows.checked_mul(row_bytes))
        .filter(|bytes| *bytes <= SIGNED_MAX - u64::from(limits::ALIGNMENT_MAX));
    match (element_count, size_bytes) {
        (Some(_), Some(size_bytes)) => Ok(size_bytes),
        _ => Err("fewer than 2^63 elements and bytes".to_owned()),
    }
}

/// The product, or `None` if it does not fit. A zero anywhere makes it zero, whatever stands before it.
fn checked_product(lengths: &[u64]) -> Option<u64> {
    if lengths.contains(&0) {
        return Some(0);
    }
    lengths.iter().try_fold(1, |product: u64, length| product.checked_mul(*length))
}
