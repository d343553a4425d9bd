//! Who the user is at a registry: what `docker login` has kept.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const FILE_BYTES_MAX: u64 = 1 << 20;

/// The `Authorization: Basic` header for `host`, from `config.json` in this folder.
pub(crate) fn basic_header(folder: &Path, host: &str) -> Option<String> {
    let mut text = String::new();
    File::open(folder.join("config.json")).ok()?.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    header_in(&text, host)
}

fn header_in(config: &str, host: &str) -> Option<String> {
    let config: serde_json::Value = serde_json::from_str(config).ok()?;
    let logins = config.get("auths")?.as_object()?;
    let keys =
        [host.to_string(), format!("https://{host}"), format!("https://{host}/v2/"), format!("https://{host}/v1/")];
    let login = keys.iter().find_map(|key| logins.get(key))?;
    let auth = match login.get("auth").and_then(|auth| auth.as_str()).filter(|auth| !auth.is_empty()) {
        Some(auth) => auth.to_string(),
        None => {
            let (name, password) = (login.get("username")?.as_str()?, login.get("password")?.as_str()?);
            STANDARD.encode(format!("{name}:{password}"))
        }
    };
    // What is not base64 of `name:password` could be anything, also a way to break the header.
    let decoded = STANDARD.decode(auth.trim()).ok()?;
    decoded.contains(&b':').then(|| format!("Basic {}", auth.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_docker_login_keeps() {
        // `name:password`
        let config = r#"{"auths": {"r.example:5000": {"auth": "bmFtZTpwYXNzd29yZA=="},
                                    "https://b.example": {"username": "name", "password": "password"},
                                    "bad.example": {"auth": "not base64\r\nX: y"}, "empty.example": {}}}"#;
        let header = Some("Basic bmFtZTpwYXNzd29yZA==".to_string());
        for (host, expected) in [
            ("r.example:5000", header.clone()),
            ("b.example", header),
            ("r.example", None),
            ("bad.example", None),
            ("empty.example", None),
        ] {
            assert_eq!(header_in(config, host), expected, "{host}");
        }
        assert_eq!(header_in("{", "r.example"), None);
    }
}
