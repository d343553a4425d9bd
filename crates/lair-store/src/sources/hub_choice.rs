//! Which files of a repository make the model that is meant.

use super::SourceError;
use super::hub::HubFile;
use crate::reference::HubPart;

/// Quantizations in the order in which one is taken when none is named: a good middle first.
const PREFERRED: &[&str] = &[
    "Q4_K_M", "Q4_K_S", "Q4_0", "IQ4_XS", "IQ4_NL", "Q4_1", "Q5_K_M", "Q5_K_S", "MXFP4", "Q6_K", "Q8_0", "Q3_K_M",
    "Q3_K_L", "Q2_K", "F16", "BF16", "F32",
];
/// The same for vision and audio towers, which lose more when they are quantized.
const PREFERRED_PROJECTORS: &[&str] = &["F16", "BF16", "F32", "Q8_0"];
/// Files beside the weights that a runtime of safetensors needs.
const COMPANIONS: &[&str] = &[
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "tekken.json",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "adapter_config.json",
    "quantize_config.json",
    "modules.json",
    "1_Pooling/config.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "README.md",
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
];

/// The files to fetch: weights first, in the order of their parts.
pub(crate) fn choose<'f>(
    repository: &str,
    files: &'f [HubFile],
    part: &HubPart,
) -> Result<Vec<&'f HubFile>, SourceError> {
    let models = models_in(files);
    let nothing = |problem: String| SourceError::NothingToFetch {
        repository: repository.to_string(),
        problem,
        offered: offered(&models, files),
    };
    match part {
        HubPart::File(name) => {
            let chosen = file_of(files, name).ok_or_else(|| nothing(format!("has no file `{name}`")))?;
            match models.iter().find(|model| model.files.contains(&chosen)) {
                Some(model) => Ok(model.files.clone()),
                None => Ok(vec![chosen]),
            }
        }
        HubPart::Quant(quant) => {
            let chosen = models
                .iter()
                .find(|model| model.quant.eq_ignore_ascii_case(quant))
                .or_else(|| models.iter().find(|model| model.has_word(quant)));
            // What follows a colon may be a file as well.
            match (chosen, file_of(files, quant)) {
                (Some(model), _) => Ok(with_projector(model, files)),
                (None, Some(file)) => Ok(vec![file]),
                (None, None) => Err(nothing(format!("has no quantization `{quant}`"))),
            }
        }
        HubPart::Any => {
            if let Some(model) = preferred(&models) {
                return Ok(with_projector(model, files));
            }
            let safetensors = safetensors_in(files);
            if safetensors.is_empty() {
                Err(nothing("has neither GGUF nor safetensors files".to_string()))
            } else {
                Ok(safetensors)
            }
        }
    }
}

/// A model in GGUF that a repository offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubQuant {
    /// What to write behind the colon: the quantization, or the file where its name says none.
    pub part: String,
    /// Bytes of all its files, without a tower.
    pub size_bytes: u64,
}

/// The models of a repository, the smallest first.
pub(crate) fn quants(files: &[HubFile]) -> Vec<HubQuant> {
    let models = models_in(files);
    let mut quants: Vec<HubQuant> = models
        .iter()
        .map(|model| {
            let is_only = models.iter().filter(|other| other.quant == model.quant).count() == 1;
            let file = model.files.first().map(|file| file.path.clone()).unwrap_or_default();
            let part = if is_only && !model.quant.is_empty() { model.quant.clone() } else { file };
            HubQuant { part, size_bytes: model.files.iter().map(|file| file.size_bytes).sum() }
        })
        .collect();
    quants.sort_by(|left, right| (left.size_bytes, &left.part).cmp(&(right.size_bytes, &right.part)));
    quants
}

/// A model in GGUF: one file, or all parts of a split one.
struct Model<'f> {
    /// Path without `-00001-of-00003` and `.gguf`.
    stem: String,
    /// The quantization in its name, or nothing.
    quant: String,
    files: Vec<&'f HubFile>,
}

impl Model<'_> {
    /// Whether `word` stands in its name between separators: `UD-Q4_K_XL`, a folder `BF16`.
    fn has_word(&self, word: &str) -> bool {
        let (stem, word) = (self.stem.to_ascii_lowercase(), word.to_ascii_lowercase());
        stem.match_indices(&word).any(|(start, _)| {
            let is_edge = |symbol: Option<char>| symbol.is_none_or(|symbol| !symbol.is_alphanumeric() && symbol != '_');
            is_edge(stem[..start].chars().next_back()) && is_edge(stem[start + word.len()..].chars().next())
        })
    }
}

