//! Opens the weights of a model, whatever they lie in: a GGUF file, or a checkpoint in safetensors or PyTorch's files,
//! which is run as it is.

use std::path::Path;

use lair_convert::quantize::{FileType, Options, Plan, at_load};
use lair_gguf::GgufFile;

use crate::failure::{ExitCode, Failure};

/// Opens a model for reading.
pub fn open(path: &Path) -> Result<GgufFile, Failure> {
    if !lair_convert::is_checkpoint(path) {
        return Ok(GgufFile::open(path)?);
    }
    Ok(lair_convert::hf::open(path)?)
}

/// Opens a model for reading, quantized on the way if that is wanted.
pub fn open_as(path: &Path, file_type: Option<FileType>) -> Result<GgufFile, Failure> {
    let file = open(path)?;
    if file_type.is_none() {
        return Ok(file);
    }
    let plan = Plan::new(&file, &Options { file_type, ..Options::default() })?;
    Ok(at_load(&file, &plan)?)
}

impl From<lair_convert::ConvertError> for Failure {
    fn from(error: lair_convert::ConvertError) -> Failure {
        use lair_convert::ConvertError as E;
        match error {
            E::Gguf(error) => error.into(),
            E::NotACheckpoint { .. } => Failure::new(ExitCode::NotFound, &error).with_hint(error.hint()),
            E::Io { .. } => Failure::new(ExitCode::Other, &error),
            _ => Failure::new(ExitCode::BadModel, &error).with_hint(error.hint()),
        }
    }
}
