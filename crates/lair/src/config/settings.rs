//! The one list of settings: what a flag, a variable of the environment and a line of the file can say alike.
//!
//! A setting is named as its flag, with `_` for `-`: `--keep-alive` is `keep_alive` in the file and `LAIR_KEEP_ALIVE` in the
//! environment. Its help, its values and how they are checked are those of the flag.

/// A command whose options are settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// `lair serve`.
    Serve,
    /// `lair run`.
    Run,
}

impl Section {
    /// Both.
    pub const ALL: [Section; 2] = [Section::Serve, Section::Run];

    /// The command, which is also the table in the file.
    pub fn name(self) -> &'static str {
        match self {
            Section::Serve => "serve",
            Section::Run => "run",
        }
    }
}

const SERVE: &[Section] = &[Section::Serve];
const RUN: &[Section] = &[Section::Run];
const BOTH: &[Section] = &Section::ALL;

/// A variable of another program that means the same.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Values that are said otherwise here; `None` is as if the variable were not there.
    pub values: &'static [(&'static str, Option<&'static str>)],
}

const fn variable(name: &'static str) -> Variable {
    Variable { name, values: &[] }
}

/// A variable whose value `0`, or less, leaves it to the program.
const fn counted(name: &'static str) -> Variable {
    Variable { name, values: &[("0", None), ("-1", None)] }
}

/// A setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name, that of its flag with `_`.
    pub key: &'static str,
    /// The commands that have it.
    pub sections: &'static [Section],
    /// Variables of other programs, those that count more first. `LAIR_` and its name counts more than all.
    pub variables: &'static [Variable],
    /// Settings that take its place where they are said by something that counts more.
    pub yields_to: &'static [&'static str],
    /// Its value if nothing says otherwise.
    pub default: &'static str,
    /// Whether its value is shown to nobody and has no place in the file.
    pub is_secret: bool,
}

impl Setting {
    const fn new(key: &'static str, sections: &'static [Section], default: &'static str) -> Setting {
        Setting { key, sections, variables: &[], yields_to: &[], default, is_secret: false }
    }

    const fn with(self, variables: &'static [Variable]) -> Setting {
        Setting { variables, ..self }
    }

    const fn yielding_to(self, yields_to: &'static [&'static str]) -> Setting {
        Setting { yields_to, ..self }
    }

    const fn secret(self) -> Setting {
        Setting { is_secret: true, ..self }
    }

    /// Its own variable.
    pub fn own_variable(&self) -> String {
        format!("LAIR_{}", self.key.to_ascii_uppercase())
    }

    /// Its flag.
    pub fn flag(&self) -> String {
        format!("--{}", self.key.replace('_', "-"))
    }
}

/// As many as can be.
const OF_MACHINE: &str = "as many as model and memory allow";
const OF_MODEL: &str = "the model's";

