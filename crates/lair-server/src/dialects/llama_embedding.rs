//! llama-server's own `/embedding` and `/embeddings`.
//!
//! Source: the README of llama.cpp's server. A server of one model has no `model` in its requests, so it may be missing.
//! `pooling` is Lair's own: there it is a flag of the server.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use lair_engine::Pooling;
use serde::Serialize;

use super::route::{Field, Kind, Route, fields_of, spoken};
use super::vectors::{self, Encoding, Written};
use super::with_ignored;
use crate::embedding::{EmbedAsk, embed};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::keys::Scope;
use crate::server::SharedApp;

const FIELDS: &[Field] = &[
    Field::new("model", Kind::Text),
    Field::new("content", Kind::Mixed),
    Field::new("input", Kind::Mixed),
    Field::new("embd_normalize", Kind::Whole),
    Field::new("pooling", Kind::Text),
    Field::new("encoding_format", Kind::Text),
    Field::new("truncate", Kind::Switch),
    Field::new("truncate_prompt_tokens", Kind::Whole),
];

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post(Scope::Embeddings, "/embedding", "Vectors of texts, or of their tokens.", &[FIELDS], embedding),
        Route::post(Scope::Embeddings, "/embeddings", "Vectors of texts, or of their tokens.", &[FIELDS], embedding),
    ]
}

async fn embedding(State(app): State<SharedApp>, request: Request) -> Response {
    let answered = async { answer(&app, fields_of(&app, request).await?).await };
    spoken("/embedding", answered.await)
}

/// The rows of one text: one, or one for each token.
#[derive(Serialize)]
struct Entry<'v> {
    index: usize,
    embedding: Vec<Written<'v>>,
}

async fn answer(app: &SharedApp, mut fields: Fields) -> Result<Response, ApiError> {
    let name = vectors::model_or_only(app, &mut fields).await?;
    let encoding = Encoding::take(&mut fields)?;
    let (normalization, pooling) = (vectors::normalization(&mut fields)?, pooling(&mut fields)?);
    let cut_to = vectors::cuts(&mut fields)?.then_some(usize::MAX);
    let (field, value) = match (fields.take("input"), fields.take("content")) {
        (Some(value), _) => ("input", value),
        (None, Some(value)) => ("content", value),
        (None, None) => return Err(ApiError::bad("content", "`content` is missing, and `input` too")),
    };
    let ask = EmbedAsk { normalization, pooling, cut_to, ..EmbedAsk::new(vectors::inputs(field, value)?) };
    let ignored = fields.rest();
    let model = Arc::new(app.models.get(&name, None).await?);
    let embedded = embed(&model, ask).await?;
    let mut body = Vec::with_capacity(embedded.vectors.len());
    for (index, vector) in embedded.vectors.iter().enumerate() {
        let rows = vector.chunks(embedded.width).map(|vector| Written { vector, encoding });
        body.push(Entry { index, embedding: rows.collect() });
    }
    Ok(with_ignored(vectors::written(&body)?, &ignored))
}

fn pooling(fields: &mut Fields) -> Result<Option<Pooling>, ApiError> {
    match fields.text("pooling")?.as_deref() {
        None => Ok(None),
        Some("none") => Ok(Some(Pooling::None)),
        Some("mean") => Ok(Some(Pooling::Mean)),
        Some("cls") => Ok(Some(Pooling::First)),
        Some("last") => Ok(Some(Pooling::Last)),
        Some(other) => {
            let cause = format!("`pooling` is `{other}`, one of none, mean, cls, last expected");
            Err(ApiError::bad("pooling", cause))
        }
    }
}
