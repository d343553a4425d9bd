//! Rerank, in the forms of Jina, Cohere, TEI and llama-server, and vLLM's scores of pairs.
//!
//! Sources: Jina's and Cohere's rerank references, TEI's OpenAPI description, the README of llama.cpp's server, vLLM's
//! "OpenAI-Compatible Server".

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value as Json, json};

use super::route::{Field, Kind, Route, fields_of, spoken};
use super::{json_response, vectors, with_ignored};
use crate::embedding::{ScoreAsk, score};
use crate::error::ApiError;
use crate::fields::{Fields, wrong};
use crate::keys::Scope;
use crate::server::SharedApp;

/// Documents of one request.
const DOCUMENTS_MAX: usize = 1 << 14;

const RANK_FIELDS: &[Field] = &[
    Field::new("model", Kind::Text),
    Field::required("query", Kind::Text),
    Field::new("documents", Kind::List),
    Field::new("texts", Kind::List),
    Field::new("top_n", Kind::Whole),
    Field::new("return_documents", Kind::Switch),
    Field::new("return_text", Kind::Switch),
    Field::new("raw_scores", Kind::Switch),
    Field::new("truncate", Kind::Switch),
    Field::new("truncate_prompt_tokens", Kind::Whole),
];
const SCORE_FIELDS: &[Field] = &[
    Field::new("model", Kind::Text),
    Field::new("text_1", Kind::Mixed),
    Field::new("text_2", Kind::Mixed),
    Field::new("queries", Kind::Mixed),
    Field::new("documents", Kind::Mixed),
    Field::new("data_1", Kind::Mixed),
    Field::new("data_2", Kind::Mixed),
    Field::new("use_activation", Kind::Switch),
    Field::new("truncate", Kind::Switch),
    Field::new("truncate_prompt_tokens", Kind::Whole),
];

pub(super) fn routes() -> Vec<Route> {
    let rank = |path| {
        Route::post(
            Scope::Embeddings,
            path,
            "Documents in the order in which they answer a query.",
            &[RANK_FIELDS],
            rerank,
        )
    };
    let paths = ["/rerank", "/reranking", "/v1/rerank", "/v1/reranking", "/v2/rerank", "/api/rerank"];
    let mut routes: Vec<Route> = paths.map(rank).into_iter().collect();
    let score = |path| {
        Route::post(Scope::Embeddings, path, "How well pairs of texts belong together.", &[SCORE_FIELDS], score_pairs)
    };
    routes.extend(["/score", "/v1/score"].map(score));
    routes
}

async fn rerank(State(app): State<SharedApp>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let answered = async { rank(&app, fields_of(&app, request).await?).await };
    spoken(&path, answered.await)
}

async fn score_pairs(State(app): State<SharedApp>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let answered = async { score_answer(&app, fields_of(&app, request).await?).await };
    spoken(&path, answered.await)
}

async fn rank(app: &SharedApp, mut fields: Fields) -> Result<Response, ApiError> {
    let name = vectors::model_or_only(app, &mut fields).await?;
    let query = fields.required_text("query")?;
    let top_n = fields.count("top_n", 1, usize::MAX)?;
    let returns_texts = match (fields.switch("return_text")?, fields.switch("return_documents")?) {
        (Some(returns), _) => returns,
        (None, returns) => returns.unwrap_or(false),
    };
    let is_raw = fields.switch("raw_scores")?.unwrap_or(false);
    let cuts = vectors::cuts(&mut fields)?;
    // TEI names the documents `texts` and answers with a bare list.
    let texts = fields.take("texts");
    let is_tei = texts.is_some();
    let field = if is_tei { "texts" } else { "documents" };
    let documents = documents(field, texts.or_else(|| fields.take("documents")))?;
    let top_n = top_n.unwrap_or(documents.len());
    let pairs = documents.iter().map(|document| (query.clone(), document.clone())).collect();
    let ask = ScoreAsk { pairs, is_raw, cuts };
    fields.accept(&["user"]);
    let ignored = fields.rest();
    let model = Arc::new(app.models.get(&name, None).await?);
    let scored = score(&model, ask).await?;
    let mut order: Vec<usize> = (0..documents.len()).collect();
    order.sort_by(|left, right| scored.scores[*right].total_cmp(&scored.scores[*left]));
    order.truncate(top_n);
    let results: Vec<Json> = order
        .into_iter()
        .map(|index| {
            let score = shortest(scored.scores[index]);
            let mut result = json!({ "index": index, if is_tei { "score" } else { "relevance_score" }: score });
            match (returns_texts, is_tei) {
                (true, true) => result["text"] = json!(documents[index]),
                (true, false) => result["document"] = json!({ "text": documents[index] }),
                (false, _) => {}
            }
            result
        })
        .collect();
    let body = match is_tei {
        true => Json::Array(results),
        false => json!({
            "id": super::openai::answer_id("rerank"),
            "object": "list",
            "model": name,
            "results": results,
            "usage": { "prompt_tokens": scored.token_count, "total_tokens": scored.token_count },
        }),
    };
    Ok(with_ignored(json_response(StatusCode::OK, &body), &ignored))
}

