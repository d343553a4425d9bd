//! Writes a checkpoint as a model file, a tensor at a time: a model larger than memory can be converted.

use std::path::{Path, PathBuf};

use lair_gguf::{GgufWriter, TensorInfo, TensorType};

use crate::error::ConvertError;
use crate::file_types::{OutputType, file_type_of};
use crate::hf::Assembly;

/// What a conversion makes, before it is made.
pub struct Conversion {
    assembly: Assembly,
    writer: GgufWriter,
}

/// How far a conversion is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The tensor that is written now.
    pub tensor: &'a TensorInfo,
    /// Its index.
    pub index: usize,
    /// How many there are.
    pub count: usize,
    /// Bytes of tensors written before it.
    pub written_bytes: u64,
    /// Bytes of all tensors.
    pub total_bytes: u64,
}

impl Conversion {
    /// Plans the conversion of the checkpoint at `path`; nothing is written and no weight is touched.
    ///
    /// # Errors
    /// As [`crate::hf::open`].
    pub fn plan(path: &Path, output: OutputType) -> Result<Conversion, ConvertError> {
        let mut assembly = Assembly::open(path)?;
        let types: Vec<TensorType> = assembly.recipes.iter().map(|recipe| output.of(recipe)).collect();
        let with_types = assembly.recipes.iter().map(|recipe| &**recipe).zip(types.iter().copied());
        let file_type = file_type_of(with_types);
        assembly.metadata.set("general.file_type", file_type);
        let mut writer = GgufWriter::new(assembly.metadata.clone())?;
        for (recipe, tensor_type) in assembly.recipes.iter().zip(types) {
            writer.add_tensor(&recipe.name, &recipe.shape, tensor_type)?;
        }
        Ok(Conversion { assembly, writer })
    }

    /// What the file will hold.
    pub fn writer(&self) -> &GgufWriter {
        &self.writer
    }

    /// Tensors of the checkpoint that no model needs.
    pub fn left_out(&self) -> &[String] {
        &self.assembly.left_out
    }

    /// The name that the file gets if nobody names it: `SmolLM2-135M-Instruct-F16.gguf`.
    pub fn file_name(&self) -> PathBuf {
        let metadata = self.writer.metadata();
        let text = |key: &str| {
            metadata.optional_str(&format!("general.{key}")).ok().flatten().map(|t| t.replace([' ', '/'], "-"))
        };
        let base = text("basename").or_else(|| text("name")).unwrap_or_else(|| "model".to_owned());
        let parts = [Some(base), text("size_label"), text("finetune"), text("version")];
        let number = metadata.optional_u32("general.file_type").ok().flatten().unwrap_or(0);
        let file_type = lair_gguf::file_type_name(number.into()).unwrap_or("F32");
        let mut parts: Vec<String> = parts.into_iter().flatten().collect();
        parts.push(file_type.to_owned());
        PathBuf::from(format!("{}.gguf", parts.join("-")))
    }

    /// Writes the file at `path`. It appears there whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written, or a file of the checkpoint changed meanwhile.
    pub fn write(&self, path: &Path, mut tell: impl FnMut(Progress<'_>)) -> Result<(), ConvertError> {
        let Assembly { recipes, files, .. } = &self.assembly;
        let tensors = self.writer.tensors();
        let total_bytes = tensors.iter().map(|tensor| tensor.size_bytes).sum();
        let (mut index, mut written_bytes) = (0, 0);
        self.writer.write_file(path, |tensor, out| {
            tell(Progress { tensor, index, count: tensors.len(), written_bytes, total_bytes });
            recipes[index].write(files, tensor.tensor_type, out)?;
            index += 1;
            written_bytes += tensor.size_bytes;
            // What was read is not needed again: no more than a tensor's pages stay in memory.
            files.iter().for_each(|file| file.release_pages());
            files.iter().try_for_each(|file| file.check_unchanged().map_err(std::io::Error::other))
        })?;
        Ok(())
    }
}
