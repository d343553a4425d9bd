//! What a download tells the one who waits for it.

/// Receives the course of a fetch, a pull or a push. The store draws nothing itself.
pub trait Progress {
    /// A step of a pull or a push begins: `pulling manifest`, `verifying sha256 digest`, `success`.
    fn status(&mut self, _text: &str) {}

    /// So many bytes are to come or to go in all, in blobs that follow one after the other.
    fn planned(&mut self, _total_bytes: u64) {}

    /// What follows is about this blob: a short digest, a file name.
    fn blob(&mut self, _name: &str) {}

    /// A source begins to deliver a blob of `total_bytes`; what came before no longer counts.
    ///
    /// Bytes already here from an earlier run follow at once as `advanced`.
    fn started(&mut self, total_bytes: u64, source: &str);

    /// `bytes` more of the blob have arrived.
    fn advanced(&mut self, bytes: u64);

    /// A sentence for the user: what failed, what is waited for, what happens next.
    fn note(&mut self, text: &str);

    /// The blob is complete, verified and in its place.
    fn finished(&mut self);

    /// Whether who waits for it no longer does: the transfer ends soon, and what is here stays for another time.
    fn is_given_up(&self) -> bool {
        false
    }
}

/// A [`Progress`] that shows nothing.
#[derive(Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn started(&mut self, _total_bytes: u64, _source: &str) {}
    fn advanced(&mut self, _bytes: u64) {}
    fn note(&mut self, _text: &str) {}
    fn finished(&mut self) {}
}
