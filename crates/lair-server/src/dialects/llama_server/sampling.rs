//! How llama-server's clients say what is to be sampled: its names, its samplers in order, its settings in the answer.

use lair_engine::sampler::{Mirostat, MirostatVersion};
use lair_engine::{Filter, Sampling};
use lair_text::tokenizer::{AddSpecial, Special, Tokenizer};
use serde_json::{Value as Json, json};

use crate::answer::{MirostatWishes, SamplingWishes};
use crate::dialects::route::{Field, Kind};
use crate::error::{ApiError, ErrorKind};
use crate::fields::{Fields, wrong};

/// Entries of `logit_bias`, and of `dry_sequence_breakers`.
const LIST_MAX: usize = 1024;
/// A bias that no logit makes up for: the token is banned.
const BAN: f32 = -1e6;

/// The fields that [`SamplingRequest::take`] takes.
pub(super) const FIELDS: &[Field] = &[
    Field::new("temperature", Kind::Number),
    Field::new("top_k", Kind::Whole),
    Field::new("top_p", Kind::Number),
    Field::new("min_p", Kind::Number),
    Field::new("typical_p", Kind::Number),
    Field::new("top_n_sigma", Kind::Number),
    Field::new("xtc_probability", Kind::Number),
    Field::new("xtc_threshold", Kind::Number),
    Field::new("repeat_penalty", Kind::Number),
    Field::new("repeat_last_n", Kind::Whole),
    Field::new("presence_penalty", Kind::Number),
    Field::new("frequency_penalty", Kind::Number),
    Field::new("dry_multiplier", Kind::Number),
    Field::new("dry_base", Kind::Number),
    Field::new("dry_allowed_length", Kind::Whole),
    Field::new("dry_penalty_last_n", Kind::Whole),
    Field::new("dry_sequence_breakers", Kind::List),
    Field::new("dynatemp_range", Kind::Number),
    Field::new("dynatemp_exponent", Kind::Number),
    Field::new("mirostat", Kind::Whole),
    Field::new("mirostat_tau", Kind::Number),
    Field::new("mirostat_eta", Kind::Number),
    Field::new("adaptive_target", Kind::Number),
    Field::new("adaptive_decay", Kind::Number),
    Field::new("min_keep", Kind::Whole),
    Field::new("seed", Kind::Whole),
    Field::new("samplers", Kind::Texts),
    Field::new("logit_bias", Kind::Mixed),
    Field::new("ignore_eos", Kind::Switch),
];

/// A token of `logit_bias`: by id, or all those of a text.
#[derive(Clone, Debug, PartialEq)]
enum Biased {
    Token(u32),
    Text(String),
}

/// What a request says about sampling, before a model is known.
#[derive(Clone, Debug, Default)]
pub(super) struct SamplingRequest {
    common: SamplingWishes,
    temperature_range: Option<f32>,
    temperature_exponent: Option<f32>,
    top_n_sigma: Option<f32>,
    xtc_probability: Option<f32>,
    xtc_threshold: Option<f32>,
    dry_multiplier: Option<f32>,
    dry_base: Option<f32>,
    dry_allowed_length: Option<usize>,
    dry_last_n: Option<usize>,
    dry_breakers: Option<Vec<String>>,
    biased: Vec<(Biased, f32)>,
    order: Option<Order>,
    pub(super) ignores_end: bool,
}

/// `samplers` of a request.
#[derive(Clone, Debug, PartialEq)]
struct Order {
    filters: Vec<Filter>,
    has_penalties: bool,
    has_dry: bool,
}

