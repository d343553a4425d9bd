//! What a model says about how it is used: the sum of a Modelfile's instructions, or of the layers of a stored model.

use serde::Deserialize;
use serde_json::Value as Json;
use thiserror::Error;

use super::error::ModelfileError;
use super::parameters::Parameters;
use super::{Instruction, Message, Modelfile};
use crate::digest::Digest;
use crate::oci::{Layer, Manifest, media_type};

/// A part of a model beside its weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// As a Modelfile writes it: a path, relative to the Modelfile.
    Written(String),
    /// A blob of the store.
    Blob(Digest),
}

/// What a model says about how it is used.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelSettings {
    /// A Go template. Without one the Jinja template of the GGUF file counts.
    pub template: Option<String>,
    /// The system prompt of chats that bring none.
    pub system: Option<String>,
    /// Parameters.
    pub parameters: Parameters,
    /// What every chat begins with.
    pub messages: Vec<Message>,
    /// Texts of licences.
    pub licenses: Vec<String>,
    /// LoRA adapters.
    pub adapters: Vec<Part>,
    /// A draft model for speculative decoding.
    pub draft: Option<Part>,
    /// Name of a built-in renderer of prompts.
    pub renderer: Option<String>,
    /// Name of a built-in parser of answers.
    pub parser: Option<String>,
    /// The lowest version of Ollama that runs the model.
    pub requires: Option<String>,
}

/// A stored model whose settings cannot be read.
#[derive(Debug, Error)]
pub enum LayerReadError<E: std::error::Error + 'static> {
    /// A blob could not be read.
    #[error(transparent)]
    Read(E),
    /// A layer that is not what its media type says.
    #[error("layer {digest} ({media_type}) is not valid: {reason}")]
    Layer {
        /// The blob.
        digest: Digest,
        /// What it should be.
        media_type: String,
        /// What is wrong.
        reason: String,
    },
}

/// Fields of a configuration that settings are made of.
#[derive(Default, Deserialize)]
struct ConfigSettings {
    #[serde(default)]
    renderer: String,
    #[serde(default)]
    parser: String,
    #[serde(default)]
    requires: String,
}

impl ModelSettings {
    /// What a Modelfile amounts to. Of `TEMPLATE`, `SYSTEM` and the like the last one counts, of `PARAMETER`, `MESSAGE`,
    /// `LICENSE` and `ADAPTER` all do. An empty text counts as none, as in Ollama.
    ///
    /// # Errors
    /// A parameter or a version that is none; of a parsed Modelfile only the version can be wrong.
    pub fn from_modelfile(modelfile: &Modelfile) -> Result<ModelSettings, ModelfileError> {
        let mut settings = ModelSettings::default();
        for instruction in &modelfile.instructions {
            match instruction {
                Instruction::From(_) => {}
                Instruction::Parameter { name, value } => settings.parameters.set(name, value)?,
                Instruction::Template(text) => settings.template = not_empty(text),
                Instruction::System(text) => settings.system = not_empty(text),
                Instruction::Adapter(path) => settings.adapters.push(Part::Written(path.clone())),
                Instruction::License(text) => settings.licenses.extend(not_empty(text)),
                Instruction::Message(message) => settings.messages.push(message.clone()),
                Instruction::Requires(version) => settings.requires = Some(checked_version(version)?),
                Instruction::Draft(path) => settings.draft = Some(Part::Written(path.clone())),
                Instruction::Renderer(name) => settings.renderer = not_empty(name),
                Instruction::Parser(name) => settings.parser = not_empty(name),
            }
        }
        Ok(settings)
    }

