//! Where each value comes from, and what else would have set it.

use std::collections::BTreeSet;

use clap::{ArgMatches, Command};
use serde_json::{Value as Json, json};

use super::file::near;
use super::settings::{PLACES, SETTINGS, Section, Setting, UNUSED};
use super::{ConfigFile, Environment, Resolved, Said, Source, place_of};

/// What secrets are shown as.
const HIDDEN: &str = "(set, not shown)";

/// A setting of a command with its value.
pub struct Explained {
    /// Which.
    pub setting: &'static Setting,
    /// Of which command.
    pub section: Section,
    /// What decides; `None` is the default.
    pub decides: Option<Said>,
    /// What counts less.
    pub others: Vec<Said>,
}

/// All settings of a command.
pub fn explain(
    section: Section,
    command: &Command,
    given: Option<&ArgMatches>,
    environment: Environment<'_>,
    file: &ConfigFile,
) -> Vec<Explained> {
    let resolved = Resolved::of(section, command, given, environment, file);
    let one = |(setting, mut said): (&'static Setting, Vec<Said>)| {
        let others = if said.is_empty() { Vec::new() } else { said.split_off(1) };
        Explained { setting, section, decides: said.pop(), others }
    };
    resolved.said.into_iter().map(one).collect()
}

impl Explained {
    /// The value as it is shown.
    pub fn value(&self) -> String {
        match &self.decides {
            Some(said) => self.shown(said),
            None => self.setting.default.to_owned(),
        }
    }

    /// What one source says, as it is shown.
    pub fn shown(&self, said: &Said) -> String {
        if self.setting.is_secret { HIDDEN.to_owned() } else { said.values.join(",") }
    }

    /// Where the value comes from.
    pub fn place(&self, file: &ConfigFile) -> String {
        self.decides.as_ref().map_or_else(|| "default".to_owned(), |said| place_of(&said.source, file))
    }

    /// All of it as JSON.
    pub fn json(&self, file: &ConfigFile) -> Json {
        let source = |said: &Said| match &said.source {
            Source::Flag => json!({ "kind": "flag", "name": self.setting.flag() }),
            Source::Variable(_, name) => json!({ "kind": "environment", "name": name }),
            Source::File(line) => json!({ "kind": "file", "path": file.path, "line": line }),
        };
        let other = |said: &Said| json!({ "value": self.shown(said), "source": source(said) });
        let own = self.setting.own_variable();
        let variables: Vec<&str> =
            std::iter::once(own.as_str()).chain(self.setting.variables.iter().map(|variable| variable.name)).collect();
        json!({
            "command": self.section.name(),
            "key": self.setting.key,
            "value": self.value(),
            "source": self.decides.as_ref().map_or_else(|| json!({ "kind": "default" }), source),
            "overridden": self.others.iter().map(other).collect::<Vec<_>>(),
            "flag": self.setting.flag(),
            "environment": variables,
            "default": self.setting.default,
        })
    }
}

/// A variable that is set and has no effect.
pub struct UnusedVariable {
    /// Its name.
    pub name: String,
    /// Why.
    pub why: String,
}

/// What is said of a variable that is in no list; of one of Lair's own, what may be meant.
fn unknown(name: &str) -> String {
    let near: Vec<String> = name.strip_prefix("LAIR_").map(near).unwrap_or_default();
    match near.first() {
        Some(near) => format!("Lair does not know it; is LAIR_{} meant?", near.to_ascii_uppercase()),
        None => "Lair does not know it".to_owned(),
    }
}

/// Variables of the environment that look as if they were settings and are none.
pub fn unused(names: impl Iterator<Item = String>) -> Vec<UnusedVariable> {
    let mut known: BTreeSet<String> = SETTINGS.iter().map(Setting::own_variable).collect();
    known.extend(SETTINGS.iter().flat_map(|setting| setting.variables).map(|variable| variable.name.to_owned()));
    known.extend(PLACES.iter().map(|(name, _)| (*name).to_owned()));
    let looks_like_one = |name: &String| {
        ["OLLAMA_", "LLAMA_ARG_", "LAIR_"].iter().any(|prefix| name.starts_with(prefix)) && !known.contains(name)
    };
    let mut unused: Vec<UnusedVariable> = names
        .filter(looks_like_one)
        .map(|name| {
            let why = UNUSED.iter().find(|(unused, _)| *unused == name).map(|(_, why)| *why);
            let why = why.map_or_else(|| unknown(&name), str::to_owned);
            UnusedVariable { why, name }
        })
        .collect();
    unused.sort_by(|left, right| left.name.cmp(&right.name));
    unused
}
