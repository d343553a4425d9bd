//! A server on a Unix socket: reached by its owner alone, without a port.
#![cfg(unix)]

mod server;

use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use server::{lair, until};

fn start(home: &Path, host: &str) -> Child {
    let mut command = lair(home);
    command.args(["serve", "--host", host]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("starts")
}

fn ask(path: &Path) -> Option<String> {
    let mut stream = UnixStream::connect(path).ok()?;
    stream.write_all(b"GET /api/version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn said(child: Child) -> String {
    let output = child.wait_with_output().expect("it ends");
    assert!(!output.status.success());
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn a_server_is_reached_over_its_socket_by_its_owner() {
    let home = tempfile::tempdir().expect("a folder");
    let path = home.path().join("lair.sock");
    let host = path.to_str().expect("UTF-8");
    // What a server that was killed leaves behind is replaced.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    let mut first = start(home.path(), host);
    let answer = until(|| ask(&path));
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("version"), "{answer}");
    let data = std::fs::metadata(&path).expect("there");
    assert!(data.file_type().is_socket());
    assert_eq!(data.permissions().mode() & 0o777, 0o600);

    // A second one does not take it away.
    let second = said(start(home.path(), &format!("unix:{host}")));
    assert!(second.contains("another server answers there") && second.contains("lair.sock"), "{second}");
    assert!(ask(&path).is_some());

    assert!(Command::new("kill").arg(first.id().to_string()).status().expect("there is `kill`").success());
    assert!(first.wait().expect("it ends").success());
    assert!(!path.exists(), "the socket is left behind");
    let names: Vec<_> = std::fs::read_dir(home.path()).expect("a folder").flatten().map(|e| e.file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("lair-socket")), "{names:?}");
}

#[test]
fn what_is_no_place_for_a_socket_is_refused_and_left() {
    let home = tempfile::tempdir().expect("a folder");
    let file = home.path().join("precious.sock");
    std::fs::write(&file, "text").expect("written");
    let refused = said(start(home.path(), file.to_str().expect("UTF-8")));
    assert!(refused.contains("no socket is there"), "{refused}");
    assert_eq!(std::fs::read(&file).expect("there"), b"text");
    let absent = said(start(home.path(), "unix:/no/such/folder/x"));
    assert!(absent.contains("/no/such/folder/x"), "{absent}");
    let mut command = lair(home.path());
    let output = command.args(["serve", "--host", "x.sock", "--port", "1"]).output().expect("starts");
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}
