//! Why one source did not deliver.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::digest::Digest;
use crate::oci::ManifestError;

/// Why one source did not deliver.
#[derive(Debug, Error)]
pub enum SourceError {
    /// No connection: name not found, refused, timed out, TLS failed.
    #[error("no connection to {host}: {reason}")]
    NoConnection {
        /// Host and port.
        host: String,
        /// In the words of the HTTP client.
        reason: String,
    },
    /// The address behind the name is one that a source has no business with.
    #[error("{host} is at {address}, {kind}")]
    RefusedAddress {
        /// As in the URL.
        host: String,
        /// What it resolves to.
        address: String,
        /// What kind of address that is.
        kind: &'static str,
    },
    /// Without TLS, and nobody said that this is fine.
    #[error("{host} would be asked without encryption")]
    PlainHttp {
        /// Host and port.
        host: String,
    },
    /// The server answered with a status that is no success.
    #[error("{host} answered with status {status} for `{path}`{}", said.as_ref().map(|said| format!(": {said}")).unwrap_or_default())]
    Status {
        /// Host and port.
        host: String,
        /// Path without the query, which may hold a signature.
        path: String,
        /// HTTP status code.
        status: u16,
        /// The server's own words, if it sent some that can be shown.
        said: Option<String>,
        /// When it wants to be asked again (`Retry-After`).
        retry_after_s: Option<u64>,
    },
    /// The files of this repository are for those who have accepted its conditions.
    #[error("the files of `{repository}` are given only to those who accept its conditions at {url}")]
    Gated {
        /// `owner/name`.
        repository: String,
        /// Where a person accepts.
        url: String,
        /// Whether a token was sent along.
        had_token: bool,
    },
    /// The server wants to know who asks, in a way that would give the credentials to someone else.
    #[error("{host} asks to get a token from {realm}, another host: refused")]
    ForeignRealm {
        /// The registry.
        host: String,
        /// Where it sends one for a token.
        realm: String,
    },
    /// The server wants to know who asks, and nothing that is known here satisfies it.
    #[error("{host} asks for credentials for `{what}`")]
    Unauthorized {
        /// The registry.
        host: String,
        /// Repository and action.
        what: String,
    },
    /// A redirection that is not followed.
    #[error("{host} redirects {problem}")]
    Redirect {
        /// Who redirects.
        host: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Bytes stopped coming, or come so slowly that it makes no difference.
    #[error("{what} for {stall_ms} ms, after {received_bytes} of {expected_bytes} bytes")]
    Stalled {
        /// Nothing, or how little, arrived.
        what: String,
        /// How long was waited.
        stall_ms: u128,
        /// What is here.
        received_bytes: u64,
        /// Length of the blob.
        expected_bytes: u64,
    },
    /// The connection ended early.
    #[error("the connection ended after {received_bytes} of {expected_bytes} bytes: {reason}")]
    Cut {
        /// What is here.
        received_bytes: u64,
        /// Length of the blob.
        expected_bytes: u64,
        /// In the words of the HTTP client.
        reason: String,
    },
    /// The source has a file of another length.
    #[error("it offers {found} bytes, {expected} are expected")]
    WrongSize {
        /// Offered.
        found: u64,
        /// By the one who named the blob.
        expected: u64,
    },
    /// The server sends all of a file of which a part was asked for.
    #[error("{host} gives no parts of files{}", size_bytes.map(|bytes| format!(", only all {bytes} bytes")).unwrap_or_default())]
    NoRanges {
        /// Host and port.
        host: String,
        /// Length of the file, where it is announced.
        size_bytes: Option<u64>,
    },
    /// The bytes are not those that were named.
    #[error("its bytes hash to {found}, {expected} is expected")]
    WrongDigest {
        /// Of what arrived.
        found: String,
        /// By the one who named the blob.
        expected: String,
    },
    /// What arrives is not a model file, perhaps a page of a proxy.
    #[error("it sends no model file: the first bytes are `{}`, not `GGUF`", found.escape_ascii())]
    NotGguf {
        /// First bytes.
        found: Vec<u8>,
    },
    /// Who waited for it no longer does.
    #[error("the download was stopped; what is here stays for another time")]
    GivenUp,
    /// An answer that cannot be used.
    #[error("{host} gives an answer that cannot be used: {problem}")]
    BadAnswer {
        /// Host and port.
        host: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A manifest that Lair does not follow.
    #[error("{host}: {error}")]
    Manifest {
        /// Host and port.
        host: String,
        /// What is wrong with it.
        error: ManifestError,
    },
    /// The manifest that was asked for by its digest is another one.
    #[error("{host} sends a manifest that hashes to {found}, {expected} was asked for")]
    OtherManifest {
        /// Host and port.
        host: String,
        /// Of what arrived.
        found: Digest,
        /// As asked for.
        expected: Digest,
    },
    /// A repository without anything to run, or without what was asked for.
    #[error("`{repository}` {problem}")]
    NothingToFetch {
        /// `owner/name`.
        repository: String,
        /// What is missing.
        problem: String,
        /// What it has instead.
        offered: Vec<String>,
    },
    /// No package client was found.
    #[error("no package client found (looked for {})", tried.join(", "))]
    NoClient {
        /// Command lines that were looked for.
        tried: Vec<String>,
    },
    /// The package client ended with an error.
    #[error("`{command}` failed: {reason}")]
    ClientFailed {
        /// As it was called.
        command: String,
        /// Its last words.
        reason: String,
    },
    /// The package client did nothing for too long.
    #[error("`{command}` was stopped: nothing arrived for {stall_ms} ms")]
    ClientStalled {
        /// As it was called.
        command: String,
        /// How long was waited.
        stall_ms: u128,
    },
    /// The package does not hold what the catalogue says.
    #[error("package {package}: {problem}")]
    BadPackage {
        /// `name==version`.
        package: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Room for the blob, but not for the package beside it.
    #[error("{needed_bytes} bytes of space are needed to unpack, {available_bytes} are free")]
    NoScratchSpace {
        /// The rest of the blob and the largest package.
        needed_bytes: u64,
        /// What the file system offers.
        available_bytes: u64,
    },
    /// The disk is too small for what is to come.
    #[error("not enough space in `{}`: {needed_bytes} bytes are needed, {available_bytes} are free", path.display())]
    NoSpace {
        /// The folder.
        path: PathBuf,
        /// What is still to arrive, and a margin.
        needed_bytes: u64,
        /// What the file system offers.
        available_bytes: u64,
    },
    /// Not the fault of the source: the file in the store cannot be written, so no other source will do better.
    #[error("cannot write `{}`: {reason}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
}

impl SourceError {
    pub(crate) fn write(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> SourceError {
        let path = path.into();
        move |reason| SourceError::Write { path, reason }
    }

    pub(crate) fn bad_answer(host: impl Into<String>, problem: impl ToString) -> SourceError {
        SourceError::BadAnswer { host: host.into(), problem: problem.to_string() }
    }

    /// Whether what was delivered is not the blob, so that nothing of it is worth keeping.
    pub(crate) fn is_about_another_file(&self) -> bool {
        matches!(self, SourceError::WrongSize { .. } | SourceError::WrongDigest { .. } | SourceError::NotGguf { .. })
    }

    /// Whether the disk here is at fault, so that asking again or asking someone else is of no use.
    pub fn is_about_this_disk(&self) -> bool {
        matches!(self, SourceError::Write { .. } | SourceError::NoSpace { .. })
    }

    /// Whether there is a server whose certificate is not trusted here, or is for another name, or has expired.
    pub(crate) fn is_about_certificate(&self) -> bool {
        // The client says so only in words, those of the TLS library: `invalid peer certificate: UnknownIssuer`.
        matches!(self, SourceError::NoConnection { reason, .. } if reason.contains("certificate"))
    }

    /// Whether the disk has become full while it was written to, or what this user may have of it.
    pub(crate) fn is_about_full_disk(&self) -> bool {
        let is_full =
            |reason: &io::Error| matches!(reason.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        matches!(self, SourceError::Write { reason, .. } if is_full(reason))
    }

    /// Whether the same request may well succeed a little later.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            SourceError::NoConnection { .. } | SourceError::Cut { .. } | SourceError::Stalled { .. } => true,
            SourceError::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            SourceError::NoConnection { .. } if self.is_about_certificate() => {
                "name the file with the certificate of its authority with `LAIR_CA_FILE`; `SSL_CERT_FILE` replaces the \
                 system's authorities"
                    .to_string()
            }
            SourceError::NoConnection { .. } => "check the network or the proxy (`HTTPS_PROXY`); behind a proxy with \
                 its own certificate authority, name its file with `LAIR_CA_FILE`"
                .to_string(),
            SourceError::RefusedAddress { .. } => {
                "if you trust it, allow private addresses with `--allow-private-registry`".to_string()
            }
            SourceError::PlainHttp { .. } => "if you trust the network in between, use `--insecure`".to_string(),
            SourceError::Gated { url, had_token, .. } => {
                let token = if *had_token { "with the account of your token" } else { "and set `HF_TOKEN`" };
                format!("open {url}, accept the conditions {token}, then try again")
            }
            SourceError::Unauthorized { .. } => {
                "log in with `docker login` or, for Ollama's registry, `ollama signin`; Lair reads \
                 `~/.docker/config.json` and `~/.ollama/id_ed25519`"
                    .to_string()
            }
            SourceError::Status { status: 401 | 403, .. } => "a private file needs `HF_TOKEN`".to_string(),
            SourceError::Status { status: 404, .. } => "check the name; a private model looks absent without \
                 credentials"
                .to_string(),
            SourceError::NoRanges { .. } => "`lair pull` fetches all of it".to_string(),
            SourceError::NothingToFetch { offered, .. } if !offered.is_empty() => {
                format!("it has {}", offered.join(", "))
            }
            SourceError::Stalled { .. } | SourceError::Cut { .. } => {
                "try again: what has arrived is kept and continued".to_string()
            }
            SourceError::NoSpace { .. } => "free some space, or choose a folder on a larger disk".to_string(),
            SourceError::Write { .. } if self.is_about_full_disk() => {
                "free some space and try again; what was half-written has been removed".to_string()
            }
            SourceError::Write { reason, .. } if reason.kind() == io::ErrorKind::PermissionDenied => {
                "choose a folder that you may write to".to_string()
            }
            _ => return None,
        };
        Some(hint)
    }
}
