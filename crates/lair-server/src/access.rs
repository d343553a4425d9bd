//! Who may ask: host names, origins, keys and content types, checked before any route sees a request.
//!
//! A server on the loopback address is reachable from every page that the user's browser shows. A page of another site
//! is kept out by its `Origin`, a name that was re-bound to this machine by its `Host`.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, Method, header};
use lair_engine::PrefixScope;
use sha2::{Digest, Sha256};

use crate::error::{ApiError, ErrorKind};

/// A key a client may show. Only its digest is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey([u8; 32]);

impl ApiKey {
    /// Takes a key; an empty one is none.
    pub fn new(text: &str) -> Option<ApiKey> {
        let text = text.trim();
        (!text.is_empty()).then(|| ApiKey(Sha256::digest(text).into()))
    }

    /// In a time that does not tell where two keys differ.
    fn is(&self, other: &ApiKey) -> bool {
        self.0.iter().zip(other.0).fold(0, |difference, (left, right)| difference | (left ^ right)) == 0
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ApiKey(..)")
    }
}

/// The rules of a server.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Keys of which one must be shown; none are asked for if this is empty.
    pub keys: Vec<ApiKey>,
    /// Host names that are allowed besides those of the loopback address.
    pub hosts: Vec<String>,
    /// Origins of pages that may use the server: `https://example.org`, or `*`.
    pub origins: Vec<String>,
}

impl Access {
    /// Checks a request. `address` is where the server listens.
    pub(crate) fn check(&self, method: &Method, headers: &HeaderMap, address: SocketAddr) -> Result<(), ApiError> {
        if address.ip().is_loopback() {
            self.check_host(headers)?;
        }
        self.check_origin(method, headers)?;
        self.check_key(headers)
    }

    fn check_host(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let bad = |what: &str| Err(ApiError::new(ErrorKind::BadRequest, format!("the Host header is {what}")));
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return bad("missing or there twice") };
        let Ok(host) = host.to_str() else { return bad("not text") };
        let Some(name) = host_name(host) else { return bad("not a host name with a port") };
        let is_loopback = name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let is_known = name.eq_ignore_ascii_case("localhost")
            || is_loopback
            || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name) || known == "*");
        if is_known {
            return Ok(());
        }
        Err(ApiError::new(ErrorKind::Forbidden, format!("requests for the host `{name}` are not taken"))
            .with_hint(format!("start the server with --allowed-host {name} if this name is meant")))
    }

    /// Who asks, by the key that was shown. Where no keys are asked for all are one.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> PrefixScope {
        let shown = shown_key(headers).filter(|_| !self.keys.is_empty());
        shown.map(|key| PrefixScope(key.0)).unwrap_or_default()
    }

    /// Whether pages of this origin may read answers.
    pub(crate) fn allows_origin(&self, origin: &str) -> bool {
        self.origins.iter().any(|known| known == "*" || known.eq_ignore_ascii_case(origin))
    }

    fn check_origin(&self, method: &Method, headers: &HeaderMap) -> Result<(), ApiError> {
        let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
        let origin = origin.to_str().unwrap_or("null");
        // A page that the server itself has sent: scheme, then the very host that was asked.
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let is_own = origin.split_once("://").is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(host));
        if is_own || self.allows_origin(origin) || method == Method::OPTIONS {
            return Ok(());
        }
        Err(ApiError::new(ErrorKind::Forbidden, format!("pages of `{origin}` may not use this server"))
            .with_hint(format!("start the server with --allowed-origin {origin} if they may")))
    }

    fn check_key(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        if self.keys.is_empty() {
            return Ok(());
        }
        let Some(shown) = shown_key(headers) else {
            return Err(ApiError::new(ErrorKind::Unauthorized, "this server asks for a key")
                .with_hint("send it as `Authorization: Bearer KEY`".to_owned()));
        };
        if self.keys.iter().fold(false, |known, key| known | key.is(&shown)) {
            return Ok(());
        }
        Err(ApiError::new(ErrorKind::Unauthorized, "the key is not one of this server's"))
    }
}

