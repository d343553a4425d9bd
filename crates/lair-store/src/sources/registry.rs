//! A registry of models: the OCI distribution protocol, as Ollama's registry, Docker's and most others speak it.
//!
//! Source: OCI Distribution Specification 1.1; Docker Registry token authentication.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Mutex;

use serde::Deserialize;
use ureq::http::{Method, Uri};

use super::challenge::{Challenge, check_realm};
use super::http::{Answer, Client, Credential, Origin, Payload, Trust, origin_of, parse, printable, redirected};
use super::ollama_key::{OllamaKey, nonce};
use super::{Source, SourceError, https, login};
use crate::digest::Digest;
use crate::model_name::ModelName;
use crate::oci::{MANIFEST_BYTES_MAX, Manifest, media_type};
use crate::partial::Partial;
use crate::settings::Settings;
use crate::sources::address::is_this_machine;
use crate::transfer::connection::lock;
use crate::transfer::{Opened, RangeSource, TransferSettings, engine};

/// Tags of one model; the pages of a list that are followed.
const PAGES_MAX: usize = 100;
/// Manifests that are asked for. Lists of manifests are not: a model has no variants by machine.
const ACCEPT: &str = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json";
/// Layers of models begin so.
const LAYER_TYPES: &str = "application/vnd.ollama.image.";

/// What is to be done, which a token is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Pull,
    Push,
    Delete,
}

impl Action {
    fn scope(self, repository: &str) -> String {
        let actions = match self {
            Action::Pull => "pull",
            Action::Push => "pull,push",
            Action::Delete => "delete",
        };
        format!("repository:{repository}:{actions}")
    }
}

/// One registry.
pub struct Registry {
    origin: Origin,
    base: String,
    client: Client,
    /// `Authorization` by scope.
    tokens: Mutex<HashMap<String, Credential>>,
    settings: Settings,
}

/// A manifest as it was sent, and what it says.
#[derive(Clone, Debug)]
pub struct FetchedManifest {
    /// As sent: their digest is the ID.
    pub bytes: Vec<u8>,
    /// Of `bytes`.
    pub digest: Digest,
    /// What they say.
    pub manifest: Manifest,
}

#[derive(Deserialize)]
struct Token {
    #[serde(alias = "access_token")]
    token: String,
}

#[derive(Deserialize)]
struct Tags {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Registry {
    /// The registry that `name` names. Asks it once whether it speaks TLS where that is open: on this machine, and with
    /// `--insecure`.
    pub fn of(name: &ModelName, settings: &Settings) -> Result<Registry, SourceError> {
        let host = name.host();
        let is_open = settings.transfer.is_plain_http_allowed || is_this_machine(host_part(host));
        if is_open {
            let plain = Registry::at(&format!("http://{host}"), settings)?;
            // A server that expects TLS answers 400 to plain HTTP, or hangs up.
            match plain.client.get(&format!("{}/v2/", plain.base), &[], None) {
                Ok(answer) if answer.status != 400 => return Ok(plain),
                Err(error @ (SourceError::RefusedAddress { .. } | SourceError::Redirect { .. })) => return Err(error),
                Ok(_) | Err(_) => {}
            }
            let protected = Registry::at(&format!("https://{host}"), settings)?;
            return match protected.client.get(&format!("{}/v2/", protected.base), &[], None) {
                Ok(_) => Ok(protected),
                // It speaks TLS, and plain HTTP would be answered with a riddle.
                Err(error) if error.is_about_certificate() => Err(error),
                Err(_) => Ok(plain),
            };
        }
        Registry::at(&format!("https://{host}"), settings)
    }

    fn at(base: &str, settings: &Settings) -> Result<Registry, SourceError> {
        let origin = origin_of(&parse(base)?).ok_or_else(|| SourceError::bad_answer(base, "no host"))?;
        let client = Client::new(base, Trust::Named, settings)?;
        let tokens = Mutex::default();
        Ok(Registry { origin, base: base.to_string(), client, tokens, settings: settings.clone() })
    }

    /// Host and port.
    pub fn host(&self) -> String {
        self.origin.to_text()
    }

