//! The models that SLM Packager knows by name: facts of the list that comes with version 0.2.2.

/// A model that has a name.
#[derive(Clone, Copy, Debug)]
pub struct ListedModel {
    /// What to type.
    pub name: &'static str,
    /// What it is called.
    pub title: &'static str,
    /// `gguf` or `pytorch`.
    pub format: &'static str,
    /// What it is meant to run with.
    pub runtime: &'static str,
    /// Its repository on the hub.
    pub repository: &'static str,
    /// Its files, the recommended one first.
    pub variants: &'static [Variant],
}

/// One file of a model.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// Name of the quantization.
    pub name: &'static str,
    /// Name of the file.
    pub file: &'static str,
    /// About how large it is.
    pub size: &'static str,
}

/// The list.
pub const MODELS: &[ListedModel] = &[
    gguf(
        "tinyllama",
        "TinyLlama 1.1B Chat",
        "TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF",
        &[
            variant("q4_k_m", "tinyllama-1.1b-chat-v1.0.Q4_K_M.gguf", "637MB"),
            variant("q5_k_m", "tinyllama-1.1b-chat-v1.0.Q5_K_M.gguf", "774MB"),
            variant("q8_0", "tinyllama-1.1b-chat-v1.0.Q8_0.gguf", "1.1GB"),
        ],
    ),
    gguf(
        "phi-2",
        "Microsoft Phi-2",
        "TheBloke/phi-2-GGUF",
        &[variant("q4_k_m", "phi-2.Q4_K_M.gguf", "1.6GB"), variant("q8_0", "phi-2.Q8_0.gguf", "2.8GB")],
    ),
    gguf(
        "phi-3-mini",
        "Microsoft Phi-3 Mini 3.8B",
        "microsoft/Phi-3-mini-4k-instruct-gguf",
        &[variant("q4_k_m", "Phi-3-mini-4k-instruct-q4.gguf", "2.2GB")],
    ),
    gguf(
        "qwen-1.8b",
        "Qwen 1.8B Chat",
        "Qwen/Qwen-1_8B-Chat-GGUF",
        &[variant("q4_k_m", "qwen-1_8b-chat-q4_k_m.gguf", "1.1GB")],
    ),
    gguf(
        "qwen2.5-3b",
        "Qwen2.5 3B Instruct",
        "Qwen/Qwen2.5-3B-Instruct-GGUF",
        &[
            variant("q4_k_m", "qwen2.5-3b-instruct-q4_k_m.gguf", "1.9GB"),
            variant("q8_0", "qwen2.5-3b-instruct-q8_0.gguf", "3.2GB"),
        ],
    ),
    gguf(
        "mistral-7b",
        "Mistral 7B Instruct v0.2",
        "TheBloke/Mistral-7B-Instruct-v0.2-GGUF",
        &[
            variant("q4_k_m", "mistral-7b-instruct-v0.2.Q4_K_M.gguf", "4.4GB"),
            variant("q5_k_m", "mistral-7b-instruct-v0.2.Q5_K_M.gguf", "5.1GB"),
            variant("q8_0", "mistral-7b-instruct-v0.2.Q8_0.gguf", "7.7GB"),
        ],
    ),
    gguf(
        "llama3-8b",
        "Meta Llama 3 8B Instruct",
        "QuantFactory/Meta-Llama-3-8B-Instruct-GGUF",
        &[
            variant("q4_k_m", "Meta-Llama-3-8B-Instruct.Q4_K_M.gguf", "4.9GB"),
            variant("q8_0", "Meta-Llama-3-8B-Instruct.Q8_0.gguf", "8.5GB"),
        ],
    ),
    gguf(
        "gemma2-2b",
        "Google Gemma 2 2B Instruct",
        "bartowski/gemma-2-2b-it-GGUF",
        &[variant("q4_k_m", "gemma-2-2b-it-Q4_K_M.gguf", "1.6GB"), variant("q8_0", "gemma-2-2b-it-Q8_0.gguf", "2.8GB")],
    ),
    ListedModel {
        name: "gpt2",
        title: "GPT-2",
        format: "pytorch",
        runtime: "transformers",
        repository: "gpt2",
        variants: &[variant("default", "gpt2", "500MB")],
    },
];

const fn gguf(
    name: &'static str,
    title: &'static str,
    repository: &'static str,
    variants: &'static [Variant],
) -> ListedModel {
    ListedModel { name, title, format: "gguf", runtime: "llama_cpp", repository, variants }
}

const fn variant(name: &'static str, file: &'static str, size: &'static str) -> Variant {
    Variant { name, file, size }
}

/// The model of this name.
pub fn find(name: &str) -> Option<&'static ListedModel> {
    MODELS.iter().find(|model| model.name == name)
}

impl ListedModel {
    /// The file of this quantization, or the recommended one.
    pub fn variant(&self, name: Option<&str>) -> Option<&'static Variant> {
        match name {
            Some(name) => self.variants.iter().find(|variant| variant.name.eq_ignore_ascii_case(name)),
            None => self.variants.first(),
        }
    }
}
