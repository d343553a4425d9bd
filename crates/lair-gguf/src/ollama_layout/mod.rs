//! Files that Ollama publishes, read as what they are elsewhere.
//!
//! Ollama's own converter names some architectures, keys and tensors differently, leaves keys out, and keeps vision towers in
//! the same file. What has to change for one family is one entry of [`families::FAMILIES`]: how such a file is told from
//! others, and a list of edits of its metadata and its table of tensors. No byte of a tensor changes. A file of any other
//! converter is told apart by its keys and stays as it is.
//!
//! Not covered, because bytes would have to change: the fused feed-forward of `glmocr`, and layers that predict several
//! tokens (`mtp.`), which are not seen. Towers for pictures and sound are not seen either.
//!
//! Source: Ollama's `llama/compat/README.md` and the comments of `llama-ollama-compat.cpp` beside it (MIT), for the names
//! and the defaults.

mod families;
mod odd;
#[cfg(test)]
mod tests;

use crate::metadata::Metadata;
use crate::tensor_info::TensorInfo;
use crate::value::{Array, Value};

use families::FAMILIES;

const ARCHITECTURE: &str = "general.architecture";

/// One family of Ollama's files.
struct Family {
    /// `general.architecture` as Ollama writes it.
    architecture: &'static str,
    /// Whether a file of this architecture is one of Ollama's.
    is_ollamas: fn(&Metadata, &[TensorInfo]) -> bool,
    edits: &'static [Edit],
}

