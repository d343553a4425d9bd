//! A transfer for those who wait: bars on a terminal, lines where nobody watches, JSON for programs.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use lair_store::Progress;
use serde_json::json;

use crate::commands::show::bytes_text;

/// JSON lines about the same blob are at least this far apart.
const LINE_INTERVAL: Duration = Duration::from_millis(100);

/// How a transfer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Bars or lines on standard error.
    People,
    /// A JSON object a line on standard output, with the fields of Ollama's API.
    Lines,
    /// Nothing.
    Silent,
}

/// Shows a transfer.
pub struct DownloadBar {
    /// What is transferred now.
    name: String,
    /// `pulling` or `pushing`.
    verb: &'static str,
    form: Form,
    is_terminal: bool,
    bar: Option<ProgressBar>,
    total_bytes: u64,
    completed_bytes: u64,
    /// Of all blobs: what is to come, what came with those before, what of this one.
    planned_bytes: u64,
    done_bytes: u64,
    last_line: Option<Instant>,
}

impl DownloadBar {
    /// For the model of this name; a quiet one (`--json` of other commands) shows nothing.
    pub fn new(name: &str, is_quiet: bool) -> DownloadBar {
        DownloadBar::with(name, "pulling", if is_quiet { Form::Silent } else { Form::People })
    }

    /// For a command that transfers; `verb` says which way.
    pub fn transfer(verb: &'static str, as_json: bool) -> DownloadBar {
        DownloadBar::with("", verb, if as_json { Form::Lines } else { Form::People })
    }

    fn with(name: &str, verb: &'static str, form: Form) -> DownloadBar {
        DownloadBar {
            name: name.to_owned(),
            verb,
            form,
            is_terminal: std::io::stderr().is_terminal(),
            bar: None,
            total_bytes: 0,
            completed_bytes: 0,
            planned_bytes: 0,
            done_bytes: 0,
            last_line: None,
        }
    }

    /// A line on standard error that a bar does not overwrite.
    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    fn write_line(&self, value: &serde_json::Value) {
        // A reader that has gone ends the process at its next real output.
        let _ = writeln!(std::io::stdout(), "{value}");
    }

    fn write_position(&mut self) {
        self.last_line = Some(Instant::now());
        self.write_line(&json!({
            "status": format!("{} {}", self.verb, self.name),
            "digest": self.name,
            "total": self.total_bytes,
            "completed": self.completed_bytes,
            "all_total": self.planned_bytes,
            "all_completed": (self.done_bytes + self.completed_bytes).min(self.planned_bytes.max(self.completed_bytes)),
        }));
    }
}

impl Progress for DownloadBar {
    fn status(&mut self, text: &str) {
        match self.form {
            Form::People => self.say(text),
            Form::Lines => self.write_line(&json!({ "status": text })),
            Form::Silent => {}
        }
    }

    fn planned(&mut self, total_bytes: u64) {
        self.planned_bytes = total_bytes;
    }

    fn blob(&mut self, name: &str) {
        self.name = name.to_owned();
    }

    fn started(&mut self, total_bytes: u64, source: &str) {
        (self.total_bytes, self.completed_bytes) = (total_bytes, 0);
        match self.form {
            Form::Silent => {}
            Form::Lines => self.write_position(),
            Form::People if !self.is_terminal => {
                let way = if self.verb == "pushing" { "to" } else { "from" };
                eprintln!("{} {} ({}) {way} {source}", self.verb, self.name, bytes_text(total_bytes));
            }
            Form::People => {
                if let Some(bar) = self.bar.take() {
                    bar.finish_and_clear();
                }
                let style = "{msg}: {percent:>3}% ▕{bar:30}▏ {bytes}/{total_bytes} {bytes_per_sec} {eta}";
                let style = ProgressStyle::with_template(style).expect("the template is fixed and right");
                let bar = ProgressBar::new(total_bytes).with_style(style);
                bar.set_message(format!("{} {}", self.verb, self.name));
                self.bar = Some(bar);
            }
        }
    }

    fn advanced(&mut self, bytes: u64) {
        self.completed_bytes += bytes;
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
        if self.form == Form::Lines && self.last_line.is_none_or(|last| last.elapsed() >= LINE_INTERVAL) {
            self.write_position();
        }
    }

    fn note(&mut self, text: &str) {
        match self.form {
            Form::People => self.say(text),
            Form::Lines => self.write_line(&json!({ "status": "note", "note": text })),
            Form::Silent => {}
        }
    }

    fn finished(&mut self) {
        if let Some(bar) = self.bar.take() {
            let style = ProgressStyle::with_template("{msg}: {percent:>3}% ▕{bar:30}▏ {total_bytes}");
            bar.set_style(style.expect("the template is fixed and right"));
            bar.finish();
        }
        if self.form == Form::Lines {
            self.completed_bytes = self.total_bytes;
            self.write_position();
        }
        self.done_bytes += self.total_bytes;
        self.completed_bytes = 0;
    }
}
