//! The commands, one file each.

pub mod bench;
pub mod completions;
<<<<<<< HEAD
pub mod config;
=======
pub mod convert;
>>>>>>> c52a0fc (convert: lair convert, checkpoints run as they are, packed weights; golden outputs of transformers)
pub mod create;
pub mod eval;
pub mod fit;
pub mod gc;
pub mod import;
pub mod key;
pub mod list;
pub mod log;
pub mod outdated;
pub mod perplexity;
pub mod ps;
pub mod pull;
pub mod push;
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
