//! The one HTTP client of the program: time-outs, proxies, redirections followed by hand so that a secret stays with
//! its host, and the rule about addresses.

use std::io::{self, Read};

use ureq::http::{HeaderMap, Method, Request, Response, Uri, header};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body, Proxy, SendBody};

use super::SourceError;
use super::address::{AddressRule, CheckedResolver, Refused, is_this_machine};
use super::roots;
use crate::settings::{ProxySetting, Settings};

/// The hub needs two: to the address of the file, and from there to a signed one.
const REDIRECTS_MAX: usize = 5;
/// What one read of a connection may bring: a fast line has more waiting than the client's own 128 KiB.
const INPUT_BUFFER_BYTES: usize = 256 * 1024;
/// The end of what a server may say about a failure.
const SAID_BYTES_MAX: u64 = 16 * 1024;
const SAID_LENGTH_MAX: usize = 200;
/// A page of an API, a token, a list of tags.
pub(crate) const PAGE_BYTES_MAX: u64 = 16 << 20;

/// Who chose the server that a client talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// A model reference or a manifest: it may be anyone's.
    Named,
    /// The user's own settings, `HF_ENDPOINT` for example: it may be at a private address and without TLS.
    Configured,
}

/// Scheme, host and port: what a secret is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) scheme: String,
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// An `Authorization` header and the only place it may be sent to.
#[derive(Clone)]
pub(crate) struct Credential {
    pub(crate) header: String,
    pub(crate) origin: Origin,
}

/// Asks one server, and those it redirects to.
pub(crate) struct Client {
    agent: Agent,
    allows_plain_http: bool,
}

/// What is sent along with a request.
pub(crate) enum Payload<'b> {
    None,
    Bytes(&'b [u8]),
    /// So many bytes of a reader.
    Reader(&'b mut dyn Read, u64),
}

/// A server's answer; its body is still to be read.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// Who gave it, after redirections.
    pub(crate) uri: Uri,
    body: Body,
}

impl Client {
    /// A client for `base` and what it redirects to.
    pub(crate) fn new(base: &str, trust: Trust, settings: &Settings) -> Result<Client, SourceError> {
        let host = parse(base)?.host().unwrap_or_default().to_string();
        let transfer = &settings.transfer;
        let mut config = Agent::config_builder()
            .timeout_resolve(Some(settings.connect_timeout))
            .timeout_connect(Some(settings.connect_timeout))
            .timeout_recv_response(Some(settings.stall_timeout))
            .timeout_per_read(Some(settings.stall_timeout))
            .timeout_per_write(Some(settings.stall_timeout))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .max_response_header_size(64 * 1024)
            .input_buffer_size(INPUT_BUFFER_BYTES)
            .tls_config(roots::tls_config(transfer).map_err(|problem| no_connection(host.clone(), problem))?)
            .user_agent(concat!("lair/", env!("CARGO_PKG_VERSION")));
        config = config.proxy(match settings.proxy {
            ProxySetting::Direct => None,
            ProxySetting::Environment => proxy_of_environment(),
        });
        let config = config.build();
        let proxy = config.proxy().and_then(|proxy| proxy.uri().authority()).map(|authority| authority.to_string());
        let rule = AddressRule {
            is_loopback_allowed: is_this_machine(&host),
            is_private_allowed: transfer.is_private_address_allowed || trust == Trust::Configured,
            proxy,
        };
        let resolver = CheckedResolver { rule, ..CheckedResolver::default() };
        Ok(Client {
            agent: Agent::with_parts(config, DefaultConnector::new(), resolver),
            allows_plain_http: transfer.is_plain_http_allowed || trust == Trust::Configured,
        })
    }

    /// GET with these headers; redirections are followed.
    pub(crate) fn get(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        credential: Option<&Credential>,
    ) -> Result<Answer, SourceError> {
        self.follow(Method::GET, url, headers, credential)
    }

