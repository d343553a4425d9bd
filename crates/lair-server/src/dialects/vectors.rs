//! What the dialects' requests for embeddings and their answers have in common.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lair_engine::Normalization;
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use crate::embedding::Input;
use crate::error::{ApiError, ErrorKind};
use crate::fields::{Fields, wrong};
use crate::loaded::blocking;
use crate::server::SharedApp;

/// Texts, or lists of tokens, of one request.
const INPUTS_MAX: usize = 1 << 14;

/// How vectors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// A list of numbers.
    Float,
    /// The bytes of little-endian 32-bit numbers, in base64.
    Base64,
}

impl Encoding {
    pub(super) fn take(fields: &mut Fields) -> Result<Encoding, ApiError> {
        match fields.text("encoding_format")?.as_deref() {
            None | Some("float") => Ok(Encoding::Float),
            Some("base64") => Ok(Encoding::Base64),
            Some(other) => {
                let cause = format!("`encoding_format` is `{other}`, `float` or `base64` expected");
                Err(ApiError::bad("encoding_format", cause))
            }
        }
    }
}

/// A vector as it is written into JSON: numbers in as few digits as tell them apart.
pub(super) struct Written<'v> {
    pub(super) vector: &'v [f32],
    pub(super) encoding: Encoding,
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.encoding {
            Encoding::Float => self.vector.serialize(serializer),
            Encoding::Base64 => {
                let bytes: Vec<u8> = self.vector.iter().flat_map(|value| value.to_le_bytes()).collect();
                serializer.serialize_str(&BASE64.encode(bytes))
            }
        }
    }
}

/// A text, a list of texts, tokens, or a list of lists of tokens.
pub(super) fn inputs(name: &str, value: Json) -> Result<Vec<Input>, ApiError> {
    let inputs = match value {
        Json::String(text) => vec![Input::Text(text)],
        Json::Array(items) if items.first().is_some_and(Json::is_number) => vec![Input::Tokens(tokens(name, &items)?)],
        Json::Array(items) => items
            .into_iter()
            .map(|item| match item {
                Json::String(text) => Ok(Input::Text(text)),
                Json::Array(ids) => Ok(Input::Tokens(tokens(name, &ids)?)),
                other => Err(wrong(name, &other, "a string or a list of token ids")),
            })
            .collect::<Result<_, _>>()?,
        other => return Err(wrong(name, &other, "a string, token ids, or a list of them")),
    };
    match inputs.len() {
        0 => Err(ApiError::bad(name, format!("`{name}` is empty, at least one text expected"))),
        count if count > INPUTS_MAX => {
            Err(ApiError::bad(name, format!("`{name}` has {count} texts, at most {INPUTS_MAX} expected")))
        }
        _ => Ok(inputs),
    }
}

fn tokens(name: &str, items: &[Json]) -> Result<Vec<u32>, ApiError> {
    let id = |item: &Json| item.as_u64().and_then(|id| u32::try_from(id).ok());
    items.iter().map(|item| id(item).ok_or_else(|| wrong(name, item, "a token id"))).collect()
}

/// `embd_normalize`: llama.cpp's number for how vectors are brought to a length.
pub(super) fn normalization(fields: &mut Fields) -> Result<Normalization, ApiError> {
    let Some(number) = fields.whole("embd_normalize")? else { return Ok(Normalization::EUCLIDEAN) };
    Normalization::from_number(number)
        .ok_or_else(|| ApiError::bad("embd_normalize", format!("`embd_normalize` is {number}, -1 to 64 expected")))
}

/// Whether texts are cut: `truncate` of Ollama and TEI, or vLLM's `truncate_prompt_tokens`, of which only -1, as many
/// as the model takes, means the same everywhere.
pub(super) fn cuts(fields: &mut Fields) -> Result<bool, ApiError> {
    let of_vllm = match fields.whole("truncate_prompt_tokens")? {
        None => false,
        Some(-1) => true,
        Some(count) => {
            let cause =
                format!("`truncate_prompt_tokens` is {count}: only -1, as many as the model takes, is supported");
            return Err(ApiError::unsupported("truncate_prompt_tokens", cause));
        }
    };
    Ok(fields.switch("truncate")?.unwrap_or(of_vllm))
}

/// The model that is asked for; servers of one model do not have it named, so without a name the only one there is.
pub(super) async fn model_or_only(app: &SharedApp, fields: &mut Fields) -> Result<String, ApiError> {
    if let Some(name) = fields.text("model")? {
        return Ok(name);
    }
    let running = app.models.running();
    if let [only] = running.as_slice() {
        return Ok(only.facts.name.clone());
    }
    let source = std::sync::Arc::clone(app.models.source());
    match blocking(move || source.list()).await?.as_slice() {
        [only] => Ok(only.name.clone()),
        models => {
            let cause = format!("`model` is missing, and of {} models none is the only one", models.len());
            Err(ApiError::bad("model", cause))
        }
    }
}

/// An answer that is written directly: vectors would be three times as large on the way through a tree of JSON.
pub(super) fn written(body: &impl Serialize) -> Result<Response, ApiError> {
    let text = serde_json::to_string(body).map_err(|error| ApiError::new(ErrorKind::Internal, error))?;
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], text).into_response())
}
