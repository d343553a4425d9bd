//! Files that Ollama publishes, read as what they are elsewhere.
//!
//! Ollama's own converter names some architectures, keys and tensors differently, leaves keys out, and keeps vision towers in
//! the same file. What has to change for one family is one entry of [`FAMILIES`]: how such a file is told from others, and a
//! list of edits of its metadata and its table of tensors. No byte of a tensor changes. A file of any other converter is told
//! apart by its keys and stays as it is.
//!
//! Source: the comments of Ollama's `llama/compat/llama-ollama-compat.cpp` (MIT), for the names and the defaults.

use crate::metadata::Metadata;
use crate::tensor_info::TensorInfo;
use crate::value::{Array, Value};

const ARCHITECTURE: &str = "general.architecture";

/// One family of Ollama's files.
struct Family {
    /// `general.architecture` as Ollama writes it.
    architecture: &'static str,
    /// Whether a file of this architecture is one of Ollama's.
    is_ollamas: fn(&Metadata, &[TensorInfo]) -> bool,
    edits: &'static [Edit],
}

/// A change of the metadata or of the table of tensors. Each does nothing where it finds nothing to change.
enum Edit {
    /// The architecture and the beginning of all its keys get this name.
    Architecture(&'static str),
    /// A key gets the value of another, unless it has one.
    CopyKey { from: &'static str, to: &'static str },
    /// A key gets a value, unless it has one.
    Default { key: &'static str, value: f32 },
    /// A key says what a dimension of a tensor is.
    FromShape { key: &'static str, tensor: &'static str, dimension: usize },
    /// A key that is a list with one number a layer becomes the largest of them.
    Largest(&'static str),
    /// A key that is a list gets zeros at its end, up to this length, and another name.
    Pad { from: &'static str, to: &'static str, length: usize },
    /// A part of a tensor's name, between dots, becomes another.
    RenamePart { from: &'static str, to: &'static str },
    /// A tensor whose name ends like this gets an ending.
    AddEnding { behind: &'static str, ending: &'static str },
    /// Tensors whose name begins like this are not seen.
    Hide(&'static str),
    /// Linear scaling of positions by 8, where the context is as long as only scaling makes it.
    ScaleLongContext,
    /// Pieces of the vocabulary without a row in the embedding go.
    CutVocabulary,
}

const FAMILIES: &[Family] = &[
    Family {
        architecture: "gptoss",
        is_ollamas: |_, _| true,
        edits: &[
            Edit::Architecture("gpt-oss"),
            Edit::FromShape {
                key: "gpt-oss.expert_feed_forward_length",
                tensor: "blk.0.ffn_gate_exps.weight",
                dimension: 1,
            },
            Edit::RenamePart { from: "attn_out", to: "attn_output" },
            Edit::AddEnding { behind: ".attn_sinks", ending: ".weight" },
            Edit::RenamePart { from: "ffn_norm", to: "post_attention_norm" },
        ],
    },
    Family {
        architecture: "gemma3",
        is_ollamas: |metadata, tensors| {
            let own_keys = [
                "gemma3.mm.tokens_per_image",
                "gemma3.rope.global.freq_base",
                "gemma3.rope.local.freq_base",
                "tokenizer.ggml.add_padding_token",
                "tokenizer.ggml.add_unknown_token",
            ];
            own_keys.iter().any(|key| metadata.contains(key))
                || !metadata.contains("gemma3.attention.layer_norm_rms_epsilon")
                || has_prefix(tensors, "v.")
                || has_prefix(tensors, "mm.")
        },
        edits: &[
            Edit::CopyKey { from: "gemma3.rope.global.freq_base", to: "gemma3.rope.freq_base" },
            Edit::CopyKey { from: "gemma3.rope.local.freq_base", to: "gemma3.rope.freq_base_swa" },
            Edit::Default { key: "gemma3.attention.layer_norm_rms_epsilon", value: 1e-6 },
            Edit::Default { key: "gemma3.rope.freq_base", value: 1_000_000.0 },
            Edit::Default { key: "gemma3.rope.freq_base_swa", value: 10_000.0 },
            Edit::ScaleLongContext,
            Edit::CutVocabulary,
            Edit::Hide("v."),
            Edit::Hide("mm."),
        ],
    },
    Family { architecture: "olmo3", is_ollamas: |_, _| true, edits: &[Edit::Architecture("olmo2")] },
    Family {
        architecture: "lfm2",
        is_ollamas: |_, tensors| has(tensors, "output_norm.weight") && !has(tensors, "token_embd_norm.weight"),
        edits: &[
            Edit::RenamePart { from: "output_norm", to: "token_embd_norm" },
            Edit::FromShape { key: "lfm2.feed_forward_length", tensor: "blk.0.ffn_gate.weight", dimension: 1 },
        ],
    },
    Family {
        architecture: "qwen25vl",
        is_ollamas: |_, _| true,
        edits: &[
            Edit::Architecture("qwen2vl"),
            Edit::Pad { from: "qwen2vl.rope.mrope_section", to: "qwen2vl.rope.dimension_sections", length: 4 },
            Edit::Hide("v."),
            Edit::Hide("mm."),
        ],
    },
    Family {
        architecture: "qwen35",
        is_ollamas: |metadata, tensors| is_qwen35_of_ollama("qwen35", metadata, tensors),
        edits: &[
            Edit::Largest("qwen35.attention.head_count_kv"),
            Edit::Pad { from: "qwen35.rope.dimension_sections", to: "qwen35.rope.dimension_sections", length: 4 },
            Edit::AddEnding { behind: ".ssm_dt", ending: ".bias" },
            Edit::Hide("v."),
            Edit::Hide("mm."),
            Edit::Hide("mtp."),
        ],
    },
    Family {
        architecture: "qwen35moe",
        is_ollamas: |metadata, tensors| is_qwen35_of_ollama("qwen35moe", metadata, tensors),
        edits: &[
            Edit::Largest("qwen35moe.attention.head_count_kv"),
            Edit::Pad { from: "qwen35moe.rope.dimension_sections", to: "qwen35moe.rope.dimension_sections", length: 4 },
            Edit::AddEnding { behind: ".ssm_dt", ending: ".bias" },
            Edit::Hide("v."),
            Edit::Hide("mm."),
            Edit::Hide("mtp."),
        ],
    },
    Family {
        architecture: "mistral3",
        is_ollamas: |_, tensors| has_prefix(tensors, "v.") || has_prefix(tensors, "mm."),
        edits: &[Edit::Hide("v."), Edit::Hide("mm.")],
    },
];

/// Changes what a file of Ollama's says to what other programs' files say.
pub(crate) fn translate(metadata: &mut Metadata, tensors: &mut Vec<TensorInfo>) {
    let Some(architecture) = metadata.get(ARCHITECTURE).and_then(Value::as_str) else { return };
    let family = FAMILIES.iter().find(|family| family.architecture == architecture);
    let Some(family) = family.filter(|family| (family.is_ollamas)(metadata, tensors)) else { return };
    for edit in family.edits {
        apply(edit, family, metadata, tensors);
    }
}

fn apply(edit: &Edit, family: &Family, metadata: &mut Metadata, tensors: &mut Vec<TensorInfo>) {
    match edit {
        Edit::Architecture(name) => rename_architecture(metadata, family.architecture, name),
        Edit::CopyKey { from, to } => {
            if let (Some(value), false) = (metadata.get(from).cloned(), metadata.contains(to)) {
                metadata.set(to, value);
            }
        }
        Edit::Default { key, value } => {
            if !metadata.contains(key) {
                metadata.set(key, *value);
            }
        }
        Edit::FromShape { key, tensor, dimension } => {
            let found = tensors.iter().find(|info| info.name == *tensor);
            let size = found.and_then(|info| u32::try_from(*info.shape.get(*dimension)?).ok());
            if let Some(size) = size {
                metadata.set(key, size);
            }
        }
        Edit::Largest(key) => {
            if let Some(largest) = metadata.get(key).and_then(Value::as_array).and_then(largest) {
                metadata.set(key, largest);
            }
        }
        Edit::Pad { from, to, length } => {
            let padded = metadata.get(from).and_then(Value::as_array).and_then(|array| padded(array, *length));
            if let Some(padded) = padded {
                metadata.remove(from);
                metadata.set(to, padded);
            }
        }
        Edit::RenamePart { from, to } => rename(tensors, |name| {
            let parts: Vec<&str> = name.split('.').map(|part| if part == *from { to } else { part }).collect();
            parts.join(".")
        }),
        Edit::AddEnding { behind, ending } => {
            rename(tensors, |name| if name.ends_with(behind) { format!("{name}{ending}") } else { name.to_string() })
        }
        Edit::Hide(prefix) => tensors.retain(|info| !info.name.starts_with(prefix)),
        Edit::ScaleLongContext => scale_long_context(metadata),
        Edit::CutVocabulary => cut_vocabulary(metadata, tensors),
    }
}

fn rename_architecture(metadata: &mut Metadata, from: &str, to: &str) {
    metadata.set(ARCHITECTURE, to);
    let prefix = format!("{from}.");
    let keys: Vec<String> =
        metadata.iter().map(|(key, _)| key).filter(|key| key.starts_with(&prefix)).map(str::to_string).collect();
    for key in keys {
        let renamed = format!("{to}.{}", &key[prefix.len()..]);
        if let (Some(value), false) = (metadata.remove(&key), metadata.contains(&renamed)) {
            metadata.set(&renamed, value);
        }
    }
}

/// Renames tensors, but for those whose new name another one has.
fn rename(tensors: &mut [TensorInfo], name_of: impl Fn(&str) -> String) {
    let taken: std::collections::HashSet<String> = tensors.iter().map(|info| info.name.clone()).collect();
    for info in tensors {
        let renamed = name_of(&info.name);
        if !taken.contains(&renamed) {
            info.name = renamed;
        }
    }
}

fn largest(array: &Array) -> Option<u32> {
    let numbers: Option<Vec<i128>> = (0..array.len()).map(|index| array.integer(index)).collect();
    numbers?.into_iter().max().and_then(|largest| u32::try_from(largest).ok())
}

/// The array with zeros at its end; nothing if it is long enough, or holds no whole numbers.
fn padded(array: &Array, length: usize) -> Option<Vec<i32>> {
    if array.is_empty() || array.len() > length {
        return None;
    }
    let numbers = (0..array.len()).map(|index| array.integer(index).and_then(|number| i32::try_from(number).ok()));
    let mut numbers: Vec<i32> = numbers.collect::<Option<_>>()?;
    numbers.resize(length, 0);
    Some(numbers)
}

/// Gemma 3 from 4B on was trained for 16k positions and stretched to 131,072.
fn scale_long_context(metadata: &mut Metadata) {
    let context_length = metadata.get("gemma3.context_length").and_then(Value::as_integer).unwrap_or(0);
    if context_length < 131_072 || metadata.contains("gemma3.rope.scaling.type") {
        return;
    }
    metadata.set("gemma3.rope.scaling.type", "linear");
    metadata.set("gemma3.rope.scaling.factor", 8.0f32);
}

fn cut_vocabulary(metadata: &mut Metadata, tensors: &[TensorInfo]) {
    let embedding = tensors.iter().find(|info| info.name == "token_embd.weight");
    let Some(rows) = embedding.and_then(|info| usize::try_from(*info.shape.get(1)?).ok()) else { return };
    for key in ["tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.token_type"] {
        let cut = match metadata.get(key).and_then(Value::as_array) {
            Some(array) if array.len() <= rows => continue,
            Some(Array::String(strings)) => Array::String(strings.iter().take(rows).collect()),
            Some(Array::F32(scores)) => Array::F32(scores[..rows].into()),
            Some(Array::I32(types)) => Array::I32(types[..rows].into()),
            _ => continue,
        };
        metadata.set(key, cut);
    }
}

fn is_qwen35_of_ollama(architecture: &str, metadata: &Metadata, tensors: &[TensorInfo]) -> bool {
    let own_keys = ["vision.block_count", "image_token_id", "ssm.v_head_reordered", "rope.mrope_interleaved"];
    own_keys.iter().any(|key| metadata.contains(&format!("{architecture}.{key}")))
        || has_prefix(tensors, "mtp.")
        || has_prefix(tensors, "v.")
}

fn has(tensors: &[TensorInfo], name: &str) -> bool {
    tensors.iter().any(|info| info.name == name)
}

fn has_prefix(tensors: &[TensorInfo], prefix: &str) -> bool {
    tensors.iter().any(|info| info.name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{StringArray, TensorType};

    fn tensor(name: &str, shape: &[u64]) -> TensorInfo {
        TensorInfo {
            name: name.to_string(),
            shape: shape.to_vec(),
            tensor_type: TensorType::F32,
            offset: 0,
            size_bytes: 0,
            shard: 0,
        }
    }

    fn file(architecture: &str, keys: &[(&str, Value)], tensors: &[(&str, &[u64])]) -> (Metadata, Vec<TensorInfo>) {
        let mut metadata = Metadata::default();
        metadata.set(ARCHITECTURE, architecture);
        for (key, value) in keys {
            metadata.set(key, value.clone());
        }
        (metadata, tensors.iter().map(|(name, shape)| tensor(name, shape)).collect())
    }

    fn translated(architecture: &str, keys: &[(&str, Value)], tensors: &[(&str, &[u64])]) -> (Metadata, Vec<String>) {
        let (mut metadata, mut tensors) = file(architecture, keys, tensors);
        translate(&mut metadata, &mut tensors);
        (metadata, tensors.into_iter().map(|info| info.name).collect())
    }

    #[test]
    fn gpt_oss_gets_its_name_its_keys_and_its_tensors() {
        let (metadata, names) = translated(
            "gptoss",
            &[("gptoss.block_count", 24u32.into()), ("tokenizer.ggml.model", "gpt2".into())],
            &[
                ("blk.0.attn_out.weight", &[4, 4]),
                ("blk.0.attn_out.bias", &[4]),
                ("blk.0.attn_sinks", &[4]),
                ("blk.0.ffn_norm.weight", &[4]),
                ("blk.0.ffn_gate_exps.weight", &[4, 32, 2]),
                ("blk.0.attn_output_scale.weight", &[1]),
            ],
        );
        assert_eq!(metadata.get(ARCHITECTURE).and_then(Value::as_str), Some("gpt-oss"));
        assert_eq!(metadata.get("gpt-oss.block_count"), Some(&Value::U32(24)));
        assert_eq!(metadata.get("gpt-oss.expert_feed_forward_length"), Some(&Value::U32(32)));
        assert!(!metadata.contains("gptoss.block_count"));
        let expected = [
            "blk.0.attn_output.weight",
            "blk.0.attn_output.bias",
            "blk.0.attn_sinks.weight",
            "blk.0.post_attention_norm.weight",
            "blk.0.ffn_gate_exps.weight",
            "blk.0.attn_output_scale.weight",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn gemma_3_gets_what_was_left_out_and_loses_its_tower() {
        let tokens: StringArray = ["a", "b", "<image_soft_token>"].into_iter().collect();
        let (metadata, names) = translated(
            "gemma3",
            &[
                ("gemma3.context_length", 131_072u32.into()),
                ("gemma3.rope.global.freq_base", 500_000.0f32.into()),
                ("tokenizer.ggml.tokens", tokens.into()),
                ("tokenizer.ggml.scores", vec![0.0f32, 1.0, 2.0].into()),
                ("tokenizer.ggml.token_type", vec![1i32, 1, 3].into()),
            ],
            &[
                ("token_embd.weight", &[8, 2]),
                ("v.blk.0.attn_q.weight", &[2, 2]),
                ("mm.input_projection.weight", &[2, 2]),
            ],
        );
        assert_eq!(names, ["token_embd.weight"]);
        assert_eq!(metadata.get("gemma3.rope.freq_base"), Some(&Value::F32(500_000.0)));
        assert_eq!(metadata.get("gemma3.rope.freq_base_swa"), Some(&Value::F32(10_000.0)));
        assert_eq!(metadata.get("gemma3.attention.layer_norm_rms_epsilon"), Some(&Value::F32(1e-6)));
        assert_eq!(metadata.get("gemma3.rope.scaling.factor"), Some(&Value::F32(8.0)));
        for key in ["tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.token_type"] {
            assert_eq!(metadata.get(key).and_then(Value::as_array).map(Array::len), Some(2), "{key}");
        }
    }

    #[test]
    fn other_families_change_in_few_places() {
        let sections = || vec![16i32, 24, 24].into();
        let (metadata, names) = translated(
            "qwen25vl",
            &[("qwen25vl.rope.mrope_section", sections()), ("qwen25vl.block_count", 2u32.into())],
            &[("blk.0.attn_q.weight", &[2, 2]), ("v.patch_embd.weight", &[2])],
        );
        assert_eq!(metadata.get(ARCHITECTURE).and_then(Value::as_str), Some("qwen2vl"));
        assert_eq!(metadata.get("qwen2vl.rope.dimension_sections"), Some(&vec![16i32, 24, 24, 0].into()));
        assert_eq!(names, ["blk.0.attn_q.weight"]);

        let (metadata, names) = translated(
            "qwen35",
            &[
                ("qwen35.image_token_id", 1u32.into()),
                ("qwen35.attention.head_count_kv", vec![0u32, 0, 0, 4].into()),
                ("qwen35.rope.dimension_sections", sections()),
            ],
            &[("blk.0.ssm_dt", &[2]), ("mtp.fc.weight", &[2]), ("blk.0.ssm_dt_proj.weight", &[2])],
        );
        assert_eq!(metadata.get("qwen35.attention.head_count_kv"), Some(&Value::U32(4)));
        assert_eq!(metadata.get("qwen35.rope.dimension_sections"), Some(&vec![16i32, 24, 24, 0].into()));
        assert_eq!(names, ["blk.0.ssm_dt.bias", "blk.0.ssm_dt_proj.weight"]);

        let (metadata, _) = translated("olmo3", &[("olmo3.block_count", 2u32.into())], &[]);
        assert_eq!(metadata.get("olmo2.block_count"), Some(&Value::U32(2)));

        let (metadata, names) = translated(
            "lfm2",
            &[("lfm2.feed_forward_length", 12_288u32.into())],
            &[("output_norm.weight", &[2]), ("blk.0.ffn_gate.weight", &[2048, 8192])],
        );
        assert_eq!(metadata.get("lfm2.feed_forward_length"), Some(&Value::U32(8192)));
        assert_eq!(names[0], "token_embd_norm.weight");
    }

    #[test]
    fn files_of_others_stay_as_they_are() {
        let epsilon = ("gemma3.attention.layer_norm_rms_epsilon", Value::F32(1e-6));
        for (architecture, keys, tensors) in [
            ("llama", vec![], vec!["blk.0.attn_out.weight", "v.x"]),
            ("gemma3", vec![epsilon], vec!["token_embd.weight"]),
            ("qwen35", vec![], vec!["blk.0.ssm_dt.bias"]),
            ("lfm2", vec![], vec!["token_embd_norm.weight"]),
            ("gpt-oss", vec![], vec!["blk.0.post_attention_norm.weight"]),
            ("mistral3", vec![], vec!["blk.0.attn_q.weight"]),
        ] {
            let shape: &[u64] = &[2];
            let rows: Vec<(&str, &[u64])> = tensors.iter().map(|name| (*name, shape)).collect();
            let (metadata, tensors) = file(architecture, &keys, &rows);
            let (mut edited, mut edited_tensors) = (metadata.clone(), tensors.clone());
            translate(&mut edited, &mut edited_tensors);
            assert_eq!((edited, edited_tensors), (metadata, tensors), "{architecture}");
        }
        let mut nothing = (Metadata::default(), Vec::new());
        translate(&mut nothing.0, &mut nothing.1);
        assert!(nothing.0.is_empty());
    }

    #[test]
    fn strange_files_are_no_danger() {
        let text = || Value::from("x");
        let (metadata, names) = translated(
            "gemma3",
            &[
                ("tokenizer.ggml.tokens", text()),
                ("gemma3.context_length", text()),
                ("gemma3.rope.global.freq_base", text()),
            ],
            &[("token_embd.weight", &[8])],
        );
        assert_eq!((names.len(), metadata.get("tokenizer.ggml.tokens")), (1, Some(&text())));
        let (metadata, _) = translated("qwen25vl", &[("qwen25vl.rope.mrope_section", vec![0.5f32].into())], &[]);
        assert!(!metadata.contains("qwen2vl.rope.dimension_sections"));
        let taken: &[(&str, &[u64])] = &[("blk.0.ffn_norm.weight", &[1]), ("blk.0.post_attention_norm.weight", &[1])];
        let (_, names) = translated("gptoss", &[], taken);
        assert_eq!(names, ["blk.0.ffn_norm.weight", "blk.0.post_attention_norm.weight"]);
    }
}
