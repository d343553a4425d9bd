//! The archive that PyTorch saves since version 1.6: a zip file whose records are stored as they are.
//!
//! ```text
//! <name>/data.pkl      the pickle; a tensor in it refers to a storage by its key
//! <name>/data/<key>    the bytes of that storage
//! <name>/byteorder     `little` or `big`, where it is there
//! ```
//!
//! Source of the layout: PKWARE's "APPNOTE.TXT", sections 4.3 and 4.5.3. Only what such archives use is read: no
//! compression, no encryption, one disk.

use std::collections::HashMap;
use std::ops::Range;

use super::pickle::{Machine, STORAGE_COUNT_MAX};
use super::state::{self, Storage};
use crate::error::Fault;
use crate::stored::StoredTensor;

const END_BYTES: usize = 22;
const END_COMMENT_MAX: usize = u16::MAX as usize;
const RECORD_BYTES: usize = 46;
const LOCAL_BYTES: usize = 30;
/// Keys of storages, the pickle, and a few records that are not read.
const RECORD_COUNT_MAX: u64 = STORAGE_COUNT_MAX as u64 + 64;

/// The tensors of the archive.
pub(super) fn tensors(bytes: &[u8]) -> Result<Vec<StoredTensor>, Fault> {
    let records = records(bytes)?;
    let pickle = records.iter().find(|(name, _)| name.ends_with("/data.pkl") || **name == "data.pkl");
    let Some((pickle_name, pickle)) = pickle else {
        return Err(Fault::malformed("the archive", "no record `data.pkl`", "one, as PyTorch writes"));
    };
    let root = pickle_name.strip_suffix("data.pkl").unwrap_or_default();
    if let Some(order) = records.get(format!("{root}byteorder").as_str())
        && &bytes[order.clone()] != b"little"
    {
        return Err(Fault::unsupported("an archive whose numbers are big-endian"));
    }
    if records.contains_key(format!("{root}constants.pkl").as_str()) {
        return Err(Fault::unsupported("a TorchScript archive, which holds a program,"));
    }
    let value = Machine::new(&bytes[pickle.clone()]).run()?.0;
    state::tensors(&value, |key| {
        let range = records.get(format!("{root}data/{key}").as_str())?;
        Some(Storage { start: range.start as u64, length: range.len() as u64 })
    })
}

/// The records by name, each with the place of its bytes, which lies within the file.
fn records(bytes: &[u8]) -> Result<HashMap<&str, Range<usize>>, Fault> {
    let Directory { count, start, length } = directory(bytes)?;
    let end = start.checked_add(length).filter(|end| *end <= bytes.len() as u64);
    let Some(end) = end else {
        return Err(Fault::malformed("the archive's directory", format!("{length} bytes at {start}"), "a place in it"));
    };
    if count > RECORD_COUNT_MAX || count > length / RECORD_BYTES as u64 {
        return Err(Fault::malformed("the archive", format!("{count} records"), "as many as its directory holds"));
    }
    let mut rest = &bytes[start as usize..end as usize];
    let mut records = HashMap::new();
    for _ in 0..count {
        let (name, record, behind) = record(bytes, rest)?;
        rest = behind;
        if records.insert(name, record).is_some() {
            return Err(Fault::malformed("the archive", format!("`{name}` twice"), "each name once"));
        }
    }
    Ok(records)
}

struct Directory {
    count: u64,
    start: u64,
    length: u64,
}

/// Finds the end record, and the one of 64 bits where there is one.
fn directory(bytes: &[u8]) -> Result<Directory, Fault> {
    let missing = || Fault::malformed("the archive", "no end record", "one: the file may be cut");
    let first = bytes.len().saturating_sub(END_BYTES + END_COMMENT_MAX);
    let place = (first..=bytes.len().checked_sub(END_BYTES).ok_or_else(missing)?)
        .rev()
        .find(|place| bytes[*place..].starts_with(b"PK\x05\x06"))
        .ok_or_else(missing)?;
    let end = &bytes[place..];
    let (count, length, start) = (u16_at(end, 10), u32_at(end, 12), u32_at(end, 16));
    let short = Directory { count: count.into(), start: start.into(), length: length.into() };
    if count != u16::MAX && length != u32::MAX && start != u32::MAX {
        return Ok(short);
    }
    // The locator stands right before, and says where the record of 64 bits is.
    let locator = place.checked_sub(20).map(|start| &bytes[start..place]).filter(|l| l.starts_with(b"PK\x06\x07"));
    let Some(locator) = locator else { return Ok(short) };
    let record = usize::try_from(u64_at(locator, 8)).ok().and_then(|start| bytes.get(start..));
    match record.filter(|record| record.len() >= 56 && record.starts_with(b"PK\x06\x06")) {
        Some(record) => {
            Ok(Directory { count: u64_at(record, 32), length: u64_at(record, 40), start: u64_at(record, 48) })
        }
        None => Err(Fault::malformed("the archive's locator", "a place without an end record", "one")),
    }
}

