//! `lair import`: model files of the user's into the store, without copying their bytes where that is possible.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use lair_store::{Adopt, ModelName, Progress, StoreError};

use crate::download_bar::DownloadBar;
use crate::failure::{Failure, Outcome};
use crate::human::id_text;
use crate::locate;

/// What to import.
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// A GGUF file (the first of a split model), or a folder with one model
    path: PathBuf,
    /// The name to give it; made from the name of the file if left out
    name: Option<String>,
    /// How the bytes come into the store
    #[arg(long, value_enum, default_value_t = How::Cheapest)]
    how: How,
    /// Say nothing but the result
    #[arg(long)]
    quiet: bool,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// How the bytes come into the store.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum How {
    /// Shared copy-on-write, else a hard link, else a copy
    Cheapest,
    /// Shared copy-on-write
    Reflink,
    /// A second name of the same file: do not change it later
    Hardlink,
    /// A copy
    Copy,
}

/// Runs the command.
pub fn import(args: &ImportArgs) -> Outcome {
    let store = locate::store()?;
    let name: Option<ModelName> = match &args.name {
        Some(text) => Some(text.parse().map_err(|error| Failure::from(StoreError::Name(error)))?),
        None => None,
    };
    let how = match args.how {
        How::Cheapest => Adopt::Cheapest,
        How::Reflink => Adopt::Reflink,
        How::Hardlink => Adopt::HardLink,
        How::Copy => Adopt::Copy,
    };
    let label = args.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut bar = DownloadBar::new(&label, args.quiet || args.json || !std::io::stderr().is_terminal());
    let total_bytes = std::fs::metadata(&args.path).map_or(0, |data| data.len());
    bar.started(total_bytes, "this disk");
    let (name, id) = store.import(&args.path, name.as_ref(), how, &mut |bytes| bar.advanced(bytes))?;
    bar.finished();
    if args.json {
        println!("{}", serde_json::json!({ "status": "imported", "name": name.short(), "id": id.to_string() }));
    } else {
        println!("imported '{}' ({})", name.short(), id_text(&id));
    }
    Ok(())
}
