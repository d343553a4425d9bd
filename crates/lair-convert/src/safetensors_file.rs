//! Writes safetensors files: tensors are declared first, their bytes are asked for one by one.
//!
//! The header is padded with spaces so that the data begin at a multiple of 8, as the format asks for.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use lair_gguf::TensorType;
use serde_json::{Map, Value as Json, json};

use crate::element::ElementType;
use crate::error::{ConvertError, Fault};

/// Where the data begin: at a multiple of this.
const ALIGNMENT: usize = 8;

/// A tensor that is to be written.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    /// Its name.
    pub(crate) name: String,
    /// How its elements are stored.
    pub(crate) element: ElementType,
    /// The slowest dimension first.
    pub(crate) shape: Vec<usize>,
    /// Bytes of its elements.
    pub(crate) size_bytes: u64,
}

/// A file of safetensors to be.
#[derive(Clone, Debug, Default)]
pub(crate) struct SafetensorsWriter {
    tensors: Vec<Declared>,
}

/// The type of checkpoints with the bits of a GGUF type; blocks have none.
pub(crate) fn element_of(tensor_type: TensorType) -> Option<ElementType> {
    ElementType::of_tensor_type(tensor_type)
}

impl SafetensorsWriter {
    /// Declares the next tensor.
    ///
    /// # Errors
    /// If the shape has more elements than fit.
    pub(crate) fn add(&mut self, name: &str, element: ElementType, shape: &[usize]) -> Result<(), ConvertError> {
        let count = crate::stored::element_count(shape).and_then(|count| count.checked_mul(element.size_bytes()));
        let size_bytes = count.ok_or_else(|| ConvertError::TensorShape {
            name: name.to_owned(),
            found: shape.to_vec(),
            expected: "a number of elements that fits".to_owned(),
        })?;
        let (name, shape) = (name.to_owned(), shape.to_vec());
        self.tensors.push(Declared { name, element, shape, size_bytes: size_bytes as u64 });
        Ok(())
    }

    /// Bytes of all tensors.
    pub(crate) fn data_bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.size_bytes).sum()
    }

    /// The length and the JSON before the data.
    fn header(&self) -> Vec<u8> {
        let mut entries = Map::new();
        entries.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
        let mut start = 0;
        for tensor in &self.tensors {
            let end = start + tensor.size_bytes;
            let entry = json!({"dtype": tensor.element.name(), "shape": tensor.shape, "data_offsets": [start, end]});
            entries.insert(tensor.name.clone(), entry);
            start = end;
        }
        let mut text = Json::Object(entries).to_string().into_bytes();
        text.resize(text.len().next_multiple_of(ALIGNMENT), b' ');
        [&(text.len() as u64).to_le_bytes()[..], &text].concat()
    }

    /// Writes the file at `path`; it appears there whole or not at all. `source` is called once for each tensor, in order.
    ///
    /// # Errors
    /// If it cannot be written, or `source` fails or writes too much or too little.
    pub(crate) fn write_file(
        &self,
        path: &Path,
        mut source: impl FnMut(&Declared, &mut dyn Write) -> io::Result<()>,
    ) -> Result<(), ConvertError> {
        let failed = |action| move |source| ConvertError::Io { action, path: path.to_owned(), source };
        let beside = beside(path);
        let write = || -> io::Result<()> {
            let mut out = BufWriter::new(File::create(&beside)?);
            out.write_all(&self.header())?;
            for tensor in &self.tensors {
                let mut counted = Counted { out: &mut out, bytes: 0 };
                source(tensor, &mut counted)?;
                if counted.bytes != tensor.size_bytes {
                    let said =
                        format!("`{}` has {} bytes, {} were given", tensor.name, tensor.size_bytes, counted.bytes);
                    return Err(io::Error::other(said));
                }
            }
            out.into_inner().map_err(|error| error.into_error())?.sync_all()?;
            std::fs::rename(&beside, path)
        };
        let mut write = write;
        write().map_err(failed("write")).inspect_err(|_| {
            // Half a file is of no use; that it cannot be removed adds nothing to what went wrong.
            let _ = std::fs::remove_file(&beside);
        })
    }
}

/// The name that a file has until it is whole.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    path.with_file_name(name)
}

struct Counted<'o> {
    out: &'o mut dyn Write,
    bytes: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes tensors into a folder as transformers does: one file, or parts of at most `part_bytes_max` with an index.
///
/// # Errors
/// As [`SafetensorsWriter::write_file`]; and if two tensors have one name.
pub(crate) fn write_model(
    folder: &Path,
    declared: &SafetensorsWriter,
    part_bytes_max: u64,
    mut source: impl FnMut(&Declared, &mut dyn Write) -> io::Result<()>,
) -> Result<(), ConvertError> {
    let mut names: Vec<&str> = declared.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Fault::malformed("a tensor", format!("`{}` twice", pair[0]), "each name once").in_file(folder));
    }
    std::fs::create_dir_all(folder).map_err(|source| ConvertError::Io {
        action: "create",
        path: folder.to_owned(),
        source,
    })?;
    let mut parts: Vec<SafetensorsWriter> = vec![SafetensorsWriter::default()];
    for tensor in &declared.tensors {
        let last = parts.last().expect("there is always one");
        if !last.tensors.is_empty() && last.data_bytes() + tensor.size_bytes > part_bytes_max {
            parts.push(SafetensorsWriter::default());
        }
        parts.last_mut().expect("there is always one").tensors.push(tensor.clone());
    }
    if let [only] = &parts[..] {
        return only.write_file(&folder.join("model.safetensors"), &mut source);
    }
    let mut map = Map::new();
    let count = parts.len();
    for (part, number) in parts.iter().zip(1..) {
        let name = format!("model-{number:05}-of-{count:05}.safetensors");
        part.write_file(&folder.join(&name), &mut source)?;
        part.tensors.iter().for_each(|tensor| drop(map.insert(tensor.name.clone(), json!(name))));
    }
    let index = json!({ "metadata": { "total_size": declared.data_bytes() }, "weight_map": map });
    let path = folder.join("model.safetensors.index.json");
    std::fs::write(&path, format!("{index:#}\n")).map_err(|source| ConvertError::Io { action: "write", path, source })
}
