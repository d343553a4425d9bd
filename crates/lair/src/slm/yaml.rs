//! Reads YAML and JSON into one kind of value, within limits, and writes the little YAML that projects need.

use serde_json::Value;

use crate::failure::{ExitCode, Failure};

/// A project has some twenty lines.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// Events (scalars, beginnings and ends) of a document, with what its aliases repeat. An alias bomb ends here.
const EVENTS_MAX: usize = 20_000;
/// Aliases of a document.
const ALIASES_MAX: usize = 100;
/// Maps within maps.
const DEPTH_MAX: usize = 32;

/// How a configuration is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// `.yaml`, `.yml`
    Yaml,
    /// `.json`
    Json,
}

impl Syntax {
    /// What the ending of a file's name says.
    pub fn of_path(path: &std::path::Path) -> Option<Syntax> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "yaml" | "yml" => Some(Syntax::Yaml),
            "json" => Some(Syntax::Json),
            _ => None,
        }
    }
}

/// The value that a text stands for.
///
/// # Errors
/// Where and why it is none.
pub fn parse(text: &str, syntax: Syntax) -> Result<Value, Failure> {
    match syntax {
        Syntax::Json => {
            serde_json::from_str(text).map_err(|error| Failure::new(ExitCode::Usage, format!("no valid JSON: {error}")))
        }
        Syntax::Yaml => {
            let options = serde_saphyr::options! {
                budget: serde_saphyr::budget! {
                    max_events: EVENTS_MAX,
                    max_aliases: ALIASES_MAX,
                    max_anchors: ALIASES_MAX,
                    max_depth: DEPTH_MAX,
                },
                alias_limits: serde_saphyr::alias_limits! {
                    max_total_replayed_events: EVENTS_MAX,
                    max_replay_stack_depth: DEPTH_MAX,
                },
                with_snippet: false,
            };
            serde_saphyr::from_str_with_options(text, options)
                .map_err(|error| Failure::with_lines(ExitCode::Usage, &format!("no valid YAML: {error}")))
        }
    }
}

/// A value as YAML: maps of maps, lists and scalars, two spaces a level.
pub fn print(value: &Value) -> String {
    let mut out = String::new();
    print_at(value, 0, &mut out);
    out
}

fn print_at(value: &Value, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        // No lines at all would be nothing, not an empty map.
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let key = key(name, &indent);
                match value {
                    Value::Object(fields) if !fields.is_empty() => {
                        out.push_str(&format!("{indent}{key}:\n"));
                        print_at(value, depth + 1, out);
                    }
                    Value::Array(items) if !items.is_empty() => {
                        out.push_str(&format!("{indent}{key}:\n"));
                        for item in items {
                            out.push_str(&format!("{indent}- {}\n", scalar(item)));
                        }
                    }
                    _ => out.push_str(&format!("{indent}{key}: {}\n", scalar(value))),
                }
            }
        }
        _ => out.push_str(&format!("{indent}{}\n", scalar(value))),
    }
}

/// A key up to its colon. What is longer than 1024 characters has to be said to be a key (YAML 1.2, section 8.2.2).
fn key(name: &str, indent: &str) -> String {
    let key = scalar(&Value::String(name.to_owned()));
    if key.chars().count() < 1000 { key } else { format!("? {key}\n{indent}") }
}

/// A scalar on one line. JSON is YAML, so what could be read as something else is written as JSON.
fn scalar(value: &Value) -> String {
    let Value::String(text) = value else { return json_of(value) };
    let is_plain_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"_./-".contains(&byte);
    let has_other_meaning = ["true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf"]
        .contains(&text.to_ascii_lowercase().trim_start_matches('.'));
    // A word of digits could be a number, a date or a time in some version of YAML.
    let begins_plain = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/');
    if begins_plain && !has_other_meaning && text.bytes().all(is_plain_byte) { text.clone() } else { json_of(value) }
}

