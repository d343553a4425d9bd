//! Writes model files: version 3, little-endian, whole or in shards.
//!
//! The tensors are declared first, which fixes the header; their bytes are asked for one tensor at a time while the
//! file is written, so that a model larger than memory can be made.

use std::io::{self, Write};
use std::path::Path;

use crate::TensorType;
use crate::cursor::fault_of_name;
use crate::error::GgufError;
use crate::file::GgufFile;
use crate::header::{alignment, limits, size_of_tensor};
use crate::metadata::Metadata;
use crate::new_file::NewFile;
use crate::tensor_info::TensorInfo;
use crate::value::{Value, encode_string};

/// A model file to be: metadata and the list of its tensors.
#[derive(Clone, Debug)]
pub struct GgufWriter {
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    alignment: u64,
}

impl GgufWriter {
    /// A file with these keys, in this order, and no tensors yet. `general.alignment` among them is obeyed.
    ///
    /// # Errors
    /// If a key is empty or too long, there are too many, or the alignment is none.
    pub fn new(metadata: Metadata) -> Result<GgufWriter, GgufError> {
        if metadata.len() as u64 > limits::KEY_COUNT_MAX {
            return Err(unwritable("the metadata", metadata.len(), format!("at most {} keys", limits::KEY_COUNT_MAX)));
        }
        for (key, _) in metadata.iter() {
            if let Some((found, expected)) = fault_of_name(key, limits::KEY_LENGTH_MAX) {
                return Err(unwritable("the name of a key", found, expected));
            }
        }
        let alignment = alignment(&metadata)
            .map_err(|(found, expected)| unwritable("the key `general.alignment`", found, expected))?;
        Ok(GgufWriter { metadata, tensors: Vec::new(), alignment: alignment.into() })
    }

    /// A file with the keys and tensors of `model`, joined into one if it is split.
    ///
    /// # Errors
    /// As [`new`](GgufWriter::new) and [`add_tensor`](GgufWriter::add_tensor).
    pub fn like(model: &GgufFile) -> Result<GgufWriter, GgufError> {
        let mut metadata = model.metadata().clone();
        for key in ["split.no", "split.count", "split.tensors.count"] {
            metadata.remove(key);
        }
        let mut writer = GgufWriter::new(metadata)?;
        for tensor in model.tensors() {
            writer.add_tensor(&tensor.name, &tensor.shape, tensor.tensor_type)?;
        }
        writer.check()?;
        Ok(writer)
    }

    /// Declares the next tensor; `shape` has the fastest dimension first. Gives where its bytes will stand.
    ///
    /// # Errors
    /// If the name is empty or too long, or no tensor has such a shape in this type. That a name comes twice is found
    /// when the file is written.
    pub fn add_tensor(&mut self, name: &str, shape: &[u64], tensor_type: TensorType) -> Result<&TensorInfo, GgufError> {
        let what = || format!("tensor `{name}`");
        if let Some((found, expected)) = fault_of_name(name, limits::TENSOR_NAME_LENGTH_MAX) {
            return Err(unwritable(what(), format!("a name of {found}"), expected));
        }
        if shape.is_empty() || shape.len() > limits::DIMENSION_COUNT_MAX as usize {
            let expected = format!("1 to {} dimensions", limits::DIMENSION_COUNT_MAX);
            return Err(unwritable(what(), shape.len(), expected));
        }
        let size_bytes = size_of_tensor(shape, tensor_type)
            .map_err(|expected| unwritable(what(), format!("the shape {shape:?}"), expected))?;
        let offset = self.tensors.last().map_or(0, |last| self.padded_end(last));
        // Room for the header too, so that positions in the file fit.
        if offset.checked_add(size_bytes).is_none_or(|end| end > i64::MAX as u64 / 2) {
            return Err(unwritable(what(), format!("{size_bytes} bytes at {offset}"), "an end below 2^62"));
        }
        let (name, shape) = (name.to_owned(), shape.to_vec());
        self.tensors.push(TensorInfo { name, shape, tensor_type, offset, size_bytes, shard: 0 });
        Ok(&self.tensors[self.tensors.len() - 1])
    }

    /// The keys.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The tensors declared so far.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// How many bytes the file will have.
    pub fn size_bytes(&self) -> u64 {
        self.header().len() as u64 + self.tensors.last().map_or(0, |last| self.padded_end(last))
    }

    /// Writes the file to `out`. `source` is called once for each tensor, in order, and writes its bytes: exactly
    /// `size_bytes` of it.
    ///
    /// # Errors
    /// If a name comes twice, if `source` fails or writes too much or too little, or if `out` cannot be written.
    pub fn write(
        &self,
        out: &mut impl Write,
        mut source: impl FnMut(&TensorInfo, &mut dyn Write) -> io::Result<()>,
    ) -> Result<(), GgufError> {
        self.check()?;
        self.write_to(out, Path::new("output"), &mut source)
    }

