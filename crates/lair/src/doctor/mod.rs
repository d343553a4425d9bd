//! What `lair doctor` and `lair why-slow` look at: the system's own accounts, the stores, the ports.

pub mod diagnosis;
pub mod duplicates;
pub mod examination;
pub mod finding;
pub mod perf;
pub mod stores;
pub mod system;
