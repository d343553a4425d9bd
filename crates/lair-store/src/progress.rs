//! What a download tells the one who waits for it.

/// Receives the course of one [`crate::Store::fetch`]. The store draws nothing itself.
pub trait Progress {
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
