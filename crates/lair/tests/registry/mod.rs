//! Registries of a test, on a free port of this machine: plain or with TLS, one request a connection, whose answers a
//! closure gives; an honest registry in memory among them.

// Each test binary uses some of this.
#![allow(dead_code)]

pub mod proxy;
pub mod tls;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use lair_store::Digest;

/// A request as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    /// Without the query.
    pub path: String,
    pub query: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// First byte and the one after the last.
    pub fn range(&self) -> Option<(usize, usize)> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().ok()?, last.parse::<usize>().ok()? + 1))
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        Reply { status, headers: Vec::new(), body: body.into() }
    }

    pub fn with(mut self, name: &str, value: impl ToString) -> Reply {
        self.headers.push((name.to_string(), value.to_string()));
        self
    }
}

type Answer = dyn Fn(&Request) -> Reply + Send + Sync;

/// A server that answers as a closure says; ends when dropped.
pub struct Http {
    /// `127.0.0.1:port`.
    pub address: String,
    requests: Arc<Mutex<Vec<Request>>>,
    is_over: Arc<AtomicBool>,
}

impl Http {
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Http {
        Http::accept(Arc::new(answer), None)
    }

    pub fn start_tls(identity: &tls::Identity, answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Http {
        Http::accept(Arc::new(answer), Some(identity.server_config()))
    }

    fn accept(answer: Arc<Answer>, tls: Option<tls::Config>) -> Http {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (requests, is_over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (seen, over) = (Arc::clone(&requests), Arc::clone(&is_over));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (seen, answer, tls) = (Arc::clone(&seen), Arc::clone(&answer), tls.clone());
                // Clients that are killed in the middle are what some tests are about.
                thread::spawn(move || match tls {
                    Some(config) => serve(tls::accept(stream, config), &seen, answer.as_ref()).ok(),
                    None => serve(stream, &seen, answer.as_ref()).ok(),
                });
            }
        });
        Http { address, requests, is_over }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("not poisoned").clone()
    }

    pub fn forget(&self) {
        self.requests.lock().expect("not poisoned").clear();
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the loop that accepts.
        let _ = TcpStream::connect(&self.address);
    }
}

fn serve<S: Read + Write>(stream: S, seen: &Mutex<Vec<Request>>, answer: &Answer) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let request = read_request(&mut reader)?;
    let reply = answer(&request);
    let is_head = request.method == "HEAD";
    seen.lock().expect("not poisoned").push(request);
    let mut head = format!("HTTP/1.1 {} Reply\r\nConnection: close\r\n", reply.status);
    reply.headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    head += &format!("Content-Length: {}\r\n\r\n", reply.body.len());
    let stream = reader.get_mut();
    stream.write_all(head.as_bytes())?;
    if !is_head {
        stream.write_all(&reply.body)?;
    }
    stream.flush()
}

fn read_request(reader: &mut impl BufRead) -> std::io::Result<Request> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ').map(str::to_string);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut request = Request { method, path: path.to_string(), query: query.to_string(), ..Request::default() };
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            request.headers.push((name.to_ascii_lowercase(), value.trim().to_string()));
        }
    }
    request.body = vec![0; request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut request.body)?;
    Ok(request)
}

/// An honest registry in memory. It takes uploads in one piece and in chunks.
#[derive(Default)]
pub struct Memory {
    /// By digest.
    pub blobs: HashMap<String, Vec<u8>>,
    /// By path.
    pub manifests: HashMap<String, Vec<u8>>,
    uploads: HashMap<String, Vec<u8>>,
}

impl Memory {
    pub fn answer(&mut self, request: &Request) -> Reply {
        let path = request.path.as_str();
        if path == "/v2/" {
            return Reply::new(200, "{}");
        }
        if path.contains("/manifests/") {
            return self.manifest(request);
        }
        let Some((repository, name)) = path.split_once("/blobs/") else { return Reply::new(404, "") };
        match (request.method.as_str(), name) {
            ("POST", "uploads/") => {
                let location = format!("{repository}/blobs/uploads/{}", self.uploads.len());
                self.uploads.insert(location.clone(), Vec::new());
                Reply::new(202, "").with("Location", location)
            }
            ("PATCH" | "PUT", _) if name.starts_with("uploads/") => self.upload(request),
            (_, digest) => match self.blobs.get(digest) {
                Some(bytes) => file(request, bytes),
                None => Reply::new(404, ""),
            },
        }
    }

    fn upload(&mut self, request: &Request) -> Reply {
        let Some(bytes) = self.uploads.get_mut(&request.path) else { return Reply::new(404, "") };
        bytes.extend(&request.body);
        let Some((_, digest)) = request.query.split_once("digest=") else {
            return Reply::new(202, "").with("Location", &request.path);
        };
        let bytes = std::mem::take(bytes);
        if Digest::of(&bytes).to_string() != digest {
            return Reply::new(400, "another digest");
        }
        self.blobs.insert(digest.to_string(), bytes);
        Reply::new(201, "")
    }

    fn manifest(&mut self, request: &Request) -> Reply {
        if request.method == "PUT" {
            self.manifests.insert(request.path.clone(), request.body.clone());
            return Reply::new(201, "");
        }
        match self.manifests.get(&request.path) {
            Some(bytes) => Reply::new(200, bytes.clone())
                .with("Content-Type", lair_store::oci::media_type::MANIFEST)
                .with("Docker-Content-Digest", Digest::of(bytes)),
            None => Reply::new(404, ""),
        }
    }
}

/// A file, or the range of it that is asked for.
pub fn file(request: &Request, bytes: &[u8]) -> Reply {
    let Some((first, end)) = request.range() else { return Reply::new(200, bytes) };
    let end = end.min(bytes.len());
    let range = format!("bytes {first}-{}/{}", end - 1, bytes.len());
    Reply::new(206, &bytes[first.min(end)..end]).with("Content-Range", range)
}

/// An honest registry that can be looked into.
pub fn in_memory() -> (Arc<Mutex<Memory>>, impl Fn(&Request) -> Reply + Send + Sync + 'static) {
    let memory = Arc::new(Mutex::new(Memory::default()));
    let shared = Arc::clone(&memory);
    (memory, move |request: &Request| shared.lock().expect("not poisoned").answer(request))
}

/// The program with a home of its own, and nothing of this environment that matters to a transfer.
pub fn lair(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lair"));
    command.env("LAIR_HOME", home.join("lair")).env("HOME", home);
    for name in [
        "OLLAMA_MODELS",
        "LAIR_MODELS",
        "HF_HOME",
        "HF_HUB_CACHE",
        "HF_ENDPOINT",
        "HF_TOKEN",
        "SSL_CERT_FILE",
        "LAIR_CA_FILE",
        "DOCKER_CONFIG",
        "ALL_PROXY",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "NO_PROXY",
    ] {
        command.env_remove(name).env_remove(name.to_ascii_lowercase());
    }
    command
}

/// Runs it; what it wrote to standard error, and whether it was content.
pub fn run(command: &mut Command) -> (bool, String) {
    let output = command.output().expect("it starts");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The same, which must succeed.
pub fn succeed(command: &mut Command) {
    let (is_content, said) = run(command);
    assert!(is_content, "{command:?}: {said}");
}
