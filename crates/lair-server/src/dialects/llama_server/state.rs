//! `/props`, `/slots`, `/lora-adapters`: what is loaded and what it is doing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde_json::{Value as Json, json};

use super::request::adapter_list;
use super::{error_body, sampling};
use crate::default_model::model_or_only;
use crate::dialects::route::{parameter, spoken};
use crate::dialects::{fingerprint, json_response};
use crate::error::{ApiError, ErrorKind};
use crate::loaded::{Lease, blocking};
use crate::metrics::{METRICS, Task};
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
        let slots: Vec<Json> = (0..count).map(|slot| slot_json(&model, slot, running.remove(&slot))).collect();
        let is_full = slots.iter().all(|slot| slot["is_processing"] == true);
        if is_full && parameter(&uri, "fail_on_no_slot").is_some_and(|value| value == "1") {
            let error = ApiError::new(ErrorKind::Overloaded, format!("all {count} places of the model are taken"));
            return Err(error);
        }
        Ok(json_response(StatusCode::OK, &Json::Array(slots)))
    };
    spoken("/slots", answered.await)
}

fn slot_json(model: &Lease, slot: usize, task: Option<Arc<Task>>) -> Json {
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
        "n_prompt_tokens": task.as_ref().map_or(0, |task| task.prompt_tokens),
        "next_token": [{ "has_next_token": task.is_some(), "n_remain": left, "n_decoded": generated }],
    })
}

/// Prefixes of all requests are found again by their tokens, so there is no place to save or erase by number.
pub(super) async fn act_on_slot(Path(id): Path<String>, uri: Uri) -> Response {
    let action = parameter(&uri, "action").unwrap_or_default();
    let error = match (id.parse::<usize>(), action.as_str()) {
        (Err(_), _) => ApiError::bad("id_slot", format!("`{id}` is not the number of a slot")),
        (Ok(_), "save" | "restore" | "erase") => {
            let cause = format!(
                "`{action}` is not supported: prompts are found again by their tokens, for all requests, not by the number \
                 of a slot"
            );
            ApiError::unsupported("action", cause)
        }
        (Ok(_), other) => ApiError::bad("action", format!("`action` is `{other}`, save, restore or erase expected")),
    };
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
    json_response(status, &error_body(&error))
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
