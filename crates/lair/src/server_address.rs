//! Where a server is: what users write, for the one who listens and for those who ask.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// The port that Ollama's clients look for.
pub const PORT: u16 = 11434;

/// A variable of the environment that is not empty.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// What the user wrote, as an address to listen on: a missing part is this machine, or `usual_port`.
pub fn to_listen_on(text: &str, usual_port: u16) -> Option<SocketAddr> {
    let text = text.trim();
    let text = text.split_once("://").map_or(text, |(_, rest)| rest).trim_end_matches('/');
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, usual_port));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (text, usual_port),
    };
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    (host, port).to_socket_addrs().ok()?.next()
}

/// The same as an address to ask: scheme, host and port. A written scheme brings its own port, as in Ollama; who listens on
/// all addresses is asked on this machine. No name is looked up.
pub fn to_ask(text: &str) -> Option<String> {
    let text = text.trim().trim_end_matches('/');
    let (scheme, rest, port) = match text.split_once("://") {
        Some(("https", rest)) => ("https", rest, 443),
        Some(("http", rest)) => ("http", rest, 80),
        Some(_) => return None,
        None => ("http", text, PORT),
    };
    let bare = rest.trim_matches(['[', ']']);
    let (host, port) = match (bare.parse::<IpAddr>(), rest.rsplit_once(':')) {
        (Ok(ip), _) => (shown(ip), port),
        (_, Some((host, port))) => (host.to_owned(), port.parse().ok()?),
        (_, None) => (rest.to_owned(), port),
    };
    let host = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => "127.0.0.1".to_owned(),
        Ok(ip) => shown(ip),
        Err(_) if host.is_empty() => "127.0.0.1".to_owned(),
        Err(_) => host,
    };
    let is_plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.[]:".contains(&byte));
    is_plain.then(|| format!("{scheme}://{host}:{port}"))
}

/// An address as it stands in a link.
fn shown(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_ollama_reads_them() {
        for (text, listen, ask) in [
            ("127.0.0.1:8080", Some("127.0.0.1:8080"), Some("http://127.0.0.1:8080")),
            ("0.0.0.0", Some("0.0.0.0:11434"), Some("http://127.0.0.1:11434")),
            ("0.0.0.0:80", Some("0.0.0.0:80"), Some("http://127.0.0.1:80")),
            (":9000", Some("127.0.0.1:9000"), Some("http://127.0.0.1:9000")),
            ("http://127.0.0.1:11434/", Some("127.0.0.1:11434"), Some("http://127.0.0.1:11434")),
            ("https://127.0.0.1", Some("127.0.0.1:11434"), Some("https://127.0.0.1:443")),
            ("[::1]:80", Some("[::1]:80"), Some("http://[::1]:80")),
            ("::1", Some("[::1]:11434"), Some("http://[::1]:11434")),
            ("[::]", Some("[::]:11434"), Some("http://127.0.0.1:11434")),
            ("127.0.0.1:port", None, None),
            ("127.0.0.1:99999", None, None),
            ("ftp://127.0.0.1:1", Some("127.0.0.1:1"), None),
            ("user@127.0.0.1:1", None, None),
        ] {
            assert_eq!(to_listen_on(text, PORT), listen.map(|text| text.parse().expect("an address")), "{text}");
            assert_eq!(to_ask(text).as_deref(), ask, "{text}");
        }
        assert_eq!(to_ask("models.example").as_deref(), Some("http://models.example:11434"), "names stay names");
    }
}
