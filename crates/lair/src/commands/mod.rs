//! The commands, one file each.

pub mod bench;
pub mod completions;
pub mod gc;
pub mod import;
pub mod list;
pub mod perplexity;
pub mod rm;
pub mod run;
pub mod show;
pub mod slm;
pub mod verify;
pub mod version;
pub mod welcome;
