//! The projects of `lair slm serve`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lair_server::{ApiError, ErrorKind, ProjectParams, ProjectSource};
use sha2::{Digest, Sha256};

use super::opened::Opened;
use super::workshop::{Meant, Workshop};
use crate::failure::{ExitCode, Failure};
use crate::serve::failure;

/// Projects that were opened, each under the name of its model.
#[derive(Default)]
pub struct ServedProjects {
    opened: Mutex<HashMap<String, Arc<Opened>>>,
    first: Option<lair_server::Project>,
}

impl ServedProjects {
    /// With this one to begin with.
    pub fn new(first: Option<Opened>) -> ServedProjects {
        let mut projects = ServedProjects::default();
        projects.first = first.map(|first| projects.keep(first));
        projects
    }

    /// The project of this name, if it was opened.
    pub fn get(&self, name: &str) -> Option<Arc<Opened>> {
        self.opened().get(name).cloned()
    }

    fn opened(&self) -> MutexGuard<'_, HashMap<String, Arc<Opened>>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, opened: Opened) -> lair_server::Project {
        let project = &opened.project;
        let served = lair_server::Project {
            name: project.name.clone(),
            model: project.name.clone(),
            settings: project.to_value(),
            params: params(&project.params),
        };
        self.opened().insert(project.name.clone(), Arc::new(opened));
        served
    }
}

impl ProjectSource for ServedProjects {
    fn open(&self, config_path: &str) -> Result<lair_server::Project, ApiError> {
        let meant = Workshop::of_home().and_then(|workshop| workshop.resolve(config_path)).map_err(failure)?;
        // A model's file is no project, and nothing is fetched because a client names it.
        let Meant::Config(config) = meant else {
            let cause = format!("Config file not found: {config_path}");
            let hint = "`lair slm init` makes a project, `lair slm list --installed` lists them".to_owned();
            return Err(ApiError::new(ErrorKind::NotFound, cause).with_hint(hint));
        };
        Opened::read(&config).map(|opened| self.keep(opened)).map_err(|error| match error.code {
            ExitCode::Usage | ExitCode::BadModel => {
                failure(Failure { cause: format!("Invalid configuration: {}", error.cause), ..error })
            }
            _ => failure(error),
        })
    }

    fn first(&self) -> Option<lair_server::Project> {
        self.first.clone()
    }
}

impl Opened {
    /// Tells this project from another of its name, and from itself after a change that loading it again would show.
    pub fn identity(&self) -> String {
        let mut digest = Sha256::new().chain_update(self.project.to_value().to_string());
        digest.update(self.located.path.as_os_str().as_encoded_bytes());
        digest.update(format!("{:?}", of_file(&self.located.path)));
        digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Length and time of a file's last change.
fn of_file(path: &Path) -> Option<(u64, std::time::SystemTime)> {
    let data = std::fs::metadata(path).ok()?;
    Some((data.len(), data.modified().ok()?))
}

fn params(params: &super::project::Params) -> ProjectParams {
    ProjectParams {
        temperature: params.temperature,
        top_p: params.top_p,
        top_k: params.top_k,
        max_tokens: params.max_tokens,
        stop: params.stop.clone(),
        stream: params.stream,
        repetition_penalty: params.repetition_penalty,
    }
}
