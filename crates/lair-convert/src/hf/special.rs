//! Which tokens have a role, what frames a text, and the chat templates of a checkpoint.
//!
//! `tokenizer.json` says what its post-processor puts around a text; `tokenizer_config.json` names the tokens of roles;
//! `config.json` has ids of some. The first that speaks counts.

use std::collections::BTreeMap;

use lair_gguf::{Metadata, StringArray};
use serde_json::Value as Json;

use super::tokenizer::Files;
use crate::checkpoint::Checkpoint;
use crate::error::ConvertError;

/// Roles in the files, and what GGUF calls them. That `seperator` is misspelt is so in the format.
const ROLES: [(&str, &str); 7] = [
    ("bos", "bos"),
    ("eos", "eos"),
    ("unk", "unknown"),
    ("sep", "seperator"),
    ("pad", "padding"),
    ("cls", "cls"),
    ("mask", "mask"),
];

/// Sets the ids of roles, the flags of the frame, and the templates.
pub(crate) fn set_special(metadata: &mut Metadata, checkpoint: &Checkpoint, files: &Files) -> Result<(), ConvertError> {
    let mut roles = Roles::of_config(&files.config);
    if let Some(tokenizer) = &files.tokenizer {
        roles.read_post_processor(&tokenizer["post_processor"]);
    }
    let config = checkpoint.json("config.json")?.unwrap_or(Json::Null);
    let count = metadata.optional_strings("tokenizer.ggml.tokens")?.map_or(0, StringArray::len);
    for (role, key) in ROLES {
        let in_tokenizer = roles.texts.get(role).and_then(|text| id_of(text, files));
        let key_in_config = format!("{role}_token_id");
        let in_config = [&config[&key_in_config], &config["text_config"][&key_in_config]];
        let in_config = in_config.iter().find_map(|id| id.as_u64());
        if let Some(id) = in_tokenizer.or(in_config).filter(|id| (*id as usize) < count) {
            metadata.set(&format!("tokenizer.ggml.{key}_token_id"), id as u32);
        }
    }
    for role in ["bos", "eos", "sep"] {
        if let Some(adds) = roles.adds.get(role) {
            metadata.set(&format!("tokenizer.ggml.add_{role}_token"), *adds);
        }
    }
    if let Some(id) = roles.turn_end.as_ref().and_then(|text| id_of(text, files)) {
        metadata.set("tokenizer.ggml.eot_token_id", id as u32);
    }
    set_templates(metadata, checkpoint, files)
}

/// The id of a token by its text.
fn id_of(text: &str, files: &Files) -> Option<u64> {
    let in_list = || {
        let tokens = files.tokenizer.as_ref()?["added_tokens"].as_array()?;
        tokens.iter().find(|token| token["content"] == text)?["id"].as_u64()
    };
    let in_config = || {
        let tokens = files.config["added_tokens_decoder"].as_object()?;
        tokens.iter().find(|(_, token)| token["content"] == text)?.0.parse().ok()
    };
    in_list().or_else(in_config)
}

#[derive(Default)]
struct Roles {
    /// The text of a role's token.
    texts: BTreeMap<&'static str, String>,
    /// Whether the token of a role is put around texts.
    adds: BTreeMap<&'static str, bool>,
    /// What ended texts before the post-processor said otherwise: it ends turns.
    turn_end: Option<String>,
}

impl Roles {
    fn of_config(config: &Json) -> Roles {
        let mut roles = Roles::default();
        for (role, _) in ROLES {
            let entry = &config[&format!("{role}_token")];
            if let Some(text) = entry.as_str().or_else(|| entry["content"].as_str()) {
                roles.texts.insert(role, text.to_owned());
            }
            if let Some(adds) = config[&format!("add_{role}_token")].as_bool() {
                roles.adds.insert(role, adds);
            }
        }
        // What classifies a text begins it, and what separates texts ends them, where nothing else does.
        for (role, other) in [("bos", "cls"), ("eos", "sep")] {
            if !roles.texts.contains_key(role)
                && let Some(text) = roles.texts.get(other).cloned()
            {
                roles.texts.insert(role, text);
            }
        }
        roles
    }

