//! Importance matrices: for each tensor, the mean square of what each of its columns is multiplied with.
//!
//! They come in two formats. The one in GGUF has two tensors for each tensor of the model, `NAME.in_sum2` with sums of
//! squares `[columns, experts]` and `NAME.counts` with how many rows went into them `[1, experts]`. The older one is a list:
//!
//! ```text
//! i32 entry count, and for each entry:
//!     i32 length of the name, the name, i32 calls, i32 value count, f32 values (means times calls)
//! i32 chunk count, i32 length of the data set's name, the name          (may be missing)
//! ```
//!
//! Source: llama.cpp, `tools/imatrix` and its loader.

use std::collections::BTreeMap;
use std::path::Path;

use lair_gguf::{Array, GgufFile, GgufWriter, Metadata, TensorType, Value};

use super::error::QuantizeError;

/// The older format may not claim more than this; the largest models have some thousand tensors.
const ENTRY_COUNT_MAX: usize = 1 << 20;
const NAME_LENGTH_MAX: usize = 4096;

/// What was added up for a tensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// `[experts, columns]`: sums of squares.
    pub sums: Vec<f32>,
    /// `[experts]`: rows that were added up.
    pub counts: Vec<f32>,
}

impl Entry {
    /// `[experts, columns]`: the means; 1 for an expert that saw nothing.
    pub fn means(&self) -> Vec<f32> {
        let columns = (self.sums.len() / self.counts.len().max(1)).max(1);
        let means = self.sums.chunks(columns).zip(&self.counts).flat_map(|(sums, count)| {
            let mean = move |sum: &f32| if *count > 0.0 { sum / count } else { 1.0 };
            sums.iter().map(mean)
        });
        means.collect()
    }
}

/// What the counts of a matrix count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Counted {
    /// Rows that were added up.
    #[default]
    Rows,
    /// Pieces of text: the older format knows no better.
    Chunks,
}

/// An importance matrix.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImportanceMatrix {
    /// By the names of tensors.
    pub entries: BTreeMap<String, Entry>,
    /// The texts it was computed on.
    pub datasets: Vec<String>,
    /// Pieces of text that went into it; 0 if that is not known.
    pub chunk_count: u32,
    /// Tokens of a piece; 0 if that is not known.
    pub chunk_size: u32,
    /// What the counts of its entries count.
    pub counted: Counted,
}

impl ImportanceMatrix {
    /// Reads either format.
    ///
    /// # Errors
    /// If the file cannot be read or is neither.
    pub fn read(path: &Path) -> Result<ImportanceMatrix, QuantizeError> {
        let failed = |source| QuantizeError::Io { action: "read", path: path.to_owned(), source };
        let mut magic = [0; 4];
        let mut file = std::fs::File::open(path).map_err(failed)?;
        let is_gguf = std::io::Read::read_exact(&mut file, &mut magic).is_ok() && &magic == b"GGUF";
        let matrix = if is_gguf {
            ImportanceMatrix::read_gguf(path)?
        } else {
            let bytes = std::fs::read(path).map_err(failed)?;
            ImportanceMatrix::parse_old(&bytes).map_err(|(found, at)| bad(path, found, format!("it at byte {at}")))?
        };
        for (name, entry) in &matrix.entries {
            if entry.sums.iter().chain(&entry.counts).any(|number| !number.is_finite()) {
                return Err(bad(
                    path,
                    format!("a number that is not finite for `{name}`"),
                    "finite numbers".to_owned(),
                ));
            }
        }
        Ok(matrix)
    }

