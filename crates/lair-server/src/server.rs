//! The listener: connections, limits, access, and a calm end.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tower::ServiceExt;

use crate::access::Access;
use crate::dialects;
use crate::loaded::{KeepAlive, LoadedModels};
use crate::metrics::METRICS;
use crate::model::ModelSource;
use crate::stored_responses::StoredResponses;

/// Longest head of a request.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Headers of a request.
const HEADERS_MAX: usize = 100;
/// Time a client has to send the head: a half request does not hold a connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How often idle models are looked for.
const SWEEP: Duration = Duration::from_millis(500);
/// How long running answers may go on after the server is asked to end.
const DRAIN: Duration = Duration::from_secs(30);

/// How a server works.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where it listens.
    pub address: SocketAddr,
    /// Who may ask.
    pub access: Access,
    /// How long a model stays after its last request.
    pub keep_alive: KeepAlive,
    /// Longest body of a request in bytes.
    pub body_bytes_max: usize,
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, or not one of this machine's.
    #[error("cannot listen on {address}: {cause}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        cause: io::Error,
    },
    /// Anyone on the network could use it.
    #[error("{address} can be reached from other machines, and no key is asked for")]
    OpenToAll {
        /// The address.
        address: SocketAddr,
    },
}

/// What routes share.
pub struct App {
    /// The models.
    pub models: LoadedModels,
    /// Answers that can be gone on from.
    pub(crate) responses: StoredResponses,
    pub(crate) options: ServerOptions,
    pub(crate) started: SystemTime,
}

pub(crate) type SharedApp = Arc<App>;

/// Serves until `end` is done, then lets running answers finish for a while. `ready` is told the address.
///
/// # Errors
/// If the address cannot be used; everything after that is answered to clients.
pub async fn serve(
    options: ServerOptions,
    source: Arc<dyn ModelSource>,
    ready: impl FnOnce(SocketAddr),
    end: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let address = options.address;
    let listener = TcpListener::bind(address).await.map_err(|cause| ServeError::Bind { address, cause })?;
    let local = listener.local_addr().map_err(|cause| ServeError::Bind { address, cause })?;
    let app = Arc::new(App {
        models: LoadedModels::new(source, options.keep_alive),
        responses: StoredResponses::default(),
        options: ServerOptions { address: local, ..options },
        started: SystemTime::now(),
    });
    let routes = router(Arc::clone(&app));
    ready(local);
    let (ending, is_ending) = watch::channel(false);
    let sweeping = tokio::spawn(sweep(Arc::clone(&app)));
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(tokio::spawn(connection(stream, routes.clone(), is_ending.clone()))),
                // Too many open files, or a client that is gone already: the next one may fare better.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
        }
    }
    drop(listener);
    drop(is_ending);
    sweeping.abort();
    let _ = ending.send(true);
    // Each connection holds a receiver: all are gone when the last has ended.
    let _ = tokio::time::timeout(DRAIN, ending.closed()).await;
    Ok(())
}

async fn sweep(app: SharedApp) {
    let mut tick = tokio::time::interval(SWEEP);
    loop {
        tick.tick().await;
        app.models.sweep().await;
    }
}

async fn connection(stream: TcpStream, routes: Router, mut is_ending: watch::Receiver<bool>) {
    // Tokens are small; waiting for more of them would be felt.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(routes.map_request(|request: Request<_>| request.map(Body::new)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        // An error here is the client's: it is gone, or speaks no HTTP, and has been told so where that was possible.
        _ = &mut connection => return,
        _ = is_ending.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// All routes of all dialects.
fn router(app: SharedApp) -> Router {
    dialects::routes().with_state(Arc::clone(&app)).layer(middleware::from_fn_with_state(app, guard))
}

/// Checks who asks, and answers a browser's question whether a page may ask.
async fn guard(State(app): State<SharedApp>, request: Request<Body>, next: Next) -> Result<Response, Infallible> {
    let access = &app.options.access;
    let origin = request.headers().get(header::ORIGIN).cloned();
    let path = request.uri().path().to_owned();
    // Whether the server is alive may be asked without a key: watchdogs have none.
    let is_health = matches!(path.as_str(), "/health" | "/healthz" | "/v1/health" | "/ping" | "/");
    let checked = match access.check(request.method(), request.headers(), app.options.address) {
        Err(error) if is_health && error.status() == 401 => Ok(()),
        outcome => outcome,
    };
    let is_preflight = request.method() == Method::OPTIONS;
    let mut response = match checked {
        Err(error) => dialects::error_response(&path, &error),
        Ok(()) if is_preflight => StatusCode::NO_CONTENT.into_response(),
        Ok(()) => next.run(request).await,
    };
    METRICS.answered(dialects::dialect_of(&path), response.status().as_u16());
    if let Some(origin) = origin.filter(|origin| origin.to_str().is_ok_and(|origin| access.allows_origin(origin))) {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
        if is_preflight {
            headers.insert(
                header::ACCESS_CONTROL_ALLOW_METHODS,
                HeaderValue::from_static("GET, HEAD, POST, DELETE, OPTIONS"),
            );
            headers.insert(
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                HeaderValue::from_static("authorization, content-type, x-api-key"),
            );
        }
    }
    Ok(response)
}
