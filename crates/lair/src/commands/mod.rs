//! The commands, one file each.

pub mod perplexity;
pub mod run;
pub mod show;
