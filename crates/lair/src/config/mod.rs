//! Settings from flags, the environment and a file: what counts more takes the place of what counts less, and each value
//! can say where it comes from.
//!
//! Flags are parsed by clap. What the environment and the file say becomes the default of the flag, so that it is checked, and
//! read, as the flag is.

mod explain;
mod file;
#[cfg(test)]
mod reference;
mod settings;

pub use explain::{Explained, explain, unused};
pub use file::{ConfigError, ConfigFile, change};
pub use settings::{PLACES, SETTINGS, Section, Setting, find};

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory};

use crate::Cli;
use crate::failure::{ExitCode, Failure};
use settings::Variable;

/// What the help of commands with settings ends with.
pub const HELP: &str = "Options can also be set in the environment, LAIR_KEEP_ALIVE for --keep-alive, or in the file that \
    `lair config path` names; `lair config explain` says what is set by what.";

/// Where a value comes from; what counts more comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The command line.
    Flag,
    /// A variable of the environment. The first of a setting counts most.
    Variable(usize, String),
    /// A line of the file.
    File(usize),
}

impl Source {
    /// How much it counts; less counts more. All variables count the same against other settings.
    fn rank(&self) -> usize {
        match self {
            Source::Flag => 0,
            Source::Variable(..) => 1,
            Source::File(_) => 2,
        }
    }
}

/// What one source says of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Who.
    pub source: Source,
    /// What; several values of a list.
    pub values: Vec<String>,
}

/// The environment, as a function so that tests have their own.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// The environment of this process. What is empty is not there.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        Failure::new(ExitCode::Usage, &error).with_hint(error.hint())
    }
}

/// Where the file of settings is: `LAIR_CONFIG`; in `LAIR_HOME`, for whoever gives Lair a home of its own; in the folder where
/// the user's programs keep theirs.
///
/// # Errors
/// If there is no such place, or `LAIR_CONFIG` names a file that is not there.
pub fn path(environment: Environment<'_>) -> Result<PathBuf, Failure> {
    if let Some(path) = environment("LAIR_CONFIG").map(PathBuf::from) {
        if !path.exists() {
            let cause = format!("LAIR_CONFIG names {}, which is not there", path.display());
            return Err(Failure::new(ExitCode::Usage, cause));
        }
        return Ok(path);
    }
    if let Some(home) = environment("LAIR_HOME") {
        return Ok(PathBuf::from(home).join("config.toml"));
    }
    let named = environment("XDG_CONFIG_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let of_user = || match cfg!(windows) {
        true => environment("APPDATA").map(PathBuf::from),
        false => environment("HOME").map(|home| PathBuf::from(home).join(".config")),
    };
    let folder = named.or_else(of_user).ok_or_else(|| {
        Failure::new(ExitCode::Usage, "there is no place for a file of settings")
            .with_hint("set LAIR_CONFIG".to_owned())
    })?;
    Ok(folder.join("lair").join("config.toml"))
}

/// The file of settings; an empty one where none can be.
pub fn read(environment: Environment<'_>) -> Result<ConfigFile, Failure> {
    match path(environment) {
        Ok(path) => Ok(ConfigFile::read(&path)?),
        Err(failure) if environment("LAIR_CONFIG").is_some() => Err(failure),
        Err(_) => Ok(ConfigFile::default()),
    }
}

/// All that is said of a setting besides flags, what counts most first.
fn said(setting: &Setting, section: Section, arg: &Arg, environment: Environment<'_>, file: &ConfigFile) -> Vec<Said> {
    let own = setting.own_variable();
    let own = std::iter::once((own.as_str(), Variable { name: "", values: &[] }));
    let variables = own.chain(setting.variables.iter().map(|variable| (variable.name, *variable)));
    let of_environment = variables.enumerate().filter_map(|(index, (name, variable))| {
        let text = environment(name)?;
        let text = match variable.values.iter().find(|(value, _)| value.eq_ignore_ascii_case(text.trim())) {
            Some((_, said)) => (*said)?.to_owned(),
            None => text,
        };
        Some(Said { source: Source::Variable(index, name.to_owned()), values: values_of(arg, &text) })
    });
    let of_file = file.find(setting.key, section);
    let of_file = of_file.map(|entry| {
        let values = entry.values.iter().map(|value| as_switch(arg, value)).collect();
        Said { source: Source::File(entry.line), values }
    });
    of_environment.chain(of_file).collect()
}

