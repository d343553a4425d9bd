//! The residual stream of a model at every place of a step: computed, kept in a file, and compared.
//!
//! The file is safetensors, so that other programs can write what Lair is to be compared with: a tensor
//! `[rows, hidden_size]` of F32 for each place, `embedding`, `layer.0.mixer`, `layer.0` ... `head`. Places that only one side
//! has are left out of the comparison, so hidden states alone do.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use lair_compute::{Backend, Batch, KvElement, PAGE_LENGTH, PageId, SequenceRows, StateSlot};
use lair_convert::ElementType;
use lair_convert::safetensors::Header;
use lair_gguf::GgufFile;
use lair_model::{LoadOptions, Memory, Model, Observer, Place};
use serde_json::json;

use crate::failure::{ExitCode, Failure};
use crate::session::model_failure;

/// The most tokens of a comparison: places are kept whole.
pub const TOKENS_MAX: usize = 512;

/// What stands in the stream at one place.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Where.
    pub place: String,
    /// `[rows, width]`.
    pub values: Vec<f32>,
    /// Elements of a row.
    pub width: usize,
}

/// What stands in the stream at every place, in the order of the step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dump {
    /// Places.
    pub seen: Vec<Seen>,
}

/// How far two sides are apart at a place.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Where.
    pub place: String,
    /// Normalised mean squared error: `mean((a - b)^2) / mean(b^2)`.
    pub error: f64,
    /// The largest difference of two elements, and the row it is in.
    pub largest: f32,
    /// The row of the largest difference.
    pub row: usize,
}

struct Keeper {
    width: usize,
    dump: Dump,
}

impl<B: Backend> Observer<B> for Keeper {
    fn see(&mut self, backend: &B, place: Place, rows: usize, stream: &B::Buffer) {
        let mut values = vec![0.0; rows * self.width];
        backend.read(rows, stream, &mut values);
        self.dump.seen.push(Seen { place: place.to_string(), values, width: self.width });
    }
}

impl Dump {
    /// Runs `tokens` through a model in one step, keys and values in F32.
    ///
    /// # Errors
    /// If the model cannot be loaded or there is no memory for it.
    pub fn compute<B: Backend>(file: &GgufFile, mut backend: B, tokens: &[u32]) -> Result<Dump, Failure> {
        let engine_failure = |error: &dyn std::fmt::Display| Failure::new(ExitCode::Engine, error);
        let length = tokens.len();
        let model = Model::load(file, &backend, LoadOptions { context_length: Some(length) }).map_err(model_failure)?;
        if model.has_encoder() {
            return Err(Failure::new(ExitCode::BadModel, "a model with an encoder cannot be compared yet"));
        }
        let vocabulary_size = model.vocabulary_size();
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocabulary_size) {
            let cause = format!("token {token} is not in the vocabulary of {vocabulary_size} tokens");
            return Err(Failure::new(ExitCode::Usage, cause));
        }
        let page_count = length.div_ceil(PAGE_LENGTH);
        let kv = backend.kv(&model.kv_layout(KvElement::F32, page_count)).map_err(|error| engine_failure(&error))?;
        let states = model.state_layout(1).map(|layout| backend.states(&layout)).transpose();
        let mut memory = Memory { kv, states: states.map_err(|error| engine_failure(&error))? };
        let mut activations = model.activations(&mut backend, length).map_err(model_failure)?;
        let pages: Vec<PageId> = (0..page_count as u32).map(PageId).collect();
        let sequence = SequenceRows {
            first_row: 0,
            row_count: length,
            first_position: 0,
            page_table: &pages,
            state_slot: memory.states.as_ref().map(|_| StateSlot(0)),
            adapter_scales: &[],
        };
        let batch = Batch { tokens, sequences: &[sequence] };
        let mut keeper = Keeper { width: model.config().hidden_size, dump: Dump::default() };
        model.observe(&mut backend, &mut activations, &mut memory, &batch, &mut keeper);
        Ok(keeper.dump)
    }

    /// Writes it to a file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let mut header = BTreeMap::new();
        let mut start = 0;
        for seen in &self.seen {
            let end = start + 4 * seen.values.len();
            let rows = seen.values.len() / seen.width.max(1);
            let entry = json!({ "dtype": "F32", "shape": [rows, seen.width], "data_offsets": [start, end] });
            header.insert(seen.place.clone(), entry);
            start = end;
        }
        let header = json!(header).to_string();
        let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        for value in self.seen.iter().flat_map(|seen| &seen.values) {
            file.write_all(&value.to_le_bytes())?;
        }
        file.flush()
    }

    /// Reads what was written, by this program or another.
    ///
    /// # Errors
    /// If the file cannot be read, is no safetensors, or has tensors that are not `[rows, width]` of F32.
    pub fn read(path: &Path) -> Result<Dump, Failure> {
        let bytes = std::fs::read(path)
            .map_err(|error| Failure::new(ExitCode::NotFound, format!("cannot read {}: {error}", path.display())))?;
        let bad = |what: String| Failure::new(ExitCode::BadModel, format!("{}: {what}", path.display()));
        let header = Header::parse(&bytes).map_err(|error| bad(error.to_string()))?;
        let mut tensors = header.tensors;
        tensors.sort_by_key(|tensor| tensor.start);
        let seen = tensors.into_iter().map(|tensor| {
            let name = &tensor.name;
            let (ElementType::F32, &[_, width]) = (tensor.element, &tensor.shape[..]) else {
                let (element, shape) = (tensor.element, &tensor.shape);
                return Err(bad(format!("`{name}` is {element} of shape {shape:?}, expected F32 of [rows, width]")));
            };
            let start = tensor.start as usize;
            let words = bytes[start..start + 4 * tensor.element_count()].as_chunks().0.iter();
            Ok(Seen { place: name.clone(), values: words.map(|word| f32::from_le_bytes(*word)).collect(), width })
        });
        Ok(Dump { seen: seen.collect::<Result<_, Failure>>()? })
    }

    /// How far this side is from the other at every place that both have, in the order of this side.
    ///
    /// # Errors
    /// If a place has another shape on the other side, or no place is on both.
    pub fn compare(&self, other: &Dump) -> Result<Vec<Difference>, Failure> {
        let mut differences = Vec::new();
        for own in &self.seen {
            let Some(theirs) = other.seen.iter().find(|theirs| theirs.place == own.place) else { continue };
            if own.width != theirs.width || own.values.len() != theirs.values.len() {
                let shape = |seen: &Seen| format!("[{}, {}]", seen.values.len() / seen.width.max(1), seen.width);
                let cause = format!("`{}` is {} here and {} there", own.place, shape(own), shape(theirs));
                return Err(Failure::new(ExitCode::Usage, cause));
            }
            differences.push(difference(own, theirs));
        }
        if differences.is_empty() {
            return Err(Failure::new(ExitCode::Usage, "no place is on both sides").with_hint(
                "places are called `embedding`, `layer.0.mixer`, `layer.0` ... `head`; `--write` shows them".to_owned(),
            ));
        }
        Ok(differences)
    }
}

