//! `/props`, `/slots`, `/lora-adapters`: what is loaded and what it is doing.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde_json::{Map, Value as Json, json};

use super::request::adapter_list;
use super::sampling;
use crate::caller::caller;
use crate::default_model::model_or_only;
use crate::dialects::route::{parameter, spoken};
use crate::dialects::{fingerprint, json_response, read_body, with_ignored};
use crate::error::{ApiError, ErrorKind};
use crate::fields::Fields;
use crate::loaded::{Lease, blocking};
use crate::metrics::{METRICS, Task};
use crate::saved_slots;
use crate::server::SharedApp;

async fn lease(app: &SharedApp, uri: &Uri) -> Result<Arc<Lease>, ApiError> {
    let name = model_or_only(app, parameter(uri, "model")).await?;
    Ok(Arc::new(app.models.get(&name, None).await?))
}

pub(super) async fn props(State(app): State<SharedApp>, uri: Uri) -> Response {
    let answered = async {
        let model = lease(&app, &uri).await?;
        let source = Arc::clone(app.models.source());
        let name = model.facts.name.clone();
        let details = blocking(move || source.show(&name)).await?;
        let special = |id: Option<u32>| {
            let bytes = id.and_then(|id| model.tokenizer.token_bytes(id).ok()).unwrap_or_default();
            String::from_utf8_lossy(bytes).into_owned()
        };
        let mut settings = sampling::settings_json(&model.default_sampling);
        settings["n_predict"] = model.default_max_tokens.map_or(json!(-1), |count| json!(count));
        settings["stop"] = json!(model.default_stop);
        let body = json!({
            "default_generation_settings": {
                "n_ctx": model.context_length,
                "params": settings,
            },
            "total_slots": model.engine.limits().sequences_max,
            "model_alias": model.facts.name,
            // Where a model lies on this machine is not told to clients.
            "model_path": model.facts.name,
            "chat_template": details.template,
            "bos_token": special(model.tokenizer.bos()),
            "eos_token": special(model.tokenizer.eos()),
            "modalities": { "vision": false, "audio": false },
            "build_info": fingerprint(),
            "is_sleeping": false,
        });
        Ok(json_response(StatusCode::OK, &body))
    };
    spoken("/props", answered.await)
}

/// Settings of all requests are not changed by one client for the others.
pub(super) async fn set_props() -> Response {
    let cause = "`/props` is read only: the server's settings are those it was started with";
    spoken("/props", Err(ApiError::new(ErrorKind::Unsupported, cause)))
}

pub(super) async fn slots(State(app): State<SharedApp>, uri: Uri) -> Response {
    let answered = async {
        let model = lease(&app, &uri).await?;
        let of_model = METRICS.tasks().into_iter().filter(|task| task.model == model.facts.name);
        let mut running: HashMap<usize, Arc<Task>> = of_model.map(|task| (task.slot, task)).collect();
        let count = model.engine.limits().sequences_max;
        let slots: Vec<Json> = (0..count)
            .map(|slot| {
                let last = app.slots.tokens(&model.facts.name, slot, caller().scope);
                slot_json(&model, slot, running.remove(&slot), last.map_or(0, |tokens| tokens.len()))
            })
            .collect();
        let is_full = slots.iter().all(|slot| slot["is_processing"] == true);
        if is_full && parameter(&uri, "fail_on_no_slot").is_some_and(|value| value == "1") {
            let error = ApiError::new(ErrorKind::Overloaded, format!("all {count} places of the model are taken"));
            return Err(error);
        }
        Ok(json_response(StatusCode::OK, &Json::Array(slots)))
    };
    spoken("/slots", answered.await)
}

fn slot_json(model: &Lease, slot: usize, task: Option<Arc<Task>>, last_length: usize) -> Json {
    let (id, generated, left) = match &task {
        None => (-1, 0, -1),
        Some(task) => {
            let generated = task.generated.load(Ordering::Relaxed);
            let left = task.max_tokens.map_or(-1, |most| most.saturating_sub(generated) as i64);
            (task.id as i64, generated, left)
        }
    };
    json!({
        "id": slot,
        "id_task": id,
        "n_ctx": model.context_length,
        "speculative": false,
        "is_processing": task.is_some(),
        // Tokens of the answer of this client that ended there last, with its prompt: what would be saved.
        "n_past": last_length,
        "n_prompt_tokens": task.as_ref().map_or(0, |task| task.prompt_tokens),
        "next_token": [{ "has_next_token": task.is_some(), "n_remain": left, "n_decoded": generated }],
    })
}

pub(super) async fn act_on_slot(State(app): State<SharedApp>, Path(id): Path<String>, request: Request) -> Response {
    spoken("/slots", slot_answer(&app, &id, request).await)
}

