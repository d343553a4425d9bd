//! mergekit's YAML: which models, which layers of them, by which method, with which parameters.
//!
//! Source: the configuration that mergekit documents. What is not known is refused by name.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::error::MergeError;
use super::setting::Setting;
use crate::element::ElementType;

/// No honest configuration is longer.
const CONFIG_BYTES_MAX: usize = 1 << 20;
/// Models of one merge.
const MODELS_MAX: usize = 64;
/// Slices of one merge; each is a layer at least.
const SLICES_MAX: usize = 1024;

/// How tensors are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // Their names say it; what each does stands in `methods`.
pub enum Method {
    Linear,
    Slerp,
    TaskArithmetic,
    Ties,
    DareTies,
    DareLinear,
    Passthrough,
}

impl Method {
    /// Every method with its name, the parameters of a model and those of all.
    const ALL: [(Method, &'static str, &'static [&'static str], &'static [&'static str]); 7] = [
        (Method::Linear, "linear", &["weight"], &["normalize"]),
        (Method::Slerp, "slerp", &[], &["t"]),
        (Method::TaskArithmetic, "task_arithmetic", &["weight", "density"], Method::OF_TASKS),
        (Method::Ties, "ties", &["weight", "density"], Method::OF_TASKS),
        (Method::DareTies, "dare_ties", &["weight", "density"], Method::OF_TASKS),
        (Method::DareLinear, "dare_linear", &["weight", "density"], Method::OF_TASKS),
        (Method::Passthrough, "passthrough", &["scale"], &[]),
    ];
    /// `int8_mask` is about memory that is not needed here; it changes nothing.
    const OF_TASKS: &[&'static str] = &["normalize", "rescale", "lambda", "int8_mask"];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Whether what is merged are differences from a base model.
    pub(super) fn needs_base(self) -> bool {
        !matches!(self, Method::Linear | Method::Passthrough)
    }

    fn row(self) -> &'static (Method, &'static str, &'static [&'static str], &'static [&'static str]) {
        Method::ALL.iter().find(|row| row.0 == self).expect("every method stands in the list")
    }

    fn parse(json: &Json) -> Result<Method, MergeError> {
        let name = json.as_str().unwrap_or_default();
        let found = Method::ALL.iter().find(|row| row.1 == name).map(|row| row.0);
        found.ok_or_else(|| {
            let names: Vec<&str> = Method::ALL.iter().map(|row| row.1).collect();
            MergeError::config("`merge_method`", json, format!("one of {}", names.join(", ")))
        })
    }
}

/// Parameters by name.
pub(super) type Settings = BTreeMap<String, Setting>;

/// A model in a merge, all of it or some of its layers.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// Index of the model.
    pub(super) model: usize,
    /// Its layers, from one to before another; all if nothing is said.
    pub(super) layers: Option<(usize, usize)>,
    pub(super) parameters: Settings,
}

/// Layers of the result, and where they come from.
#[derive(Clone, Debug)]
pub(super) struct Slice {
    pub(super) sources: Vec<Source>,
    pub(super) base: Option<usize>,
    pub(super) parameters: Settings,
}

/// What a merge is to make.
#[derive(Clone, Debug)]
pub struct MergeConfig {
    /// How.
    pub(super) method: Method,
    models: Vec<String>,
    pub(super) base: Option<usize>,
    /// What the result is stored as.
    pub(super) element: Option<ElementType>,
    /// The model that the tokenizer comes from.
    pub(super) tokenizer: Option<usize>,
    pub(super) parameters: Settings,
    pub(super) slices: Vec<Slice>,
}

impl MergeConfig {
    /// Reads a configuration.
    ///
    /// # Errors
    /// If it is no YAML, or says what is not understood: the error names the key.
    pub fn parse(yaml: &str) -> Result<MergeConfig, MergeError> {
        if yaml.len() > CONFIG_BYTES_MAX {
            return Err(MergeError::config("the file", format!("{} bytes", yaml.len()), "at most a megabyte"));
        }
        let keys: Map<String, Json> = serde_saphyr::from_str(yaml).map_err(|error| {
            MergeError::config("the file", error, "YAML with `merge_method` and `models` or `slices`")
        })?;
        Reader { keys, models: Vec::new() }.read()
    }

    /// The models, as the configuration names them.
    pub fn models(&self) -> &[String] {
        &self.models
    }

    /// How they are merged.
    pub fn method(&self) -> Method {
        self.method
    }
}

struct Reader {
    keys: Map<String, Json>,
    models: Vec<String>,
}

