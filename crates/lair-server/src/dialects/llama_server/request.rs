//! A request for a completion in llama-server's words: prompts in all their forms, and how the answer is to look.

use lair_text::grammar::GrammarSource;
use lair_text::prompt;
use lair_text::tokenizer::{AddSpecial, Special, Tokenizer};
use serde_json::Value as Json;

use super::sampling::SamplingRequest;
use crate::answer::stop_strings;
use crate::constrained::ConstraintWish;
use crate::dialects::route::{Field, Kind};
use crate::error::ApiError;
use crate::fields::{Fields, wrong};

/// Answers to one prompt.
const CHOICES_MAX: usize = 16;
/// Prompts of one request.
const PROMPTS_MAX: usize = 256;
/// Likely tokens beside each token.
const PROBS_MAX: usize = 100;

/// The fields that [`CompletionRequest::take`] takes besides those of sampling.
pub(super) const FIELDS: &[Field] = &[
    Field::new("model", Kind::Text),
    Field::new("n_predict", Kind::Whole),
    Field::new("max_tokens", Kind::Whole),
    Field::new("n_cmpl", Kind::Whole),
    Field::new("n", Kind::Whole),
    Field::new("stream", Kind::Switch),
    Field::new("stop", Kind::Texts),
    Field::new("n_probs", Kind::Whole),
    Field::new("post_sampling_probs", Kind::Switch),
    Field::new("cache_prompt", Kind::Switch),
    Field::new("return_tokens", Kind::Switch),
    Field::new("timings_per_token", Kind::Switch),
    Field::new("response_fields", Kind::Texts),
    Field::new("t_max_predict_ms", Kind::Whole),
    Field::new("sse_ping_interval", Kind::Whole),
    Field::new("id_slot", Kind::Whole),
    Field::new("n_keep", Kind::Whole),
    Field::new("n_discard", Kind::Whole),
    Field::new("n_cache_reuse", Kind::Whole),
    Field::new("n_indent", Kind::Whole),
    Field::new("return_progress", Kind::Switch),
    Field::new("grammar", Kind::Text),
    Field::new("grammar_lazy", Kind::Switch),
    Field::new("json_schema", Kind::Object),
    Field::new("lora", Kind::List),
];

/// A completion that is asked for, its prompt left out.
#[derive(Clone, Debug)]
pub(super) struct CompletionRequest {
    pub(super) model: Option<String>,
    pub(super) max_tokens: Option<usize>,
    pub(super) choice_count: usize,
    pub(super) is_stream: bool,
    pub(super) stop: Option<Vec<String>>,
    pub(super) probability_count: usize,
    pub(super) is_cached: bool,
    /// The slot that the answer is noted under; the lowest free one if it is not said.
    pub(super) slot: Option<usize>,
    pub(super) returns_tokens: bool,
    pub(super) times_tokens: bool,
    pub(super) response_fields: Vec<String>,
    /// Once a line has ended, the answer ends after this time.
    pub(super) time_max_ms: Option<u64>,
    pub(super) ping_seconds: Option<u64>,
    pub(super) sampling: SamplingRequest,
    /// What the answer must be.
    pub(super) constraint: Option<ConstraintWish>,
    /// Adapters by their numbers, with their factors.
    pub(super) adapters: Option<Vec<(usize, f32)>>,
}

