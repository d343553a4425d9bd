//! `/v1/embeddings`.
//!
//! Source: OpenAI's OpenAPI description, `CreateEmbeddingRequest`. `truncate` is Lair's own, `embd_normalize` is
//! llama-server's, `truncate_prompt_tokens` is vLLM's.

use std::sync::Arc;

use axum::response::Response;
use serde::Serialize;

use crate::dialects::vectors::{self, Encoding, Written};
use crate::dialects::with_ignored;
use crate::embedding::{EmbedAsk, embed};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::server::SharedApp;

#[derive(Serialize)]
struct List<'v> {
    object: &'static str,
    data: Vec<Entry<'v>>,
    model: &'v str,
    usage: Usage,
}

#[derive(Serialize)]
struct Entry<'v> {
    object: &'static str,
    index: usize,
    embedding: Written<'v>,
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

pub(super) async fn answer(app: &SharedApp, mut fields: Fields) -> Result<Response, ApiError> {
    let name = fields.required_text("model")?;
    let input = fields.take("input").ok_or_else(|| ApiError::bad("input", "`input` is missing"))?;
    let inputs = vectors::inputs("input", input)?;
    let encoding = Encoding::take(&mut fields)?;
    let ask = EmbedAsk {
        dimensions: fields.count("dimensions", 1, usize::MAX)?,
        normalization: vectors::normalization(&mut fields)?,
        cut_to: vectors::cuts(&mut fields)?.then_some(usize::MAX),
        ..EmbedAsk::new(inputs)
    };
    fields.accept(&["user"]);
    let ignored = fields.rest();
    let model = Arc::new(app.models.get(&name, None).await?);
    let embedded = embed(&model, ask).await?;
    let entry = |(index, vector)| Entry { object: "embedding", index, embedding: Written { vector, encoding } };
    let vectors = embedded.vectors.iter().map(Vec::as_slice);
    let body = List {
        object: "list",
        data: vectors.enumerate().map(entry).collect(),
        model: &name,
        usage: Usage { prompt_tokens: embedded.token_count, total_tokens: embedded.token_count },
    };
    Ok(with_ignored(vectors::written(&body)?, &ignored))
}