/// A change of the metadata or of the table of tensors. Each does nothing where it finds nothing to change.
enum Edit {
    /// The architecture and the beginning of all its keys get this name.
    Architecture(&'static str),
    /// A key gets the value of another, unless it has one.
    CopyKey { from: &'static str, to: &'static str },
    /// A key gets a value, unless it has one.
    Default { key: &'static str, value: Setting },
    /// A key gets a value, whatever it has.
    Set { key: &'static str, value: Setting },
    /// A key gets a text, unless it has one that says something: a missing one and `default` do not.
    Name { key: &'static str, text: &'static str },
    /// A key says what a dimension of a tensor is. In the tensor's name `#` stands for the first layer that has it.
    FromShape { key: &'static str, tensor: &'static str, dimension: usize },
    /// A key says how many elements the list of another has, unless it has a value.
    CountOf { from: &'static str, to: &'static str },
    /// A key goes.
    Remove(&'static str),
    /// A key that is a list with one number a layer becomes the largest of them.
    Largest(&'static str),
    /// A key that is a list gets zeros at its end, up to this length, and another name.
    Pad { from: &'static str, to: &'static str, length: usize },
    /// A tensor gets another name.
    RenameTensor { from: &'static str, to: &'static str },
    /// A part of a tensor's name, between dots, becomes another.
    RenamePart { from: &'static str, to: &'static str },
    /// A tensor whose name ends like this gets an ending.
    AddEnding { behind: &'static str, ending: &'static str },
    /// Tensors whose name begins like this are not seen.
    Hide(&'static str),
    /// What no other edit can say.
    Odd(fn(&mut Metadata, &mut [TensorInfo])),
}

/// A value of a key.
enum Setting {
    Number(f32),
    Count(u32),
    Text(&'static str),
    Sections([i32; 4]),
}

impl Setting {
    fn value(&self) -> Value {
        match self {
            Setting::Number(number) => Value::from(*number),
            Setting::Count(count) => Value::from(*count),
            Setting::Text(text) => Value::from(*text),
            Setting::Sections(sections) => Value::from(sections.to_vec()),
        }
    }
}

/// A family may turn out to be a part of another one; not of a third.
const PASSES_MAX: usize = 2;

/// Changes what a file of Ollama's says to what other programs' files say.
pub(crate) fn translate(metadata: &mut Metadata, tensors: &mut Vec<TensorInfo>) {
    for _ in 0..PASSES_MAX {
        let Some(architecture) = metadata.get(ARCHITECTURE).and_then(Value::as_str).map(str::to_string) else { return };
        let is_meant = |family: &&Family| family.architecture == architecture && (family.is_ollamas)(metadata, tensors);
        let Some(family) = FAMILIES.iter().find(is_meant) else { return };
        for edit in family.edits {
            apply(edit, family, metadata, tensors);
        }
        if metadata.get(ARCHITECTURE).and_then(Value::as_str) == Some(&architecture) {
            return;
        }
    }
}

fn apply(edit: &Edit, family: &Family, metadata: &mut Metadata, tensors: &mut Vec<TensorInfo>) {
    match edit {
        Edit::Architecture(name) => rename_architecture(metadata, family.architecture, name),
        Edit::CopyKey { from, to } => {
            if let (Some(value), false) = (metadata.get(from).cloned(), metadata.contains(to)) {
                metadata.set(to, value);
            }
        }
        Edit::Default { key, value } => {
            if !metadata.contains(key) {
                metadata.set(key, value.value());
            }
        }
        Edit::Set { key, value } => metadata.set(key, value.value()),
        Edit::Name { key, text } => {
            let is_set = match metadata.get(key) {
                None => false,
                Some(value) => !value.as_str().is_some_and(|text| text.is_empty() || text == "default"),
            };
            if !is_set {
                metadata.set(key, *text);
            }
        }
        Edit::CountOf { from, to } => {
            let length = metadata.get(from).and_then(Value::as_array).map_or(0, Array::len);
            if let (Ok(length), false) = (u32::try_from(length), metadata.contains(to)) {
                metadata.set(to, length);
            }
        }
        Edit::Remove(key) => drop(metadata.remove(key)),
        Edit::FromShape { key, tensor, dimension } => {
            let found = tensors.iter().find(|info| is_named(&info.name, tensor));
            let size = found.and_then(|info| u32::try_from(*info.shape.get(*dimension)?).ok());
            if let Some(size) = size {
                metadata.set(key, size);
            }
        }
        Edit::Largest(key) => {
            if let Some(largest) = metadata.get(key).and_then(Value::as_array).and_then(largest) {
                metadata.set(key, largest);
            }
        }
        Edit::Pad { from, to, length } => {
            let padded = metadata.get(from).and_then(Value::as_array).and_then(|array| padded(array, *length));
            if let Some(padded) = padded {
                metadata.remove(from);
                metadata.set(to, padded);
            }
        }
        Edit::RenameTensor { from, to } => rename(tensors, |name| if name == *from { to } else { name }.to_string()),
        Edit::RenamePart { from, to } => rename(tensors, |name| {
            let parts: Vec<&str> = name.split('.').map(|part| if part == *from { to } else { part }).collect();
            parts.join(".")
        }),
        Edit::AddEnding { behind, ending } => {
            rename(tensors, |name| if name.ends_with(behind) { format!("{name}{ending}") } else { name.to_string() })
        }
        Edit::Hide(prefix) => tensors.retain(|info| !info.name.starts_with(prefix)),
        Edit::Odd(edit) => edit(metadata, tensors),
    }
}

/// Whether a tensor has this name, in which `#` is the number of any layer.
fn is_named(name: &str, pattern: &str) -> bool {
    let Some((before, after)) = pattern.split_once('#') else { return name == pattern };
    let number = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Gives the architecture and its keys another name.
fn rename_architecture(metadata: &mut Metadata, from: &str, to: &str) {
    metadata.set(ARCHITECTURE, to);
    let prefix = format!("{from}.");
    let keys: Vec<String> =
        metadata.iter().map(|(key, _)| key).filter(|key| key.starts_with(&prefix)).map(str::to_string).collect();
    for key in keys {
        let renamed = format!("{to}.{}", &key[prefix.len()..]);
        if let (Some(value), false) = (metadata.remove(&key), metadata.contains(&renamed)) {
            metadata.set(&renamed, value);
        }
    }
}

/// Renames tensors, but for those whose new name another one has.
fn rename(tensors: &mut [TensorInfo], name_of: impl Fn(&str) -> String) {
    let taken: std::collections::HashSet<String> = tensors.iter().map(|info| info.name.clone()).collect();
    for info in tensors {
        let renamed = name_of(&info.name);
        if !taken.contains(&renamed) {
            info.name = renamed;
        }
    }
}

fn largest(array: &Array) -> Option<u32> {
    let numbers: Option<Vec<i128>> = (0..array.len()).map(|index| array.integer(index)).collect();
    numbers?.into_iter().max().and_then(|largest| u32::try_from(largest).ok())
}

/// The array with zeros at its end; nothing if it is long enough, or holds no whole numbers.
fn padded(array: &Array, length: usize) -> Option<Vec<i32>> {
    if array.is_empty() || array.len() > length {
        return None;
    }
    let numbers = (0..array.len()).map(|index| array.integer(index).and_then(|number| i32::try_from(number).ok()));
    let mut numbers: Vec<i32> = numbers.collect::<Option<_>>()?;
    numbers.resize(length, 0);
    Some(numbers)
}
