//! `lair rm`, `lair cp`: names of stored models.

use clap::Args;
use lair_store::{ModelName, Reference, Removed, Resolved, Store, StoreError};
use serde_json::json;

use crate::failure::{Failure, Outcome};
use crate::human::size_text;
use crate::locate;
use crate::weight_cache::{self, WeightCache};

/// Which models to remove.
#[derive(Args, Debug)]
pub struct RmArgs {
    /// Names of models
    #[arg(required = true)]
    models: Vec<String>,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// Which name to give to which model.
#[derive(Args, Debug)]
pub struct CpArgs {
    /// Name of a model
    source: String,
    /// The other name
    destination: String,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// Removes names, and the blobs that nothing else needs. All that can be removed is, the first error is told.
pub fn rm(args: &RmArgs) -> Outcome {
    let store = locate::store()?;
    let mut first_error = None;
    let mut removed = Vec::new();
    for text in &args.models {
        match remove(&store, text) {
            Ok(done) if args.json => removed.push(json!({
                "name": text, "freed_bytes": done.freed_bytes, "kept_count": done.kept_count,
                "digests": done.digests.iter().map(ToString::to_string).collect::<Vec<_>>(),
            })),
            Ok(done) => println!("{}", words(text, &done)),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    // What was packed from their files is of no use any more.
    let packed = WeightCache::remove_orphans(&weight_cache::usual_folder()?, false);
    let packed_bytes: u64 = packed.iter().map(|(_, size_bytes)| size_bytes).sum();
    if args.json {
        println!("{}", json!({ "models": removed, "packed_weights_freed_bytes": packed_bytes }));
    } else if !packed.is_empty() {
        println!("deleted packed weights ({} freed)", size_text(packed_bytes));
    }
    first_error.map_or(Ok(()), |error| Err(Failure::from(error)))
}

fn words(text: &str, removed: &Removed) -> String {
    let freed = size_text(removed.freed_bytes);
    let kept = match removed.kept_count {
        0 => String::new(),
        1 => ", 1 blob is still needed".to_owned(),
        count => format!(", {count} blobs are still needed"),
    };
    format!("deleted '{text}' ({freed} freed{kept})")
}

/// The name that the store keeps what the user means under: a package's is not what it was pulled as.
fn stored_name(store: &Store, text: &str) -> Result<ModelName, StoreError> {
    if let Ok(reference @ Reference::Package(_)) = Reference::parse(text)
        && let Resolved::Model(model) = store.resolve(&reference)?
        && let Some(name) = model.model_name
    {
        return Ok(name);
    }
    Ok(text.parse()?)
}

fn remove(store: &Store, text: &str) -> Result<Removed, StoreError> {
    let name = stored_name(store, text)?;
    match store.remove(&name) {
        Ok(removed) => Ok(removed),
        // Known elsewhere: whose it is helps more than that it is unknown.
        Err(error @ StoreError::UnknownModel { .. }) => {
            let listing = store.list_all().models;
            let short = name.short();
            let is_named = |own: &str| own.eq_ignore_ascii_case(text) || own.eq_ignore_ascii_case(&short);
            Err(match listing.into_iter().find(|model| is_named(&model.name)) {
                Some(model) => StoreError::NotOurs { name: model.name, owner: model.owner, root: model.root },
                None => error,
            })
        }
        Err(error) => Err(error),
    }
}

/// Gives a model a second name.
pub fn cp(args: &CpArgs) -> Outcome {
    let store = locate::store()?;
    let destination = args.destination.parse::<ModelName>().map_err(StoreError::from)?;
    store.copy(&stored_name(&store, &args.source)?, &destination)?;
    if args.json {
        println!("{}", json!({ "status": "copied", "source": args.source, "destination": args.destination }));
    } else {
        println!("copied '{}' to '{}'", args.source, args.destination);
    }
    Ok(())
}
