//! An authority of a test's own and servers that it vouches for. Certificates are made by `openssl`.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

pub type Config = Arc<ServerConfig>;

/// Signs certificates.
pub struct Authority {
    folder: tempfile::TempDir,
}

/// A certificate and its key, as files.
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// Nothing where there is no `openssl`.
    pub fn new() -> Option<Authority> {
        let authority = Authority { folder: tempfile::tempdir().expect("a folder") };
        let made = authority.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "30",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
            "-subj",
            "/CN=An authority of a test",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-addext",
            "keyUsage=critical,keyCertSign",
        ]);
        if !made {
            lair_testkit::skipped("there is no `openssl` that makes certificates");
        }
        made.then_some(authority)
    }

    /// The file that whoever trusts this authority names.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for these names (`DNS:name` or `IP:address`).
    pub fn issue(&self, names: &[&str]) -> Identity {
        let extensions = format!("subjectAltName={}\nextendedKeyUsage=serverAuth\n", names.join(","));
        std::fs::write(self.folder.path().join("extensions"), extensions).expect("written");
        let asked = self.openssl(&[
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-keyout",
            "server.key",
            "-out",
            "server.csr",
            "-subj",
            "/CN=A server of a test",
        ]);
        let signed = self.openssl(&[
            "x509",
            "-req",
            "-in",
            "server.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-out",
            "server.pem",
            "-days",
            "30",
            "-extfile",
            "extensions",
        ]);
        assert!(asked && signed, "openssl made an authority and makes no certificate");
        let file = |name: &str| self.folder.path().join(name);
        Identity { certificate: file("server.pem"), key: file("server.key") }
    }

    fn openssl(&self, arguments: &[&str]) -> bool {
        let mut command = Command::new("openssl");
        command.args(arguments).current_dir(self.folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

impl Identity {
    pub fn server_config(&self) -> Config {
        let certificate = CertificateDer::from_pem_file(&self.certificate).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(&self.key).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.expect("versions").with_no_client_auth();
        Arc::new(builder.with_single_cert(vec![certificate], key).expect("they fit"))
    }
}

/// A connection with TLS. What is wrong with it shows when it is read.
pub fn accept(stream: TcpStream, config: Config) -> Closing {
    Closing(StreamOwned::new(ServerConnection::new(config).expect("a sound configuration"), stream))
}

/// Says goodbye when it is dropped, as TLS wants it.
pub struct Closing(StreamOwned<ServerConnection, TcpStream>);

impl std::io::Read for Closing {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl std::io::Write for Closing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.conn.send_close_notify();
        let _ = self.0.conn.complete_io(&mut self.0.sock);
    }
}

/// A key pair as `ssh-keygen` makes it, at `path`; nothing where there is no such program.
pub fn make_user_key(path: &Path) -> bool {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-N", "", "-C", "a test", "-f"]).arg(path);
    let is_made = command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !is_made {
        lair_testkit::skipped("there is no `ssh-keygen`");
    }
    is_made
}
