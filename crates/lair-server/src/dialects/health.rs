//! Whether the server is there.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde_json::json;

use super::json_response;
use crate::server::SharedApp;

pub(super) fn routes() -> Router<SharedApp> {
    Router::new().route("/health", get(health)).route("/healthz", get(health)).route("/v1/health", get(health))
}

async fn health(State(app): State<SharedApp>) -> Response {
    let running = app.models.running();
    let up = app.started.elapsed().unwrap_or_default().as_secs();
    let open: usize = running.iter().map(|model| model.request_count).sum();
    json_response(StatusCode::OK, &json!({ "status": "ok", "models": running.len(), "requests": open, "uptime_s": up }))
}
