//! TLS: a certificate and its key, checked at the start, read again when their files change.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::connections::{STALL_MAX, Unstalled};
use crate::log::{self, LogLevel};
use crate::validity;

/// How long a handshake may take: half of one must not hold a connection.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest file that is read as a certificate or a key.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// A certificate that ends sooner is spoken of at the start.
const SOON: Duration = Duration::from_secs(14 * 86_400);
/// What a client is told that speaks HTTP without TLS.
const PLAIN_REFUSAL: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: application/json\r\n\
    Content-Length: 60\r\n\r\n{\"error\":{\"message\":\"this server speaks TLS: use https://\"}}";

/// Where certificate and key are, as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, then those that vouch for it.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {cause}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A file holds something else.
    #[error("{path} holds no {expected}: {cause}")]
    Nothing {
        /// Which file.
        path: PathBuf,
        /// What was looked for.
        expected: &'static str,
        /// What was found.
        cause: String,
    },
    /// Key and certificate are not a pair.
    #[error("the key {key} does not belong to the certificate {certificate}")]
    NoPair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The certificate's time is over.
    #[error("the certificate {path} ended at {end}")]
    Expired {
        /// Its file.
        path: PathBuf,
        /// When.
        end: Time,
    },
    /// The certificate's time has not come.
    #[error("the certificate {path} begins at {begin}")]
    NotYet {
        /// Its file.
        path: PathBuf,
        /// When.
        begin: Time,
    },
    /// The certificate or the key is of a kind that is not supported.
    #[error("the certificate {path} or its key cannot be used: {cause}")]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
}

impl TlsError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            TlsError::Nothing { expected, .. } if expected.contains("key") => {
                Some("an encrypted key must be decrypted first: `openssl pkey -in KEY -out NEW`".to_owned())
            }
            TlsError::Nothing { .. } => Some("PEM is expected: `-----BEGIN CERTIFICATE-----` ...".to_owned()),
            TlsError::NoPair { .. } => Some("--tls-cert and --tls-key must be made together".to_owned()),
            TlsError::Expired { .. } => Some("renew it, or make a new one".to_owned()),
            TlsError::NotYet { .. } => Some("look at the clock of this machine".to_owned()),
            _ => None,
        }
    }
}

/// A time in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub SystemTime);

impl fmt::Display for Time {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds(self.0).fmt(formatter)
    }
}

/// What tells a file from what it was.
type Mark = Option<(SystemTime, u64)>;

struct Current {
    marks: [Mark; 2],
    config: Arc<ServerConfig>,
}

/// The TLS side of a server.
pub(crate) struct Tls {
    files: TlsFiles,
    current: Mutex<Current>,
}

impl Tls {
    /// Reads and checks certificate and key.
    pub(crate) fn open(files: TlsFiles, now: SystemTime) -> Result<Tls, TlsError> {
        let marks = marks(&files);
        let config = load(&files, now)?;
        Ok(Tls { files, current: Mutex::new(Current { marks, config }) })
    }

    /// What new connections are encrypted with. Files that changed and cannot be used change nothing: the old certificate
    /// goes on to be shown, and the log says why.
    fn config(&self) -> Arc<ServerConfig> {
        let marks = marks(&self.files);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.marks != marks {
            current.marks = marks;
            match load(&self.files, SystemTime::now()) {
                Ok(config) => {
                    log::write(LogLevel::Info, "the certificate was read again", &[]);
                    current.config = config;
                }
                Err(error) => {
                    let cause = [("cause", json!(error.to_string()))];
                    log::write(LogLevel::Error, "the certificate stays as it was", &cause);
                }
            }
        }
        Arc::clone(&current.config)
    }

    /// Greets a client; `None` if it does not come to TLS.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        client: SocketAddr,
    ) -> Option<TlsStream<Unstalled<TcpStream>>> {
        let greeting = async {
            let mut first = [0];
            // The first byte of TLS is 22; a method of HTTP begins with a letter.
            if stream.peek(&mut first).await? == 1 && first[0].is_ascii_alphabetic() {
                let mut stream = stream;
                stream.write_all(PLAIN_REFUSAL).await?;
                stream.shutdown().await?;
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it speaks HTTP without TLS"));
            }
            TlsAcceptor::from(self.config()).accept(Unstalled::new(stream, STALL_MAX)).await
        };
        let outcome = timeout(HANDSHAKE_TIME_MAX, greeting).await;
        let cause = match outcome {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it took too long".to_owned(),
        };
        let fields = [("client", json!(client.to_string())), ("cause", json!(cause))];
        log::write(LogLevel::Debug, "a client did not come to TLS", &fields);
        None
    }
}

fn marks(files: &TlsFiles) -> [Mark; 2] {
    [&files.certificate, &files.key].map(|path| {
        let facts = std::fs::metadata(path).ok()?;
        Some((facts.modified().ok()?, facts.len()))
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    use std::io::Read;
    let failed = |cause| TlsError::Io { path: path.to_owned(), cause };
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(failed)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn load(files: &TlsFiles, now: SystemTime) -> Result<Arc<ServerConfig>, TlsError> {
    let nothing = |path: &Path, expected, error: pem::Error| {
        let cause = match error {
            pem::Error::NoItemsFound => "there is none in it".to_owned(),
            error => error.to_string(),
        };
        TlsError::Nothing { path: path.to_owned(), expected, cause }
    };
    let path = &files.certificate;
    let bytes = read(path)?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| nothing(path, "certificate", error))?;
    let first = chain.first().ok_or_else(|| nothing(path, "certificate", pem::Error::NoItemsFound))?;
    check_time(path, first, now)?;
    let key =
        PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|error| nothing(&files.key, "private key", error))?;
    let unusable = |error: rustls::Error| match error {
        rustls::Error::InconsistentKeys(_) => TlsError::NoPair { certificate: path.clone(), key: files.key.clone() },
        error => TlsError::Unusable { path: path.clone(), cause: error.to_string() },
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn check_time(path: &Path, certificate: &[u8], now: SystemTime) -> Result<(), TlsError> {
    let Some((begin, end)) = validity::of_certificate(certificate) else {
        let cause = "its time cannot be read".to_owned();
        return Err(TlsError::Unusable { path: path.to_owned(), cause });
    };
    if end < now {
        return Err(TlsError::Expired { path: path.to_owned(), end: Time(end) });
    }
    if begin > now {
        return Err(TlsError::NotYet { path: path.to_owned(), begin: Time(begin) });
    }
    if end < now + SOON {
        let fields = [("file", json!(path.display().to_string())), ("end", json!(Time(end).to_string()))];
        log::write(LogLevel::Warn, "the certificate ends soon", &fields);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_is_as_long_as_it_says() {
        let text = std::str::from_utf8(PLAIN_REFUSAL).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