    /// GET or HEAD with these headers; redirections are followed.
    pub(crate) fn follow(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        credential: Option<&Credential>,
    ) -> Result<Answer, SourceError> {
        let mut uri = parse(url)?;
        for _ in 0..=REDIRECTS_MAX {
            let answer = self.ask(method.clone(), &uri, headers, credential, Payload::None)?;
            if !(300..400).contains(&answer.status) || answer.status == 304 {
                return Ok(answer);
            }
            uri = redirected(&uri, &answer.headers)?;
        }
        Err(SourceError::Redirect { host: host_of(&uri), problem: "too many times" })
    }

    /// One request. A redirection is an answer like any other.
    pub(crate) fn ask(
        &self,
        method: Method,
        uri: &Uri,
        headers: &[(&str, &str)],
        credential: Option<&Credential>,
        payload: Payload<'_>,
    ) -> Result<Answer, SourceError> {
        let host = uri.host().unwrap_or_default();
        if uri.scheme_str() == Some("http") && !self.allows_plain_http && !is_this_machine(host) {
            return Err(SourceError::PlainHttp { host: host_of(uri) });
        }
        let mut request = Request::builder().method(method).uri(uri.clone());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(credential) = credential
            && origin_of(uri).as_ref() == Some(&credential.origin)
        {
            request = request.header(header::AUTHORIZATION, &credential.header);
        }
        let bad = |error: ureq::http::Error| SourceError::bad_answer(host_of(uri), error);
        let answered = match payload {
            Payload::None => self.agent.run(request.body(()).map_err(bad)?),
            Payload::Bytes(bytes) => self.agent.run(request.body(bytes).map_err(bad)?),
            Payload::Reader(reader, length) => {
                let request = request.header(header::CONTENT_LENGTH, length);
                self.agent.run(request.body(SendBody::from_reader(reader)).map_err(bad)?)
            }
        };
        let response = answered.map_err(|error| unreached(uri, error))?;
        Ok(Answer::new(response, uri.clone()))
    }
}

/// The proxy that the environment names, and the hosts that are asked without it. As other programs read that list, and
/// unlike the HTTP client itself: there may be spaces between its entries, and `example.com` means the hosts below it too.
fn proxy_of_environment() -> Option<Proxy> {
    let found = Proxy::try_from_env()?;
    let list = std::env::var("NO_PROXY").or_else(|_| std::env::var("no_proxy")).unwrap_or_default();
    let mut proxy = Proxy::builder(found.protocol()).host(found.host()).port(found.port());
    proxy = proxy.resolve_target(found.resolve_target());
    if let Some(name) = found.username() {
        proxy = proxy.username(name);
    }
    if let Some(password) = found.password() {
        proxy = proxy.password(password);
    }
    for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        proxy = proxy.no_proxy(entry);
        if !entry.starts_with(['.', '*']) {
            proxy = proxy.no_proxy(&format!(".{entry}"));
        }
    }
    proxy.build().ok().or(Some(found))
}

impl Answer {
    fn new(response: Response<Body>, uri: Uri) -> Answer {
        let (parts, body) = response.into_parts();
        Answer { status: parts.status.as_u16(), headers: parts.headers, uri, body }
    }

    /// Whether the status is one of success.
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The one who answered.
    pub(crate) fn host(&self) -> String {
        host_of(&self.uri)
    }

    /// A header, if it is there and text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Length of the body, if it is announced.
    pub(crate) fn length(&self) -> Option<u64> {
        self.header("content-length")?.trim().parse().ok()
    }

    /// Nothing is unpacked here: what is packed is refused, so it cannot grow.
    pub(crate) fn refuse_packed(&self) -> Result<(), SourceError> {
        match self.header("content-encoding") {
            None | Some("identity" | "") => Ok(()),
            Some(encoding) => {
                let problem = format!("the body is packed as `{}`, which was not asked for", printable(encoding));
                Err(SourceError::bad_answer(self.host(), problem))
            }
        }
    }

