//! The stores: whether their folders can be used, and whether what lies there is what it should be.

use std::io::Write;
use std::path::Path;

use lair_store::{FoundModel, ModelFile, Store};

use super::duplicates::digest_of;
use super::finding::Finding;
use crate::human::size_text;

/// Bytes that are hashed without being asked to: some seconds.
const HASHED_BYTES_MAX: u64 = 2 << 30;
/// Disk space below which the next download fails.
const FREE_BYTES_MIN: u64 = 5 << 30;

/// How thoroughly blobs are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The smaller ones are hashed, up to a bound.
    Quick,
    /// All are.
    Deep,
}

/// Folders, space and permissions.
pub fn folders(store: &Store) -> Vec<Finding> {
    let settings = store.settings();
    let mut findings = Vec::new();
    for (id, folder) in [("store-folder", &settings.root), ("models-folder", &settings.models)] {
        findings.push(writable(id, folder));
    }
    if let Some(free) = lair_store::free_bytes(&settings.models) {
        let text = format!("{} are free where models lie ({})", size_text(free), settings.models.display());
        findings.push(if free < FREE_BYTES_MIN {
            Finding::warning("disk-space", text, "`lair gc` removes what nothing needs; `lair rm` removes models")
        } else {
            Finding::good("disk-space", text)
        });
    }
    findings.extend(secrets(&settings.root));
    findings
}

/// Whether a file can be made there. A folder that is not there yet is made when it is needed.
fn writable(id: &'static str, folder: &Path) -> Finding {
    let shown = folder.display();
    if !folder.exists() {
        return Finding::note(id, format!("{shown} is not there yet; the first model makes it"));
    }
    match tempfile::NamedTempFile::new_in(folder).and_then(|mut file| file.write_all(b"lair")) {
        Ok(()) => Finding::good(id, format!("{shown} can be written")),
        Err(error) => Finding::problem(
            id,
            format!("{shown} cannot be written: {error}"),
            format!(
                "make it yours (`sudo chown -R \"$USER\" {shown}`), or name another with LAIR_HOME or OLLAMA_MODELS"
            ),
        ),
    }
}

/// Files with secrets that others may read.
fn secrets(root: &Path) -> Option<Finding> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let path = root.join("keys.json");
        let mode = std::fs::metadata(&path).ok()?.permissions().mode() & 0o777;
        let shown = path.display();
        Some(if mode & 0o077 == 0 {
            Finding::good("key-file", format!("{shown} is readable by you alone"))
        } else {
            let text = format!("{shown} can be read or written by others (mode {mode:o})");
            Finding::warning("key-file", text, format!("`chmod 600 {shown}`"))
        })
    }
    #[cfg(not(unix))]
    {
        let _ = root;
        None
    }
}

/// Models that are not whole, and blobs whose bytes are not what their names say. Nothing is moved.
pub fn blobs(models: &[FoundModel], depth: Depth) -> Vec<Finding> {
    let mut findings = Vec::new();
    for model in models.iter().filter(|model| !model.is_whole()) {
        let damage: Vec<String> = model.damage.iter().map(ToString::to_string).collect();
        findings.push(Finding::problem(
            "broken-model",
            format!("`{}` is damaged: {}", model.name, damage.join("; ")),
            format!("`lair verify {0} --repair`, or `lair pull {0}`", model.name),
        ));
    }
    let mut files: Vec<(&str, &ModelFile)> = Vec::new();
    for model in models.iter().filter(|model| model.is_whole()) {
        let known = |file: &&ModelFile| file.digest.is_some() && !files.iter().any(|(_, seen)| seen.path == file.path);
        let new: Vec<(&str, &ModelFile)> =
            model.files.iter().filter(known).map(|file| (model.name.as_str(), file)).collect();
        files.extend(new);
    }
    files.sort_by_key(|(_, file)| file.size_bytes);
    let (mut hashed_bytes, mut left_out) = (0u64, 0usize);
    let mut sound_count = 0usize;
    for (model, file) in files {
        if depth == Depth::Quick && hashed_bytes + file.size_bytes > HASHED_BYTES_MAX {
            left_out += 1;
            continue;
        }
        hashed_bytes += file.size_bytes;
        let found = digest_of(&file.path);
        if found.is_some() && found == file.digest {
            sound_count += 1;
            continue;
        }
        let shown = file.path.display();
        let what = found.map_or("cannot be read".to_owned(), |digest| format!("hashes to {digest}"));
        findings.push(Finding::problem(
            "broken-blob",
            format!("a blob of `{model}` is not what its name says: {shown} {what}"),
            format!("`lair verify {model} --repair` fetches the wrong pieces again"),
        ));
    }
    if sound_count > 0 {
        let said = format!("{sound_count} blobs ({}) have the bytes that their names say", size_text(hashed_bytes));
        findings.push(Finding::good("blobs", said));
    }
    if left_out > 0 {
        let said = format!("{left_out} large blobs were not hashed; `lair doctor --deep` does, and takes longer");
        findings.push(Finding::note("blobs-not-hashed", said));
    }
    findings
}
