//! Which GGUF files of a folder make one model: shards of a split one, and the projectors that lie beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lair_gguf::ShardName;

use crate::file_system::FileSystem;
use crate::found::{Damage, FileRole, ModelFile};

/// The files of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GgufGroup {
    /// File name of the first file without shard number and ending: `SmolLM2-135M-Instruct.Q4_1`.
    pub(crate) stem: String,
    /// The quantization its name says: `Q4_1`.
    pub(crate) quant: Option<String>,
    /// Weights in the order of their numbers, then projectors.
    pub(crate) files: Vec<ModelFile>,
    /// Shards that are not there.
    pub(crate) damage: Vec<Damage>,
}

/// Groups the files of one folder; what is no GGUF file is left out. `paths` are sorted.
pub(crate) fn group(paths: &[PathBuf], file_system: &dyn FileSystem) -> Vec<GgufGroup> {
    let mut weights: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let mut projectors = Vec::new();
    for path in paths {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let lower = name.to_ascii_lowercase();
        if !lower.ends_with(".gguf") || lower.contains("imatrix") {
            continue;
        }
        if lower.contains("mmproj") {
            projectors.extend(file_at(path, FileRole::Projector, file_system));
            continue;
        }
        let shard = ShardName::parse(path);
        let prefix = shard.and_then(|shard| Some(shard.prefix.file_name()?.to_str()?.to_string()));
        let stem = prefix.unwrap_or_else(|| name[..name.len() - ".gguf".len()].to_string());
        weights.entry(stem).or_default().push(path.clone());
    }
    let group_of = |(stem, paths): (String, Vec<PathBuf>)| {
        let damage = missing_shards(&paths, file_system);
        let mut files: Vec<ModelFile> =
            paths.iter().filter_map(|path| file_at(path, FileRole::Weights, file_system)).collect();
        files.extend(projectors.iter().cloned());
        GgufGroup { quant: quant_of(&stem).map(str::to_string), stem, files, damage }
    };
    let groups = weights.into_iter().map(group_of);
    groups.filter(|group| group.files.iter().any(|file| file.role == FileRole::Weights)).collect()
}

fn missing_shards(paths: &[PathBuf], file_system: &dyn FileSystem) -> Vec<Damage> {
    let Some(shard) = paths.iter().find_map(|path| ShardName::parse(path)) else { return Vec::new() };
    let missing = (1..=shard.count).map(|number| shard.path(number)).filter(|path| !file_system.exists(path));
    missing.map(|path| Damage::Missing { path }).collect()
}

/// The file at `path`; none where a link points nowhere.
pub(crate) fn file_at(path: &Path, role: FileRole, file_system: &dyn FileSystem) -> Option<ModelFile> {
    let facts = file_system.facts(path).ok()?;
    let (size_bytes, identity) = (facts.size_bytes, facts.identity);
    Some(ModelFile { path: path.to_path_buf(), role, size_bytes, digest: None, identity })
}

/// The quantization that a file name says, between the last dashes or dots.
pub(crate) fn quant_of(stem: &str) -> Option<&str> {
    stem.rsplit(['-', '.']).find(|part| {
        let upper = part.to_ascii_uppercase();
        let digits = ["IQ", "TQ", "Q"].iter().find_map(|start| upper.strip_prefix(start));
        let is_k = digits.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
        is_k || ["F16", "FP16", "BF16", "F32", "FP32"].contains(&upper.as_str()) || upper.starts_with("MXFP4")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_system::RealFileSystem;

    #[test]
    fn reads_the_quantization_from_a_name() {
        for (stem, quant) in [
            ("SmolLM2-135M-Instruct.Q4_1", Some("Q4_1")),
            ("Qwen3-8B-IQ4_XS", Some("IQ4_XS")),
            ("model-UD-Q4_K_XL", Some("Q4_K_XL")),
            ("gpt-oss-20b-mxfp4", Some("mxfp4")),
            ("Qwen2.5-7B", None),
            ("llama-bf16", Some("bf16")),
            ("", None),
        ] {
            assert_eq!(quant_of(stem), quant, "{stem}");
        }
    }

    #[test]
    fn shards_and_projectors_belong_to_their_model() {
        let folder = tempfile::tempdir().expect("a folder");
        let names = ["b-Q8_0-00001-of-00003.gguf", "b-Q8_0-00003-of-00003.gguf", "a.Q4_0.gguf", "mmproj-f16.gguf"];
        let mut paths: Vec<PathBuf> = names.iter().map(|name| folder.path().join(name)).collect();
        paths.iter().for_each(|path| std::fs::write(path, b"GGUF").expect("written"));
        paths.push(folder.path().join("README.md"));
        paths.sort();
        let groups = group(&paths, &RealFileSystem);
        let told: Vec<_> =
            groups.iter().map(|group| (group.stem.as_str(), group.files.len(), group.damage.len())).collect();
        assert_eq!(told, [("a.Q4_0", 2, 0), ("b-Q8_0", 3, 1)]);
        assert_eq!(groups[1].damage[0], Damage::Missing { path: folder.path().join("b-Q8_0-00002-of-00003.gguf") });
    }
}
