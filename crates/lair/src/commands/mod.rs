//! The commands, one file each.

pub mod bench;
pub mod perplexity;
pub mod run;
pub mod show;