    fn read_post_processor(&mut self, processor: &Json) {
        // What the configuration says is overruled by what is really done.
        let said = std::mem::take(&mut self.adds);
        match processor["processors"].as_array() {
            Some(processors) => processors.iter().for_each(|processor| self.read_one(processor)),
            None => self.read_one(processor),
        }
        for (role, adds) in said {
            self.adds.entry(role).or_insert(adds);
        }
    }

    fn read_one(&mut self, processor: &Json) {
        match processor["type"].as_str() {
            Some("ByteLevel") => {
                self.adds.entry("bos").or_insert(false);
                self.adds.entry("eos").or_insert(false);
            }
            Some("RobertaProcessing") => {
                for (role, entry) in [("bos", "cls"), ("eos", "sep")] {
                    self.adds.insert(role, true);
                    if let Some(text) = processor[entry][0].as_str() {
                        self.texts.entry(role).or_insert_with(|| text.to_owned());
                    }
                }
                self.adds.insert("sep", true);
            }
            Some("TemplateProcessing") => self.read_template(processor),
            _ => {}
        }
    }

    /// What stands first and last around a single text, and between two.
    fn read_template(&mut self, processor: &Json) {
        let empty = Vec::new();
        let single = processor["single"].as_array().unwrap_or(&empty);
        if single.len() < 2 {
            return;
        }
        if let Some(first) = special(single.first()) {
            let is_known = ["bos", "cls"].iter().any(|role| self.texts.get(role).is_some_and(|text| text == first));
            if !is_known {
                self.texts.entry("bos").or_insert_with(|| first.to_owned());
            }
            self.adds.insert("bos", is_known || self.texts.get("bos").is_some_and(|text| text == first));
        }
        if let Some(last) = special(single.last()) {
            if let Some(old) = self.texts.insert("eos", last.to_owned())
                && old != last
            {
                self.turn_end = Some(old);
            }
            self.adds.insert("eos", true);
        }
        if let Some(pair) = processor["pair"].as_array() {
            let between = pair.iter().skip_while(|entry| entry["Sequence"]["id"] != "A").skip(1);
            let mut between = between.take_while(|entry| entry["Sequence"]["id"] != "B");
            let ends = ["sep", "eos"].map(|role| self.texts.get(role).cloned());
            let is_end =
                |entry: &Json| special(Some(entry)).is_some_and(|text| ends.iter().flatten().any(|end| end == text));
            if let Some(first) = between.next() {
                // The end of the first text is put there anyway.
                let own_end = special(single.last()).is_some();
                self.adds.insert("sep", between.next().is_some_and(is_end) || (!own_end && is_end(first)));
            }
        }
    }
}

/// The text of the token that an entry of a template is.
fn special(entry: Option<&Json>) -> Option<&str> {
    entry?["SpecialToken"]["id"].as_str()
}

/// The chat templates: of `tokenizer_config.json`, else of files of their own.
fn set_templates(metadata: &mut Metadata, checkpoint: &Checkpoint, files: &Files) -> Result<(), ConvertError> {
    let in_config = files.config.get("chat_template").filter(|template| !template.is_null()).cloned();
    let template = match in_config {
        Some(template) => template,
        None => match checkpoint.text("chat_template.jinja")? {
            Some(text) => Json::String(text),
            None => checkpoint.json("chat_template.json")?.map_or(Json::Null, |file| file["chat_template"].clone()),
        },
    };
    let mut names = Vec::new();
    match &template {
        Json::String(text) => metadata.set("tokenizer.chat_template", text.as_str()),
        Json::Array(choices) => {
            for choice in choices {
                let (Some(name), Some(text)) = (choice["name"].as_str(), choice["template"].as_str()) else { continue };
                if name == "default" {
                    metadata.set("tokenizer.chat_template", text);
                    continue;
                }
                let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
                metadata.set(&format!("tokenizer.chat_template.{name}"), text);
                names.push(name);
            }
        }
        _ => {}
    }
    if !names.is_empty() {
        metadata.set("tokenizer.chat_templates", names.iter().collect::<StringArray>());
    }
    Ok(())
}
