//! `lair --version`: which program this is.

use std::io::Write;

use serde_json::json;

use crate::failure::Outcome;

/// Prints the version: one line, or a JSON object with what a report of a fault needs.
pub fn version(as_json: bool) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    let mut out = std::io::stdout().lock();
    if as_json {
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        let value = json!({
            "name": "lair",
            "version": version,
            "system": std::env::consts::OS,
            "architecture": std::env::consts::ARCH,
            "build": build,
        });
        writeln!(out, "{value}")?;
    } else {
        writeln!(out, "lair {version}")?;
    }
    Ok(())
}