fn shown_key(headers: &HeaderMap) -> Option<ApiKey> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("bearer ")));
    bearer.or_else(|| headers.get("x-api-key").and_then(|value| value.to_str().ok())).and_then(ApiKey::new)
}

/// The name in `name`, `name:port`, `[address]` or `[address]:port`.
fn host_name(host: &str) -> Option<&str> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (name, rest) = rest.split_once(']')?;
            (name, rest.strip_prefix(':').or(rest.is_empty().then_some("1"))?)
        }
        None => host.split_once(':').unwrap_or((host, "1")),
    };
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte));
    (is_name && port.parse::<u16>().is_ok()).then_some(name)
}

/// JSON is expected. A body without that type is taken as well, as from `curl -d`, but never from a browser: a page
/// can send such a body to any server without being asked first.
pub(crate) fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || essence.ends_with("+json") {
        return Ok(());
    }
    let is_of_browser = headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site");
    let is_default = essence.is_empty() || essence == "application/x-www-form-urlencoded";
    if is_default && !is_of_browser {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorKind::NotJson,
        format!("the body's content type is `{essence}`, application/json is expected"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(access: &Access, pairs: &[(&'static str, &'static str)]) -> Result<(), u16> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a header"));
        }
        let address = "127.0.0.1:11434".parse().expect("an address");
        access.check(&Method::POST, &headers, address).map_err(|error| error.status())
    }

    #[test]
    fn only_names_of_this_machine_are_taken() {
        let access = Access::default();
        for host in ["localhost", "localhost:11434", "127.0.0.1:1", "127.9.9.9", "[::1]:11434", "LOCALHOST"] {
            assert_eq!(check(&access, &[("host", host)]), Ok(()), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "10.0.0.1", "0.0.0.0"] {
            assert_eq!(check(&access, &[("host", host)]), Err(403), "{host}");
        }
        for host in ["", ":80", "a b", "localhost:x", "[::1", "http://localhost"] {
            assert_eq!(check(&access, &[("host", host)]), Err(400), "{host}");
        }
        assert_eq!(check(&access, &[]), Err(400));
        assert_eq!(check(&access, &[("host", "localhost"), ("host", "localhost")]), Err(400));
        let access = Access { hosts: vec!["box.lan".to_owned()], ..access };
        assert_eq!(check(&access, &[("host", "box.lan:11434")]), Ok(()));
    }

    #[test]
    fn pages_of_others_are_kept_out() {
        let access = Access::default();
        let host = ("host", "localhost:11434");
        assert_eq!(check(&access, &[host, ("origin", "http://localhost:11434")]), Ok(()));
        for origin in ["http://evil.example", "null", "http://localhost:3000", "file://"] {
            assert_eq!(check(&access, &[host, ("origin", origin)]), Err(403), "{origin}");
        }
        let access = Access { origins: vec!["http://localhost:3000".to_owned()], ..access };
        assert_eq!(check(&access, &[host, ("origin", "http://localhost:3000")]), Ok(()));
    }

    #[test]
    fn keys_are_asked_for_in_both_headers() {
        let access = Access { keys: vec![ApiKey::new("secret").expect("a key")], ..Access::default() };
        let host = ("host", "localhost");
        assert_eq!(check(&access, &[host]), Err(401));
        assert_eq!(check(&access, &[host, ("authorization", "Bearer wrong")]), Err(401));
        assert_eq!(check(&access, &[host, ("authorization", "Bearer secret")]), Ok(()));
        assert_eq!(check(&access, &[host, ("x-api-key", "secret")]), Ok(()));
        assert!(!format!("{access:?}").contains("secret"));
    }

    #[test]
    fn a_form_from_a_page_is_no_json() {
        let check = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, value.parse().expect("a header"));
            }
            check_content_type(&headers).map_err(|error| error.status())
        };
        assert_eq!(check(&[("content-type", "application/json; charset=utf-8")]), Ok(()));
        assert_eq!(check(&[("content-type", "application/x-www-form-urlencoded")]), Ok(()));
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&[("content-type", "application/x-www-form-urlencoded"), ("origin", "http://x")]), Err(415));
        assert_eq!(check(&[("content-type", "text/plain")]), Err(415));
    }
}
