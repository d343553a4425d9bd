//! A file behind a URL: the model hub. Continues with `Range`, reconnects after a cut, follows redirections itself
//! so that a token stays with its host.

use std::io::{self, Read};
use std::time::Duration;

use ureq::http::{HeaderMap, Response, Uri, header};
use ureq::{Agent, Body};

use super::Source;
use crate::error::SourceError;
use crate::partial::{CHUNK_BYTES, Partial};
use crate::settings::{HubToken, ProxySetting, Settings};

/// The hub needs two: to the address of the file, and from there to a signed one.
const REDIRECTS_MAX: usize = 5;
/// Connections for one file. A try that brings no byte ends them sooner.
const CONNECTIONS_MAX: usize = 20;

/// One file behind HTTP.
pub(crate) struct HttpsSource {
    label: String,
    url: String,
    /// The token, and where it may be sent.
    token: Option<(HubToken, Option<Origin>)>,
    agent: Agent,
    stall_timeout: Duration,
}

/// Scheme, host and port: what a secret is bound to.
#[derive(Clone, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl HttpsSource {
    /// A file of a hub repository: `<endpoint>/<repository>/resolve/<revision>/<file>`.
    pub(crate) fn hub(repository: &str, revision: &str, file: &str, settings: &Settings) -> HttpsSource {
        let endpoint = &settings.hub_endpoint;
        let url = format!("{endpoint}/{repository}/resolve/{revision}/{file}");
        let origin = url.parse().ok().as_ref().and_then(origin_of);
        let host = origin.as_ref().map_or_else(|| endpoint.clone(), Origin::to_text);
        let mut config = Agent::config_builder()
            .timeout_resolve(Some(settings.connect_timeout))
            .timeout_connect(Some(settings.connect_timeout))
            .timeout_recv_response(Some(settings.stall_timeout))
            .timeout_per_read(Some(settings.stall_timeout))
            .timeout_per_write(Some(settings.stall_timeout))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(concat!("lair/", env!("CARGO_PKG_VERSION")));
        if settings.proxy == ProxySetting::Direct {
            config = config.proxy(None);
        }
        HttpsSource {
            label: format!("hub {host}"),
            url,
            token: settings.hub_token.clone().map(|token| (token, origin)),
            agent: config.build().new_agent(),
            stall_timeout: settings.stall_timeout,
        }
    }

    /// One connection: asks for the rest and appends what comes.
    fn transfer(&self, partial: &mut Partial<'_>) -> Result<(), SourceError> {
        let (response, uri) = self.request(partial.length())?;
        match response.status().as_u16() {
            200 => {
                // The server does not know ranges and begins again.
                if partial.length() > 0 {
                    partial.restart()?;
                }
                check_size(response.body().content_length(), partial.size_bytes())?;
            }
            206 => check_range(response.headers(), partial)?,
            status => {
                return Err(SourceError::Status { host: host_of(&uri), path: uri.path().to_string(), status });
            }
        }
        let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match body.read(&mut chunk) {
                Ok(0) if partial.missing_bytes() == 0 => return Ok(()),
                Ok(0) => return Err(cut(partial, "end of data")),
                Ok(count) => partial.append(&chunk[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => {
                    return Err(SourceError::Stalled {
                        stall_ms: self.stall_timeout.as_millis(),
                        received_bytes: partial.length(),
                        expected_bytes: partial.size_bytes(),
                    });
                }
                Err(error) => return Err(cut(partial, error)),
            }
        }
    }

    /// Sends the request and follows redirections. Returns the answer and who gave it.
    fn request(&self, from_byte: u64) -> Result<(Response<Body>, Uri), SourceError> {
        let mut uri: Uri =
            self.url.parse().map_err(|_| no_connection(self.url.clone(), "the address cannot be read"))?;
        for _ in 0..=REDIRECTS_MAX {
            let mut request = self.agent.get(uri.clone());
            if from_byte > 0 {
                request = request.header(header::RANGE, format!("bytes={from_byte}-"));
            }
            if let Some((token, origin)) = &self.token
                && origin.is_some()
                && *origin == origin_of(&uri)
            {
                request = request.header(header::AUTHORIZATION, token.header());
            }
            let response = request.call().map_err(|error| no_connection(host_of(&uri), error))?;
            if !response.status().is_redirection() {
                return Ok((response, uri));
            }
            uri = redirected(&uri, response.headers())?;
        }
        Err(SourceError::Redirect { host: host_of(&uri), problem: "too many times" })
    }
}

