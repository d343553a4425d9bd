//! `lair serve`: answers clients of Ollama and OpenAI over HTTP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use clap::Args;
use lair_server::loaded::KeepAlive;
use lair_server::{Access, ApiKey, ServeError, ServerOptions, parse_keep_alive};

use super::run::LoadArgs;
use crate::failure::{ExitCode, Failure, Outcome};
use crate::serve::StoreSource;
use crate::server_address::{self, PORT, variable};
use crate::session::LoadOptions;
use crate::speculate::SpeculateArgs;

/// Longest body of a request.
const BODY_BYTES_MAX: usize = 32 << 20;

/// Where to listen, for whom, and how models are loaded.
#[derive(Args, Debug)]
pub struct ServeArgs {
    /// Where to listen: ADDRESS, ADDRESS:PORT or :PORT [default: LAIR_HOST or OLLAMA_HOST, else 127.0.0.1:11434]
    #[arg(long, value_name = "ADDRESS")]
    host: Option<String>,
    /// The port to listen on
    #[arg(long, value_name = "NUMBER")]
    port: Option<u16>,
    /// A key that clients must send; may be given several times, or in LAIR_API_KEY
    #[arg(long, value_name = "KEY")]
    api_key: Vec<String>,
    /// Listen for other machines without asking for a key
    #[arg(long)]
    insecure_no_auth: bool,
    /// A name under which this server is also called, besides localhost
    #[arg(long, value_name = "NAME")]
    allowed_host: Vec<String>,
    /// An origin whose pages may use this server, for example http://localhost:3000 [default: OLLAMA_ORIGINS]
    #[arg(long, value_name = "ORIGIN")]
    allowed_origin: Vec<String>,
    /// How long a model stays in memory after its last request: 10m, 300, -1 for ever [default: OLLAMA_KEEP_ALIVE or 5m]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    keep_alive: Option<String>,
    /// Requests that are computed at the same time; more wait
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    parallel: u16,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    speculate: SpeculateArgs,
}

/// Runs the command.
pub fn serve(args: &ServeArgs) -> Outcome {
    let address = address(args)?;
    let keys: Vec<ApiKey> =
        args.api_key.iter().cloned().chain(variable("LAIR_API_KEY")).filter_map(|key| ApiKey::new(&key)).collect();
    if !address.ip().is_loopback() && keys.is_empty() && !args.insecure_no_auth {
        let hint = "set a key with --api-key, or say --insecure-no-auth if everyone on the network may use it";
        return Err(Failure::new(ExitCode::Usage, ServeError::OpenToAll { address }).with_hint(hint.to_owned()));
    }
    let origins = variable("OLLAMA_ORIGINS").unwrap_or_default();
    let origins = origins.split(',').map(str::trim).filter(|origin| !origin.is_empty()).map(str::to_owned);
    let access = Access {
        keys,
        hosts: args.allowed_host.clone(),
        origins: args.allowed_origin.iter().cloned().chain(origins).collect(),
    };
    let keep_alive =
        args.keep_alive.clone().or_else(|| variable("OLLAMA_KEEP_ALIVE")).unwrap_or_else(|| "5m".to_owned());
    let keep_alive: KeepAlive = parse_keep_alive(&keep_alive).ok_or_else(|| {
        Failure::new(ExitCode::Usage, format!("--keep-alive is `{keep_alive}`, seconds or a time such as 10m expected"))
    })?;
    let load = LoadOptions { sequences_max: usize::from(args.parallel), ..args.load.options()? };
    let source = StoreSource { options: args.speculate.over(load, true)? };
    let options = ServerOptions { address, access, keep_alive, body_bytes_max: BODY_BYTES_MAX };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ready = |address: SocketAddr| eprintln!("listening on http://{address}");
    let served = runtime.block_on(lair_server::serve(options, Arc::new(source), ready, asked_to_end()));
    // Threads that still hash or fetch are not waited for: what they do survives being killed.
    runtime.shutdown_background();
    served.map_err(|error| {
        let hint = "another server may be running there; choose another port with --port".to_owned();
        Failure::new(ExitCode::Other, error).with_hint(hint)
    })
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
            return;
        }
    }
    let _ = interrupted.await;
}

/// What the user wrote, as an address: a missing part is the default's.
fn address(args: &ServeArgs) -> Result<SocketAddr, Failure> {
    let written = args.host.clone().or_else(server_address::written);
    let mut address = match written {
        Some(written) => server_address::to_listen_on(&written).ok_or_else(|| {
            Failure::new(ExitCode::Usage, format!("`{written}` is no address to listen on, ADDRESS:PORT expected"))
        })?,
        None => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT),
    };
    if let Some(port) = args.port {
        address.set_port(port);
    }
    Ok(address)
}
