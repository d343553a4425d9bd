//! Makes a stored model of a Modelfile: `lair create`.
//!
//! The layers stand in one order, whatever the Modelfile's: model, projector, adapter, draft, template, system, licences,
//! parameters, messages. So what `lair show --modelfile` prints makes the same manifest again. Weights are shared with the
//! file or the model they come from, never copied where the file system can do without.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::config;
use super::create_error::CreateError;
use super::family::template_warning;
use super::go_json;
use super::settings::{ModelSettings, Part};
use super::weights::{Source, find, find_file, to_layer};
use super::{Instruction, Modelfile};
use crate::digest::Digest;
use crate::image_config::{CONFIG_BYTES_MAX, ImageConfig, open_files};
use crate::layouts::StoredManifest;
use crate::model_name::ModelName;
use crate::note::Note;
use crate::oci::{Layer, Manifest, media_type};
use crate::store::Store;

/// Texts of a model are no longer; licences are the longest.
const TEXT_BYTES_MAX: u64 = super::MODELFILE_BYTES_MAX as u64;

/// What to make.
#[derive(Clone, Copy, Debug)]
pub struct CreateRequest<'a> {
    /// The name it gets.
    pub name: &'a ModelName,
    /// What it is made of.
    pub modelfile: &'a Modelfile,
    /// What paths in the Modelfile are relative to.
    pub folder: &'a Path,
}

/// What to keep under a name.
#[derive(Clone, Debug)]
pub struct SaveRequest<'a> {
    /// The name it gets.
    pub name: &'a ModelName,
    /// Where the weights come from: what FROM takes.
    pub from: &'a str,
    /// All of its settings.
    pub settings: &'a ModelSettings,
    /// Where it came from.
    pub note: Note,
}

