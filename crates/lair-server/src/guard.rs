//! What every request goes through: it is let in or refused, answered for who asks, and noted.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, State};
use axum::http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::admission::{Admission, Asked, Refused, admit};
use crate::caller::{BodyForCaller, for_caller};
use crate::dialects;
use crate::dialects::route::Needs;
use crate::error::{ApiError, ErrorKind};
use crate::keys::{Key, Scope};
use crate::metrics::METRICS;
use crate::request_log::Trace;
use crate::server::SharedApp;

/// Longest path with its query. No route has names that long.
const PATH_BYTES_MAX: usize = 8 << 10;

/// The client's end of a connection.
#[derive(Clone, Copy)]
pub(crate) struct ClientAddress(pub(crate) SocketAddr);

/// Checks who asks, answers for that client, and notes what came of it.
pub(crate) async fn guard(
    State(app): State<SharedApp>,
    request: Request<Body>,
    next: Next,
) -> Result<Response, Infallible> {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let path = request.uri().path().to_owned();
    let is_preflight = request.method() == Method::OPTIONS;
    let client = request.extensions().get::<ClientAddress>().map_or(app.options.address, |client| client.0);
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let log = app.request_log.clone().filter(|_| is_logged(request.method(), route));
    let trace = Arc::new(Trace::begin(request.method().as_str(), route, client, log));
    let is_long = request.uri().path_and_query().is_some_and(|path| path.as_str().len() > PATH_BYTES_MAX);
    let asked = Asked { method: request.method(), headers: request.headers(), route, client: client.ip() };
    let mut response = match admit(&app, asked, &trace).await {
        Err(Refused { error, key }) => {
            let mut response = dialects::error_response(&path, &error);
            tell_limits(&mut response, key.as_deref());
            response
        }
        Ok(_) if is_long => {
            let cause = format!("the path is longer than {PATH_BYTES_MAX} bytes");
            dialects::error_response("/", &ApiError::new(ErrorKind::PathTooLong, cause))
        }
        Ok(_) if is_preflight => StatusCode::NO_CONTENT.into_response(),
        Ok(Admission { caller, place }) => {
            let response = for_caller(caller.clone(), next.run(request)).await;
            let mut response = response.map(|body| Body::new(BodyForCaller::new(body, caller.clone(), place)));
            tell_limits(&mut response, caller.key.as_deref());
            response
        }
    };
    trace.note_answer(response.status().as_u16(), response.extensions().get::<ApiError>());
    METRICS.answered(dialects::dialect_of(&path), response.status().as_u16());
    if let Ok(id) = HeaderValue::from_str(&trace.id) {
        if dialects::dialect_of(&path) == "anthropic" {
            response.headers_mut().insert("request-id", id.clone());
        }
        response.headers_mut().insert("x-request-id", id);
    }
    if let Some(origin) =
        origin.filter(|origin| origin.to_str().is_ok_and(|origin| app.options.access.allows_origin(origin)))
    {
        allow_page(&mut response, origin, is_preflight);
    }
    Ok(response)
}

/// What a key has left, in the headers that clients of OpenAI read.
fn tell_limits(response: &mut Response, key: Option<&Key>) {
    for (name, value) in key.map(|key| key.limiter.headers(Instant::now())).unwrap_or_default() {
        // Numbers and times are always values of a header.
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
}

/// Whether a request is worth a record: what computes or changes something, not what watches.
fn is_logged(method: &Method, route: Option<&str>) -> bool {
    let needs = route.and_then(|route| dialects::needs_of(method, route));
    match needs {
        Some(Needs::Scope(scope)) => !matches!(scope, Scope::ModelsRead | Scope::Metrics),
        _ => false,
    }
}

/// Tells a browser that this page may read the answer, and what it may send.
fn allow_page(response: &mut Response, origin: HeaderValue, is_preflight: bool) {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("x-request-id, x-lair-ignored-fields, retry-after"),
    );
    if is_preflight {
        headers
            .insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST, DELETE, OPTIONS"));
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("authorization, content-type, x-api-key"),
        );
    }
}