    /// Writes the file at `path`. It appears there whole or not at all; one that was there is replaced.
    ///
    /// # Errors
    /// As [`write`](GgufWriter::write).
    pub fn write_file(
        &self,
        path: impl AsRef<Path>,
        mut source: impl FnMut(&TensorInfo, &mut dyn Write) -> io::Result<()>,
    ) -> Result<(), GgufError> {
        self.check()?;
        let mut file = NewFile::create(path.as_ref())?;
        self.write_to(&mut file, path.as_ref(), &mut source)?;
        file.finish()?.publish()
    }

    pub(crate) fn write_to(
        &self,
        out: &mut impl Write,
        path: &Path,
        source: &mut impl FnMut(&TensorInfo, &mut dyn Write) -> io::Result<()>,
    ) -> Result<(), GgufError> {
        let failed = |source| GgufError::Io { action: "write", path: path.to_owned(), source };
        out.write_all(&self.header()).map_err(failed)?;
        for tensor in &self.tensors {
            let mut counted = Counted { out, room: tensor.size_bytes };
            source(tensor, &mut counted).map_err(failed)?;
            if counted.room != 0 {
                let found = format!("{} bytes of data", tensor.size_bytes - counted.room);
                return Err(unwritable(format!("tensor `{}`", tensor.name), found, tensor.size_bytes));
            }
            let padding = self.padded_end(tensor) - (tensor.offset + tensor.size_bytes);
            io::copy(&mut io::Read::take(io::repeat(0), padding), out).map_err(failed)?;
        }
        out.flush().map_err(failed)
    }

    /// What only all tensors together can break.
    pub(crate) fn check(&self) -> Result<(), GgufError> {
        if self.tensors.len() as u64 > limits::TENSOR_COUNT_MAX {
            let expected = format!("at most {}", limits::TENSOR_COUNT_MAX);
            return Err(unwritable("the tensors", self.tensors.len(), expected));
        }
        let mut names: Vec<&str> = self.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(unwritable(format!("tensor `{}`", pair[0]), "the name twice", "each name once")),
            None => Ok(()),
        }
    }

    /// Magic to padding: everything before the data section.
    fn header(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in self.metadata.iter() {
            encode_string(key, &mut bytes);
            encode_value(value, &mut bytes);
        }
        for tensor in &self.tensors {
            encode_string(&tensor.name, &mut bytes);
            bytes.extend((tensor.shape.len() as u32).to_le_bytes());
            tensor.shape.iter().for_each(|length| bytes.extend(length.to_le_bytes()));
            bytes.extend(tensor.tensor_type.id().to_le_bytes());
            bytes.extend(tensor.offset.to_le_bytes());
        }
        bytes.resize(bytes.len().next_multiple_of(self.alignment as usize), 0);
        bytes
    }

    fn padded_end(&self, tensor: &TensorInfo) -> u64 {
        (tensor.offset + tensor.size_bytes).next_multiple_of(self.alignment)
    }
}

/// The type and the value of a key, as files of version 2 and 3 hold them behind the key.
pub fn encoded_value(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_value(value, &mut bytes);
    bytes
}

/// Type and value, as a file holds them.
fn encode_value(value: &Value, into: &mut Vec<u8>) {
    into.extend((value.value_type() as u32).to_le_bytes());
    match value {
        Value::U8(number) => into.push(*number),
        Value::I8(number) => into.extend(number.to_le_bytes()),
        Value::U16(number) => into.extend(number.to_le_bytes()),
        Value::I16(number) => into.extend(number.to_le_bytes()),
        Value::U32(number) => into.extend(number.to_le_bytes()),
        Value::I32(number) => into.extend(number.to_le_bytes()),
        Value::F32(number) => into.extend(number.to_le_bytes()),
        Value::U64(number) => into.extend(number.to_le_bytes()),
        Value::I64(number) => into.extend(number.to_le_bytes()),
        Value::F64(number) => into.extend(number.to_le_bytes()),
        Value::Bool(truth) => into.push(u8::from(*truth)),
        Value::String(text) => encode_string(text, into),
        Value::Array(array) => array.encode(into),
    }
}

/// Lets through as many bytes as a tensor has, and no more.
struct Counted<'a, W> {
    out: &'a mut W,
    room: u64,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.room {
            let message = format!("{} bytes more than the tensor has", bytes.len() as u64 - self.room);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let written = self.out.write(bytes)?;
        self.room -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

pub(crate) fn unwritable(what: impl ToString, found: impl ToString, expected: impl ToString) -> GgufError {
    GgufError::Unwritable { what: what.to_string(), found: found.to_string(), expected: expected.to_string() }
}
