//! `/tokenize`, `/detokenize` and `/apply-template`: what the model is given, without an answer.
//!
//! vLLM has routes of the same names with other fields. A request is vLLM's if it has `prompt` or `messages` where
//! llama-server's has `content`.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use lair_text::prompt;
use lair_text::tokenizer::{AddSpecial, ShowSpecial, Special, Tokenizer};
use serde_json::{Map, Value as Json, json};

use super::request::{PromptPart, parts};
use crate::default_model::model_or_only;
use crate::dialects::route::{Field, Kind};
use crate::dialects::{json_response, openai, with_ignored};
use crate::error::ApiError;
use crate::fields::{Fields, wrong};
use crate::loaded::{Lease, blocking};
use crate::server::SharedApp;

/// Fields of `/tokenize`, in both dialects.
pub(super) const TOKENIZE_FIELDS: &[Field] = &[
    Field::new("model", Kind::Text),
    Field::new("content", Kind::Mixed),
    Field::new("add_special", Kind::Switch),
    Field::new("parse_special", Kind::Switch),
    Field::new("with_pieces", Kind::Switch),
    Field::new("prompt", Kind::Text),
    Field::new("messages", Kind::List),
    Field::new("add_special_tokens", Kind::Switch),
    Field::new("add_generation_prompt", Kind::Switch),
    Field::new("return_token_strs", Kind::Switch),
    Field::new("tools", Kind::List),
    Field::new("chat_template_kwargs", Kind::Object),
];
/// Fields of `/detokenize`.
pub(super) const DETOKENIZE_FIELDS: &[Field] = &[Field::new("model", Kind::Text), Field::new("tokens", Kind::List)];
/// Fields of `/apply-template`.
pub(super) const TEMPLATE_FIELDS: &[Field] = &[
    Field::new("model", Kind::Text),
    Field::required("messages", Kind::List),
    Field::new("tools", Kind::List),
    Field::new("chat_template_kwargs", Kind::Object),
];

async fn lease(app: &SharedApp, fields: &mut Fields) -> Result<Arc<Lease>, ApiError> {
    let name = model_or_only(app, fields.text("model")?).await?;
    Ok(Arc::new(app.models.get(&name, None).await?))
}

/// What `/tokenize` is asked for, in either dialect.
struct TokenizeRequest {
    content: Option<Vec<PromptPart>>,
    prompt: Option<String>,
    conversation: Option<Messages>,
    adds_special: Option<bool>,
    special: Special,
    has_pieces: bool,
    has_strings: bool,
}

impl TokenizeRequest {
    fn take(fields: &mut Fields) -> Result<TokenizeRequest, ApiError> {
        let content = match fields.take("content") {
            None => None,
            Some(Json::String(text)) => Some(vec![PromptPart::Text(text)]),
            Some(Json::Array(items)) => Some(parts("content", &items)?),
            Some(other) => return Err(wrong("content", &other, "a string, or a list of strings and token ids")),
        };
        let (of_llama, of_vllm) = (fields.switch("add_special")?, fields.switch("add_special_tokens")?);
        let parses = fields.switch("parse_special")?;
        let has_pieces = fields.switch("with_pieces")?.unwrap_or(false);
        let has_strings = fields.switch("return_token_strs")?.unwrap_or(false);
        let opens_answer = fields.switch("add_generation_prompt")?.unwrap_or(true);
        let request = TokenizeRequest {
            prompt: fields.text("prompt")?,
            conversation: take_conversation(fields)?,
            adds_special: of_llama.or(of_vllm),
            // llama-server reads control tokens in a text, vLLM's clients mark them by the template.
            special: if parses.unwrap_or(content.is_some()) { Special::Parse } else { Special::AsText },
            has_pieces,
            has_strings,
            content,
        };
        let texts = [request.content.is_some(), request.prompt.is_some(), request.conversation.is_some()];
        if texts.into_iter().filter(|&is_given| is_given).count() > 1 {
            return Err(ApiError::bad("prompt", "give one of `content`, `prompt` and `messages`"));
        }
        if request.conversation.is_some() && !opens_answer {
            // The template always opens the answer, as a request for one would.
            let cause = "`add_generation_prompt` is false: prompts that do not open an answer are not supported";
            return Err(ApiError::unsupported("add_generation_prompt", cause));
        }
        Ok(request)
    }

    fn tokens(&self, model: &Lease) -> Result<Vec<u32>, ApiError> {
        let tokenizer = &model.tokenizer;
        if let Some(conversation) = &self.conversation {
            return conversation.tokens(model);
        }
        if let Some(text) = &self.prompt {
            return Ok(match self.adds_special {
                Some(false) => tokenizer.encode(text, self.special, AddSpecial::No),
                _ => prompt::tokens_of_text(tokenizer, text, self.special),
            });
        }
        let mut tokens = Vec::new();
        for (index, part) in self.content.iter().flatten().enumerate() {
            let is_framed = index == 0 && self.adds_special == Some(true);
            match part {
                PromptPart::Tokens(ids) => tokens.extend(ids),
                PromptPart::Text(text) => {
                    let add = if is_framed { AddSpecial::Yes } else { AddSpecial::No };
                    tokens.extend(tokenizer.encode(text, self.special, add));
                }
            }
        }
        Ok(tokens)
    }
}

