//! Hashing what is stored again, and having what is broken mended.
//!
//! A blob that is found bad is moved to `<models>/.lair/quarantine`, so that its models are listed as damaged instead of
//! answering nonsense. A repair finds it under its name again, because most of its bytes are worth keeping; if the
//! repair fails, it goes back.

use std::path::{Path, PathBuf};

use crate::blobs::{create_durable, hash_file, hash_file_with_sums};
use crate::digest::Digest;
use crate::error::StoreError;
use crate::found::{FoundModel, ModelFile};
use crate::store::Store;

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has its digest.
    Sound,
    /// Its store knows no digest to compare with.
    Unknown,
    /// It is not there, nor in quarantine.
    Missing,
    /// It is not what it should be.
    Broken {
        /// What it hashes to.
        found: Digest,
        /// Where it was moved, if it lies in Lair's store.
        quarantine: Option<PathBuf>,
    },
    /// It was broken or missing and is sound again.
    Repaired {
        /// How many bytes were fetched for that.
        fetched_bytes: u64,
    },
}

/// A file that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Which.
    pub file: ModelFile,
    /// What became of it.
    pub verdict: Verdict,
}

impl Verified {
    /// Whether a model cannot be run because of it.
    pub fn is_bad(&self) -> bool {
        matches!(self.verdict, Verdict::Missing | Verdict::Broken { .. })
    }
}

/// Who can make a blob whole.
pub trait Repairer {
    /// Makes the blob of `file`, which belongs to `model`, whole: it lies under its name with wrong bytes, or is not
    /// there. Returns how many bytes were fetched.
    fn repair(&mut self, model: &FoundModel, file: &ModelFile) -> Result<u64, StoreError>;
}

impl Store {
    /// Hashes one file of a model. In Lair's own store a bad one goes to quarantine; elsewhere nothing is changed.
    /// `progress` is told how many more bytes were hashed.
    pub fn verify(&self, file: &ModelFile, progress: &mut dyn FnMut(u64)) -> Result<Verified, StoreError> {
        let verdict = self.verdict(file, progress)?;
        Ok(Verified { file: file.clone(), verdict })
    }

    fn verdict(&self, file: &ModelFile, progress: &mut dyn FnMut(u64)) -> Result<Verdict, StoreError> {
        let Some(digest) = file.digest else { return Ok(Verdict::Unknown) };
        let fs = self.file_system();
        let is_ours = file.path == self.blobs().path(&digest);
        let quarantined = self.quarantine_path(&digest);
        if !fs.exists(&file.path) {
            if !is_ours || !fs.exists(&quarantined) {
                return Ok(Verdict::Missing);
            }
            let found = hash_file(fs, &quarantined, progress)?;
            return Ok(Verdict::Broken { found, quarantine: Some(quarantined) });
        }
        let (found, sums) = hash_file_with_sums(fs, &file.path, progress)?;
        if found == digest {
            // What Ollama brought, or Lair before it kept checksums, can be mended piece by piece from now on.
            if is_ours && !fs.exists(&self.blobs().checksums_path(&digest)) {
                self.blobs().keep_sums(&digest, &sums);
            }
            return Ok(Verdict::Sound);
        }
        let quarantine = if is_ours { Some(self.quarantine(&digest)?) } else { None };
        Ok(Verdict::Broken { found, quarantine })
    }

    fn quarantine_path(&self, digest: &Digest) -> PathBuf {
        self.blobs().workplace().root().join("quarantine").join(digest.file_name())
    }

    /// Takes its name from a blob that is not what the name says.
    fn quarantine(&self, digest: &Digest) -> Result<PathBuf, StoreError> {
        let to = self.quarantine_path(digest);
        self.move_durably(&self.blobs().path(digest), &to)?;
        Ok(to)
    }

    fn move_durably(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        let fs = self.file_system();
        let folder = to.parent().expect("it was joined");
        create_durable(fs, folder)?;
        fs.rename(from, to).map_err(StoreError::io("move", from))?;
        for folder in [folder, from.parent().expect("it was joined")] {
            fs.sync_folder(folder).map_err(StoreError::io("sync", folder))?;
        }
        Ok(())
    }

    /// Has a bad blob of Lair's own store made whole, and hashes what came of it.
    ///
    /// # Errors
    /// [`StoreError::NotOurs`] for a file of another program's; [`StoreError::WrongDigest`] when the blob is still bad
    /// afterwards. It is in quarantine then.
    pub fn repair(
        &self,
        model: &FoundModel,
        verified: &Verified,
        repairer: &mut dyn Repairer,
    ) -> Result<Verdict, StoreError> {
        let (true, Some(digest)) = (verified.is_bad(), verified.file.digest) else {
            return Ok(verified.verdict.clone());
        };
        let path = self.blobs().path(&digest);
        if verified.file.path != path {
            let (name, root) = (model.name.clone(), model.root.clone());
            return Err(StoreError::NotOurs { name, owner: model.owner, root });
        }
        self.blobs().claim(&[digest])?;
        if let Verdict::Broken { quarantine: Some(quarantined), .. } = &verified.verdict {
            self.move_durably(quarantined, &path)?;
        }
        let outcome = repairer.repair(model, &verified.file).and_then(|fetched_bytes| {
            self.blobs().verify(&digest)?;
            Ok(Verdict::Repaired { fetched_bytes })
        });
        if outcome.is_err() && self.file_system().exists(&path) && self.blobs().verify(&digest).is_err() {
            self.quarantine(&digest)?;
        }
        self.blobs().release(&[digest])?;
        outcome
    }
}
