//! The listener: connections, limits, access, and a calm end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::middleware;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tower::ServiceExt;

use crate::access::Access;
use crate::connections::{PacedBody, Places, STALL_MAX, Unstalled};
use crate::dialects::{self, CurrentProject};
use crate::guard::{ClientAddress, guard};
use crate::keys::{KeyFileError, Keychain};
use crate::listener::{Accepted, Listener};
use crate::loaded::{KeepAlive, LoadedModels};
use crate::model::ModelSource;
use crate::page::{Downloads, Page};
use crate::projects::ProjectSource;
use crate::rate_limit::WrongKeys;
use crate::request_log::{RequestLog, RequestLogOptions};
use crate::saved_slots::Slots;
use crate::stored_responses::StoredResponses;
use crate::tls::{Tls, TlsError, TlsFiles};

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
    /// A Unix socket that it listens on in place of the address. Only the same user can connect.
    pub socket: Option<PathBuf>,
    /// Who may ask.
    pub access: Access,
    /// How long a model stays after its last request.
    pub keep_alive: KeepAlive,
    /// Longest body of a request in bytes.
    pub body_bytes_max: usize,
    /// Connections at a time; one more is refused.
    pub connections_max: usize,
    /// With what connections are encrypted; without it they are not.
    pub tls: Option<TlsFiles>,
    /// Where requests are recorded, if they are.
    pub request_log: Option<RequestLogOptions>,
    /// Where clients save computed prompts under names of their own, if they may.
    pub slot_save_path: Option<PathBuf>,
    /// The file in which the page keeps conversations; without it there is no page.
    pub page_file: Option<PathBuf>,
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, or not one of this machine's.
    #[error("cannot listen on {address}: {cause}")]
    Bind {
        /// The address, or the path of the socket.
        address: String,
        /// Why.
        cause: io::Error,
    },
    /// Anyone on the network could use it.
    #[error("{address} can be reached from other machines, and no key is asked for")]
    OpenToAll {
        /// The address.
        address: SocketAddr,
    },
    /// The file of keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Requests cannot be recorded.
    #[error("the folder {folder} for records of requests cannot be used: {cause}")]
    RequestLog {
        /// Which folder.
        folder: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

/// What routes share.
pub struct App {
    /// The models.
    pub models: LoadedModels,
    /// Answers that can be gone on from.
    pub(crate) responses: StoredResponses,
    /// What `/generate` of SLM Packager's API answers with.
    pub(crate) project: CurrentProject,
    pub(crate) keys: Keychain,
    pub(crate) wrong_keys: WrongKeys,
    pub(crate) request_log: Option<Arc<RequestLog>>,
    /// What ended last in each slot.
    pub(crate) slots: Arc<Slots>,
    /// The page, if there is one.
    pub(crate) page: Option<Page>,
    /// Models that are being fetched for the page.
    pub(crate) downloads: Downloads,
    pub(crate) options: ServerOptions,
    pub(crate) started: SystemTime,
}

pub(crate) type SharedApp = Arc<App>;

/// Serves until `end` is done, then lets running answers finish for a while. `ready` is told where: an address with its port, or
/// `unix:` and the path of the socket.
///
/// # Errors
/// If the address cannot be used; everything after that is answered to clients.
pub async fn serve(
    options: ServerOptions,
    source: Arc<dyn ModelSource>,
    ready: impl FnOnce(&str),
    end: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let address = options.address;
    let access = &options.access;
    let keys = Keychain::open(&access.keys, access.key_file.clone(), access.demands_key)?;
    let tls = options.tls.clone().map(|files| Tls::open(files, SystemTime::now())).transpose()?.map(Arc::new);
    let request_log = options.request_log.clone().map(open_request_log).transpose()?;
    let failed = |cause| {
        let socket = options.socket.as_ref().map(|path| path.display().to_string());
        ServeError::Bind { address: socket.unwrap_or_else(|| address.to_string()), cause }
    };
    let listener = Listener::bind(address, options.socket.as_deref()).await.map_err(failed)?;
    let (local, name) = listener.address().and_then(|local| Ok((local, listener.name()?))).map_err(failed)?;
    let project = CurrentProject::new(source.projects().and_then(ProjectSource::first));
    let app = Arc::new(App {
        project,
        models: LoadedModels::new(source, options.keep_alive),
        responses: StoredResponses::default(),
        keys,
        wrong_keys: WrongKeys::default(),
        request_log: request_log.clone(),
        slots: Arc::default(),
        page: options.page_file.clone().map(Page::at),
        downloads: Downloads::default(),
        options: ServerOptions { address: local, ..options },
        started: SystemTime::now(),
    });
    let routes = router(Arc::clone(&app));
    ready(&name);
    let (ending, is_ending) = watch::channel(false);
    let sweeping = tokio::spawn(sweep(Arc::clone(&app)));
    let places = Places::new(app.options.connections_max);
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            accepted = listener.accept() => match accepted {
                Ok(Accepted::Tcp(stream, client)) => {
                    if let Some((stream, place)) = places.take(stream) {
                        let serving = connection(stream, client, tls.clone(), routes.clone(), is_ending.clone());
                        tokio::spawn(async move {
                            serving.await;
                            drop(place);
                        });
                    }
                }
                #[cfg(unix)]
                Ok(Accepted::Unix(stream)) => {
                    if let Some((stream, place)) = places.take(stream) {
                        let stream = Unstalled::new(stream, STALL_MAX);
                        let serving = exchange(stream, local, routes.clone(), is_ending.clone());
                        tokio::spawn(async move {
                            serving.await;
                            drop(place);
                        });
                    }
                }
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
    app.models.unload_all().await;
    drop(app);
    if let Some(log) = request_log {
        log.finish();
    }
    Ok(())
}

fn open_request_log(options: RequestLogOptions) -> Result<Arc<RequestLog>, ServeError> {
    let folder = options.folder.clone();
    let failed = |cause| ServeError::RequestLog { folder, cause };
    RequestLog::open(options).map(Arc::new).map_err(failed)
}

async fn sweep(app: SharedApp) {
    let mut tick = tokio::time::interval(SWEEP);
    loop {
        tick.tick().await;
        app.models.sweep().await;
    }
}

async fn connection(
    stream: TcpStream,
    client: SocketAddr,
    tls: Option<Arc<Tls>>,
    routes: Router,
    is_ending: watch::Receiver<bool>,
) {
    // Tokens are small; waiting for more of them would be felt.
    let _ = stream.set_nodelay(true);
    match tls {
        None => exchange(Unstalled::new(stream, STALL_MAX), client, routes, is_ending).await,
        Some(tls) => {
            if let Some(stream) = tls.accept(stream, client).await {
                exchange(stream, client, routes, is_ending).await;
            }
        }
    }
}

/// Speaks HTTP over a connection until it ends.
async fn exchange<S>(stream: S, client: SocketAddr, routes: Router, mut is_ending: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let received = move |request: Request<_>| {
        let mut request = request.map(|body| Body::new(PacedBody::new(body)));
        request.extensions_mut().insert(ClientAddress(client));
        request
    };
    let service = TowerToHyperService::new(routes.map_request(received));
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
