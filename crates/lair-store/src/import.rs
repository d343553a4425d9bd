//! Bringing model files of the user's into the store, without copying their bytes where the file system allows.

use std::path::Path;

use lair_gguf::GgufFile;

use crate::blobs::Adopt;
use crate::digest::Digest;
use crate::error::StoreError;
use crate::found::{FileRole, FoundModel, ModelFile};
use crate::image_config::ImageConfig;
use crate::layouts::{models_in, quant_of};
use crate::model_name::{DEFAULT_HOST, DEFAULT_NAMESPACE, ModelName};
use crate::note::Note;
use crate::oci::{Layer, Manifest, media_type};
use crate::store::Store;

impl Store {
    /// Imports the model file at `path`, with the projector beside it if `path` is a folder, under `name` or one made
    /// from the file's own. Returns the name and the ID.
    ///
    /// # Errors
    /// [`StoreError::BadModel`] when the file is none; [`StoreError::NotOneModel`] when a folder holds none or several.
    pub fn import(
        &self,
        path: &Path,
        name: Option<&ModelName>,
        how: Adopt,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(ModelName, Digest), StoreError> {
        let files = self.files_to_import(path)?;
        let first = files.iter().find(|file| file.role == FileRole::Weights);
        let weights = first.expect("a group has weights, and a file counts as them").path.as_path();
        let bad = |reason| StoreError::BadModel { path: weights.to_path_buf(), reason };
        drop(GgufFile::open(weights).map_err(bad)?);
        let name = match name {
            Some(name) => name.clone(),
            None => name_from(weights)?,
        };
        let mut layers = Vec::new();
        for file in &files {
            let digest = self.blobs().adopt(&file.path, how, progress)?;
            let media_type = match file.role {
                FileRole::Projector => media_type::PROJECTOR,
                _ => media_type::MODEL,
            };
            // Shards find each other by their names, which the layers keep.
            let is_shard = lair_gguf::ShardName::parse(&file.path).is_some();
            let own_name = file.path.file_name().map(|name| name.to_string_lossy().into_owned());
            layers.push(Layer {
                media_type: media_type.to_string(),
                digest,
                size_bytes: file.size_bytes,
                from: None,
                name: own_name.filter(|_| is_shard),
            });
        }
        let digests: Vec<Digest> = layers.iter().map(|layer| layer.digest).collect();
        let config = ImageConfig::of_gguf(weights, &digests)?;
        let config = self.put_layer(media_type::CONFIG, &config.to_bytes())?;
        let id = self.put_manifest(&name, &Manifest::new(config, layers).to_bytes())?;
        self.put_note(&name, &Note::from_source(format!("file {}", weights.display())))?;
        Ok((name, id))
    }

    fn files_to_import(&self, path: &Path) -> Result<Vec<ModelFile>, StoreError> {
        let fs = self.file_system();
        let (folder, is_folder) =
            if path.is_dir() { (path, true) } else { (path.parent().unwrap_or(Path::new("")), false) };
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let mut models = models_in(folder, folder, fs);
        if !is_folder {
            let name = path.file_name();
            let has_it = |model: &FoundModel| model.files.iter().any(|file| file.path.file_name() == name);
            models.retain(has_it);
            // A file is meant alone: what lies beside it may be for another.
            for model in &mut models {
                model.files.retain(|file| file.role == FileRole::Weights);
            }
            if models.is_empty() {
                let facts = fs.facts(path).map_err(StoreError::io("read", path))?;
                let (size_bytes, identity) = (facts.size_bytes, facts.identity);
                let path = path.to_path_buf();
                return Ok(vec![ModelFile { path, role: FileRole::Weights, size_bytes, digest: None, identity }]);
            }
        }
        match models.pop() {
            Some(model) if models.is_empty() && model.is_whole() => Ok(model.files),
            Some(model) if models.is_empty() => Err(StoreError::Damaged { name: model.name, damage: model.damage }),
            last => Err(StoreError::NotOneModel {
                path: path.to_path_buf(),
                names: models.into_iter().chain(last).map(|model| model.name).collect(),
            }),
        }
    }
}

/// `SmolLM2-135M-Instruct.Q4_1.gguf` becomes `smollm2-135m-instruct:q4_1`.
fn name_from(path: &Path) -> Result<ModelName, StoreError> {
    let shard = lair_gguf::ShardName::parse(path).map(|shard| shard.prefix);
    let file = shard.as_deref().unwrap_or(path);
    let text = file.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let stem = text.strip_suffix(".gguf").unwrap_or(&text);
    let quant = quant_of(stem);
    let model = quant.map_or(stem, |quant| stem.strip_suffix(quant).unwrap_or(stem));
    // What no name may hold becomes a dash; a name begins with a letter or digit and ends with no dot.
    let plain = |text: &str| {
        let allowed = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
        let text: String = text.chars().map(allowed).take(80).collect();
        text.trim_matches(['.', '-', '_']).to_string()
    };
    Ok(ModelName::new(DEFAULT_HOST, DEFAULT_NAMESPACE, &plain(model), &plain(quant.unwrap_or("latest")))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_a_name_from_that_of_a_file() {
        for (file, name) in [
            ("/x/SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-135m-instruct:q4_1"),
            ("Qwen3 8B (test)-IQ4_XS.gguf", "qwen3-8b--test:iq4_xs"),
            ("big-Q8_0-00001-of-00003.gguf", "big:q8_0"),
            ("plain.gguf", "plain:latest"),
            (".hidden", "hidden:latest"),
        ] {
            assert_eq!(name_from(Path::new(file)).expect(file).short(), name, "{file}");
        }
        assert!(name_from(Path::new("---.gguf")).is_err());
    }
}
