//! What was measured, as a table for people, Markdown, CSV, or JSON.

use std::fmt::Write;

use lair_compute::cpu::probe::Peaks;
use serde_json::{Value, json};

use super::{Measured, Unit};
use crate::commands::show::{bytes_text, parameters_text};

/// A machine as it was measured with some number of threads and some instruction set.
#[derive(Clone, Debug)]
pub struct MachineReport {
    /// What the processor calls itself.
    pub processor: String,
    /// Processors that this process may use.
    pub processor_count: usize,
    /// What it can do, for each set-up in turn.
    pub peaks: Vec<Peaks>,
}

/// What is known of the model.
#[derive(Clone, Debug)]
pub struct ModelReport {
    /// What it is called.
    pub name: String,
    /// Its file; `None` for one that is removed again.
    pub path: Option<String>,
    /// `general.architecture`.
    pub architecture: String,
    /// How it is quantized, by the file's own word.
    pub file_type: String,
    /// Elements of its tensors.
    pub parameters: u64,
    /// Bytes of its files.
    pub size_bytes: u64,
    /// Bytes by type, most first.
    pub types: Vec<(String, u64)>,
    /// Bytes that each token reads, without keys and values.
    pub bytes_a_token: f64,
    /// Multiply-adds with the layers' matrices for each token.
    pub macs_a_token: f64,
    /// Bytes of keys and values that each token keeps; 0 where it was not loaded.
    pub kv_token_bytes: f64,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Report {
    /// The machine.
    pub machine: MachineReport,
    /// The model.
    pub model: ModelReport,
    /// One entry for each test and set-up.
    pub measured: Vec<Measured>,
    /// Rounds that each figure is the median of.
    pub repeats: usize,
    /// What to keep in mind when reading it.
    pub warnings: Vec<String>,
}

/// The version of the program, with the commit where it is known.
pub fn version() -> String {
    match env!("LAIR_COMMIT") {
        "" => env!("CARGO_PKG_VERSION").to_owned(),
        commit => format!("{} ({commit})", env!("CARGO_PKG_VERSION")),
    }
}

/// The columns for people.
const COLUMNS: [&str; 8] = ["test", "threads", "isa", "median", "min .. max", "limit", "of limit", "bound by"];

impl Report {
    /// A table with aligned columns.
    pub fn table(&self) -> String {
        let rows: Vec<[String; 8]> = self.measured.iter().map(row).collect();
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([COLUMNS[column].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
        let mut text = self.head("");
        let line = |cells: &[String; 8]| {
            let padded = cells.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
                0 | 2 | 7 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let _ = writeln!(text, "\n{}", line(&COLUMNS.map(str::to_owned)));
        for row in &rows {
            let _ = writeln!(text, "{}", line(row));
        }
        self.add_warnings(&mut text, "");
        text
    }

    /// A Markdown table.
    pub fn markdown(&self) -> String {
        let mut text = self.head("- ");
        let _ = writeln!(text, "\n| {} |\n| --- | ---: | --- | ---: | ---: | ---: | ---: | --- |", COLUMNS.join(" | "));
        for measured in &self.measured {
            let _ = writeln!(text, "| {} |", row(measured).join(" | "));
        }
        self.add_warnings(&mut text, "- ");
        text
    }

    /// Machine, model and version in a few lines.
    fn head(&self, bullet: &str) -> String {
        let (machine, model) = (&self.machine, &self.model);
        let mut text = format!("{bullet}Lair {}, median of {}\n", version(), count(self.repeats, "round"));
        let processors = count(machine.processor_count, "processor");
        let _ = writeln!(text, "{bullet}{}, {processors}", machine.processor);
        for peaks in &machine.peaks {
            let giga = |rate: f64| format!("{:.0}", rate / 1e9);
            let _ = writeln!(
                text,
                "{bullet}{}, {}: reads {:.1} GB/s; multiplies {} G f32, {} G 16-bit, {} G 8-bit, {} G of fewer bits a second",
                peaks.isa_name,
                count(peaks.thread_count, "thread"),
                peaks.read_bytes_per_second / 1e9,
                giga(peaks.f32_macs_per_second),
                giga(peaks.i16_macs_per_second),
                giga(peaks.i8_macs_per_second),
                giga(peaks.code_macs_per_second),
            );
        }
        let total: u64 = model.types.iter().map(|(_, size_bytes)| size_bytes).sum();
        let share = |size_bytes: &u64| 100.0 * *size_bytes as f64 / total.max(1) as f64;
        let types: Vec<String> =
            model.types.iter().map(|(name, size)| format!("{name} {:.0} %", share(size))).collect();
        let _ = writeln!(
            text,
            "{bullet}{}: {} {}, {} parameters, {} ({})",
            model.name,
            model.architecture,
            model.file_type,
            parameters_text(model.parameters),
            bytes_text(model.size_bytes),
            types.join(", ")
        );
        let _ = writeln!(
            text,
            "{bullet}a token reads {} of weights and multiplies {:.3} G times in the layers; it keeps {} of keys and values",
            bytes_text(model.bytes_a_token as u64),
            model.macs_a_token / 1e9,
            bytes_text(model.kv_token_bytes as u64),
        );
        text
    }

    fn add_warnings(&self, text: &mut String, bullet: &str) {
        if !self.warnings.is_empty() {
            text.push('\n');
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "{bullet}note: {warning}");
        }
    }

    /// One line for each test, with machine and model in each.
    pub fn csv(&self) -> String {
        const NAMES: &str = "version,commit,processor,processors,model,architecture,file_type,parameters,size_bytes,isa,threads,\
             test,kind,prompt_tokens,generated_tokens,depth,streams,unit,median,min,max,repeats,limit,percent_of_limit,bound,\
             others_percent";
        let mut text = format!("{NAMES}\n");
        let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.3}"));
        for measured in &self.measured {
            let cells = [
                env!("CARGO_PKG_VERSION").to_owned(),
                env!("LAIR_COMMIT").to_owned(),
                self.machine.processor.clone(),
                self.machine.processor_count.to_string(),
                self.model.name.clone(),
                self.model.architecture.clone(),
                self.model.file_type.clone(),
                self.model.parameters.to_string(),
                self.model.size_bytes.to_string(),
                measured.isa_name.to_owned(),
                measured.thread_count.to_string(),
                measured.name.clone(),
                measured.kind.to_owned(),
                measured.prompt_tokens.to_string(),
                measured.generated_tokens.to_string(),
                measured.depth.to_string(),
                measured.streams.to_string(),
                measured.unit.name().to_owned(),
                number(Some(measured.median())),
                number(Some(measured.min())),
                number(Some(measured.max())),
                measured.samples.len().to_string(),
                number(Some(measured.limit)),
                number(Some(measured.percent_of_limit())),
                measured.bound.to_owned(),
                number(measured.others.percent()),
            ];
            text.push_str(&cells.map(|cell| quoted(&cell)).join(","));
            text.push('\n');
        }
        text
    }

    /// One JSON object.
    pub fn json(&self) -> Value {
        let peaks = |peaks: &Peaks| {
            json!({
                "isa": peaks.isa_name,
                "threads": peaks.thread_count,
                "read_bytes_per_second": peaks.read_bytes_per_second,
                "f32_macs_per_second": peaks.f32_macs_per_second,
                "i16_macs_per_second": peaks.i16_macs_per_second,
                "i8_macs_per_second": peaks.i8_macs_per_second,
                "code_macs_per_second": peaks.code_macs_per_second,
            })
        };
        let types: serde_json::Map<String, Value> =
            self.model.types.iter().map(|(name, size_bytes)| (name.clone(), json!(size_bytes))).collect();
        let commit = env!("LAIR_COMMIT");
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "commit": if commit.is_empty() { Value::Null } else { json!(commit) },
            "machine": {
                "processor": self.machine.processor,
                "processors": self.machine.processor_count,
                "os": std::env::consts::OS,
                "architecture": std::env::consts::ARCH,
                "peaks": self.machine.peaks.iter().map(peaks).collect::<Vec<_>>(),
            },
            "model": {
                "name": self.model.name,
                "path": self.model.path,
                "architecture": self.model.architecture,
                "file_type": self.model.file_type,
                "parameters": self.model.parameters,
                "size_bytes": self.model.size_bytes,
                "type_bytes": types,
                "bytes_a_token": self.model.bytes_a_token,
                "layer_macs_a_token": self.model.macs_a_token,
                "kv_token_bytes": self.model.kv_token_bytes,
            },
            "results": self.measured.iter().map(result).collect::<Vec<_>>(),
            "warnings": self.warnings,
        })
    }
}