    /// The whole body, which must not be longer than `bytes_max`.
    pub(crate) fn bytes(self, bytes_max: u64) -> Result<Vec<u8>, SourceError> {
        self.refuse_packed()?;
        let host = self.host();
        let too_long = || SourceError::bad_answer(host.clone(), format!("it is longer than {bytes_max} bytes"));
        if self.length().is_some_and(|length| length > bytes_max) {
            return Err(too_long());
        }
        let mut bytes = Vec::new();
        let mut reader = self.into_reader().take(bytes_max + 1);
        reader.read_to_end(&mut bytes).map_err(|error| no_connection(host.clone(), error))?;
        if bytes.len() as u64 > bytes_max { Err(too_long()) } else { Ok(bytes) }
    }

    /// The body as JSON of this form.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(self) -> Result<T, SourceError> {
        let host = self.host();
        let bytes = self.bytes(PAGE_BYTES_MAX)?;
        serde_json::from_slice(&bytes).map_err(|error| SourceError::bad_answer(host, error))
    }

    /// The body as it comes.
    pub(crate) fn into_reader(self) -> impl Read + Send + 'static {
        self.body.into_with_config().limit(u64::MAX).reader()
    }

    /// This answer as a failure.
    pub(crate) fn into_error(self) -> SourceError {
        let (host, path, status) = (self.host(), self.uri.path().to_string(), self.status);
        let retry_after_s = self.header("retry-after").and_then(|value| value.trim().parse().ok());
        let said = self.header("x-error-message").map(str::to_string).or_else(|| said_in(self));
        let said = said.map(|said| printable(&said)).filter(|said| !said.is_empty());
        SourceError::Status { host, path, status, said, retry_after_s }
    }
}

/// What a registry or a hub says in the JSON of a failure.
fn said_in(answer: Answer) -> Option<String> {
    let body = answer.bytes(SAID_BYTES_MAX).ok()?;
    let json: serde_json::Value = serde_json::from_slice(&body).ok()?;
    let text = json.pointer("/errors/0/message").or_else(|| json.get("error"))?;
    text.as_str().map(str::to_string)
}

/// Foreign words for a message: one line, no control characters, not long.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|symbol| !symbol.is_control()).take(SAID_LENGTH_MAX).collect::<String>().trim().to_string()
}

pub(crate) fn parse(url: &str) -> Result<Uri, SourceError> {
    let unreadable = || no_connection(printable(url), "the address cannot be read");
    let uri: Uri = url.parse().map_err(|_| unreadable())?;
    match uri.scheme_str() {
        // A user and a password before the host would end up in messages and confuse who is asked.
        Some("http" | "https") if uri.authority().is_some_and(|authority| !authority.as_str().contains('@')) => Ok(uri),
        _ => Err(unreadable()),
    }
}

fn no_connection(host: String, reason: impl ToString) -> SourceError {
    SourceError::NoConnection { host, reason: reason.to_string() }
}

fn unreached(uri: &Uri, error: ureq::Error) -> SourceError {
    if let ureq::Error::Io(inner) = &error
        && let Some(refused) = inner.get_ref().and_then(|inner| inner.downcast_ref::<Refused>())
    {
        let (address, kind) = (refused.address.to_string(), refused.kind);
        return SourceError::RefusedAddress { host: host_of(uri), address, kind };
    }
    no_connection(host_of(uri), error)
}

pub(crate) fn is_timeout(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>());
    matches!(inner, Some(ureq::Error::Timeout(_))) || error.kind() == io::ErrorKind::TimedOut
}

/// Where an answer with `Location` leads. Never from a protected connection to a plain one.
pub(crate) fn redirected(from: &Uri, headers: &HeaderMap) -> Result<Uri, SourceError> {
    let refuse = |problem| SourceError::Redirect { host: host_of(from), problem };
    let location = headers
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| refuse("without saying where to"))?;
    let scheme = location.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    let is_scheme = |scheme: &String| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if scheme.filter(is_scheme).is_some_and(|scheme| !scheme.is_empty() && scheme != "http" && scheme != "https") {
        return Err(refuse("to something that is not HTTP"));
    }
    let to = resolve_location(from, location).ok_or_else(|| refuse("to an address that cannot be read"))?;
    let has_user = to.authority().is_some_and(|authority| authority.as_str().contains('@'));
    match (from.scheme_str(), to.scheme_str()) {
        (Some("https"), Some("http")) => Err(refuse("from a protected connection to a plain one")),
        (_, Some("https" | "http")) if !has_user => Ok(to),
        (_, Some("https" | "http")) => Err(refuse("to an address with a user name in it")),
        _ => Err(refuse("to something that is not HTTP")),
    }
}

