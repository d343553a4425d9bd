//! Tokenizers and chat templates.

pub mod template;