/// What is told on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateStep<'a> {
    /// A file is hashed.
    Hashing(&'a Path),
    /// This many more bytes of it are.
    Hashed(u64),
    /// A layer is in the store.
    Layer(&'a Layer),
    /// All layers are; the name is given.
    Manifest,
}

/// A model that was made.
#[derive(Clone, Debug)]
pub struct Created {
    /// Digest of its manifest.
    pub id: Digest,
    /// The manifest.
    pub manifest: Manifest,
    /// What the user should know: parameters without effect, a template that does not fit.
    pub warnings: Vec<String>,
}

/// Makes a model. A crash leaves the name as it was.
///
/// # Errors
/// [`CreateError`]; nothing has the name then that had it not before.
pub fn create(
    store: &Store,
    request: CreateRequest,
    progress: &mut dyn FnMut(CreateStep),
) -> Result<Created, CreateError> {
    let own = ModelSettings::from_modelfile(request.modelfile)?;
    let from: Vec<&str> = request.modelfile.from().collect();
    let mut parts = gather(store, &from, request.folder, progress)?;
    parts.add_files(store, &own, request.folder, progress)?;
    let base = match &parts.base {
        Some(stored) => settings_of(store, stored)?,
        None => ModelSettings::default(),
    };
    let settings = own.clone().over(&base);
    let texts = text_layers(store, &own, &settings, parts.base.as_deref())?;
    let note = Note::from_source(format!("created from {}", from.join(", ")));
    make(store, request.name, parts, texts, &settings, note, progress)
}

/// Makes a model with the weights of `from` and exactly these settings; those of the model it is made from are not added.
/// A crash leaves the name as it was.
///
/// # Errors
/// As [`create`].
pub fn save(store: &Store, request: SaveRequest<'_>) -> Result<Created, CreateError> {
    let here = Path::new("");
    let parts = gather(store, &[request.from], here, &mut |_| ())?;
    let texts = text_layers(store, request.settings, request.settings, None)?;
    make(store, request.name, parts, texts, request.settings, request.note, &mut |_| ())
}

/// From gathered parts to a name.
fn make(
    store: &Store,
    name: &ModelName,
    parts: Parts,
    texts: Vec<Layer>,
    settings: &ModelSettings,
    note: Note,
    progress: &mut dyn FnMut(CreateStep),
) -> Result<Created, CreateError> {
    let mut layers = parts.weights;
    layers.extend(texts);
    for layer in &layers {
        progress(CreateStep::Layer(layer));
    }
    let config = configuration(store, settings, parts.base.as_deref(), &layers)?;
    let config = store.put_layer(media_type::CONFIG, &config::to_bytes(&config))?;
    progress(CreateStep::Manifest);
    let manifest = Manifest::new(config, layers);
    let mut bytes = manifest.to_bytes();
    // Ollama ends the manifest with the line, and the line counts for the ID.
    bytes.push(b'\n');
    let warnings = warnings(store, settings, &manifest);
    let id = store.put_manifest(name, &bytes)?;
    store.put_note(name, &note)?;
    Ok(Created { id, manifest, warnings })
}

/// The Modelfile that makes a stored model again, weights by the paths of their blobs.
///
/// # Errors
/// Layers that cannot be read.
pub fn stored_modelfile(store: &Store, stored: &StoredManifest) -> Result<Modelfile, CreateError> {
    let path = |digest: &Digest| store.blobs().path(digest).to_string_lossy().into_owned();
    let of_type = |media_type| stored.manifest.layers_of(media_type).map(|layer| path(&layer.digest));
    let from: Vec<String> = of_type(media_type::MODEL).chain(of_type(media_type::PROJECTOR)).collect();
    let settings = settings_of(store, stored)?;
    Ok(settings.to_modelfile(&from, |part| match part {
        Part::Written(written) => written.clone(),
        Part::Blob(digest) => path(digest),
    }))
}

/// What a model is gathered from.
struct Parts {
    base: Option<Box<StoredManifest>>,
    /// Layers of weights, in the order of [`WEIGHTS`].
    weights: Vec<Layer>,
}

/// Media types of weights in the order of their layers; what else a base has stands behind them.
const WEIGHTS: [&str; 4] = [media_type::MODEL, media_type::PROJECTOR, media_type::ADAPTER, media_type::DRAFT];

fn gather(
    store: &Store,
    froms: &[&str],
    folder: &Path,
    progress: &mut dyn FnMut(CreateStep),
) -> Result<Parts, CreateError> {
    let mut parts = Parts { base: None, weights: Vec::new() };
    let mut model: Option<&str> = None;
    let mut shards = Shards::default();
    for from in froms {
        let mut has_model = false;
        match find(store, folder, from)? {
            Source::Stored(stored) => {
                let is_text = |layer: &Layer| TEXTS.iter().any(|media_type| is_text_of(layer, media_type));
                let layers = stored.manifest.layers.iter().filter(|layer| !is_text(layer)).cloned().collect::<Vec<_>>();
                store.blobs().claim(&layers.iter().map(|layer| layer.digest).collect::<Vec<_>>())?;
                has_model = layers.iter().any(|layer| layer.media_type == media_type::MODEL);
                parts.base = Some(stored);
                layers.into_iter().for_each(|layer| parts.push(layer));
            }
            Source::Files(files) => {
                for file in files {
                    progress(CreateStep::Hashing(&file.path));
                    let layer = to_layer(store, &file, None, &mut |bytes| progress(CreateStep::Hashed(bytes)))?;
                    match file.shard {
                        Some(shard) => shards.add(from, file.path, shard, layer)?,
                        None => {
                            if layer.media_type == media_type::MODEL && std::mem::replace(&mut has_model, true) {
                                return Err(two_models(from, from));
                            }
                            parts.push(layer);
                        }
                    }
                }
            }
        }
        if has_model && let Some(first) = model.replace(from) {
            return Err(two_models(first, from));
        }
    }
    match (model, shards.from) {
        (None, None) => return Err(CreateError::NoModel),
        (Some(first), Some(second)) => return Err(two_models(first, second)),
        _ => shards.finish()?.into_iter().for_each(|layer| parts.push(layer)),
    }
    parts.sort();
    Ok(parts)
}

fn two_models(first: &str, second: &str) -> CreateError {
    CreateError::TwoModels { first: first.to_string(), second: second.to_string() }
}

/// The files of a split model, in whatever order they are named.
#[derive(Default)]
struct Shards<'f> {
    from: Option<&'f str>,
    count: u32,
    path: PathBuf,
    /// By number, from 0.
    layers: BTreeMap<u32, Layer>,
}