impl Source for HttpsSource {
    fn label(&self) -> String {
        self.label.clone()
    }

    fn deliver(&self, partial: &mut Partial<'_>) -> Result<(), SourceError> {
        let mut connections = 0;
        loop {
            let before = partial.length();
            connections += 1;
            match self.transfer(partial) {
                // A connection that brought something may have been cut by chance: go on from there.
                Err(error @ (SourceError::Cut { .. } | SourceError::Stalled { .. }))
                    if partial.length() > before && connections < CONNECTIONS_MAX =>
                {
                    partial.note(&format!("{}: {error}; continuing", self.label));
                }
                outcome => return outcome,
            }
        }
    }
}

fn cut(partial: &Partial<'_>, reason: impl ToString) -> SourceError {
    SourceError::Cut {
        received_bytes: partial.length(),
        expected_bytes: partial.size_bytes(),
        reason: reason.to_string(),
    }
}

fn no_connection(host: String, reason: impl ToString) -> SourceError {
    SourceError::NoConnection { host, reason: reason.to_string() }
}

fn is_timeout(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>());
    matches!(inner, Some(ureq::Error::Timeout(_))) || error.kind() == io::ErrorKind::TimedOut
}

/// A length that is announced must be the right one: no byte of another file is fetched.
fn check_size(found: Option<u64>, expected: u64) -> Result<(), SourceError> {
    match found {
        Some(found) if found != expected => Err(SourceError::WrongSize { found, expected }),
        _ => Ok(()),
    }
}

/// `Content-Range: bytes <first>-<last>/<total or *>` (RFC 9110, section 14.4) must continue the partial.
fn check_range(headers: &HeaderMap, partial: &Partial<'_>) -> Result<(), SourceError> {
    let range = headers.get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok()).and_then(parse_range);
    match range {
        Some((first, total)) if first == partial.length() => check_size(total, partial.size_bytes()),
        _ => Err(cut(partial, "the answer does not continue where the file ends")),
    }
}

fn parse_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, _last) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some((first.parse().ok()?, total))
}

/// Where an answer with `Location` leads. Never from a protected connection to a plain one.
fn redirected(from: &Uri, headers: &HeaderMap) -> Result<Uri, SourceError> {
    let refuse = |problem| SourceError::Redirect { host: host_of(from), problem };
    let location = headers
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| refuse("without saying where to"))?;
    let to = resolve_location(from, location).ok_or_else(|| refuse("to an address that cannot be read"))?;
    match (from.scheme_str(), to.scheme_str()) {
        (Some("https"), Some("http")) => Err(refuse("from a protected connection to a plain one")),
        (_, Some("https" | "http")) => Ok(to),
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

fn origin_of(uri: &Uri) -> Option<Origin> {
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    Some(Origin { scheme, host: uri.host()?.to_ascii_lowercase(), port })
}

impl Origin {
    /// The host, and its port where it is unusual.
    fn to_text(&self) -> String {
        match (self.scheme.as_str(), self.port) {
            ("https", 443) | ("http", 80) => self.host.clone(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }
}

/// The one who answered, without user, password, path and query.
fn host_of(uri: &Uri) -> String {
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
        assert!(redirected(&secure, &location("http://a.example/x")).is_err());
        assert!(redirected(&secure, &location("ftp://a.example/x")).is_err());
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
    fn reads_content_ranges() {
        for (text, expected) in [
            ("bytes 5-9/10", Some((5, Some(10)))),
            ("bytes 5-9/*", Some((5, None))),
            ("bytes */10", None),
            ("items 5-9/10", None),
            ("bytes 5-9/99999999999999999999999", None),
            ("", None),
        ] {
            assert_eq!(parse_range(text), expected, "{text}");
        }
    }
}
