//! `/set`: what the user changes in a chat. The confirmations are Ollama's, which scripts wait for.

use lair_store::modelfile::Parameters;
use lair_text::grammar::GrammarSource;

use super::Chat;
use super::help::{self, help};
use crate::answer_format::answer_format;
use crate::parameters;
use crate::pictures::words;
use crate::session::Think;

/// Parameters that count when a model is loaded.
const LOAD_PARAMETERS: [&str; 2] = ["num_ctx", "num_thread"];

impl Chat {
    /// Runs `/set WHAT`.
    pub(super) fn set(&mut self, what: &str) {
        let (name, rest) = what.split_once(char::is_whitespace).unwrap_or((what, ""));
        let rest = rest.trim();
        match (name, rest) {
            ("system", _) => self.set_system(rest),
            ("parameter", "") => println!("{}", help::parameters_help()),
            ("parameter", _) => self.set_parameter(rest),
            ("history", "") => self.reader.keeps_history = true,
            ("nohistory", "") => self.reader.keeps_history = false,
            ("wordwrap", "") => {
                self.settings.wraps_words = true;
                println!("Set 'wordwrap' mode.");
            }
            ("nowordwrap", "") => {
                self.settings.wraps_words = false;
                println!("Set 'nowordwrap' mode.");
            }
            ("format", _) => self.set_format(rest),
            ("noformat", "") => {
                self.settings.format = None;
                println!("Disabled format.");
            }
            ("verbose", "") => {
                self.settings.is_verbose = true;
                println!("Set 'verbose' mode.");
            }
            ("quiet", "") => {
                self.settings.is_verbose = false;
                println!("Set 'quiet' mode.");
            }
            ("think", "") => self.set_think(Think::On, "Set 'think' mode."),
            ("think", level) => match level.parse() {
                Ok(think) => self.set_think(think, &format!("Set 'think' mode to '{level}'.")),
                Err(message) => println!("{message}"),
            },
            ("nothink", "") => self.set_think(Think::Off, "Set 'nothink' mode."),
            ("", "") => println!("{}", help("set").unwrap_or_default()),
            _ => println!("Unknown command '/set {what}'. Type /? for help"),
        }
    }

    fn set_system(&mut self, text: &str) {
        if text.is_empty() {
            println!("Usage: /set system <message>, or /set system \"\" for none");
            return;
        }
        let is_quoted = text.len() >= 2 && text.starts_with('"') && text.ends_with('"');
        let text = if is_quoted { &text[1..text.len() - 1] } else { text };
        self.settings.system = Some(text.to_owned());
        println!("Set system message.");
    }

    fn set_format(&mut self, what: &str) {
        match answer_format(what) {
            Ok(format) => {
                let name = if matches!(format, GrammarSource::AnyObject(_)) { "json" } else { "schema" };
                self.settings.format = Some(format);
                println!("Set format to '{name}' mode.");
            }
            Err(failure) => super::show_failure(&failure),
        }
    }

    fn set_think(&mut self, think: Think, done: &str) {
        match self.session().and_then(|session| session.check_think(think)) {
            Ok(()) => {
                self.settings.think = think;
                println!("{done}");
            }
            Err(failure) => super::show_failure(&failure),
        }
    }

    fn set_parameter(&mut self, rest: &str) {
        let mut values = words(rest);
        let name = values.remove(0);
        if values.is_empty() {
            println!("Usage: /set parameter {name} <value>");
            return;
        }
        let before = self.settings.parameters.clone();
        let note = match parameters::set(&mut self.settings.parameters, &name, &values) {
            Ok(note) => note,
            Err(message) => return println!("Couldn't set parameter: {message}"),
        };
        let stored = parameters::stored_name(&name);
        let outcome = if LOAD_PARAMETERS.contains(&stored.as_str()) {
            self.reload(&before)
        } else {
            // Ranges are the sampler's to check.
            self.sampling().map(|_| ())
        };
        if let Err(failure) = outcome {
            self.settings.parameters = before;
            println!("Couldn't set parameter: {}", failure.cause);
            return;
        }
        println!("Set parameter '{name}' to '{}'", values.join("', '"));
        if let Some(note) = note {
            println!("(without effect: {note})");
        }
    }

    /// Loads the model again with what was set; `before` is how it is loaded now.
    fn reload(&mut self, before: &Parameters) -> crate::failure::Outcome {
        let wanted = std::mem::replace(&mut self.settings.parameters, before.clone());
        let located = self.located.clone();
        self.switch_to(located, wanted)
    }
}