/// All settings.
pub const SETTINGS: &[Setting] = &[
    Setting::new("host", SERVE, "127.0.0.1").with(&[variable("OLLAMA_HOST"), variable("LLAMA_ARG_HOST")]),
    Setting::new("port", SERVE, "11434").with(&[variable("LLAMA_ARG_PORT")]).yielding_to(&["host"]),
    Setting::new("api_key", SERVE, "none").with(&[variable("LLAMA_API_KEY")]).secret(),
    Setting::new("api_key_file", SERVE, "none").with(&[variable("LLAMA_ARG_API_KEY_FILE")]),
    Setting::new("key_file", SERVE, "keys.json in Lair's folder"),
    Setting::new("insecure_no_auth", SERVE, "false"),
    Setting::new("no_page", SERVE, "false"),
    Setting::new("allowed_host", SERVE, "localhost"),
    Setting::new("allowed_origin", SERVE, "the server's own")
        .with(&[variable("OLLAMA_ORIGINS"), variable("LLAMA_ARG_CORS_ORIGINS")]),
    Setting::new("tls_cert", SERVE, "none").with(&[variable("LLAMA_ARG_SSL_CERT_FILE")]),
    Setting::new("tls_key", SERVE, "none").with(&[variable("LLAMA_ARG_SSL_KEY_FILE")]),
    Setting::new("keep_alive", SERVE, "5m").with(&[variable("OLLAMA_KEEP_ALIVE")]),
    Setting::new("parallel", SERVE, "16").with(&[counted("OLLAMA_NUM_PARALLEL"), counted("LLAMA_ARG_N_PARALLEL")]),
    Setting::new("max_queue", SERVE, "512").with(&[variable("OLLAMA_MAX_QUEUE")]),
    Setting::new("max_connections", SERVE, "1024"),
    Setting::new("max_memory", SERVE, "what is available at the start"),
    Setting::new("kv_memory", SERVE, "a quarter of what is left after the weights"),
    Setting::new("prompt_cache", SERVE, "off"),
    Setting::new("prompt_cache_bytes", SERVE, "8GB"),
    Setting::new("slot_save_path", SERVE, "none"),
    Setting::new("log_requests", SERVE, "off"),
    Setting::new("log_quota", SERVE, "100MB"),
    Setting::new("log_format", SERVE, "text").with(&[Variable {
        name: "LLAMA_ARG_LOG_JSONL",
        values: &[("1", Some("json")), ("true", Some("json")), ("on", Some("json")), ("0", None), ("false", None)],
    }]),
    Setting::new("log_level", SERVE, "info").with(&[Variable {
        name: "OLLAMA_DEBUG",
        values: &[("1", Some("debug")), ("2", Some("debug")), ("true", Some("debug")), ("0", None), ("false", None)],
    }]),
    Setting::new("context_length", BOTH, OF_MACHINE).with(&[counted("OLLAMA_CONTEXT_LENGTH")]),
    Setting::new("threads", BOTH, "as many as this process may use").with(&[counted("LLAMA_ARG_THREADS")]),
    Setting::new("kv_type", BOTH, "q8_0")
        .with(&[variable("OLLAMA_KV_CACHE_TYPE")])
        .yielding_to(&["cache_type_k", "cache_type_v"]),
    Setting::new("chat_template", BOTH, OF_MODEL).with(&[variable("LLAMA_ARG_CHAT_TEMPLATE")]),
    Setting::new("weight_cache", BOTH, "off"),
    Setting::new("weight_cache_bytes", BOTH, "64GB"),
    Setting::new("activations", RUN, "words in narrow models and where errors cost most, else bytes"),
    Setting::new("speculate", BOTH, "lookup, or draft where a draft model is named")
        .yielding_to(&["no_speculate", "draft"]),
    Setting::new("draft", BOTH, "none")
        .with(&[variable("LLAMA_ARG_SPEC_DRAFT_MODEL")])
        .yielding_to(&["speculate", "no_speculate"]),
    Setting::new("draft_max", BOTH, "8").with(&[variable("LLAMA_ARG_SPEC_DRAFT_N_MAX")]),
    Setting::new("draft_min", BOTH, "0").with(&[variable("LLAMA_ARG_SPEC_DRAFT_N_MIN")]),
    Setting::new("draft_p_min", BOTH, "0.5").with(&[variable("LLAMA_ARG_SPEC_DRAFT_P_MIN")]),
    Setting::new("system", RUN, OF_MODEL),
    Setting::new("max_tokens", RUN, "until the model ends or the context is full")
        .with(&[counted("LLAMA_ARG_N_PREDICT")]),
    Setting::new("stop", RUN, OF_MODEL),
    Setting::new("temperature", RUN, "the model's, or 0.8").with(&[variable("LLAMA_ARG_TEMPERATURE")]),
    Setting::new("top_k", RUN, "the model's, or 40").with(&[variable("LLAMA_ARG_TOP_K")]),
    Setting::new("top_p", RUN, "the model's, or 0.95").with(&[variable("LLAMA_ARG_TOP_P")]),
    Setting::new("min_p", RUN, "the model's, or 0.05").with(&[variable("LLAMA_ARG_MIN_P")]),
    Setting::new("typical_p", RUN, "1"),
    Setting::new("dynatemp_range", RUN, "0"),
    Setting::new("dynatemp_exponent", RUN, "1"),
    Setting::new("mirostat", RUN, "the model's, or 0"),
    Setting::new("mirostat_tau", RUN, "the model's, or 5"),
    Setting::new("mirostat_eta", RUN, "the model's, or 0.1"),
    Setting::new("repeat_penalty", RUN, "the model's, or 1").with(&[variable("LLAMA_ARG_REPEAT_PENALTY")]),
    Setting::new("presence_penalty", RUN, "0").with(&[variable("LLAMA_ARG_PRESENCE_PENALTY")]),
    Setting::new("frequency_penalty", RUN, "0").with(&[variable("LLAMA_ARG_FREQUENCY_PENALTY")]),
    Setting::new("repeat_last_n", RUN, "the model's, or 64"),
    Setting::new("seed", RUN, "another each time"),
    Setting::new("think", RUN, "as the model does"),
    Setting::new("hidethinking", RUN, "false"),
    Setting::new("verbose", RUN, "false"),
    Setting::new("nowordwrap", RUN, "false"),
];

/// Options that are no settings: what one call is about.
#[cfg(test)]
pub const NO_SETTINGS: &[&str] = &[
    "words",
    "raw",
    "json",
    "logprobs",
    "dimensions",
    "truncate",
    "keepalive",
    "quantize",
    "format",
    "logit_bias",
    "lora",
    "lora_scaled",
    "no_speculate",
    "cache_type_k",
    "cache_type_v",
    "help",
    "offline",
    "version",
];