impl SamplingRequest {
    pub(super) fn take(fields: &mut Fields) -> Result<SamplingRequest, ApiError> {
        refuse_what_is_not_there(fields)?;
        let last_n = |fields: &mut Fields, name: &str| -> Result<Option<usize>, ApiError> {
            // -1 is the whole context.
            Ok(match fields.whole(name)? {
                Some(-1) => Some(usize::MAX >> 1),
                Some(count) => Some(
                    usize::try_from(count)
                        .map_err(|_| ApiError::bad(name, format!("`{name}` is {count}, -1 or more expected")))?,
                ),
                None => None,
            })
        };
        let common = SamplingWishes {
            temperature: fields.number("temperature")?,
            top_k: fields.whole("top_k")?.map(|count| usize::try_from(count).unwrap_or(0)),
            top_p: fields.number("top_p")?,
            min_p: fields.number("min_p")?,
            typical_p: fields.number("typical_p")?,
            repeat_penalty: fields.number("repeat_penalty")?,
            repeat_last_n: last_n(fields, "repeat_last_n")?,
            presence_penalty: fields.number("presence_penalty")?,
            frequency_penalty: fields.number("frequency_penalty")?,
            logit_bias: Vec::new(),
            // -1 is another seed each time.
            seed: fields.whole("seed")?.and_then(|seed| u64::try_from(seed).ok()),
            mirostat: MirostatWishes::take(fields)?,
        };
        Ok(SamplingRequest {
            common,
            // Below 0 it is off there.
            temperature_range: fields.number("dynatemp_range")?.map(|range| range.max(0.0)),
            temperature_exponent: fields.number("dynatemp_exponent")?,
            top_n_sigma: fields.number("top_n_sigma")?,
            xtc_probability: fields.number("xtc_probability")?,
            xtc_threshold: fields.number("xtc_threshold")?,
            dry_multiplier: fields.number("dry_multiplier")?,
            // Below 1 it means llama-server's default.
            dry_base: fields.number("dry_base")?.filter(|&base| base >= 1.0),
            dry_allowed_length: fields.count("dry_allowed_length", 0, 1 << 20)?,
            dry_last_n: last_n(fields, "dry_penalty_last_n")?,
            dry_breakers: breakers(fields)?,
            biased: biases(fields)?,
            order: order(fields)?,
            ignores_end: fields.switch("ignore_eos")?.unwrap_or(false),
        })
    }

    /// These wishes over what the model says itself.
    pub(super) fn over(&self, defaults: &Sampling, tokenizer: &Tokenizer) -> Result<Sampling, ApiError> {
        let mut sampling = self.common.over(defaults)?;
        let set = |target: &mut f32, wish: Option<f32>| *target = wish.unwrap_or(*target);
        set(&mut sampling.temperature_range, self.temperature_range);
        set(&mut sampling.temperature_exponent, self.temperature_exponent);
        set(&mut sampling.top_n_sigma, self.top_n_sigma);
        set(&mut sampling.xtc_probability, self.xtc_probability);
        set(&mut sampling.xtc_threshold, self.xtc_threshold);
        set(&mut sampling.dry.multiplier, self.dry_multiplier);
        set(&mut sampling.dry.base, self.dry_base);
        sampling.dry.allowed_length = self.dry_allowed_length.unwrap_or(sampling.dry.allowed_length);
        sampling.dry.last_n = self.dry_last_n.unwrap_or(sampling.dry.last_n);
        let plain = |text: &str| tokenizer.encode(text, Special::AsText, AddSpecial::No);
        if let Some(breakers) = &self.dry_breakers {
            sampling.dry.breakers = breakers.iter().map(|text| plain(text)).filter(|ids| !ids.is_empty()).collect();
        }
        if let Some(Order { filters, has_penalties, has_dry }) = &self.order {
            sampling.order.clone_from(filters);
            if !has_penalties {
                (sampling.repeat_penalty, sampling.presence_penalty, sampling.frequency_penalty) = (1.0, 0.0, 0.0);
            }
            if !has_dry {
                sampling.dry.multiplier = 0.0;
            }
        }
        for (what, bias) in &self.biased {
            match what {
                Biased::Token(token) => sampling.logit_bias.push((*token, *bias)),
                Biased::Text(text) => sampling.logit_bias.extend(plain(text).into_iter().map(|token| (token, *bias))),
            }
        }
        if self.ignores_end {
            sampling.logit_bias.extend(tokenizer.ends_of_generation().iter().map(|&token| (token, BAN)));
        }
        sampling.check().map_err(|error| ApiError::new(ErrorKind::BadRequest, error))?;
        Ok(sampling)
    }
}