async fn score_answer(app: &SharedApp, mut fields: Fields) -> Result<Response, ApiError> {
    let name = vectors::model_or_only(app, &mut fields).await?;
    // vLLM's switch for the function that brings scores between 0 and 1.
    let is_raw = !fields.switch("use_activation")?.unwrap_or(true);
    let cuts = vectors::cuts(&mut fields)?;
    let mut texts = |names: [&str; 3]| -> Result<Vec<String>, ApiError> {
        let found = names.into_iter().find_map(|field| Some((field, fields.take(field)?)));
        let (field, value) = found.ok_or_else(|| ApiError::bad(names[0], format!("`{}` is missing", names[0])))?;
        let list = if value.is_string() { Json::Array(vec![value]) } else { value };
        documents(field, Some(list))
    };
    // The names of vLLM's newer versions stand behind the old ones.
    let left = texts(["text_1", "queries", "data_1"])?;
    let right = texts(["text_2", "documents", "data_2"])?;
    let pairs: Vec<(String, String)> = match (left.as_slice(), right) {
        ([one], right) => right.into_iter().map(|text| (one.clone(), text)).collect(),
        (left, right) if left.len() == right.len() => left.iter().cloned().zip(right).collect(),
        (left, right) => {
            let cause =
                format!("{} texts cannot be paired with {}: one, or as many, expected", left.len(), right.len());
            return Err(ApiError::bad("text_1", cause));
        }
    };
    let ask = ScoreAsk { pairs, is_raw, cuts };
    fields.accept(&["user"]);
    let ignored = fields.rest();
    let model = Arc::new(app.models.get(&name, None).await?);
    let scored = score(&model, ask).await?;
    let entry = |(index, score): (usize, &f32)| json!({ "index": index, "object": "score", "score": shortest(*score) });
    let body = json!({
        "id": super::openai::answer_id("score"),
        "object": "list",
        "created": std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_secs()),
        "model": name,
        "data": scored.scores.iter().enumerate().map(entry).collect::<Vec<_>>(),
        "usage": { "prompt_tokens": scored.token_count, "total_tokens": scored.token_count },
    });
    Ok(with_ignored(json_response(StatusCode::OK, &body), &ignored))
}

/// Texts, each a string or an object with a `text`.
fn documents(field: &str, value: Option<Json>) -> Result<Vec<String>, ApiError> {
    let items = match value {
        Some(Json::Array(items)) => items,
        Some(other) => return Err(wrong(field, &other, "a list of texts")),
        None => return Err(ApiError::bad(field, format!("`{field}` is missing, a list of texts is expected"))),
    };
    if items.is_empty() || items.len() > DOCUMENTS_MAX {
        let cause = format!("`{field}` has {} texts, 1 to {DOCUMENTS_MAX} expected", items.len());
        return Err(ApiError::bad(field, cause));
    }
    let text = |(index, item): (usize, Json)| {
        let text = match &item {
            Json::Object(map) => map.get("text").and_then(Json::as_str),
            other => other.as_str(),
        };
        match text {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            Some(_) => Err(ApiError::bad(field, format!("text {index} of `{field}` is empty"))),
            None => Err(wrong(&format!("{field}[{index}]"), &item, "a text, or an object with a `text`")),
        }
    };
    items.into_iter().enumerate().map(text).collect()
}

/// The number with as few digits as tell it apart from others of its size.
fn shortest(score: f32) -> f64 {
    score.to_string().parse().unwrap_or_else(|_| f64::from(score))
}