fn result(measured: &Measured) -> Value {
    let details: serde_json::Map<String, Value> =
        measured.details.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    json!({
        "test": measured.name,
        "kind": measured.kind,
        "prompt_tokens": measured.prompt_tokens,
        "generated_tokens": measured.generated_tokens,
        "depth": measured.depth,
        "streams": measured.streams,
        "threads": measured.thread_count,
        "isa": measured.isa_name,
        "unit": measured.unit.name(),
        "median": measured.median(),
        "min": measured.min(),
        "max": measured.max(),
        "samples": measured.samples,
        "limit": measured.limit,
        "percent_of_limit": measured.percent_of_limit(),
        "bound": measured.bound,
        "others_percent": measured.others.percent(),
        "details": details,
    })
}

/// The cells of a line for people.
fn row(measured: &Measured) -> [String; 8] {
    let value = |value: f64| match measured.unit {
        Unit::TokensPerSecond if value < 10.0 => format!("{value:.2}"),
        Unit::TokensPerSecond => format!("{value:.1}"),
        Unit::Milliseconds => format!("{value:.0}"),
        Unit::Bytes => bytes_text(value as u64),
    };
    let unit = match measured.unit {
        Unit::TokensPerSecond => " tok/s",
        Unit::Milliseconds => " ms",
        Unit::Bytes => "",
    };
    [
        measured.name.clone(),
        measured.thread_count.to_string(),
        measured.isa_name.to_owned(),
        format!("{}{unit}", value(measured.median())),
        format!("{} .. {}", value(measured.min()), value(measured.max())),
        value(measured.limit),
        format!("{:.0} %", measured.percent_of_limit()),
        measured.bound.to_owned(),
    ]
}

fn count(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// A cell of CSV (RFC 4180).
fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_csv_are_quoted_where_they_must_be() {
        assert_eq!(["plain", "a,b", "say \"x\""].map(quoted), ["plain", "\"a,b\"", "\"say \"\"x\"\"\""]);
    }
}
