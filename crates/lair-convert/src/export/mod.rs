//! The way back: a model in GGUF as a checkpoint that transformers loads, with numbers in place of blocks.
//!
//! The declaration that names a checkpoint's tensors on the way here names them on the way back; rows get the order they
//! had, and norms that add 1 lose it again. Tensors are written one at a time.

mod classes;
mod config;
mod tensors;
mod tokenizer;

use std::path::Path;

use lair_gguf::GgufFile;
use lair_model::architectures;
use serde_json::Value as Json;

use self::tensors::{Made, plan};
use crate::element::ElementType;
use crate::error::{ConvertError, printable};
use crate::hf::facts::Facts;
use crate::safetensors_file::{SafetensorsWriter, write_model};

/// A checkpoint to be, made of a model in GGUF.
pub struct Export {
    file: GgufFile,
    tensors: Vec<Made>,
    declared: SafetensorsWriter,
    /// Names and contents of the files beside the weights.
    beside: Vec<(&'static str, Vec<u8>)>,
}

impl Export {
    /// Plans the checkpoint of `file`, with matrices stored as `element`, or as they are where that is no type of blocks,
    /// which become F16. No weight is touched.
    ///
    /// # Errors
    /// If the architecture does not say how its checkpoints are stored, a tensor or key has no place in one, or the
    /// tokenizer cannot be written: the error names it.
    pub fn plan(file: &GgufFile, element: Option<ElementType>) -> Result<Export, ConvertError> {
        let name = file.architecture()?;
        let found = architectures::ALL.iter().find(|architecture| architecture.gguf_name == name);
        let with_source = found.and_then(|architecture| Some((*architecture, architecture.source.as_ref()?)));
        let with_way_back = with_source.filter(|(architecture, _)| classes::has_way_back(architecture));
        let Some((architecture, source)) = with_way_back else {
            return Err(ConvertError::Unsupported {
                what: format!("the architecture `{}` to a checkpoint", printable(name)),
            });
        };
        let facts = Facts::of_metadata(file.metadata(), name)?;
        let tensors = plan(file, source, &facts, element)?;
        let mut declared = SafetensorsWriter::default();
        for tensor in &tensors {
            declared.add(&tensor.name, tensor.element, &tensor.shape)?;
        }
        let matrices = tensors.iter().filter(|tensor| tensor.shape.len() > 1);
        let widest = matrices.max_by_key(|tensor| tensor.shape.iter().product::<usize>()).map(|tensor| tensor.element);
        let config = config::configuration(file, architecture, source, widest.unwrap_or(ElementType::F32))?;
        let mut beside = vec![("config.json", text_of(&config))];
        if let Some(generation) = config::generation(file)? {
            beside.push(("generation_config.json", text_of(&generation)));
        }
        beside.extend(tokenizer::files(file)?);
        Ok(Export { file: file.clone(), tensors, declared, beside })
    }

    /// How many tensors the checkpoint has.
    pub fn tensor_count(&self) -> usize {
        self.tensors.len()
    }

    /// Bytes of its weights.
    pub fn size_bytes(&self) -> u64 {
        self.declared.data_bytes()
    }

    /// Writes the checkpoint into `folder`, in parts of at most `part_bytes_max`; `tell` gets each tensor's name before
    /// it is written.
    ///
    /// # Errors
    /// If it cannot be written, or the file changed meanwhile.
    pub fn write(&self, folder: &Path, part_bytes_max: u64, mut tell: impl FnMut(&str)) -> Result<(), ConvertError> {
        let mut index = 0;
        write_model(folder, &self.declared, part_bytes_max, |declared, out| {
            tell(&declared.name);
            let tensor = &self.tensors[index];
            index += 1;
            tensor.write(&self.file, out)?;
            self.file.release_pages();
            self.file.check_unchanged().map_err(std::io::Error::other)
        })?;
        for (name, bytes) in &self.beside {
            let path = folder.join(name);
            std::fs::write(&path, bytes).map_err(|source| ConvertError::Io { action: "write", path, source })?;
        }
        Ok(())
    }
}

fn text_of(json: &Json) -> Vec<u8> {
    format!("{json:#}\n").into_bytes()
}