fn difference(own: &Seen, theirs: &Seen) -> Difference {
    let (mut squares, mut reference, mut largest, mut place) = (0.0, 0.0, -1.0f32, 0);
    for (index, (own, theirs)) in own.values.iter().zip(&theirs.values).enumerate() {
        let apart = own - theirs;
        squares += f64::from(apart).powi(2);
        reference += f64::from(*theirs).powi(2);
        // What is no number is farther than any.
        if apart.is_nan() || apart.abs() > largest {
            (largest, place) = (if apart.is_nan() { f32::INFINITY } else { apart.abs() }, index);
        }
    }
    let error = if squares == 0.0 { 0.0 } else { squares / reference };
    let error = if error.is_nan() { f64::INFINITY } else { error };
    Difference { place: own.place.clone(), error, largest: largest.max(0.0), row: place / own.width.max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(values: &[f32]) -> Dump {
        let seen = |place: &str| Seen { place: place.to_owned(), values: values.to_vec(), width: 2 };
        Dump { seen: vec![seen("embedding"), seen("layer.0.mixer"), seen("layer.0")] }
    }

    #[test]
    fn what_was_written_is_read_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("dump.safetensors");
        let written = dump(&[1.0, -2.5, 3.0, f32::MIN_POSITIVE]);
        written.write(&path).expect("written");
        assert_eq!(Dump::read(&path).expect("it is one of ours"), written);
    }

    #[test]
    fn differences_name_the_row_and_what_is_no_number() {
        let (left, mut right) = (dump(&[1.0, 2.0, 3.0, 4.0]), dump(&[1.0, 2.0, 3.0, 4.0]));
        right.seen[1].values[2] = 3.5;
        right.seen[2].values[1] = f32::NAN;
        let found = left.compare(&right).expect("the same places");
        assert_eq!((found[0].error, found[0].largest), (0.0, 0.0));
        assert_eq!((found[1].largest, found[1].row), (0.5, 1));
        assert!((found[1].error - 0.25 / 33.25).abs() < 1e-12);
        assert_eq!((found[2].error, found[2].row), (f64::INFINITY, 0));
    }

    #[test]
    fn sides_without_a_common_place_or_with_other_shapes_are_refused() {
        let mut other = dump(&[1.0, 2.0]);
        assert!(dump(&[1.0, 2.0, 3.0, 4.0]).compare(&other).is_err());
        other.seen.iter_mut().for_each(|seen| seen.place.push('x'));
        assert!(dump(&[1.0, 2.0]).compare(&other).is_err());
    }
}
