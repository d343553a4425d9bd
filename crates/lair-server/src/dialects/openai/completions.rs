//! `/v1/completions`: text in, text on.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use futures_util::stream::{self, Stream, StreamExt};
use lair_engine::{Constraint, TokenLogprob, Usage};
use lair_text::tokenizer::ShowSpecial;
use serde_json::{Map, Value as Json, json};

use super::error_body;
use super::wire::{self, CHOICES_MAX, Options, TOP_LOGPROBS_MAX};
use crate::constrained::{self, Begins};
use crate::dialects::{json_response, stream_response, with_ignored};
use crate::error::ApiError;
use crate::fields::{Fields, wrong};
use crate::generation::{Ask, End, Generation, Piece, TokenStep, Whole};
use crate::infill::{Gap, tokens_of_gap};
use crate::loaded::Lease;
use crate::server::SharedApp;

/// A prompt as it is given.
enum Prompt {
    Text(String),
    Tokens(Vec<u32>),
}

#[derive(Clone)]
struct Frame {
    id: String,
    created: u64,
    model: String,
}

/// Where the next token's text begins, for `text_offset`.
#[derive(Clone, Copy, Default)]
struct Offset(usize);

pub(crate) async fn answer(app: &SharedApp, mut fields: Fields) -> Result<Response, ApiError> {
    let mut options = Options::take(&mut fields)?;
    let prompts = prompts(&mut fields)?;
    let is_echo = fields.switch("echo")?.unwrap_or(false);
    let logprobs = fields.count("logprobs", 0, TOP_LOGPROBS_MAX)?;
    if let Some(best_of) = fields.count("best_of", 1, CHOICES_MAX)?
        && best_of != options.choice_count
    {
        let cause = format!("`best_of` is {best_of} and `n` {}: only equal ones are supported", options.choice_count);
        return Err(ApiError::unsupported("best_of", cause));
    }
    let suffix = fields.text("suffix")?.filter(|suffix| !suffix.is_empty());
    if prompts.len() * options.choice_count > CHOICES_MAX * CHOICES_MAX {
        let cause = format!("{} prompts with `n` {} are too many answers", prompts.len(), options.choice_count);
        return Err(ApiError::bad("prompt", cause));
    }
    if is_echo && options.is_stream {
        return Err(ApiError::unsupported("echo", "`echo` with `stream` is not supported"));
    }
    // OpenAI's default for this endpoint; 0 only computes the prompt.
    options.max_tokens.get_or_insert(16);
    let ignored = fields.rest();

    let model = Arc::new(app.models.get(&options.model, None).await?);
    let prompts = tokens_of_prompts(&model, prompts, suffix)?;
    let constraint = match &options.constraint {
        Some(wish) => Some(constrained::constraint(&model, wish, &[], Begins::AtOnce).await?),
        None => None,
    };
    let generations = start_all(&model, &options, &prompts, (logprobs, is_echo), constraint)?;
    let frame = Frame { id: wire::answer_id("cmpl"), created: wire::now_s(), model: options.model.clone() };
    let response = if options.is_stream {
        stream_response(
            "text/event-stream",
            chunks(frame, model, generations, logprobs.is_some(), options.has_usage_chunk),
        )
    } else {
        whole(&frame, &model, generations, &prompts, (is_echo, logprobs.is_some(), options.choice_count)).await?
    };
    Ok(with_ignored(response, &ignored))
}

fn prompts(fields: &mut Fields) -> Result<Vec<Prompt>, ApiError> {
    let value = fields.take("prompt").ok_or_else(|| ApiError::bad("prompt", "`prompt` is missing"))?;
    let tokens = |items: &[Json]| -> Result<Vec<u32>, ApiError> {
        let id = |item: &Json| item.as_u64().and_then(|id| u32::try_from(id).ok());
        items.iter().map(|item| id(item).ok_or_else(|| wrong("prompt", item, "a token id"))).collect()
    };
    let prompts = match value {
        Json::String(text) => vec![Prompt::Text(text)],
        Json::Array(items) if items.first().is_some_and(Json::is_number) => vec![Prompt::Tokens(tokens(&items)?)],
        Json::Array(items) => items
            .into_iter()
            .map(|item| match item {
                Json::String(text) => Ok(Prompt::Text(text)),
                Json::Array(ids) => Ok(Prompt::Tokens(tokens(&ids)?)),
                other => Err(wrong("prompt", &other, "a string or a list of token ids")),
            })
            .collect::<Result<_, _>>()?,
        other => return Err(wrong("prompt", &other, "a string, token ids, or a list of them")),
    };
    if prompts.is_empty() {
        return Err(ApiError::bad("prompt", "`prompt` is empty, at least one expected"));
    }
    Ok(prompts)
}

