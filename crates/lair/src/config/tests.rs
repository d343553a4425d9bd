//! What counts more, what is refused, and that the list of settings is whole.

use std::path::Path;

use clap::{CommandFactory, Parser};

use super::settings::NO_SETTINGS;
use super::*;
use crate::Cli;

fn command(section: Section) -> Command {
    built(Cli::command().find_subcommand(section.name()).expect("it is a command").clone())
}

/// The values of a command by key, as `value <- source`.
fn resolved(section: Section, flags: &[&str], variables: &[(&str, &str)], file: &str) -> Vec<(&'static str, String)> {
    let environment =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("c.toml");
    std::fs::write(&path, file).expect("written");
    let file = ConfigFile::read(&path).unwrap_or_else(|error| panic!("{error}"));
    let words: Vec<&str> = ["lair", section.name()].into_iter().chain(flags.iter().copied()).collect();
    let given = Cli::command().try_get_matches_from(words).expect("a command line");
    let (_, given) = given.subcommand().expect("a command");
    let resolved = Resolved::of(section, &command(section), Some(given), &environment, &file);
    let shown = |(setting, said): &(&'static Setting, Vec<Said>)| {
        let first = said.first()?;
        let source = match &first.source {
            Source::Flag => "flag".to_owned(),
            Source::Variable(_, name) => name.clone(),
            Source::File(line) => line.to_string(),
        };
        Some((setting.key, format!("{} <- {source}", first.values.join(","))))
    };
    resolved.said.iter().filter_map(shown).collect()
}