impl Reader {
    fn read(mut self) -> Result<MergeConfig, MergeError> {
        const KNOWN: [&str; 8] =
            ["merge_method", "base_model", "dtype", "out_dtype", "tokenizer_source", "parameters", "models", "slices"];
        for (key, value) in &self.keys {
            if ["modules", "tokenizer", "chat_template"].contains(&key.as_str()) && !value.is_null() {
                return Err(MergeError::Unsupported { what: format!("`{key}`") });
            }
            if !KNOWN.contains(&key.as_str()) && !value.is_null() {
                return Err(MergeError::config("the file", format!("the key `{key}`"), KNOWN.join(", ")));
            }
        }
        let method = Method::parse(self.keys.get("merge_method").unwrap_or(&Json::Null))?;
        let keys = self.keys.clone();
        let base = keys.get("base_model").filter(|json| !json.is_null()).map(|json| self.model(json)).transpose()?;
        let dtype = keys.get("out_dtype").filter(|json| !json.is_null()).or(keys.get("dtype"));
        let element = dtype.filter(|json| !json.is_null()).map(element).transpose()?;
        let parameters = settings(keys.get("parameters"), method)?;
        let slices = match (keys.get("models"), keys.get("slices")) {
            (Some(Json::Array(models)), None | Some(Json::Null)) => vec![Slice {
                sources: models.iter().map(|json| self.source(json, method, false)).collect::<Result<_, _>>()?,
                base: None,
                parameters: Settings::new(),
            }],
            (None | Some(Json::Null), Some(Json::Array(slices))) if slices.len() <= SLICES_MAX => {
                slices.iter().map(|json| self.slice(json, method)).collect::<Result<_, _>>()?
            }
            _ => return Err(MergeError::config("the file", "neither or both", "a list of `models` or of `slices`")),
        };
        if slices.is_empty() || slices.iter().any(|slice| slice.sources.is_empty()) {
            return Err(MergeError::config("`models` or `slices`", "an empty list", "models"));
        }
        let tokenizer = match keys.get("tokenizer_source") {
            None | Some(Json::Null) => None,
            Some(Json::String(text)) if text == "union" => {
                return Err(MergeError::Unsupported { what: "`tokenizer_source: union`".to_owned() });
            }
            Some(Json::String(text)) if text == "base" => {
                Some(base.ok_or_else(|| MergeError::config("`tokenizer_source`", "base", "a `base_model` beside it"))?)
            }
            Some(json) => Some(self.model(json)?),
        };
        if self.models.len() > MODELS_MAX {
            let found = format!("{} models", self.models.len());
            return Err(MergeError::config("the file", found, format!("at most {MODELS_MAX}")));
        }
        Ok(MergeConfig { method, models: self.models, base, element, tokenizer, parameters, slices })
    }

    fn slice(&mut self, json: &Json, method: Method) -> Result<Slice, MergeError> {
        let keys = object(json, "a slice", &["sources", "base_model", "parameters"])?;
        let sources = keys.get("sources").and_then(Json::as_array);
        let sources = sources.ok_or_else(|| MergeError::config("a slice", json, "a list of `sources`"))?;
        Ok(Slice {
            sources: sources.iter().map(|json| self.source(json, method, true)).collect::<Result<_, _>>()?,
            base: keys.get("base_model").filter(|json| !json.is_null()).map(|json| self.model(json)).transpose()?,
            parameters: settings(keys.get("parameters"), method)?,
        })
    }

    fn source(&mut self, json: &Json, method: Method, is_slice: bool) -> Result<Source, MergeError> {
        let keys = object(json, "a model", &["model", "layer_range", "parameters"])?;
        let wrong =
            || MergeError::config("`layer_range`", &json["layer_range"], "the first layer and the one after the last");
        let layers = match keys.get("layer_range") {
            None | Some(Json::Null) if is_slice => return Err(wrong()),
            None | Some(Json::Null) => None,
            Some(Json::Array(range)) => match range.iter().map(Json::as_u64).collect::<Option<Vec<u64>>>().as_deref() {
                Some([first, end]) if first < end && *end <= SLICES_MAX as u64 => {
                    Some((*first as usize, *end as usize))
                }
                _ => return Err(wrong()),
            },
            Some(_) => return Err(wrong()),
        };
        let model = keys.get("model").ok_or_else(|| MergeError::config("a model", json, "`model`"))?;
        Ok(Source { model: self.model(model)?, layers, parameters: settings(keys.get("parameters"), method)? })
    }

    /// The index of the model that is named.
    fn model(&mut self, json: &Json) -> Result<usize, MergeError> {
        let name = json.as_str().ok_or_else(|| MergeError::config("`model`", json, "a folder, a file or a name"))?;
        if name.contains('+') && !std::path::Path::new(name).exists() {
            return Err(MergeError::Unsupported { what: format!("an adapter behind a model, as in `{name}`,") });
        }
        let found = self.models.iter().position(|known| known == name);
        Ok(found.unwrap_or_else(|| {
            self.models.push(name.to_owned());
            self.models.len() - 1
        }))
    }
}

fn object<'j>(json: &'j Json, what: &str, known: &[&str]) -> Result<&'j Map<String, Json>, MergeError> {
    let keys = json.as_object().ok_or_else(|| MergeError::config(what, json, known.join(", ")))?;
    match keys.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(MergeError::config(what, format!("the key `{key}`"), known.join(", "))),
        None => Ok(keys),
    }
}

fn settings(json: Option<&Json>, method: Method) -> Result<Settings, MergeError> {
    let (_, name, of_model, of_all) = *method.row();
    let mut found = Settings::new();
    let keys = match json {
        None | Some(Json::Null) => return Ok(found),
        Some(json) => json.as_object().ok_or_else(|| MergeError::config("`parameters`", json, "parameters by name"))?,
    };
    for (key, value) in keys {
        if !of_model.contains(&key.as_str()) && !of_all.contains(&key.as_str()) {
            let known: Vec<&str> = of_model.iter().chain(of_all).copied().collect();
            let expected = format!("parameters of {name}: {}", known.join(", "));
            return Err(MergeError::config("`parameters`", format!("the key `{key}`"), expected));
        }
        found.insert(key.clone(), Setting::parse(key, value)?);
    }
    Ok(found)
}

fn element(json: &Json) -> Result<ElementType, MergeError> {
    match json.as_str() {
        Some("float32") => Ok(ElementType::F32),
        Some("float16") => Ok(ElementType::F16),
        Some("bfloat16") => Ok(ElementType::BF16),
        _ => Err(MergeError::config("`dtype`", json, "float32, float16 or bfloat16")),
    }
}
