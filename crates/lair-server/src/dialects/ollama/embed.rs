//! `/api/embed`, and its older form `/api/embeddings`.
//!
//! Source: Ollama's API documentation. The older form gives vectors as the model does, the newer one of length 1.

use std::sync::Arc;
use std::time::Instant;

use axum::response::Response;
use lair_engine::Normalization;
use serde::Serialize;
use serde_json::Value as Json;

use super::generate::model_name;
use super::wire;
use crate::dialects::vectors;
use crate::dialects::with_ignored;
use crate::embedding::{EmbedAsk, Input, embed};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::server::SharedApp;

#[derive(Serialize)]
struct Embeddings<'v> {
    model: &'v str,
    embeddings: &'v [Vec<f32>],
    total_duration: u64,
    load_duration: u64,
    prompt_eval_count: usize,
}

#[derive(Serialize)]
struct Embedding<'v> {
    embedding: &'v [f32],
}

/// What of `options` matters to embeddings.
struct Options {
    /// `num_ctx`.
    length_max: Option<usize>,
    ignored: Vec<String>,
}

impl Options {
    fn take(fields: &mut Fields) -> Result<Options, ApiError> {
        let mut options = Fields::of(fields.object("options")?.unwrap_or_default());
        let length_max = options.count("num_ctx", 0, 1 << 30)?.filter(|&length| length > 0);
        Ok(Options { length_max, ignored: options.rest() })
    }
}

pub(super) async fn answer(app: &SharedApp, mut fields: Fields) -> Result<Response, ApiError> {
    let start = Instant::now();
    let name = model_name(&mut fields)?;
    let inputs = match fields.take("input") {
        // Nothing to embed only loads the model.
        None => Vec::new(),
        Some(Json::String(text)) if text.is_empty() => Vec::new(),
        Some(Json::Array(items)) if items.is_empty() => Vec::new(),
        Some(value) => vectors::inputs("input", value)?,
    };
    let keep_alive = wire::keep_alive(&mut fields)?;
    let options = Options::take(&mut fields)?;
    let cuts = fields.switch("truncate")?.unwrap_or(true);
    let dimensions = fields.count("dimensions", 0, usize::MAX)?.filter(|&dimensions| dimensions > 0);
    let ignored = [options.ignored, fields.rest()].concat();
    let model = Arc::new(app.models.get(&name, keep_alive).await?);
    let ask = EmbedAsk {
        dimensions,
        cut_to: cuts.then_some(options.length_max.unwrap_or(usize::MAX)),
        ..EmbedAsk::new(inputs)
    };
    let embedded = if ask.inputs.is_empty() { Default::default() } else { embed(&model, ask).await? };
    let body = Embeddings {
        model: &name,
        embeddings: &embedded.vectors,
        total_duration: start.elapsed().as_nanos() as u64,
        load_duration: model.load.as_nanos() as u64,
        prompt_eval_count: embedded.token_count,
    };
    Ok(with_ignored(vectors::written(&body)?, &ignored))
}

pub(super) async fn answer_old(app: &SharedApp, mut fields: Fields) -> Result<Response, ApiError> {
    let name = model_name(&mut fields)?;
    let text = fields.text("prompt")?.unwrap_or_default();
    let keep_alive = wire::keep_alive(&mut fields)?;
    let options = Options::take(&mut fields)?;
    let ignored = [options.ignored, fields.rest()].concat();
    let model = Arc::new(app.models.get(&name, keep_alive).await?);
    if text.is_empty() {
        return Ok(with_ignored(vectors::written(&Embedding { embedding: &[] })?, &ignored));
    }
    let ask = EmbedAsk {
        normalization: Normalization::None,
        cut_to: Some(options.length_max.unwrap_or(usize::MAX)),
        ..EmbedAsk::new(vec![Input::Text(text)])
    };
    let embedded = embed(&model, ask).await?;
    Ok(with_ignored(vectors::written(&Embedding { embedding: &embedded.vectors[0] })?, &ignored))
}
