//! `config.json`: what a checkpoint says of its model.

use lair_model::architectures;
use lair_model::spec::{Architecture, Source};
use serde_json::{Map, Value as Json};

use super::facts::Facts;
use crate::checkpoint::Checkpoint;
use crate::error::{ConvertError, Fault, printable};

/// Keys of the angles that stand beside the object of them in older files, by their name in it.
const ROPE_KEYS: [(&str, &[&str]); 3] = [
    ("rope_theta", &["global_rope_theta", "rope_global_theta", "rope_theta_global", "rope_theta", "rotary_emb_base"]),
    ("partial_rotary_factor", &["partial_rotary_factor", "rope_pct", "rope_percent", "rotary_pct"]),
    ("original_max_position_embeddings", &["original_max_position_embeddings"]),
];
const WINDOW_THETA: [&str; 5] =
    ["local_rope_theta", "rope_local_theta", "rope_theta_local", "swa_rope_theta", "rope_local_base_freq"];

/// The keys of a model, those of its text part among them.
#[derive(Clone, Debug)]
pub(crate) struct HfConfig {
    /// The class that the checkpoint was saved as.
    pub(crate) class: String,
    keys: Map<String, Json>,
    /// How positions are turned: of all layers, or of those without a window.
    pub(crate) rope: Map<String, Json>,
    /// The base of the angles in layers with a window.
    pub(crate) window_theta: Option<f64>,
}

impl HfConfig {
    /// Reads the configuration of a checkpoint.
    pub(crate) fn open(checkpoint: &Checkpoint) -> Result<HfConfig, ConvertError> {
        let wrong = |what: &str, found: &str, expected: &str| {
            Fault::malformed(what, found, expected).in_file(&checkpoint.folder.join("config.json"))
        };
        let Some(json) = checkpoint.json("config.json")? else {
            return Err(ConvertError::NotACheckpoint {
                path: checkpoint.folder.clone(),
                found: "no `config.json`".to_owned(),
                expected: "one, which says what the tensors are",
            });
        };
        let Json::Object(mut keys) = json else { return Err(wrong("the file", "another value", "a JSON object")) };
        let class = keys.get("architectures").and_then(|classes| classes[0].as_str());
        let class = class.ok_or_else(|| wrong("`architectures`", "no class", "the class of the model"))?.to_owned();
        // The text part of a model of several kinds of input.
        if let Some(Json::Object(text)) = keys.get("text_config").cloned() {
            keys.extend(text);
        }
        let (rope, window_theta) = rope_of(&keys);
        Ok(HfConfig { class, keys, rope, window_theta })
    }

    /// The declaration of the class, and how its checkpoints are stored.
    pub(crate) fn architecture(&self) -> Result<(&'static Architecture, &'static Source), ConvertError> {
        let of_class = |architecture: &&&Architecture| architecture.hf_names.contains(&self.class.as_str());
        let found = architectures::ALL.iter().find(of_class).copied();
        match found.and_then(|architecture| Some((architecture, architecture.source.as_ref()?))) {
            Some(found) => Ok(found),
            None => {
                let converted = architectures::ALL.iter().filter(|architecture| architecture.source.is_some());
                let supported = converted.flat_map(|architecture| architecture.hf_names).copied().collect();
                Err(ConvertError::UnknownClass { class: printable(&self.class), supported })
            }
        }
    }

    /// The first of these keys that is there and not null.
    pub(crate) fn first(&self, names: &[&str]) -> Option<&Json> {
        names.iter().find_map(|name| self.keys.get(*name).or_else(|| self.rope.get(*name)).filter(|v| !v.is_null()))
    }

    /// A count of 32 bits, if it is there and one.
    pub(crate) fn count(&self, names: &[&str]) -> Option<u32> {
        let value = self.first(names)?;
        // Some files write counts as `4096.0`.
        let whole =
            || value.as_f64().filter(|number| number.fract() == 0.0 && *number >= 0.0).map(|number| number as u64);
        value.as_u64().or_else(whole).and_then(|count| u32::try_from(count).ok())
    }

    /// A number, if it is there and one.
    pub(crate) fn number(&self, names: &[&str]) -> Option<f64> {
        self.first(names)?.as_f64()
    }

    /// A yes or no, if it is there and one.
    pub(crate) fn flag(&self, names: &[&str]) -> Option<bool> {
        self.first(names)?.as_bool()
    }

    /// Elements of a head: as it says, else the hidden size by the heads.
    pub(crate) fn head_dim(&self) -> Option<u32> {
        let divided = || self.count(&["hidden_size", "n_embd", "n_embed"])?.checked_div(self.head_count()?);
        self.count(&["head_dim"]).or_else(divided)
    }

    /// Query heads.
    pub(crate) fn head_count(&self) -> Option<u32> {
        self.count(&["num_attention_heads", "n_head", "n_heads"])
    }

    /// Heads of keys and values.
    pub(crate) fn kv_head_count(&self) -> Option<u32> {
        self.count(&["num_key_value_heads", "n_kv_heads", "n_head_kv"]).or_else(|| self.head_count())
    }

    /// What names and orders of rows follow from.
    pub(crate) fn facts(&self) -> Facts {
        Facts {
            head_count: self.head_count().unwrap_or(0) as usize,
            kv_head_count: self.kv_head_count().unwrap_or(0) as usize,
            layer_count: self.layer_count(),
        }
    }

    /// Layers.
    pub(crate) fn layer_count(&self) -> Option<u32> {
        self.count(&["num_hidden_layers", "n_layer", "n_layers", "num_layers"])
    }

    /// A key of the object of angles.
    pub(crate) fn rope_number(&self, name: &str) -> Option<f64> {
        self.rope.get(name)?.as_f64()
    }

    /// How angles are scaled: `linear`, `yarn`, `llama3`, `longrope` ...
    pub(crate) fn rope_type(&self) -> Option<&str> {
        self.rope.get("rope_type").or_else(|| self.rope.get("type"))?.as_str()
    }
}

/// The object of angles that counts for layers without a window, and the base of those with one.
fn rope_of(keys: &Map<String, Json>) -> (Map<String, Json>, Option<f64>) {
    let object = |json: Option<&Json>| json.and_then(Json::as_object).cloned();
    let all = object(keys.get("rope_parameters")).or_else(|| object(keys.get("rope_scaling"))).unwrap_or_default();
    let window = all.get("sliding_attention").and_then(|part| part["rope_theta"].as_f64());
    let beside = WINDOW_THETA.iter().find_map(|name| keys.get(*name)?.as_f64());
    let mut rope = object(all.get("full_attention")).unwrap_or(all);
    for (name, others) in ROPE_KEYS {
        let value = others.iter().find_map(|other| keys.get(*other).filter(|value| !value.is_null()));
        if let Some(value) = value
            && !rope.contains_key(name)
        {
            rope.insert(name.to_owned(), value.clone());
        }
    }
    (rope, window.or(beside))
}
