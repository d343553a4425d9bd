//! `lair gc`, `lair pin`, `lair unpin`: clearing the store.

use std::time::Duration;

use clap::Args;
use lair_store::{GcOptions, ModelName, StoreError};
use serde_json::json;

use crate::failure::{Failure, Outcome};
use crate::human::{parse_size, size_text};
use crate::locate;
use crate::weight_cache::{self, WeightCache};

/// What to clear.
#[derive(Args, Debug)]
pub struct GcArgs {
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Remove the models used longest ago until the rest takes no more than this (10GB, 500MiB); pinned ones stay
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    quota: Option<u64>,
    /// Remove unfinished downloads that nobody has continued for this many days
    #[arg(long, value_name = "DAYS", default_value_t = 7)]
    partials_days: u64,
    /// In a folder shared with Ollama: also remove blobs that Lair has not brought
    #[arg(long)]
    shared: bool,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// Which models to spare.
#[derive(Args, Debug)]
pub struct PinArgs {
    /// Names of models
    #[arg(required = true)]
    models: Vec<String>,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// Clears the store.
pub fn gc(args: &GcArgs) -> Outcome {
    let store = locate::store()?;
    let report = store.gc(GcOptions {
        dry_run: args.dry_run,
        quota_bytes: args.quota,
        partials_older_than: Some(Duration::from_secs(args.partials_days.saturating_mul(86_400))),
        also_shared: args.shared,
    })?;
    // Weights that were packed from a model that is gone.
    let packed = WeightCache::remove_orphans(&weight_cache::usual_folder()?, args.dry_run);
    let freed_bytes = report.freed_bytes() + packed.iter().map(|(_, size_bytes)| size_bytes).sum::<u64>();
    let leftovers = || report.leftovers.iter().chain(&packed);
    if args.json {
        println!(
            "{:#}",
            json!({
                "dry_run": args.dry_run,
                "freed_bytes": freed_bytes,
                "remaining_bytes": report.remaining_bytes,
                "models": report.evicted.iter().map(ModelName::short).collect::<Vec<_>>(),
                "blobs": report.blobs.iter().map(|(digest, _)| digest.to_string()).collect::<Vec<_>>(),
                "files": leftovers().map(|(path, _)| path.display().to_string()).collect::<Vec<_>>(),
            })
        );
    } else {
        let verb = if args.dry_run { "would delete" } else { "deleted" };
        for name in &report.evicted {
            println!("{verb} model '{}'", name.short());
        }
        for (digest, size_bytes) in &report.blobs {
            println!("{verb} {digest} ({})", size_text(*size_bytes));
        }
        for (path, size_bytes) in leftovers() {
            println!("{verb} {} ({})", path.display(), size_text(*size_bytes));
        }
        let (freed, rest) = (size_text(freed_bytes), size_text(report.remaining_bytes));
        println!("{freed} {}, models take {rest}", if args.dry_run { "would be freed" } else { "freed" });
        if report.shared.0 > 0 {
            let (count, size_bytes) = report.shared;
            println!(
                "{count} blobs ({}) are left that Ollama may still be bringing; --shared removes them",
                size_text(size_bytes)
            );
        }
    }
    match args.quota {
        Some(quota) if report.remaining_bytes > quota => {
            eprintln!("warning: what is left is pinned or belongs to Ollama, and takes more than the quota");
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Spares models from a quota.
pub fn pin(args: &PinArgs) -> Outcome {
    let store = locate::store()?;
    for text in &args.models {
        store.pin(&name(text)?)?;
        if !args.json {
            println!("pinned '{text}'");
        }
    }
    if args.json {
        println!("{}", json!({ "status": "pinned", "models": args.models }));
    }
    Ok(())
}

/// Spares them no longer.
pub fn unpin(args: &PinArgs) -> Outcome {
    let store = locate::store()?;
    let mut told = Vec::new();
    for text in &args.models {
        let was_pinned = store.unpin(&name(text)?)?;
        told.push(json!({ "name": text, "was_pinned": was_pinned }));
        if !args.json {
            println!("{} '{text}'", if was_pinned { "unpinned" } else { "was not pinned:" });
        }
    }
    if args.json {
        println!("{}", json!({ "status": "unpinned", "models": told }));
    }
    Ok(())
}

fn name(text: &str) -> Result<ModelName, Failure> {
    text.parse().map_err(|error| StoreError::Name(error).into())
}
