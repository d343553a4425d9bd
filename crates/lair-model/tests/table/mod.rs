//! The table of all architectures: every tiny model of the shared data, whether it is declared, and how far it is from the
//! reference. `docs/reference/architectures.md` is written from it:
//!
//! ```text
//! LAIR_WRITE_DOCS=1 cargo test -p lair-model --test parity table
//! ```

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use lair_gguf::GgufFile;
use lair_model::spec::Architecture;
use lair_model::{LoadOptions, Model, architectures};
use lair_testkit::tiny_models::{self, TinyModel};

use super::{OWN_MODELS, cpu, cpu_error, error_max, tiny_model};

/// What is not supported of what is declared, and why what is not declared is not.
const NOTES: [(&str, &str); 12] = [
    ("chameleon", "pictures"),
    ("cogvlm", "pictures, with the experts for them"),
    ("dream", "generation: it replaces masked tokens of a whole text (diffusion), which the engine does not"),
    ("hrm_text", "prefixes that see what follows"),
    ("llada", "generation: as `dream`"),
    ("llada-moe", "generation: as `dream`"),
    ("nanbeige", "models that run all layers several times"),
    ("pockettts", "the audio codec"),
    ("qwen3tts", "the audio codec"),
    ("refact-moe", "models with experts under this name: the reference leaves the experts out, and none was published"),
    ("rnd1", "generation: as `dream`"),
    ("wavtokenizer-dec", "an audio codec: convolutions, and norms over the whole of a sound"),
];

/// What became of a tiny model.
enum State {
    Passed(f64),
    TooFar(f64),
    Failed(String),
    NotDeclared,
}

struct Row {
    /// Of the tiny model.
    name: String,
    /// Of its architecture in files.
    gguf_name: String,
    architecture: Option<&'static Architecture>,
    state: State,
}

fn rows() -> Vec<Row> {
    let mut names = tiny_models::names();
    if names.is_empty() {
        return Vec::new();
    }
    names.extend(OWN_MODELS.map(str::to_owned));
    names.sort();
    names.iter().filter_map(|name| row(name)).collect()
}

fn row(name: &str) -> Option<Row> {
    let model = tiny_model(name)?;
    let file = GgufFile::open(model.path()).expect("tiny models are valid");
    let gguf_name = file.architecture().expect("tiny models have an architecture").to_owned();
    let architecture = architectures::ALL.iter().find(|architecture| architecture.gguf_name == gguf_name).copied();
    let state = match architecture {
        None => State::NotDeclared,
        Some(_) => catch_unwind(AssertUnwindSafe(|| state(name, &model, &file)))
            .unwrap_or_else(|_| State::Failed("it panics".to_owned())),
    };
    Some(Row { name: name.to_owned(), gguf_name, architecture, state })
}

fn state(name: &str, model: &TinyModel, file: &GgufFile) -> State {
    if let Err(error) = Model::load(file, &cpu(2), LoadOptions::default()) {
        return State::Failed(error.to_string());
    }
    let error = cpu_error(model);
    if error <= error_max(name) { State::Passed(error) } else { State::TooFar(error) }
}

/// The page, which says nothing that differs between machines.
fn page(rows: &[Row]) -> String {
    let passed = rows.iter().filter(|row| matches!(row.state, State::Passed(_))).count();
    let mut page = format!(
        "# Architectures\n\n\
         Written by `LAIR_WRITE_DOCS=1 cargo test -p lair-model --test parity table`; do not edit.\n\n\
         A row stands for a tiny model that has every tensor its architecture can have, and whose outputs an outside\n\
         reference has computed. {passed} of {} agree with it: the normalised mean squared error in F32 is no more than the\n\
         limit given. \"Converts\" tells whether checkpoints of the Hugging Face layout can be converted. `gemma3n`, `gemma4` and `t5`\n\
         are held to that reference built with GELU in F32: what it rounds to F16 otherwise, these make larger than the limit\n\
         ([0043](../decisions/0043-encoders-before-decoders.md)).\n\n\
         | model | classes of `config.json` | agrees within | gives | converts | not supported |\n\
         | --- | --- | --- | --- | --- | --- |\n",
        rows.len(),
    );
    for row in rows {
        let note = NOTES.iter().find(|(name, _)| *name == row.name).map_or("", |(_, note)| note);
        let (classes, gives, converts) = row.architecture.map_or_else(Default::default, words);
        let agrees = match &row.state {
            State::Passed(_) => format!("{:.0e}", error_max(&row.name)),
            State::TooFar(_) | State::Failed(_) => "no".to_owned(),
            State::NotDeclared => "not declared".to_owned(),
        };
        writeln!(page, "| `{}` | {classes} | {agrees} | {gives} | {converts} | {note} |", row.name)
            .expect("strings can be written to");
    }
    page
}

/// The classes of an architecture, what its models give, and whether checkpoints convert.
fn words(architecture: &'static Architecture) -> (String, &'static str, &'static str) {
    let classes: Vec<String> = architecture.hf_names.iter().map(|name| format!("`{name}`")).collect();
    let gives = match architecture {
        Architecture { is_encoder: true, .. } => "embeddings",
        Architecture { is_diffusion: true, .. } => "logits of whole texts",
        _ => "text",
    };
    (classes.join(", "), gives, if architecture.source.is_some() { "yes" } else { "" })
}

#[test]
fn the_table_of_architectures_is_printed_and_its_page_is_current() {
    let rows = rows();
    if rows.is_empty() {
        return;
    }
    let mut counts = [0; 3];
    for row in &rows {
        let (kind, words) = match &row.state {
            State::Passed(error) => (0, format!("passed ({error:.1e})")),
            State::TooFar(error) => (1, format!("declared but failing ({error:.1e})")),
            State::Failed(why) => (1, format!("declared but failing: {why}")),
            State::NotDeclared => (2, "not declared".to_owned()),
        };
        counts[kind] += 1;
        eprintln!("{:24} {:20} {words}", row.name, row.gguf_name);
    }
    eprintln!("{} passed, {} declared but failing, {} not declared", counts[0], counts[1], counts[2]);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/architectures.md");
    let page = page(&rows);
    if std::env::var_os("LAIR_WRITE_DOCS").is_some() {
        std::fs::write(&path, page).expect("the page can be written");
        return;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == page,
        "the page is not current: LAIR_WRITE_DOCS=1 cargo test -p lair-model --test parity table"
    );
}
