//! The files of declarations stay short, and say little that another has said.

use std::collections::HashMap;
use std::path::Path;

/// Lines of a file, at most.
const LINES_MAX: usize = 120;
/// Share of the lines that are repeated, at most.
const REPEATED_MAX: f64 = 0.05;
/// So many lines in a row that are the same in two places are a repetition; fewer are the vocabulary's idioms.
const RUN: usize = 6;

/// The name and the text of every file of declarations.
fn files() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/architectures");
    let entries = std::fs::read_dir(folder).expect("the folder of declarations can be read");
    let mut files: Vec<(String, String)> = entries
        .map(|entry| entry.expect("an entry can be read").path())
        .filter(|path| path.extension().is_some_and(|end| end == "rs") && !path.ends_with("mod.rs"))
        .map(|path| {
            let name = path.file_name().expect("files have names").to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).expect("a declaration can be read"))
        })
        .collect();
    files.sort();
    assert!(files.len() > 30, "only {} declarations were found", files.len());
    files
}

/// The lines that declare something: not comments, imports, closing brackets, or what is taken from the defaults.
fn said(text: &str) -> Vec<&str> {
    let says = |line: &&str| {
        let is_left_out = ["//", "use ", ".."].iter().any(|start| line.starts_with(start));
        line.contains(char::is_alphabetic) && !is_left_out && *line != "layer,"
    };
    text.lines().map(str::trim).filter(says).collect()
}

#[test]
fn no_file_of_declarations_is_long() {
    for (name, text) in files() {
        let count = text.lines().count();
        assert!(count <= LINES_MAX, "{name} has {count} lines, {LINES_MAX} are allowed");
    }
}

#[test]
fn declarations_repeat_little_of_each_other() {
    let files = files();
    let mut first_seen: HashMap<&[&str], (usize, usize)> = HashMap::new();
    let lines: Vec<Vec<&str>> = files.iter().map(|(_, text)| said(text)).collect();
    let mut repeated: Vec<Vec<bool>> = lines.iter().map(|lines| vec![false; lines.len()]).collect();
    for (file, lines) in lines.iter().enumerate() {
        for (start, run) in lines.windows(RUN).enumerate() {
            if *first_seen.entry(run).or_insert((file, start)) != (file, start) {
                repeated[file][start..start + RUN].fill(true);
            }
        }
    }
    let count = |file: usize| repeated[file].iter().filter(|is_repeated| **is_repeated).count();
    for (file, (name, _)) in files.iter().enumerate().filter(|(file, _)| count(*file) > 0) {
        eprintln!("{name}: {} of {} lines", count(file), lines[file].len());
    }
    let (all, repeated): (usize, usize) = (lines.iter().map(Vec::len).sum(), (0..files.len()).map(count).sum());
    let share = repeated as f64 / all as f64;
    eprintln!("{repeated} of {all} lines are repeated: {:.1} %", 100.0 * share);
    assert!(share < REPEATED_MAX, "{:.1} % of the lines are repeated", 100.0 * share);
}
