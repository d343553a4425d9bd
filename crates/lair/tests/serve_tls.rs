//! The server with TLS, asked by `rustls`, with certificates that `openssl` makes. Needs the shared data and `openssl`;
//! without them every test says that it is skipped.

#[allow(dead_code, reason = "the registry's tests need more of it")]
#[path = "registry/tls.rs"]
mod certificates;
mod server;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use certificates::{Authority, Identity};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, StreamOwned, SupportedProtocolVersion};

use server::{Server, lair, until};

fn text(path: &Path) -> String {
    path.to_str().expect("text").to_owned()
}

/// A server with this certificate; files that the test may change.
fn start(identity: &Identity, arguments: &[&str]) -> Option<(Server, PathBuf, PathBuf)> {
    let model = lair_testkit::shared_data("models/stories260K-f32.gguf")?;
    let home = tempfile::tempdir().expect("a folder");
    let (certificate, key) = (home.path().join("cert.pem"), home.path().join("key.pem"));
    std::fs::copy(&identity.certificate, &certificate).expect("copied");
    std::fs::copy(&identity.key, &key).expect("copied");
    let (certificate_text, key_text) = (text(&certificate), text(&key));
    let tls = ["--tls-cert", &certificate_text, "--tls-key", &key_text];
    let server = Server::start_in(home, &model, &[], &[&tls[..], arguments].concat(), |_| ()).expect("it starts");
    Some((server, certificate, key))
}

/// A client that trusts this authority.
fn client(authority: &Authority, versions: &[&'static SupportedProtocolVersion], protocols: &[&[u8]]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.file()).expect("a certificate")).expect("it is one");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).expect("versions");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

/// Asks for `/health`; the answer, and what the connection came to.
fn ask(server: &Server, config: ClientConfig) -> io::Result<(String, ClientConnection)> {
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a sound configuration");
    let mut stream = StreamOwned::new(connection, TcpStream::connect(&server.address)?);
    stream.write_all(&server.request("GET", "/health", &[], b""))?;
    let mut answer = String::new();
    match stream.read_to_string(&mut answer) {
        // Whoever closes without a farewell has still answered.
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof || answer.is_empty() => Err(error),
        _ => Ok((answer, stream.conn)),
    }
}

const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12, &rustls::version::TLS13];

#[test]
fn both_versions_are_spoken_and_only_http_1() {
    let Some(authority) = Authority::new() else { return };
    let Some((server, ..)) = start(&authority.issue(&["DNS:localhost"]), &[]) else { return };
    assert!(server.said().contains("listening on https://"), "{}", server.said());
    for (versions, expected) in [
        (&[&rustls::version::TLS12][..], ProtocolVersion::TLSv1_2),
        (&[&rustls::version::TLS13], ProtocolVersion::TLSv1_3),
        (BOTH, ProtocolVersion::TLSv1_3),
    ] {
        let (answer, connection) =
            ask(&server, client(&authority, versions, &[b"h2", b"http/1.1"])).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(connection.protocol_version(), Some(expected));
        assert_eq!(connection.alpn_protocol(), Some(&b"http/1.1"[..]));
    }
    assert!(ask(&server, client(&authority, BOTH, &[])).is_ok(), "who names no protocol speaks HTTP/1.1");
    assert!(ask(&server, client(&authority, BOTH, &[b"h2"])).is_err(), "HTTP/2 is not there");
    let Some(stranger) = Authority::new() else { return };
    assert!(ask(&server, client(&stranger, BOTH, &[])).is_err(), "the certificate is of another authority");
}

#[test]
fn who_speaks_without_tls_is_told() {
    let Some(authority) = Authority::new() else { return };
    let Some((server, ..)) = start(&authority.issue(&["DNS:localhost"]), &[]) else { return };
    let answer = server.get("/health");
    assert_eq!(answer.status, 400);
    assert!(
        answer.json()["error"]["message"].as_str().is_some_and(|text| text.contains("https://")),
        "{}",
        answer.body
    );
    // What is neither ends, and others are served meanwhile.
    let mut odd = server.send(&[0x16, 0x03, 0x01, 0xff, 0xff, 0, 0, 0]);
    let silent = server.send(&[]);
    assert!(ask(&server, client(&authority, BOTH, &[])).is_ok());
    let mut rest = Vec::new();
    let _ = odd.read_to_end(&mut rest);
    drop(silent);
    assert!(server.end(), "it ends well");
}

#[test]
fn half_a_handshake_is_given_up() {
    let Some(authority) = Authority::new() else { return };
    let Some((server, ..)) = start(&authority.issue(&["DNS:localhost"]), &[]) else { return };
    // The head of a record whose rest never comes.
    let mut half = server.send(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]);
    let mut rest = Vec::new();
    assert!(half.read_to_end(&mut rest).is_ok_and(|length| length == 0) || rest.is_empty());
}

