//! LM Studio's own API: `/api/v0/*`, which is OpenAI's with figures, and the models of `/api/v1/*`.
//!
//! Source: LM Studio's documentation, "REST API v0" and "REST API v1".

mod models;

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::Response;
use futures_util::StreamExt;
use serde_json::{Value as Json, json};

use super::openai;
use super::route::{Field, Kind, Route, fields_of, spoken};
use crate::error::{ApiError, ErrorKind};
use crate::fields::Fields;
use crate::keys::Scope;
use crate::loaded::KeepAlive;
use crate::server::SharedApp;

/// Longest time a model is asked to stay: a century is for ever.
const TTL_SECONDS_MAX: usize = 3_000_000_000;

pub(super) fn routes() -> Vec<Route> {
    const TTL: &[Field] = &[Field::new("ttl", Kind::Whole)];
    const CHAT: &[&[Field]] = &[openai::CHAT_FIELDS, openai::COMMON_FIELDS, TTL];
    const TEXT: &[&[Field]] = &[openai::TEXT_FIELDS, openai::COMMON_FIELDS, TTL];
    let mut routes = vec![
        Route::post(Scope::Chat, "/api/v0/chat/completions", "Answers a conversation, with figures.", CHAT, chat),
        Route::post(Scope::Chat, "/api/v0/completions", "Continues a prompt, with figures.", TEXT, text),
    ];
    routes.extend(models::routes());
    routes
}

async fn chat(State(app): State<SharedApp>, request: Request) -> Response {
    let answered = async {
        let (fields, wishes) = take(&app, request).await?;
        let response = openai::chat_answer(&app, fields).await?;
        with_figures(&app, &wishes, response).await
    };
    spoken("/api/v0/", answered.await)
}

async fn text(State(app): State<SharedApp>, request: Request) -> Response {
    let answered = async {
        let (fields, wishes) = take(&app, request).await?;
        let response = openai::text_answer(&app, fields).await?;
        with_figures(&app, &wishes, response).await
    };
    spoken("/api/v0/", answered.await)
}

/// What this dialect adds to a request.
struct Wishes {
    model: String,
    keep_alive: Option<KeepAlive>,
}

async fn take(app: &SharedApp, request: Request) -> Result<(Fields, Wishes), ApiError> {
    let mut fields = fields_of(app, request).await?;
    let ttl = fields.count("ttl", 0, TTL_SECONDS_MAX)?;
    let keep_alive = ttl.map(|seconds| KeepAlive::For(Duration::from_secs(seconds as u64)));
    let model = fields.required_text("model")?;
    fields.put("model", Json::String(model.clone()));
    Ok((fields, Wishes { model, keep_alive }))
}

/// The answer with how fast it was and what gave it.
async fn with_figures(app: &SharedApp, wishes: &Wishes, response: Response) -> Result<Response, ApiError> {
    let lease = app.models.get(&wishes.model, wishes.keep_alive).await?;
    let facts = &lease.facts;
    let about = json!({
        "model_info": {
            "arch": facts.architecture,
            "quant": facts.quantization,
            "format": "gguf",
            "context_length": lease.context_length,
        },
        "runtime": { "name": "lair", "version": env!("CARGO_PKG_VERSION"), "supported_formats": ["gguf"] },
    });
    let (mut head, body) = response.into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    let is_stream = head.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
    let body = if is_stream {
        // Each piece is whole events.
        Body::from_stream(body.into_data_stream().map(move |piece| {
            piece.map(|bytes| {
                let text = String::from_utf8_lossy(&bytes);
                text.split_inclusive("\n\n").map(|event| figured_event(event, &about)).collect::<String>()
            })
        }))
    } else {
        let broken = |error: &dyn std::fmt::Display| ApiError::new(ErrorKind::Internal, error.to_string());
        let bytes = axum::body::to_bytes(body, usize::MAX).await.map_err(|error| broken(&error))?;
        let mut json = serde_json::from_slice(&bytes).map_err(|error| broken(&error))?;
        add_figures(&mut json, &about);
        Body::from(json.to_string())
    };
    Ok(Response::from_parts(head, body))
}

fn figured_event(event: &str, about: &Json) -> String {
    let data = event.strip_prefix("data: ").map(str::trim_end);
    match data.and_then(|data| serde_json::from_str::<Json>(data).ok()) {
        Some(mut json) if json.get("timings").is_some() => {
            add_figures(&mut json, about);
            format!("data: {json}\n\n")
        }
        _ => event.to_owned(),
    }
}

/// Puts `stats` in the place of `timings`.
fn add_figures(json: &mut Json, about: &Json) {
    let Some(timings) = json.as_object_mut().and_then(|map| map.remove("timings")) else { return };
    let figure = |name: &str| timings[name].as_f64().unwrap_or(0.0);
    let reason = match json["choices"][0]["finish_reason"].as_str() {
        Some("length") => "maxPredictedTokensReached",
        Some("tool_calls") => "toolCalls",
        _ => "eosFound",
    };
    json["stats"] = json!({
        "tokens_per_second": figure("predicted_per_second"),
        "time_to_first_token": figure("prompt_ms") / 1e3,
        "generation_time": figure("predicted_ms") / 1e3,
        "stop_reason": reason,
    });
    for (key, value) in about.as_object().into_iter().flatten() {
        json[key] = value.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timings_become_stats() {
        let timings = json!({ "predicted_per_second": 20.0, "prompt_ms": 500.0, "predicted_ms": 1500.0 });
        let event = format!("data: {}\n\n", json!({ "choices": [{ "finish_reason": "length" }], "timings": timings }));
        let figured = figured_event(&event, &json!({ "model_info": { "arch": "llama" } }));
        let json: Json = serde_json::from_str(figured.trim_start_matches("data: ").trim_end()).expect("JSON");
        assert_eq!(json["stats"]["tokens_per_second"], 20.0);
        assert_eq!(
            (&json["stats"]["time_to_first_token"], &json["stats"]["generation_time"]),
            (&json!(0.5), &json!(1.5))
        );
        assert_eq!(json["stats"]["stop_reason"], "maxPredictedTokensReached");
        assert_eq!(json["model_info"]["arch"], "llama");
        assert!(json.get("timings").is_none());
        assert_eq!(figured_event("data: [DONE]\n\n", &json!({})), "data: [DONE]\n\n");
    }
}
