//! `lair serve`: answers clients of Ollama and OpenAI over HTTP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use lair_server::loaded::KeepAlive;
use lair_server::log::{self, LogFormat, LogLevel};
use lair_server::{
    Access, ApiKey, KeyFile, RequestLogMode, RequestLogOptions, ServeError, ServerOptions, TlsFiles, parse_keep_alive,
};
use serde_json::json;

use super::run::LoadArgs;
use crate::failure::{ExitCode, Failure, Outcome};
use crate::human::parse_size;
use crate::serve::StoreSource;
use crate::server_address::{self, PORT, variable};
use crate::serving::ServingArgs;
use crate::session::LoadOptions;
use crate::slm::ServedProjects;
use crate::speculate::SpeculateArgs;
use crate::weight_cache::WeightCacheArgs;

/// What the program ends with when it is asked to end again while answers run: as a shell says of Ctrl-C.
const ASKED_TWICE: u8 = 130;
/// Where SLM Packager's clients look.
const SLM_PORT: u16 = 8000;
/// Longest body of a request.
const BODY_BYTES_MAX: usize = 32 << 20;
/// Longest file of keys, one a line.
const KEY_LINES_BYTES_MAX: u64 = 1 << 20;

/// Where to listen, for whom, and how models are loaded.
#[derive(Args, Debug)]
pub struct ServeArgs {
    /// Where to listen: ADDRESS, ADDRESS:PORT, :PORT or unix:PATH [default: 127.0.0.1:11434; of `slm serve` 127.0.0.1:8000]
    #[arg(long, value_name = "ADDRESS")]
    host: Option<String>,
    /// The port to listen on
    #[arg(long, value_name = "NUMBER")]
    port: Option<u16>,
    /// Answer programs only: without the page for browsers
    #[arg(long)]
    no_page: bool,
    #[command(flatten)]
    access: AccessArgs,
    /// How long a model stays in memory after its last request: 10m, 300, -1 for ever [default: 5m]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    keep_alive: Option<String>,
    /// Requests that are computed at the same time; more wait
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=512))]
    parallel: u16,
    #[command(flatten)]
    watching: WatchingArgs,
    #[command(flatten)]
    serving: ServingArgs,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    weight_cache: WeightCacheArgs,
    #[command(flatten)]
    speculate: SpeculateArgs,
}

/// Who may use the server, and how connections are encrypted.
#[derive(Args, Debug)]
#[command(next_help_heading = "Access")]
struct AccessArgs {
    /// A key that clients must send; may be given several times. `lair key create` makes keys that need not stand here
    #[arg(long, value_name = "KEY")]
    api_key: Vec<String>,
    /// A file with such keys, one a line
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// The file that `lair key` keeps keys in [default: keys.json in Lair's folder]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Listen for other machines without asking for a key
    #[arg(long)]
    insecure_no_auth: bool,
    /// A name under which this server is also called, besides localhost
    #[arg(long, value_name = "NAME")]
    allowed_host: Vec<String>,
    /// An origin whose pages may use this server, for example http://localhost:3000
    #[arg(long, value_name = "ORIGIN")]
    allowed_origin: Vec<String>,
    /// Encrypt connections: the certificate and those that vouch for it, as PEM. Read again when it changes
    #[arg(long, value_name = "FILE", visible_alias = "ssl-cert-file", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert, as PEM
    #[arg(long, value_name = "FILE", visible_alias = "ssl-key-file", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

/// What is written down of requests.
#[derive(Args, Debug)]
#[command(next_help_heading = "Watching")]
struct WatchingArgs {
    /// Record requests for `lair log`: `meta` counts, times and settings, `full` the texts too. Only you can read the records
    #[arg(long, value_enum, value_name = "WHAT", num_args = 0..=1, default_missing_value = "full", default_value = "off")]
    log_requests: LogRequests,
    /// Disk space for these records; the oldest go
    #[arg(long, value_name = "SIZE", default_value = "100MB", value_parser = parse_size)]
    log_quota: u64,
    /// How lines on standard error look
    #[arg(long, value_enum, value_name = "FORM", default_value_t = FormatChoice::Text)]
    log_format: FormatChoice,
    /// What is told there: error, warn, info or debug
    #[arg(long, value_name = "LEVEL", default_value_t = LogLevel::Info)]
    log_level: LogLevel,
}

/// What is recorded of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogRequests {
    /// Nothing
    Off,
    /// Counts, times and settings
    Meta,
    /// The texts of prompts and answers as well
    Full,
}

