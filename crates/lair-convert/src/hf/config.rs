//! `config.json`: what a checkpoint says of its model.

use lair_model::architectures;
use lair_model::spec::{Architecture, Source};
use serde_json::{Map, Value as Json};

use super::derived;
use super::facts::{DeltaFacts, Facts};
use crate::checkpoint::Checkpoint;
use crate::error::{ConvertError, Fault, printable};
use crate::latent::LatentRows;

/// Keys of the angles that stand beside the object of them in older files, by their name in it.
const ROPE_KEYS: [(&str, &[&str]); 3] = [
    ("rope_theta", &["global_rope_theta", "rope_global_theta", "rope_theta_global", "rope_theta", "rotary_emb_base"]),
    ("partial_rotary_factor", &["partial_rotary_factor", "rope_pct", "rope_percent", "rotary_pct"]),
    ("original_max_position_embeddings", &["original_max_position_embeddings"]),
];
const WINDOW_THETA: [&str; 5] =
    ["local_rope_theta", "rope_local_theta", "rope_theta_local", "swa_rope_theta", "rope_local_base_freq"];

/// Keys of the count of query heads.
const HEAD_COUNTS: &[&str] = &["num_attention_heads", "n_head", "n_heads"];
const EXPERT_COUNTS: &[&str] =
    &["num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts", "ffn_config.moe_num_experts"];
/// Layers that are looked at where nothing lists them.
const LAYER_COUNT_MAX: u32 = 1 << 16;

/// What mixes tokens in a layer of a hybrid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayerKind {
    /// Attention.
    Attention,
    /// A state space, a convolution, linear attention.
    Recurrent,
    /// Nothing: a feed-forward network alone.
    Network,
}

impl LayerKind {
    fn of_letter(letter: char) -> LayerKind {
        match letter {
            '*' => LayerKind::Attention,
            '-' | 'E' => LayerKind::Network,
            _ => LayerKind::Recurrent,
        }
    }

