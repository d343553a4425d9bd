//! A download on the terminal: a bar where someone watches, lines where not.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};
use lair_store::Progress;

use crate::commands::show::bytes_text;

/// Shows a download on standard error.
pub struct DownloadBar {
    name: String,
    bar: Option<ProgressBar>,
    is_quiet: bool,
}

impl DownloadBar {
    /// A bar for the model of this name; a quiet one (`--json`) shows nothing.
    pub fn new(name: &str, is_quiet: bool) -> DownloadBar {
        DownloadBar { name: name.to_owned(), bar: None, is_quiet }
    }
}

impl Progress for DownloadBar {
    fn started(&mut self, total_bytes: u64, source: &str) {
        if self.is_quiet {
            return;
        }
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if !std::io::stderr().is_terminal() {
            eprintln!("fetching {} ({}) from {source}", self.name, bytes_text(total_bytes));
            return;
        }
        let style = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
            .expect("the template is fixed and right");
        let bar = ProgressBar::new(total_bytes).with_style(style);
        bar.set_message(format!("{} from {source}", self.name));
        self.bar = Some(bar);
    }

    fn advanced(&mut self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }

    fn note(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None if !self.is_quiet => eprintln!("{text}"),
            None => {}
        }
    }

    fn finished(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