/// How lines of the log look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FormatChoice {
    /// Time, level, message, `name=value`
    Text,
    /// A JSON object a line
    Json,
}

/// Runs the command.
pub fn serve(args: &ServeArgs) -> Outcome {
    serve_with(args, PORT, None)
}

/// Serves SLM Packager's projects besides, on its port.
pub fn serve_projects(args: &ServeArgs, projects: ServedProjects) -> Outcome {
    serve_with(args, SLM_PORT, Some(projects))
}

fn serve_with(args: &ServeArgs, usual_port: u16, projects: Option<ServedProjects>) -> Outcome {
    let socket = socket(args)?;
    let address = match socket {
        Some(_) => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), usual_port),
        None => address(args, usual_port)?,
    };
    let access = args.access.access(address)?;
    let keep_alive = args.keep_alive.clone().unwrap_or_else(|| "5m".to_owned());
    let keep_alive: KeepAlive = parse_keep_alive(&keep_alive).ok_or_else(|| {
        Failure::new(ExitCode::Usage, format!("--keep-alive is `{keep_alive}`, seconds or a time such as 10m expected"))
    })?;
    let request_log = args.watching.request_log()?;
    let serving = args.serving.serving()?;
    let prompt_cache = serving.prompt_cache.clone();
    let sequences_max = usize::from(args.parallel);
    let weight_cache = args.weight_cache.open()?;
    let load = LoadOptions { sequences_max, serving: Some(serving), weight_cache, ..args.load.options()? };
    let source = StoreSource { options: args.speculate.over(load, true)?, projects };
    let tls = args.access.tls();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let connections_max = args.serving.connections_max();
    let slot_save_path = args.serving.slot_save_path();
    let page_file = if args.no_page { None } else { Some(super::ui::conversations_file()?) };
    let body_bytes_max = BODY_BYTES_MAX;
    let options = ServerOptions {
        address,
        socket,
        access,
        keep_alive,
        body_bytes_max,
        connections_max,
        slot_save_path,
        page_file,
        tls,
        request_log,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let format = args.watching.log_format;
    args.watching.start_log();
    let ready = |name: &str| {
        let name = if name.starts_with("unix:") { name.to_owned() } else { format!("{scheme}://{name}") };
        match format {
            FormatChoice::Text => eprintln!("listening on {name}"),
            FormatChoice::Json => log::write(LogLevel::Info, "listening", &[("address", json!(name))]),
        }
    };
    let served = runtime.block_on(lair_server::serve(options, Arc::new(source), ready, asked_to_end()));
    // Threads that still hash or fetch are not waited for: what they do survives being killed.
    runtime.shutdown_background();
    if let Some(prompt_cache) = prompt_cache {
        prompt_cache.finish();
    }
    log::flush();
    served.map_err(failure)
}

fn failure(error: ServeError) -> Failure {
    let (code, hint) = match &error {
        ServeError::Keys(error) => (ExitCode::Usage, error.hint()),
        ServeError::Tls(error) => (ExitCode::Usage, error.hint()),
        ServeError::RequestLog { .. } => (ExitCode::Other, None),
        ServeError::Bind { .. } | ServeError::OpenToAll { .. } => {
            (ExitCode::Other, Some("another server may be running there; choose another port with --port".to_owned()))
        }
    };
    Failure::new(code, error).with_hint(hint)
}

impl AccessArgs {
    /// Who may use a server at this address.
    fn access(&self, address: SocketAddr) -> Result<Access, Failure> {
        let key_file = KeyFile::at(match &self.key_file {
            Some(path) => path.clone(),
            None => super::key::usual_file()?,
        });
        let keys = self.keys()?;
        let has_keys = || key_file.read().map(|keys| !keys.is_empty());
        let demands_key = !address.ip().is_loopback() && !self.insecure_no_auth;
        if demands_key && keys.is_empty() && !has_keys().map_err(|error| failure(error.into()))? {
            let hint = "make a key with `lair key create NAME`, set one with --api-key, or say --insecure-no-auth if \
                everyone on the network may use it";
            return Err(Failure::new(ExitCode::Usage, ServeError::OpenToAll { address }).with_hint(hint.to_owned()));
        }
        Ok(Access {
            keys,
            key_file: Some(key_file),
            demands_key,
            hosts: self.allowed_host.clone(),
            origins: self.allowed_origin.clone(),
        })
    }

