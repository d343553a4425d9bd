//! `lair search`: what the catalogue and the hub have.

use clap::Args;
use lair_store::{Entry, FoundRepository, Hub, StoreError};
use serde_json::json;

use super::show::bytes_text;
use super::transfer_args::TransferArgs;
use crate::failure::Outcome;

/// What to look for.
#[derive(Args, Debug)]
pub struct SearchArgs {
    /// Words in the name of a model or its author
    #[arg(required = true)]
    words: Vec<String>,
    /// At most so many of the hub
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    limit: usize,
    #[command(flatten)]
    pub transfer: TransferArgs,
}

/// The hub answers no more at once.
const LIMIT_MAX: usize = 100;

/// Runs the command.
pub fn search(args: &SearchArgs) -> Outcome {
    let store = args.transfer.store()?;
    let words = args.words.join(" ");
    let is_meant = |entry: &&Entry| {
        let text = format!("{} {} {}", entry.name, entry.aliases.join(" "), entry.description).to_lowercase();
        args.words.iter().all(|word| text.contains(&word.to_lowercase()))
    };
    let entries: Vec<&Entry> = store.catalogue().entries().iter().filter(is_meant).collect();
    let found = Hub::new(store.settings()).and_then(|hub| hub.search(&words, args.limit.clamp(1, LIMIT_MAX)));
    // Without the hub the catalogue still has an answer, if it has one.
    let found = match found {
        Err(error) if !entries.is_empty() => {
            eprintln!("the hub could not be asked: {error}");
            Vec::new()
        }
        found => found.map_err(StoreError::from)?,
    };
    if args.transfer.json {
        println!("{}", describe(&entries, &found));
    } else {
        print(&entries, &found);
    }
    Ok(())
}

fn print(entries: &[&Entry], found: &[FoundRepository]) {
    if entries.is_empty() && found.is_empty() {
        println!("nothing found");
        return;
    }
    let name_of = |repository: &FoundRepository| format!("hf.co/{}", repository.id);
    let names = entries.iter().map(|entry| entry.name.len()).chain(found.iter().map(|found| name_of(found).len()));
    let width = names.max().unwrap_or(0).max("NAME".len());
    println!("{:width$}  {:>10}  {:>9}  {:10}  NOTES", "NAME", "SIZE", "DOWNLOADS", "UPDATED");
    for entry in entries {
        let size = bytes_text(entry.size_bytes);
        println!("{:width$}  {size:>10}  {:>9}  {:10}  {}; {}", entry.name, "", "", entry.description, entry.licence);
    }
    for repository in found {
        let updated: String = repository.last_modified.as_deref().unwrap_or_default().chars().take(10).collect();
        let notes = if is_gated(repository) { "asks for conditions to be accepted" } else { "" };
        let line =
            format!("{:width$}  {:>10}  {:>9}  {updated:10}  {notes}", name_of(repository), "", repository.downloads);
        println!("{}", line.trim_end());
    }
}

fn is_gated(repository: &FoundRepository) -> bool {
    !matches!(repository.gated, serde_json::Value::Null | serde_json::Value::Bool(false))
}

fn describe(entries: &[&Entry], found: &[FoundRepository]) -> serde_json::Value {
    let catalogue = entries.iter().map(|entry| {
        json!({
            "name": entry.name, "description": entry.description, "licence": entry.licence,
            "size_bytes": entry.size_bytes,
        })
    });
    let hub = found.iter().map(|repository| {
        json!({
            "name": format!("hf.co/{}", repository.id), "downloads": repository.downloads, "likes": repository.likes,
            "last_modified": repository.last_modified, "is_gated": is_gated(repository),
        })
    });
    json!({ "catalogue": catalogue.collect::<Vec<_>>(), "hub": hub.collect::<Vec<_>>() })
}
