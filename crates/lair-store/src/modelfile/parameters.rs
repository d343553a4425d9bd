//! Parameters of a model: names, types, and a set of them.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::error::ModelfileError;
use super::go_json::{self, float_text};
use crate::near::near;

/// What values a parameter has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterKind {
    /// A whole number.
    Whole,
    /// A number.
    Real,
    /// True or false.
    Switch,
    /// Any number of texts.
    Texts,
}

/// What a parameter does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterEffect {
    /// Chooses among the next tokens, or says when to stop: counts for a request.
    Sampling,
    /// How the model is loaded.
    Load,
    /// Nothing any more; accepted, so that old Modelfiles work, and the user is told.
    Ignored,
}

/// A parameter that `PARAMETER` knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownParameter {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: ParameterKind,
    /// What it does.
    pub effect: ParameterEffect,
}

/// All parameters. Source: Ollama's documentation of the Modelfile and of its API.
pub const fn known_parameters() -> &'static [KnownParameter] {
    KNOWN
}

const KNOWN: &[KnownParameter] = &[
    known("num_keep", ParameterKind::Whole, ParameterEffect::Sampling),
    known("seed", ParameterKind::Whole, ParameterEffect::Sampling),
    known("num_predict", ParameterKind::Whole, ParameterEffect::Sampling),
    known("top_k", ParameterKind::Whole, ParameterEffect::Sampling),
    known("top_p", ParameterKind::Real, ParameterEffect::Sampling),
    known("min_p", ParameterKind::Real, ParameterEffect::Sampling),
    known("typical_p", ParameterKind::Real, ParameterEffect::Sampling),
    known("repeat_last_n", ParameterKind::Whole, ParameterEffect::Sampling),
    known("temperature", ParameterKind::Real, ParameterEffect::Sampling),
    known("repeat_penalty", ParameterKind::Real, ParameterEffect::Sampling),
    known("presence_penalty", ParameterKind::Real, ParameterEffect::Sampling),
    known("frequency_penalty", ParameterKind::Real, ParameterEffect::Sampling),
    known("stop", ParameterKind::Texts, ParameterEffect::Sampling),
    known("num_ctx", ParameterKind::Whole, ParameterEffect::Load),
    known("num_batch", ParameterKind::Whole, ParameterEffect::Load),
    known("num_gpu", ParameterKind::Whole, ParameterEffect::Load),
    known("main_gpu", ParameterKind::Whole, ParameterEffect::Load),
    known("use_mmap", ParameterKind::Switch, ParameterEffect::Load),
    known("num_thread", ParameterKind::Whole, ParameterEffect::Load),
    known("draft_num_predict", ParameterKind::Whole, ParameterEffect::Load),
    known("penalize_newline", ParameterKind::Switch, ParameterEffect::Ignored),
    known("low_vram", ParameterKind::Switch, ParameterEffect::Ignored),
    known("f16_kv", ParameterKind::Switch, ParameterEffect::Ignored),
    known("logits_all", ParameterKind::Switch, ParameterEffect::Ignored),
    known("vocab_only", ParameterKind::Switch, ParameterEffect::Ignored),
    known("use_mlock", ParameterKind::Switch, ParameterEffect::Ignored),
    known("mirostat", ParameterKind::Whole, ParameterEffect::Sampling),
    known("mirostat_tau", ParameterKind::Real, ParameterEffect::Sampling),
    known("mirostat_eta", ParameterKind::Real, ParameterEffect::Sampling),
    known("tfs_z", ParameterKind::Real, ParameterEffect::Ignored),
    known("numa", ParameterKind::Switch, ParameterEffect::Ignored),
    known("num_gqa", ParameterKind::Whole, ParameterEffect::Ignored),
    known("rope_frequency_base", ParameterKind::Real, ParameterEffect::Ignored),
    known("rope_frequency_scale", ParameterKind::Real, ParameterEffect::Ignored),
    known("embedding_only", ParameterKind::Switch, ParameterEffect::Ignored),
];

const fn known(name: &'static str, kind: ParameterKind, effect: ParameterEffect) -> KnownParameter {
    KnownParameter { name, kind, effect }
}

impl KnownParameter {
    /// The parameter with this name.
    pub fn find(name: &str) -> Option<&'static KnownParameter> {
        KNOWN.iter().find(|known| known.name == name)
    }
}