/// Samplers that are not there may be named with the values that switch them off.
fn refuse_what_is_not_there(fields: &mut Fields) -> Result<(), ApiError> {
    let refuse =
        |name: &str, what: &str| Err(ApiError::unsupported(name, format!("`{name}` is not supported: {what}")));
    if fields.number("adaptive_target")?.is_some_and(|target| target >= 0.0) {
        return refuse("adaptive_target", "there is no adaptive sampler");
    }
    fields.number("adaptive_decay")?;
    if fields.whole("min_keep")?.is_some_and(|count| count > 1) {
        return refuse("min_keep", "filters keep at least one token, not a number of them");
    }
    Ok(())
}

fn breakers(fields: &mut Fields) -> Result<Option<Vec<String>>, ApiError> {
    let name = "dry_sequence_breakers";
    let Some(items) = fields.list(name)? else { return Ok(None) };
    if items.is_empty() || items.len() > LIST_MAX {
        let cause = format!("`{name}` has {} strings, 1 to {LIST_MAX} expected", items.len());
        return Err(ApiError::bad(name, cause));
    }
    let texts = items.into_iter().map(|item| match item {
        Json::String(text) => Ok(text),
        other => Err(wrong(name, &other, "a list of strings")),
    });
    texts.collect::<Result<_, _>>().map(Some)
}

/// `[[15043, 1.0], [" Hello", -0.5], [2, false]]`, or an object from tokens to biases as OpenAI has it.
fn biases(fields: &mut Fields) -> Result<Vec<(Biased, f32)>, ApiError> {
    let name = "logit_bias";
    let too_many = |count| ApiError::bad(name, format!("`{name}` has {count} entries, at most {LIST_MAX} expected"));
    let bias = |value: &Json| match value {
        Json::Bool(false) => Ok(BAN),
        Json::Number(number) => Ok(number.as_f64().map_or(BAN, |bias| bias as f32).clamp(BAN, -BAN)),
        other => Err(wrong(name, other, "a number, or false to ban the token")),
    };
    match fields.take(name) {
        None => Ok(Vec::new()),
        Some(Json::Array(entries)) if entries.len() > LIST_MAX => Err(too_many(entries.len())),
        Some(Json::Object(entries)) if entries.len() > LIST_MAX => Err(too_many(entries.len())),
        Some(Json::Array(entries)) => {
            let one = |entry: &Json| {
                let pair = entry.as_array().filter(|pair| pair.len() == 2);
                let pair = pair.ok_or_else(|| wrong("logit_bias[]", entry, "a pair of a token and a bias"))?;
                let what = match &pair[0] {
                    Json::String(text) => Biased::Text(text.clone()),
                    id => {
                        let token = id.as_u64().and_then(|id| u32::try_from(id).ok());
                        Biased::Token(token.ok_or_else(|| wrong("logit_bias[][0]", id, "a token id or a text"))?)
                    }
                };
                Ok((what, bias(&pair[1])?))
            };
            entries.iter().map(one).collect()
        }
        Some(Json::Object(entries)) => entries
            .iter()
            .map(|(key, value)| {
                let what = key.parse().map_or_else(|_| Biased::Text(key.clone()), Biased::Token);
                Ok((what, bias(value)?))
            })
            .collect(),
        Some(other) => Err(wrong(name, &other, "a list of pairs, or an object")),
    }
}

/// A sampler by llama-server's names and letters.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Filter(Filter),
    Penalties,
    Dry,
}

fn step_of_name(name: &str) -> Option<Step> {
    Some(match name {
        "penalties" | "e" => Step::Penalties,
        "dry" | "d" => Step::Dry,
        "top_n_sigma" | "top-n-sigma" | "s" => Step::Filter(Filter::TopNSigma),
        "top_k" | "top-k" | "k" => Step::Filter(Filter::TopK),
        "typ_p" | "typical_p" | "typical-p" | "typical" | "typ-p" | "typ" | "y" => Step::Filter(Filter::TypicalP),
        "top_p" | "top-p" | "nucleus" | "p" => Step::Filter(Filter::TopP),
        "min_p" | "min-p" | "m" => Step::Filter(Filter::MinP),
        "xtc" | "x" => Step::Filter(Filter::Xtc),
        "temperature" | "temp" | "t" => Step::Filter(Filter::Temperature),
        _ => return None,
    })
}

