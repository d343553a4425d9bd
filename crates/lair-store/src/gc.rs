//! Clearing the store: blobs that nothing names, downloads that nobody continues, and, under a quota, the models that
//! were not used for longest.
//!
//! Everything happens under the lock of the store, so no name can come or go meanwhile. What a living process claims
//! stays; whether one lives, its lock says, not the age of a file.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::digest::Digest;
use crate::error::StoreError;
use crate::file_system::{FileKind, OpenHow};
use crate::found::Owner;
use crate::layouts::StoredManifest;
use crate::model_name::ModelName;
use crate::note::seconds_now;
use crate::store::Store;
use crate::workplace::StoreLock;

/// What to clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GcOptions {
    /// Only say what would go.
    pub dry_run: bool,
    /// Remove models, those used longest ago first, until the rest has no more bytes.
    pub quota_bytes: Option<u64>,
    /// Downloads under way that nobody has continued for this long; `None` keeps all.
    pub partials_older_than: Option<Duration>,
    /// In a folder that Ollama uses too: also blobs that Ollama may have brought.
    pub also_shared: bool,
}

/// What went, or would go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Names that the quota cost.
    pub evicted: Vec<ModelName>,
    /// Blobs that nothing names, those of evicted names among them, with their lengths.
    pub blobs: Vec<(Digest, u64)>,
    /// Partial downloads and blobs in quarantine, with their lengths.
    pub leftovers: Vec<(PathBuf, u64)>,
    /// Blobs that nothing names and that stay, because Ollama may be bringing them: how many, how many bytes.
    pub shared: (usize, u64),
    /// Bytes that models have afterwards.
    pub remaining_bytes: u64,
}

impl GcReport {
    /// Bytes that were freed.
    pub fn freed_bytes(&self) -> u64 {
        let blobs = self.blobs.iter().map(|(_, size_bytes)| size_bytes);
        blobs.chain(self.leftovers.iter().map(|(_, size_bytes)| size_bytes)).sum()
    }
}

impl Store {
    /// Clears the store, or says what clearing would do.
    ///
    /// # Errors
    /// [`StoreError::BadManifest`] when a manifest cannot be read: nobody knows then which blobs it needs.
    pub fn gc(&self, options: GcOptions) -> Result<GcReport, StoreError> {
        let lock = self.blobs().workplace().lock()?;
        let mut kept = Vec::new();
        for (_, manifest) in self.layout().manifests()? {
            kept.push(manifest?);
        }
        let mut report = GcReport::default();
        if let Some(quota_bytes) = options.quota_bytes {
            self.choose_evicted(&mut kept, quota_bytes, &mut report)?;
        }
        report.remaining_bytes = bytes_of(&kept);
        let mut needed = self.blobs().workplace().claims(&lock)?;
        needed.extend(kept.iter().flat_map(|stored| stored.manifest.blobs().map(|blob| blob.digest)));
        self.find_orphans(&needed, options, &mut report)?;
        self.find_leftovers(&needed, options, &mut report)?;
        self.find_views(&kept, &mut report)?;
        if !options.dry_run {
            self.sweep(&report, &lock)?;
        }
        Ok(report)
    }

    /// Takes names from `kept` until the rest fits. Pinned ones and those of Ollama stay.
    fn choose_evicted(
        &self,
        kept: &mut Vec<StoredManifest>,
        quota_bytes: u64,
        report: &mut GcReport,
    ) -> Result<(), StoreError> {
        let mut may_go = HashSet::new();
        for stored in kept.iter() {
            if self.owner_of(&stored.name) == Owner::Lair && !self.is_pinned(&stored.name)? {
                may_go.insert(stored.name.clone());
            }
        }
        while bytes_of(kept) > quota_bytes {
            let candidates = kept.iter().filter(|stored| may_go.contains(&stored.name));
            let oldest = candidates.min_by_key(|stored| self.used_at_s(stored));
            let Some(name) = oldest.map(|stored| stored.name.clone()) else { break };
            kept.retain(|stored| stored.name != name);
            report.evicted.push(name);
        }
        Ok(())
    }

    fn find_orphans(
        &self,
        needed: &HashSet<Digest>,
        options: GcOptions,
        report: &mut GcReport,
    ) -> Result<(), StoreError> {
        let folder = self.blobs().root().join("blobs");
        let mut of_evicted = HashSet::new();
        for name in &report.evicted {
            if let Some(stored) = self.manifest(name)? {
                of_evicted.extend(stored.manifest.blobs().map(|blob| blob.digest));
            }
        }
        for entry in self.entries_of(folder)? {
            let text = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default().replacen('-', ":", 1);
            let Ok(digest) = text.parse::<Digest>() else { continue };
            if needed.contains(&digest) {
                continue;
            }
            let size_bytes = self.blobs().size_bytes(&digest).unwrap_or(0);
            // Ollama takes no lease; a blob that only it knows may belong to a pull under way.
            let is_ours = of_evicted.contains(&digest);
            if self.settings().is_shared && !options.also_shared && !is_ours {
                report.shared = (report.shared.0 + 1, report.shared.1 + size_bytes);
            } else {
                report.blobs.push((digest, size_bytes));
            }
        }
        Ok(())
    }

