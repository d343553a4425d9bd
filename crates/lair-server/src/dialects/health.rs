//! Whether the server is there.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::json_response;
use super::route::{Needs, Route};
use crate::server::SharedApp;

pub(super) fn routes() -> Vec<Route> {
    ["/health", "/healthz", "/v1/health", "/ping"]
        .map(|path| Route::get(Needs::Nothing, path, "Whether the server is there, and how much it does.", health))
        .into()
}

async fn health(State(app): State<SharedApp>) -> Response {
    let running = app.models.running();
    let up = app.started.elapsed().unwrap_or_default().as_secs();
    let open: usize = running.iter().map(|model| model.request_count).sum();
    json_response(StatusCode::OK, &json!({ "status": "ok", "models": running.len(), "requests": open, "uptime_s": up }))
}