#[test]
fn a_new_certificate_is_taken_while_the_server_runs_and_a_damaged_one_is_not() {
    let Some(authority) = Authority::new() else { return };
    let first = authority.issue(&["DNS:localhost"]);
    let first_bytes = CertificateDer::from_pem_file(&first.certificate).expect("a certificate");
    let Some((server, certificate, key)) = start(&first, &[]) else { return };
    let shown = || {
        let (_, connection) = ask(&server, client(&authority, BOTH, &[])).expect("an answer");
        connection.peer_certificates().expect("some")[0].clone().into_owned()
    };
    assert_eq!(shown(), first_bytes);
    std::fs::write(&certificate, "damaged").expect("written");
    assert_eq!(shown(), first_bytes, "what cannot be used changes nothing");
    until(|| server.said().contains("the certificate stays as it was").then_some(()));
    let second = authority.issue(&["DNS:localhost", "DNS:other"]);
    std::fs::copy(&second.key, &key).expect("copied");
    std::fs::copy(&second.certificate, &certificate).expect("copied");
    assert_eq!(shown(), CertificateDer::from_pem_file(&second.certificate).expect("a certificate"));
}

#[test]
fn a_wrong_pair_is_refused_at_the_start() {
    let Some(authority) = Authority::new() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| text(&folder.path().join(name));
    let one = authority.issue(&["DNS:localhost"]);
    std::fs::copy(&one.certificate, at("one.pem")).expect("copied");
    std::fs::copy(&one.key, at("one.key")).expect("copied");
    let two = authority.issue(&["DNS:localhost"]);
    let openssl = |arguments: &[&str]| {
        let mut command = Command::new("openssl");
        command.args(arguments).current_dir(folder.path());
        assert!(command.output().is_ok_and(|output| output.status.success()), "{arguments:?}");
    };
    expired(&openssl, folder.path());
    openssl(&["pkey", "-in", "one.key", "-aes256", "-passout", "pass:secret", "-out", "encrypted.key"]);
    for (certificate, key, words) in [
        (at("one.pem"), text(&two.key), "does not belong to the certificate"),
        (at("none.pem"), at("one.key"), "cannot be read"),
        (at("one.key"), at("one.key"), "holds no certificate"),
        (at("one.pem"), at("one.pem"), "holds no private key"),
        (at("one.pem"), at("encrypted.key"), "holds no private key"),
        (at("expired.pem"), at("expired.key"), "ended at 2021-01-02T00:00:00Z"),
    ] {
        let home = tempfile::tempdir().expect("a folder");
        let mut command = lair(home.path());
        // The names of llama-server do as well.
        command.args(["serve", "--port", "0", "--ssl-cert-file", &certificate, "--ssl-key-file", &key]);
        let output = command.output().expect("starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(words), "{words}: {said}");
    }
    let home = tempfile::tempdir().expect("a folder");
    let alone = lair(home.path()).args(["serve", "--tls-cert", &at("one.pem")]).output().expect("starts");
    assert!(String::from_utf8_lossy(&alone.stderr).contains("--tls-key"), "one needs the other");
}

/// A certificate whose time was the first day of 2021. Only `openssl ca` makes one with a time of one's own.
fn expired(openssl: &dyn Fn(&[&str]), folder: &Path) {
    let config = "[ca]\ndefault_ca = own\n[own]\ndatabase = index.txt\nserial = serial\nnew_certs_dir = .\n\
        default_md = sha256\npolicy = any\n[any]\ncommonName = supplied\n";
    std::fs::write(folder.join("ca.cnf"), config).expect("written");
    std::fs::write(folder.join("index.txt"), "").expect("written");
    std::fs::write(folder.join("serial"), "01\n").expect("written");
    let key =
        ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=A server of a test"];
    let out = ["-keyout", "expired.key", "-out", "expired.csr"];
    openssl(&[&["req", "-new"][..], &key, &out].concat());
    let times = ["-startdate", "20210101000000Z", "-enddate", "20210102000000Z"];
    let files = ["-keyfile", "expired.key", "-in", "expired.csr", "-out", "expired.pem"];
    openssl(&[&["ca", "-batch", "-selfsign", "-config", "ca.cnf"][..], &times, &files].concat());
}

#[test]
fn curl_gets_an_answer() {
    let Some(authority) = Authority::new() else { return };
    let Some((server, ..)) = start(&authority.issue(&["DNS:localhost"]), &["--api-key", "sesame"]) else { return };
    let port = server.address.rsplit(':').next().expect("a port");
    let url = format!("https://localhost:{port}/v1/models");
    let mut command = Command::new("curl");
    command.args(["--silent", "--noproxy", "*", "--cacert"]).arg(authority.file());
    let Ok(output) = command.args(["-H", "Authorization: Bearer sesame", &url]).output() else {
        lair_testkit::skipped("there is no `curl`");
        return;
    };
    assert!(String::from_utf8_lossy(&output.stdout).contains("tiny:latest"), "{output:?}");
}
