//! What arrives on the wire: lines 44 to 60.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use serde_json::json;

use crate::world::{KEY, World, ask, raw, rest_of, status};
use crate::{Case, Try};

/// Connections that say nothing. The server takes 1024 unless told otherwise.
const IDLE: usize = 900;

fn get(world: &World, head: &str) -> String {
    world.raw(format!("GET /health HTTP/1.1\r\nHost: {}\r\n{head}\r\n", world.open.address).as_bytes())
}

fn post(world: &World, head: &str, body: &str) -> String {
    let host = &world.open.address;
    let head = format!("POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n{head}\r\n");
    world.raw((head + body).as_bytes())
}

/// Refused in the words of HTTP, or closed without a word.
fn turned_away(answer: &str) {
    assert!(answer.is_empty() || matches!(status(answer), 400..=499 | 501 | 505), "{answer}");
}

/// Refused, and nothing that follows on the connection is taken for a request.
fn refused_and_closed(answer: &str) {
    assert_eq!(status(answer), 400, "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "it went on: {answer}");
}

/// A body without an end, in chunks.
fn endless(world: &World) {
    let mut stream = TcpStream::connect(&world.open.address).expect("it listens");
    let host = &world.open.address;
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("sent");
    let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    // It does not read for ever: at some point it answers and closes, and no more can be sent.
    let mut sent = 0;
    while stream.write_all(&chunk).is_ok() {
        sent += 1;
        assert!(sent < 256, "it takes {sent} megabytes");
    }
    let answer = rest_of(stream);
    // The answer may be lost with what was sent after it.
    assert!(answer.is_empty() || status(&answer) == 413, "{answer}");
}

/// The same, and no more than it takes: the answer arrives.
fn too_long(world: &World) {
    let chunk = format!("2000001\r\n{}\r\n", " ".repeat(0x200_0001));
    let answer = post(world, "Transfer-Encoding: chunked\r\n", &chunk);
    assert!(answer.is_empty() || status(&answer) == 413, "{answer}");
}

/// A client that sends a head and then waits; the server ends it.
fn left_alone(world: &World, start: &str, expected: &[u16]) {
    let mut stream = TcpStream::connect(&world.open.address).expect("it listens");
    stream.write_all(start.replace("HOST", &world.open.address).as_bytes()).expect("sent");
    let answer = rest_of(stream);
    let last = answer.rsplit("HTTP/1.1 100 Continue\r\n\r\n").next().unwrap_or_default();
    assert!(expected.contains(&status(last)), "{answer}");
}

fn pipelined(world: &World) {
    let one = format!("GET /health HTTP/1.1\r\nHost: {}\r\n\r\n", world.open.address);
    let last = one.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let stream = TcpStream::connect(&world.open.address).expect("it listens");
    let mut writing = stream.try_clone().expect("a socket");
    let writer = std::thread::spawn(move || writing.write_all((one.repeat(999) + &last).as_bytes()));
    let answers = rest_of(stream);
    assert!(writer.join().expect("no panic").is_ok());
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 1000);
}

fn idle(world: &World) {
    let open: Vec<TcpStream> =
        (0..IDLE).map(|_| TcpStream::connect(&world.open.address).expect("it listens")).collect();
    world.assert_alive();
    drop(open);
    world.assert_alive();
}

fn begin(world: &World, extra: serde_json::Value) -> TcpStream {
    let body = ask(super::server::joined(&json!({ "max_tokens": 400, "ignore_eos": true, "stream": true }), &extra));
    let request = world.open.request(
        "POST",
        "/v1/completions",
        &[("Content-Type", "application/json")],
        body.to_string().as_bytes(),
    );
    world.open.send(&request)
}

/// Closed with bytes unread, a connection is reset instead of ended.
fn reset(world: &World) {
    for _ in 0..20 {
        let mut stream = begin(world, json!({}));
        let mut first = [0; 16];
        stream.read_exact(&mut first).expect("it begins");
        let _ = stream.peek(&mut first);
    }
}

/// Clients that go away before anything is answered, on more requests than are computed together: each gives its place back.
fn gone_while_waiting(world: &World) {
    for _ in 0..4 {
        let open: Vec<TcpStream> =
            (0..8).map(|_| begin(world, json!({ "stream": false, "max_tokens": 450 }))).collect();
        drop(open);
    }
}

