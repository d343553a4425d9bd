//! `lair search`: what the catalogue and the hub have, and what of it fits this machine.

use clap::Args;
use lair_sizing::fit;
use lair_store::{Entry, FoundRepository, Hub, HubQuant, Store, StoreError};
use serde_json::{Value, json};

use super::show::bytes_text;
use super::transfer_args::TransferArgs;
use crate::failure::{ExitCode, Failure, Outcome};
use crate::{human, machine};

/// What to look for.
#[derive(Args, Debug)]
pub struct SearchArgs {
    /// Words in the name of a model or its author
    #[arg(required = true)]
    words: Vec<String>,
    /// At most so many repositories of the hub
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    limit: usize,
    /// Only models and quantizations that fit this machine's memory, with the memory they need
    #[arg(long)]
    fits: bool,
    /// With --fits: this much memory in place of what is available now, for example 16GB
    #[arg(long, value_name = "SIZE", value_parser = human::parse_size, requires = "fits")]
    memory: Option<u64>,
    #[command(flatten)]
    pub transfer: TransferArgs,
}

/// The hub answers no more at once.
const LIMIT_MAX: usize = 100;
/// Fewer letters than this mean everything.
const STEM_LENGTH_MIN: usize = 3;

/// A repository of the hub.
struct Found {
    repository: FoundRepository,
    /// With `--fits`, its models that fit.
    fitting: Option<Vec<HubQuant>>,
}

/// Runs the command.
pub fn search(args: &SearchArgs) -> Outcome {
    let store = args.transfer.store()?;
    let available = if args.fits { Some(available_bytes(args.memory)?) } else { None };
    let is_meant = |entry: &&Entry| {
        let text = format!("{} {} {}", entry.name, entry.aliases.join(" "), entry.description).to_lowercase();
        args.words.iter().all(|word| text.contains(&word.to_lowercase()))
    };
    let entries: Vec<&Entry> = store.catalogue().entries().iter().filter(is_meant).collect();
    let fits = |size_bytes: u64| available.is_none_or(|available| fit::comfortable_bytes(size_bytes) <= available);
    let fitting: Vec<&Entry> = entries.iter().copied().filter(|entry| fits(entry.size_bytes)).collect();
    let mut known_count = entries.len();
    let words = args.words.join(" ");
    let asked =
        Hub::new(store.settings()).and_then(|hub| Ok((hub.search(&words, args.limit.clamp(1, LIMIT_MAX))?, hub)));
    let (found, near) = match asked {
        // Without the hub the catalogue still has an answer, if it has one.
        Err(error) if !entries.is_empty() => {
            eprintln!("the hub could not be asked: {error}");
            (Vec::new(), Vec::new())
        }
        Err(error) => return Err(StoreError::from(error).into()),
        Ok((found, hub)) => {
            known_count += found.len();
            let near =
                if found.is_empty() && entries.is_empty() { near_names(&store, &hub, &words) } else { Vec::new() };
            (found.into_iter().filter_map(|repository| sized(&hub, repository, available, &fits)).collect(), near)
        }
    };
    if args.transfer.json {
        println!("{}", describe(&fitting, &found, &near, available));
    } else if fitting.is_empty() && found.is_empty() {
        say_nothing(known_count > 0, &near, available);
    } else {
        print(&fitting, &found, available);
    }
    Ok(())
}

/// The memory that a model may take.
fn available_bytes(given: Option<u64>) -> Result<u64, Failure> {
    given.or_else(machine::available_memory_bytes).ok_or_else(|| {
        Failure::new(ExitCode::Usage, "this system does not say how much memory is available")
            .with_hint("say it with --memory, for example --memory 16GB".to_owned())
    })
}

/// A repository with its models that fit; nothing if none does. Who cannot be asked about its files is told.
fn sized(hub: &Hub, repository: FoundRepository, available: Option<u64>, fits: &impl Fn(u64) -> bool) -> Option<Found> {
    if available.is_none() {
        return Some(Found { repository, fitting: None });
    }
    match hub.quants(&repository.id) {
        Ok(mut quants) => {
            quants.retain(|quant| fits(quant.size_bytes));
            (!quants.is_empty()).then_some(Found { repository, fitting: Some(quants) })
        }
        Err(error) => {
            eprintln!("hf.co/{}: {error}", repository.id);
            None
        }
    }
}