/// Saves, restores or erases what ended last in a slot.
async fn slot_answer(app: &SharedApp, id: &str, request: Request) -> Result<Response, ApiError> {
    let uri = request.uri().clone();
    let slot: usize =
        id.parse().map_err(|_| ApiError::bad("id_slot", format!("`{id}` is not the number of a slot")))?;
    let action = parameter(&uri, "action").unwrap_or_default();
    if !["save", "restore", "erase"].contains(&action.as_str()) {
        let cause = format!("`action` is `{action}`, save, restore or erase expected");
        return Err(ApiError::bad("action", cause));
    }
    let body = read_body(app, request).await?;
    let mut fields = if body.is_empty() { Fields::of(Map::new()) } else { Fields::parse(&body)? };
    let named = parameter(&uri, "model").or(fields.text("model")?);
    let filename = if action == "erase" { None } else { Some(fields.required_text("filename")?) };
    let path = filename.as_deref().map(|name| saved_path(app, name)).transpose()?;
    let ignored = fields.rest();
    let name = model_or_only(app, named).await?;
    let model = Arc::new(app.models.get(&name, None).await?);
    let count = model.engine.limits().sequences_max;
    if slot >= count {
        return Err(ApiError::bad("id_slot", format!("there is no slot {slot}, 0 to {} expected", count - 1)));
    }
    let (slots, scope, start) = (&app.slots, caller().scope, Instant::now());
    let name = model.facts.name.clone();
    let body = match (action.as_str(), path) {
        ("save", Some(path)) => {
            let tokens = slots.tokens(&name, slot, scope);
            let tokens = tokens.ok_or_else(|| ApiError::bad("id_slot", format!("nothing ended in slot {slot} yet")))?;
            let done = blocking(move || saved_slots::save(&model, scope, tokens, &path)).await?;
            let timings = json!({ "save_ms": start.elapsed().as_secs_f64() * 1e3 });
            json!({ "id_slot": slot, "filename": filename, "n_saved": done.tokens.len(), "n_written": done.file_bytes,
                "timings": timings })
        }
        (_, Some(path)) => {
            let done = blocking(move || saved_slots::restore(&model, scope, &path)).await?;
            let timings = json!({ "restore_ms": start.elapsed().as_secs_f64() * 1e3 });
            let (token_count, file_bytes) = (done.tokens.len(), done.file_bytes);
            slots.note(&name, slot, scope, done.tokens);
            json!({ "id_slot": slot, "filename": filename, "n_restored": token_count, "n_read": file_bytes,
                "timings": timings })
        }
        (_, None) => {
            let tokens = slots.take(&name, slot, scope).unwrap_or_default();
            let token_count = tokens.len();
            blocking(move || saved_slots::erase(&model, scope, tokens)).await?;
            json!({ "id_slot": slot, "n_erased": token_count })
        }
    };
    Ok(with_ignored(json_response(StatusCode::OK, &body), &ignored))
}

/// Where a saved prompt of this name lies.
fn saved_path(app: &SharedApp, name: &str) -> Result<PathBuf, ApiError> {
    let folder = app.options.slot_save_path.as_deref().ok_or_else(|| {
        let cause = "this server saves no prompts under names: it was started without `--slot-save-path`";
        ApiError::unsupported("action", cause).with_hint(
            "`--prompt-cache on` keeps computed prompts by themselves, and finds them by their tokens".to_owned(),
        )
    })?;
    saved_slots::path_of(folder, name)
}

/// A model's adapters, each with its number and its factor.
pub(super) async fn adapters(State(app): State<SharedApp>, uri: Uri) -> Response {
    let answered = async {
        let model = lease(&app, &uri).await?;
        Ok(json_response(StatusCode::OK, &adapters_json(&model)))
    };
    spoken("/lora-adapters", answered.await)
}

/// Sets the factors for the requests to come; an adapter that is not named is not used.
pub(super) async fn set_adapters(State(app): State<SharedApp>, uri: Uri, body: Bytes) -> Response {
    let answered = async {
        let model = lease(&app, &uri).await?;
        let cause =
            |error: serde_json::Error| ApiError::new(ErrorKind::BadRequest, format!("the body is no list: {error}"));
        let asked: Vec<Json> = serde_json::from_slice(&body).map_err(cause)?;
        let scales = model.adapters.chosen("lora", &adapter_list("lora", &asked)?)?;
        model.adapters.set_scales(scales);
        Ok(json_response(StatusCode::OK, &adapters_json(&model)))
    };
    spoken("/lora-adapters", answered.await)
}

fn adapters_json(model: &Lease) -> Json {
    let adapters = model.adapters.names().iter().zip(model.adapters.scales()).enumerate();
    // Where an adapter lies on this machine is not told to clients.
    adapters.map(|(id, (name, scale))| json!({ "id": id, "path": name, "scale": scale })).collect()
}
