//! What a model of a store brings beside its weights: settings that are honoured, or refused by name.

use lair_store::modelfile::{Message as StoredMessage, ModelSettings, ModelfileError, Parameters, Part};
use lair_store::oci::{Layer, Manifest, media_type};
use lair_store::{Adopt, CONFIG_BYTES_MAX, Digest, ImageConfig, ModelName, Note, Store, StoreError};

use crate::failure::{ExitCode, Failure, Outcome};
use crate::locate::{self, Located};
use crate::parameters;
use crate::session::{LoadOptions, Message};
use crate::speculate::DraftChoice;

/// The longest text layer that is read: a licence, a template, a conversation.
const TEXT_BYTES_MAX: u64 = 16 << 20;

/// The settings of a model of the store.
///
/// # Errors
/// A layer that is missing, or is not what it should be.
pub fn settings(store: &Store, name: &ModelName) -> Result<ModelSettings, Failure> {
    let Some(stored) = store.manifest(name)? else { return Ok(ModelSettings::default()) };
    let read = |layer: &Layer| store.blobs().read(&layer.digest, layer.size_bytes.min(TEXT_BYTES_MAX));
    ModelSettings::from_layers(&stored.manifest, read)
        .map_err(|error| Failure::new(ExitCode::BadModel, format!("`{}`: {error}", name.short())))
}

/// What a chat keeps of itself in a new model.
#[derive(Clone, Debug)]
pub struct Changes {
    /// The system message, where it was set.
    pub system: Option<String>,
    /// The parameters that were set.
    pub parameters: Parameters,
    /// The conversation.
    pub messages: Vec<Message>,
}

impl Located {
    /// The options to load it with: those of the command line, over `parameters`, over the model's own. What the model
    /// brings and has no effect is said.
    ///
    /// # Errors
    /// Refuses what would change every answer: an adapter.
    pub fn load_options(&self, parameters: &Parameters, options: &LoadOptions) -> Result<LoadOptions, Failure> {
        self.check_settings()?;
        let all = parameters.clone().over(&self.settings.parameters);
        let options = parameters::load_options(&all, options.clone());
        Ok(match &self.draft {
            Some(path) => DraftChoice::of_file(path.clone()).where_none_is_chosen(options),
            None => options,
        })
    }

    /// The messages that every chat with it begins with.
    pub fn messages(&self) -> Vec<Message> {
        let messages = self.settings.messages.iter();
        messages.map(|message| Message::new(&message.role, &message.content)).collect()
    }

    fn check_settings(&self) -> Outcome {
        if !self.settings.adapters.is_empty() {
            let cause = format!("`{}` has an ADAPTER: LoRA adapters are not built yet", self.name);
            let hint = "run the model it is made from".to_owned();
            return Err(Failure::new(ExitCode::BadModel, cause).with_hint(hint));
        }
        for warning in parameters::warnings(&self.settings.parameters) {
            eprintln!("warning: {warning}");
        }
        Ok(())
    }

    /// The Modelfile that makes it.
    ///
    /// # Errors
    /// A text that no Modelfile can hold.
    pub fn modelfile(&self) -> Result<String, Failure> {
        let wrong = |error: ModelfileError| Failure::new(ExitCode::BadModel, &error).with_hint(error.hint());
        let part = |part: &Part| match part {
            Part::Written(path) => path.clone(),
            Part::Blob(digest) => digest.to_string(),
        };
        self.settings.to_modelfile(&[self.path.display().to_string()], part).print().map_err(wrong)
    }

    /// Keeps it with these changes under a name. Weights of the store are shared; a file outside of it is taken in, by
    /// reference where the file system can.
    ///
    /// # Errors
    /// What is no name, and what the store says.
    pub fn save_as(&self, name: &str, changes: Changes) -> Outcome {
        let target: ModelName =
            name.parse().map_err(|error: lair_store::ModelNameError| Failure::new(ExitCode::Usage, error))?;
        let store = locate::store()?;
        Ok(save(&store, self, &target, changes)?)
    }
}

/// Layers that settings are written to; all others are kept as they are.
const CHANGED: [&str; 3] = [media_type::SYSTEM, media_type::PARAMS, media_type::MESSAGES];

fn save(store: &Store, located: &Located, target: &ModelName, changes: Changes) -> Result<(), StoreError> {
    let base = match &located.stored {
        Some(name) => store.manifest(name)?,
        None => None,
    };
    let (config, mut layers) = match base {
        Some(base) => {
            // Whoever removes the base meanwhile must not take what the new model needs.
            store.blobs().claim(&base.manifest.blobs().map(|blob| blob.digest).collect::<Vec<_>>())?;
            let bytes = store.blobs().read(&base.manifest.config.digest, CONFIG_BYTES_MAX)?;
            (ImageConfig::parse(&bytes).unwrap_or_default(), base.manifest.layers)
        }
        None => {
            let digest = store.blobs().adopt(&located.path, Adopt::Cheapest, &mut |_| ())?;
            let size_bytes = store.blobs().size_bytes(&digest).unwrap_or_default();
            let media_type = media_type::MODEL.to_owned();
            let config = ImageConfig::of_gguf(&located.path, &[])?;
            (config, vec![Layer { media_type, digest, size_bytes, from: None, name: None }])
        }
    };
    let messages = changes.messages.into_iter();
    let settings = ModelSettings {
        system: changes.system,
        parameters: changes.parameters,
        messages: messages.map(|message| StoredMessage { role: message.role, content: message.content }).collect(),
        ..ModelSettings::default()
    };
    let messages = settings.messages.clone();
    let settings = settings.over(&located.settings);
    layers.retain(|layer| !CHANGED.contains(&layer.media_type.as_str()));
    if let Some(system) = settings.system.filter(|system| !system.is_empty()) {
        layers.push(store.put_layer(media_type::SYSTEM, system.as_bytes())?);
    }
    if !settings.parameters.is_empty() {
        layers.push(store.put_layer(media_type::PARAMS, &settings.parameters.to_layer())?);
    }
    // The conversation as it is now: one that was cleared has none, whatever the model began with.
    if !messages.is_empty() {
        let bytes = serde_json::to_vec(&messages).expect("messages are texts");
        layers.push(store.put_layer(media_type::MESSAGES, &bytes)?);
    }
    let mut config = config;
    config.rootfs.kind = "layers".to_owned();
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.digest).collect::<Vec<Digest>>();
    let config = store.put_layer(media_type::CONFIG, &config.to_bytes())?;
    store.put_manifest(target, &Manifest::new(config, layers).to_bytes())?;
    store.put_note(target, &Note::from_source(format!("a chat with {}", located.name)))
}