/// The text of a variable as values of an option: lists are divided by commas.
fn values_of(arg: &Arg, text: &str) -> Vec<String> {
    match arg.get_action() {
        ArgAction::Append => {
            text.split(',').map(str::trim).filter(|value| !value.is_empty()).map(str::to_owned).collect()
        }
        _ => vec![as_switch(arg, text.trim())],
    }
}

/// Yes and no in the words that clap knows, where an option is a switch.
fn as_switch(arg: &Arg, text: &str) -> String {
    match (arg.get_action(), text.to_ascii_lowercase().as_str()) {
        (ArgAction::SetTrue, "1" | "on" | "yes") => "true".to_owned(),
        (ArgAction::SetTrue, "0" | "off" | "no") => "false".to_owned(),
        _ => text.to_owned(),
    }
}

/// What decides about the settings of a command that was called.
pub struct Resolved {
    /// All that is said of each setting, what counts most first.
    pub said: Vec<(&'static Setting, Vec<Said>)>,
}

impl Resolved {
    /// Asks all sources. `given` are the flags of the command line.
    pub fn of(
        section: Section,
        command: &Command,
        given: Option<&ArgMatches>,
        environment: Environment<'_>,
        file: &ConfigFile,
    ) -> Resolved {
        let is_given = |id: &str| {
            let is_known = command.get_arguments().any(|arg| arg.get_id() == id);
            is_known && given.is_some_and(|given| given.value_source(id) == Some(ValueSource::CommandLine))
        };
        let mut all: Vec<(&'static Setting, Vec<Said>)> = Vec::new();
        for setting in SETTINGS.iter().filter(|setting| setting.sections.contains(&section)) {
            let Some(arg) = command.get_arguments().find(|arg| arg.get_id() == setting.key) else { continue };
            let flag = is_given(setting.key).then(|| {
                let raw = given.and_then(|given| given.get_raw(setting.key)).into_iter().flatten();
                let values: Vec<String> = raw.map(|value| value.to_string_lossy().into_owned()).collect();
                // A switch has no value of its own.
                let values = if values.is_empty() { vec!["true".to_owned()] } else { values };
                Said { source: Source::Flag, values }
            });
            let others = said(setting, section, arg, environment, file);
            all.push((setting, flag.into_iter().chain(others).collect()));
        }
        let rank_of = |key: &str| match all.iter().find(|(setting, _)| setting.key == key) {
            Some((_, said)) => said.first().map(|said| said.source.rank()),
            // An option that is no setting is only ever a flag.
            None => is_given(key).then_some(0),
        };
        let ranks: Vec<Option<usize>> =
            all.iter().map(|(setting, _)| setting.yields_to.iter().filter_map(|key| rank_of(key)).min()).collect();
        for ((_, said), rank) in all.iter_mut().zip(ranks) {
            said.retain(|said| rank.is_none_or(|rank| said.source.rank() <= rank));
        }
        Resolved { said: all }
    }

    /// What takes effect and is not said by a flag: key, who, values.
    fn defaults(&self) -> impl Iterator<Item = (&'static Setting, &Said)> {
        self.said.iter().filter_map(|(setting, said)| {
            let first = said.first().filter(|said| said.source != Source::Flag && !setting.is_secret)?;
            Some((*setting, first))
        })
    }

    /// The command with what environment and file say as its defaults.
    fn applied_to(&self, mut command: Command) -> Command {
        for (setting, said) in self.defaults() {
            // Once in the life of the process, and needed for all of it.
            let values: Vec<&'static str> = said.values.iter().map(|value| &*value.clone().leak()).collect();
            command = command.mut_arg(setting.key, |arg| arg.default_values(values));
        }
        command
    }
}

/// The command line with what environment and file say beside it.
///
/// # Errors
/// What clap says of a wrong command line; a failure that names its source for what is wrong elsewhere.
pub fn parse(command: Command, words: &[OsString]) -> Result<ArgMatches, ParseError> {
    let matches = command.clone().try_get_matches_from(words)?;
    let Some((name, given)) = matches.subcommand() else { return Ok(matches) };
    let Some(section) = Section::ALL.into_iter().find(|section| section.name() == name) else { return Ok(matches) };
    let file = read(&environment)?;
    let of_section = command.find_subcommand(name).cloned().unwrap_or_default();
    let resolved = Resolved::of(section, &built(of_section), Some(given), &environment, &file);
    if resolved.defaults().next().is_none() {
        return Ok(matches);
    }
    for (setting, said) in resolved.defaults() {
        check(&command, section, setting, &said.values).map_err(|why| {
            let place = match &said.source {
                Source::Variable(_, name) => format!("{name} is"),
                source => format!("{}: `{}` is", place_of(source, &file), setting.key),
            };
            let cause = format!("{place} `{}`: {why}", said.values.join(", "));
            Failure::new(ExitCode::Usage, cause).with_hint("`lair config explain` says what is set by what".to_owned())
        })?;
    }
    let command = command.mut_subcommand(name, |command| resolved.applied_to(command));
    Ok(command.try_get_matches_from(words)?)
}

/// Whether the flag of a setting would take these values; why not, if not.
///
/// # Errors
/// The reason, in words.
pub fn check(command: &Command, section: Section, setting: &Setting, values: &[String]) -> Result<(), String> {
    let of_section = built(command.find_subcommand(section.name()).cloned().unwrap_or_default());
    let Some(arg) = of_section.get_arguments().find(|arg| arg.get_id() == setting.key) else { return Ok(()) };
    if values.len() != 1 && !matches!(arg.get_action(), ArgAction::Append) {
        return Err(format!("one value is expected, {} are given", values.len()));
    }
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return match values[0].as_str() {
            "true" | "false" => Ok(()),
            _ => Err("true or false is expected".to_owned()),
        };
    }
    let flag = setting.flag();
    let mut words = vec!["lair".to_owned(), section.name().to_owned()];
    words.extend(values.iter().map(|value| format!("{flag}={value}")));
    let Err(error) = command.clone().try_get_matches_from(words) else { return Ok(()) };
    if !matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation) {
        // That it needs another option, for example, is no fault of the value.
        return Ok(());
    }
    Err(match (std::error::Error::source(&error), error.get(ContextKind::ValidValue)) {
        (Some(source), _) => source.to_string(),
        (None, Some(ContextValue::Strings(valid))) => format!("one of {} is expected", valid.join(", ")),
        _ => "which it cannot be".to_owned(),
    })
}

