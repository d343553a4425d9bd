//! How bytes are fetched: connections, parts, limits, retries, and whom to trust.

use std::path::PathBuf;
use std::time::Duration;

use crate::settings::hub_cache;

/// Enough to fill a line that one connection cannot, few enough that no server minds.
const CONNECTION_COUNT: usize = 4;
/// More than this gains nothing and looks like an attack.
pub const CONNECTIONS_MAX: usize = 8;
/// A request for each part: large enough that asking costs nothing beside the answer.
const PART_BYTES: u64 = 32 << 20;
/// Tries of one part that bring nothing.
const TRIES_MAX: u32 = 6;
/// Doubles with each try.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Neither doubling nor a server's `Retry-After` leads to a longer one.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(60);

/// How bytes are fetched.
#[derive(Clone, Debug)]
pub struct TransferSettings {
    /// Connections for one blob, at most [`CONNECTIONS_MAX`].
    pub connection_count: usize,
    /// What one request asks for. A kill costs less than this: see `piece_bytes`.
    pub part_bytes: u64,
    /// All connections together bring no more than this in a second.
    pub bytes_per_second_max: Option<u64>,
    /// Tries of one part that bring nothing, before it is given up.
    pub tries_max: u32,
    /// Wait before the second try; doubles with each.
    pub first_wait: Duration,
    /// Whether servers may be at private addresses (10/8, 192.168/16 and the like) without being the configured hub.
    pub is_private_address_allowed: bool,
    /// Whether servers beyond this machine may be asked without TLS.
    pub is_plain_http_allowed: bool,
    /// Certificate authorities that alone are trusted (`SSL_CERT_FILE`).
    pub roots_file: Option<PathBuf>,
    /// Certificate authorities that are trusted as well (`LAIR_CA_FILE`).
    pub extra_roots_file: Option<PathBuf>,
    /// Where `docker login` keeps what it knows (`config.json`).
    pub login_folder: Option<PathBuf>,
    /// The key that Ollama's registry knows the user by.
    pub ollama_key: Option<PathBuf>,
    /// The cache of the Hugging Face clients, where files of the hub are kept.
    pub hub_cache: Option<PathBuf>,
}

impl Default for TransferSettings {
    fn default() -> TransferSettings {
        TransferSettings {
            connection_count: CONNECTION_COUNT,
            part_bytes: PART_BYTES,
            bytes_per_second_max: None,
            tries_max: TRIES_MAX,
            first_wait: FIRST_WAIT,
            is_private_address_allowed: false,
            is_plain_http_allowed: false,
            roots_file: None,
            extra_roots_file: None,
            login_folder: None,
            ollama_key: None,
            hub_cache: None,
        }
    }
}

impl TransferSettings {
    /// What the environment says: `SSL_CERT_FILE`, `LAIR_CA_FILE`, `DOCKER_CONFIG`, `HF_HUB_CACHE`, `HF_HOME`.
    pub(crate) fn read_variables(&mut self, variable: &impl Fn(&str) -> Option<String>) {
        let path = |name: &str| variable(name).map(PathBuf::from);
        let home = path(if cfg!(windows) { "USERPROFILE" } else { "HOME" });
        let in_home = |folder: &str| Some(home.as_ref()?.join(folder));
        self.roots_file = path("SSL_CERT_FILE");
        self.extra_roots_file = path("LAIR_CA_FILE");
        self.login_folder = path("DOCKER_CONFIG").or_else(|| in_home(".docker"));
        self.ollama_key = in_home(".ollama/id_ed25519");
        self.hub_cache = hub_cache(variable);
    }

    /// What the journal counts in. All connections together lose less than one part when the process is killed: each
    /// loses at most one piece.
    pub(crate) fn piece_bytes(&self, size_bytes: u64) -> u64 {
        /// Records of a journal, so that the journal of the largest file stays small.
        const PIECES_MAX: u64 = 1 << 20;
        let of_part = self.part_bytes / CONNECTIONS_MAX as u64;
        of_part.max(size_bytes.div_ceil(PIECES_MAX)).max(1)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connection_count.clamp(1, CONNECTIONS_MAX)
    }

    /// Wait before the try after `tries` that brought nothing.
    pub(crate) fn wait_after(&self, tries: u32) -> Duration {
        self.first_wait.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(WAIT_MAX)
    }
}
