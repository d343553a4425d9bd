//! The other order of bytes: files of big-endian machines as those that are read here, and the way back.
//!
//! Every number of the header is turned, and of the weights those that a machine reads as a whole: elements of plain types,
//! and in blocks the factors. What blocks keep byte by byte stays. Types whose blocks are read by words of other widths than
//! they are declared in (Q5_0, Q5_1, IQ1 to IQ3) are not written the same by all programs, and are refused.
//!
//! Source: the GGUF specification; the structures of blocks in ggml's `ggml-common.h`.

use std::io::{self, Write};
use std::path::Path;

use crate::TensorType;
use crate::error::GgufError;
use crate::header::{Header, limits};
use crate::mapped_file::MappedFile;
use crate::new_file::NewFile;

/// An order of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// The least first.
    Little,
    /// The greatest first.
    Big,
}

/// Bytes of weights that are turned at a time.
const CHUNK_BYTES: usize = 4 << 20;
/// GGUF's numbers for values of more than one number.
const STRING: u32 = 8;
const ARRAY: u32 = 9;
/// Bytes of a value, by its number; 0 for those of other lengths.
const VALUE_BYTES: [usize; 13] = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];

/// Tells in which order the numbers of a GGUF file are.
///
/// # Errors
/// If it does not begin as one, or its version is unknown in both orders.
pub fn byte_order(bytes: &[u8]) -> Result<ByteOrder, GgufError> {
    match Header::parse_without_data(bytes) {
        Err(GgufError::BigEndian { .. }) => Ok(ByteOrder::Big),
        Err(error @ (GgufError::NotGguf { .. } | GgufError::UnsupportedVersion { .. })) => Err(error),
        _ => Ok(ByteOrder::Little),
    }
}

/// Writes the file at `from` to `to` with its bytes in this order. It appears there whole or not at all.
///
/// # Errors
/// If it is no valid GGUF, is in this order already, or has a type whose blocks are not turned: the error names it.
pub fn write_in_order(from: &Path, to: &Path, order: ByteOrder) -> Result<(), GgufError> {
    let file = MappedFile::open(from)?;
    let of_file = |error: GgufError| error.in_file(from);
    let found = byte_order(&file).map_err(of_file)?;
    if found == order {
        let words = if order == ByteOrder::Big { "big-endian" } else { "little-endian" };
        return Err(unturnable("the order of bytes", format!("{words} already"), "the other order").in_file(from));
    }
    let turned = turned_header(&file, found).map_err(of_file)?;
    // The header in the order that is read here, whichever of both that is.
    let little = if found == ByteOrder::Big { &turned[..] } else { &file[..turned.len()] };
    let header = Header::parse(little, file.len() as u64).map_err(of_file)?;
    for tensor in &header.tensors {
        if words_of(tensor.tensor_type).is_none() {
            let found = format!("type {}", tensor.tensor_type);
            return Err(
                unturnable(format!("tensor `{}`", tensor.name), found, "one whose order is agreed on").in_file(from)
            );
        }
    }
    let mut out = NewFile::create(to)?;
    let failed = |source| GgufError::Io { action: "write", path: to.to_owned(), source };
    write_turned(&file, &turned, &header, &mut out).map_err(failed)?;
    file.check_unchanged()?;
    out.finish()?.publish()
}

fn unturnable(what: impl ToString, found: impl ToString, expected: impl ToString) -> GgufError {
    GgufError::Unwritable { what: what.to_string(), found: found.to_string(), expected: expected.to_string() }
}

/// The header, the weights one by one in the order of the file, and what lies between them as it is.
fn write_turned(file: &MappedFile, turned: &[u8], header: &Header, out: &mut impl Write) -> io::Result<()> {
    out.write_all(turned)?;
    let mut position = turned.len();
    let mut tensors: Vec<_> = header.tensors.iter().filter(|tensor| tensor.size_bytes > 0).collect();
    tensors.sort_by_key(|tensor| tensor.offset);
    for tensor in tensors {
        let range = header.tensor_range(tensor);
        // The header's check has compared the ranges with the file.
        let (start, end) = (range.start as usize, range.end as usize);
        out.write_all(&file[position..start])?;
        let block = tensor.tensor_type.block_bytes();
        let words = words_of(tensor.tensor_type).expect("compared before the file was begun");
        for chunk in file[start..end].chunks((CHUNK_BYTES / block).max(1) * block) {
            let mut bytes = chunk.to_vec();
            bytes.chunks_exact_mut(block).for_each(|block| turn(block, words));
            out.write_all(&bytes)?;
        }
        position = end;
        file.release_pages();
    }
    out.write_all(&file[position..])
}

/// Turns the words of a block: where they begin, and how wide they are.
fn turn(block: &mut [u8], words: &[(usize, usize)]) {
    for (start, width) in words {
        block[*start..*start + *width].reverse();
    }
}

