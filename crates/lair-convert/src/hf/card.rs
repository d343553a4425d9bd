//! What a model is called and by whom it was made (`general.*`): from the model card's front matter, the configuration
//! and the folder's name, in this order; and how its makers sample from it (`generation_config.json`).

use std::collections::BTreeMap;

use lair_gguf::{Metadata, StringArray};
use serde_json::{Map, Value as Json};

use super::config::HfConfig;
use super::model_name::{NameParts, name_parts, title};
use crate::checkpoint::Checkpoint;
use crate::error::ConvertError;

/// The keys of a card that stand for one key of GGUF; the first that is there counts.
const CARD_KEYS: [(&str, &[&str]); 13] = [
    ("name", &["name", "model_name"]),
    ("author", &["author", "model_author", "model_creator"]),
    ("version", &["version", "model_version"]),
    ("organization", &["organization", "model_organization"]),
    ("finetune", &["finetune", "model_finetune"]),
    ("basename", &["basename", "model_basename", "model_type"]),
    ("description", &["description", "model_description"]),
    ("size_label", &["size_label", "model_size_label"]),
    ("license", &["license"]),
    ("license.name", &["license_name"]),
    ("license.link", &["license_link"]),
    ("source.url", &["url", "model_url"]),
    ("source.repo_url", &["repo_url", "model_repo_url"]),
];
/// How one samples, by the names of the makers and of GGUF.
const COUNTS: [(&str, &str); 2] = [("top_k", "top_k"), ("penalty_last_n", "penalty_last_n")];
const NUMBERS: [(&str, &[&str]); 5] = [
    ("top_p", &["top_p"]),
    ("min_p", &["min_p"]),
    ("temp", &["temperature"]),
    ("penalty_repeat", &["penalty_repeat", "repetition_penalty"]),
    ("xtc_probability", &["xtc_probability"]),
];
/// Front matter is shorter.
const FRONT_MATTER_BYTES_MAX: usize = 256 << 10;

/// Sets `general.*`.
pub(crate) fn set_card(
    metadata: &mut Metadata,
    checkpoint: &Checkpoint,
    config: &HfConfig,
    parameter_count: u64,
    size_label: String,
) -> Result<(), ConvertError> {
    metadata.set("general.type", "model");
    set_sampling(metadata, checkpoint);
    let card = front_matter(checkpoint)?;
    let mut facts: BTreeMap<&str, String> = BTreeMap::new();
    for (key, names) in CARD_KEYS {
        if let Some(text) = names.iter().find_map(|name| text_of(card.get(*name)?)) {
            facts.insert(key, text);
        }
    }
    let path_name = config.first(&["_name_or_path"]).and_then(|name| name.as_str()).unwrap_or_default();
    if !path_name.is_empty() && path_name.matches('/').count() <= 1 {
        add_parts(&mut facts, name_parts(path_name, parameter_count));
    }
    let folder = std::path::absolute(&checkpoint.folder).unwrap_or_else(|_| checkpoint.folder.clone());
    if let Some(name) = folder.file_name().and_then(|name| name.to_str()) {
        add_parts(&mut facts, name_parts(name, parameter_count));
        facts.entry("name").or_insert_with(|| name.to_owned());
    }
    facts.entry("size_label").or_insert(size_label);
    for (key, _) in CARD_KEYS {
        if let Some(text) = facts.get(key) {
            metadata.set(&format!("general.{key}"), text.as_str());
        }
    }
    set_origins(metadata, &card, parameter_count);
    for (key, names) in [("tags", ["tags", "pipeline_tag"]), ("languages", ["languages", "language"])] {
        let values: Vec<String> = names.iter().filter_map(|name| card.get(*name)).flat_map(texts_of).collect();
        if !values.is_empty() {
            metadata.set(&format!("general.{key}"), values.iter().collect::<StringArray>());
        }
    }
    Ok(())
}

