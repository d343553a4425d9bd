//! What PyTorch saved before version 1.6: pickles one after the other, and then the storages.
//!
//! ```text
//! pickle   a magic number
//! pickle   the version of the protocol, 1001
//! pickle   a dictionary: `little_endian` and the widths of C's types
//! pickle   the object; a tensor in it refers to a storage by its key
//! pickle   the keys of the storages, in the order of what follows
//! then for each key: u64 number of elements, and the elements
//! ```
//!
//! Source: `torch.serialization._legacy_save`.

use std::collections::HashMap;

use super::pickle::{Machine, Node, Value};
use super::state::{self, Storage};
use crate::error::Fault;
use crate::stored::StoredTensor;

const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const PROTOCOL: i64 = 1001;

/// The tensors of the file.
pub(super) fn tensors(bytes: &[u8]) -> Result<Vec<StoredTensor>, Fault> {
    let mut position = 0;
    let mut next = || -> Result<Value, Fault> {
        let (value, length) = Machine::new(&bytes[position..]).run()?;
        position += length;
        Ok(value)
    };
    if !matches!(next()?.root(), Node::Long(magic) if **magic == MAGIC) {
        return Err(Fault::malformed("the first pickle", "another value", "the number that PyTorch begins files with"));
    }
    match next()?.root() {
        Node::Int(PROTOCOL) => {}
        _ => return Err(Fault::malformed("the second pickle", "another value", "1001, the version of the protocol")),
    }
    let system = next()?;
    if let Some(Node::Bool(false)) = system.entry(system.root(), "little_endian") {
        return Err(Fault::unsupported("a file whose numbers are big-endian"));
    }
    let object = next()?;
    let keys = next()?;
    let places = places(bytes, position, &object, &keys)?;
    state::tensors(&object, |key| places.get(key).copied())
}

/// Where each storage lies. How wide its elements are, only the object says.
fn places(bytes: &[u8], mut position: usize, object: &Value, keys: &Value) -> Result<HashMap<String, Storage>, Fault> {
    let Node::List(keys_listed) = keys.root() else {
        return Err(Fault::malformed("the pickle of keys", "another value", "a list of texts"));
    };
    let widths: HashMap<&str, usize> = object.storages().map(|storage| (&*storage.key, storage.width())).collect();
    let mut places = HashMap::new();
    for key in keys_listed {
        let Some(key) = keys.text(*key) else {
            return Err(Fault::malformed("the pickle of keys", "another value", "a list of texts"));
        };
        let what = || format!("storage `{key}`");
        let Some(width) = widths.get(key) else {
            return Err(Fault::malformed(what(), "no tensor that uses it", "one"));
        };
        let count =
            bytes.get(position..position + 8).map(|count| u64::from_le_bytes(count.try_into().expect("8 bytes")));
        let length = count.and_then(|count| count.checked_mul(*width as u64));
        let left = bytes.len().saturating_sub(position + 8) as u64;
        match length.filter(|length| *length <= left) {
            Some(length) => {
                places.insert(key.to_owned(), Storage { start: position as u64 + 8, length });
                position += 8 + length as usize;
            }
            None => {
                let found = count.map_or_else(|| "the end of the file".to_owned(), |count| format!("{count} elements"));
                return Err(Fault::malformed(what(), found, format!("at most {left} bytes of them")));
            }
        }
    }
    Ok(places)
}