/// Names that look like what was written: of the catalogue, and what the hub has for the letters it begins with.
fn near_names(store: &Store, hub: &Hub, words: &str) -> Vec<String> {
    let first = words.split_whitespace().next().unwrap_or_default();
    let mut near = store.catalogue().near(first);
    let stem: String = first.chars().take_while(|letter| letter.is_alphabetic()).collect();
    if stem.len() >= STEM_LENGTH_MIN && stem != words {
        // Only advice: what the hub does not say is not missed.
        let found = hub.search(&stem, 3).unwrap_or_default();
        near.extend(found.into_iter().map(|repository| format!("hf.co/{}", repository.id)));
    }
    near
}

/// `has_others`: something was found, and is too large.
fn say_nothing(has_others: bool, near: &[String], available: Option<u64>) {
    match available {
        Some(available) if has_others => {
            println!("nothing found that fits {} of memory", bytes_text(available));
        }
        _ => println!("nothing found"),
    }
    if !near.is_empty() {
        println!("did you mean {}?", near.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "));
    }
}

fn print(entries: &[&Entry], found: &[Found], available: Option<u64>) {
    let mut rows = Vec::new();
    let needs = |size_bytes: u64| bytes_text(fit::comfortable_bytes(size_bytes));
    for entry in entries {
        let notes = format!("{}; {}", entry.description, entry.licence);
        let size = bytes_text(entry.size_bytes);
        rows.push([entry.name.clone(), size, needs(entry.size_bytes), String::new(), String::new(), notes]);
    }
    for Found { repository, fitting } in found {
        let name = format!("hf.co/{}", repository.id);
        let updated: String = repository.last_modified.as_deref().unwrap_or_default().chars().take(10).collect();
        let notes = if is_gated(repository) { "asks for conditions to be accepted" } else { "" };
        let row = |name: String, size: String, needs: String| {
            [name, size, needs, repository.downloads.to_string(), updated.clone(), notes.to_owned()]
        };
        match fitting {
            None => rows.push(row(name, String::new(), String::new())),
            Some(quants) => rows.extend(quants.iter().map(|quant| {
                row(format!("{name}:{}", quant.part), bytes_text(quant.size_bytes), needs(quant.size_bytes))
            })),
        }
    }
    let width = rows.iter().map(|row| row[0].len()).max().unwrap_or(0).max("NAME".len());
    let line = |[name, size, needs, downloads, updated, notes]: &[String; 6]| {
        let needs = if available.is_some() { format!("  {needs:>10}") } else { String::new() };
        let line = format!("{name:width$}  {size:>10}{needs}  {downloads:>9}  {updated:10}  {notes}");
        println!("{}", line.trim_end());
    };
    line(&["NAME", "SIZE", "NEEDS", "DOWNLOADS", "UPDATED", "NOTES"].map(str::to_owned));
    rows.iter().for_each(line);
}

fn is_gated(repository: &FoundRepository) -> bool {
    !matches!(repository.gated, Value::Null | Value::Bool(false))
}

fn describe(entries: &[&Entry], found: &[Found], near: &[String], available: Option<u64>) -> Value {
    let catalogue = entries.iter().map(|entry| {
        json!({
            "name": entry.name, "description": entry.description, "licence": entry.licence,
            "size_bytes": entry.size_bytes, "needs_bytes": fit::comfortable_bytes(entry.size_bytes),
        })
    });
    let hub = found.iter().map(|Found { repository, fitting }| {
        let name = format!("hf.co/{}", repository.id);
        let mut value = json!({
            "name": name, "downloads": repository.downloads, "likes": repository.likes,
            "last_modified": repository.last_modified, "is_gated": is_gated(repository),
        });
        if let Some(quants) = fitting {
            let quant = |quant: &HubQuant| {
                let needs_bytes = fit::comfortable_bytes(quant.size_bytes);
                json!({ "name": format!("{name}:{}", quant.part), "size_bytes": quant.size_bytes, "needs_bytes": needs_bytes })
            };
            value["fitting"] = quants.iter().map(quant).collect();
        }
        value
    });
    json!({
        "catalogue": catalogue.collect::<Vec<_>>(), "hub": hub.collect::<Vec<_>>(), "near": near,
        "available_bytes": available,
    })
}
