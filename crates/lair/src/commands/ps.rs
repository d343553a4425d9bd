//! `lair ps` and `lair stop`: the models in the memory of a running server.

use std::io::Write;
use std::time::SystemTime;

use clap::Args;
use lair_store::{HubToken, RunningModel, RunningServer, Settings, SourceError};
use serde_json::json;

use crate::failure::{ExitCode, Failure, Outcome};
use crate::human::{parse_time, size_text, until_text};
use crate::{config, offline, server_address};

/// Which server is asked.
#[derive(Args, Debug)]
pub struct ServerArgs {
    /// Where the server is: ADDRESS, ADDRESS:PORT, :PORT or a link [default: where `lair serve` would listen]
    #[arg(long, value_name = "ADDRESS")]
    host: Option<String>,
    /// The key that the server asks for [default: LAIR_API_KEY]
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// Which models to list.
#[derive(Args, Debug)]
pub struct PsArgs {
    /// Only models whose names begin like this
    prefix: Option<String>,
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Which model to give up.
#[derive(Args, Debug)]
pub struct StopArgs {
    /// Names of models, as `lair ps` shows them
    #[arg(required = true)]
    models: Vec<String>,
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Lists the models in memory.
pub fn ps(args: &PsArgs) -> Outcome {
    let server = Asked::open(&args.server)?;
    let prefix = args.prefix.as_deref().unwrap_or_default().to_ascii_lowercase();
    let mut models = server.models()?;
    models.retain(|model| model.name.to_ascii_lowercase().starts_with(&prefix));
    let mut out = std::io::stdout().lock();
    if args.server.json {
        return Ok(writeln!(out, "{:#}", as_json(&models, &server.base))?);
    }
    Ok(print_table(&mut out, &models)?)
}

/// Asks the server to give up the memory of models. All that can be are, the first failure is told.
pub fn stop(args: &StopArgs) -> Outcome {
    let server = Asked::open(&args.server)?;
    let running = server.models()?;
    let mut first_failure = None;
    let mut stopped = Vec::new();
    for model in &args.models {
        match server.unload(model) {
            Ok(()) => {
                let was_loaded = running.iter().any(|own| is_named(&own.name, model));
                if !args.server.json {
                    println!(
                        "{}",
                        if was_loaded { format!("stopped '{model}'") } else { format!("'{model}' was not loaded") }
                    );
                }
                stopped.push(json!({ "name": model, "was_loaded": was_loaded }));
            }
            Err(failure) => first_failure = first_failure.or(Some(failure)),
        }
    }
    if args.server.json {
        println!("{:#}", json!({ "models": stopped }));
    }
    first_failure.map_or(Ok(()), Err)
}

/// Whether `own`, a name with its tag, is what the user wrote.
fn is_named(own: &str, written: &str) -> bool {
    let parsed = |text: &str| text.parse::<lair_store::ModelName>().ok();
    own == written || parsed(own).is_some_and(|own| parsed(written) == Some(own))
}

/// Where the server is: as it is written, or where the settings have a server of this machine listen.
pub(super) fn base(written: Option<&str>) -> Result<String, Failure> {
    let asked = |text: &str| {
        server_address::to_ask(text).ok_or_else(|| {
            Failure::new(ExitCode::Usage, format!("`{text}` is no address of a server, ADDRESS:PORT expected"))
        })
    };
    if let Some(written) = written {
        return asked(written);
    }
    let settings = config::of_server()?;
    let value = |key: &str| settings.iter().find(|(setting, _)| setting.key == key).map(|(_, value)| value.as_str());
    let mut base = asked(value("host").unwrap_or_default())?;
    if let (Some(port), Some((before, _))) = (value("port"), base.rsplit_once(':')) {
        base = format!("{before}:{port}");
    }
    match base.strip_prefix("http://") {
        Some(rest) if value("tls_cert").is_some() => Ok(format!("https://{rest}")),
        _ => Ok(base),
    }
}

/// The server that the user means.
struct Asked {
    base: String,
    server: RunningServer,
}

impl Asked {
    fn open(args: &ServerArgs) -> Result<Asked, Failure> {
        let base = base(args.host.as_deref())?;
        if let Some(reason) = offline::reason().filter(|_| !lair_store::is_on_this_machine(&base)) {
            return Err(Failure::new(ExitCode::Usage, format!("{reason} forbids asking {base}, another machine")));
        }
        let key = args.api_key.clone().or_else(|| server_address::variable("LAIR_API_KEY"));
        let key = key.and_then(|key| HubToken::new(&key));
        let server = RunningServer::new(&base, key.as_ref(), &Settings::from_env()?);
        let server = server.map_err(|error| Failure::new(ExitCode::Usage, error))?;
        Ok(Asked { base, server })
    }

