//! A model that is in no GGUF file: metadata made up by a converter, tensors that lie in files of another layout or
//! are made when they are asked for. Whoever runs or writes it sees a [`GgufFile`] like any other.

use std::fmt;
use std::sync::Arc;

use crate::TensorType;
use crate::error::GgufError;
use crate::file::GgufFile;
use crate::header::size_of_tensor;
use crate::mapped_file::MappedFile;
use crate::metadata::Metadata;
use crate::tensor_info::TensorInfo;
use crate::writer::unwritable;

/// Makes the bytes of a tensor: as many as its shape and type imply, the same whenever it is called.
pub type TensorMaker = Arc<dyn Fn() -> Vec<u8> + Send + Sync>;

/// A tensor of an assembled model.
pub struct AssembledTensor {
    /// Its name, unique in the model.
    pub name: String,
    /// Elements in each dimension, the fastest first.
    pub shape: Vec<u64>,
    /// How its elements are stored.
    pub tensor_type: TensorType,
    /// Where its bytes come from.
    pub bytes: TensorBytes,
}

/// Where the bytes of a tensor come from.
pub enum TensorBytes {
    /// They lie in one of the files as they are.
    Stored {
        /// Index of the file.
        file: usize,
        /// Where they begin in it.
        start: u64,
    },
    /// They are made each time they are asked for.
    Made(TensorMaker),
}

impl GgufFile {
    /// A model of these keys and tensors, which lie in `files` or are made.
    ///
    /// # Errors
    /// [`GgufError::Unwritable`] if a name comes twice, a shape is none, or a tensor ends behind its file; and if there
    /// are no files.
    pub fn assemble(
        metadata: Metadata,
        files: Vec<MappedFile>,
        tensors: Vec<AssembledTensor>,
    ) -> Result<GgufFile, GgufError> {
        if files.is_empty() {
            return Err(unwritable("the model", "no files", "at least one"));
        }
        let mut infos = Vec::with_capacity(tensors.len());
        let mut makers = Vec::with_capacity(tensors.len());
        for tensor in tensors {
            let what = || format!("tensor `{}`", tensor.name);
            let size_bytes = size_of_tensor(&tensor.shape, tensor.tensor_type)
                .map_err(|expected| unwritable(what(), format!("the shape {:?}", tensor.shape), expected))?;
            let (shard, offset, maker) = match tensor.bytes {
                TensorBytes::Made(maker) => (0, 0, Some(Maker(maker))),
                TensorBytes::Stored { file, start } => {
                    let length = files.get(file).map_or(0, |file| file.len() as u64);
                    if start.checked_add(size_bytes).is_none_or(|end| end > length) {
                        let found = format!("{size_bytes} bytes at {start} of a file of {length}");
                        return Err(unwritable(what(), found, "bytes within the file"));
                    }
                    (file, start, None)
                }
            };
            let AssembledTensor { name, shape, tensor_type, .. } = tensor;
            infos.push(TensorInfo { name, shape, tensor_type, offset, size_bytes, shard });
            makers.push(maker);
        }
        let mappings = files.into_iter().map(|file| file.mapping).collect();
        let model = GgufFile::of_parts(metadata, mappings, infos, makers);
        match model.first_double_name() {
            Some(name) => Err(unwritable(format!("tensor `{name}`"), "the name twice", "each name once")),
            None => Ok(model),
        }
    }
}

impl GgufFile {
    /// The same model with other keys, and with some of its tensors in another type, whose bytes are made: for each tensor,
    /// in order, its new type and maker, or nothing where it stays as it is.
    ///
    /// # Errors
    /// [`GgufError::Unwritable`] if a tensor's shape is none in its new type.
    ///
    /// # Panics
    /// If `changes` has another length than [`GgufFile::tensors`].
    pub fn with_changed(
        &self,
        metadata: Metadata,
        changes: Vec<Option<(TensorType, TensorMaker)>>,
    ) -> Result<GgufFile, GgufError> {
        assert_eq!(changes.len(), self.tensors().len(), "a change for each tensor, or none");
        let (mut infos, mut makers) = (Vec::new(), Vec::new());
        for (tensor, change) in self.tensors().iter().zip(changes) {
            let (offset, own) = self.place_of(tensor);
            let mut info = TensorInfo { offset, ..tensor.clone() };
            let maker = match change {
                None => own,
                Some((tensor_type, maker)) => {
                    info.tensor_type = tensor_type;
                    info.size_bytes = size_of_tensor(&info.shape, tensor_type).map_err(|expected| {
                        unwritable(format!("tensor `{}`", info.name), format!("the shape {:?}", info.shape), expected)
                    })?;
                    Some(Maker(maker))
                }
            };
            infos.push(info);
            makers.push(maker);
        }
        Ok(GgufFile::of_parts(metadata, self.mappings(), infos, makers))
    }
}

/// A maker that can be shown.
#[derive(Clone)]
pub(crate) struct Maker(pub(crate) TensorMaker);

impl fmt::Debug for Maker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Maker")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_put_together_of_stored_and_made_tensors() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("weights");
        std::fs::write(&path, [0u8, 0, 0, 0, 0, 0, 128, 63]).expect("written");
        let file = MappedFile::open(&path).expect("opens");
        let stored = |name: &str, start, length| AssembledTensor {
            name: name.to_owned(),
            shape: vec![length],
            tensor_type: TensorType::F32,
            bytes: TensorBytes::Stored { file: 0, start },
        };
        let made = AssembledTensor {
            name: "made".to_owned(),
            shape: vec![2, 2],
            tensor_type: TensorType::I8,
            bytes: TensorBytes::Made(Arc::new(|| vec![1, 2, 3, 4])),
        };
        let mut metadata = Metadata::default();
        metadata.set("general.architecture", "test");
        let tensors = vec![stored("one", 4, 1), made];
        let model = GgufFile::assemble(metadata.clone(), vec![file.clone()], tensors).expect("a sound model");
        assert_eq!(model.architecture().expect("set"), "test");
        let bytes = |name: &str| model.tensor_data(model.required_tensor(name).expect("there")).to_vec();
        assert_eq!(bytes("one"), 1.0f32.to_le_bytes());
        assert_eq!(bytes("made"), [1, 2, 3, 4]);
        assert_eq!(model.size_bytes(), 8, "what its tensors take");

        let refused = |tensors| GgufFile::assemble(metadata.clone(), vec![file.clone()], tensors).map(|_| ());
        assert!(refused(vec![stored("past", 4, 2)]).is_err());
        assert!(refused(vec![stored("past", u64::MAX, 1)]).is_err());
        assert!(refused(vec![stored("twice", 0, 1), stored("twice", 4, 1)]).is_err());
    }
}
