//! A model's view of the weight cache.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use lair_compute::{PACKED_LAYOUT_VERSION, WeightArchive, WeightBytes};
use lair_convert::quantize::FileType;
use lair_gguf::GgufFile;
use sha2::{Digest, Sha256};

use super::WeightCache;
use super::weights_file::{Contents, KeptWeights};
use crate::prompt_cache::Origin;

/// The packed weights of one model: those that were found, and those that had to be packed.
pub struct ModelWeights {
    cache: Arc<WeightCache>,
    identity: [u8; 32],
    sources: Vec<PathBuf>,
    kept: Option<KeptWeights>,
    /// What was packed until the model is loaded.
    packed: Mutex<Vec<(String, WeightBytes)>>,
}

impl ModelWeights {
    /// Those of this file, quantized at load as `quantize` says. They are checked by so many threads; what cannot be right is
    /// removed. `None`, with a warning, if the model's files cannot be told from others.
    pub fn of(
        cache: &Arc<WeightCache>,
        file: &GgufFile,
        quantize: Option<FileType>,
        threads: usize,
    ) -> Option<ModelWeights> {
        let identity = match identity(file, quantize) {
            Ok(identity) => identity,
            Err(error) => {
                eprintln!("warning: packed weights of {} are not kept: {error}", file.path().display());
                return None;
            }
        };
        let path = cache.path(identity);
        let kept = match KeptWeights::open(&path, identity, threads) {
            Ok(kept) => kept,
            Err(error) => {
                eprintln!("warning: the packed weights {} cannot be used: {error}", path.display());
                // They would be looked at in vain each time.
                let _ = std::fs::remove_file(&path);
                None
            }
        };
        let sources = file.paths().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned())).collect();
        Some(ModelWeights { cache: Arc::clone(cache), identity, sources, kept, packed: Mutex::new(Vec::new()) })
    }

    /// Where those of this file are kept, as it is, if they are.
    pub fn path(cache: &WeightCache, file: &GgufFile) -> Option<PathBuf> {
        let path = cache.path(identity(file, None).ok()?);
        path.exists().then_some(path)
    }

    /// To be called when the model is loaded, and nothing was wrong with its file: keeps what had to be packed, together
    /// with what was there.
    pub fn keep(&self) {
        let mut parts = std::mem::take(&mut *self.packed.lock().unwrap_or_else(PoisonError::into_inner));
        if parts.is_empty() {
            return;
        }
        if let Some(kept) = &self.kept {
            let others = kept.parts().filter(|(name, _)| !parts.iter().any(|(packed, _)| packed == name));
            let others: Vec<_> = others.map(|(name, bytes)| (name.to_owned(), bytes)).collect();
            parts.extend(others);
        }
        self.cache.write(Contents { identity: self.identity, sources: self.sources.clone(), parts });
    }
}

impl WeightArchive for ModelWeights {
    fn load(&self, part: &str) -> Option<WeightBytes> {
        self.kept.as_ref()?.part(part)
    }

    fn keep(&self, part: &str, bytes: WeightBytes) {
        let mut packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        // A matrix that two places of a model use is the same in both.
        if !packed.iter().any(|(name, _)| name == part) {
            packed.push((part.to_owned(), bytes));
        }
    }

    fn damage(&self) -> Option<String> {
        self.kept.as_ref()?.damage()
    }
}

/// What tells the packed weights of this model from all others.
fn identity(file: &GgufFile, quantize: Option<FileType>) -> std::io::Result<[u8; 32]> {
    // Of a checkpoint, settings that lie beside the weights decide how they are arranged.
    let mut settings = Sha256::new();
    for (key, value) in file.metadata().iter().filter(|(key, _)| !key.starts_with("tokenizer.")) {
        settings.update(format!("{key}={value:?}\n"));
    }
    let settings: String = settings.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let layout = format!("packed weights {PACKED_LAYOUT_VERSION} {}", std::env::consts::ARCH);
    let quantized = quantize.map_or("", |file_type| file_type.name);
    Ok(Origin::new(file.paths(), &[&layout, quantized, &settings])?.bytes())
}
