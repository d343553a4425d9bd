//! `lair outdated` and `lair update`: what has changed where it came from, and bringing that.

use clap::Args;
use lair_store::{Available, Owner, Reference, Store};
use serde_json::json;

use super::show::bytes_text;
use super::transfer_args::{TransferArgs, failure};
use crate::download_bar::DownloadBar;
use crate::failure::{ExitCode, Failure, Outcome};

/// Which models to ask about.
#[derive(Args, Debug)]
pub struct OutdatedArgs {
    /// Names as `lair list` shows them [default: all that Lair has pulled]
    models: Vec<String>,
    #[command(flatten)]
    pub transfer: TransferArgs,
}

/// Which models to update.
#[derive(Args, Debug)]
pub struct UpdateArgs {
    #[command(flatten)]
    pub outdated: OutdatedArgs,
    /// Only say what would be fetched
    #[arg(long)]
    dry_run: bool,
}

/// A model and what its source has now.
struct Candidate {
    name: String,
    reference: Reference,
    here: String,
    available: Result<Available, String>,
}

impl Candidate {
    fn is_outdated(&self) -> bool {
        self.available.as_ref().is_ok_and(|available| available.version != self.here)
    }
}

/// Runs `lair outdated`.
pub fn outdated(args: &OutdatedArgs) -> Outcome {
    let store = args.transfer.store()?;
    let candidates = candidates(&store, args)?;
    show(&candidates, args.transfer.json);
    Ok(())
}

/// Runs `lair update`.
pub fn update(args: &UpdateArgs) -> Outcome {
    let store = args.outdated.transfer.store()?;
    let candidates = candidates(&store, &args.outdated)?;
    if args.dry_run {
        show(&candidates, args.outdated.transfer.json);
        return Ok(());
    }
    let outdated: Vec<&Candidate> = candidates.iter().filter(|candidate| candidate.is_outdated()).collect();
    for candidate in &outdated {
        let mut bar = DownloadBar::transfer("pulling", args.outdated.transfer.json);
        if !args.outdated.transfer.json {
            eprintln!("updating {}", candidate.name);
        }
        store.pull(&candidate.reference, &mut bar).map_err(failure)?;
    }
    if outdated.is_empty() && !args.outdated.transfer.json {
        println!("everything is up to date");
    }
    match candidates.iter().find_map(|candidate| candidate.available.as_ref().err()) {
        Some(problem) => Err(Failure::new(ExitCode::NotFound, problem)),
        None => Ok(()),
    }
}

/// The models that came from somewhere that can be asked, each asked.
fn candidates(store: &Store, args: &OutdatedArgs) -> Result<Vec<Candidate>, Failure> {
    let mut candidates = Vec::new();
    for model in store.list().map_err(failure)? {
        let Some(name) = &model.model_name else { continue };
        let is_asked = args.models.is_empty()
            || args.models.iter().any(|asked| asked.parse().is_ok_and(|asked: lair_store::ModelName| asked == *name));
        if !is_asked || (args.models.is_empty() && model.owner != Owner::Lair) {
            continue;
        }
        let note = store.note(name).map_err(failure)?;
        let text = note.and_then(|note| note.reference).unwrap_or_else(|| name.short());
        let Ok(reference) = Reference::parse(&text) else { continue };
        // A link says nothing about what it will bring; asking again is pulling again.
        if matches!(reference, Reference::Link(_)) {
            continue;
        }
        let is_of_catalogue =
            matches!(&reference, Reference::Name(name) if store.catalogue().find(&name.short()).is_some());
        let here = if is_of_catalogue {
            model.files.iter().find_map(|file| file.digest).map(|digest| digest.to_string())
        } else {
            model.id.map(|id| id.to_string())
        };
        let available = store.available(&reference).map_err(|error| format!("{}: {error}", name.short()));
        candidates.push(Candidate { name: name.short(), reference, here: here.unwrap_or_default(), available });
    }
    Ok(candidates)
}

fn show(candidates: &[Candidate], as_json: bool) {
    if as_json {
        let models = candidates.iter().map(|candidate| {
            let (version, missing_bytes, error) = match &candidate.available {
                Ok(available) => (Some(&available.version), Some(available.missing_bytes), None),
                Err(error) => (None, None, Some(error)),
            };
            json!({
                "name": candidate.name, "here": candidate.here, "available": version, "missing_bytes": missing_bytes,
                "is_outdated": candidate.is_outdated(), "error": error,
            })
        });
        println!("{}", json!({ "models": models.collect::<Vec<_>>() }));
        return;
    }
    for problem in candidates.iter().filter_map(|candidate| candidate.available.as_ref().err()) {
        eprintln!("{problem}");
    }
    let outdated: Vec<_> = candidates.iter().filter(|candidate| candidate.is_outdated()).collect();
    if outdated.is_empty() {
        println!("everything is up to date");
        return;
    }
    let width = outdated.iter().map(|candidate| candidate.name.len()).max().unwrap_or(0).max("NAME".len());
    println!("{:width$}  {:>10}  VERSION", "NAME", "TO FETCH");
    for candidate in outdated {
        if let Ok(available) = &candidate.available {
            let size = bytes_text(available.missing_bytes);
            println!("{:width$}  {size:>10}  {}", candidate.name, available.version);
        }
    }
}