    /// The manifest of a tag or digest.
    ///
    /// # Errors
    /// Refuses what is no manifest of a model, and one that is not the digest that was asked for.
    pub fn manifest(&self, repository: &str, reference: &str) -> Result<FetchedManifest, SourceError> {
        let url = format!("{}/v2/{repository}/manifests/{reference}", self.base);
        let answer = self.get(&url, &[("accept", ACCEPT)], repository)?;
        let host = answer.host();
        if !answer.is_success() {
            return Err(answer.into_error());
        }
        let announced = answer.header("docker-content-digest").and_then(|text| text.parse::<Digest>().ok());
        let bytes = answer.bytes(MANIFEST_BYTES_MAX)?;
        let digest = Digest::of(&bytes);
        for expected in [announced, reference.parse().ok()].into_iter().flatten() {
            if expected != digest {
                return Err(SourceError::OtherManifest { host, found: digest, expected });
            }
        }
        let manifest = Manifest::parse(&bytes).map_err(|error| SourceError::Manifest { host: host.clone(), error })?;
        if let Some(other) = manifest.layers.iter().find(|layer| !layer.media_type.starts_with(LAYER_TYPES)) {
            let problem = format!("a layer of type `{}` is no part of a model", printable(&other.media_type));
            return Err(SourceError::bad_answer(host, problem));
        }
        Ok(FetchedManifest { bytes, digest, manifest })
    }

    /// The digest that a tag stands for now, or nothing if there is no such tag.
    pub fn manifest_digest(&self, repository: &str, reference: &str) -> Result<Option<Digest>, SourceError> {
        let url = format!("{}/v2/{repository}/manifests/{reference}", self.base);
        let answer = self.send(Method::HEAD, &url, &[("accept", ACCEPT)], repository, Action::Pull)?;
        match answer.status {
            404 => Ok(None),
            200 => match answer.header("docker-content-digest").and_then(|text| text.parse().ok()) {
                Some(digest) => Ok(Some(digest)),
                // Not every registry says so in the header.
                None => self.manifest(repository, reference).map(|fetched| Some(fetched.digest)),
            },
            _ => Err(answer.into_error()),
        }
    }

    /// All tags of a repository.
    pub fn tags(&self, repository: &str) -> Result<Vec<String>, SourceError> {
        let mut url = format!("{}/v2/{repository}/tags/list", self.base);
        let mut tags = Vec::new();
        for _ in 0..PAGES_MAX {
            let answer = self.get(&url, &[], repository)?;
            if !answer.is_success() {
                return Err(answer.into_error());
            }
            let next = answer.header("link").and_then(next_page).map(str::to_string);
            let uri = answer.uri.clone();
            tags.extend(answer.json::<Tags>()?.tags.unwrap_or_default());
            let Some(next) = next else { return Ok(tags) };
            // The next page of the list is at the registry itself, whatever it says.
            let next = Uri::try_from(next).ok().and_then(|next| next.path_and_query().map(ToString::to_string));
            let Some(next) = next else { return Ok(tags) };
            url = format!("{}{next}", self.base);
            if url == uri.to_string() {
                return Ok(tags);
            }
        }
        Ok(tags)
    }

    /// Removes a manifest and with it all tags that stand for it.
    pub fn delete_manifest(&self, repository: &str, digest: &Digest) -> Result<(), SourceError> {
        let url = format!("{}/v2/{repository}/manifests/{digest}", self.base);
        let answer = self.send(Method::DELETE, &url, &[], repository, Action::Delete)?;
        if answer.is_success() { Ok(()) } else { Err(answer.into_error()) }
    }

    /// Whether the registry has this blob in this repository.
    pub(crate) fn has_blob(&self, repository: &str, digest: &Digest) -> Result<bool, SourceError> {
        let url = format!("{}/v2/{repository}/blobs/{digest}", self.base);
        let answer = self.send(Method::HEAD, &url, &[], repository, Action::Push)?;
        match answer.status {
            200..300 => Ok(true),
            404 => Ok(false),
            _ => Err(answer.into_error()),
        }
    }

    /// Gives `bytes` the name `tag`. All blobs are there.
    pub fn put_manifest(&self, repository: &str, tag: &str, bytes: &[u8]) -> Result<(), SourceError> {
        let url = parse(&format!("{}/v2/{repository}/manifests/{tag}", self.base))?;
        let answer =
            self.ask(Method::PUT, &url, &[("content-type", media_type::MANIFEST)], repository, Action::Push, || {
                Payload::Bytes(bytes)
            })?;
        if !answer.is_success() {
            return Err(answer.into_error());
        }
        let (host, digest) = (answer.host(), Digest::of(bytes));
        match answer.header("docker-content-digest").and_then(|text| text.parse::<Digest>().ok()) {
            Some(found) if found != digest => Err(SourceError::OtherManifest { host, found, expected: digest }),
            _ => Ok(()),
        }
    }