fn add_parts(facts: &mut BTreeMap<&str, String>, parts: NameParts) {
    let NameParts { name, organization, basename, finetune, version, size_label } = parts;
    let found = [
        ("name", name.map(|name| title(&name))),
        ("organization", organization.map(|organization| title(&organization))),
        ("basename", basename),
        ("finetune", finetune),
        ("version", version),
        ("size_label", size_label),
    ];
    for (key, value) in found {
        if let Some(value) = value {
            facts.entry(key).or_insert(value);
        }
    }
}

/// The models and the data that it was made of.
fn set_origins(metadata: &mut Metadata, card: &Map<String, Json>, parameter_count: u64) {
    let kinds: [(&str, &[&str]); 2] = [
        ("base_model", &["base_model", "base_models", "base_model_sources"]),
        ("dataset", &["datasets", "dataset", "dataset_sources"]),
    ];
    for (kind, names) in kinds {
        let Some(listed) = names.iter().find_map(|name| card.get(*name)) else { continue };
        let ids = texts_of(listed);
        metadata.set(&format!("general.{kind}.count"), ids.len() as u32);
        for (index, id) in ids.iter().enumerate() {
            let is_url = ["http://", "https://", "ssh://"].iter().any(|start| id.starts_with(start));
            let of_hub = id.strip_prefix("https://huggingface.co/").filter(|rest| rest.matches('/').count() == 1);
            let mut set = |key: &str, value: Option<String>| {
                if let Some(value) = value {
                    metadata.set(&format!("general.{kind}.{index}.{key}"), value.as_str());
                }
            };
            if is_url {
                set("repo_url", Some(id.clone()));
            }
            if let Some(id) = of_hub.or((!is_url).then_some(id)) {
                let parts = name_parts(id, parameter_count);
                let url = match (&parts.organization, &parts.name) {
                    (Some(organization), Some(name)) => Some(format!("https://huggingface.co/{organization}/{name}")),
                    _ => None,
                };
                set("name", parts.name.map(|name| title(&name)));
                set("organization", parts.organization.map(|organization| title(&organization)));
                set("version", parts.version);
                set("repo_url", url.filter(|_| !is_url));
            }
        }
    }
}

/// What stands between the lines `---` at the start of the model card. A card whose front matter is none is no reason
/// to refuse a model.
fn front_matter(checkpoint: &Checkpoint) -> Result<Map<String, Json>, ConvertError> {
    let Ok(Some(card)) = checkpoint.text("README.md") else { return Ok(Map::new()) };
    let mut lines = card.lines();
    if lines.next() != Some("---") {
        return Ok(Map::new());
    }
    // Tabs are no YAML, and `no` is Norwegian here.
    let lines = lines.take_while(|line| *line != "---").map(|line| match line.trim_end() {
        "- no" => "- \"no\"".to_owned(),
        line => line.replace('\t', "  "),
    });
    let yaml = lines.collect::<Vec<_>>().join("\n");
    if yaml.len() > FRONT_MATTER_BYTES_MAX {
        return Ok(Map::new());
    }
    Ok(serde_saphyr::from_str::<Map<String, Json>>(&yaml).unwrap_or_default())
}

/// A text; a list of texts as one.
fn text_of(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Array(_) => Some(texts_of(value).join(",")).filter(|text| !text.is_empty()),
        _ => None,
    }
}

fn texts_of(value: &Json) -> Vec<String> {
    match value {
        Json::String(text) => vec![text.clone()],
        Json::Array(list) => list.iter().filter_map(|entry| entry.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    }
}

fn set_sampling(metadata: &mut Metadata, checkpoint: &Checkpoint) {
    // One that is no JSON says nothing.
    let Ok(Some(generation)) = checkpoint.json("generation_config.json") else { return };
    for (key, name) in COUNTS {
        if let Some(count) = generation[name].as_i64().and_then(|count| i32::try_from(count).ok()) {
            metadata.set(&format!("general.sampling.{key}"), count);
        }
    }
    for (key, names) in NUMBERS {
        if let Some(number) = names.iter().find_map(|name| generation[*name].as_f64()) {
            metadata.set(&format!("general.sampling.{key}"), number as f32);
        }
    }
}
