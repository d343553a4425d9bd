//! `lair outdated` and `lair update`: what has changed where it came from, and bringing that.

use clap::Args;
use lair_store::{Available, Freshness, ModelName, Owner, Reference, Store, StoreError, Tracked};
use serde_json::{Value, json};

use super::show::bytes_text;
use super::transfer_args::TransferArgs;
use crate::download_bar::DownloadBar;
use crate::failure::{ExitCode, Failure, Outcome};

/// Which models to ask about.
#[derive(Args, Debug)]
pub struct OutdatedArgs {
    /// Names as `lair list` shows them [default: all that Lair has pulled, and those in the hub's cache]
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

/// A model and what its source has now in its place.
struct Asked {
    tracked: Tracked,
    changed: Result<Option<Available>, StoreError>,
}

/// Runs `lair outdated`.
pub fn outdated(args: &OutdatedArgs) -> Outcome {
    let store = args.transfer.store()?;
    let asked = ask(&store, args)?;
    show(&asked, args.transfer.json);
    unasked(&asked)
}

/// Runs `lair update`.
pub fn update(args: &UpdateArgs) -> Outcome {
    let store = args.outdated.transfer.store()?;
    let asked = ask(&store, &args.outdated)?;
    let as_json = args.outdated.transfer.json;
    if args.dry_run {
        show(&asked, as_json);
        return unasked(&asked);
    }
    if !as_json {
        tell_problems(&asked);
    }
    let mut updated_count = 0;
    for asked in asked.iter().filter(|asked| matches!(asked.changed, Ok(Some(_)))) {
        if !as_json {
            eprintln!("updating {}", asked.tracked.model.name);
        }
        store.pull(&asked.tracked.reference, &mut DownloadBar::transfer("pulling", as_json))?;
        updated_count += 1;
    }
    if as_json {
        println!("{}", json!({ "status": "updated", "updated_count": updated_count }));
    } else if updated_count == 0 && asked.iter().all(|asked| asked.changed.is_ok()) {
        println!("{}", nothing_to_do(&asked));
    }
    unasked(&asked)
}

/// The models that came from somewhere that can be asked, each asked.
fn ask(store: &Store, args: &OutdatedArgs) -> Result<Vec<Asked>, Failure> {
    let mut tracked = store.tracked()?;
    if args.models.is_empty() {
        // What Ollama put into a store that both share is its own to update.
        tracked.retain(|tracked| tracked.model.owner != Owner::Ollama);
    } else {
        for text in &args.models {
            if !tracked.iter().any(|tracked| is_meant(tracked, text)) {
                return Err(not_tracked(store, text));
            }
        }
        tracked.retain(|tracked| args.models.iter().any(|text| is_meant(tracked, text)));
    }
    let mut freshness = Freshness::new(store);
    Ok(tracked
        .into_iter()
        .map(|tracked| {
            let changed = freshness.changed(&tracked);
            Asked { tracked, changed }
        })
        .collect())
}

/// Whether the user means this model: by its name, or by what it was pulled as.
fn is_meant(tracked: &Tracked, text: &str) -> bool {
    if tracked.model.name.eq_ignore_ascii_case(text) {
        return true;
    }
    let name = text.parse::<ModelName>().ok();
    if name.is_some() && name == tracked.model.model_name {
        return true;
    }
    match Reference::parse(text) {
        Ok(reference) => {
            let hub = reference.as_hub().filter(|_| tracked.model.owner == Owner::HubCache);
            reference == tracked.reference || hub.is_some_and(|hub| tracked.model.is_meant_by(&hub))
        }
        Err(_) => false,
    }
}

/// Why a model cannot be asked about: it is not here, or nobody has it but this machine.
fn not_tracked(store: &Store, text: &str) -> Failure {
    let resolved = Reference::parse(text).map_err(StoreError::from).and_then(|reference| store.resolve(&reference));
    match resolved {
        Err(error) => error.into(),
        Ok(_) => Failure::new(ExitCode::Usage, format!("nothing says where `{text}` would be asked for again"))
            .with_hint("models that were imported, created or fetched by a link have no source to ask".to_owned()),
    }
}

/// The failure of a run that could not ask everybody.
fn unasked(asked: &[Asked]) -> Outcome {
    let count = asked.iter().filter(|asked| asked.changed.is_err()).count();
    match asked.iter().find_map(|asked| asked.changed.as_ref().err()) {
        Some(error) => {
            Err(Failure::new(ExitCode::NotFound, format!("{count} of {} models could not be asked about", asked.len()))
                .with_hint(error.hint()))
        }
        None => Ok(()),
    }
}

fn tell_problems(asked: &[Asked]) {
    for asked in asked {
        if let Err(error) = &asked.changed {
            eprintln!("{}: {error}", asked.tracked.model.name);
        }
    }
}

fn nothing_to_do(asked: &[Asked]) -> &'static str {
    if asked.is_empty() { "no model here came from somewhere that can be asked" } else { "everything is up to date" }
}

fn show(asked: &[Asked], as_json: bool) {
    if as_json {
        println!("{}", json!({ "models": asked.iter().map(describe).collect::<Vec<_>>() }));
        return;
    }
    tell_problems(asked);
    let changed = |asked: &'_ Asked| asked.changed.as_ref().ok().cloned().flatten();
    let rows: Vec<(&str, Available)> =
        asked.iter().filter_map(|asked| Some((asked.tracked.model.name.as_str(), changed(asked)?))).collect();
    if rows.is_empty() {
        if asked.iter().all(|asked| asked.changed.is_ok()) {
            println!("{}", nothing_to_do(asked));
        }
        return;
    }
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max("NAME".len());
    println!("{:width$}  {:>10}  VERSION", "NAME", "TO FETCH");
    for (name, available) in rows {
        let size = available.missing_bytes.map_or_else(|| "?".to_owned(), bytes_text);
        println!("{name:width$}  {size:>10}  {}", available.version);
    }
}

fn describe(asked: &Asked) -> Value {
    let (available, missing_bytes, error) = match &asked.changed {
        Ok(Some(available)) => (Some(available.version.as_str()), available.missing_bytes, None),
        Ok(None) => (Some(asked.tracked.version.as_str()), Some(0), None),
        Err(error) => (None, None, Some(error.to_string())),
    };
    json!({
        "name": asked.tracked.model.name, "owner": asked.tracked.model.owner.name(),
        "reference": asked.tracked.reference.to_string(), "here": asked.tracked.version, "available": available,
        "missing_bytes": missing_bytes, "is_outdated": matches!(asked.changed, Ok(Some(_))), "error": error,
    })
}