impl<'f> Shards<'f> {
    fn add(&mut self, from: &'f str, path: PathBuf, shard: (u32, u32), layer: Layer) -> Result<(), CreateError> {
        let (number, count) = shard;
        let is_other = self.from.is_some() && self.count != count;
        if is_other || self.layers.insert(number, layer).is_some() {
            return Err(two_models(self.from.unwrap_or(from), from));
        }
        (self.from, self.count, self.path) = (self.from.or(Some(from)), count, path);
        Ok(())
    }

    /// All of them in their order, nothing if there are none.
    fn finish(self) -> Result<Vec<Layer>, CreateError> {
        let is_whole = self.layers.keys().copied().eq(0..self.count);
        if !is_whole {
            return Err(CreateError::Split { path: self.path, found: self.layers.len(), count: self.count });
        }
        Ok(self.layers.into_values().collect())
    }
}

impl Parts {
    /// Adds a layer. Where it came from is what the note says; in the manifest it would change the ID, as would the name
    /// of a shard, whose place says which one it is.
    fn push(&mut self, layer: Layer) {
        let name = layer.name.filter(|_| layer.media_type != media_type::MODEL);
        self.weights.push(Layer { from: None, name, ..layer });
    }

    /// Adds the files of ADAPTER and DRAFT.
    fn add_files(
        &mut self,
        store: &Store,
        own: &ModelSettings,
        folder: &Path,
        progress: &mut dyn FnMut(CreateStep),
    ) -> Result<(), CreateError> {
        let adapters = own.adapters.iter().map(|adapter| (adapter, media_type::ADAPTER));
        for (part, media_type) in adapters.chain(own.draft.iter().map(|draft| (draft, media_type::DRAFT))) {
            let Part::Written(written) = part else { continue };
            let file = find_file(store, folder, written)?;
            progress(CreateStep::Hashing(&file.path));
            let layer = to_layer(store, &file, Some(media_type), &mut |bytes| progress(CreateStep::Hashed(bytes)))?;
            if media_type == media_type::DRAFT {
                self.weights.retain(|layer| layer.media_type != media_type::DRAFT);
            }
            self.weights.push(layer);
        }
        self.sort();
        Ok(())
    }

    fn sort(&mut self) {
        let place = |layer: &Layer| WEIGHTS.iter().position(|media_type| *media_type == layer.media_type);
        self.weights.sort_by_key(|layer| place(layer).unwrap_or(WEIGHTS.len()));
    }
}

fn settings_of(store: &Store, stored: &StoredManifest) -> Result<ModelSettings, CreateError> {
    let read = |layer: &Layer| store.blobs().read(&layer.digest, TEXT_BYTES_MAX);
    ModelSettings::from_layers(&stored.manifest, read)
        .map_err(|reason| CreateError::Base { name: stored.name.short(), reason: Box::new(reason) })
}

/// The layers of all settings that are texts. What the Modelfile does not touch keeps the layer of the base as it is.
fn text_layers(
    store: &Store,
    own: &ModelSettings,
    settings: &ModelSettings,
    base: Option<&StoredManifest>,
) -> Result<Vec<Layer>, CreateError> {
    let own = texts(own);
    let all = texts(settings);
    let mut layers = Vec::new();
    for media_type in TEXTS {
        let is_own = own.iter().any(|(own_type, _)| *own_type == media_type);
        if let (false, Some(stored)) = (is_own, base) {
            for layer in stored.manifest.layers.iter().filter(|layer| is_text_of(layer, media_type)) {
                store.blobs().claim(&[layer.digest])?;
                layers.push(Layer { from: None, ..layer.clone() });
            }
            continue;
        }
        for (_, bytes) in all.iter().filter(|(text_type, _)| *text_type == media_type) {
            layers.push(store.put_layer(media_type, bytes)?);
        }
    }
    Ok(layers)
}

/// Media types of texts in the order of their layers.
const TEXTS: [&str; 5] =
    [media_type::TEMPLATE, media_type::SYSTEM, media_type::LICENSE, media_type::PARAMS, media_type::MESSAGES];

fn is_text_of(layer: &Layer, media_type: &str) -> bool {
    layer.media_type == media_type || (media_type == media_type::TEMPLATE && layer.media_type == media_type::PROMPT)
}