    fn read_gguf(path: &Path) -> Result<ImportanceMatrix, QuantizeError> {
        let file = GgufFile::open(path)?;
        let metadata = file.metadata();
        let kind = metadata.optional_str("general.type")?.unwrap_or_default();
        if kind != "imatrix" {
            return Err(bad(path, format!("`general.type` is `{kind}`"), "`imatrix`".to_owned()));
        }
        let datasets = match metadata.get("imatrix.datasets").and_then(Value::as_array).and_then(Array::as_strings) {
            Some(texts) => texts.iter().map(str::to_owned).collect(),
            None => Vec::new(),
        };
        let number = |key: &str| metadata.optional_u32(key).map(Option::unwrap_or_default);
        let (chunk_count, chunk_size) = (number("imatrix.chunk_count")?, number("imatrix.chunk_size")?);
        let mut entries = BTreeMap::new();
        for tensor in file.tensors() {
            let Some(name) = tensor.name.strip_suffix(".in_sum2") else { continue };
            let counts = file.required_tensor(&format!("{name}.counts"))?;
            let read = |tensor: &lair_gguf::TensorInfo| {
                let mut values = vec![0.0; tensor.element_count() as usize];
                lair_quant::dequantize(tensor.tensor_type, &file.tensor_data(tensor), &mut values)?;
                Ok::<_, QuantizeError>(values)
            };
            let entry = Entry { sums: read(tensor)?, counts: read(counts)? };
            if entry.counts.is_empty() || !entry.sums.len().is_multiple_of(entry.counts.len()) {
                let found = format!("{} sums and {} counts for `{name}`", entry.sums.len(), entry.counts.len());
                return Err(bad(path, found, "as many sums for each count".to_owned()));
            }
            entries.insert(name.to_owned(), entry);
        }
        Ok(ImportanceMatrix { entries, datasets, chunk_count, chunk_size, counted: Counted::Rows })
    }

    /// The older format; an error says what was found, and where.
    fn parse_old(bytes: &[u8]) -> Result<ImportanceMatrix, (String, usize)> {
        let mut reader = Reader { bytes, at: 0 };
        let mut matrix = ImportanceMatrix { counted: Counted::Chunks, ..ImportanceMatrix::default() };
        let entry_count = reader.count("entries", ENTRY_COUNT_MAX)?;
        for _ in 0..entry_count {
            let name = reader.text()?;
            let calls = reader.count("calls", i32::MAX as usize)?;
            let value_count = reader.count("values", (bytes.len() - reader.at) / 4)?;
            let values = reader.take(4 * value_count)?;
            let sums = values.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            matrix.entries.insert(name, Entry { sums, counts: vec![(calls as f32).max(1.0)] });
        }
        if reader.at < bytes.len() {
            matrix.chunk_count = reader.count("chunks", i32::MAX as usize)? as u32;
            matrix.datasets.push(reader.text()?);
        }
        Ok(matrix)
    }

