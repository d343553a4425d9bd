//! A request that has ended, as a line of the log and as a record.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use serde_json::{Value as Json, json};

use super::{Noted, RequestLogMode, or_null};
use crate::dialects;
use crate::error::ApiError;

/// All that is known of a request.
pub(super) struct Ended {
    pub(super) id: String,
    pub(super) began: SystemTime,
    pub(super) duration: Duration,
    pub(super) method: String,
    pub(super) route: String,
    pub(super) client: SocketAddr,
    pub(super) noted: Noted,
}

/// Milliseconds with one digit after the point.
pub(super) fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e4).round() / 10.0
}

impl Ended {
    /// The model that was asked, and its digest.
    fn model(&self) -> Option<(&str, &str)> {
        let of_answer = self.noted.answers.first().map(|answer| (answer.model.as_str(), answer.model_digest.as_str()));
        let of_texts = || self.noted.embedded.as_ref().map(|texts| (texts.model.as_str(), texts.model_digest.as_str()));
        of_answer.or_else(of_texts)
    }

    fn prompt_tokens(&self) -> Option<usize> {
        let of_answer = self.noted.answers.first().map(|answer| answer.prompt_tokens);
        of_answer.or(self.noted.embedded.as_ref().map(|texts| texts.token_count))
    }

    /// The status; nothing was answered if the client went away before.
    fn status(&self) -> Json {
        if self.noted.status == 0 { Json::Null } else { json!(self.noted.status) }
    }

    /// The fields of a line of the log: nothing of what was asked or said.
    pub(super) fn line(&self) -> Vec<(&'static str, Json)> {
        let Noted { key, error, answers, .. } = &self.noted;
        let broken = error.as_ref().filter(|error| error.status() >= 500);
        let completion_tokens =
            (!answers.is_empty()).then(|| answers.iter().map(|answer| answer.completion_tokens).sum());
        vec![
            ("id", json!(self.id)),
            ("method", json!(self.method)),
            ("route", json!(self.route)),
            ("status", self.status()),
            ("ms", json!(ms(self.duration))),
            ("client", json!(self.client.to_string())),
            ("key", json!(key)),
            ("model", or_null(self.model().map(|(name, _)| name))),
            ("prompt_tokens", or_null(self.prompt_tokens())),
            ("completion_tokens", or_null::<usize>(completion_tokens)),
            ("error", or_null(error.as_ref().map(ApiError::word))),
            // What clients did wrong may quote what they sent; what broke here is needed to mend it.
            ("cause", or_null(broken.map(|error| error.message.clone()))),
        ]
    }

    /// The record of a request.
    pub(super) fn record(&self, mode: RequestLogMode) -> Json {
        let Noted { key, error, answers, embedded, .. } = &self.noted;
        let (model, digest) = self.model().unzip();
        let mut record = json!({
            "id": self.id,
            "time": humantime::format_rfc3339_millis(self.began).to_string(),
            "method": self.method,
            "route": self.route,
            "dialect": dialects::dialect_of(&self.route),
            "client": self.client.to_string(),
            "key": key,
            "status": self.status(),
            "duration_ms": ms(self.duration),
            "model": model,
            "model_digest": digest,
        });
        if let Some(error) = error {
            let is_told = mode == RequestLogMode::Full || error.status() >= 500;
            record["error"] = json!({
                "kind": error.word(),
                "parameter": error.parameter,
                "message": is_told.then_some(&error.message),
            });
        }
        if !answers.is_empty() {
            record["answers"] = answers.iter().map(|answer| answer.record(mode)).collect();
        }
        if let Some(texts) = embedded {
            let cut = |(input, before, after): &(usize, usize, usize)| json!({ "input": input, "tokens": before, "kept_tokens": after });
            record["embedded"] = json!({
                "inputs": texts.input_count,
                "tokens": texts.token_count,
                "cuts": texts.cuts.iter().map(cut).collect::<Vec<_>>(),
            });
        }
        record
    }
}