pub(super) async fn tokenize(app: &SharedApp, mut fields: Fields) -> Result<Response, ApiError> {
    let request = TokenizeRequest::take(&mut fields)?;
    let model = lease(app, &mut fields).await?;
    let ignored = fields.rest();
    // A text of many megabytes takes seconds.
    let body = blocking(move || {
        let tokens = request.tokens(&model)?;
        let text = |id: u32| String::from_utf8_lossy(model.tokenizer.token_bytes(id).unwrap_or_default()).into_owned();
        let strings: Option<Vec<String>> = request.has_strings.then(|| tokens.iter().map(|&id| text(id)).collect());
        let listed: Vec<Json> = if request.has_pieces {
            tokens.iter().map(|&id| piece_json(&model.tokenizer, id)).collect::<Result<_, _>>()?
        } else {
            tokens.into_iter().map(Json::from).collect()
        };
        let count = listed.len();
        let mut body = json!({ "tokens": listed });
        if request.prompt.is_some() || request.conversation.is_some() {
            body["count"] = json!(count);
            body["max_model_len"] = json!(model.context_length);
        }
        if let Some(strings) = strings {
            body["token_strs"] = json!(strings);
        }
        Ok(body)
    })
    .await?;
    Ok(with_ignored(json_response(StatusCode::OK, &body), &ignored))
}

/// A token with its text; where that is no UTF-8 by itself, with its bytes.
fn piece_json(tokenizer: &Tokenizer, id: u32) -> Result<Json, ApiError> {
    let bytes = tokenizer.token_bytes(id).map_err(|error| ApiError::bad("content", error))?;
    let piece = std::str::from_utf8(bytes).map_or_else(|_| json!(bytes), |text| json!(text));
    Ok(json!({ "id": id, "piece": piece }))
}

pub(super) async fn detokenize(app: &SharedApp, mut fields: Fields) -> Result<Response, ApiError> {
    let items = fields.list("tokens")?.unwrap_or_default();
    let id = |item: &Json| item.as_u64().and_then(|id| u32::try_from(id).ok());
    let tokens = items.iter().map(|item| id(item).ok_or_else(|| wrong("tokens", item, "a token id")));
    let tokens: Vec<u32> = tokens.collect::<Result<_, _>>()?;
    let model = lease(app, &mut fields).await?;
    let ignored = fields.rest();
    let text = model.tokenizer.decode(&tokens, ShowSpecial::Show).map_err(|error| ApiError::bad("tokens", error))?;
    // The same text under llama-server's name and under vLLM's.
    let body = json!({ "content": text, "prompt": text });
    Ok(with_ignored(json_response(StatusCode::OK, &body), &ignored))
}

/// Messages and what the template is told besides.
struct Messages {
    messages: Vec<Json>,
    tools: Option<Vec<Json>>,
    variables: Option<Map<String, Json>>,
}

impl Messages {
    fn tokens(&self, model: &Lease) -> Result<Vec<u32>, ApiError> {
        model.tokens_of_conversation(&self.messages, self.tools.as_deref(), self.variables.as_ref())
    }
}

fn take_conversation(fields: &mut Fields) -> Result<Option<Messages>, ApiError> {
    let tools = fields.list("tools")?.filter(|tools| !tools.is_empty());
    let variables = fields.object("chat_template_kwargs")?;
    let Some(messages) = fields.take("messages") else { return Ok(None) };
    let mut alone = Fields::of([("messages".to_owned(), messages)].into_iter().collect());
    Ok(Some(Messages { messages: openai::messages(&mut alone)?, tools, variables }))
}

pub(super) async fn apply_template(app: &SharedApp, mut fields: Fields) -> Result<Response, ApiError> {
    let conversation = take_conversation(&mut fields)?;
    let conversation = conversation.ok_or_else(|| ApiError::bad("messages", "`messages` is missing"))?;
    let model = lease(app, &mut fields).await?;
    let ignored = fields.rest();
    let tokens = conversation.tokens(&model)?;
    // The token that begins every text is not the template's.
    let begin = prompt::begin_token(&model.tokenizer);
    let tokens = match tokens.split_first() {
        Some((first, rest)) if Some(*first) == begin => rest,
        _ => &tokens,
    };
    let text = model.tokenizer.decode(tokens, ShowSpecial::Show).map_err(|error| ApiError::bad("messages", error))?;
    Ok(with_ignored(json_response(StatusCode::OK, &json!({ "prompt": text })), &ignored))
}
