//! The estimator as clients of the server ask it.

use clap::ValueEnum;
use lair_server::{ApiError, ErrorKind, FitWishes};
use lair_sizing::purpose::PURPOSES;
use lair_store::{Reference, Store, StoreError};
use serde_json::Value as Json;

use super::{Wishes, report, subjects};
use crate::commands::run::KvChoice;
use crate::failure::Failure;

/// The object that `lair fit --json` prints.
///
/// # Errors
/// With the name of what is wrong; a path or a link is none of a server's models.
pub fn answer(store: &Store, asked: &FitWishes, failed: impl Fn(Failure) -> ApiError + Copy) -> Result<Json, ApiError> {
    let wishes = wishes_of(asked)?;
    wishes.check().map_err(failed)?;
    if let Some(model) = &asked.model {
        check_place(model, failed)?;
    }
    let found = subjects::find(store, asked.model.as_deref()).map_err(failed)?;
    let answer = wishes.answer(found.model, found.subjects, found.fetched_bytes).map_err(failed)?;
    Ok(report::json(&answer))
}

/// A client elsewhere must not have this machine open any file or address it names.
fn check_place(model: &str, failed: impl Fn(Failure) -> ApiError) -> Result<(), ApiError> {
    let reference = Reference::parse(model).map_err(|error| failed(StoreError::from(error).into()))?;
    if matches!(reference, Reference::Path(_) | Reference::Link(_)) {
        let cause = format!("model '{model}' not found: a path or a link is no model's name here");
        return Err(ApiError::new(ErrorKind::NotFound, cause));
    }
    Ok(())
}

fn wishes_of(asked: &FitWishes) -> Result<Wishes, ApiError> {
    let kv = match asked.kv_type.as_deref() {
        None => KvChoice::Q8_0,
        Some(name) => KvChoice::from_str(name, true)
            .map_err(|_| ApiError::bad("kv_type", format!("`kv_type` is `{name}`, f32, f16, q8_0 or q4_0 expected")))?,
    };
    let purpose = match asked.purpose.as_deref() {
        None => PURPOSES[0],
        Some(name) => *PURPOSES
            .iter()
            .find(|purpose| purpose.name() == name)
            .ok_or_else(|| ApiError::bad("for", format!("`for` is `{name}`, chat, code or rag expected")))?,
    };
    Ok(Wishes {
        purpose,
        context_length: asked.context_length,
        users: asked.users.unwrap_or(1),
        kv,
        ram: asked.ram.clone(),
        gpus: asked.gpus.clone(),
        ..Wishes::default()
    })
}
