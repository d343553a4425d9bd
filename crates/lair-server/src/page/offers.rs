//! `/lair/v1/search` and `/lair/v1/files`: models that could be fetched.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde_json::{Value as Json, json};

use super::page_of;
use crate::dialects::json_response;
use crate::dialects::route::{Route, parameter, spoken};
use crate::error::ApiError;
use crate::keys::Scope;
use crate::loaded::blocking;
use crate::offers::{Offer, OfferedFile};
use crate::server::SharedApp;

/// Bytes of the words of a search.
const WORDS_BYTES_MAX: usize = 200;

pub(super) fn routes() -> Vec<Route> {
    // Searching asks the hub, in the name of the server's owner.
    let writes = Scope::ModelsWrite;
    vec![
        Route::get(writes, "/lair/v1/search", "Models that could be fetched, by the words of `query`.", search),
        Route::get(writes, "/lair/v1/files", "The files of a `model` to choose from.", files),
    ]
}

fn offer_json(offer: &Offer) -> Json {
    json!({
        "name": offer.name, "description": offer.description, "licence": offer.licence, "size_bytes": offer.size_bytes,
        "needs_bytes": offer.needs_bytes, "downloads": offer.downloads, "is_gated": offer.is_gated,
        "has_choices": offer.has_choices,
    })
}

fn file_json(file: &OfferedFile) -> Json {
    json!({ "name": file.name, "size_bytes": file.size_bytes, "needs_bytes": file.needs_bytes })
}

async fn search(State(app): State<SharedApp>, uri: Uri) -> Response {
    let answered = async {
        page_of(&app)?;
        let words = parameter(&uri, "query").unwrap_or_default();
        if words.len() > WORDS_BYTES_MAX {
            let cause = format!("`query` has {} bytes, at most {WORDS_BYTES_MAX} expected", words.len());
            return Err(ApiError::bad("query", cause));
        }
        let source = Arc::clone(app.models.source());
        let found = blocking(move || source.search(words.trim())).await?;
        let body = json!({
            "offers": found.offers.iter().map(offer_json).collect::<Vec<_>>(),
            "note": found.note,
            "available_bytes": found.available_bytes,
        });
        Ok(json_response(StatusCode::OK, &body))
    };
    spoken("/lair/", answered.await)
}

async fn files(State(app): State<SharedApp>, uri: Uri) -> Response {
    let answered = async {
        page_of(&app)?;
        let name = parameter(&uri, "model").ok_or_else(|| ApiError::bad("model", "`model` is missing"))?;
        let source = Arc::clone(app.models.source());
        let files = blocking(move || source.offered_files(&name)).await?;
        Ok(json_response(StatusCode::OK, &json!({ "files": files.iter().map(file_json).collect::<Vec<_>>() })))
    };
    spoken("/lair/", answered.await)
}
