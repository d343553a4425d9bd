//! Packed weights beyond a load: kept when they were packed, taken back instead of packing them again.

use crate::WeightBytes;

/// Raised whenever a part that is kept under the same name would have other bytes.
pub const PACKED_LAYOUT_VERSION: u32 = 1;

/// Keeps parts of packed weights: what a backend would make anew of the same model file at each load.
///
/// The backend knows no files: it asks for parts by name, and offers those that it had to make. The bytes of a part mean
/// something to the same model, the same kind of processor and the same [`PACKED_LAYOUT_VERSION`] only. Telling these
/// apart is the archive's task, as is handing out nothing but the very bytes that were kept.
pub trait WeightArchive: Send + Sync {
    /// The bytes that were kept under this name, beginning a cache line of 64 bytes. They are read for as long as the
    /// weights are used.
    fn load(&self, part: &str) -> Option<WeightBytes>;

    /// Offers what was made because it could not be loaded. The bytes stay as long as they are held.
    fn keep(&self, part: &str, bytes: WeightBytes);

    /// Why bytes that were loaded are not what they were any more, if so: what was computed since is wrong. It is asked
    /// after each step.
    fn damage(&self) -> Option<String>;
}
