//! Tokenizers and chat templates.

pub mod template;

pub use template::{ChatTemplate, RenderInput, RenderLimits, Rendered, TemplateError};
