//! The commands, one file each.

pub mod bench;
pub mod gc;
pub mod import;
pub mod list;
pub mod perplexity;
pub mod rm;
pub mod run;
pub mod show;
pub mod verify;