/// A list of names, or a string of letters.
fn order(fields: &mut Fields) -> Result<Option<Order>, ApiError> {
    let name = "samplers";
    let names: Vec<String> = match fields.take(name) {
        None => return Ok(None),
        Some(Json::String(letters)) => letters.chars().map(String::from).collect(),
        Some(Json::Array(items)) => items
            .into_iter()
            .map(|item| match item {
                Json::String(text) => Ok(text),
                other => Err(wrong(name, &other, "a list of strings")),
            })
            .collect::<Result<_, _>>()?,
        Some(other) => return Err(wrong(name, &other, "a list of strings, or a string of letters")),
    };
    let mut order = Order { filters: Vec::new(), has_penalties: false, has_dry: false };
    for text in names {
        let step = step_of_name(&text).ok_or_else(|| {
            ApiError::unsupported(name, format!("`{name}` names `{text}`, a sampler that is not there"))
        })?;
        let is_late = !order.filters.is_empty();
        match step {
            Step::Filter(filter) if order.filters.contains(&filter) => {
                return Err(ApiError::bad(name, format!("`{name}` names `{text}` twice")));
            }
            Step::Filter(filter) => order.filters.push(filter),
            Step::Penalties | Step::Dry if is_late => {
                let cause = format!("`{name}` has `{text}` after a filter: penalties come before all filters here");
                return Err(ApiError::unsupported(name, cause));
            }
            Step::Penalties => order.has_penalties = true,
            Step::Dry => order.has_dry = true,
        }
    }
    Ok(Some(order))
}

fn name_of_filter(filter: Filter) -> &'static str {
    match filter {
        Filter::TopNSigma => "top_n_sigma",
        Filter::TopK => "top_k",
        Filter::TypicalP => "typ_p",
        Filter::TopP => "top_p",
        Filter::MinP => "min_p",
        Filter::Xtc => "xtc",
        Filter::Temperature => "temperature",
    }
}

