//! `/v1/models`.

use std::time::UNIX_EPOCH;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value as Json, json};

use crate::dialects::{error_response, json_response};
use crate::error::{ApiError, ErrorKind};
use crate::loaded::blocking;
use crate::model::ModelFacts;
use crate::server::SharedApp;

fn model_json(facts: &ModelFacts) -> Json {
    let created = facts.modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map_or(0, |time| time.as_secs());
    json!({
        "id": facts.name,
        "object": "model",
        "created": created,
        "owned_by": "lair",
        "max_model_len": facts.context_length,
        "root": facts.name,
        "parent": if facts.parent.is_empty() { Json::Null } else { json!(facts.parent) },
        // vLLM's clients read it; every key may do the same.
        "permission": [],
    })
}

async fn all(app: &SharedApp) -> Result<Vec<ModelFacts>, ApiError> {
    let source = std::sync::Arc::clone(app.models.source());
    blocking(move || source.list()).await
}

pub(super) async fn list(State(app): State<SharedApp>) -> Response {
    match all(&app).await {
        Ok(models) => {
            let data: Vec<Json> = models.iter().map(model_json).collect();
            json_response(StatusCode::OK, &json!({ "object": "list", "data": data }))
        }
        Err(error) => error_response("/v1/", &error),
    }
}

pub(super) async fn retrieve(State(app): State<SharedApp>, Path(id): Path<String>) -> Response {
    let source = std::sync::Arc::clone(app.models.source());
    let wanted = id.clone();
    let found = async {
        let name = blocking(move || source.canonical_name(&wanted)).await?;
        let models = all(&app).await?;
        let missing = || ApiError::new(ErrorKind::NotFound, format!("the model `{id}` is not there"));
        let is_it =
            |facts: &&ModelFacts| facts.name == name || facts.name == id || facts.name == format!("{id}:latest");
        models.iter().find(is_it).map(model_json).ok_or_else(missing)
    };
    match found.await {
        Ok(model) => json_response(StatusCode::OK, &model),
        Err(error) => error_response("/v1/", &error),
    }
}
