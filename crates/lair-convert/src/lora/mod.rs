//! Low-rank adapters: from PEFT's folders to GGUF and back, and added to the weights of a model for good.
//!
//! An adapter changes a product `y = W x` to `y = W x + s B A x`, with `A` of `[rank, columns]` and `B` of `[rows, rank]`
//! (Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1). What a conversion does to the rows of
//! `W` it does to those of `B`; `A` stays as it is.

mod extract;
mod merge;
mod peft;
mod peft_config;

use std::path::{Path, PathBuf};

use lair_gguf::GgufFile;
use lair_model::architectures;
use lair_model::spec::{Architecture, Source};

pub use self::extract::write_peft;
pub use self::merge::{LoraMerge, MergedType};
pub use self::peft::{adapter_file_name, is_peft, open_peft, weights_of};
use crate::checkpoint::Checkpoint;
use crate::error::ConvertError;
use crate::hf::HfConfig;
use crate::hf::facts::Facts;

/// The model that an adapter is for, as far as names and orders of rows need it.
#[derive(Clone, Debug)]
pub struct Base {
    architecture: &'static Architecture,
    source: &'static Source,
    facts: Facts,
}

impl Base {
    /// Reads what is needed of a model file, or of the `config.json` of a checkpoint, whose weights need not be there.
    ///
    /// # Errors
    /// If it is neither, or of an architecture whose checkpoints are not converted.
    pub fn open(path: &Path) -> Result<Base, ConvertError> {
        if !path.join("config.json").is_file() {
            return match path.is_dir() {
                true => Err(ConvertError::NotACheckpoint {
                    path: path.to_owned(),
                    found: "no `config.json`".to_owned(),
                    expected: "that of the adapter's base model",
                }),
                false => Base::of_model(&GgufFile::open(path)?),
            };
        }
        let config = HfConfig::open(&Checkpoint::without_weights(path))?;
        let (architecture, source) = config.architecture()?;
        Ok(Base { architecture, source, facts: config.facts() })
    }

    /// Reads what is needed of an opened model, or of an adapter in GGUF.
    ///
    /// # Errors
    /// As [`Base::open`].
    pub fn of_model(model: &GgufFile) -> Result<Base, ConvertError> {
        let name = model.architecture()?;
        let found = architectures::ALL.iter().find(|architecture| architecture.gguf_name == name);
        let with_source = found.and_then(|architecture| Some((*architecture, architecture.source.as_ref()?)));
        let (architecture, source) = with_source.ok_or_else(|| ConvertError::Unsupported {
            what: format!("an adapter for the architecture `{}`", crate::error::printable(name)),
        })?;
        Ok(Base { architecture, source, facts: Facts::of_metadata(model.metadata(), name)? })
    }
}

/// The folder of the base model that an adapter names, where it is one of this machine.
///
/// # Errors
/// If the folder is no adapter of PEFT's.
pub fn base_of(folder: &Path) -> Result<Option<PathBuf>, ConvertError> {
    let config = peft_config::PeftConfig::open(folder)?;
    let named = config.base_model.map(PathBuf::from);
    Ok(named.filter(|path| path.join("config.json").is_file()))
}