/// JSON whose characters YAML takes as they are: JSON leaves some unescaped that YAML calls unprintable (YAML 1.2, section 5.1).
fn json_of(value: &Value) -> String {
    let mut out = String::new();
    for c in value.to_string().chars() {
        match c {
            '\u{7f}'..='\u{84}'
            | '\u{86}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let value = json!({
            "model": {"name": "my-model", "path": "/a b/c:d.gguf", "description": null, "version": "1.0"},
            "params": {"temperature": 0.7, "stop": ["\n", "User:", "yes"], "stream": false, "none": [], "of": {}},
            "odd": ["1e3", "0x1f", "12:30", "~", "- x", "#", "", "é", "a\"b", "No"],
        });
        let text = print(&value);
        assert_eq!(parse(&text, Syntax::Yaml).expect(&text), value, "{text}");
        assert!(text.contains("name: my-model\n"), "plain words have no quotes: {text}");
    }

    #[test]
    fn odd_keys_are_read_again() {
        let long = "k".repeat(2000);
        let value = json!({ (long.clone()): 1, "a": { (long): ["x", { "b": 2 }] }, "\u{7f}\u{85}\u{feff}": "\u{9f}" });
        assert_eq!(parse(&print(&value), Syntax::Yaml).expect("YAML"), value);
    }

    #[test]
    fn an_empty_map_is_read_again() {
        assert_eq!(parse(&print(&json!({})), Syntax::Yaml).expect("YAML"), json!({}));
    }

    /// `fuzz/README.md` lists all targets.
    #[test]
    fn fuzz_slm_yaml() {
        let project = "model:\n  name: m\n  path: /a.gguf\n  format: gguf\nruntime:\n  type: llama_cpp\n  threads: 4\nparams:\n  temperature: 0.7\n  stop: [\"a\", b]\n";
        let json = r#"{"model": {"name": "m", "path": "x", "format": "gguf"}, "runtime": {"type": "llama_cpp"}}"#;
        let seeds = [project, json, "a: &x [1, 2]\nb: *x\nc: !!str 5\n? k\n: |\n  text\n"];
        let words = &[
            "&a ", "*a", "- ", ": ", "{", "}", "[", "]", "|", ">", "!!", "\n  ", "---", "...", "<<: ", "~", "0x",
            "1e99", "\"", "'", "#",
        ];
        let target = lair_testkit::fuzz::Target::new("slm_yaml", seeds.map(|seed| seed.as_bytes().to_vec()), words);
        target.run(|bytes| {
            let text = String::from_utf8_lossy(bytes);
            let mut outcome = String::new();
            for syntax in [Syntax::Yaml, Syntax::Json] {
                match parse(&text, syntax) {
                    Ok(value) => {
                        let project = super::super::project::Project::from_value(&value);
                        outcome += &project.map_or_else(|failure| failure.cause, |_| "a project".to_owned());
                        // What is printed means the same.
                        let is_short = value.to_string().len() < 1000;
                        if value.is_object() && is_short {
                            assert_eq!(parse(&print(&value), Syntax::Yaml).ok().as_ref(), Some(&value), "{value}");
                        }
                    }
                    Err(failure) => outcome += &failure.cause,
                }
            }
            outcome
        });
    }

    #[test]
    fn a_document_that_unfolds_without_end_is_refused() {
        let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (last, next) in ["a", "b", "c", "d", "e", "f", "g"].into_iter().zip(["b", "c", "d", "e", "f", "g", "h"]) {
            let aliases = vec![format!("*{last}"); 10].join(", ");
            bomb.push_str(&format!("{next}: &{next} [{aliases}]\n"));
        }
        assert_eq!(parse(&bomb, Syntax::Yaml).expect_err("a bomb").code, ExitCode::Usage);
        let deep = "[".repeat(10_000);
        assert!(parse(&deep, Syntax::Yaml).is_err());
        assert!(parse("a: [1, 2", Syntax::Yaml).is_err());
        assert!(parse("{", Syntax::Json).is_err());
        assert_eq!(parse("a: &x 1\nb: *x", Syntax::Yaml).expect("honest aliases work"), json!({"a": 1, "b": 1}));
    }
}
