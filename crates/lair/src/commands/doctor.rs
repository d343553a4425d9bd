//! `lair doctor`: what of this machine and its stores costs speed, space or safety, and what to do about it.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use lair_compute::cpu::CpuOptions;
use lair_store::{ProxySetting, RunningServer};
use serde_json::json;

use crate::doctor::finding::{Finding, Severity};
use crate::doctor::stores::Depth;
use crate::doctor::system::System;
use crate::doctor::{duplicates, examination, stores};
use crate::failure::{ExitCode, Failure, Outcome};
use crate::{locate, measured_machine, server_address};

/// What to look at.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// Hash every blob, however large
    #[arg(long)]
    deep: bool,
    /// Say also what is as it should be
    #[arg(long)]
    all: bool,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// Read the system's accounts below this folder
    #[arg(long, value_name = "FOLDER", hide = true)]
    system_root: Option<PathBuf>,
}

/// Runs the command. A problem makes it fail, so that a script can ask.
pub fn doctor(args: &DoctorArgs) -> Outcome {
    let store = locate::store()?;
    let system = args.system_root.clone().map_or_else(System::real, System::below);
    let measured = measured_machine::this_machine(&store.settings().root, &CpuOptions::default(), false);
    let mut findings = examination::machine(&system, measured.as_ref().ok().map(|measured| &measured.machine));
    findings.extend(stores::folders(&store));
    let models = store.list_all().models;
    let depth = if args.deep { Depth::Deep } else { Depth::Quick };
    findings.extend(stores::blobs(&models, depth));
    findings.extend(duplicates::findings(&models));
    findings.push(port(store.settings()));
    // The worst first; of the same kind in the order in which they were looked at.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (problems, warnings) = (count(Severity::Problem), count(Severity::Warning));
    let mut out = std::io::stdout().lock();
    if args.json {
        let list: Vec<_> = findings.iter().map(Finding::json).collect();
        writeln!(out, "{}", json!({ "findings": list, "problems": problems, "warnings": warnings }))?;
    } else {
        for finding in findings.iter().filter(|finding| args.all || finding.severity > Severity::Good) {
            finding.print(&mut out)?;
        }
        let good = count(Severity::Good);
        writeln!(out, "{problems} problems, {warnings} warnings; {good} things are as they should be")?;
    }
    drop(out);
    match problems {
        0 => Ok(()),
        1 => Err(Failure::new(ExitCode::Other, "1 problem was found")),
        _ => Err(Failure::new(ExitCode::Other, format!("{problems} problems were found"))),
    }
}

/// Where `lair serve` would listen.
fn port(settings: &lair_store::Settings) -> Finding {
    let written = server_address::variable("LAIR_HOST").or_else(|| server_address::variable("OLLAMA_HOST"));
    let address = written.as_deref().unwrap_or("127.0.0.1");
    let Some(socket) = server_address::to_listen_on(address, server_address::PORT) else {
        return Finding::problem(
            "port",
            format!("`{address}` is no address to listen on"),
            "set LAIR_HOST or OLLAMA_HOST to HOST:PORT",
        );
    };
    examination::port(&socket.ip().to_string(), socket.port(), || {
        let base = server_address::to_ask(&socket.to_string())?;
        let direct = lair_store::Settings { proxy: ProxySetting::Direct, ..settings.clone() };
        let models = RunningServer::new(&base, None, &direct).ok()?.models().ok()?;
        Some(format!("a server of Ollama's kind with {} models in memory", models.len()))
    })
}
