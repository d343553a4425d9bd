//! A proxy that tunnels (`CONNECT`) to where the test says, whatever the name would resolve to.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What a client asked the proxy for.
#[derive(Clone, Debug)]
pub struct Tunnel {
    /// `host:port`.
    pub target: String,
    /// The head of the request, as it came.
    pub head: String,
}

/// The proxy. It lives as long as the process of the test.
pub struct Proxy {
    /// `127.0.0.1:port`.
    pub address: String,
    tunnels: Arc<Mutex<Vec<Tunnel>>>,
}

impl Proxy {
    /// Tunnels to these targets, and refuses others.
    pub fn start(targets: &[(&str, &str)]) -> Proxy {
        let targets: Vec<_> = targets.iter().map(|(from, to)| (from.to_string(), to.to_string())).collect();
        let targets: Arc<HashMap<String, String>> = Arc::new(targets.into_iter().collect());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let tunnels = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&tunnels);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (seen, targets) = (Arc::clone(&seen), Arc::clone(&targets));
                thread::spawn(move || tunnel(stream, &seen, &targets).ok());
            }
        });
        Proxy { address, tunnels }
    }

    pub fn tunnels(&self) -> Vec<Tunnel> {
        self.tunnels.lock().expect("not poisoned").clone()
    }
}

fn tunnel(stream: TcpStream, seen: &Mutex<Vec<Tunnel>>, targets: &HashMap<String, String>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default().to_string());
    let is_tunnel = method == "CONNECT";
    seen.lock().expect("not poisoned").push(Tunnel { target: target.clone(), head: head.clone() });
    let mut client = stream;
    let Some(address) = targets.get(&target).filter(|_| is_tunnel) else {
        return client.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    };
    let mut server = TcpStream::connect(address)?;
    client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    let (mut back_from, mut back_to) = (server.try_clone()?, client.try_clone()?);
    let back = thread::spawn(move || {
        let copied = std::io::copy(&mut back_from, &mut back_to);
        let _ = back_to.shutdown(Shutdown::Write);
        copied
    });
    // What the client sent right behind the head is in the reader.
    let _ = std::io::copy(&mut reader.by_ref(), &mut server);
    let _ = server.shutdown(Shutdown::Write);
    let _ = back.join();
    Ok(())
}