/// RFC 3986, section 5, as far as redirections use it: absolute, `//host`, `/path`, or beside the last segment.
fn resolve_location(from: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next().unwrap_or_default();
    let scheme = from.scheme_str()?;
    let authority = from.authority()?;
    let path_start = location.find(['/', '?']).unwrap_or(location.len());
    let text = if location[..path_start].contains(':') {
        location.to_string()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    text.parse().ok()
}

pub(crate) fn origin_of(uri: &Uri) -> Option<Origin> {
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    Some(Origin { scheme, host: uri.host()?.to_ascii_lowercase(), port })
}

impl Origin {
    /// The host, and its port where it is unusual.
    pub(crate) fn to_text(&self) -> String {
        match (self.scheme.as_str(), self.port) {
            ("https", 443) | ("http", 80) => self.host.clone(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }
}

/// The one who answered, without user, password, path and query.
pub(crate) fn host_of(uri: &Uri) -> String {
    origin_of(uri).map_or_else(|| "an unknown host".to_string(), |origin| origin.to_text())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().expect("a test address")
    }

    #[test]
    fn resolves_locations() {
        let from = "https://hub.example:8443/owner/name/resolve/main/file.gguf?x=1";
        for (location, expected) in [
            ("https://cdn.example/f?sig=a/b:c#frag", "https://cdn.example/f?sig=a/b:c"),
            ("//cdn.example/f", "https://cdn.example/f"),
            ("/other/file", "https://hub.example:8443/other/file"),
            ("file2?x=http://y", "https://hub.example:8443/owner/name/resolve/main/file2?x=http://y"),
        ] {
            assert_eq!(resolve_location(&uri(from), location), Some(uri(expected)), "{location}");
        }
    }

    #[test]
    fn refuses_to_leave_a_protected_connection() {
        let location = |text: &str| HeaderMap::from_iter([(header::LOCATION, text.parse().expect("a header"))]);
        let secure = uri("https://a.example/x");
        for refused in ["http://a.example/x", "ftp://a.example/x", "file:///etc/passwd", "https://me@a.example/"] {
            assert!(redirected(&secure, &location(refused)).is_err(), "{refused}");
        }
        assert!(redirected(&secure, &location("https://b.example/x")).is_ok());
        assert!(redirected(&uri("http://a.example/x"), &location("https://b.example/x")).is_ok());
        assert!(redirected(&secure, &HeaderMap::new()).is_err());
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let base = origin_of(&uri("https://hub.example/a"));
        assert!(base.is_some());
        assert!(base == origin_of(&uri("https://HUB.example:443/b")));
        for other in ["http://hub.example/a", "https://hub.example:8443/a", "https://hub.example.evil/a"] {
            assert!(base != origin_of(&uri(other)), "{other}");
        }
    }

    #[test]
    fn addresses_are_http_without_a_user() {
        for (url, is_good) in [
            ("https://a.example/x", true),
            ("http://127.0.0.1:5000", true),
            ("file:///etc/passwd", false),
            ("https://user@a.example/x", false),
            ("https://user:password@a.example/x", false),
            ("/just/a/path", false),
            ("https://a.example/x\r\nX-Evil: 1", false),
        ] {
            assert_eq!(parse(url).is_ok(), is_good, "{url}");
        }
    }

    #[test]
    fn foreign_words_are_shown_as_one_short_line() {
        assert_eq!(printable(" a\nb\x1b[31m "), "ab[31m");
        assert_eq!(printable(&"é".repeat(1000)).chars().count(), SAID_LENGTH_MAX);
    }
}