    fn of_name(name: Option<&str>) -> LayerKind {
        match name {
            Some(name) if name == "attention" || name.ends_with("_attention") && name != "linear_attention" => {
                LayerKind::Attention
            }
            Some("mlp" | "moe") => LayerKind::Network,
            _ => LayerKind::Recurrent,
        }
    }
}

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
        // MPT keeps what belongs to attention apart.
        if let Some(Json::Object(attention)) = keys.get("attn_config").cloned() {
            attention.into_iter().for_each(|(key, value)| {
                keys.entry(key).or_insert(value);
            });
            if keys.get("alibi") == Some(&Json::Bool(false)) {
                keys.remove("alibi_bias_max");
            }
        }
        let (rope, window_theta) = rope_of(&keys);
        Ok(HfConfig { class, keys, rope, window_theta })
    }

    /// The declaration of the class, and how its checkpoints are stored.
    pub(crate) fn architecture(&self) -> Result<(&'static Architecture, &'static Source), ConvertError> {
        let other = self.other_architecture();
        let of_class = |architecture: &&&Architecture| match other {
            Some(name) => architecture.gguf_name == name,
            None => architecture.hf_names.contains(&self.class.as_str()),
        };
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

    /// The architecture where its class stands for several, and this is not the first of them.
    fn other_architecture(&self) -> Option<&'static str> {
        let kinds = self.all_layer_kinds();
        match self.class.as_str() {
            // Of the same family, without a state space.
            "GraniteMoeHybridForCausalLM" if !kinds.contains(&LayerKind::Recurrent) => {
                Some(if self.has_experts() { "granitemoe" } else { "granite" })
            }
            "NomicBertModel" if self.count(&["moe_every_n_layers"]).is_some_and(|step| step > 0) => {
                Some("nomic-bert-moe")
            }
            "NemotronHForCausalLM" if self.names_expert_layers() => Some("nemotron_h_moe"),
            _ => None,
        }
    }

    /// Whether the model has experts.
    pub(crate) fn has_experts(&self) -> bool {
        self.count(EXPERT_COUNTS).is_some_and(|count| count > 0)
    }

    /// Whether the list of layers names mixtures of experts.
    fn names_expert_layers(&self) -> bool {
        match self.first(&["hybrid_override_pattern", "layers_block_type"]) {
            Some(Json::String(letters)) => letters.contains('E'),
            Some(Json::Array(names)) => names.iter().any(|name| name == "moe"),
            _ => false,
        }
    }

    /// The first of these keys that is there and not null.
    pub(crate) fn first(&self, names: &[&str]) -> Option<&Json> {
        let found = |name: &str| match name.split_once('.') {
            Some((outer, inner)) => inner.split('.').try_fold(self.keys.get(outer)?, |json, part| match json {
                Json::Array(list) => list.get(part.parse::<usize>().ok()?),
                json => json.get(part),
            }),
            None => self.keys.get(name).or_else(|| self.rope.get(name)),
        };
        names.iter().find_map(|name| found(name).filter(|value| !value.is_null()))
    }

    /// The first of these keys that is there and not null, of a layer with a window: of the model, else what is said of the
    /// first such layer, else of all layers, by the last part of the last name.
    pub(crate) fn first_of_window(&self, names: &[&str]) -> Option<&Json> {
        let last = names.last().map_or("", |name| name.rsplit('.').next().unwrap_or(name));
        self.first(names).or_else(|| {
            let types = self.first(&["layer_types"])?.as_array()?;
            let layer = types.iter().position(|kind| kind == "sliding_attention")?;
            let name = last.trim_start_matches("swa_");
            self.first(&[&format!("per_layer_config.{layer}.{name}"), name])
        })
    }

    /// A count of 32 bits, if it is there and one.
    pub(crate) fn count(&self, names: &[&str]) -> Option<u32> {
        count_of(self.first(names)?)
    }

    /// The same of a layer with a window.
    pub(crate) fn window_count(&self, names: &[&str]) -> Option<u32> {
        count_of(self.first_of_window(names)?)
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

    /// Of each head's rows those that are turned, where that is not all of them.
    fn turned_rows(&self) -> Option<usize> {
        let share = self.rope_number("partial_rotary_factor").filter(|share| *share > 0.0 && *share < 1.0)?;
        Some((share * f64::from(self.head_dim()?)) as usize)
    }

    /// Positions that stand for padding, before those of tokens, in models of RoBERTa's kind.
    pub(crate) fn padding_positions(&self) -> u32 {
        let is_of_kind = ["Roberta", "Camembert"].iter().any(|part| self.class.contains(part));
        let padding = self.count(&["pad_token_id"]).filter(|_| is_of_kind);
        padding.and_then(|id| id.checked_add(1)).unwrap_or(0)
    }

    /// Query heads.
    pub(crate) fn head_count(&self) -> Option<u32> {
        self.count(HEAD_COUNTS)
    }

    /// Heads of keys and values.
    pub(crate) fn kv_head_count(&self) -> Option<u32> {
        // Falcon's classes write a count that they do not mean.
        // PLaMo 1 says how many query heads share a key; its other count is not meant.
        if let Some(shared) = self.count(&["n_shared_head"]) {
            return self.head_count()?.checked_div(shared);
        }
        if self.flag(&["multi_query"]) == Some(true) && self.flag(&["new_decoder_architecture"]) != Some(true) {
            return Some(1);
        }
        self.count(&["num_key_value_heads", "multi_query_group_num", "n_kv_heads", "n_head_kv", "num_kv_heads"])
            .or_else(|| self.head_count())
    }

    /// What names and orders of rows follow from.
    pub(crate) fn facts(&self) -> Facts {
        let count = |names: &[&str]| self.count(names).unwrap_or(0) as usize;
        let delta = ["linear_num_key_heads", "linear_num_value_heads", "linear_key_head_dim", "linear_value_head_dim"];
        let kv_heads = derived::kv_heads_of_layers(self);
        // Jais, by either parametrisation.
        let by_width = self.number(&["mup_output_alpha"]).zip(self.number(&["mup_width_scale"]));
        let head_scale = by_width.map(|(alpha, scale)| alpha * scale).or_else(|| self.number(&["width_scale"]));
        Facts {
            head_count: count(HEAD_COUNTS),
            kv_head_count: self.kv_head_count().unwrap_or(0) as usize,
            layer_count: self.layer_count(),
            has_experts: self.has_experts(),
            tail_rows: count(&["qk_rope_head_dim"]),
            indexer_key_rows: count(&["indexer_head_dim"]),
            turned_rows: self.turned_rows(),
            padding_positions: self.padding_positions() as usize,
            state_group_count: count(&["mamba_n_groups", "n_groups"]),
            delta: DeltaFacts::new(delta.map(|name| count(&[name]))),
            expert_count: count(EXPERT_COUNTS),
            kv_heads_of_layers: kv_heads.map(|heads| heads.into_iter().map(|count| count as usize).collect()),
            embedding_scale: self.number(&["mup_embeddings_scale", "embeddings_scale"]).unwrap_or(1.0) as f32,
            head_scale: head_scale.unwrap_or(1.0) as f32,
            halved_every: count(&["rescale_every"]),
        }
    }

    /// Layers of a stack, where two stacks run in turn.
    pub(crate) fn stack_length(&self) -> Option<u32> {
        self.count(&["num_layers_per_stack", "num_hidden_layers"])
    }

    /// Whether each layer has a window, where the checkpoint lists that.
    pub(crate) fn windows(&self) -> Vec<bool> {
        let types = self.first(&["layer_types", "hybrid_layer_pattern"]).and_then(Json::as_array);
        types.into_iter().flatten().map(|kind| kind == "sliding_attention" || *kind == 1).collect()
    }

    /// How the rows that widen compressed keys and values fall to heads in a layer.
    pub(crate) fn latent_rows(&self, layer: usize) -> LatentRows {
        let has_window = self.windows().get(layer) == Some(&true);
        let count = |of_window: &str, names: &[&str]| {
            let count = self.window_count(&[of_window]).filter(|_| has_window).or_else(|| self.count(names));
            count.unwrap_or(0) as usize
        };
        LatentRows {
            head_count: count("swa_num_attention_heads", HEAD_COUNTS),
            key_rows: count("swa_qk_nope_head_dim", &["qk_nope_head_dim"]),
            value_rows: count("swa_v_head_dim", &["v_head_dim"]),
        }
    }

    /// Layers.
    pub(crate) fn layer_count(&self) -> Option<u32> {
        let listed = || u32::try_from(self.layer_kinds()?.len()).ok();
        self.count(&["num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_transformer_layers"])
            .or_else(listed)
    }

    /// What mixes tokens in each layer, where the checkpoint lists that.
    pub(crate) fn layer_kinds(&self) -> Option<Vec<LayerKind>> {
        let names = self.first(&["hybrid_override_pattern", "layers_block_type", "layer_types"])?;
        match names {
            Json::String(letters) => Some(letters.chars().map(LayerKind::of_letter).collect()),
            Json::Array(names) => Some(names.iter().map(|name| LayerKind::of_name(name.as_str())).collect()),
            _ => None,
        }
    }

    /// The same, also where it follows from other keys; else all layers have attention.
    pub(crate) fn all_layer_kinds(&self) -> Vec<LayerKind> {
        if let Some(kinds) = self.layer_kinds() {
            return kinds;
        }
        // Counted by 32 bits; what is longer than a model can be is refused when the model is read.
        let count = self.layer_count().unwrap_or(0).min(LAYER_COUNT_MAX);
        let listed = self.first(&["attn_layer_indices", "full_attn_idxs"]).and_then(Json::as_array);
        // Counted from one.
        let behind = self.first(&["linear_attn_config.full_attn_layers"]).and_then(Json::as_array);
        let period = self.count(&["attn_layer_period"]).filter(|period| *period > 0);
        let offset = self.count(&["attn_layer_offset"]).unwrap_or(0);
        let group = self.count(&["layer_group_size"]).filter(|group| *group > 0);
        let holds = |list: &[Json], index: u32| list.iter().any(|entry| entry.as_u64() == Some(u64::from(index)));
        if let (None, None, Some(group)) = (listed, behind, group) {
            let ends_group = |index: u32| (index + 1).is_multiple_of(group) || index >= count / group * group;
            let kind = |index| if ends_group(index) { LayerKind::Attention } else { LayerKind::Recurrent };
            return (0..count).map(kind).collect();
        }
        let has_attention = |index: u32| match (listed, period) {
            _ if behind.is_some_and(|list| holds(list, index + 1)) => true,
            _ if behind.is_some() => false,
            (Some(list), _) => holds(list, index),
            (None, Some(period)) => index >= offset && (index - offset).is_multiple_of(period),
            (None, None) => true,
        };
        let kind = |index| if has_attention(index) { LayerKind::Attention } else { LayerKind::Recurrent };
        (0..count).map(kind).collect()
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

/// YaRN whose numbers stand beside the other keys (Grok 2, which calls it `original`; PLaMo 3).
fn flat_scaling(keys: &Map<String, Json>) -> Map<String, Json> {
    const NUMBERS: [&str; 5] =
        ["original_max_position_embeddings", "extrapolation_factor", "attn_factor", "beta_fast", "beta_slow"];
    let mut rope = Map::new();
    let scales = |factor: &&Json| factor.as_f64().is_some_and(|factor| factor != 1.0);
    if let (Some("yarn" | "original"), Some(factor)) =
        (keys.get("rope_type").and_then(Json::as_str), keys.get("scaling_factor"))
    {
        rope.insert("factor".to_owned(), factor.clone());
        let there = NUMBERS.iter().filter_map(|name| Some(((*name).to_owned(), keys.get(*name)?.clone())));
        rope.extend(there);
    } else if let (Some(factor), Some(original)) =
        (keys.get("rope_scaling_factor").filter(scales), keys.get("initial_context_length"))
    {
        rope.insert("factor".to_owned(), factor.clone());
        rope.insert("original_max_position_embeddings".to_owned(), original.clone());
        rope.insert("beta_fast".to_owned(), Json::from(32.0));
        rope.insert("beta_slow".to_owned(), Json::from(1.0));
    }
    if !rope.is_empty() {
        rope.insert("rope_type".to_owned(), Json::from("yarn"));
    }
    rope
}

/// The object of angles that counts for layers without a window, and the base of those with one.
fn rope_of(keys: &Map<String, Json>) -> (Map<String, Json>, Option<f64>) {
    let object = |json: Option<&Json>| json.and_then(Json::as_object).cloned();
    let all = object(keys.get("rope_parameters")).or_else(|| object(keys.get("rope_scaling"))).unwrap_or_default();
    let window = all.get("sliding_attention").and_then(|part| part["rope_theta"].as_f64());
    let beside = WINDOW_THETA.iter().find_map(|name| keys.get(*name)?.as_f64());
    // Layers without compressed keys are turned by the first (DeepSeek V4), the others are scaled besides.
    let plain_base = all.get("main").and_then(|part| part.get("rope_theta")).cloned();
    let all = object(all.get("compress").filter(|_| plain_base.is_some())).unwrap_or(all);
    let mut rope = object(all.get("full_attention").or_else(|| all.get("indexed_attention"))).unwrap_or(all);
    if let Some(base) = plain_base {
        rope.insert("rope_theta".to_owned(), base);
    }
    rope.extend(flat_scaling(keys));
    // A base for each layer, where kinds of layers differ.
    let bases = keys.get("rope_theta").and_then(Json::as_array);
    let types = keys.get("layer_types").and_then(Json::as_array);
    let of_kind = |has_window: bool| {
        let place = types?.iter().position(|kind| (kind == "sliding_attention") == has_window)?;
        bases?.get(place).cloned()
    };
    if let Some(base) = of_kind(false) {
        rope.insert("rope_theta".to_owned(), base);
    }
    let beside = beside.or_else(|| of_kind(true)?.as_f64());
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

/// A count of 32 bits, if it is one.
fn count_of(value: &Json) -> Option<u32> {
    // A list that says the same for each layer says it for all.
    let value = match value {
        Json::Array(list) if list.iter().all(|entry| Some(entry) == list.first()) => list.first()?,
        value => value,
    };
    // Some files write counts as `4096.0`.
    let whole = || value.as_f64().filter(|number| number.fract() == 0.0 && *number >= 0.0).map(|number| number as u64);
    value.as_u64().or_else(whole).and_then(|count| u32::try_from(count).ok())
}
