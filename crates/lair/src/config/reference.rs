//! That the reference of settings says what the list says.

use clap::CommandFactory;

use super::settings::{PLACES, SETTINGS, Section, UNUSED};
use crate::Cli;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/configuration.md");

/// The tables of the document.
fn tables() -> String {
    let mut text =
        String::from("| setting | of | other variables | default | what it is |\n| --- | --- | --- | --- | --- |\n");
    let command = Cli::command();
    for setting in SETTINGS {
        let sections: Vec<&str> = setting.sections.iter().map(|section: &Section| section.name()).collect();
        let of_command = command.find_subcommand(sections[0]).expect("it is a command");
        let arg = of_command.get_arguments().find(|arg| arg.get_id() == setting.key).expect("it is an option");
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let help = help.split(" [default:").next().unwrap_or_default().replace('|', "\\|");
        let variables: Vec<String> = setting.variables.iter().map(|variable| format!("`{}`", variable.name)).collect();
        let (key, sections, variables) = (setting.key, sections.join(", "), variables.join(", "));
        text += &format!("| `{key}` | {sections} | {variables} | {} | {help} |\n", setting.default);
    }
    text += "\n| variable | what it says |\n| --- | --- |\n";
    PLACES.iter().for_each(|(name, what)| text += &format!("| `{name}` | {what} |\n"));
    text += "\n| variable | not used, because |\n| --- | --- |\n";
    UNUSED.iter().for_each(|(name, why)| text += &format!("| `{name}` | {why} |\n"));
    text
}

#[test]
fn the_reference_has_all_settings() {
    let document = std::fs::read_to_string(DOCUMENT).expect("the document is there");
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let tables = tables();
    let missing: Vec<&str> =
        tables.lines().filter(|wanted| !document.lines().any(|found| line(found) == line(wanted))).collect();
    assert!(missing.is_empty(), "these lines belong into docs/reference/configuration.md:\n{}", missing.join("\n"));
    let rows = |text: &str| text.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows(&document), rows(&tables), "the document has rows that the list has not");
}
