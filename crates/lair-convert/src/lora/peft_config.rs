//! `adapter_config.json`: what PEFT says of an adapter.
//!
//! Source: the class `LoraConfig` of PEFT 0.21. Whatever changes what an adapter computes and is not built is refused by
//! the name of its key.

use std::path::Path;

use regex::Regex;
use serde_json::{Map, Value as Json};

use crate::checkpoint::Checkpoint;
use crate::error::{ConvertError, Fault, printable};

/// Keys that switch on other ways to compute, where they are anything but null, false, empty or `none`.
const NOT_BUILT: [&str; 14] = [
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "bias",
    "modules_to_save",
    "trainable_token_indices",
    "layer_replication",
    "target_parameters",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "velora_config",
    "monteclora_config",
];
/// Ways to begin training that leave the base model as it is. Others change it, and need that changed model.
const HARMLESS_BEGINNINGS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

/// Ranks and factors of an adapter.
#[derive(Debug)]
pub(super) struct PeftConfig {
    /// `lora_alpha`.
    alpha: f64,
    /// Whether the factor is `alpha / sqrt(rank)`.
    is_rank_stabilized: bool,
    /// For modules whose names end as the expression says, in order.
    alphas: Vec<(Regex, f64)>,
    /// `base_model_name_or_path`.
    pub(super) base_model: Option<String>,
}

impl PeftConfig {
    /// Reads the configuration in `folder`.
    ///
    /// # Errors
    /// If it is missing, is no LoRA, or asks for what is not built.
    pub(super) fn open(folder: &Path) -> Result<PeftConfig, ConvertError> {
        let missing = || ConvertError::NotACheckpoint {
            path: folder.to_owned(),
            found: "no `adapter_config.json`".to_owned(),
            expected: "a folder of an adapter, as PEFT saves it",
        };
        let json = Checkpoint::without_weights(folder).json("adapter_config.json")?.ok_or_else(missing)?;
        let path = folder.join("adapter_config.json");
        let wrong = |what: &str, found: &Json, expected: &str| Fault::malformed(what, found, expected).in_file(&path);
        let Json::Object(keys) = &json else { return Err(wrong("the file", &json, "a JSON object")) };
        if keys.get("peft_type").and_then(Json::as_str) != Some("LORA") {
            let what = keys.get("peft_type").unwrap_or(&Json::Null).to_string();
            return Err(ConvertError::Unsupported { what: format!("an adapter of the type {}", printable(&what)) });
        }
        refuse_what_is_not_built(keys)?;
        let alpha = keys.get("lora_alpha").and_then(Json::as_f64).filter(|alpha| alpha.is_finite());
        let alpha = alpha.ok_or_else(|| wrong("`lora_alpha`", &json["lora_alpha"], "a number"))?;
        let mut alphas = Vec::new();
        for (pattern, value) in keys.get("alpha_pattern").and_then(Json::as_object).into_iter().flatten() {
            let number = value.as_f64().ok_or_else(|| wrong("`alpha_pattern`", value, "numbers"))?;
            // How PEFT compares a key with the name of a module.
            let expression = Regex::new(&format!(r"^(?:.*\.)?(?:{pattern})$"));
            let expression = expression.map_err(|error| {
                Fault::malformed("`alpha_pattern`", error.to_string(), "regular expressions").in_file(&path)
            })?;
            alphas.push((expression, number));
        }
        Ok(PeftConfig {
            alpha,
            is_rank_stabilized: keys.get("use_rslora").and_then(Json::as_bool).unwrap_or(false),
            alphas,
            base_model: keys.get("base_model_name_or_path").and_then(Json::as_str).map(str::to_owned),
        })
    }

    /// The alpha that gives a module of this rank its factor when it is divided by the rank, as GGUF has it.
    pub(super) fn alpha_of(&self, module: &str, rank: usize) -> f64 {
        let own = self.alphas.iter().find(|(pattern, _)| pattern.is_match(module));
        let alpha = own.map_or(self.alpha, |(_, alpha)| *alpha);
        if self.is_rank_stabilized { alpha * (rank as f64).sqrt() } else { alpha }
    }
}

fn refuse_what_is_not_built(keys: &Map<String, Json>) -> Result<(), ConvertError> {
    let is_off = |value: &Json| match value {
        Json::Null | Json::Bool(false) => true,
        Json::String(text) => text == "none" || text.is_empty(),
        Json::Array(list) => list.is_empty(),
        Json::Object(map) => map.is_empty(),
        Json::Bool(true) | Json::Number(_) => false,
    };
    let on = |key: &&&str| keys.get(**key).is_some_and(|value| !is_off(value));
    if let Some(key) = NOT_BUILT.iter().find(on) {
        let value = printable(&keys[*key].to_string());
        return Err(ConvertError::Unsupported { what: format!("an adapter with `{key}` of {value}") });
    }
    match keys.get("init_lora_weights") {
        None | Some(Json::Null | Json::Bool(_)) => Ok(()),
        Some(Json::String(text)) if HARMLESS_BEGINNINGS.contains(&text.as_str()) => Ok(()),
        Some(other) => {
            let other = printable(&other.to_string());
            Err(ConvertError::Unsupported { what: format!("an adapter for a base model changed by {other}") })
        }
    }
}
