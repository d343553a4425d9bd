//! What the page finds when it looks for models: the catalogue, and the hub where it answers.

use lair_server::{ApiError, ErrorKind, Offer, OfferedFile, Offers};
use lair_sizing::fit::comfortable_bytes;
use lair_store::{FoundRepository, Hub, Store};
use serde_json::Value;

use crate::{machine, offline};

/// Repositories of the hub that are asked for.
const HUB_COUNT: usize = 20;
/// How names of the hub begin.
const HUB_PREFIX: &str = "hf.co/";

/// The models with these words; without words all of the catalogue.
pub fn search(store: &Store, words: &str) -> Offers {
    let lower = words.to_lowercase();
    let is_meant = |text: &str| lower.split_whitespace().all(|word| text.to_lowercase().contains(word));
    let entries = store.catalogue().entries().iter();
    let mut offers: Vec<Offer> = entries
        .filter(|entry| is_meant(&format!("{} {} {}", entry.name, entry.aliases.join(" "), entry.description)))
        .map(|entry| Offer {
            name: entry.name.clone(),
            description: entry.description.clone(),
            licence: Some(entry.licence.clone()),
            size_bytes: Some(entry.size_bytes),
            needs_bytes: Some(comfortable_bytes(entry.size_bytes)),
            ..Offer::default()
        })
        .collect();
    let mut note = None;
    if !words.is_empty() {
        match of_hub(store, words) {
            Ok(found) => offers.extend(found),
            Err(reason) => note = Some(reason),
        }
    }
    Offers { offers, note, available_bytes: machine::available_memory_bytes() }
}

fn of_hub(store: &Store, words: &str) -> Result<Vec<Offer>, String> {
    if let Some(reason) = offline::reason() {
        return Err(format!("{reason} forbids asking the hub"));
    }
    let found = Hub::new(store.settings()).and_then(|hub| hub.search(words, HUB_COUNT));
    let found = found.map_err(|error| format!("the hub could not be asked: {error}"))?;
    Ok(found.iter().map(offer_of).collect())
}

fn offer_of(repository: &FoundRepository) -> Offer {
    Offer {
        name: format!("{HUB_PREFIX}{}", repository.id),
        downloads: Some(repository.downloads),
        is_gated: !matches!(repository.gated, Value::Null | Value::Bool(false)),
        has_choices: true,
        ..Offer::default()
    }
}

/// The files of a repository of the hub.
///
/// # Errors
/// If this is no name of the hub, or the hub does not answer.
pub fn files(store: &Store, name: &str) -> Result<Vec<OfferedFile>, ApiError> {
    let Some(id) = name.strip_prefix(HUB_PREFIX) else {
        return Err(ApiError::bad(
            "model",
            format!("`model` is `{name}`, a name of the hub, {HUB_PREFIX}..., expected"),
        ));
    };
    if let Some(reason) = offline::reason() {
        return Err(ApiError::new(ErrorKind::Forbidden, format!("{reason} forbids asking the hub")));
    }
    let asked = Hub::new(store.settings()).and_then(|hub| hub.quants(id));
    let quants = asked.map_err(|error| ApiError::new(ErrorKind::NotFound, &error).with_hint(error.hint()))?;
    let file = |quant: lair_store::HubQuant| OfferedFile {
        name: format!("{name}:{}", quant.part),
        size_bytes: quant.size_bytes,
        needs_bytes: comfortable_bytes(quant.size_bytes),
    };
    Ok(quants.into_iter().map(file).collect())
}