    fn find_leftovers(
        &self,
        needed: &HashSet<Digest>,
        options: GcOptions,
        report: &mut GcReport,
    ) -> Result<(), StoreError> {
        let root = self.blobs().workplace().root();
        let now = SystemTime::now();
        let is_old = |modified: Option<SystemTime>| match (options.partials_older_than, modified) {
            (Some(age), Some(modified)) => now.duration_since(modified).is_ok_and(|since| since >= age),
            _ => false,
        };
        for (folder, is_partial) in [("partial", true), ("quarantine", false), ("checksums", false)] {
            for path in self.entries_of(root.join(folder))? {
                let Ok(facts) = self.file_system().facts_of_link(&path) else { continue };
                if facts.kind == FileKind::Folder || (is_partial && !is_old(facts.modified)) {
                    continue;
                }
                // A journal lies beside its partial, with a suffix.
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let stem = name.split('.').next().unwrap_or_default();
                let digest = stem.replacen('-', ":", 1).parse::<Digest>().ok();
                // In quarantine lies what a repair starts from, and its checksums, as long as something needs it.
                let is_needed = digest.is_some_and(|digest| needed.contains(&digest));
                let is_claimed = is_partial && self.blobs().workplace().is_locked(stem);
                if (is_partial && !is_claimed) || (!is_partial && !is_needed) {
                    report.leftovers.push((path, facts.size_bytes));
                }
            }
        }
        Ok(())
    }

    /// Links to the shards of models that are no more.
    fn find_views(&self, kept: &[StoredManifest], report: &mut GcReport) -> Result<(), StoreError> {
        for view in self.entries_of(self.blobs().workplace().root().join("views"))? {
            let is_kept = kept.iter().any(|stored| view.file_name() == Some(stored.digest.file_name().as_ref()));
            if !is_kept {
                report.leftovers.extend(self.entries_of(view)?.into_iter().map(|path| (path, 0)));
            }
        }
        Ok(())
    }

    fn entries_of(&self, folder: PathBuf) -> Result<Vec<PathBuf>, StoreError> {
        match self.file_system().read_folder(&folder) {
            Ok(entries) => Ok(entries.into_iter().map(|entry| entry.path).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(StoreError::io("read", folder)(error)),
        }
    }

    fn sweep(&self, report: &GcReport, lock: &StoreLock) -> Result<(), StoreError> {
        for name in &report.evicted {
            self.remove_name(name, lock)?;
        }
        let doomed: HashSet<Digest> = report.blobs.iter().map(|(digest, _)| *digest).collect();
        self.remove_blobs(doomed, &Some(HashSet::new()), lock)?;
        for (path, _) in &report.leftovers {
            match self.file_system().remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::io("remove", path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Keeps a model from being removed by a quota.
    pub fn pin(&self, name: &ModelName) -> Result<(), StoreError> {
        if self.manifest(name)?.is_none() {
            return Err(self.unknown(&name.short()));
        }
        self.put_mark("pins", name, b"")
    }

    /// Ends what [`pin`](Store::pin) began. Returns whether it was pinned.
    pub fn unpin(&self, name: &ModelName) -> Result<bool, StoreError> {
        let path = self.mark_path("pins", name);
        match self.file_system().remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("remove", path)(error)),
        }
    }

    /// Whether a quota spares it. What cannot be found out is an error: a guess could cost a model.
    pub fn is_pinned(&self, name: &ModelName) -> Result<bool, StoreError> {
        let path = self.mark_path("pins", name);
        match self.file_system().facts(&path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("read", path)(error)),
        }
    }

    /// Remembers that a model of this store is used now. What cannot be written is not remembered: a store that is
    /// only read works too.
    pub fn mark_used(&self, name: &ModelName) {
        // In place and not synced: half a number is none, and then the time when the model came counts.
        let path = self.mark_path("used", name);
        let folder = path.parent().map_or(Ok(()), |folder| self.file_system().create_folder(folder));
        let opened = folder.and_then(|()| self.file_system().open(&path, OpenHow::UpdateOrCreate));
        let _ = opened.and_then(|mut file| {
            file.set_size(0)?;
            file.write_at(0, seconds_now().to_string().as_bytes())
        });
    }

    /// When a model was used last, or else came, in seconds since 1970.
    fn used_at_s(&self, stored: &StoredManifest) -> u64 {
        let bytes = self.file_system().read(&self.mark_path("used", &stored.name), 32).unwrap_or_default();
        let used = String::from_utf8_lossy(&bytes).trim().parse().unwrap_or(0);
        let came = stored.modified.and_then(|modified| modified.duration_since(UNIX_EPOCH).ok());
        came.map_or(0, |since| since.as_secs()).max(used)
    }
}

/// Bytes of all blobs of these models, each once.
fn bytes_of(models: &[StoredManifest]) -> u64 {
    let mut seen = HashSet::new();
    let blobs = models.iter().flat_map(|stored| stored.manifest.blobs());
    blobs.filter(|blob| seen.insert(blob.digest)).fold(0, |sum: u64, blob| sum.saturating_add(blob.size_bytes))
}