    fn models(&self) -> Result<Vec<RunningModel>, Failure> {
        self.server.models().map_err(|error| self.failure(error))
    }

    fn unload(&self, model: &str) -> Result<(), Failure> {
        self.server.unload(model).map_err(|error| match error {
            SourceError::Status { status: 404, .. } => {
                Failure::new(ExitCode::NotFound, format!("couldn't find model \"{model}\" to stop"))
                    .with_hint("`lair ps` lists the models in memory, `lair list` those on disk".to_owned())
            }
            error => self.failure(error),
        })
    }

    fn failure(&self, error: SourceError) -> Failure {
        let (code, cause, hint) = match &error {
            SourceError::NoConnection { reason, .. } => (
                ExitCode::NotFound,
                format!("no server runs at {}: {reason}", self.base),
                "`lair serve` starts one; LAIR_HOST, OLLAMA_HOST or --host say where it is",
            ),
            SourceError::Status { status: 401 | 403, .. } => (
                ExitCode::Usage,
                format!("the server at {} asks for a key", self.base),
                "give its key with --api-key, or in LAIR_API_KEY",
            ),
            error => (
                ExitCode::NotFound,
                format!("what runs at {} is no server of Lair or Ollama: {error}", self.base),
                "LAIR_HOST, OLLAMA_HOST or --host say where the server is",
            ),
        };
        Failure::new(code, cause).with_hint(hint.to_owned())
    }
}

/// Where a model computes, as Ollama says it.
fn processor_text(model: &RunningModel) -> String {
    match (model.gpu_bytes, model.size_bytes) {
        (0, _) => "100% CPU".to_owned(),
        (gpu, all) if gpu >= all => "100% GPU".to_owned(),
        (gpu, all) => {
            let cpu_percent = ((all - gpu) as f64 / all as f64 * 100.0).round() as u64;
            format!("{cpu_percent}%/{}% CPU/GPU", 100 - cpu_percent)
        }
    }
}

fn print_table(out: &mut impl Write, models: &[RunningModel]) -> std::io::Result<()> {
    let now = SystemTime::now();
    let mut rows = vec![["NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"].map(str::to_owned)];
    rows.extend(models.iter().map(|model| {
        let id: String = model.digest.trim_start_matches("sha256:").chars().take(12).collect();
        [
            model.name.clone(),
            if id.is_empty() { "-".to_owned() } else { id },
            size_text(model.size_bytes),
            processor_text(model),
            if model.context_length == 0 { "-".to_owned() } else { model.context_length.to_string() },
            parse_time(&model.expires_at).map_or_else(|| "-".to_owned(), |then| until_text(then, now)),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("    ").trim_end())?;
    }
    Ok(())
}

fn as_json(models: &[RunningModel], base: &str) -> serde_json::Value {
    let model = |model: &RunningModel| {
        json!({
            "name": model.name, "digest": model.digest, "size_bytes": model.size_bytes, "gpu_bytes": model.gpu_bytes,
            "processor": processor_text(model), "context_length": model.context_length,
            "expires_at": model.expires_at,
        })
    };
    json!({ "server": base, "models": models.iter().map(model).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_where_a_model_computes_as_ollama_does() {
        let model = |gpu_bytes, size_bytes| RunningModel {
            name: "x".to_owned(),
            digest: String::new(),
            size_bytes,
            gpu_bytes,
            context_length: 0,
            expires_at: String::new(),
        };
        for (gpu, all, text) in
            [(0, 100, "100% CPU"), (100, 100, "100% GPU"), (58, 100, "42%/58% CPU/GPU"), (0, 0, "100% CPU")]
        {
            assert_eq!(processor_text(&model(gpu, all)), text);
        }
    }

    #[test]
    fn a_name_is_the_same_with_its_tag() {
        assert!(is_named("tiny:latest", "tiny") && is_named("tiny:latest", "Tiny:latest"));
        assert!(!is_named("tiny:latest", "tiny:1m"));
    }
}