    /// What the layers of a stored model amount to. `read` gives the bytes of a layer; it is asked for texts only, never for
    /// weights.
    ///
    /// # Errors
    /// What `read` says, or a layer that is not what its media type says.
    pub fn from_layers<E: std::error::Error + 'static>(
        manifest: &Manifest,
        mut read: impl FnMut(&Layer) -> Result<Vec<u8>, E>,
    ) -> Result<ModelSettings, LayerReadError<E>> {
        let mut settings = ModelSettings::default();
        let config: ConfigSettings = match read(&manifest.config).map_err(LayerReadError::Read)? {
            bytes if bytes.is_empty() => ConfigSettings::default(),
            bytes => serde_json::from_slice(&bytes).map_err(|error| wrong_layer(&manifest.config, &error))?,
        };
        settings.renderer = Some(config.renderer).filter(|name| !name.is_empty());
        settings.parser = Some(config.parser).filter(|name| !name.is_empty());
        settings.requires = Some(config.requires).filter(|version| !version.is_empty());
        for layer in &manifest.layers {
            let mut text = || -> Result<String, LayerReadError<E>> {
                let bytes = read(layer).map_err(LayerReadError::Read)?;
                String::from_utf8(bytes).map_err(|error| wrong_layer(layer, &error))
            };
            match layer.media_type.as_str() {
                media_type::TEMPLATE | media_type::PROMPT => settings.template = Some(text()?),
                media_type::SYSTEM => settings.system = Some(text()?),
                media_type::LICENSE => settings.licenses.push(text()?),
                media_type::PARAMS => {
                    let json: Json = serde_json::from_str(&text()?).map_err(|error| wrong_layer(layer, &error))?;
                    settings.parameters = Parameters::from_json(&json).map_err(|error| wrong_layer(layer, &error))?;
                }
                media_type::MESSAGES => {
                    settings.messages = serde_json::from_str(&text()?).map_err(|error| wrong_layer(layer, &error))?;
                }
                media_type::ADAPTER => settings.adapters.push(Part::Blob(layer.digest)),
                media_type::DRAFT => settings.draft = Some(Part::Blob(layer.digest)),
                _ => {}
            }
        }
        Ok(settings)
    }

    /// The Modelfile that makes these settings on top of `from`, in the order of `ollama show --modelfile`. `part` says how
    /// an adapter or a draft is written.
    pub fn to_modelfile(&self, from: &[String], part: impl Fn(&Part) -> String) -> Modelfile {
        let first = from.iter().take(1).cloned().map(Instruction::From);
        let others = from.iter().skip(1).cloned().map(Instruction::From);
        let mut instructions: Vec<Instruction> = first.collect();
        instructions.extend(self.adapters.iter().map(|adapter| Instruction::Adapter(part(adapter))));
        instructions.extend(self.draft.iter().map(|draft| Instruction::Draft(part(draft))));
        instructions.extend(others);
        instructions.extend(self.template.clone().map(Instruction::Template));
        instructions.extend(self.system.clone().map(Instruction::System));
        instructions.extend(self.renderer.clone().map(Instruction::Renderer));
        instructions.extend(self.parser.clone().map(Instruction::Parser));
        instructions.extend(self.requires.clone().map(Instruction::Requires));
        let lines = self.parameters.lines().into_iter();
        instructions.extend(lines.map(|(name, value)| Instruction::Parameter { name: name.to_string(), value }));
        instructions.extend(self.licenses.iter().cloned().map(Instruction::License));
        instructions.extend(self.messages.iter().cloned().map(Instruction::Message));
        Modelfile { instructions }
    }

    /// These settings laid over those of the model they are made from, as Ollama does it: a template, a system prompt or a
    /// draft replaces, parameters replace name by name, messages replace as a whole, licences and adapters are added.
    pub fn over(self, base: &ModelSettings) -> ModelSettings {
        let messages = if self.messages.is_empty() { base.messages.clone() } else { self.messages };
        ModelSettings {
            template: self.template.or_else(|| base.template.clone()),
            system: self.system.or_else(|| base.system.clone()),
            parameters: self.parameters.over(&base.parameters),
            messages,
            licenses: base.licenses.iter().cloned().chain(self.licenses).collect(),
            adapters: base.adapters.iter().cloned().chain(self.adapters).collect(),
            draft: self.draft.or_else(|| base.draft.clone()),
            renderer: self.renderer.or_else(|| base.renderer.clone()),
            parser: self.parser.or_else(|| base.parser.clone()),
            requires: self.requires.or_else(|| base.requires.clone()),
        }
    }
}

fn not_empty(text: &str) -> Option<String> {
    Some(text.to_string()).filter(|text| !text.is_empty())
}

fn wrong_layer<E: std::error::Error + 'static>(layer: &Layer, reason: &dyn std::error::Error) -> LayerReadError<E> {
    LayerReadError::Layer { digest: layer.digest, media_type: layer.media_type.clone(), reason: reason.to_string() }
}

/// A version as `REQUIRES` takes it: `0.14.0`, `v0.14`, with or without a suffix behind `-` or `+`.
fn checked_version(version: &str) -> Result<String, ModelfileError> {
    let bare = version.strip_prefix('v').unwrap_or(version);
    let numbers = bare.split(['-', '+']).next().unwrap_or_default();
    let is_number = |part: &str| {
        !part.is_empty() && part.bytes().all(|digit| digit.is_ascii_digit()) && (part == "0" || !part.starts_with('0'))
    };
    let part_count = numbers.split('.').count();
    // A suffix is only allowed behind all three numbers.
    let is_version = numbers.split('.').all(is_number) && (part_count == 3 || (part_count < 3 && numbers == bare));
    let is_plain = bare.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-+".contains(&byte));
    if is_version && is_plain {
        Ok(bare.to_string())
    } else {
        Err(ModelfileError::Version { line: None, found: version.to_string() })
    }
}
