//! An HTTP server of a few lines that misbehaves as it is told, one answer for each connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What happens on one connection.
#[derive(Clone)]
pub enum Answer {
    /// The file, or the range that was asked for.
    Serve(Vec<u8>),
    /// The whole file, whatever was asked for, and no length.
    ServeWithoutRange(Vec<u8>),
    /// As `Serve`, but the connection ends after so many bytes of the body.
    Cut(Vec<u8>, usize),
    /// As `Cut`, but the connection stays open and silent.
    Stall(Vec<u8>, usize),
    /// Silence from the start.
    Silence,
    /// A range that begins elsewhere.
    WrongRange(Vec<u8>),
    /// A status and a short page.
    Status(u16),
    /// `Location`.
    Redirect(String),
}

/// A request as it arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub path: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
}

/// A server on a free port of this machine.
pub struct Server {
    pub endpoint: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Gives these answers in order, then accepts no more.
    pub fn start(answers: Vec<Answer>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            for answer in answers {
                let (stream, _) = listener.accept().expect("a connection");
                // A client that gives up in the middle is what some tests are about.
                let _ = give(stream, &answer, &seen);
            }
        });
        Server { endpoint, requests }
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("not poisoned").clone()
    }
}

/// An endpoint where nobody listens: a low port that is not given to programs that ask for any.
pub fn dead_endpoint() -> String {
    "http://127.0.0.1:1".to_string()
}

fn give(mut stream: TcpStream, answer: &Answer, seen: &Mutex<Vec<Request>>) -> std::io::Result<()> {
    let request = read_request(&stream)?;
    let from = request.range.as_deref().and_then(bounds);
    seen.lock().expect("not poisoned").push(request);
    match answer {
        Answer::Serve(file) => serve(&mut stream, file, from, usize::MAX),
        Answer::Cut(file, count) => serve(&mut stream, file, from, *count),
        Answer::Stall(file, count) => {
            serve(&mut stream, file, from, *count)?;
            wait_for_close(&mut stream)
        }
        Answer::Silence => wait_for_close(&mut stream),
        Answer::ServeWithoutRange(file) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            stream.write_all(file)
        }
        Answer::WrongRange(file) => {
            let (length, last) = (file.len(), file.len() - 1);
            write!(stream, "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-{last}/{length}\r\n")?;
            write!(stream, "Content-Length: {length}\r\nConnection: close\r\n\r\n")?;
            stream.write_all(file)
        }
        Answer::Status(status) => {
            write!(stream, "HTTP/1.1 {status} Oh\r\nContent-Length: 4\r\nConnection: close\r\n\r\nsome")
        }
        Answer::Redirect(location) => {
            write!(
                stream,
                "HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
        }
    }
}

fn read_request(stream: &TcpStream) -> std::io::Result<Request> {
    let mut request = Request::default();
    for (index, line) in BufReader::new(stream).lines().enumerate() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if index == 0 {
            request.path = line.split(' ').nth(1).unwrap_or_default().to_string();
        }
        match line.split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("range") => request.range = Some(value.trim().into()),
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                request.authorization = Some(value.trim().into());
            }
            _ => {}
        }
    }
    Ok(request)
}

/// First and last byte that are asked for.
pub fn bounds(range: &str) -> Option<(usize, usize)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

fn serve(stream: &mut TcpStream, file: &[u8], range: Option<(usize, usize)>, count_max: usize) -> std::io::Result<()> {
    let total = file.len();
    let (first, last) = range.unwrap_or((0, total - 1));
    let last = last.min(total - 1);
    let body = &file[first.min(total)..last + 1];
    match range {
        Some(_) => {
            write!(stream, "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {first}-{last}/{total}\r\n")?;
        }
        None => write!(stream, "HTTP/1.1 200 OK\r\n")?,
    }
    write!(stream, "Content-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(&body[..body.len().min(count_max)])
}

/// Returns when the other side has hung up.
fn wait_for_close(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.read(&mut [0]).map(|_| ())
}
