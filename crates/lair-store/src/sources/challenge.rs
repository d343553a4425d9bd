//! How a registry says that it wants to know who asks: the header `WWW-Authenticate` (RFC 9110, section 11.6.1), and
//! who may be given credentials for it.

use super::SourceError;
use super::http::{Origin, origin_of, parse};

/// Registries that have their tokens made by another host of the same owner. Everyone else's host must be its own.
const KNOWN_REALMS: &[(&str, &str)] = &[
    ("registry.ollama.ai", "ollama.com"),
    ("registry-1.docker.io", "auth.docker.io"),
    ("registry.gitlab.com", "gitlab.com"),
    ("nvcr.io", "authn.nvidia.com"),
];
const PARAMETERS_MAX: usize = 16;

/// What a registry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A token from the realm.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
    /// Name and password, at the registry itself.
    Basic,
}

impl Challenge {
    /// Reads the header; nothing if it asks for something that is not known here.
    pub(crate) fn parse(header: &str) -> Option<Challenge> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Challenge::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let parameters = parameters(rest)?;
        let find = |name: &str| {
            parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
        };
        Some(Challenge::Bearer { realm: find("realm")?, service: find("service"), scope: find("scope") })
    }
}

/// `key="value",key=value`, with backslashes inside of quotes.
fn parameters(text: &str) -> Option<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if found.len() == PARAMETERS_MAX {
            return None;
        }
        let (key, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = after.find(',').unwrap_or(after.len());
                (after[..end].trim().to_string(), &after[end..])
            }
        };
        found.push((key.trim().to_string(), value));
        let after = after.trim_start();
        rest = after.strip_prefix(',').unwrap_or(after).trim_start();
    }
    Some(found)
}

fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut symbols = text.char_indices();
    while let Some((index, symbol)) = symbols.next() {
        match symbol {
            '"' => return Some((value, &text[index + 1..])),
            '\\' => value.push(symbols.next()?.1),
            _ => value.push(symbol),
        }
    }
    None
}

/// Where tokens come from, if that may be asked: the registry's own host and port, or a known pair.
pub(crate) fn check_realm(registry: &Origin, realm: &str) -> Result<Origin, SourceError> {
    let refuse = || SourceError::ForeignRealm { host: registry.to_text(), realm: super::http::printable(realm) };
    let origin = parse(realm).ok().as_ref().and_then(origin_of).ok_or_else(refuse)?;
    let is_known = registry.scheme == "https"
        && origin.scheme == "https"
        && origin.port == 443
        && registry.port == 443
        && KNOWN_REALMS.contains(&(registry.host.as_str(), origin.host.as_str()));
    if origin == *registry || is_known { Ok(origin) } else { Err(refuse()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_registries_send() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            let own = |text: &str| text.to_string();
            Some(Challenge::Bearer { realm: own(realm), service: service.map(own), scope: scope.map(own) })
        };
        for (header, expected) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull""#,
                bearer("https://auth.docker.io/token", Some("registry.docker.io"), Some("repository:a/b:pull")),
            ),
            (r#"bearer realm=https://a.example/t, scope="x,y""#, bearer("https://a.example/t", None, Some("x,y"))),
            (r#"Bearer realm="a\"b""#, bearer("a\"b", None, None)),
            (r#"Basic realm="Registry""#, Some(Challenge::Basic)),
            ("Basic", Some(Challenge::Basic)),
            ("Bearer", None),
            (r#"Bearer realm="unclosed"#, None),
            (r#"Digest realm="x""#, None),
            ("", None),
        ] {
            assert_eq!(Challenge::parse(header), expected, "{header}");
        }
        assert_eq!(Challenge::parse(&format!("Bearer {}", "a=b,".repeat(1000))), None);
    }

    #[test]
    fn tokens_come_from_the_registry_or_a_known_pair() {
        let origin = |text: &str| origin_of(&text.parse().expect("an address")).expect("an origin");
        for (registry, realm, is_allowed) in [
            ("https://r.example", "https://r.example/token", true),
            ("https://r.example:5000", "https://r.example:5000/token", true),
            ("https://r.example", "https://r.example:444/token", false),
            ("https://r.example", "http://r.example/token", false),
            ("https://r.example", "https://evil.example/token", false),
            ("https://r.example", "https://r.example.evil.example/token", false),
            ("https://r.example", "https://r.example@evil.example/token", false),
            ("https://registry.ollama.ai", "https://ollama.com/token", true),
            ("https://evil.example", "https://ollama.com/token", false),
            ("http://registry.ollama.ai", "https://ollama.com/token", false),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000/token", true),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5001/token", false),
            ("https://r.example", "file:///etc/passwd", false),
        ] {
            assert_eq!(check_realm(&origin(registry), realm).is_ok(), is_allowed, "{registry} -> {realm}");
        }
    }
}