/// The words of a block of a type, or of an element of a plain one; `None` where programs disagree.
fn words_of(tensor_type: TensorType) -> Option<&'static [(usize, usize)]> {
    use TensorType as T;
    Some(match tensor_type {
        T::I8 | T::MXFP4 => &[],
        T::F16 | T::BF16 | T::I16 => &[(0, 2)],
        T::F32 | T::I32 => &[(0, 4)],
        T::F64 | T::I64 => &[(0, 8)],
        T::Q4_0 | T::Q8_0 | T::IQ4_NL => &[(0, 2)],
        T::Q4_1 | T::Q4_K | T::Q5_K | T::IQ4_XS => &[(0, 2), (2, 2)],
        T::Q2_K => &[(80, 2), (82, 2)],
        T::Q3_K => &[(108, 2)],
        T::Q6_K => &[(208, 2)],
        T::TQ1_0 => &[(52, 2)],
        T::TQ2_0 => &[(64, 2)],
        _ => return None,
    })
}

/// The bytes before the padding, every number turned. Reads numbers in the order `from`.
fn turned_header(bytes: &[u8], from: ByteOrder) -> Result<Vec<u8>, GgufError> {
    let mut walker = Walker { bytes, from, out: Vec::new() };
    walker.copy(4, "magic")?;
    let version = walker.number(4, "version")?;
    if !(2..=3).contains(&version) {
        return Err(unturnable("the file", format!("version {version}"), "version 2 or 3"));
    }
    let tensor_count = walker.count("tensor count", limits::TENSOR_COUNT_MAX)?;
    let key_count = walker.count("key count", limits::KEY_COUNT_MAX)?;
    for _ in 0..key_count {
        walker.text("the name of a key")?;
        let kind = walker.number(4, "the type of a value")? as u32;
        walker.value(kind, 0)?;
    }
    for _ in 0..tensor_count {
        walker.text("the name of a tensor")?;
        let count = walker.count_of(4, "dimension count", u64::from(limits::DIMENSION_COUNT_MAX))?;
        for _ in 0..count {
            walker.number(8, "a dimension")?;
        }
        walker.number(4, "the type of a tensor")?;
        walker.number(8, "the offset of a tensor")?;
    }
    Ok(walker.out)
}

struct Walker<'b> {
    bytes: &'b [u8],
    from: ByteOrder,
    /// What was read, turned; as long as the place of the walker.
    out: Vec<u8>,
}

impl<'b> Walker<'b> {
    fn take(&self, length: usize, field: &str) -> Result<&'b [u8], GgufError> {
        let start = self.out.len();
        start.checked_add(length).and_then(|end| self.bytes.get(start..end)).ok_or_else(|| GgufError::Truncated {
            offset: start as u64,
            field: format!("the field `{field}`"),
            needed: length as u64,
            available: (self.bytes.len() - start) as u64,
        })
    }

    fn copy(&mut self, length: usize, field: &str) -> Result<(), GgufError> {
        let taken = self.take(length, field)?;
        self.out.extend(taken);
        Ok(())
    }

    /// The next number, of up to eight bytes.
    fn number(&mut self, width: usize, field: &str) -> Result<u64, GgufError> {
        let taken = self.take(width, field)?;
        let fold = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        let number = match self.from {
            ByteOrder::Big => taken.iter().fold(0, fold),
            ByteOrder::Little => taken.iter().rev().fold(0, fold),
        };
        self.out.extend(taken.iter().rev());
        Ok(number)
    }

    fn count(&mut self, field: &str, max: u64) -> Result<u64, GgufError> {
        self.count_of(8, field, max)
    }

    fn count_of(&mut self, width: usize, field: &str, max: u64) -> Result<u64, GgufError> {
        let offset = self.out.len() as u64;
        match self.number(width, field)? {
            count if count <= max => Ok(count),
            count => Err(GgufError::Malformed {
                offset,
                field: format!("the field `{field}`"),
                found: count.to_string(),
                expected: format!("at most {max}"),
            }),
        }
    }

    fn text(&mut self, field: &str) -> Result<(), GgufError> {
        let length = self.number(8, field)?;
        self.copy(usize::try_from(length).unwrap_or(usize::MAX), field)
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<(), GgufError> {
        let offset = self.out.len() as u64;
        let malformed = |found: String, expected: &str| GgufError::Malformed {
            offset,
            field: "the type of a value".to_owned(),
            found,
            expected: expected.to_owned(),
        };
        match kind {
            STRING => self.text("a text"),
            ARRAY if depth >= limits::ARRAY_DEPTH_MAX => Err(malformed("arrays in arrays".to_owned(), "fewer of them")),
            ARRAY => {
                let inner = self.number(4, "the type of elements")? as u32;
                let count = self.number(8, "the length of an array")?;
                // Every element takes a byte at least, so a length that lies ends at the end of the file.
                (0..count).try_for_each(|_| self.value(inner, depth + 1))
            }
            kind => match VALUE_BYTES.get(kind as usize) {
                Some(width) if *width > 0 => self.number(*width, "a value").map(drop),
                _ => Err(malformed(kind.to_string(), "0 to 12")),
            },
        }
    }
}
