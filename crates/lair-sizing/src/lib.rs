//! How fast a model can be on a machine and what memory it takes, before anything runs: it never loads weights.

pub mod estimate;
pub mod fit;
pub mod roofline;

pub use estimate::{Estimate, MemoryNeeds, Speeds, Use, Verdict};
pub use roofline::{Bound, Limit, Machine, Roofline};
