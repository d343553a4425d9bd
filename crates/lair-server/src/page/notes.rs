//! `/lair/v1/notes/{presets,votes,results}`: small things that the page keeps whole.

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, json};

use super::conversations::done;
use super::on_shelf;
use super::store::NoteKind;
use super::wire::note_json;
use crate::dialects::json_response;
use crate::dialects::route::{Field, Kind, Route, fields_of, spoken};
use crate::error::{ApiError, ErrorKind};
use crate::keys::Scope;
use crate::server::SharedApp;

const NOTE_FIELDS: &[Field] = &[Field::required("id", Kind::Text), Field::required("body", Kind::Object)];

pub(super) fn routes() -> Vec<Route> {
    let chat = Scope::Chat;
    vec![
        Route::get(chat, "/lair/v1/notes/{kind}", "What is kept as `presets`, `votes` or `results`.", list),
        Route::post(chat, "/lair/v1/notes/{kind}", "Keeps one of them.", &[NOTE_FIELDS], put),
        Route::delete(chat, "/lair/v1/notes/{kind}/{id}", "Removes one of them.", &[], remove),
    ]
}

fn kind_of(word: &str) -> Result<NoteKind, ApiError> {
    NoteKind::of_plural(word).ok_or_else(|| {
        ApiError::new(ErrorKind::NotFound, format!("`{word}` is not kept, `presets`, `votes` or `results` expected"))
    })
}

async fn list(State(app): State<SharedApp>, Path(kind): Path<String>) -> Response {
    let answered = async {
        let kind = kind_of(&kind)?;
        let notes = on_shelf(&app, move |shelf| shelf.notes(kind)).await?;
        Ok(json_response(StatusCode::OK, &json!({ "notes": notes.iter().map(note_json).collect::<Vec<_>>() })))
    };
    spoken("/lair/", answered.await)
}

async fn put(State(app): State<SharedApp>, Path(kind): Path<String>, request: Request) -> Response {
    let answered = async {
        let mut fields = fields_of(&app, request).await?;
        let (id, body) = (fields.required_text("id")?, fields.object("body")?.unwrap_or_else(Map::new));
        let kind = kind_of(&kind)?;
        on_shelf(&app, move |shelf| shelf.put_note(kind, &id, &body)).await?;
        Ok(done(&fields.rest()))
    };
    spoken("/lair/", answered.await)
}

async fn remove(State(app): State<SharedApp>, Path((kind, id)): Path<(String, String)>) -> Response {
    let answered = async {
        let kind = kind_of(&kind)?;
        on_shelf(&app, move |shelf| shelf.remove_note(kind, &id)).await?;
        Ok(done(&[]))
    };
    spoken("/lair/", answered.await)
}
