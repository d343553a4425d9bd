//! `lair list`: every model on this machine, whoever keeps it.

use std::collections::HashSet;
use std::io::Write;
use std::time::SystemTime;

use clap::Args;
use lair_store::{FoundModel, Owner, size_bytes_once};
use serde_json::json;

use crate::failure::Outcome;
use crate::human::{age_text, id_text, size_text, time_text};
use crate::locate;

/// Which models to list.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// Only models whose names begin like this
    prefix: Option<String>,
    /// Only models of this owner
    #[arg(long, value_parser = ["lair", "ollama", "hub", "lmstudio", "folder"])]
    owner: Option<String>,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub fn list(args: &ListArgs) -> Outcome {
    let store = locate::store()?;
    let mut listing = store.list_all();
    let prefix = args.prefix.as_deref().unwrap_or_default().to_ascii_lowercase();
    listing.models.retain(|model| model.name.to_ascii_lowercase().starts_with(&prefix));
    if let Some(owner) = &args.owner {
        listing.models.retain(|model| model.owner.name() == owner);
    }
    // What came last stands first, as Ollama lists.
    listing.models.sort_by_key(|model| (std::cmp::Reverse(model.modified), model.name.clone()));
    for problem in &listing.problems {
        eprintln!("warning: {problem}");
    }
    // A system call for each of a thousand lines would take a sixth of the time.
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if args.json {
        writeln!(out, "{:#}", as_json(&listing.models))?;
    } else {
        print_table(&mut out, &listing.models)?;
    }
    Ok(out.flush()?)
}

fn print_table(out: &mut impl Write, models: &[FoundModel]) -> std::io::Result<()> {
    let now = SystemTime::now();
    let mut rows = vec![["NAME", "ID", "SIZE", "MODIFIED", "OWNER"].map(str::to_owned)];
    for model in models {
        let id = model.id.as_ref().or_else(|| model.files.iter().find_map(|file| file.digest.as_ref()));
        rows.push([
            model.name.clone(),
            id.map_or_else(|| "-".to_owned(), id_text),
            size_text(model.size_bytes()),
            age_text(model.modified, now),
            if model.is_whole() { model.owner.to_string() } else { format!("{} (damaged)", model.owner) },
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..5).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("    ").trim_end())?;
    }
    if models.is_empty() {
        return Ok(());
    }
    let count = if models.len() == 1 { "1 model".to_owned() } else { format!("{} models", models.len()) };
    let (total, sum) = (size_bytes_once(models), models.iter().map(FoundModel::size_bytes).sum::<u64>());
    let shared = if sum > total { format!(" ({} shared between them)", size_text(sum - total)) } else { String::new() };
    writeln!(out, "\n{count}, {} on disk{shared}", size_text(total))
}

fn as_json(models: &[FoundModel]) -> serde_json::Value {
    let roots: HashSet<(Owner, String)> =
        models.iter().map(|model| (model.owner, model.root.display().to_string())).collect();
    let mut roots: Vec<_> = roots.into_iter().collect();
    roots.sort();
    let model = |model: &FoundModel| {
        json!({
            "name": model.name,
            "id": model.id.as_ref().map(id_text),
            "digest": model.id.map(|id| id.to_string()),
            "size_bytes": model.size_bytes(),
            "modified_at": model.modified.map(time_text),
            "owner": model.owner.name(),
            "files": model.files.iter().map(|file| json!({
                "path": file.path.display().to_string(),
                "role": format!("{:?}", file.role).to_lowercase(),
                "size_bytes": file.size_bytes,
                "digest": file.digest.map(|digest| digest.to_string()),
            })).collect::<Vec<_>>(),
            "damage": model.damage.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    };
    json!({
        "models": models.iter().map(model).collect::<Vec<_>>(),
        "size_bytes": size_bytes_once(models),
        "places": roots.iter().map(|(owner, root)| json!({ "owner": owner.name(), "path": root })).collect::<Vec<_>>(),
    })
}