fn tokens_of_prompts(model: &Lease, prompts: Vec<Prompt>, suffix: Option<String>) -> Result<Vec<Vec<u32>>, ApiError> {
    let tokens = |prompt| match (prompt, &suffix) {
        (Prompt::Text(text), None) => Ok(model.tokens_of_raw_prompt(&text)),
        (Prompt::Tokens(tokens), None) => Ok(tokens),
        (Prompt::Text(prefix), Some(suffix)) => {
            tokens_of_gap(&model.tokenizer, &Gap { prefix, suffix: suffix.clone(), ..Gap::default() })
        }
        (Prompt::Tokens(_), Some(_)) => {
            Err(ApiError::bad("suffix", "`suffix` needs a `prompt` of text, not of tokens"))
        }
    };
    prompts.into_iter().map(tokens).collect()
}

fn start_all(
    model: &Arc<Lease>,
    options: &Options,
    prompts: &[Vec<u32>],
    (logprobs, is_echo): (Option<usize>, bool),
    constraint: Option<Constraint>,
) -> Result<Vec<Generation>, ApiError> {
    let sampling = options.sampling.over(&model.default_sampling)?;
    let mut generations = Vec::new();
    for tokens in prompts {
        for index in 0..options.choice_count {
            let mut sampling = sampling.clone();
            sampling.seed = sampling.seed.map(|seed| seed.wrapping_add(index as u64));
            let ask = Ask {
                tokens: tokens.clone(),
                max_tokens: options.max_tokens,
                sampling,
                stop: options.stop.clone().unwrap_or_default(),
                ignores_end: options.ignores_end,
                logprobs,
                constraint: constraint.clone(),
                prompt_logprobs: is_echo && logprobs.is_some(),
                ..Ask::default()
            };
            generations.push(Generation::start(model, ask)?);
        }
    }
    Ok(generations)
}

async fn whole(
    frame: &Frame,
    model: &Lease,
    generations: Vec<Generation>,
    prompts: &[Vec<u32>],
    (is_echo, has_logprobs, choice_count): (bool, bool, usize),
) -> Result<Response, ApiError> {
    let answers = futures_util::future::try_join_all(generations.into_iter().map(Generation::collect)).await?;
    let mut usage = Usage::default();
    let mut choices = Vec::new();
    let timings = answers.last().map(|answer| wire::timings_json(&answer.end));
    for (index, answer) in answers.into_iter().enumerate() {
        let mut of_prompt = Usage::default();
        wire::add_usage(&mut of_prompt, &answer.end.usage);
        usage.prompt_tokens += if index % choice_count == 0 { of_prompt.prompt_tokens } else { 0 };
        usage.cached_tokens += of_prompt.cached_tokens;
        usage.completion_tokens += of_prompt.completion_tokens;
        let echoed = is_echo.then(|| prompts[index / choice_count].as_slice());
        choices.push(choice_json(model, index, answer, echoed, has_logprobs));
    }
    let mut body = base(frame);
    body["choices"] = Json::Array(choices);
    body["usage"] = wire::usage_json(&usage);
    body["timings"] = json!(timings);
    Ok(json_response(StatusCode::OK, &body))
}

fn choice_json(model: &Lease, index: usize, answer: Whole, echoed: Option<&[u32]>, has_logprobs: bool) -> Json {
    let mut offset = Offset::default();
    let mut lists = Lists::default();
    let mut text = String::new();
    if let Some(tokens) = echoed {
        text = model.tokenizer.decode(tokens, ShowSpecial::Hide).unwrap_or_default();
        if let (true, Some((logprobs, top))) = (has_logprobs, &answer.prompt) {
            lists.push(model, &mut offset, tokens[0], None, &[]);
            for ((&token, &logprob), top) in tokens[1..].iter().zip(logprobs).zip(top) {
                lists.push(model, &mut offset, token, Some(logprob), top);
            }
        }
    }
    text.push_str(&answer.text);
    for TokenStep { token, logprob, top } in &answer.steps {
        lists.push(model, &mut offset, *token, *logprob, top);
    }
    json!({
        "index": index,
        "text": text,
        "logprobs": if has_logprobs { lists.json() } else { Json::Null },
        "finish_reason": answer.end.reason.word(),
    })
}

