//! Who may ask: host names, origins and content types, checked before any route sees a request. What keys may do is in
//! [`crate::admission`].
//!
//! A server on the loopback address is reachable from every page that the user's browser shows. A page of another site
//! is kept out by its `Origin`, a name that was re-bound to this machine by its `Host`.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, Method, header};

use crate::error::{ApiError, ErrorKind};
use crate::keys::{ApiKey, KeyFile};

/// The rules of a server.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Keys that may do everything. Where there is a key, here or in the file, one must be shown.
    pub keys: Vec<ApiKey>,
    /// Where keys are that were made with `lair key`.
    pub key_file: Option<KeyFile>,
    /// Whether a key is asked for even where there is none yet: the server can be reached from other machines.
    pub demands_key: bool,
    /// Host names that are allowed besides those of the loopback address.
    pub hosts: Vec<String>,
    /// Origins of pages that may use the server: `https://example.org`, or `*`.
    pub origins: Vec<String>,
}

impl Access {
    /// Checks where a request comes from. `address` is where the server listens.
    pub(crate) fn check(&self, method: &Method, headers: &HeaderMap, address: SocketAddr) -> Result<(), ApiError> {
        if address.ip().is_loopback() {
            self.check_host(headers)?;
        }
        self.check_origin(method, headers)
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

    /// Whether pages of this origin may read answers.
    pub(crate) fn allows_origin(&self, origin: &str) -> bool {
        self.origins.iter().any(|known| known == "*" || known.eq_ignore_ascii_case(origin))
    }

    fn check_origin(&self, method: &Method, headers: &HeaderMap) -> Result<(), ApiError> {
        let Some(origin) = headers.get(header::ORIGIN) else { return check_site(method, headers) };
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
}

/// A browser tells where a request comes from even where it tells no origin. What only reads may be asked from anywhere: the
/// page does not get to see it.
fn check_site(method: &Method, headers: &HeaderMap) -> Result<(), ApiError> {
    let is_foreign = headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site");
    if !is_foreign || matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    Err(ApiError::new(ErrorKind::Forbidden, "pages of other sites may not use this server"))
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