/// The value of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum ParameterValue {
    /// Of a [`ParameterKind::Whole`] parameter.
    Whole(i64),
    /// Of a [`ParameterKind::Real`] parameter.
    Real(f64),
    /// Of a [`ParameterKind::Switch`] parameter.
    Switch(bool),
    /// Of a [`ParameterKind::Texts`] parameter.
    Texts(Vec<String>),
    /// Of a parameter that only the stored model knows; kept as it is.
    Unknown(Json),
}

/// A set of parameters, sorted by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    values: BTreeMap<String, ParameterValue>,
}

impl Parameters {
    /// The parameters of a `params` layer: a JSON object.
    ///
    /// # Errors
    /// [`ModelfileError::ParameterValue`] for a known parameter with a value of another type. Whole numbers may be written
    /// as others (`4096.0`), numbers and switches as texts.
    pub fn from_json(json: &Json) -> Result<Parameters, ModelfileError> {
        let Json::Object(fields) = json else {
            return Err(wrong_value("params", json, "a JSON object", None));
        };
        let mut parameters = Parameters::default();
        for (name, value) in fields {
            let value = match KnownParameter::find(name) {
                Some(known) => value_of_json(known, value)?,
                None => ParameterValue::Unknown(value.clone()),
            };
            parameters.values.insert(name.clone(), value);
        }
        Ok(parameters)
    }

    /// The bytes of a `params` layer, as Ollama writes them.
    pub fn to_layer(&self) -> Vec<u8> {
        go_json::to_bytes(&self.to_json())
    }

