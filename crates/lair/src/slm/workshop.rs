//! The folder `~/.slm`: which projects are in it.

use std::path::{Path, PathBuf};

use super::project::Project;
use crate::failure::{ExitCode, Failure, Outcome};

/// Endings of projects, tried in this order.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// SLM Packager's folder.
#[derive(Clone, Debug)]
pub struct Workshop {
    root: PathBuf,
}

/// What a model or a project was meant by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meant {
    /// A project's file.
    Config(PathBuf),
    /// A model's file.
    ModelFile(PathBuf),
    /// A name that no project here has.
    Name(String),
}

impl Workshop {
    /// The folder in the user's home.
    pub fn of_home() -> Result<Workshop, Failure> {
        let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
        let home =
            home.ok_or_else(|| Failure::new(ExitCode::Other, "the home folder is not known: HOME is not set"))?;
        Ok(Workshop { root: home.join(".slm") })
    }

    fn configs(&self) -> PathBuf {
        self.root.join("configs")
    }

    /// Where the project of this name is written.
    ///
    /// # Errors
    /// A name that could lead out of the folder.
    pub fn config_path(&self, name: &str) -> Result<PathBuf, Failure> {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.is_empty() || name.starts_with(['.', '-']) || !name.bytes().all(is_letter) {
            let cause = format!("`{name}` is no name for a project: letters, digits, `.`, `_` and `-` are expected");
            return Err(Failure::new(ExitCode::Usage, cause));
        }
        Ok(self.configs().join(format!("{name}.yaml")))
    }

    /// What the user means: a file, or the project of this name.
    ///
    /// # Errors
    /// A file that is neither a project nor a model.
    pub fn resolve(&self, text: &str) -> Result<Meant, Failure> {
        let path = Path::new(text);
        if path.is_file() {
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
            return match ending.as_str() {
                "gguf" => Ok(Meant::ModelFile(path.to_owned())),
                ending if ENDINGS.contains(&ending) => Ok(Meant::Config(path.to_owned())),
                _ => {
                    let cause = format!("`{text}` is neither a project (.yaml, .yml, .json) nor a model (.gguf)");
                    Err(Failure::new(ExitCode::Usage, cause).with_hint("`lair slm init` makes a project".to_owned()))
                }
            };
        }
        if let Ok(yaml) = self.config_path(text) {
            let candidates = ENDINGS.iter().map(|ending| yaml.with_file_name(format!("{text}.{ending}")));
            if let Some(config) = candidates.into_iter().find(|path| path.is_file()) {
                return Ok(Meant::Config(config));
            }
        }
        Ok(Meant::Name(text.to_owned()))
    }

    /// All projects of the folder, sorted by the names of their files; those that cannot be read with the reason.
    pub fn projects(&self) -> Result<Vec<(PathBuf, Result<Project, Failure>)>, Failure> {
        let entries = match std::fs::read_dir(self.configs()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            if ENDINGS.contains(&ending) && path.is_file() {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths.into_iter().map(|path| (path.clone(), Project::read(&path).map(|(project, _)| project))).collect())
    }

    /// Removes a project. A model file below this folder goes with it; gives the path of one that stays.
    pub fn remove(&self, config: &Path) -> Result<Option<PathBuf>, Failure> {
        let project = Project::read(config).map(|(project, _)| project);
        let file = project.ok().map(|project| PathBuf::from(project.path)).filter(|file| file.exists());
        let kept = match file {
            Some(file) if self.owns(&file) => {
                remove_file(&file)?;
                None
            }
            file => file,
        };
        remove_file(config)?;
        Ok(kept)
    }

    /// Whether a file lies below the folder, whatever links lead to it.
    fn owns(&self, file: &Path) -> bool {
        let models = self.root.join("models");
        let real = (std::fs::canonicalize(file), std::fs::canonicalize(models));
        matches!(real, (Ok(file), Ok(models)) if file.starts_with(&models))
    }
}

fn remove_file(path: &Path) -> Outcome {
    std::fs::remove_file(path)
        .map_err(|error| Failure::new(ExitCode::Other, format!("`{}` cannot be removed: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_files_and_projects_are_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let workshop = Workshop { root: folder.path().to_owned() };
        let project = Project::new("x", "x.gguf", "gguf", "llama_cpp");
        let config = workshop.config_path("x").expect("a name");
        project.write(&config).expect("written");
        let json = folder.path().join("y.json");
        project.write(&json).expect("written");
        let model = folder.path().join("m.GGUF");
        std::fs::write(&model, b"x").expect("written");
        let text = |path: &Path| path.display().to_string();
        assert!(matches!(workshop.resolve("x"), Ok(Meant::Config(path)) if path == config));
        assert!(matches!(workshop.resolve(&text(&json)), Ok(Meant::Config(path)) if path == json));
        assert!(matches!(workshop.resolve(&text(&model)), Ok(Meant::ModelFile(path)) if path == model));
        assert!(matches!(workshop.resolve("tinyllama"), Ok(Meant::Name(_))));
        assert!(workshop.config_path("../x").is_err());
        assert!(workshop.config_path("").is_err());
        assert_eq!(workshop.projects().expect("listed").len(), 1);
    }

    #[test]
    fn only_what_lies_in_the_folder_is_removed_with_a_project() {
        let folder = tempfile::tempdir().expect("a folder");
        let workshop = Workshop { root: folder.path().join("slm") };
        let inside = folder.path().join("slm/models/a.gguf");
        let outside = folder.path().join("b.gguf");
        std::fs::create_dir_all(inside.parent().expect("a folder")).expect("made");
        for file in [&inside, &outside] {
            std::fs::write(file, b"x").expect("written");
            let config = workshop.config_path("p").expect("a name");
            Project::new("p", &file.display().to_string(), "gguf", "llama_cpp").write(&config).expect("written");
            let kept = workshop.remove(&config).expect("removed");
            assert_eq!(kept, (file == &outside).then(|| outside.clone()));
            assert!(!config.exists());
        }
        assert!(!inside.exists() && outside.exists());
    }
}