    /// A blob, as something that can be asked for any range.
    pub(crate) fn blob<'r>(&'r self, repository: &'r str, digest: Digest) -> RegistryBlob<'r> {
        RegistryBlob { registry: self, repository, digest, landed: Mutex::new(None) }
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) fn get(&self, url: &str, headers: &[(&str, &str)], repository: &str) -> Result<Answer, SourceError> {
        self.send(Method::GET, url, headers, repository, Action::Pull)
    }

    /// A request without a body; redirections are followed, without the token if they lead elsewhere.
    fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        repository: &str,
        action: Action,
    ) -> Result<Answer, SourceError> {
        let scope = action.scope(repository);
        let token = lock(&self.tokens).get(&scope).cloned();
        let answer = self.client.follow(method.clone(), url, headers, token.as_ref())?;
        if answer.status != 401 || origin_of(&answer.uri).as_ref() != Some(&self.origin) {
            return Ok(answer);
        }
        let token = self.authorize(&answer, &scope)?;
        let answer = self.client.follow(method, url, headers, Some(&token))?;
        if answer.status == 401 { Err(self.unauthorized(&scope)) } else { Ok(answer) }
    }

    /// A request with a body, which is made anew when the first is turned away.
    pub(crate) fn ask<'b>(
        &self,
        method: Method,
        uri: &Uri,
        headers: &[(&str, &str)],
        repository: &str,
        action: Action,
        mut payload: impl FnMut() -> Payload<'b>,
    ) -> Result<Answer, SourceError> {
        let scope = action.scope(repository);
        let token = lock(&self.tokens).get(&scope).cloned();
        let answer = self.client.ask(method.clone(), uri, headers, token.as_ref(), payload())?;
        if answer.status != 401 {
            return Ok(answer);
        }
        let token = self.authorize(&answer, &scope)?;
        let answer = self.client.ask(method, uri, headers, Some(&token), payload())?;
        if answer.status == 401 { Err(self.unauthorized(&scope)) } else { Ok(answer) }
    }

    /// A request whose body is sent once. The token is the one that began the upload.
    pub(crate) fn ask_once(
        &self,
        method: Method,
        uri: &Uri,
        headers: &[(&str, &str)],
        repository: &str,
        payload: Payload<'_>,
    ) -> Result<Answer, SourceError> {
        let token = lock(&self.tokens).get(&Action::Push.scope(repository)).cloned();
        self.client.ask(method, uri, headers, token.as_ref(), payload)
    }

    pub(crate) fn transfer(&self) -> &TransferSettings {
        &self.settings.transfer
    }

    /// Where an upload goes on, from the answer before.
    pub(crate) fn upload_location(&self, answer: &Answer) -> Result<Uri, SourceError> {
        let uri = redirected(&answer.uri, &answer.headers)?;
        if origin_of(&uri).as_ref() == Some(&self.origin) {
            return Ok(uri);
        }
        Err(SourceError::Redirect { host: self.host(), problem: "an upload to another host" })
    }

    fn unauthorized(&self, scope: &str) -> SourceError {
        SourceError::Unauthorized { host: self.host(), what: scope.to_string() }
    }

    /// Gets what the registry asks for, and keeps it for the requests that follow.
    fn authorize(&self, answer: &Answer, scope: &str) -> Result<Credential, SourceError> {
        let challenges = answer.headers.get_all("www-authenticate").iter().filter_map(|value| value.to_str().ok());
        let challenge = challenges.into_iter().find_map(Challenge::parse).ok_or_else(|| self.unauthorized(scope))?;
        let login = self.settings.transfer.login_folder.as_ref();
        let basic = login.and_then(|folder| login::basic_header(folder, &self.host()));
        let header = match challenge {
            Challenge::Basic => basic.ok_or_else(|| self.unauthorized(scope))?,
            Challenge::Bearer { realm, service, scope: asked } => {
                let scope = asked.unwrap_or_else(|| scope.to_string());
                self.token(&realm, service.as_deref(), &scope, basic)?
            }
        };
        let credential = Credential { header, origin: self.origin.clone() };
        lock(&self.tokens).insert(scope.to_string(), credential.clone());
        Ok(credential)
    }

    /// A token from the realm, which must be the registry's own.
    fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: &str,
        basic: Option<String>,
    ) -> Result<String, SourceError> {
        let origin = check_realm(&self.origin, realm)?;
        let key_file = self.settings.transfer.ollama_key.as_ref().filter(|_| origin.host == "ollama.com");
        let key = key_file.and_then(|path| OllamaKey::read(path));
        let (seconds, nonce) = nonce();
        let mut query: Vec<(&str, String)> = vec![("scope", scope.to_string())];
        query.extend(service.map(|service| ("service", service.to_string())));
        if key.is_some() {
            query.extend([("nonce", nonce), ("ts", seconds.to_string())]);
        }
        // The order in which the signature expects them.
        query.sort();
        let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", escape_query(value))).collect();
        let separator = if realm.contains('?') { '&' } else { '?' };
        let url = format!("{realm}{separator}{}", query.join("&"));
        let header = key.map(|key| key.sign(&url)).or(basic);
        let credential = header.map(|header| Credential { header, origin });
        let client = Client::new(&url, Trust::Named, &self.settings)?;
        // Not followed: a realm that redirects would be a realm elsewhere.
        let answer = client.ask(Method::GET, &parse(&url)?, &[], credential.as_ref(), Payload::None)?;
        match answer.status {
            200 => {}
            401 | 403 => return Err(self.unauthorized(scope)),
            _ => return Err(answer.into_error()),
        }
        let host = answer.host();
        let token: Token = answer.json()?;
        if token.token.is_empty() || !token.token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(SourceError::bad_answer(host, "its token cannot be sent in a header"));
        }
        Ok(format!("Bearer {}", token.token))
    }
}