impl CompletionRequest {
    pub(super) fn take(fields: &mut Fields) -> Result<CompletionRequest, ApiError> {
        refuse_what_is_not_there(fields)?;
        let mut max_tokens = None;
        for name in ["n_predict", "max_tokens", "max_completion_tokens"] {
            match fields.whole(name)? {
                // To the end of the answer or of the context.
                None | Some(-2..=-1) => {}
                Some(count) => {
                    let count = usize::try_from(count)
                        .map_err(|_| ApiError::bad(name, format!("`{name}` is {count}, -1 or more expected")))?;
                    max_tokens = max_tokens.or(Some(count));
                }
            }
        }
        let mut choice_count = 1;
        for name in ["n", "n_cmpl"] {
            choice_count = fields.count(name, 1, CHOICES_MAX)?.unwrap_or(choice_count);
        }
        let (n_probs, logprobs) = (fields.count("n_probs", 0, PROBS_MAX)?, fields.count("logprobs", 0, PROBS_MAX)?);
        Ok(CompletionRequest {
            model: fields.text("model")?,
            max_tokens,
            choice_count,
            is_stream: fields.switch("stream")?.unwrap_or(false),
            stop: stop_strings(fields, "stop")?,
            probability_count: n_probs.or(logprobs).unwrap_or(0),
            is_cached: fields.switch("cache_prompt")?.unwrap_or(true),
            slot: slot(fields)?,
            returns_tokens: fields.switch("return_tokens")?.unwrap_or(false),
            times_tokens: fields.switch("timings_per_token")?.unwrap_or(false),
            response_fields: fields.texts("response_fields")?,
            time_max_ms: positive(fields, "t_max_predict_ms")?,
            ping_seconds: positive(fields, "sse_ping_interval")?,
            sampling: SamplingRequest::take(fields)?,
            constraint: constraint(fields)?,
            adapters: fields.list("lora")?.map(|adapters| adapter_list("lora", &adapters)).transpose()?,
        })
    }
}

/// A JSON schema, or a grammar in llama.cpp's own notation; an empty grammar is none.
fn constraint(fields: &mut Fields) -> Result<Option<ConstraintWish>, ApiError> {
    let schema = fields.object("json_schema")?.map(|schema| ConstraintWish::schema("json_schema", schema.into()));
    let grammar = fields.text("grammar")?.filter(|grammar| !grammar.is_empty());
    match (schema, grammar) {
        (Some(_), Some(_)) => Err(ApiError::bad("grammar", "`grammar` and `json_schema` are both given, one expected")),
        (schema, None) => Ok(schema),
        (None, Some(grammar)) => Ok(Some(ConstraintWish::new("grammar", GrammarSource::Gbnf(grammar)))),
    }
}

/// Adapters by their numbers, with their factors: `[{"id": 0, "scale": 0.5}]`.
pub(super) fn adapter_list(field: &str, adapters: &[Json]) -> Result<Vec<(usize, f32)>, ApiError> {
    let read = |adapter: &Json| {
        let number = adapter["id"].as_u64().and_then(|id| usize::try_from(id).ok());
        let scale = adapter["scale"].as_f64().map(|scale| scale as f32).filter(|scale| scale.is_finite());
        number.zip(scale).ok_or_else(|| {
            let cause = format!("`{field}` has {adapter}, an object with the numbers `id` and `scale` expected");
            ApiError::bad(field, cause)
        })
    };
    adapters.iter().map(read).collect()
}

/// `id_slot`: -1 is any.
fn slot(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    match fields.whole("id_slot")? {
        None | Some(-1) => Ok(None),
        Some(slot) => {
            let slot = usize::try_from(slot).map_err(|_| ApiError::bad("id_slot", "`id_slot` is below -1"))?;
            Ok(Some(slot))
        }
    }
}

/// A whole number above 0; 0 and -1 switch the thing off.
fn positive(fields: &mut Fields, name: &str) -> Result<Option<u64>, ApiError> {
    match fields.whole(name)? {
        None | Some(-1) => Ok(None),
        Some(count) => match u64::try_from(count) {
            Ok(count) => Ok(Some(count).filter(|&count| count > 0)),
            Err(_) => Err(ApiError::bad(name, format!("`{name}` is {count}, -1 or more expected"))),
        },
    }
}

