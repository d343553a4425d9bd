//! Projects of SLM Packager: a model with how it is loaded and sampled, opened by the path of a file.

use serde_json::Value as Json;

use crate::error::ApiError;

/// A project that can be answered with.
#[derive(Clone, Debug, PartialEq)]
pub struct Project {
    /// What it calls its model.
    pub name: String,
    /// The reference under which [`crate::ModelSource::load`] loads it.
    pub model: String,
    /// All that its file says, defaults filled in.
    pub settings: Json,
    /// How it samples when a request does not say.
    pub params: ProjectParams,
}

/// How tokens are chosen, and how the answer comes.
#[derive(Clone, Debug, PartialEq)]
pub struct ProjectParams {
    /// 0 to 2; 0 is greedy.
    pub temperature: f32,
    /// 0 to 1; 1 is off.
    pub top_p: f32,
    /// 0 keeps all.
    pub top_k: usize,
    /// Longest answer in tokens, 1 or more.
    pub max_tokens: usize,
    /// Texts that end an answer.
    pub stop: Vec<String>,
    /// Whether the answer comes piece by piece.
    pub stream: bool,
    /// 1 or more; 1 is off.
    pub repetition_penalty: f32,
}

/// Where projects come from. The program implements it; both functions may block.
pub trait ProjectSource: Send + Sync {
    /// Reads a project; from then on its model can be loaded.
    ///
    /// # Errors
    /// A file that is not there or is no project, a model's file that is not there or of a format that is not run.
    fn open(&self, config_path: &str) -> Result<Project, ApiError>;

    /// The one to begin with, if there is one.
    fn first(&self) -> Option<Project>;
}
