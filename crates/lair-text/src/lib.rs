//! Tokenizers and chat templates.

pub mod tokenizer;
