//! A file behind a URL: asked for in ranges, through redirections, with a token that stays with its host.

use std::ops::Range;
use std::sync::Mutex;

use ureq::http::{Method, Uri};

use super::http::{Answer, Client, Credential, Trust, host_of, origin_of, parse};
use super::{Source, SourceError};
use crate::partial::Partial;
use crate::settings::Settings;
use crate::transfer::connection::lock;
use crate::transfer::{Opened, RangeSource, engine};

/// One file behind HTTP.
pub(crate) struct HttpsSource {
    label: String,
    url: String,
    credential: Option<Credential>,
    client: Client,
    /// Where the file really lies, after redirections: asking there again saves two requests for each part.
    landed: Mutex<Option<Uri>>,
    settings: Settings,
}

impl HttpsSource {
    /// The file at `url`. The credential is sent to its own origin alone.
    pub(crate) fn new(
        kind: &str,
        url: String,
        trust: Trust,
        credential: Option<Credential>,
        settings: &Settings,
    ) -> Result<HttpsSource, SourceError> {
        Ok(HttpsSource {
            label: format!("{kind} {}", host_of(&parse(&url)?)),
            client: Client::new(&url, trust, settings)?,
            url,
            credential,
            landed: Mutex::new(None),
            settings: settings.clone(),
        })
    }

    /// A file of a hub repository: `<endpoint>/<repository>/resolve/<revision>/<file>`.
    pub(crate) fn hub(
        repository: &str,
        revision: &str,
        file: &str,
        settings: &Settings,
    ) -> Result<HttpsSource, SourceError> {
        let endpoint = &settings.hub_endpoint;
        let url = format!("{endpoint}/{repository}/resolve/{revision}/{}", escape_path(file));
        let origin = origin_of(&parse(&url)?);
        let credential = settings
            .hub_token
            .as_ref()
            .and_then(|token| Some(Credential { header: token.header(), origin: origin.clone()? }));
        HttpsSource::new("hub", url, Trust::Configured, credential, settings)
    }

    /// Length of the file, as the server announces it.
    pub(crate) fn size_bytes(&self) -> Result<u64, SourceError> {
        let answer = self.client.follow(Method::HEAD, &self.url, &[], self.credential.as_ref())?;
        if !answer.is_success() {
            return Err(answer.into_error());
        }
        let no_length = || SourceError::bad_answer(answer.host(), "it does not say how long the file is");
        answer.length().filter(|length| *length <= i64::MAX as u64).ok_or_else(no_length)
    }

    /// Remembers who gave an answer.
    pub(super) fn landed_at(&self, answer: &Answer) {
        *lock(&self.landed) = Some(answer.uri.clone());
    }

    /// Asks where the file was found before, then from the beginning.
    pub(super) fn ask(&self, headers: &[(&str, &str)]) -> Result<Answer, SourceError> {
        let landed = lock(&self.landed).clone();
        if let Some(uri) = landed {
            let answer = self.client.get(&uri.to_string(), headers, self.credential.as_ref())?;
            // A signed address ends after a while.
            if !matches!(answer.status, 401 | 403 | 404 | 410) {
                return Ok(answer);
            }
            *lock(&self.landed) = None;
        }
        self.client.get(&self.url, headers, self.credential.as_ref())
    }
}

impl RangeSource for HttpsSource {
    fn label(&self) -> String {
        self.label.clone()
    }

    fn open(&self, range: &Range<u64>, size_bytes: u64) -> Result<Opened, SourceError> {
        let bytes = range_header(range, size_bytes);
        let headers: Vec<(&str, &str)> = bytes.iter().map(|bytes| ("range", bytes.as_str())).collect();
        let answer = self.ask(&headers)?;
        self.landed_at(&answer);
        opened(answer, range, size_bytes)
    }
}

impl Source for HttpsSource {
    fn label(&self) -> String {
        self.label.clone()
    }

    fn deliver(&self, partial: &mut Partial<'_>) -> Result<(), SourceError> {
        engine::fill(partial, self, &self.settings)
    }
}

/// What asks for a range; the whole is asked for without one.
pub(crate) fn range_header(range: &Range<u64>, size_bytes: u64) -> Option<String> {
    let is_whole = range.start == 0 && range.end == size_bytes;
    (!is_whole).then(|| format!("bytes={}-{}", range.start, range.end - 1))
}

/// Checks that an answer is what was asked for, before any byte of it is taken.
pub(crate) fn opened(answer: Answer, range: &Range<u64>, size_bytes: u64) -> Result<Opened, SourceError> {
    match answer.status {
        // The server does not know ranges and sends all.
        200 => check_size(answer.length(), size_bytes)?,
        206 => check_range(&answer, range, size_bytes)?,
        _ => return Err(answer.into_error()),
    }
    answer.refuse_packed()?;
    let is_range = answer.status == 206 || (range.start == 0 && range.end == size_bytes);
    Ok(Opened { is_range, reader: Box::new(answer.into_reader()) })
}

/// A length that is announced must be the right one: no byte of another file is fetched.
fn check_size(found: Option<u64>, expected: u64) -> Result<(), SourceError> {
    match found {
        Some(found) if found != expected => Err(SourceError::WrongSize { found, expected }),
        _ => Ok(()),
    }
}

/// `Content-Range: bytes <first>-<last>/<total or *>` (RFC 9110, section 14.4) must be what was asked for.
fn check_range(answer: &Answer, range: &Range<u64>, size_bytes: u64) -> Result<(), SourceError> {
    match answer.header("content-range").and_then(parse_range) {
        Some((first, last, total)) if first == range.start => {
            check_size(total, size_bytes)?;
            let wanted = range.end - 1;
            if last == wanted { Ok(()) } else { Err(SourceError::WrongSize { found: last + 1, expected: range.end }) }
        }
        _ => Err(SourceError::bad_answer(answer.host(), "it sends another range than was asked for")),
    }
}

pub(super) fn parse_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    let last: u64 = last.parse().ok()?;
    // A last byte of 2^64 - 1 would overflow a length.
    (last < u64::MAX).then_some((first.parse().ok()?, last, total))
}

/// A path inside a repository as part of a URL.
pub(crate) fn escape_path(path: &str) -> String {
    path.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => (byte as char).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_content_ranges() {
        for (text, expected) in [
            ("bytes 5-9/10", Some((5, 9, Some(10)))),
            ("bytes 5-9/*", Some((5, 9, None))),
            ("bytes */10", None),
            ("items 5-9/10", None),
            ("bytes 5-9/99999999999999999999999", None),
            ("bytes 0-18446744073709551615/*", None),
            ("", None),
        ] {
            assert_eq!(parse_range(text), expected, "{text}");
        }
    }

    #[test]
    fn the_whole_is_asked_for_without_a_range() {
        assert_eq!(range_header(&(0..10), 10), None);
        assert_eq!(range_header(&(0..9), 10).as_deref(), Some("bytes=0-8"));
        assert_eq!(range_header(&(3..10), 10).as_deref(), Some("bytes=3-9"));
    }

    #[test]
    fn paths_are_escaped_for_urls() {
        assert_eq!(escape_path("a b/ü?#%.gguf"), "a%20b/%C3%BC%3F%23%25.gguf");
    }
}
