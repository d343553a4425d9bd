//! `lair verify`: hashes stored models again.

use std::collections::HashSet;
use std::io::IsTerminal;

use clap::Args;
use lair_store::{Fetcher, FoundModel, Progress, Reference, Resolved, Store, StoreError, Verdict, Verified};
use serde_json::json;

use crate::download_bar::DownloadBar;
use crate::failure::{ExitCode, Failure, Outcome};
use crate::human::size_text;
use crate::locate;

/// What to verify.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// Models; every model that has digests if left out
    models: Vec<String>,
    /// Fetch what is broken again
    #[arg(long)]
    repair: bool,
    /// Say nothing of what is sound
    #[arg(long)]
    quiet: bool,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub fn verify(args: &VerifyArgs) -> Outcome {
    let store = locate::store()?;
    let models = chosen(&store, &args.models)?;
    // Hashing fetches nothing; only a bar on a terminal says something about it.
    let is_silent = args.quiet || args.json || !std::io::stderr().is_terminal();
    let mut seen = HashSet::new();
    let mut results: Vec<(String, Verified)> = Vec::new();
    for model in &models {
        // Shared blobs are hashed once.
        for file in model.files.iter().filter(|file| seen.insert(file.path.clone())) {
            let mut bar = DownloadBar::new(&model.name, is_silent);
            bar.started(file.size_bytes, "this disk");
            let mut verified = store.verify(file, &mut |bytes| bar.advanced(bytes))?;
            bar.finished();
            if args.repair && verified.is_bad() {
                let mut bar = DownloadBar::new(&model.name, args.quiet || args.json);
                verified.verdict = store.repair(model, &verified, &mut Fetcher::new(&store, &mut bar))?;
            }
            results.push((model.name.clone(), verified));
        }
    }
    if args.json {
        let values = results.iter().map(|(model, verified)| as_json(model, verified));
        println!("{:#}", json!({ "files": values.collect::<Vec<_>>() }));
    } else {
        print_text(&results, args.quiet);
    }
    let bad_count = results.iter().filter(|(_, verified)| verified.is_bad()).count();
    if bad_count == 0 {
        return Ok(());
    }
    let files = if bad_count == 1 { "1 file is".to_owned() } else { format!("{bad_count} files are") };
    Err(Failure::new(ExitCode::BadModel, format!("{files} damaged or missing"))
        .with_hint("`lair verify --repair` fetches what is broken; `lair pull` fetches the model again".to_owned()))
}

/// The models to look at, damaged ones too.
fn chosen(store: &Store, texts: &[String]) -> Result<Vec<FoundModel>, Failure> {
    let all = store.list_all().models;
    if texts.is_empty() {
        return Ok(all);
    }
    let mut models = Vec::new();
    for text in texts {
        let reference = Reference::parse(text).map_err(StoreError::from)?;
        match store.resolve(&reference) {
            Ok(Resolved::Model(model)) => models.push(*model),
            Err(StoreError::Damaged { name, .. }) => {
                models.extend(all.iter().filter(|model| model.name == name).cloned());
            }
            // A catalogue model that is here and not whole.
            Ok(Resolved::Missing(entry)) => {
                let stem = format!("{}:latest", entry.name);
                let found: Vec<FoundModel> = all.iter().filter(|model| model.name == stem).cloned().collect();
                if found.is_empty() {
                    return Err(store.unknown(text).into());
                }
                models.extend(found);
            }
            Ok(Resolved::File(path)) => {
                return Err(Failure::new(
                    ExitCode::Usage,
                    format!("nothing says what `{}` should hash to", path.display()),
                )
                .with_hint("`lair import` takes it into the store".to_owned()));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(models)
}

fn print_text(results: &[(String, Verified)], is_quiet: bool) {
    let mut unknown_count = 0;
    for (model, verified) in results {
        let path = verified.file.path.display();
        match &verified.verdict {
            Verdict::Sound if is_quiet => {}
            Verdict::Sound => println!("ok       {model}  {path}"),
            Verdict::Unknown => unknown_count += 1,
            Verdict::Missing => println!("missing  {model}  {path}"),
            Verdict::Broken { found, quarantine } => {
                let moved = quarantine.as_ref().map(|to| format!(", moved to {}", to.display())).unwrap_or_default();
                println!("damaged  {model}  {path}: hashes to {found}{moved}");
            }
            Verdict::Repaired { fetched_bytes } => {
                println!("repaired {model}  {path}: {} fetched", size_text(*fetched_bytes));
            }
        }
    }
    if unknown_count > 0 && !is_quiet {
        println!("{unknown_count} files lie in folders that keep no digests");
    }
}

fn as_json(model: &str, verified: &Verified) -> serde_json::Value {
    let (verdict, fetched_bytes) = match &verified.verdict {
        Verdict::Sound => ("sound", None),
        Verdict::Unknown => ("unknown", None),
        Verdict::Missing => ("missing", None),
        Verdict::Broken { .. } => ("damaged", None),
        Verdict::Repaired { fetched_bytes } => ("repaired", Some(fetched_bytes)),
    };
    json!({
        "model": model,
        "path": verified.file.path.display().to_string(),
        "digest": verified.file.digest.map(|digest| digest.to_string()),
        "verdict": verdict,
        "fetched_bytes": fetched_bytes,
    })
}
