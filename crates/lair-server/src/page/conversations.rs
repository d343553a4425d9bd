//! `/lair/v1/conversations` and `/lair/v1/folders`. What is made or changed is posted; ids come from the client, so that it
//! need not wait for an answer to go on.

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde_json::json;

use super::on_shelf;
use super::store::{ConversationChange, Folder, Message, MessageChange, now_ms};
use super::wire::{conversation_json, folder_json, line_json};
use crate::dialects::json_response;
use crate::dialects::route::{Field, Kind, Route, fields_of, parameter, spoken};
use crate::dialects::with_ignored;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::keys::Scope;
use crate::server::SharedApp;

const CONVERSATION_FIELDS: &[Field] = &[
    Field::new("title", Kind::Text),
    Field::new("folder_id", Kind::Mixed),
    Field::new("is_pinned", Kind::Switch),
    Field::new("model", Kind::Text),
    Field::new("settings", Kind::Object),
    Field::new("leaf_id", Kind::Mixed),
];
const NEW_FIELDS: &[Field] = &[Field::required("id", Kind::Text)];
const MESSAGE_FIELDS: &[Field] = &[
    Field::required("id", Kind::Text),
    Field::new("parent_id", Kind::Text),
    Field::required("role", Kind::Text),
    Field::required("content", Kind::Text),
    Field::new("extra", Kind::Object),
];
const MESSAGE_CHANGE_FIELDS: &[Field] = &[Field::new("content", Kind::Text), Field::new("extra", Kind::Object)];
const FOLDER_FIELDS: &[Field] = &[Field::required("id", Kind::Text), Field::required("name", Kind::Text)];

const ALL: &str = "/lair/v1/conversations";
const ONE: &str = "/lair/v1/conversations/{id}";
const MESSAGES: &str = "/lair/v1/conversations/{id}/messages";
const MESSAGE: &str = "/lair/v1/conversations/{id}/messages/{message}";

pub(super) fn routes() -> Vec<Route> {
    let chat = Scope::Chat;
    let new_fields = &[NEW_FIELDS, CONVERSATION_FIELDS];
    vec![
        Route::get(chat, ALL, "Conversations and folders; with `search` those that have its words.", list),
        Route::post(chat, ALL, "Makes a conversation.", new_fields, add),
        Route::get(chat, ONE, "A conversation with all of its messages.", one),
        Route::post(chat, ONE, "Changes a conversation.", &[CONVERSATION_FIELDS], change),
        Route::delete(chat, ONE, "Forgets a conversation.", &[], remove),
        Route::post(chat, MESSAGES, "Adds a message.", &[MESSAGE_FIELDS], add_message),
        Route::post(chat, MESSAGE, "Changes a message.", &[MESSAGE_CHANGE_FIELDS], change_message),
        Route::delete(chat, MESSAGE, "Removes a message and what follows it.", &[], remove_message),
        Route::post(chat, "/lair/v1/folders", "Makes or renames a folder.", &[FOLDER_FIELDS], put_folder),
        Route::delete(chat, "/lair/v1/folders/{id}", "Removes a folder, not what is in it.", &[], remove_folder),
    ]
}

/// What the API answers where there is nothing to say.
pub(super) fn done(ignored: &[String]) -> Response {
    with_ignored(json_response(StatusCode::OK, &json!({ "done": true })), ignored)
}

/// A text, or `null` for "none": not the same as leaving the field out.
fn clearable(fields: &mut Fields, name: &'static str) -> Result<Option<Option<String>>, ApiError> {
    let is_there = fields.has(name);
    let value = fields.text(name)?;
    Ok(is_there.then_some(value))
}

fn change_of(fields: &mut Fields) -> Result<ConversationChange, ApiError> {
    Ok(ConversationChange {
        title: fields.text("title")?,
        folder_id: clearable(fields, "folder_id")?,
        is_pinned: fields.switch("is_pinned")?,
        model: fields.text("model")?,
        settings: fields.object("settings")?,
        leaf_id: clearable(fields, "leaf_id")?,
        updated_ms: None,
    })
}

