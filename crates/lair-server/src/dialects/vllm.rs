//! What vLLM's server has besides OpenAI's API: its version and its load. `/tokenize` and `/detokenize` are shared with
//! llama-server's dialect, `/ping` with `health.rs`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::json_response;
use super::route::{Needs, Route};
use crate::keys::Scope;
use crate::metrics::METRICS;
use crate::server::SharedApp;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get(Needs::Key, "/version", "The version of the program.", version),
        Route::get(Scope::Metrics, "/load", "How many requests are being answered.", load),
    ]
}

async fn version() -> Response {
    json_response(StatusCode::OK, &json!({ "version": env!("CARGO_PKG_VERSION") }))
}

async fn load(State(_): State<SharedApp>) -> Response {
    json_response(StatusCode::OK, &json!({ "server_load": METRICS.tasks().len() }))
}
