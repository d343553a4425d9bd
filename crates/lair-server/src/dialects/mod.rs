//! The dialects. Each has its wire types, a conversion without side effects, and its routes; all are in [`routes`].

mod anthropic;
mod health;
mod lair;
mod llama_embedding;
mod llama_server;
mod lm_studio;
mod metrics;
mod ollama;
mod openai;
mod openapi;
mod rerank;
pub(crate) mod route;
mod slm;
mod vectors;
mod vllm;

pub use ollama::{API_VERSION, parse_keep_alive};
pub(crate) use slm::CurrentProject;

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use serde_json::Value as Json;

use route::{Needs, Route};

use crate::access;
use crate::connections::SlowBody;
use crate::error::{ApiError, ErrorKind};
use crate::server::SharedApp;

/// Names the fields of a request that were not used.
const IGNORED: HeaderName = HeaderName::from_static("x-lair-ignored-fields");

/// The routes of all dialects: what is served, and what `/openapi.json` describes.
fn all() -> Vec<Route> {
    // One line each, so that adding one changes one.
    let lists = [
        health::routes(),
        openapi::routes(),
        metrics::routes(),
        openai::routes(),
        openai::response_routes(),
        ollama::routes(),
        llama_server::routes(),
        anthropic::routes(),
        lm_studio::routes(),
        vllm::routes(),
        llama_embedding::routes(),
        rerank::routes(),
        slm::routes(),
        lair::routes(),
        crate::page::routes(),
    ];
    lists.into_iter().flatten().collect()
}

/// The paths of all dialects. What is not here is 404.
pub(crate) fn routes() -> Router<SharedApp> {
    all()
        .into_iter()
        .fold(Router::new(), |router, route| router.route(route.path, route.handler))
        .fallback(|uri: Uri| async move {
            error_response(
                uri.path(),
                &ApiError::new(ErrorKind::NotFound, format!("there is no path `{}`", uri.path())),
            )
        })
        .method_not_allowed_fallback(|uri: Uri| async move {
            let cause = format!("`{}` is not there for this method", uri.path());
            error_response(uri.path(), &ApiError::new(ErrorKind::MethodNotAllowed, cause))
        })
}

/// What a client must show for a method of a route; `None` if there is no such route.
pub(crate) fn needs_of(method: &Method, route: &str) -> Option<Needs> {
    static NEEDS: LazyLock<HashMap<(&'static str, &'static str), Needs>> =
        LazyLock::new(|| all().iter().map(|route| ((route.method, route.path), route.needs)).collect());
    let of_name = |name| NEEDS.get(&(name, route)).copied();
    match *method {
        Method::GET => of_name("get"),
        Method::POST => of_name("post"),
        Method::DELETE => of_name("delete"),
        // What can be got can be asked for without its body.
        Method::HEAD => of_name("head").or_else(|| of_name("get")),
        _ => None,
    }
}

/// The dialect that a path belongs to; what belongs to none is answered in llama-server's.
pub(crate) fn dialect_of(path: &str) -> &'static str {
    if path.starts_with("/api/v0/") || path.starts_with("/api/v1/") {
        "lm_studio"
    } else if path.starts_with("/api/") {
        "ollama"
    } else if path.starts_with("/v1/messages") {
        "anthropic"
    } else if path.starts_with("/v1/") {
        "openai"
    } else if ["/load", "/generate", "/info"].contains(&path) {
        "slm"
    } else {
        "llama_server"
    }
}

/// An error in the words of the dialect that a path belongs to.
pub(crate) fn error_response(path: &str, error: &ApiError) -> Response {
    let dialect = dialect_of(path);
    let body = match dialect {
        "ollama" => ollama::error_body(error),
        "llama_server" => llama_server::error_body(error),
        "anthropic" => anthropic::error_body(error),
        "slm" => slm::error_body(error),
        _ => openai::error_body(error),
    };
    let status = if dialect == "slm" { slm::error_status(error) } else { error.status() };
    let mut response = json_response(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &body);
    // For the log, which does not read bodies.
    response.extensions_mut().insert(error.clone());
    let headers = response.headers_mut();
    match error.kind {
        ErrorKind::Overloaded => drop(headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"))),
        ErrorKind::RateLimited { retry_after_s } => drop(headers.insert(header::RETRY_AFTER, retry_after_s.into())),
        ErrorKind::Unauthorized => drop(headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
        _ => {}
    }
    response
}

/// Names the program's version: answers with the same seed are equal where it is equal.
pub(crate) fn fingerprint() -> &'static str {
    concat!("lair-", env!("CARGO_PKG_VERSION"))
}

pub(crate) fn json_response(status: StatusCode, body: &Json) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// A body that comes piece by piece.
pub(crate) fn stream_response(
    content_type: &'static str,
    pieces: impl Stream<Item = String> + Send + 'static,
) -> Response {
    let body = Body::from_stream(pieces.map(|piece| Ok::<_, std::convert::Infallible>(Bytes::from(piece))));
    let headers = [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-cache")];
    (StatusCode::OK, headers, body).into_response()
}

/// The same pieces, and this one whenever nothing came for so long: nobody between closes a connection that is not silent.
pub(crate) fn with_pings(
    pieces: BoxStream<'static, String>,
    every: Duration,
    ping: String,
) -> BoxStream<'static, String> {
    let pinged = stream::unfold((pieces, ping), move |(mut pieces, ping)| async move {
        match tokio::time::timeout(every, pieces.next()).await {
            Ok(None) => None,
            Ok(Some(piece)) => Some((piece, (pieces, ping))),
            Err(_) => Some((ping.clone(), (pieces, ping))),
        }
    });
    pinged.boxed()
}

/// Adds the names of the fields nobody used.
pub(crate) fn with_ignored(mut response: Response, ignored: &[String]) -> Response {
    let names: Vec<&str> = ignored
        .iter()
        .map(String::as_str)
        .filter(|name| name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
        .take(32)
        .collect();
    if let (false, Ok(value)) = (names.is_empty(), HeaderValue::from_str(&names.join(", "))) {
        response.headers_mut().insert(IGNORED, value);
    }
    response
}

/// Reads the body of a request that must be JSON.
pub(crate) async fn read_body(app: &SharedApp, request: axum::extract::Request) -> Result<Bytes, ApiError> {
    access::check_content_type(request.headers())?;
    // What is packed is not unpacked: a few bytes could become gigabytes.
    if let Some(packing) = request.headers().get(header::CONTENT_ENCODING).filter(|packing| *packing != "identity") {
        let cause = format!("the body is packed as {packing:?}, a plain one is expected");
        return Err(ApiError::new(ErrorKind::NotJson, cause));
    }
    let most = app.options.body_bytes_max;
    let too_large = || ApiError::new(ErrorKind::TooLarge, format!("the body is larger than {most} bytes"));
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if length.and_then(|length| length.parse::<u64>().ok()).is_some_and(|length| length > most as u64) {
        return Err(too_large());
    }
    axum::body::to_bytes(request.into_body(), most).await.map_err(|error| match SlowBody::in_causes_of(&error) {
        Some(slow) => ApiError::new(ErrorKind::TooSlow, slow),
        None => too_large(),
    })
}
