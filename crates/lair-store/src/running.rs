//! A server of Ollama's kind that runs somewhere, `lair serve` or Ollama itself: which models it has in memory, and asking
//! it to give one up.
//!
//! Source: `GET /api/ps` and `POST /api/generate` of Ollama's HTTP API.

use serde::Deserialize;
use ureq::http::Method;

use crate::settings::{HubToken, ProxySetting, Settings};
use crate::sources::http::{Client, Credential, Payload, Trust, origin_of, parse};
use crate::sources::{SourceError, is_this_machine};

/// Reads what a running server says.
pub struct RunningServer {
    /// Scheme, host and port, no slash at the end.
    base: String,
    client: Client,
    credential: Option<Credential>,
}

/// A model in the memory of a server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RunningModel {
    /// Its name.
    pub name: String,
    /// Digest of its manifest, 64 digits, where it has one.
    #[serde(default)]
    pub digest: String,
    /// The memory that it takes.
    #[serde(default, rename = "size")]
    pub size_bytes: u64,
    /// How much of that lies on a GPU.
    #[serde(default, rename = "size_vram")]
    pub gpu_bytes: u64,
    /// Tokens of its context; older servers do not say.
    #[serde(default)]
    pub context_length: u64,
    /// When it will be given up, as RFC 3339.
    #[serde(default)]
    pub expires_at: String,
}

#[derive(Deserialize)]
struct Running {
    #[serde(default)]
    models: Vec<RunningModel>,
}

impl RunningServer {
    /// The server at `base`, for example `http://127.0.0.1:11434`. `key` is sent to it and to nobody else.
    ///
    /// # Errors
    /// An address that is none.
    pub fn new(base: &str, key: Option<&HubToken>, settings: &Settings) -> Result<RunningServer, SourceError> {
        let base = base.trim_end_matches('/').to_string();
        let uri = parse(&base)?;
        let mut settings = settings.clone();
        // No proxy knows this machine better than it does itself.
        if is_this_machine(uri.host().unwrap_or_default()) {
            settings.proxy = ProxySetting::Direct;
        }
        let client = Client::new(&base, Trust::Configured, &settings)?;
        let credential = key.and_then(|key| Some(Credential { header: key.header(), origin: origin_of(&uri)? }));
        Ok(RunningServer { base, client, credential })
    }

    /// The models that it has in memory.
    ///
    /// # Errors
    /// Nobody listens there, or what listens is no such server.
    pub fn models(&self) -> Result<Vec<RunningModel>, SourceError> {
        let answer = self.client.get(
            &format!("{}/api/ps", self.base),
            &[("accept", "application/json")],
            self.credential.as_ref(),
        )?;
        if answer.is_success() {
            answer.json::<Running>().map(|running| running.models)
        } else {
            Err(answer.into_error())
        }
    }

    /// Asks it to give up the memory of `model`.
    ///
    /// # Errors
    /// As [`RunningServer::models`]; a [`SourceError::Status`] of 404 when it knows no such model.
    pub fn unload(&self, model: &str) -> Result<(), SourceError> {
        let body = serde_json::json!({ "model": model, "keep_alive": 0, "stream": false }).to_string();
        let uri = parse(&format!("{}/api/generate", self.base))?;
        let headers = [("content-type", "application/json"), ("accept", "application/json")];
        let payload = Payload::Bytes(body.as_bytes());
        let answer = self.client.ask(Method::POST, &uri, &headers, self.credential.as_ref(), payload)?;
        if answer.is_success() { Ok(()) } else { Err(answer.into_error()) }
    }
}

/// Whether the server of this address is on this machine, as far as the address says: a loopback address or `localhost`.
pub fn is_on_this_machine(base: &str) -> bool {
    parse(base).is_ok_and(|uri| is_this_machine(uri.host().unwrap_or_default()))
}
