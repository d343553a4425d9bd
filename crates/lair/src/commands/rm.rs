//! `lair rm`, `lair cp`: names of stored models.

use clap::Args;
use lair_store::{ModelName, Store, StoreError};

use crate::failure::{Failure, Outcome};
use crate::human::size_text;
use crate::locate;

/// Which models to remove.
#[derive(Args, Debug)]
pub struct RmArgs {
    /// Names of models
    #[arg(required = true)]
    models: Vec<String>,
}

/// Which name to give to which model.
#[derive(Args, Debug)]
pub struct CpArgs {
    /// Name of a model
    source: String,
    /// The other name
    destination: String,
}

/// Removes names, and the blobs that nothing else needs. All that can be removed is, the first error is told.
pub fn rm(args: &RmArgs) -> Outcome {
    let store = locate::store()?;
    let mut first_error = None;
    for text in &args.models {
        match remove(&store, text) {
            Ok(line) => println!("{line}"),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    first_error.map_or(Ok(()), |error| Err(Failure::from(error)))
}

fn remove(store: &Store, text: &str) -> Result<String, StoreError> {
    let name: ModelName = text.parse()?;
    match store.remove(&name) {
        Ok(removed) => {
            let freed = size_text(removed.freed_bytes);
            let kept = match removed.kept_count {
                0 => String::new(),
                1 => ", 1 blob is still needed".to_owned(),
                count => format!(", {count} blobs are still needed"),
            };
            Ok(format!("deleted '{text}' ({freed} freed{kept})"))
        }
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
    let name = |text: &str| text.parse::<ModelName>().map_err(|error| Failure::from(StoreError::from(error)));
    store.copy(&name(&args.source)?, &name(&args.destination)?)?;
    println!("copied '{}' to '{}'", args.source, args.destination);
    Ok(())
}
