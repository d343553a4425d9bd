//! An HTTP server whose answers a closure makes, any number of connections at a time, one request on each.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A request.
#[derive(Clone, Debug, Default)]
pub struct Call {
    pub method: String,
    /// With the query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Call {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// First and last byte that are asked for.
    pub fn range(&self) -> Option<(usize, usize)> {
        super::server::bounds(self.header("range")?)
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Body,
}

/// How a body comes.
#[derive(Clone, Debug)]
pub enum Body {
    /// With its length.
    Whole(Vec<u8>),
    /// The length of the first number is announced, the bytes are others.
    Announced(usize, Vec<u8>),
    /// No length; the connection ends it.
    Open(Vec<u8>),
    /// The same bytes again and again until the other side hangs up.
    Endless(Vec<u8>),
    /// Announced, then a byte at a time until the other side hangs up.
    Trickle(usize),
}

impl Reply {
    pub fn status(status: u16) -> Reply {
        Reply { status, headers: Vec::new(), body: Body::Whole(Vec::new()) }
    }

    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Reply {
        Reply { status: 200, headers: Vec::new(), body: Body::Whole(bytes.into()) }
    }

    pub fn with(mut self, name: &str, value: impl ToString) -> Reply {
        self.headers.push((name.to_string(), value.to_string()));
        self
    }

    pub fn body(self, body: Body) -> Reply {
        Reply { body, ..self }
    }

    pub fn redirect(to: &str) -> Reply {
        Reply::status(307).with("Location", to)
    }

    /// `file`, or the range of it that is asked for.
    pub fn file(call: &Call, file: &[u8]) -> Reply {
        let Some((first, last)) = call.range() else { return Reply::bytes(file) };
        let last = last.min(file.len() - 1);
        let range = format!("bytes {first}-{last}/{}", file.len());
        Reply { status: 206, ..Reply::bytes(&file[first..=last]) }.with("Content-Range", range)
    }
}

/// A server on a free port of this machine; ends when dropped.
pub struct Http {
    pub endpoint: String,
    calls: Arc<Mutex<Vec<Call>>>,
    is_over: Arc<AtomicBool>,
}

impl Http {
    pub fn start(answer: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Http {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let (calls, is_over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (seen, over, answer) = (Arc::clone(&calls), Arc::clone(&is_over), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (seen, over, answer) = (Arc::clone(&seen), Arc::clone(&over), Arc::clone(&answer));
                // A client that gives up in the middle is what some tests are about.
                thread::spawn(move || serve(stream, &seen, &over, answer.as_ref()).ok());
            }
        });
        Http { endpoint, calls, is_over }
    }

    /// `127.0.0.1:port`.
    pub fn host(&self) -> &str {
        self.endpoint.trim_start_matches("http://")
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("not poisoned").clone()
    }

    pub fn forget(&self) {
        self.calls.lock().expect("not poisoned").clear();
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the loop that accepts.
        let _ = TcpStream::connect(self.host());
    }
}

fn serve(
    mut stream: TcpStream,
    seen: &Mutex<Vec<Call>>,
    is_over: &AtomicBool,
    answer: &(dyn Fn(&Call) -> Reply + Send + Sync),
) -> std::io::Result<()> {
    let call = read_call(&stream)?;
    let reply = answer(&call);
    let is_head = call.method == "HEAD";
    seen.lock().expect("not poisoned").push(call);
    write!(stream, "HTTP/1.1 {} Reply\r\nConnection: close\r\n", reply.status)?;
    for (name, value) in &reply.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    match &reply.body {
        Body::Whole(bytes) => write!(stream, "Content-Length: {}\r\n\r\n", bytes.len())?,
        Body::Announced(length, _) | Body::Trickle(length) => write!(stream, "Content-Length: {length}\r\n\r\n")?,
        Body::Open(_) | Body::Endless(_) => write!(stream, "\r\n")?,
    }
    if is_head {
        return Ok(());
    }
    match &reply.body {
        Body::Whole(bytes) | Body::Announced(_, bytes) | Body::Open(bytes) => stream.write_all(bytes)?,
        Body::Endless(bytes) => {
            while !is_over.load(Ordering::SeqCst) {
                stream.write_all(bytes)?;
            }
        }
        Body::Trickle(_) => {
            while !is_over.load(Ordering::SeqCst) {
                stream.write_all(b"G")?;
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
    Ok(())
}

fn read_call(stream: &TcpStream) -> std::io::Result<Call> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ');
    let mut call = Call {
        method: words.next().unwrap_or_default().to_string(),
        path: words.next().unwrap_or_default().to_string(),
        ..Call::default()
    };
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            call.headers.push((name.to_ascii_lowercase(), value.trim().to_string()));
        }
    }
    let length = call.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    call.body = vec![0; length];
    reader.read_exact(&mut call.body)?;
    Ok(call)
}

impl Reply {
    /// The same with another status.
    pub fn status_is(self, status: u16) -> Reply {
        Reply { status, ..self }
    }
}