/// Media type and bytes of each text.
fn texts(settings: &ModelSettings) -> Vec<(&'static str, Vec<u8>)> {
    let text = |text: &String| text.clone().into_bytes();
    let mut texts: Vec<(&'static str, Vec<u8>)> = Vec::new();
    texts.extend(settings.template.iter().map(|template| (media_type::TEMPLATE, text(template))));
    texts.extend(settings.system.iter().map(|system| (media_type::SYSTEM, text(system))));
    texts.extend(settings.licenses.iter().map(|license| (media_type::LICENSE, text(license))));
    if !settings.parameters.is_empty() {
        texts.push((media_type::PARAMS, settings.parameters.to_layer()));
    }
    if !settings.messages.is_empty() {
        let message = |message: &super::Message| json!({ "role": message.role, "content": message.content });
        let messages: Vec<Json> = settings.messages.iter().map(message).collect();
        texts.push((media_type::MESSAGES, go_json::to_bytes(&Json::Array(messages))));
    }
    texts
}

fn configuration(
    store: &Store,
    settings: &ModelSettings,
    base: Option<&StoredManifest>,
    layers: &[Layer],
) -> Result<ImageConfig, CreateError> {
    let digests: Vec<Digest> = layers.iter().map(|layer| layer.digest).collect();
    let first = |wanted: &str| layers.iter().find(|layer| layer.media_type == wanted);
    let of_base = base.and_then(|stored| {
        let bytes = store.blobs().read(&stored.manifest.config.digest, CONFIG_BYTES_MAX).ok()?;
        ImageConfig::parse(&bytes).ok().filter(|config| !config.model_format.is_empty())
    });
    let mut config = match of_base {
        Some(config) => config,
        None => ImageConfig::of_gguf_files(&model_paths(store, layers), &digests)?,
    };
    config.rootfs.diff_ids = digests;
    if let Some(projector) = first(media_type::PROJECTOR) {
        let family = ImageConfig::of_gguf(&store.blobs().path(&projector.digest), &[])?.model_family;
        let families = config.model_families.get_or_insert_default();
        if !families.contains(&family) {
            families.push(family);
        }
    }
    if let Some(draft) = first(media_type::DRAFT) {
        let family = ImageConfig::of_gguf(&store.blobs().path(&draft.digest), &[])?.model_family;
        config.other.insert("draft".to_string(), json!({ "model_format": "gguf", "architecture": family }));
    }
    let named = [("renderer", &settings.renderer), ("parser", &settings.parser), ("requires", &settings.requires)];
    for (name, value) in named {
        if let Some(value) = value {
            config.other.insert(name.to_string(), json!(value));
        }
    }
    Ok(config)
}

/// The blobs of the weights: one, or the shards in their order.
fn model_paths(store: &Store, layers: &[Layer]) -> Vec<PathBuf> {
    let models = layers.iter().filter(|layer| layer.media_type == media_type::MODEL);
    models.map(|layer| store.blobs().path(&layer.digest)).collect()
}

fn warnings(store: &Store, settings: &ModelSettings, manifest: &Manifest) -> Vec<String> {
    let ignored = settings.parameters.without_effect().map(|name| format!("parameter `{name}` has no effect"));
    let mut warnings: Vec<String> = ignored.collect();
    let is_list = |stop: &&String| stop.starts_with('[') && stop.ends_with(']') && stop.contains('"');
    warnings.extend(settings.parameters.stop().iter().filter(is_list).map(|stop| {
        format!("`PARAMETER stop {stop}` is one text with its brackets: give each stop text a line of its own")
    }));
    let has = |media_type: &str| manifest.layers_of(media_type).next().is_some();
    if has(media_type::PROJECTOR) {
        warnings
            .push("the projector is kept, but pictures and sound are not read yet: the model answers text".to_string());
    }
    let file = open_files(&model_paths(store, &manifest.layers)).ok();
    let is_rendered = settings.renderer.is_some();
    if let (Some(file), false) = (file, is_rendered) {
        warnings.extend(template_warning(&file, settings.template.as_deref()));
    }
    warnings
}

impl Modelfile {
    /// The Modelfile of a folder that has none: made from what lies in it.
    pub fn of_folder() -> Modelfile {
        Modelfile { instructions: vec![Instruction::From(".".to_string())] }
    }
}