/// Variables that say where things are, for all commands. They have no place in the file: where the file is follows from them.
pub const PLACES: &[(&str, &str)] = &[
    ("LAIR_CONFIG", "the file of settings"),
    ("LAIR_HOME", "Lair's own folder: models, keys, records, settings"),
    ("LAIR_MODELS", "where models are kept"),
    ("OLLAMA_MODELS", "where models are kept, together with Ollama"),
    ("LAIR_FOLDERS", "further folders with models, read only"),
    ("LAIR_OFFLINE", "whether nothing is fetched"),
    ("HF_HUB_OFFLINE", "whether nothing is fetched"),
    ("LLAMA_ARG_OFFLINE", "whether nothing is fetched"),
    ("HF_ENDPOINT", "the hub that models are fetched from"),
    ("HF_TOKEN", "who asks the hub"),
    ("HF_TOKEN_PATH", "the file with that token"),
    ("HF_HOME", "the folder of the hub's own tools"),
    ("HF_HUB_CACHE", "models that the hub's own tools have fetched"),
    ("LAIR_CA_FILE", "certificates that are trusted besides those of the system"),
    ("LAIR_PIP", "the client of package registries"),
    ("OLLAMA_NOHISTORY", "whether a chat keeps no history of what was typed"),
];

/// Variables of other programs that mean something else, or that there is nothing here for, and why.
pub const UNUSED: &[(&str, &str)] = &[
    (
        "OLLAMA_MAX_LOADED_MODELS",
        "models leave memory by time and where room is needed, never by count; see --max-memory",
    ),
    ("OLLAMA_FLASH_ATTENTION", "attention is always computed without its whole matrix"),
    ("OLLAMA_LOAD_TIMEOUT", "loading a model has no time limit; a client that goes away ends its own waiting"),
    ("OLLAMA_NOPRUNE", "nothing is removed at the start; `lair gc` removes what is asked for"),
    ("OLLAMA_GPU_OVERHEAD", "models are computed on the CPU"),
    ("OLLAMA_SCHED_SPREAD", "models are computed on the CPU"),
    ("OLLAMA_LLM_LIBRARY", "the code for this processor is chosen by what it can do"),
    ("OLLAMA_MULTIUSER_CACHE", "prompts are cached by user already"),
    ("OLLAMA_NEW_ENGINE", "there is one engine"),
    ("OLLAMA_TMPDIR", "nothing is unpacked"),
    ("OLLAMA_REMOTES", "models are computed on this machine"),
    ("LLAMA_ARG_CTX_SIZE", "llama-server divides it among its slots; LAIR_CONTEXT_LENGTH is that of each request"),
    ("LLAMA_ARG_CACHE_TYPE_K", "keys and values are kept in one type, LAIR_KV_TYPE"),
    ("LLAMA_ARG_CACHE_TYPE_V", "keys and values are kept in one type, LAIR_KV_TYPE"),
    ("LLAMA_ARG_MODEL", "models are loaded when a request names them"),
    ("LLAMA_ARG_HF_REPO", "models are loaded when a request names them; `lair pull` fetches one"),
    ("LLAMA_ARG_MODELS_DIR", "folders with models are named in LAIR_FOLDERS"),
    ("LLAMA_ARG_MODELS_MAX", "models leave memory by time and where room is needed, never by count; see --max-memory"),
    ("LLAMA_ARG_ALIAS", "`lair cp` gives a model another name"),
    ("LLAMA_ARG_N_GPU_LAYERS", "models are computed on the CPU"),
    ("LLAMA_ARG_FLASH_ATTN", "attention is always computed without its whole matrix"),
    ("LLAMA_ARG_BATCH", "steps are bounded by the time they take"),
    ("LLAMA_ARG_UBATCH", "steps are bounded by the time they take"),
    ("LLAMA_ARG_CONT_BATCHING", "requests are always computed together"),
    ("LLAMA_ARG_CONTEXT_SHIFT", "a context that is full ends the answer; nothing is dropped"),
    ("LLAMA_ARG_ENDPOINT_METRICS", "/metrics is always there; scopes of keys say who may read it"),
    ("LLAMA_ARG_ENDPOINT_SLOTS", "/slots is always there; scopes of keys say who may read it"),
    ("LLAMA_ARG_ENDPOINT_PROPS", "the settings of a running server are fixed"),
    ("LLAMA_ARG_EMBEDDINGS", "chats and embeddings are served together"),
    ("LLAMA_ARG_RERANKING", "chats and ranking are served together"),
    ("LLAMA_ARG_JINJA", "templates of models are always used"),
    ("LLAMA_ARG_TIMEOUT", "the times that a connection may take are fixed"),
    ("LLAMA_ARG_THREADS_HTTP", "connections share two threads, whatever their number"),
    ("LLAMA_ARG_CACHE_PROMPT", "prompts are always cached"),
    ("LLAMA_ARG_CACHE_RAM", "the cache has what --kv-memory leaves"),
    ("LLAMA_ARG_LOG_VERBOSITY", "its numbers are those of llama.cpp's own messages; see LAIR_LOG_LEVEL"),
    ("LLAMA_ARG_LOG_FILE", "the log is written to standard error"),
    ("LLAMA_ARG_API_PREFIX", "paths are where clients look for them"),
];

/// The setting of this name.
pub fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}
