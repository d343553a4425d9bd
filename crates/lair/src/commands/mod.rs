//! The commands, one file each.

pub mod bench;
pub mod completions;
pub mod create;
pub mod gc;
pub mod gguf;
pub mod import;
pub mod list;
pub mod outdated;
pub mod perplexity;
pub mod ps;
pub mod pull;
pub mod push;
pub mod quantize;
pub mod rm;
pub mod run;
pub mod search;
pub mod serve;
pub mod show;
pub mod slm;
pub mod transfer_args;
pub mod verify;
pub mod version;
pub mod welcome;