/// A blob of a registry.
pub(crate) struct RegistryBlob<'r> {
    registry: &'r Registry,
    repository: &'r str,
    digest: Digest,
    /// Where the bytes really lie, after redirections.
    landed: Mutex<Option<Uri>>,
}

impl RegistryBlob<'_> {
    fn ask(&self, headers: &[(&str, &str)]) -> Result<Answer, SourceError> {
        let landed = lock(&self.landed).clone();
        if let Some(uri) = landed {
            let answer = self.registry.client.get(&uri.to_string(), headers, None)?;
            // A signed address ends after a while.
            if !matches!(answer.status, 401 | 403 | 404 | 410) {
                return Ok(answer);
            }
            *lock(&self.landed) = None;
        }
        let url = format!("{}/v2/{}/blobs/{}", self.registry.base, self.repository, self.digest);
        let answer = self.registry.get(&url, headers, self.repository)?;
        if origin_of(&answer.uri).as_ref() != Some(&self.registry.origin) {
            *lock(&self.landed) = Some(answer.uri.clone());
        }
        Ok(answer)
    }
}

impl RangeSource for RegistryBlob<'_> {
    fn label(&self) -> String {
        format!("registry {}", self.registry.host())
    }

    fn open(&self, range: &Range<u64>, size_bytes: u64) -> Result<Opened, SourceError> {
        let bytes = https::range_header(range, size_bytes);
        let headers: Vec<(&str, &str)> = bytes.iter().map(|bytes| ("range", bytes.as_str())).collect();
        https::opened(self.ask(&headers)?, range, size_bytes)
    }
}

impl Source for RegistryBlob<'_> {
    fn label(&self) -> String {
        RangeSource::label(self)
    }

    fn deliver(&self, partial: &mut Partial<'_>) -> Result<(), SourceError> {
        engine::fill(partial, self, &self.registry.settings)
    }
}

/// The host of `host` or `host:port`.
fn host_part(host: &str) -> &str {
    host.rsplit_once(':').map_or(host, |(host, _)| host)
}

/// `<address>; rel="next"` of a `Link` header.
pub(crate) fn next_page(header: &str) -> Option<&str> {
    header.split(',').find_map(|link| {
        let (address, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
        (rest.contains("rel=\"next\"") || rest.contains("rel=next")).then_some(address)
    })
}

/// A value of a query. What is not plain is escaped, a space as `+`, as Go and forms do.
pub(crate) fn escape_query(value: &str) -> String {
    let escaped = https::escape_path(value).replace('/', "%2F");
    escaped.replace("%20", "+")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_link_to_the_next_page() {
        let header = r#"</v2/a/tags/list?last=x&n=100>; rel="next""#;
        assert_eq!(next_page(header), Some("/v2/a/tags/list?last=x&n=100"));
        assert_eq!(next_page(r#"<https://h/a>; rel="prev", <https://h/b>; rel="next""#), Some("https://h/b"));
        assert_eq!(next_page("nonsense"), None);
    }

    #[test]
    fn queries_are_escaped() {
        assert_eq!(escape_query("repository:library/x:pull,push"), "repository%3Alibrary%2Fx%3Apull%2Cpush");
    }
}