fn models_in(files: &[HubFile]) -> Vec<Model<'_>> {
    let mut models: Vec<Model<'_>> = Vec::new();
    for file in files.iter().filter(|file| is_gguf(file) && !is_projector(file) && !is_other(file)) {
        let (stem, _) = split_suffix(&file.path);
        match models.iter_mut().find(|model| model.stem == stem) {
            Some(model) => model.files.push(file),
            None => models.push(Model { quant: quant_of(&stem), stem, files: vec![file] }),
        }
    }
    for model in &mut models {
        model.files.sort_by(|left, right| left.path.cmp(&right.path));
    }
    models.sort_by(|left, right| left.stem.cmp(&right.stem));
    models
}

fn is_gguf(file: &HubFile) -> bool {
    file.path.to_ascii_lowercase().ends_with(".gguf")
}

fn name_of(file: &HubFile) -> String {
    file.path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase()
}

fn is_projector(file: &HubFile) -> bool {
    is_gguf(file) && name_of(file).contains("mmproj")
}

/// What is in GGUF and no model: importance matrices.
fn is_other(file: &HubFile) -> bool {
    name_of(file).contains("imatrix")
}

/// `a/b-00001-of-00003.gguf` -> `a/b` and the number of parts.
fn split_suffix(path: &str) -> (String, Option<u32>) {
    let stem = &path[..path.len() - ".gguf".len()];
    let parse = || {
        let (rest, count) = stem.rsplit_once("-of-")?;
        let (rest, number) = rest.rsplit_once('-')?;
        let is_number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
        (is_number(count) && is_number(number)).then(|| (rest.to_string(), count.parse().ok()))
    };
    parse().unwrap_or_else(|| (stem.to_string(), None))
}

/// The quantization at the end of a name: `model-Q4_K_M`, `model.q8_0`, `UD-Q4_K_XL`.
fn quant_of(stem: &str) -> String {
    let name = stem.rsplit('/').next().unwrap_or(stem);
    let word = name.rsplit(['-', '.']).next().unwrap_or(name);
    let upper = word.to_ascii_uppercase();
    let is_quant = ["Q", "IQ", "TQ", "F", "BF", "MXFP", "NVFP"].iter().any(|prefix| {
        upper.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    });
    if is_quant { upper } else { String::new() }
}

/// The file with this path, or the only one with this name.
fn file_of<'f>(files: &'f [HubFile], name: &str) -> Option<&'f HubFile> {
    let exact = files.iter().find(|file| file.path == name);
    exact.or_else(|| {
        let mut named = files.iter().filter(|file| name_of(file) == name.to_ascii_lowercase());
        named.next().filter(|_| named.next().is_none())
    })
}

fn preferred<'m, 'f>(models: &'m [Model<'f>]) -> Option<&'m Model<'f>> {
    let by_quant = PREFERRED.iter().find_map(|quant| models.iter().find(|model| model.quant == *quant));
    by_quant.or_else(|| models.first())
}

/// The files of a model, and the tower that belongs to it.
fn with_projector<'f>(model: &Model<'f>, files: &'f [HubFile]) -> Vec<&'f HubFile> {
    let towers: Vec<&HubFile> = files.iter().filter(|file| is_projector(file)).collect();
    let best = PREFERRED_PROJECTORS.iter().find_map(|quant| {
        towers.iter().find(|tower| {
            let stem = split_suffix(&tower.path).0;
            Model { quant: String::new(), stem, files: Vec::new() }.has_word(quant)
        })
    });
    let mut chosen = model.files.clone();
    chosen.extend(best.or(towers.first()));
    chosen
}

/// The weights in safetensors and what a runtime needs beside them.
fn safetensors_in(files: &[HubFile]) -> Vec<&HubFile> {
    let is_weights = |file: &&HubFile| {
        let is_duplicate = file.path.starts_with("original/") || name_of(file).starts_with("consolidated");
        file.path.ends_with(".safetensors") && !file.path.contains("onnx/") && !is_duplicate
    };
    let in_root: Vec<&HubFile> = files.iter().filter(is_weights).filter(|file| !file.path.contains('/')).collect();
    let weights = if in_root.is_empty() { files.iter().filter(is_weights).collect() } else { in_root };
    if weights.is_empty() {
        return weights;
    }
    let is_companion =
        |file: &&HubFile| COMPANIONS.contains(&file.path.as_str()) || file.path.ends_with(".safetensors.index.json");
    weights.into_iter().chain(files.iter().filter(is_companion)).collect()
}