fn refuse_what_is_not_there(fields: &mut Fields) -> Result<(), ApiError> {
    fields
        .refuse("post_sampling_probs", "probabilities after the filters are not kept; those before are in `n_probs`")?;
    fields.refuse("return_progress", "the progress of a prompt is not told")?;
    fields.refuse("grammar_lazy", "an answer follows its schema from the start")?;
    if fields.count("n_indent", 0, 1 << 20)?.is_some_and(|indent| indent > 0) {
        return Err(ApiError::unsupported("n_indent", "`n_indent` is not supported: lines are not looked at"));
    }
    // What to drop from a full context: an answer ends where the context does, so these change nothing.
    if fields.whole("n_keep")?.is_some_and(|value| value < -1) {
        return Err(ApiError::bad("n_keep", "`n_keep` is below -1"));
    }
    for name in ["n_discard", "n_cache_reuse"] {
        fields.count(name, 0, 1 << 30)?;
    }
    Ok(())
}

/// A part of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PromptPart {
    Text(String),
    Tokens(Vec<u32>),
}

/// The prompts of a request: each a list of parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prompts {
    pub(super) prompts: Vec<Vec<PromptPart>>,
    /// Whether they came as a list: then the answer is one too.
    pub(super) is_list: bool,
}

/// A string; tokens; tokens and strings in one; or a list of any of these. A string may also come as
/// `{"prompt_string": ...}`.
pub(super) fn prompts(fields: &mut Fields, name: &str) -> Result<Prompts, ApiError> {
    let value = fields.take(name).ok_or_else(|| ApiError::bad(name, format!("`{name}` is missing")))?;
    let one = |prompt: Vec<PromptPart>| Prompts { prompts: vec![prompt], is_list: false };
    match value {
        Json::Array(items) if items.is_empty() => Err(ApiError::bad(name, format!("`{name}` is empty"))),
        Json::Array(items) if items.iter().any(Json::is_number) => Ok(one(parts(name, &items)?)),
        Json::Array(items) if items.len() > PROMPTS_MAX => {
            Err(ApiError::bad(name, format!("`{name}` has {} prompts, at most {PROMPTS_MAX} expected", items.len())))
        }
        Json::Array(items) => {
            let prompts = items.iter().map(|item| match item {
                Json::Array(inner) => parts(name, inner),
                other => Ok(vec![part(name, other)?]),
            });
            Ok(Prompts { prompts: prompts.collect::<Result<_, _>>()?, is_list: true })
        }
        other => Ok(one(vec![part(name, &other)?])),
    }
}

/// Numbers are tokens, strings are text.
pub(super) fn parts(name: &str, items: &[Json]) -> Result<Vec<PromptPart>, ApiError> {
    let mut parts: Vec<PromptPart> = Vec::new();
    for item in items {
        match (item, parts.last_mut()) {
            (Json::Number(number), last) => {
                let id = number.as_u64().and_then(|id| u32::try_from(id).ok());
                let id = id.ok_or_else(|| wrong(name, item, "a token id"))?;
                match last {
                    Some(PromptPart::Tokens(tokens)) => tokens.push(id),
                    _ => parts.push(PromptPart::Tokens(vec![id])),
                }
            }
            _ => parts.push(part(name, item)?),
        }
    }
    Ok(parts)
}

fn part(name: &str, value: &Json) -> Result<PromptPart, ApiError> {
    match value {
        Json::String(text) => Ok(PromptPart::Text(text.clone())),
        Json::Object(map) => {
            let mut fields = Fields::of(map.clone());
            fields.refuse("multimodal_data", "the model reads no pictures and no sound")?;
            fields.required_text("prompt_string").map(PromptPart::Text)
        }
        other => Err(wrong(name, other, "a string, token ids, or a list of them")),
    }
}