/// What environment and file say to `lair serve`, for those who ask a server: settings with their first values.
///
/// # Errors
/// If the file cannot be used.
pub fn of_server() -> Result<Vec<(&'static Setting, String)>, Failure> {
    let command = Cli::command().find_subcommand(Section::Serve.name()).cloned().unwrap_or_default();
    let resolved = Resolved::of(Section::Serve, &built(command), None, &environment, &read(&environment)?);
    Ok(resolved.defaults().filter_map(|(setting, said)| Some((setting, said.values.first()?.clone()))).collect())
}

/// Arguments know their actions only when their command is built.
pub fn built(mut command: Command) -> Command {
    command.build();
    command
}

/// Why a command line is not taken.
pub enum ParseError {
    /// The command line itself, or a call for help.
    Clap(clap::Error),
    /// What environment or file say.
    Failure(Failure),
}

impl From<clap::Error> for ParseError {
    fn from(error: clap::Error) -> ParseError {
        ParseError::Clap(error)
    }
}

impl From<Failure> for ParseError {
    fn from(failure: Failure) -> ParseError {
        ParseError::Failure(failure)
    }
}

/// A source as it is shown.
pub fn place_of(source: &Source, file: &ConfigFile) -> String {
    match source {
        Source::Flag => "flag".to_owned(),
        Source::Variable(_, name) => name.clone(),
        Source::File(line) => format!("{}:{line}", file.path.display()),
    }
}

#[cfg(test)]
mod tests;