/// What there is instead, for a message.
fn offered(models: &[Model<'_>], files: &[HubFile]) -> Vec<String> {
    const OFFERED_MAX: usize = 12;
    let quants =
        models.iter().map(|model| if model.quant.is_empty() { model.stem.clone() } else { model.quant.clone() });
    let mut offered: Vec<String> = quants.collect();
    if offered.is_empty() {
        offered = files.iter().map(|file| file.path.clone()).collect();
    }
    offered.dedup();
    offered.truncate(OFFERED_MAX);
    offered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(paths: &[&str]) -> Vec<HubFile> {
        let file =
            |path: &&str| HubFile { path: path.to_string(), size_bytes: 1, git_sha1: "0".repeat(40), sha256: None };
        paths.iter().map(file).collect()
    }

    fn check(paths: &[&str], part: HubPart, expected: &[&str]) {
        let files = files(paths);
        let chosen = choose("o/r", &files, &part).map(|chosen| chosen.iter().map(|file| file.path.clone()).collect());
        let chosen: Vec<String> = chosen.unwrap_or_else(|error| vec![error.to_string()]);
        assert_eq!(chosen, expected, "{part:?}");
    }

    const GGUFS: &[&str] = &[
        "README.md",
        "big-Q8_0-00002-of-00002.gguf",
        "big-Q8_0-00001-of-00002.gguf",
        "big-q4_k_m.gguf",
        "big.IQ2_XS.gguf",
        "BF16/big-BF16-00001-of-00001.gguf",
        "big-UD-Q4_K_XL.gguf",
        "imatrix.gguf",
        "mmproj-BF16.gguf",
        "mmproj-F16.gguf",
    ];

    #[test]
    fn a_quantization_is_all_its_parts_and_the_tower() {
        let quant = |text: &str| HubPart::Quant(text.to_string());
        check(GGUFS, HubPart::Any, &["big-q4_k_m.gguf", "mmproj-F16.gguf"]);
        check(GGUFS, quant("Q4_K_M"), &["big-q4_k_m.gguf", "mmproj-F16.gguf"]);
        let parts = &["big-Q8_0-00001-of-00002.gguf", "big-Q8_0-00002-of-00002.gguf", "mmproj-F16.gguf"];
        check(GGUFS, quant("q8_0"), parts);
        check(GGUFS, quant("BF16"), &["BF16/big-BF16-00001-of-00001.gguf", "mmproj-F16.gguf"]);
        check(GGUFS, quant("UD-Q4_K_XL"), &["big-UD-Q4_K_XL.gguf", "mmproj-F16.gguf"]);
        check(GGUFS, quant("IQ2_XS"), &["big.IQ2_XS.gguf", "mmproj-F16.gguf"]);
        check(GGUFS, quant("Q4"), &["`o/r` has no quantization `Q4`"]);
    }

    #[test]
    fn a_file_is_itself_or_all_its_parts() {
        let file = |text: &str| HubPart::File(text.to_string());
        check(GGUFS, file("mmproj-BF16.gguf"), &["mmproj-BF16.gguf"]);
        check(GGUFS, file("README.md"), &["README.md"]);
        let parts = &["big-Q8_0-00001-of-00002.gguf", "big-Q8_0-00002-of-00002.gguf"];
        check(GGUFS, file("big-Q8_0-00001-of-00002.gguf"), parts);
        check(GGUFS, file("big-bf16-00001-of-00001.gguf"), &["BF16/big-BF16-00001-of-00001.gguf"]);
        check(GGUFS, file("absent.gguf"), &["`o/r` has no file `absent.gguf`"]);
    }

    #[test]
    fn without_gguf_the_set_that_a_runtime_needs() {
        let paths = &[
            ".gitattributes",
            "config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "onnx/model.onnx",
            "original/consolidated.00.safetensors",
            "pytorch_model.bin",
            "tokenizer.json",
        ];
        let chosen = &[
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "config.json",
            "model.safetensors.index.json",
            "tokenizer.json",
        ];
        check(paths, HubPart::Any, chosen);
        check(&["README.md"], HubPart::Any, &["`o/r` has neither GGUF nor safetensors files"]);
    }

    #[test]
    fn says_what_there_is_instead() {
        let all = files(GGUFS);
        let error = choose("o/r", &all, &HubPart::Quant("Q3_K".to_string())).expect_err("not there");
        let hint = error.hint().expect("a hint");
        assert!(hint.contains("Q4_K_M") && hint.contains("Q8_0") && !hint.contains("mmproj"), "{hint}");
    }
}