async fn list(State(app): State<SharedApp>, uri: Uri) -> Response {
    let answered = async {
        let words = parameter(&uri, "search").unwrap_or_default();
        let read = on_shelf(&app, move |shelf| Ok((shelf.conversations(&words)?, shelf.folders()?)));
        let (conversations, folders) = read.await?;
        let body = json!({
            "conversations": conversations.iter().map(line_json).collect::<Vec<_>>(),
            "folders": folders.iter().map(folder_json).collect::<Vec<_>>(),
        });
        Ok(json_response(StatusCode::OK, &body))
    };
    spoken("/lair/", answered.await)
}

async fn add(State(app): State<SharedApp>, request: Request) -> Response {
    let answered = async {
        let mut fields = fields_of(&app, request).await?;
        let (id, change) = (fields.required_text("id")?, change_of(&mut fields)?);
        on_shelf(&app, move |shelf| shelf.add_conversation(&id, &change)).await?;
        Ok(done(&fields.rest()))
    };
    spoken("/lair/", answered.await)
}

async fn one(State(app): State<SharedApp>, Path(id): Path<String>) -> Response {
    let answered = async {
        let conversation = on_shelf(&app, move |shelf| shelf.conversation(&id)).await?;
        Ok(json_response(StatusCode::OK, &conversation_json(&conversation)))
    };
    spoken("/lair/", answered.await)
}

async fn change(State(app): State<SharedApp>, Path(id): Path<String>, request: Request) -> Response {
    let answered = async {
        let mut fields = fields_of(&app, request).await?;
        let change = change_of(&mut fields)?;
        on_shelf(&app, move |shelf| shelf.change_conversation(&id, &change)).await?;
        Ok(done(&fields.rest()))
    };
    spoken("/lair/", answered.await)
}

async fn remove(State(app): State<SharedApp>, Path(id): Path<String>) -> Response {
    let removed = on_shelf(&app, move |shelf| shelf.remove_conversation(&id)).await;
    spoken("/lair/", removed.map(|()| done(&[])))
}

async fn add_message(State(app): State<SharedApp>, Path(id): Path<String>, request: Request) -> Response {
    let answered = async {
        let mut fields = fields_of(&app, request).await?;
        let message = Message {
            id: fields.required_text("id")?,
            parent_id: fields.text("parent_id")?,
            role: fields.required_text("role")?,
            content: fields.required_text("content")?,
            extra: fields.object("extra")?.unwrap_or_default(),
            created_ms: now_ms(),
        };
        on_shelf(&app, move |shelf| shelf.add_message(&id, &message)).await?;
        Ok(done(&fields.rest()))
    };
    spoken("/lair/", answered.await)
}

type MessagePath = Path<(String, String)>;

async fn change_message(State(app): State<SharedApp>, path: MessagePath, request: Request) -> Response {
    let Path((id, message)) = path;
    let answered = async {
        let mut fields = fields_of(&app, request).await?;
        let change = MessageChange { content: fields.text("content")?, extra: fields.object("extra")? };
        on_shelf(&app, move |shelf| shelf.change_message(&id, &message, &change)).await?;
        Ok(done(&fields.rest()))
    };
    spoken("/lair/", answered.await)
}

async fn remove_message(State(app): State<SharedApp>, Path((id, message)): MessagePath) -> Response {
    let removed = on_shelf(&app, move |shelf| shelf.remove_message(&id, &message)).await;
    spoken("/lair/", removed.map(|()| done(&[])))
}

async fn put_folder(State(app): State<SharedApp>, request: Request) -> Response {
    let answered = async {
        let mut fields = fields_of(&app, request).await?;
        let folder = Folder { id: fields.required_text("id")?, name: fields.required_text("name")? };
        on_shelf(&app, move |shelf| shelf.put_folder(&folder)).await?;
        Ok(done(&fields.rest()))
    };
    spoken("/lair/", answered.await)
}

async fn remove_folder(State(app): State<SharedApp>, Path(id): Path<String>) -> Response {
    let removed = on_shelf(&app, move |shelf| shelf.remove_folder(&id)).await;
    spoken("/lair/", removed.map(|()| done(&[])))
}
