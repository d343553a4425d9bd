//! Tokenizers and chat templates.

pub mod template;
pub mod tokenizer;