/// The tokens of a prompt. Text at its beginning gets the token that begins a text; spellings of control tokens count.
pub(super) fn tokens_of_parts(tokenizer: &Tokenizer, parts: &[PromptPart]) -> Vec<u32> {
    let mut tokens = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        match part {
            PromptPart::Text(text) if index == 0 => {
                tokens.extend(prompt::tokens_of_text(tokenizer, text, Special::Parse));
            }
            PromptPart::Text(text) => tokens.extend(tokenizer.encode(text, Special::Parse, AddSpecial::No)),
            PromptPart::Tokens(ids) => tokens.extend(ids),
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Fields {
        Fields::parse(json.as_bytes()).expect("an object")
    }

    fn text(text: &str) -> PromptPart {
        PromptPart::Text(text.to_owned())
    }

    #[test]
    fn prompts_come_in_all_their_forms() {
        let tokens = |ids: &[u32]| PromptPart::Tokens(ids.to_vec());
        for (json, prompts_expected, is_list) in [
            (r#""a""#, vec![vec![text("a")]], false),
            ("[1, 2]", vec![vec![tokens(&[1, 2])]], false),
            (r#"[1, "a", 2, 3, "b"]"#, vec![vec![tokens(&[1]), text("a"), tokens(&[2, 3]), text("b")]], false),
            (r#"["a", "b"]"#, vec![vec![text("a")], vec![text("b")]], true),
            (r#"[[1, 2], "a"]"#, vec![vec![tokens(&[1, 2])], vec![text("a")]], true),
            (r#"[[1, "a"], {"prompt_string": "b"}]"#, vec![vec![tokens(&[1]), text("a")], vec![text("b")]], true),
            (r#"{"prompt_string": "a"}"#, vec![vec![text("a")]], false),
        ] {
            let found = prompts(&mut fields(&format!(r#"{{"prompt": {json}}}"#)), "prompt").expect(json);
            assert_eq!(found, Prompts { prompts: prompts_expected, is_list }, "{json}");
        }
        for json in [
            "[]",
            "5",
            "true",
            "[-1]",
            "[1.5]",
            "[4294967296]",
            "[true]",
            "[null]",
            "{}",
            r#"[{"a": 1}]"#,
            r#"{"prompt_string": "a", "multimodal_data": ["eA=="]}"#,
        ] {
            assert!(prompts(&mut fields(&format!(r#"{{"prompt": {json}}}"#)), "prompt").is_err(), "{json}");
        }
        assert!(prompts(&mut fields("{}"), "prompt").is_err());
    }

    #[test]
    fn names_of_the_same_thing_are_honoured() {
        let take = |json| CompletionRequest::take(&mut fields(json)).expect("fine");
        for (json, expected) in [
            (r#"{"n_predict": -1}"#, None),
            (r#"{"n_predict": 0}"#, Some(0)),
            (r#"{"max_tokens": 5}"#, Some(5)),
            (r#"{"n_predict": 3, "max_tokens": 5}"#, Some(3)),
        ] {
            assert_eq!(take(json).max_tokens, expected, "{json}");
        }
        assert_eq!(take(r#"{"n": 3}"#).choice_count, 3);
        assert_eq!(take(r#"{"n_probs": 3}"#).probability_count, 3);
        assert_eq!(take(r#"{"t_max_predict_ms": -1}"#).time_max_ms, None);
        let mut all =
            fields(r#"{"id_slot": 0, "n_keep": -1, "n_discard": 0, "n_cache_reuse": 0, "lora": [], "odd": 1}"#);
        CompletionRequest::take(&mut all).expect("fine");
        assert_eq!(all.rest(), ["odd"]);
        for json in [
            r#"{"n_predict": -3}"#,
            r#"{"id_slot": -2}"#,
            r#"{"n_keep": -2}"#,
            r#"{"n_discard": -1}"#,
            r#"{"n_probs": 101}"#,
            r#"{"lora": [{"id": 0}]}"#,
            r#"{"lora": [{"id": -1, "scale": 1}]}"#,
            r#"{"grammar": "root ::= \"x\"", "json_schema": {"type": "string"}}"#,
            r#"{"grammar_lazy": true}"#,
            r#"{"n": 17}"#,
        ] {
            assert_eq!(CompletionRequest::take(&mut fields(json)).expect_err(json).status(), 400);
        }
    }
}
