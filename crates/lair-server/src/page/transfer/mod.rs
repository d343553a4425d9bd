//! Conversations in files: out of the page and into it, in its own form and in those of other programs.
//!
//! A file of another program is read for what is common to all: titles, messages with who spoke, branches, models, times.

mod lm_studio;
mod markdown;
mod open_webui;
mod own;

use std::collections::HashMap;

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value as Json, json};

use super::on_shelf;
use super::store::{ConversationChange, Folder, Message, PageError, Shelf, now_ms};
use crate::answer::unique_name;
use crate::dialects::json_response;
use crate::dialects::route::{Field, Kind, Route, fields_of, parameter, spoken};
use crate::dialects::with_ignored;
use crate::error::ApiError;
use crate::keys::Scope;
use crate::server::SharedApp;

const IMPORT_FIELDS: &[Field] = &[Field::new("name", Kind::Text), Field::required("data", Kind::Mixed)];

pub(super) fn routes() -> Vec<Route> {
    let chat = Scope::Chat;
    vec![
        Route::get(
            chat,
            "/lair/v1/conversations/{id}/export",
            "A conversation as a file; `format` is `json` or `markdown`.",
            export_one,
        ),
        Route::get(chat, "/lair/v1/export", "All conversations as a file.", export_all),
        Route::post(
            chat,
            "/lair/v1/import",
            "Takes conversations of a file, of this page, Open WebUI or LM Studio.",
            &[IMPORT_FIELDS],
            import,
        ),
    ]
}

/// A conversation that comes from a file. The names of its messages are those of the file.
#[derive(Clone, Debug, Default, PartialEq)]
struct Imported {
    title: String,
    /// The name of its folder.
    folder: Option<String>,
    is_pinned: bool,
    model: Option<String>,
    settings: Map<String, Json>,
    updated_ms: Option<i64>,
    leaf_id: Option<String>,
    messages: Vec<Message>,
}

async fn export_one(State(app): State<SharedApp>, Path(id): Path<String>, uri: Uri) -> Response {
    let answered = async {
        let format = parameter(&uri, "format").unwrap_or_else(|| "json".to_owned());
        let conversation = on_shelf(&app, move |shelf| shelf.conversation(&id)).await?;
        match format.as_str() {
            "json" => Ok(json_response(StatusCode::OK, &own::document(&[conversation], &[]))),
            "markdown" => {
                let kind = [(header::CONTENT_TYPE, "text/markdown; charset=utf-8")];
                Ok((StatusCode::OK, kind, markdown::document(&conversation)).into_response())
            }
            other => Err(ApiError::bad("format", format!("`format` is `{other}`, json or markdown expected"))),
        }
    };
    spoken("/lair/", answered.await)
}

async fn export_all(State(app): State<SharedApp>) -> Response {
    let answered = async {
        let read = on_shelf(&app, |shelf| {
            let lines = shelf.conversations("")?;
            let whole = lines.iter().map(|line| shelf.conversation(&line.id)).collect::<Result<Vec<_>, _>>()?;
            Ok((whole, shelf.folders()?))
        });
        let (conversations, folders) = read.await?;
        Ok(json_response(StatusCode::OK, &own::document(&conversations, &folders)))
    };
    spoken("/lair/", answered.await)
}

async fn import(State(app): State<SharedApp>, request: Request) -> Response {
    let answered = async {
        let mut fields = fields_of(&app, request).await?;
        let name = fields.text("name")?.unwrap_or_default();
        let data = fields.take("data").ok_or_else(|| ApiError::bad("data", "`data` is missing"))?;
        let ignored = fields.rest();
        let imported = read(&data, &name).ok_or_else(|| {
            ApiError::bad("data", "`data` is no export of conversations that is known")
                .with_hint("exports of this page, of Open WebUI and conversations of LM Studio are read".to_owned())
        })?;
        let (count, notes) = on_shelf(&app, move |shelf| keep_all(shelf, imported)).await?;
        let body = json!({ "imported": count, "notes": notes });
        Ok(with_ignored(json_response(StatusCode::OK, &body), &ignored))
    };
    spoken("/lair/", answered.await)
}

/// The conversations of a file, in whichever form it is; nothing if it is in none that is known.
fn read(data: &Json, name: &str) -> Option<Vec<Imported>> {
    own::read(data).or_else(|| lm_studio::read(data, name)).or_else(|| open_webui::read(data))
}

