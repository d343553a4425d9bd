//! What a blob must turn out to be, and the hash that is computed while it arrives.

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::sources::SourceError;

/// How a blob is told from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// The sha256 of its bytes: OCI registries, large files of the hub.
    Sha256(Digest),
    /// The sha1 of `blob <length>\0` and its bytes, as git computes it: small files of the hub.
    GitSha1([u8; 20]),
    /// Nobody says: a plain link. What arrives the first time is what counts.
    Unknown,
}

/// What a blob must turn out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Length in bytes.
    pub size_bytes: u64,
    /// Its hash.
    pub check: Check,
    /// Whether it is a model file, whose first four bytes are known.
    pub is_gguf: bool,
}

impl Expected {
    /// A blob with this sha256.
    pub fn sha256(digest: Digest, size_bytes: u64) -> Expected {
        Expected { size_bytes, check: Check::Sha256(digest), is_gguf: false }
    }

    /// Thirty-two bytes that tell this blob from others, or zeros.
    pub(crate) fn identity(&self) -> [u8; 32] {
        let mut identity = [0; 32];
        match self.check {
            Check::Sha256(digest) => identity = digest.bytes(),
            Check::GitSha1(sha1) => identity[..20].copy_from_slice(&sha1),
            Check::Unknown => {}
        }
        identity
    }
}

/// The hash of the bytes so far.
#[derive(Clone)]
pub(crate) enum BlobHasher {
    Sha256(Box<Sha256>),
    GitSha1(Box<Context>),
}

impl BlobHasher {
    pub(crate) fn new(expected: &Expected) -> BlobHasher {
        match expected.check {
            Check::Sha256(_) | Check::Unknown => BlobHasher::Sha256(Box::default()),
            Check::GitSha1(_) => {
                let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
                context.update(format!("blob {}\0", expected.size_bytes).as_bytes());
                BlobHasher::GitSha1(Box::new(context))
            }
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            BlobHasher::Sha256(hasher) => hasher.update(bytes),
            BlobHasher::GitSha1(context) => context.update(bytes),
        }
    }

    /// Whether these were the bytes; the sha256 of them where that is what was computed.
    pub(crate) fn check(self, check: &Check) -> Result<Option<Digest>, SourceError> {
        match (self, check) {
            (BlobHasher::Sha256(hasher), Check::Sha256(expected)) => {
                let found = Digest::from_hasher(*hasher);
                if found == *expected { Ok(Some(found)) } else { Err(wrong(&found, expected)) }
            }
            (BlobHasher::Sha256(hasher), _) => Ok(Some(Digest::from_hasher(*hasher))),
            (BlobHasher::GitSha1(context), Check::GitSha1(expected)) => {
                let found = context.finish();
                if found.as_ref() == expected {
                    return Ok(None);
                }
                Err(wrong(&format!("git:{}", hex(found.as_ref())), &format!("git:{}", hex(expected))))
            }
            (BlobHasher::GitSha1(_), _) => unreachable!("the hasher was made for this check"),
        }
    }
}

fn wrong(found: &impl ToString, expected: &impl ToString) -> SourceError {
    SourceError::WrongDigest { found: found.to_string(), expected: expected.to_string() }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_git_blob_hashes_as_git_says() {
        // `printf hello | git hash-object --stdin`
        let sha1 = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0";
        let mut bytes = [0; 20];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&sha1[2 * index..2 * index + 2], 16).expect("hex");
        }
        let expected = Expected { size_bytes: 5, check: Check::GitSha1(bytes), is_gguf: false };
        let mut hasher = BlobHasher::new(&expected);
        hasher.update(b"hel");
        hasher.update(b"lo");
        assert!(hasher.clone().check(&expected.check).is_ok());
        hasher.update(b"!");
        let error = hasher.check(&expected.check).expect_err("another");
        assert!(error.to_string().contains(sha1), "{error}");
    }
}