fn half_closed(world: &World) {
    for _ in 0..10 {
        let stream = begin(world, json!({ "max_tokens": 4 }));
        stream.shutdown(Shutdown::Write).expect("open");
        // Answered, or taken for a client that is gone.
        let answer = rest_of(stream);
        assert!(answer.is_empty() || status(&answer) == 200, "{answer}");
    }
}

fn never_read(world: &World) {
    // More of them than are computed at the same time.
    let open: Vec<TcpStream> = (0..8).map(|_| begin(world, json!({ "logprobs": 5 }))).collect();
    world.assert_alive();
    drop(open);
}

fn methods(world: &World) {
    for method in ["TRACE", "PUT", "PATCH", "BREW", "PROPFIND", "get"] {
        let answer = world.open.ask(method, "/v1/completions", &[], b"");
        assert_eq!(answer.status, 405, "{method}: {}", answer.body);
    }
    let host = &world.open.address;
    turned_away(&world.raw(format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes()));
    let long = "A".repeat(10_000);
    turned_away(&world.raw(format!("{long} / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes()));
}

fn paths(world: &World) {
    for path in [
        "//v1/models",
        "/v1//models",
        "/v1/../v1/models",
        "/v1/models/..%2f..%2fapi%2ftags",
        "/v1%2fmodels",
        "/v1/models;x",
        "/v1/models.",
        "/v1/models/.",
        "/v1/./models",
        "/V1/models",
        "/%76%31/models",
        "/v1/models%00",
        "/v1/models%2e",
        "http://evil.example/v1/models",
        "/health/../v1/models",
        "/health%2f..%2fv1%2fmodels",
        "/health;/../v1/models",
        "//health",
        "/health/",
        "/health%00",
    ] {
        let answer = raw(
            &world.keyed,
            format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", world.keyed.address).as_bytes(),
        );
        // Without the key nothing but the four names of health is there.
        assert!(matches!(status(&answer), 400 | 401 | 403 | 404), "{path}: {answer}");
        let known = [("X-Api-Key", KEY)];
        let answer = world.keyed.ask("GET", path, &known, b"");
        assert!(matches!(answer.status, 200 | 400 | 403 | 404), "{path}: {}", answer.body);
    }
}

fn gzip(world: &World, name: &str) {
    let body = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0x63, 0, 0, 0, 0, 0];
    let headers = [("Content-Type", "application/json"), ("Content-Encoding", name)];
    let answer = world.open.ask("POST", "/v1/completions", &headers, &body);
    assert!(matches!(answer.status, 413 | 415), "{}: {}", answer.status, answer.body);
}

const HEAD: &str = "POST /v1/completions HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json\r\n";

#[rustfmt::skip]
pub const ATTACKS: &[Case] = &[
    (44, "101 headers", Try::On(|w| assert_eq!(status(&get(w, &(0..101).map(|i| format!("X-{i}: 1\r\n")).collect::<String>())), 431))),
    (44, "60 headers are fine", Try::On(|w| assert_eq!(status(&get(w, &((0..60).map(|i| format!("X-{i}: 1\r\n")).collect::<String>() + "Connection: close\r\n"))), 200))),
    (45, "a header of a megabyte", Try::On(|w| { let answer = get(w, &format!("X-Long: {}\r\n", "a".repeat(1 << 20))); assert!(answer.is_empty() || status(&answer) == 431, "{answer}") })),
    (45, "a header of 17 KiB", Try::On(|w| { let answer = get(w, &format!("X-Long: {}\r\n", "a".repeat(17 << 10))); assert!(answer.is_empty() || status(&answer) == 431, "{answer}") })),
    (46, "a path of 9 KB", Try::On(|w| assert_eq!(w.open.get(&format!("/{}", "a".repeat(9 << 10))).status, 414))),
    (46, "a query of 9 KB", Try::On(|w| assert_eq!(w.open.get(&format!("/health?{}", "a".repeat(9 << 10))).status, 414))),
    (46, "a path of 100 KB", Try::On(|w| { let answer = w.raw(format!("GET /{} HTTP/1.1\r\nHost: {}\r\n\r\n", "a".repeat(100_000), w.open.address).as_bytes()); assert!(answer.is_empty() || matches!(status(&answer), 414 | 431), "{answer}") })),
    (47, "half a head", Try::Beside(|w| left_alone(w, "GET /health HTTP/1.1\r\nHost: HO", &[0, 408]))),
    (47, "half a line", Try::Beside(|w| left_alone(w, "GET /hea", &[0, 408]))),
    (47, "nothing", Try::Beside(|w| left_alone(w, "", &[0, 408]))),
    (48, "a body that stops", Try::Beside(|w| left_alone(w, &format!("{HEAD}Content-Length: 100\r\n\r\n{{\"model\""), &[408]))),
    (48, "a body that never begins", Try::Beside(|w| left_alone(w, &format!("{HEAD}Content-Length: 100\r\n\r\n"), &[408]))),
    (49, "10^15 bytes are announced", Try::On(|w| assert_eq!(status(&post(w, "Content-Length: 1000000000000000\r\n", "")), 413))),
    (49, "2^64 bytes are announced", Try::On(|w| turned_away(&post(w, "Content-Length: 18446744073709551616\r\n", "")))),
    (50, "a body without an end", Try::On(endless)),
    (50, "a chunk longer than is taken", Try::On(too_long)),
    (50, "a chunk that says 2^64", Try::On(|w| turned_away(&post(w, "Transfer-Encoding: chunked\r\n", "10000000000000000\r\n")))),
    (50, "a chunk whose length is no number", Try::On(|w| turned_away(&post(w, "Transfer-Encoding: chunked\r\n", "-5\r\nhello\r\n0\r\n\r\n")))),
    (51, "a length and chunks", Try::On(|w| refused_and_closed(&post(w, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n")))),
    (51, "chunks and a length", Try::On(|w| refused_and_closed(&post(w, "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n")))),
    (51, "two lengths that differ", Try::On(|w| refused_and_closed(&post(w, "Content-Length: 2\r\nContent-Length: 3\r\n", "{}x")))),
    (51, "two lengths in one header", Try::On(|w| refused_and_closed(&post(w, "Content-Length: 2, 3\r\n", "{}x")))),
    (51, "a length of -1", Try::On(|w| refused_and_closed(&post(w, "Content-Length: -1\r\n", "{}")))),
    (51, "a length of +2", Try::On(|w| refused_and_closed(&post(w, "Content-Length: +2\r\n", "{}")))),
    (51, "a transfer encoding that is none", Try::On(|w| refused_and_closed(&post(w, "Transfer-Encoding: xchunked\r\n", "0\r\n\r\n")))),
    (51, "chunks that are not the last encoding", Try::On(|w| refused_and_closed(&post(w, "Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n")))),
    (52, "a zero byte in a header", Try::On(|w| turned_away(&get(w, "X-A: a\0b\r\n")))),
    (52, "a header that goes on in the next line", Try::On(|w| turned_away(&get(w, "X-A: a\r\n b\r\n")))),
    (52, "a space before the colon", Try::On(|w| turned_away(&get(w, "Content-Length : 5\r\n")))),
    (52, "a header without a name", Try::On(|w| turned_away(&get(w, ": 5\r\n")))),
    (52, "a carriage return alone", Try::On(|w| turned_away(&get(w, "X-A: a\rX-B: b\r\n")))),
    (52, "a line feed alone", Try::Nothing("RFC 9112, section 2.2, lets a server take it for the end of a line, and hyper does; no other server reads the same bytes")),
    (53, "a packed body", Try::On(|w| gzip(w, "gzip"))),
    (53, "a packed body in another way", Try::On(|w| gzip(w, "zstd, br"))),
    (54, "1,000 requests at once", Try::On(pipelined)),
    (55, "HTTP/0.9", Try::On(|w| turned_away(&w.raw(b"GET /health\r\n\r\n")))),
    (55, "the preface of HTTP/2", Try::On(|w| turned_away(&w.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")))),
    (55, "the hello of TLS", Try::On(|w| turned_away(&w.raw(b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n")))),
    (55, "bytes by chance", Try::On(|w| turned_away(&w.raw(&(0..4096_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).chain(*b"\r\n\r\n").collect::<Vec<_>>())))),
    (55, "HTTP/1.7", Try::On(|w| turned_away(&w.raw(b"GET /health HTTP/1.7\r\nHost: localhost\r\n\r\n")))),
    (56, "900 connections that say nothing", Try::On(idle)),
    (57, "clients that reset in the middle", Try::On(reset)),
    (57, "clients that close their half", Try::On(half_closed)),
    (57, "clients that go away before they are answered", Try::On(gone_while_waiting)),
    (57, "clients that never read", Try::On(never_read)),
    (58, "a body that is to be asked for and never comes", Try::Beside(|w| left_alone(w, &format!("{HEAD}Expect: 100-continue\r\nContent-Length: 100\r\n\r\n"), &[408, 417]))),
    (59, "methods that are not there", Try::On(methods)),
    (60, "tricks with paths", Try::On(paths)),
];