/// The first record of the directory, with the place of its bytes and what stands behind it.
fn record<'a>(bytes: &'a [u8], directory: &'a [u8]) -> Result<(&'a str, Range<usize>, &'a [u8]), Fault> {
    let broken = |found: &str| Fault::malformed("a record of the archive", found, "a whole one");
    if directory.len() < RECORD_BYTES || !directory.starts_with(b"PK\x01\x02") {
        return Err(broken("the directory ends within it"));
    }
    let (flags, method) = (u16_at(directory, 8), u16_at(directory, 10));
    let lengths = [28, 30, 32].map(|place| usize::from(u16_at(directory, place)));
    let [name_length, extra_length, comment_length] = lengths;
    let behind = directory.get(RECORD_BYTES + name_length + extra_length + comment_length..);
    let behind = behind.ok_or_else(|| broken("the directory ends within it"))?;
    let name = std::str::from_utf8(&directory[RECORD_BYTES..RECORD_BYTES + name_length]);
    let name = name.map_err(|_| broken("a name that is no UTF-8"))?;
    let extra = &directory[RECORD_BYTES + name_length..RECORD_BYTES + name_length + extra_length];
    let [packed, unpacked, start] = wide_fields(directory, extra).ok_or_else(|| broken("64-bit fields cut off"))?;
    let what = format!("record `{name}` of the archive");
    if flags & 1 != 0 {
        return Err(Fault::unsupported(format!("{what}, which is encrypted,")));
    }
    if method != 0 || packed != unpacked {
        return Err(Fault::unsupported(format!("{what}, which is compressed,")));
    }
    let local = usize::try_from(start).ok().and_then(|start| bytes.get(start..));
    let local = local.filter(|local| local.len() >= LOCAL_BYTES && local.starts_with(b"PK\x03\x04"));
    let local = local.ok_or_else(|| Fault::malformed(&what, format!("its start at {start}"), "a record there"))?;
    let skipped = LOCAL_BYTES + usize::from(u16_at(local, 26)) + usize::from(u16_at(local, 28));
    let data = (bytes.len() - local.len()).checked_add(skipped);
    let range = data.and_then(|data| Some(data..data.checked_add(usize::try_from(unpacked).ok()?)?));
    match range.filter(|range| range.end <= bytes.len()) {
        Some(range) => Ok((name, range, behind)),
        None => Err(Fault::malformed(&what, format!("{unpacked} bytes"), "as many as the file has")),
    }
}

/// Packed and unpacked size and place, from the record or, where they do not fit there, from its extra field 1.
fn wide_fields(record: &[u8], extra: &[u8]) -> Option<[u64; 3]> {
    let short = [20, 24, 42].map(|place| u32_at(record, place));
    let mut rest = extra;
    let mut wide: &[u8] = &[];
    while rest.len() >= 4 {
        let (id, length) = (u16_at(rest, 0), usize::from(u16_at(rest, 2)));
        let content = rest.get(4..4 + length)?;
        if id == 1 {
            wide = content;
        }
        rest = &rest[4 + length..];
    }
    // The order there is unpacked, packed, place.
    let mut take = |short: u32| -> Option<u64> {
        if short != u32::MAX {
            return Some(short.into());
        }
        let value = wide.get(..8).map(|bytes| u64_at(bytes, 0))?;
        wide = &wide[8..];
        Some(value)
    };
    let unpacked = take(short[1])?;
    let packed = take(short[0])?;
    Some([packed, unpacked, take(short[2])?])
}

fn u16_at(bytes: &[u8], place: usize) -> u16 {
    u16::from_le_bytes([bytes[place], bytes[place + 1]])
}

fn u32_at(bytes: &[u8], place: usize) -> u32 {
    u32::from_le_bytes(bytes[place..place + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], place: usize) -> u64 {
    u64::from_le_bytes(bytes[place..place + 8].try_into().expect("eight bytes"))
}