    /// The keys that are given in words, of all places: none of them takes the place of another.
    fn keys(&self) -> Result<Vec<ApiKey>, Failure> {
        let of_file = match &self.api_key_file {
            Some(path) => key_lines(path)?,
            None => String::new(),
        };
        let of_environment = ["LAIR_API_KEY", "LLAMA_API_KEY"].into_iter().filter_map(variable);
        let lists = self.api_key.iter().cloned().chain(of_environment);
        let in_lists: Vec<String> =
            lists.flat_map(|list| list.split(',').map(str::to_owned).collect::<Vec<_>>()).collect();
        Ok(in_lists.iter().map(String::as_str).chain(of_file.lines()).filter_map(ApiKey::new).collect())
    }

    fn tls(&self) -> Option<TlsFiles> {
        let (certificate, key) = (self.tls_cert.clone()?, self.tls_key.clone()?);
        Some(TlsFiles { certificate, key })
    }
}

fn key_lines(path: &Path) -> Result<String, Failure> {
    use std::io::Read;
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(KEY_LINES_BYTES_MAX).read_to_string(&mut text));
    read.map_err(|error| Failure::new(ExitCode::Usage, format!("--api-key-file {}: {error}", path.display())))?;
    if text.lines().all(|line| line.trim().is_empty()) {
        let cause = format!("--api-key-file {} holds no key, one a line expected", path.display());
        return Err(Failure::new(ExitCode::Usage, cause));
    }
    Ok(text)
}

impl WatchingArgs {
    fn request_log(&self) -> Result<Option<RequestLogOptions>, Failure> {
        let mode = match self.log_requests {
            LogRequests::Off => return Ok(None),
            LogRequests::Meta => RequestLogMode::Meta,
            LogRequests::Full => RequestLogMode::Full,
        };
        Ok(Some(RequestLogOptions { folder: super::log::folder()?, mode, quota_bytes: self.log_quota }))
    }

    fn start_log(&self) {
        let format = match self.log_format {
            FormatChoice::Text => LogFormat::Text,
            FormatChoice::Json => LogFormat::Json,
        };
        log::start(format, self.log_level);
    }
}

/// Ctrl-C, or what service managers send.
async fn asked_to_end() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        // Without a handler for it, Ctrl-C alone ends the server.
        if let Ok(mut terminated) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupted => {}
                _ = terminated.recv() => {}
            }
            // Whoever asks twice does not want to wait for answers to end.
            tokio::spawn(async move {
                tokio::select! {
                    _ = tokio::signal::ctrl_c() => {}
                    _ = terminated.recv() => {}
                }
                std::process::exit(i32::from(ASKED_TWICE));
            });
            return;
        }
    }
    let _ = interrupted.await;
}

/// The Unix socket that the user wrote, as llama-server's users do by the ending, or with `unix:` before it.
fn socket(args: &ServeArgs) -> Result<Option<PathBuf>, Failure> {
    let Some(written) = args.host.as_deref() else { return Ok(None) };
    let path = match written.strip_prefix("unix:") {
        Some(path) => path.strip_prefix("//").unwrap_or(path),
        None if written.ends_with(".sock") => written,
        None => return Ok(None),
    };
    let refused = |cause: String| Err(Failure::new(ExitCode::Usage, cause));
    if path.is_empty() {
        return refused(format!("`{written}` names no socket, unix:PATH expected"));
    }
    if let Some(port) = args.port {
        return refused(format!("--port {port} and the socket `{path}`: a socket has no port"));
    }
    if args.access.tls_cert.is_some() {
        return refused(format!("--tls-cert and the socket `{path}`: nobody else can read what goes over it"));
    }
    Ok(Some(PathBuf::from(path)))
}

/// What the user wrote, as an address: a missing part is the default's.
fn address(args: &ServeArgs, usual_port: u16) -> Result<SocketAddr, Failure> {
    let mut address = match &args.host {
        Some(written) => server_address::to_listen_on(written, usual_port).ok_or_else(|| {
            Failure::new(ExitCode::Usage, format!("`{written}` is no address to listen on, ADDRESS:PORT expected"))
        })?,
        None => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), usual_port),
    };
    if let Some(port) = args.port {
        address.set_port(port);
    }
    Ok(address)
}