fn of(values: &[(&'static str, String)], key: &str) -> String {
    values.iter().find(|(found, _)| *found == key).map_or_else(|| "default".to_owned(), |(_, value)| value.clone())
}

#[test]
fn every_option_is_a_setting_or_said_to_be_none() {
    for section in Section::ALL {
        for arg in command(section).get_arguments() {
            let id = arg.get_id().as_str();
            let setting = find(id).filter(|setting| setting.sections.contains(&section));
            assert!(setting.is_some() != NO_SETTINGS.contains(&id), "{} of {}", id, section.name());
            let Some(setting) = setting else { continue };
            assert_eq!(arg.get_long().map(|long| format!("--{long}")), Some(setting.flag()));
            let defaults: Vec<_> = arg.get_default_values().iter().filter_map(|value| value.to_str()).collect();
            if !defaults.is_empty() {
                assert_eq!(defaults.join(","), setting.default, "the default of {id}");
            }
        }
    }
    for setting in SETTINGS {
        for section in setting.sections {
            assert!(command(*section).get_arguments().any(|arg| arg.get_id() == setting.key), "{}", setting.key);
        }
    }
}

#[test]
fn a_flag_counts_more_than_the_environment_and_that_more_than_the_file() {
    let file = "threads = 2\n[serve]\nparallel = 3\nallowed_origin = [\"http://a\", \"http://b\"]\nmax_queue = 9\n";
    let variables = [("LAIR_PARALLEL", "4"), ("OLLAMA_NUM_PARALLEL", "5"), ("OLLAMA_MAX_QUEUE", "7")];
    let values = resolved(Section::Serve, &[], &variables, file);
    assert_eq!(of(&values, "parallel"), "4 <- LAIR_PARALLEL");
    assert_eq!(of(&values, "max_queue"), "7 <- OLLAMA_MAX_QUEUE");
    assert_eq!(of(&values, "threads"), "2 <- 1");
    assert_eq!(of(&values, "allowed_origin"), "http://a,http://b <- 4");
    assert_eq!(of(&values, "keep_alive"), "default");
    let values = resolved(Section::Serve, &["--parallel", "6"], &variables[1..], file);
    assert_eq!(of(&values, "parallel"), "6 <- flag");
    assert_eq!(of(&resolved(Section::Serve, &[], &variables[1..], file), "parallel"), "5 <- OLLAMA_NUM_PARALLEL");
    assert_eq!(of(&resolved(Section::Run, &[], &[], file), "threads"), "2 <- 1");
}

#[test]
fn words_of_other_programs_are_understood() {
    for (variables, key, expected) in [
        (&[("OLLAMA_NUM_PARALLEL", "0")][..], "parallel", "default"),
        (&[("OLLAMA_NUM_PARALLEL", "0"), ("LLAMA_ARG_N_PARALLEL", "8")], "parallel", "8 <- LLAMA_ARG_N_PARALLEL"),
        (&[("OLLAMA_DEBUG", "1")], "log_level", "debug <- OLLAMA_DEBUG"),
        (&[("OLLAMA_DEBUG", "false")], "log_level", "default"),
        (&[("LLAMA_ARG_THREADS", "-1")], "threads", "default"),
        (&[("OLLAMA_ORIGINS", "http://a, http://b")], "allowed_origin", "http://a,http://b <- OLLAMA_ORIGINS"),
        (&[("LAIR_INSECURE_NO_AUTH", "1")], "insecure_no_auth", "true <- LAIR_INSECURE_NO_AUTH"),
        (&[("LLAMA_ARG_SSL_KEY_FILE", "k.pem")], "tls_key", "k.pem <- LLAMA_ARG_SSL_KEY_FILE"),
    ] {
        assert_eq!(of(&resolved(Section::Serve, &[], variables, ""), key), expected, "{variables:?}");
    }
}

#[test]
fn a_setting_yields_to_one_that_says_the_same_and_counts_more() {
    let serve = |flags: &[&str], variables: &[(&str, &str)], file| resolved(Section::Serve, flags, variables, file);
    let file = "draft = \"small\"\nkv_type = \"f16\"\n[serve]\nport = 80\n";
    let values = serve(&["--no-speculate", "--cache-type-k", "q8_0", "--cache-type-v", "q8_0"], &[], file);
    assert_eq!((of(&values, "draft"), of(&values, "kv_type")), ("default".to_owned(), "default".to_owned()));
    assert_eq!(of(&serve(&[], &[("LAIR_SPECULATE", "off")], file), "draft"), "default");
    assert_eq!(of(&serve(&[], &[("OLLAMA_HOST", "0.0.0.0:9000")], file), "port"), "default");
    assert_eq!(of(&serve(&["--host", ":1"], &[("LAIR_PORT", "80")], ""), "port"), "default");
    assert_eq!(of(&serve(&["--port", "1"], &[("OLLAMA_HOST", "0.0.0.0:9000")], file), "port"), "1 <- flag");
    assert_eq!(of(&serve(&[], &[], file), "draft"), "small <- 1");
}

#[test]
fn what_is_said_elsewhere_is_read_as_the_flag_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("c.toml");
    std::fs::write(&path, "threads = 3\nkv_type = \"f16\"\n[run]\nverbose = true\nstop = [\"a\", \"b\"]\n")
        .expect("written");
    let file = ConfigFile::read(&path).expect("sound");
    let words = ["lair", "run", "hello"];
    let given = Cli::command().try_get_matches_from(words).expect("a command line");
    let (_, given) = given.subcommand().expect("a command");
    let nothing = |_: &str| None;
    let resolved = Resolved::of(Section::Run, &command(Section::Run), Some(given), &nothing, &file);
    let command = Cli::command().mut_subcommand("run", |command| resolved.applied_to(command));
    let matches = command.try_get_matches_from(words).expect("sound values");
    let (_, run) = matches.subcommand().expect("a command");
    assert_eq!(run.get_one::<usize>("threads"), Some(&3));
    assert!(run.get_flag("verbose"));
    assert_eq!(run.get_many::<String>("stop").map(Iterator::count), Some(2));
    // Nothing is said: clap's own defaults.
    assert!(Cli::try_parse_from(["lair", "run", "hello"]).is_ok());
}

#[test]
fn variables_that_do_nothing_are_told_with_the_reason() {
    let names =
        ["OLLAMA_FLASH_ATTENTION", "OLLAMA_HOST", "LLAMA_ARG_NEW", "PATH", "LAIR_PROT", "LAIR_HOME", "LAIR_PORT"];
    let unused = unused(names.iter().map(|name| (*name).to_owned()));
    let names: Vec<&str> = unused.iter().map(|unused| unused.name.as_str()).collect();
    assert_eq!(names, ["LAIR_PROT", "LLAMA_ARG_NEW", "OLLAMA_FLASH_ATTENTION"]);
    assert!(unused[2].why.contains("attention") && unused[1].why == "Lair does not know it");
    assert!(unused[0].why.contains("LAIR_PORT"), "{}", unused[0].why);
}

#[test]
fn the_file_lies_where_the_user_s_programs_keep_theirs() {
    let at = |variables: &[(&str, &str)]| {
        let environment =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        path(&environment)
    };
    if cfg!(unix) {
        assert_eq!(at(&[("HOME", "/h")]).expect("a place"), Path::new("/h/.config/lair/config.toml"));
        let both = [("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")];
        assert_eq!(at(&both).expect("a place"), Path::new("/x/lair/config.toml"));
        assert_eq!(at(&[("HOME", "/h"), ("LAIR_HOME", "/l")]).expect("a place"), Path::new("/l/config.toml"));
    }
    assert!(at(&[]).is_err() && at(&[("LAIR_CONFIG", "/no/such/file")]).is_err());
}
