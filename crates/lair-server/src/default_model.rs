//! Which model a request means that does not name one: clients of servers with a single model never do.

use crate::error::{ApiError, ErrorKind};
use crate::loaded::blocking;
use crate::server::SharedApp;

/// Names that the error lists.
const NAMES_SHOWN: usize = 8;

/// The model named, else the only one that is loaded, else the only one there is.
///
/// # Errors
/// If that leaves a choice: the error names the models.
pub(crate) async fn model_or_only(app: &SharedApp, named: Option<String>) -> Result<String, ApiError> {
    if let Some(name) = named.filter(|name| !name.trim().is_empty()) {
        return Ok(name);
    }
    if let [only] = app.models.running().as_slice() {
        return Ok(only.facts.name.clone());
    }
    let source = std::sync::Arc::clone(app.models.source());
    let models = blocking(move || source.list()).await?;
    match models.as_slice() {
        [only] => Ok(only.name.clone()),
        [] => Err(ApiError::new(ErrorKind::NotFound, "`model` is missing, and there is no model here")
            .with_hint("get one with `lair pull`".to_owned())),
        _ => {
            let names: Vec<&str> = models.iter().take(NAMES_SHOWN).map(|facts| facts.name.as_str()).collect();
            let cause = format!("`model` is missing, and there are {}: {}", models.len(), names.join(", "));
            Err(ApiError::bad("model", cause))
        }
    }
}
