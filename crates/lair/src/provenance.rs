//! Where a model comes from: what its store remembers, and what its file says of its making.

use lair_gguf::{Metadata, Value};
use lair_store::modelfile::{ModelSettings, Part};
use lair_store::oci::Layer;
use lair_store::{FileRole, FoundModel, Note, Reference, Resolved, StoreError};
use serde_json::json;

use crate::failure::{ExitCode, Failure};
use crate::human::time_text;
use crate::locate;

/// The longest text layer that is read.
const TEXT_BYTES_MAX: u64 = 16 << 20;

/// What a store says of a model; nothing of it is known of a bare file.
#[derive(Debug, Default)]
pub struct Stored {
    /// The model as its store has it.
    pub model: Option<FoundModel>,
    /// Lair's own note.
    pub note: Option<Note>,
    /// Its system prompt, template, parameters and licences.
    pub settings: ModelSettings,
}

impl Stored {
    /// What the stores say of the model that the user calls so.
    pub fn find(model: Option<&str>) -> Result<Stored, Failure> {
        let store = locate::store()?;
        // A checkpoint's folder is no model of any store.
        let resolved = match model {
            Some(text) => match Reference::parse(text).map_err(StoreError::from)? {
                Reference::Path(path) if path.is_dir() && lair_convert::is_checkpoint(&path) => {
                    return Ok(Stored::default());
                }
                reference => store.resolve(&reference)?,
            },
            None => store.resolve_default()?,
        };
        let Resolved::Model(model) = resolved else { return Ok(Stored::default()) };
        let mut stored = Stored::default();
        let layout = lair_store::OllamaLayout::new(&model.root, store.settings().file_system.clone());
        if let Some(name) = &model.model_name
            && let Some(found) = layout.manifest(name)?
        {
            let file_system = &store.settings().file_system;
            let read = |layer: &Layer| file_system.read(&layout.blob_path(&layer.digest), TEXT_BYTES_MAX);
            stored.settings = ModelSettings::from_layers(&found.manifest, read)
                .map_err(|error| Failure::new(ExitCode::BadModel, format!("`{}`: {error}", model.name)))?;
            stored.note = if model.root == store.settings().models { store.note(name)? } else { None };
        }
        stored.model = Some(*model);
        Ok(stored)
    }

    /// Names and values, as far as they are known.
    pub fn lines(&self, metadata: &Metadata) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        if let Some(model) = &self.model {
            lines.push(("stored as", model.name.clone()));
            lines.push(("owner", format!("{} ({})", model.owner, model.root.display())));
            lines.extend(model.id.map(|id| ("ID", id.to_string())));
            let weights = model.file(FileRole::Weights).and_then(|file| file.digest);
            lines.extend(weights.map(|digest| ("weights", digest.to_string())));
            let commit = model.repository.as_ref().and_then(|repository| repository.commit.clone());
            lines.extend(commit.map(|commit| ("commit", commit)));
        }
        if let Some(note) = &self.note {
            lines.push(("source", note.source.clone()));
            lines.extend(note.address.clone().map(|address| ("address", address)));
            lines.extend(note.commit.clone().map(|commit| ("commit", commit)));
            lines.extend(note.licence.clone().map(|licence| ("licence of source", licence)));
            let then = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(note.fetched_at_s);
            lines.push(("fetched", time_text(then)));
        }
        let settings = &self.settings;
        let part = |part: &Part| match part {
            Part::Written(path) => path.clone(),
            Part::Blob(digest) => digest.to_string(),
        };
        lines.extend(settings.adapters.iter().map(|adapter| ("adapter", part(adapter))));
        lines.extend(settings.draft.iter().map(|draft| ("draft", part(draft))));
        let projectors = self.model.iter().flat_map(|model| &model.files);
        let projectors = projectors.filter(|file| file.role == FileRole::Projector);
        lines.extend(projectors.map(|file| ("projector", file.path.display().to_string())));
        for (name, value) in
            [("requires", &settings.requires), ("renderer", &settings.renderer), ("parser", &settings.parser)]
        {
            lines.extend(value.clone().map(|value| (name, value)));
        }
        let text = |key: &str| match metadata.get(key)? {
            Value::String(text) => Some(text.to_string()).filter(|text| !text.is_empty()),
            other => Some(other.to_string()),
        };
        for (name, keys) in FACTS {
            lines.extend(keys.iter().find_map(|key| text(key)).map(|value| (*name, value)));
        }
        lines
    }

    /// The same as one JSON object.
    pub fn to_json(&self, metadata: &Metadata) -> serde_json::Value {
        let fields = self.lines(metadata).into_iter();
        json!(
            fields
                .map(|(name, value)| (name.replace([' ', '-'], "_").to_lowercase(), json!(value)))
                .collect::<serde_json::Map<_, _>>()
        )
    }
}

/// What a GGUF file may say of its making: the first key that it has counts.
const FACTS: &[(&str, &[&str])] = &[
    ("author", &["general.author", "general.organization"]),
    ("quantized by", &["general.quantized_by"]),
    ("base model", &["general.base_model.0.repo_url", "general.base_model.0.name"]),
    ("made from", &["general.source.repo_url", "general.source.url", "general.source.huggingface.repository"]),
    ("repository", &["general.repo_url", "general.url"]),
    ("importance matrix", &["quantize.imatrix.file"]),
    ("its text", &["quantize.imatrix.dataset"]),
    ("its chunks", &["quantize.imatrix.chunks_count"]),
];