    /// Writes the format in GGUF.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), QuantizeError> {
        let mut metadata = Metadata::default();
        metadata.set("general.type", "imatrix");
        let datasets: Vec<&str> = self.datasets.iter().map(String::as_str).collect();
        metadata.set("imatrix.datasets", Value::Array(Array::String(datasets.into_iter().collect())));
        metadata.set("imatrix.chunk_count", Value::U32(self.chunk_count));
        metadata.set("imatrix.chunk_size", Value::U32(self.chunk_size));
        let mut writer = GgufWriter::new(metadata)?;
        for (name, entry) in &self.entries {
            let experts = entry.counts.len() as u64;
            let columns = entry.sums.len() as u64 / experts.max(1);
            writer.add_tensor(&format!("{name}.in_sum2"), &[columns, experts], TensorType::F32)?;
            writer.add_tensor(&format!("{name}.counts"), &[1, experts], TensorType::F32)?;
        }
        writer.write_file(path, |tensor, out| {
            let numbers = match tensor.name.strip_suffix(".in_sum2") {
                Some(name) => &self.entries[name].sums,
                None => &self.entries[tensor.name.trim_end_matches(".counts")].counts,
            };
            numbers.iter().try_for_each(|number| out.write_all(&number.to_le_bytes()))
        })?;
        Ok(())
    }

    /// Writes the older format. Counts of experts are lost: their means are stored. Tensors that saw nothing are left out.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_old(&self, path: &Path) -> Result<(), QuantizeError> {
        let seen = || self.entries.iter().filter(|(_, entry)| entry.counts.iter().any(|count| *count > 0.0));
        let mut bytes = (seen().count() as i32).to_le_bytes().to_vec();
        let put_text = |bytes: &mut Vec<u8>, text: &str| {
            bytes.extend((text.len() as i32).to_le_bytes());
            bytes.extend(text.as_bytes());
        };
        let calls = self.chunk_count.max(1);
        for (name, entry) in seen() {
            put_text(&mut bytes, name);
            bytes.extend((calls as i32).to_le_bytes());
            bytes.extend((entry.sums.len() as i32).to_le_bytes());
            entry.means().iter().for_each(|mean| bytes.extend((mean * calls as f32).to_le_bytes()));
        }
        bytes.extend((self.chunk_count as i32).to_le_bytes());
        put_text(&mut bytes, self.datasets.first().map_or("", String::as_str));
        std::fs::write(path, bytes).map_err(|source| QuantizeError::Io {
            action: "write",
            path: path.to_owned(),
            source,
        })
    }

    /// Makes rows of counted pieces of text, of so many tokens each if the matrix does not say it.
    pub fn count_rows(&mut self, chunk_size: u32) {
        if self.counted == Counted::Rows {
            return;
        }
        if self.chunk_size == 0 {
            self.chunk_size = chunk_size;
        }
        let factor = self.chunk_size as f32;
        for entry in self.entries.values_mut() {
            entry.sums.iter_mut().chain(&mut entry.counts).for_each(|number| *number *= factor);
        }
        self.counted = Counted::Rows;
    }

    /// Adds another matrix to this one.
    ///
    /// # Errors
    /// If a tensor has another shape there, or one counts rows and the other pieces of text.
    pub fn merge(&mut self, other: &ImportanceMatrix) -> Result<(), QuantizeError> {
        if self.counted != other.counted {
            return Err(QuantizeError::ImportanceCounts);
        }
        for (name, theirs) in &other.entries {
            let Some(ours) = self.entries.get_mut(name) else {
                self.entries.insert(name.clone(), theirs.clone());
                continue;
            };
            // The older format has one count for all experts.
            let experts = ours.counts.len().max(theirs.counts.len());
            let counts = match theirs.counts[..] {
                [count] => vec![count; experts],
                _ => theirs.counts.clone(),
            };
            if let [count] = ours.counts[..] {
                ours.counts = vec![count; experts];
            }
            if (ours.sums.len(), ours.counts.len()) != (theirs.sums.len(), counts.len()) {
                return Err(QuantizeError::ImportanceShape {
                    tensor: name.clone(),
                    found: theirs.sums.len() as u64,
                    expected: ours.sums.len() as u64,
                });
            }
            ours.sums.iter_mut().zip(&theirs.sums).for_each(|(ours, theirs)| *ours += theirs);
            ours.counts.iter_mut().zip(&counts).for_each(|(ours, theirs)| *ours += theirs);
        }
        for dataset in &other.datasets {
            if !self.datasets.contains(dataset) {
                self.datasets.push(dataset.clone());
            }
        }
        self.chunk_count += other.chunk_count;
        self.chunk_size = self.chunk_size.max(other.chunk_size);
        Ok(())
    }

    /// Keeps the entries whose names hold one of `included` (all, if there are none) and none of `excluded`.
    pub fn restrict(&mut self, included: &[String], excluded: &[String]) {
        let holds = |name: &str, parts: &[String]| parts.iter().any(|part| name.contains(part.as_str()));
        self.entries.retain(|name, _| (included.is_empty() || holds(name, included)) && !holds(name, excluded));
    }
}

fn bad(path: &Path, found: String, expected: String) -> QuantizeError {
    QuantizeError::BadImportance { path: path.to_owned(), found, expected }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], (String, usize)> {
        let rest = &self.bytes[self.at..];
        if length > rest.len() {
            return Err((format!("{} bytes where {length} should stand", rest.len()), self.at));
        }
        self.at += length;
        Ok(&rest[..length])
    }

    fn count(&mut self, what: &str, count_max: usize) -> Result<usize, (String, usize)> {
        let start = self.at;
        let bytes = self.take(4)?.try_into().expect("four bytes were taken");
        let count = i32::from_le_bytes(bytes);
        match usize::try_from(count) {
            Ok(count) if count <= count_max => Ok(count),
            _ => Err((format!("{count} {what}"), start)),
        }
    }

    fn text(&mut self) -> Result<String, (String, usize)> {
        let length = self.count("bytes of a name", NAME_LENGTH_MAX)?;
        let start = self.at;
        let bytes = self.take(length)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| ("a name that is not UTF-8".to_owned(), start))
    }
}
