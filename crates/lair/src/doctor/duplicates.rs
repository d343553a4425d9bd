//! The same bytes more than once on this machine: in two stores, or twice in one.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use lair_store::{Digest, FoundModel, ModelFile};
use sha2::{Digest as _, Sha256};

use super::finding::Finding;
use crate::human::size_text;

/// Files below this are not worth a word.
const SIZE_BYTES_MIN: u64 = 1 << 20;
/// Bytes that are hashed at a time.
const PIECE_BYTES: usize = 1 << 20;

/// Hashes a file, if it can be read.
pub fn digest_of(path: &Path) -> Option<Digest> {
    let mut file = File::open(path).ok()?;
    let (mut hash, mut piece) = (Sha256::new(), vec![0; PIECE_BYTES]);
    loop {
        match file.read(&mut piece).ok()? {
            0 => break,
            count => hash.update(&piece[..count]),
        }
    }
    let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}").parse().ok()
}

/// Groups of files with the same bytes that lie on the disk more than once, the largest first. Files without a known digest are hashed
/// only where another has their length.
pub fn groups(models: &[FoundModel]) -> Vec<(u64, Vec<PathBuf>)> {
    // Several models may name one file; hard links are one file under several names.
    let mut by_path: BTreeMap<&Path, &ModelFile> = BTreeMap::new();
    for file in models.iter().flat_map(|model| &model.files).filter(|file| file.size_bytes >= SIZE_BYTES_MIN) {
        by_path.entry(&file.path).or_insert(file);
    }
    let mut by_size: HashMap<u64, Vec<&ModelFile>> = HashMap::new();
    for file in by_path.into_values() {
        let same = by_size.entry(file.size_bytes).or_default();
        if file.identity.is_none() || same.iter().all(|other| other.identity != file.identity) {
            same.push(file);
        }
    }
    let mut groups = Vec::new();
    for (size_bytes, files) in by_size.into_iter().filter(|(_, files)| files.len() > 1) {
        let mut by_digest: HashMap<String, Vec<PathBuf>> = HashMap::new();
        for file in files {
            let Some(digest) = file.digest.or_else(|| digest_of(&file.path)) else { continue };
            by_digest.entry(digest.to_string()).or_default().push(file.path.clone());
        }
        groups.extend(by_digest.into_values().filter(|paths| paths.len() > 1).map(|paths| (size_bytes, paths)));
    }
    groups.sort_by(|left, right| right.cmp(left));
    groups
}

/// What was found of them.
pub fn findings(models: &[FoundModel]) -> Vec<Finding> {
    let groups = groups(models);
    if groups.is_empty() {
        return vec![Finding::good("duplicates", "no model lies here twice")];
    }
    let finding = |(size_bytes, paths): (u64, Vec<PathBuf>)| {
        let gain = size_bytes * (paths.len() as u64 - 1);
        let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        Finding::warning(
            "duplicate-file",
            format!("the same {} lie {} times: {}", size_text(size_bytes), names.len(), names.join(", ")),
            format!(
                "{} can be gained: remove all but one where each is used from (`lair rm`, `ollama rm`, the folder); `lair import --how hardlink` shares a file's bytes",
                size_text(gain)
            ),
        )
    };
    groups.into_iter().map(finding).collect()
}