/// Keeps what was read. What cannot be kept of a conversation is told.
fn keep_all(shelf: &Shelf<'_>, imported: Vec<Imported>) -> Result<(usize, Vec<String>), PageError> {
    let mut notes = Vec::new();
    let mut folders: HashMap<String, String> =
        shelf.folders()?.into_iter().map(|folder| (folder.name, folder.id)).collect();
    let mut count = 0;
    for mut one in imported {
        let whole = one.messages.len();
        let names = in_order(&mut one.messages);
        if one.messages.len() < whole {
            notes.push(format!("`{}`: {} messages answer none that is there", one.title, whole - one.messages.len()));
        }
        keep(shelf, one, &names, &mut folders)?;
        count += 1;
    }
    Ok((count, notes))
}

fn keep(
    shelf: &Shelf<'_>,
    one: Imported,
    names: &HashMap<String, String>,
    folders: &mut HashMap<String, String>,
) -> Result<(), PageError> {
    let id = unique_name("c");
    let folder_id = match one.folder {
        None => None,
        Some(name) => match folders.get(&name) {
            Some(id) => Some(id.clone()),
            None => {
                let folder = Folder { id: unique_name("f"), name: name.clone() };
                shelf.put_folder(&folder)?;
                folders.insert(name, folder.id.clone());
                Some(folder.id)
            }
        },
    };
    let change = ConversationChange {
        title: Some(one.title),
        folder_id: Some(folder_id),
        is_pinned: Some(one.is_pinned),
        model: one.model,
        settings: Some(one.settings),
        ..ConversationChange::default()
    };
    shelf.add_conversation(&id, &change)?;
    for message in &one.messages {
        shelf.add_message(&id, message)?;
    }
    let leaf_id = one.leaf_id.and_then(|leaf| names.get(&leaf).cloned());
    let updated_ms = one.updated_ms.or_else(|| one.messages.iter().map(|message| message.created_ms).max());
    // A branch that is not named is the one that the last message ends.
    let leaf_id = leaf_id.map(Some).filter(|_| !one.messages.is_empty());
    shelf.change_conversation(&id, &ConversationChange { leaf_id, updated_ms, ..ConversationChange::default() })
}

/// Puts each message after its parent and gives all of them plain names; says which became which. What cannot be reached from
/// a first message is left out.
fn in_order(messages: &mut Vec<Message>) -> HashMap<String, String> {
    let known: HashMap<&str, usize> =
        messages.iter().enumerate().map(|(index, message)| (message.id.as_str(), index)).collect();
    let mut children: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut order = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        match message.parent_id.as_deref().and_then(|parent| known.get(parent)) {
            Some(parent) => children.entry(*parent).or_default().push(index),
            None => order.push(index),
        }
    }
    let mut at = 0;
    while let Some(index) = order.get(at).copied() {
        order.extend(children.remove(&index).unwrap_or_default());
        at += 1;
    }
    // Later messages stay later: branches come in the order in which they were begun.
    let names: HashMap<String, String> =
        order.iter().enumerate().map(|(place, index)| (messages[*index].id.clone(), format!("m{place}"))).collect();
    let ordered: Vec<Message> = order
        .iter()
        .enumerate()
        .map(|(place, index)| {
            let message = &messages[*index];
            let parent_id = message.parent_id.as_ref().and_then(|parent| names.get(parent)).cloned();
            Message { id: format!("m{place}"), parent_id, ..message.clone() }
        })
        .collect();
    *messages = ordered;
    names
}

fn text(json: &Json, name: &str) -> Option<String> {
    json[name].as_str().map(str::to_owned)
}

/// A moment in seconds or milliseconds: seconds of this age are no milliseconds of any conversation.
fn moment_ms(json: &Json) -> Option<i64> {
    let number = json.as_f64().filter(|number| number.is_finite() && *number > 0.0)?;
    Some(if number < 1e11 { (number * 1000.0) as i64 } else { number as i64 })
}

/// Who speaks, by the words that programs have for it.
fn role_of(word: &str) -> &'static str {
    match word {
        "assistant" | "model" => "assistant",
        "system" => "system",
        "tool" | "function" => "tool",
        _ => "user",
    }
}

/// A message with nothing but its text.
fn plain_message(id: String, parent_id: Option<String>, role: &str, content: String) -> Message {
    Message { id, parent_id, role: role_of(role).to_owned(), content, extra: Map::new(), created_ms: now_ms() }
}

#[cfg(test)]
mod tests;
