//! What a model of a store brings beside its weights: settings that are honoured, or refused by name.

use lair_store::modelfile::{
    Message as StoredMessage, ModelSettings, ModelfileError, Parameters, Part, SaveRequest, is_newer, save,
};
use lair_store::oci::Layer;
use lair_store::{ModelName, Note, Store};

use lair_server::API_VERSION;

use crate::adapter_choice::AdapterChoice;
use crate::failure::{ExitCode, Failure, Outcome};
use crate::locate::{self, Located};
use crate::parameters;
use crate::session::{LoadOptions, Message};
use crate::speculate::DraftChoice;

/// The longest text layer that is read: a licence, a template, a conversation.
const TEXT_BYTES_MAX: u64 = 16 << 20;

/// Renderers of Ollama whose prompts the chat templates of the same models write.
const RENDERERS: &[&str] = &[
    "cogito",
    "cohere",
    "deepseek3.1",
    "functiongemma",
    "gemma4",
    "gemma4-large",
    "gemma4-small",
    "glimmer",
    "glm-4.7",
    "glm-ocr",
    "laguna",
    "lfm2",
    "lfm2-thinking",
    "nemotron-3-nano",
    "nemotron-3.5-nano",
    "olmo3",
    "olmo3-32b-think",
    "olmo3-think",
    "olmo3.1",
    "ornith",
    "poolside-v1",
    "qwen3-coder",
    "qwen3-vl-instruct",
    "qwen3-vl-thinking",
    "qwen3.5",
    "qwen3.8",
];

/// Parsers of Ollama that have a name of their own; a renderer's name means the parser of the same answers.
const PARSERS: &[&str] = &[
    "cogito",
    "cohere",
    "deepseek3",
    "deepseek3.1",
    "functiongemma",
    "gemma4",
    "gemma4-no-thinking",
    "glimmer",
    "glm-4.7",
    "glm-ocr",
    "harmony",
    "laguna",
    "lfm2",
    "lfm2-thinking",
    "ministral",
    "nemotron-3-nano",
    "nemotron-3.5-nano",
    "olmo3",
    "olmo3-think",
    "ornith",
    "passthrough",
    "poolside-v1",
    "qwen3",
    "qwen3-coder",
    "qwen3-thinking",
    "qwen3-vl-instruct",
    "qwen3-vl-thinking",
    "qwen3.5",
    "qwen3.8",
];

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
    pub fn load_options(&self, parameters: &Parameters, options: &LoadOptions) -> Result<LoadOptions, Failure> {
        self.check_settings()?;
        let all = parameters.clone().over(&self.settings.parameters);
        let mut options = parameters::load_options(&all, options.clone());
        let own = self.adapters.iter().cloned().map(AdapterChoice::of_file);
        options.adapters = own.chain(options.adapters).collect();
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
        for warning in parameters::warnings(&self.settings.parameters) {
            eprintln!("warning: {warning}");
        }
        for warning in self.unknown_settings() {
            eprintln!("warning: {warning}");
        }
        Ok(())
    }

    /// What it asks of the program that this one may not have: a version, a renderer, a parser. The chat template of the
    /// file does the work of the renderers and parsers that are known by name.
    fn unknown_settings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let (name, settings) = (&self.name, &self.settings);
        if let Some(required) = settings.requires.as_deref().filter(|required| is_newer(required, API_VERSION)) {
            warnings.push(format!(
                "`{name}` REQUIRES Ollama {required}; Lair does what Ollama {API_VERSION} does, answers may be wrong"
            ));
        }
        for (what, known, written) in
            [("RENDERER", RENDERERS, &settings.renderer), ("PARSER", PARSERS, &settings.parser)]
        {
            if let Some(written) = written.as_deref().filter(|written| !known.contains(written)) {
                warnings.push(format!(
                    "`{name}` has the {what} `{written}`, which is not known; the chat template of its file stands for it"
                ));
            }
        }
        warnings
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
        let from = match &self.stored {
            Some(name) => name.to_string(),
            None => std::path::absolute(&self.path)?.to_string_lossy().into_owned(),
        };
        let message = |message: Message| StoredMessage { role: message.role, content: message.content };
        let own = ModelSettings {
            system: changes.system,
            parameters: changes.parameters,
            messages: Vec::new(),
            ..ModelSettings::default()
        };
        let mut settings = own.over(&self.settings);
        settings.system = settings.system.filter(|system| !system.is_empty());
        // The conversation as it is now: one that was cleared has none, whatever the model began with.
        settings.messages = changes.messages.into_iter().map(message).collect();
        let note = Note::from_source(format!("a chat with {}", self.name));
        save(&store, SaveRequest { name: &target, from: &from, settings: &settings, note })?;
        Ok(())
    }
}
