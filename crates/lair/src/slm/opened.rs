//! A project that was read, with the model it means.

use std::path::Path;

use super::Project;
use crate::failure::Failure;
use crate::locate::{self, Located};
use crate::session::LoadOptions;

/// A project with the file it was read from, and the model it means.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The project.
    pub project: Project,
    /// Its model.
    pub located: Located,
}

impl Opened {
    /// Reads a project's file. What nothing reads, and what has no effect, is said on standard error.
    pub fn read(config: &Path) -> Result<Opened, Failure> {
        let (project, unused) = Project::read(config)?;
        for name in unused {
            eprintln!("warning: `{}`: nothing reads `{name}`", config.display());
        }
        for note in project.notes() {
            eprintln!("note: {note}");
        }
        let path = project.model_file(Some(config))?;
        let located = locate::locate(Some(&path.display().to_string()), false)?;
        Ok(Opened { project, located })
    }

    /// How its model is loaded: as the project says where `options` leave it open.
    pub fn load_options(&self, options: LoadOptions) -> Result<LoadOptions, Failure> {
        let options = LoadOptions {
            context_length: options.context_length.or(Some(self.project.context_size)),
            threads: options.threads.or(Some(self.project.threads)),
            ..options
        };
        self.located.load_options(&Default::default(), &options)
    }
}