    /// As a JSON object, sorted by name.
    pub fn to_json(&self) -> Json {
        self.values
            .iter()
            .map(|(name, value)| (name.clone(), value.to_json()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    /// Takes what `PARAMETER name value` says; a `stop` text is added to those that are there, others replace.
    ///
    /// # Errors
    /// [`ModelfileError::UnknownParameter`], [`ModelfileError::ParameterValue`].
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), ModelfileError> {
        let value = check_parameter(name, value, None)?;
        match (self.values.get_mut(name), value) {
            (Some(ParameterValue::Texts(texts)), ParameterValue::Texts(more)) => texts.extend(more),
            (_, value) => {
                self.values.insert(name.to_string(), value);
            }
        }
        Ok(())
    }

    /// Puts a value in the place of what is there.
    pub fn insert(&mut self, name: impl Into<String>, value: ParameterValue) {
        self.values.insert(name.into(), value);
    }

    /// Takes a parameter out.
    pub fn remove(&mut self, name: &str) -> Option<ParameterValue> {
        self.values.remove(name)
    }

    /// These, and for names that are not here, those of `base`: all `stop` texts are one value.
    pub fn over(mut self, base: &Parameters) -> Parameters {
        for (name, value) in &base.values {
            self.values.entry(name.clone()).or_insert_with(|| value.clone());
        }
        self
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Name and value of each, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ParameterValue)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&ParameterValue> {
        self.values.get(name)
    }

    /// The value of a whole number.
    pub fn whole(&self, name: &str) -> Option<i64> {
        match self.values.get(name)? {
            ParameterValue::Whole(value) => Some(*value),
            _ => None,
        }
    }

    /// The value of a number.
    pub fn real(&self, name: &str) -> Option<f64> {
        match self.values.get(name)? {
            ParameterValue::Real(value) => Some(*value),
            ParameterValue::Whole(value) => Some(*value as f64),
            _ => None,
        }
    }

    /// The value of a switch.
    pub fn switch(&self, name: &str) -> Option<bool> {
        match self.values.get(name)? {
            ParameterValue::Switch(value) => Some(*value),
            _ => None,
        }
    }

    /// The texts that end an answer.
    pub fn stop(&self) -> &[String] {
        match self.values.get("stop") {
            Some(ParameterValue::Texts(texts)) => texts,
            _ => &[],
        }
    }

    /// Name and value as `PARAMETER` writes them, a line for each text.
    pub fn lines(&self) -> Vec<(&str, String)> {
        let lines = self.iter().flat_map(|(name, value)| value.words().into_iter().map(move |word| (name, word)));
        lines.collect()
    }

    /// Names of parameters that are here but do nothing, or that Lair does not know.
    pub fn without_effect(&self) -> impl Iterator<Item = &str> {
        self.values
            .keys()
            .map(String::as_str)
            .filter(|name| KnownParameter::find(name).is_none_or(|known| known.effect == ParameterEffect::Ignored))
    }
}

impl ParameterValue {
    /// As JSON.
    pub fn to_json(&self) -> Json {
        match self {
            ParameterValue::Whole(value) => (*value).into(),
            ParameterValue::Real(value) => (*value).into(),
            ParameterValue::Switch(value) => (*value).into(),
            ParameterValue::Texts(texts) => texts.clone().into(),
            ParameterValue::Unknown(json) => json.clone(),
        }
    }

    fn words(&self) -> Vec<String> {
        match self {
            ParameterValue::Whole(value) => vec![value.to_string()],
            ParameterValue::Real(value) => vec![float_text(*value)],
            ParameterValue::Switch(value) => vec![value.to_string()],
            ParameterValue::Texts(texts) => texts.clone(),
            ParameterValue::Unknown(Json::Array(items)) => items.iter().map(json_word).collect(),
            ParameterValue::Unknown(json) => vec![json_word(json)],
        }
    }
}

fn json_word(json: &Json) -> String {
    json.as_str().map_or_else(|| json.to_string(), str::to_string)
}

/// The value of a parameter as a Modelfile writes it, or what is wrong with it.
pub(super) fn check_parameter(name: &str, value: &str, line: Option<u32>) -> Result<ParameterValue, ModelfileError> {
    let Some(known) = KnownParameter::find(name) else {
        let near = near(name, KNOWN.iter().map(|known| known.name)).into_iter().next();
        return Err(ModelfileError::UnknownParameter { line, name: name.to_string(), near });
    };
    let parsed = match known.kind {
        ParameterKind::Whole => value.parse().ok().map(ParameterValue::Whole),
        ParameterKind::Real => real(value).map(ParameterValue::Real),
        ParameterKind::Switch => switch(value).map(ParameterValue::Switch),
        ParameterKind::Texts => Some(ParameterValue::Texts(vec![value.to_string()])),
    };
    parsed.ok_or_else(|| ModelfileError::ParameterValue {
        line,
        name: name.to_string(),
        found: value.to_string(),
        expected: expected(known.kind),
    })
}

/// Single precision, as Ollama keeps it, but with its own shortest digits: 0.3, not 0.30000001192092896.
fn real(value: &str) -> Option<f64> {
    let single: f32 = value.parse().ok()?;
    single.is_finite().then(|| single.to_string().parse().ok()).flatten()
}

/// The words that Go's `strconv.ParseBool` takes.
fn switch(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn value_of_json(known: &KnownParameter, json: &Json) -> Result<ParameterValue, ModelfileError> {
    let value = match (known.kind, json) {
        (ParameterKind::Texts, Json::String(text)) => Some(ParameterValue::Texts(vec![text.clone()])),
        (ParameterKind::Texts, Json::Array(items)) => {
            let texts: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_string)).collect();
            texts.map(ParameterValue::Texts)
        }
        (ParameterKind::Texts, _) => None,
        (_, Json::String(text)) => check_parameter(known.name, text, None).ok(),
        (ParameterKind::Whole, Json::Number(number)) => whole(number).map(ParameterValue::Whole),
        (ParameterKind::Real, Json::Number(number)) => number.as_f64().map(ParameterValue::Real),
        (ParameterKind::Switch, Json::Bool(value)) => Some(ParameterValue::Switch(*value)),
        _ => None,
    };
    value.ok_or_else(|| wrong_value(known.name, json, expected(known.kind), None))
}

fn whole(number: &serde_json::Number) -> Option<i64> {
    // A float may be cut only where it is a whole number that an i64 can hold exactly.
    let of_float =
        || number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 9e15).map(|float| float as i64);
    number.as_i64().or_else(of_float)
}

fn wrong_value(name: &str, json: &Json, expected: &'static str, line: Option<u32>) -> ModelfileError {
    ModelfileError::ParameterValue { line, name: name.to_string(), found: json_word(json), expected }
}

fn expected(kind: ParameterKind) -> &'static str {
    match kind {
        ParameterKind::Whole => "a whole number",
        ParameterKind::Real => "a number",
        ParameterKind::Switch => "true or false",
        ParameterKind::Texts => "a text, or a list of texts",
    }
}
