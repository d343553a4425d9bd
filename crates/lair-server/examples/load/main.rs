//! Puts a server under load and checks every byte: each answer must be the one that the same question gets alone.
//!
//! ```text
//! cargo run --release -p lair-server --example load -- --lair target/release/lair --model smollm2 streams --streams 64
//! ```
//!
//! The scenarios are in `bench/scenarios/README.md`. One JSON object goes to standard output; the exit status is 1 if an
//! answer was wrong or missing.
#![allow(clippy::print_stdout, missing_docs)] // A program, not a library.

mod client;
mod scenarios;
mod server;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

pub use client::{Answer, Question};
pub use server::Server;

/// What to do, and to whom.
pub struct Options {
    pub lair: PathBuf,
    pub model: String,
    pub streams: usize,
    pub seconds: u64,
    pub tokens: usize,
    pub prompt_tokens: usize,
    /// Options of `lair serve`.
    pub serve: Vec<String>,
}

impl Options {
    /// A server with these options of its own besides.
    pub fn start(&self, flags: &[&str]) -> Server {
        let flags: Vec<String> =
            self.serve.iter().cloned().chain(flags.iter().map(|flag| (*flag).to_owned())).collect();
        Server::start(&self.lair, &flags)
    }
}

type Scenario = fn(&Options) -> Value;

const SCENARIOS: [(&str, Scenario); 8] = [
    ("streams", scenarios::streams),
    ("overload", scenarios::overload),
    ("slow_sockets", scenarios::slow_sockets),
    ("shared_prefix", scenarios::shared_prefix),
    ("restart", scenarios::restart),
    ("cancel", scenarios::cancel),
    ("long_prompt", scenarios::long_prompt),
    ("schema", scenarios::schema),
];

fn main() -> std::process::ExitCode {
    let mut options = Options {
        lair: "target/release/lair".into(),
        model: "smollm2".to_owned(),
        streams: 64,
        seconds: 60,
        tokens: 64,
        prompt_tokens: 2000,
        serve: Vec::new(),
    };
    let mut scenario = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
        let number = |text: String| text.parse::<usize>().unwrap_or_else(|_| panic!("`{text}` is no number"));
        match argument.as_str() {
            "--lair" => options.lair = value().into(),
            "--model" => options.model = value(),
            "--streams" => options.streams = number(value()),
            "--seconds" => options.seconds = number(value()) as u64,
            "--tokens" => options.tokens = number(value()),
            "--prompt-tokens" => options.prompt_tokens = number(value()),
            "--serve" => options.serve.extend(value().split_whitespace().map(str::to_owned)),
            name => scenario = SCENARIOS.iter().find(|(known, _)| *known == name),
        }
    }
    let Some((name, run)) = scenario else {
        eprintln!("name a scenario: {}", SCENARIOS.map(|(name, _)| name).join(", "));
        return 2.into();
    };
    let mut report = run(&options);
    report["scenario"] = json!(name);
    report["model"] = json!(options.model);
    println!("{report:#}");
    u8::from(report["wrong"] != 0 || report["errors"] != 0).into()
}

/// The times at these parts of a sorted list, in milliseconds.
pub fn percentiles(mut times: Vec<Duration>) -> Value {
    times.sort_unstable();
    let at = |part: f64| {
        let place = ((times.len() as f64 * part) as usize).min(times.len().saturating_sub(1));
        times.get(place).map_or(0.0, |time| (time.as_secs_f64() * 1e4).round() / 10.0)
    };
    json!({ "count": times.len(), "p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": at(1.0) })
}
