//! What `/?` says. One list of commands, which completion reads as well.

use lair_store::modelfile::{ParameterKind, known_parameters};

use crate::parameters;

/// A command of the chat: what to type, and what it does.
#[derive(Clone, Copy)]
pub struct Entry(pub &'static str, pub &'static str);

/// The commands.
pub const COMMANDS: &[Entry] = &[
    Entry("/set", "change how the model answers; `/? set`"),
    Entry("/show", "say what the model is and how it is set; `/? show`"),
    Entry("/load MODEL", "go on with another model and a new conversation"),
    Entry("/save MODEL", "keep the model with what was set and said under a name"),
    Entry("/clear", "forget the conversation"),
    Entry("/regenerate", "answer the last message again"),
    Entry("/bye", "leave; so do /exit and Ctrl-D"),
    Entry("/?, /help", "this list; `/? set`, `/? show`, `/? parameters`, `/? shortcuts` say more"),
];

/// What `/set` changes.
pub const SET: &[Entry] = &[
    Entry("/set parameter NAME VALUE", "how tokens are chosen, and others; `/? parameters`"),
    Entry("/set system TEXT", "what the model is told before the conversation"),
    Entry("/set history", "keep what is typed for the next time"),
    Entry("/set nohistory", "do not"),
    Entry("/set wordwrap", "break lines between words"),
    Entry("/set nowordwrap", "leave lines as they come"),
    Entry("/set format json", "answers in JSON"),
    Entry("/set noformat", "answers in any form"),
    Entry("/set verbose", "figures after each answer"),
    Entry("/set quiet", "none"),
    Entry("/set think [LEVEL]", "think before answering; LEVEL is low, medium or high"),
    Entry("/set nothink", "do not"),
];

/// What `/show` shows.
pub const SHOW: &[Entry] = &[
    Entry("/show info", "architecture, size, context and so on"),
    Entry("/show license", "the licence"),
    Entry("/show modelfile", "the Modelfile that makes this model"),
    Entry("/show parameters", "what was set, here and by the model"),
    Entry("/show system", "what the model is told before the conversation"),
    Entry("/show template", "how conversations are written for the model"),
    Entry("/show history", "the conversation so far"),
];

const SHORTCUTS: &[Entry] = &[
    Entry("Ctrl-A, Ctrl-E", "to the beginning, the end of the line"),
    Entry("Alt-B, Alt-F", "a word back, a word on"),
    Entry("Ctrl-K, Ctrl-U", "cut from the cursor to the end, to the beginning"),
    Entry("Ctrl-W, Ctrl-Y", "cut the word before the cursor, put back what was cut"),
    Entry("Ctrl-R", "search in what was typed before"),
    Entry("Ctrl-L", "clear the screen"),
    Entry("Tab", "complete a command"),
    Entry("Ctrl-C", "stop the answer, or drop the line"),
    Entry("Ctrl-D", "leave"),
];

/// The help on a topic; `None` if there is none on it.
pub fn help(topic: &str) -> Option<String> {
    let title = |title: &str, entries: &[Entry]| format!("{title}\n{}", table(entries));
    match topic.trim().trim_start_matches('/') {
        "" | "?" | "help" => Some(format!(
            "{}\n\n\"\"\" begins and ends a message of several lines.",
            title("Available Commands:", COMMANDS)
        )),
        "set" => Some(title("Available Commands:", SET)),
        "show" => Some(title("Available Commands:", SHOW)),
        "shortcut" | "shortcuts" => Some(title("Available keyboard shortcuts:", SHORTCUTS)),
        "parameter" | "parameters" | "set parameter" => Some(parameters_help()),
        topic => {
            let entries = [COMMANDS, SET, SHOW].concat();
            let is_about =
                |entry: &&Entry| entry.0.trim_start_matches('/').split(' ').next() == topic.split(' ').next();
            let entry = entries.iter().find(is_about)?;
            Some(table(std::slice::from_ref(entry)))
        }
    }
}

/// The parameters that can be set, with their kinds of values.
pub fn parameters_help() -> String {
    let mut lines = vec!["Available Parameters:".to_owned()];
    for known in known_parameters() {
        let (kind, sample) = match known.kind {
            ParameterKind::Whole => ("<int>", "1"),
            ParameterKind::Real => ("<float>", "1"),
            ParameterKind::Switch => ("<bool>", "true"),
            ParameterKind::Texts => ("<string> <string> ...", "x"),
        };
        // What is refused whatever its value is would only lengthen the list.
        let is_settable = |value: &str| {
            let mut parameters = lair_store::modelfile::Parameters::default();
            parameters::set(&mut parameters, known.name, &[value.to_owned()]).is_ok_and(|note| note.is_none())
        };
        if is_settable(sample) {
            lines.push(format!("  /set parameter {} {kind}", known.name));
        }
    }
    lines.join("\n")
}

fn table(entries: &[Entry]) -> String {
    let width = entries.iter().map(|Entry(command, _)| command.len()).max().unwrap_or(0);
    let lines = entries.iter().map(|Entry(command, meaning)| format!("  {command:width$}  {meaning}"));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_help() {
        for Entry(command, _) in [COMMANDS, SET, SHOW].concat() {
            let name = command.split([' ', ',']).next().expect("a word");
            assert!(help(name).is_some(), "{command}");
        }
        for topic in ["", "/set", "show", "shortcuts", "parameters", "/load"] {
            assert!(help(topic).is_some(), "{topic}");
        }
        assert!(help("nonsense").is_none());
    }

    #[test]
    fn parameters_are_listed_with_their_kinds() {
        let text = parameters_help();
        for line in ["/set parameter temperature <float>", "/set parameter num_ctx <int>", "stop <string> <string>"] {
            assert!(text.contains(line), "{text}");
        }
        assert!(!text.contains("rope_frequency_base"), "what is always refused is not offered: {text}");
    }
}