/// The lists of this endpoint's `logprobs`.
#[derive(Default)]
struct Lists {
    tokens: Vec<String>,
    token_logprobs: Vec<Json>,
    top_logprobs: Vec<Json>,
    text_offset: Vec<usize>,
}

impl Lists {
    fn push(&mut self, model: &Lease, offset: &mut Offset, token: u32, logprob: Option<f32>, top: &[TokenLogprob]) {
        let spelling =
            |token: u32| String::from_utf8_lossy(model.tokenizer.token_bytes(token).unwrap_or_default()).into_owned();
        let text = spelling(token);
        self.text_offset.push(offset.0);
        offset.0 += text.chars().count();
        self.tokens.push(text);
        self.token_logprobs.push(logprob.map_or(Json::Null, |logprob| json!(wire::finite(logprob))));
        let map: Map<String, Json> =
            top.iter().map(|entry| (spelling(entry.token), json!(wire::finite(entry.logprob)))).collect();
        self.top_logprobs.push(if logprob.is_some() { Json::Object(map) } else { Json::Null });
    }

    fn json(self) -> Json {
        let Lists { tokens, token_logprobs, top_logprobs, text_offset } = self;
        json!({
            "tokens": tokens,
            "token_logprobs": token_logprobs,
            "top_logprobs": top_logprobs,
            "text_offset": text_offset,
        })
    }
}

fn base(frame: &Frame) -> Json {
    json!({
        "id": frame.id,
        "object": "text_completion",
        "created": frame.created,
        "model": frame.model,
        "system_fingerprint": crate::dialects::fingerprint(),
        "choices": [],
    })
}

enum Said {
    Chunk(Json),
    End(Result<End, ApiError>),
}

fn chunks(
    frame: Frame,
    model: Arc<Lease>,
    generations: Vec<Generation>,
    has_logprobs: bool,
    has_usage_chunk: bool,
) -> impl Stream<Item = String> + Send {
    let mut open = generations.len();
    let answers = generations.into_iter().enumerate().map(|(index, generation)| {
        let model = Arc::clone(&model);
        let state = (generation, Offset::default(), false);
        stream::unfold(state, move |(mut generation, mut offset, has_ended)| {
            let model = Arc::clone(&model);
            async move {
                if has_ended {
                    return None;
                }
                let said = match generation.next().await? {
                    Ok(Piece::Prompt { .. }) => Said::Chunk(Json::Null),
                    Ok(Piece::Text { text, tokens }) => {
                        let mut lists = Lists::default();
                        tokens.iter().for_each(|step| {
                            lists.push(&model, &mut offset, step.token, step.logprob, &step.top);
                        });
                        let logprobs = if has_logprobs { lists.json() } else { Json::Null };
                        Said::Chunk(
                            json!({ "index": index, "text": text, "logprobs": logprobs, "finish_reason": null }),
                        )
                    }
                    Ok(Piece::End(end)) => Said::End(Ok(end)),
                    Err(error) => Said::End(Err(error)),
                };
                let has_ended = matches!(said, Said::End(_));
                Some(((index, said), (generation, offset, has_ended)))
            }
        })
        .boxed()
    });
    let mut usage = Usage::default();
    let mut has_failed = false;
    stream::select_all(answers)
        .map(move |(index, said)| match said {
            _ if has_failed => String::new(),
            Said::Chunk(Json::Null) => String::new(),
            Said::Chunk(choice) => {
                let mut chunk = base(&frame);
                chunk["choices"] = json!([choice]);
                format!("data: {chunk}\n\n")
            }
            Said::End(Err(error)) => {
                has_failed = true;
                format!("data: {}\n\n", error_body(&error))
            }
            Said::End(Ok(end)) => {
                wire::add_usage(&mut usage, &end.usage);
                open -= 1;
                let mut chunk = base(&frame);
                let word = end.reason.word();
                chunk["choices"] = json!([{ "index": index, "text": "", "logprobs": null, "finish_reason": word }]);
                chunk["timings"] = wire::timings_json(&end);
                let mut text = format!("data: {chunk}\n\n");
                if open == 0 {
                    if has_usage_chunk {
                        let mut last = base(&frame);
                        last["usage"] = wire::usage_json(&usage);
                        text += &format!("data: {last}\n\n");
                    }
                    text += "data: [DONE]\n\n";
                }
                text
            }
        })
        .filter(|text| std::future::ready(!text.is_empty()))
}