/// The sampling part of `generation_settings`, under llama-server's names.
pub(super) fn settings_json(sampling: &Sampling) -> Json {
    let samplers: Vec<&str> =
        ["penalties", "dry"].into_iter().chain(sampling.order.iter().map(|&filter| name_of_filter(filter))).collect();
    let version = match sampling.mirostat.map(|mirostat| mirostat.version) {
        None => 0,
        Some(MirostatVersion::One) => 1,
        Some(MirostatVersion::Two) => 2,
    };
    let mirostat = sampling.mirostat.unwrap_or(Mirostat::DEFAULT);
    // A ban is minus infinity there, which JSON has as null.
    let bias = |bias: f32| if bias <= BAN { Json::Null } else { json!(bias) };
    let biases: Vec<Json> =
        sampling.logit_bias.iter().map(|&(token, value)| json!({ "token": token, "bias": bias(value) })).collect();
    json!({
        // 2^32 - 1 is "a random one" in llama-server.
        "seed": sampling.seed.unwrap_or(u64::from(u32::MAX)),
        "temperature": sampling.temperature,
        "dynatemp_range": sampling.temperature_range,
        "dynatemp_exponent": sampling.temperature_exponent,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "top_n_sigma": sampling.top_n_sigma,
        "xtc_probability": sampling.xtc_probability,
        "xtc_threshold": sampling.xtc_threshold,
        "typical_p": sampling.typical_p,
        "repeat_last_n": sampling.penalty_last_n,
        "repeat_penalty": sampling.repeat_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "dry_multiplier": sampling.dry.multiplier,
        "dry_base": sampling.dry.base,
        "dry_allowed_length": sampling.dry.allowed_length,
        "dry_penalty_last_n": sampling.dry.last_n,
        "mirostat": version,
        "mirostat_tau": mirostat.target,
        "mirostat_eta": mirostat.rate,
        "adaptive_target": -1.0,
        "adaptive_decay": 0.9,
        "min_keep": 0,
        "samplers": samplers,
        "logit_bias": biases,
        "lora": [],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(json: &str) -> Result<SamplingRequest, ApiError> {
        SamplingRequest::take(&mut Fields::parse(json.as_bytes()).expect("an object"))
    }

    #[test]
    fn samplers_by_name_and_by_letter_are_the_same() {
        let names = take(r#"{"samplers": ["penalties", "dry", "top_k", "typ_p", "temperature"]}"#).expect("known");
        let letters = take(r#"{"samplers": "edkyt"}"#).expect("known");
        assert_eq!(names.order, letters.order);
        let order = names.order.expect("given");
        assert_eq!(order.filters, [Filter::TopK, Filter::TypicalP, Filter::Temperature]);
        assert!(order.has_penalties && order.has_dry);
    }

    #[test]
    fn what_is_not_there_is_refused_by_name_and_its_off_value_is_not() {
        for (json, name) in [
            (r#"{"mirostat": "two"}"#, "mirostat"),
            (r#"{"dynatemp_range": []}"#, "dynatemp_range"),
            (r#"{"adaptive_target": 0.5}"#, "adaptive_target"),
            (r#"{"min_keep": 5}"#, "min_keep"),
            (r#"{"samplers": ["infill"]}"#, "samplers"),
            (r#"{"samplers": ["top_k", "penalties"]}"#, "samplers"),
            (r#"{"samplers": "kk"}"#, "samplers"),
            (r#"{"dry_sequence_breakers": []}"#, "dry_sequence_breakers"),
            (r#"{"logit_bias": [[1]]}"#, "logit_bias[]"),
            (r#"{"logit_bias": [[1, true]]}"#, "logit_bias"),
            (r#"{"repeat_last_n": -2}"#, "repeat_last_n"),
        ] {
            let error = take(json).expect_err(json);
            assert_eq!((error.parameter.as_deref(), error.status()), (Some(name), 400), "{json}");
        }
        let off = r#"{"mirostat": 0, "mirostat_tau": 5, "mirostat_eta": 0.1, "dynatemp_range": 0, "dynatemp_exponent": 1,
            "adaptive_target": -1, "adaptive_decay": 0.9, "min_keep": 0}"#;
        assert!(take(off).is_ok());
    }

    #[test]
    fn biases_come_as_pairs_and_as_an_object() {
        let pairs = take(r#"{"logit_bias": [[5, 1.5], ["a", -2], [7, false]]}"#).expect("pairs").biased;
        let text = Biased::Text("a".to_owned());
        assert_eq!(pairs, [(Biased::Token(5), 1.5), (text.clone(), -2.0), (Biased::Token(7), BAN)]);
        let object = take(r#"{"logit_bias": {"5": 1.5, "a": -2, "7": false}}"#).expect("an object").biased;
        assert_eq!(object, pairs);
    }

    #[test]
    fn a_sampler_that_is_not_in_the_order_is_off() {
        let Some(path) = lair_testkit::shared_data("tokenizers/ggml-vocab-qwen2.gguf") else { return };
        let file = lair_gguf::GgufFile::open(&path).expect("a sound file");
        let tokenizer = Tokenizer::from_gguf(file.metadata()).expect("a known tokenizer");
        let request = r#"{"samplers": ["top_k"], "repeat_penalty": 2, "dry_multiplier": 1, "ignore_eos": true}"#;
        let sampling = take(request).expect("known").over(&Sampling::default(), &tokenizer).expect("in range");
        assert_eq!((sampling.repeat_penalty, sampling.dry.multiplier), (1.0, 0.0));
        assert_eq!(sampling.order, [Filter::TopK]);
        assert!(!sampling.logit_bias.is_empty());
        assert!(settings_json(&sampling)["logit_bias"][0]["bias"].is_null());
    }
}
