//! `lair config`: what is set, by what, and how to set it.

use std::io::Write;

use clap::{Args, Command, CommandFactory, Subcommand};
use serde_json::{Value as Json, json};
use toml_edit::{Array, Item, Value};

use crate::Cli;
use crate::config::{self, ConfigFile, Explained, PLACES, Section, Setting, environment};
use crate::failure::{ExitCode, Failure, Outcome};

/// What to do with settings.
#[derive(Args, Debug)]
pub struct ConfigArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Say the value of each setting, where it comes from, and what else would have set it
    Explain(ExplainArgs),
    /// Write a setting into the file
    Set(SetArgs),
    /// Take a setting out of the file
    Unset(KeyArgs),
    /// Print the value of a setting
    Get(KeyArgs),
    /// Print where the file is
    Path,
}

/// What is to be explained.
#[derive(Args, Debug)]
struct ExplainArgs {
    /// A JSON object
    #[arg(long)]
    json: bool,
    /// Settings that nobody has set, too
    #[arg(long)]
    all: bool,
    /// A command with its flags, as it would be called: `serve --port 80` [default: `serve`, then `run`]
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// What is to be written.
#[derive(Args, Debug)]
struct SetArgs {
    /// The setting: `threads` for all commands, `serve.port` for one
    key: String,
    /// Its value; several of a list
    #[arg(required = true, allow_hyphen_values = true)]
    values: Vec<String>,
}

/// A setting.
#[derive(Args, Debug)]
struct KeyArgs {
    /// The setting: `threads` for all commands, `serve.port` for one
    key: String,
}

impl ConfigArgs {
    /// Whether what goes wrong is to be said in JSON.
    pub fn is_json(&self) -> bool {
        matches!(&self.action, Action::Explain(args) if args.json)
    }
}

/// Runs the command.
pub fn config(args: &ConfigArgs) -> Outcome {
    match &args.action {
        Action::Explain(args) => explain(args),
        Action::Set(args) => set(args),
        Action::Unset(args) => unset(args),
        Action::Get(args) => get(args),
        Action::Path => Ok(writeln!(std::io::stdout(), "{}", config::path(&environment)?.display())?),
    }
}

fn command_of(section: Section) -> Command {
    config::built(Cli::command().find_subcommand(section.name()).cloned().unwrap_or_default())
}

/// A setting by its name, `serve.port` or `port`, with the table it is meant in.
fn named(text: &str) -> Result<(&'static Setting, Option<Section>), Failure> {
    let (section, key) = match text.split_once('.') {
        Some((section, key)) => {
            let found = Section::ALL.into_iter().find(|known| known.name() == section);
            let unknown = || Failure::new(ExitCode::Usage, format!("`{section}` is no command with settings"));
            (Some(found.ok_or_else(unknown)?), key)
        }
        None => (None, text),
    };
    let key = key.replace('-', "_");
    let setting =
        config::find(&key).filter(|setting| section.is_none_or(|section| setting.sections.contains(&section)));
    let setting = setting.ok_or_else(|| {
        Failure::new(ExitCode::Usage, format!("there is no setting `{text}`"))
            .with_hint("`lair config explain --all` lists all settings".to_owned())
    })?;
    // What only one command has stands in the table of that command.
    let section = section.or(match setting.sections {
        [only] => Some(*only),
        _ => None,
    });
    Ok((setting, section))
}

fn set(args: &SetArgs) -> Outcome {
    let (setting, section) = named(&args.key)?;
    let path = writable_path()?;
    for section in section.map_or(setting.sections.to_vec(), |section| vec![section]) {
        config::check(&Cli::command(), section, setting, &args.values).map_err(|why| {
            let value = args.values.join(", ");
            Failure::new(ExitCode::Usage, format!("`{}` cannot be `{value}`: {why}", setting.key))
        })?;
    }
    let item = match args.values.as_slice() {
        [one] if !is_list(setting) => toml_edit::value(typed(one)),
        several => toml_edit::value(several.iter().map(|value| typed(value)).collect::<Array>()),
    };
    config::change(&path, section, setting.key, Some(item))?;
    eprintln!("{} in {}", setting.key, path.display());
    Ok(())
}

/// Where the file is or will be: `LAIR_CONFIG` may name one that is not there yet.
fn writable_path() -> Result<std::path::PathBuf, Failure> {
    match environment("LAIR_CONFIG") {
        Some(path) => Ok(path.into()),
        None => config::path(&environment),
    }
}

fn is_list(setting: &Setting) -> bool {
    let command = command_of(setting.sections[0]);
    let arg = command.get_arguments().find(|arg| arg.get_id() == setting.key);
    arg.is_some_and(|arg| matches!(arg.get_action(), clap::ArgAction::Append))
}

/// A value in the type that TOML has for it.
fn typed(text: &str) -> Value {
    if let Ok(number) = text.parse::<i64>() {
        return number.into();
    }
    match (text.parse::<bool>(), text.parse::<f64>()) {
        (Ok(value), _) => value.into(),
        (_, Ok(number)) if number.is_finite() => number.into(),
        _ => text.into(),
    }
}

fn unset(args: &KeyArgs) -> Outcome {
    let (setting, section) = named(&args.key)?;
    let path = config::path(&environment)?;
    if !config::change(&path, section, setting.key, None::<Item>)? {
        let cause = format!("{} does not set `{}`", path.display(), args.key);
        return Err(Failure::new(ExitCode::NotFound, cause));
    }
    Ok(())
}

fn get(args: &KeyArgs) -> Outcome {
    let (setting, section) = named(&args.key)?;
    let section = section.unwrap_or(setting.sections[0]);
    let file = config::read(&environment)?;
    let explained = config::explain(section, &command_of(section), None, &environment, &file);
    let found = explained.into_iter().find(|explained| explained.setting.key == setting.key);
    let value = found.map_or_else(|| setting.default.to_owned(), |explained| explained.value());
    Ok(writeln!(std::io::stdout(), "{value}")?)
}

fn explain(args: &ExplainArgs) -> Outcome {
    let file = config::read(&environment)?;
    let mut explained = Vec::new();
    match args.words.first() {
        None => {
            for section in Section::ALL {
                explained.extend(config::explain(section, &command_of(section), None, &environment, &file));
            }
        }
        Some(name) => {
            let section = Section::ALL.into_iter().find(|section| section.name() == name).ok_or_else(|| {
                Failure::new(ExitCode::Usage, format!("`{name}` is no command with settings: serve or run expected"))
            })?;
            let words = ["lair".to_owned()].into_iter().chain(args.words.iter().cloned());
            let matches = Cli::command().try_get_matches_from(words).map_err(|error| {
                let text = error.to_string();
                let cause = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
                Failure::new(ExitCode::Usage, cause)
            })?;
            let given = matches.subcommand().map(|(_, given)| given);
            explained = config::explain(section, &command_of(section), given, &environment, &file);
        }
    }
    match args.json {
        true => print_json(&explained, &file),
        false => print_text(&explained, &file, args.all),
    }
}

/// Where things are, as far as the environment says it; secrets are not shown.
fn places() -> Vec<(&'static str, String, &'static str)> {
    let shown = |name: &str, value: String| if name == "HF_TOKEN" { "(set, not shown)".to_owned() } else { value };
    let set = |(name, what): &(&'static str, &'static str)| Some((*name, shown(name, environment(name)?), *what));
    PLACES.iter().filter_map(set).collect()
}

fn set_variables() -> impl Iterator<Item = String> {
    std::env::vars_os().filter_map(|(name, value)| name.into_string().ok().filter(|_| !value.is_empty()))
}

fn print_json(explained: &[Explained], file: &ConfigFile) -> Outcome {
    let settings: Vec<Json> = explained.iter().map(|explained| explained.json(file)).collect();
    let places: Vec<Json> =
        places().into_iter().map(|(name, value, what)| json!({ "name": name, "value": value, "what": what })).collect();
    let unused: Vec<Json> = config::unused(set_variables())
        .into_iter()
        .map(|unused| json!({ "name": unused.name, "why": unused.why }))
        .collect();
    let value = json!({ "file": file.path, "settings": settings, "places": places, "unused": unused });
    Ok(writeln!(std::io::stdout(), "{value}")?)
}

fn print_text(explained: &[Explained], file: &ConfigFile, shows_all: bool) -> Outcome {
    let mut out = std::io::stdout().lock();
    let state = if file.path.exists() { "" } else { " (not there)" };
    writeln!(out, "file: {}{state}", file.path.display())?;
    for section in Section::ALL {
        let of_section: Vec<&Explained> = explained
            .iter()
            .filter(|explained| explained.section == section && (shows_all || explained.decides.is_some()))
            .collect();
        if explained.iter().all(|explained| explained.section != section) {
            continue;
        }
        writeln!(out, "\nlair {}", section.name())?;
        for explained in &of_section {
            let (key, value, place) = (explained.setting.key, explained.value(), explained.place(file));
            writeln!(out, "  {key:<20} {value:<28} {place}")?;
            for other in &explained.others {
                let (value, place) = (explained.shown(other), config::place_of(&other.source, file));
                writeln!(out, "  {:<20} {value:<28} {place}, which counts less", "")?;
            }
        }
        if of_section.is_empty() {
            writeln!(out, "  nothing is set; --all lists the defaults")?;
        }
    }
    let places = places();
    if !places.is_empty() {
        writeln!(out, "\nplaces")?;
        places.iter().try_for_each(|(name, value, what)| writeln!(out, "  {name:<20} {value:<28} {what}"))?;
    }
    let unused = config::unused(set_variables());
    if !unused.is_empty() {
        writeln!(out, "\nset, but not used")?;
        unused.iter().try_for_each(|unused| writeln!(out, "  {:<28} because {}", unused.name, unused.why))?;
    }
    Ok(())
}
