//! `lair push`: gives a model to a registry.

use clap::Args;
use lair_store::{ModelName, StoreError};
use serde_json::json;

use super::transfer_args::TransferArgs;
use crate::download_bar::DownloadBar;
use crate::failure::Outcome;

/// What to push.
#[derive(Args, Debug)]
pub struct PushArgs {
    /// USER/MODEL[:TAG] or HOST/USER/MODEL[:TAG], as `lair list` shows it
    model: String,
    #[command(flatten)]
    pub transfer: TransferArgs,
}

/// Runs the command.
pub fn push(args: &PushArgs) -> Outcome {
    let store = args.transfer.store()?;
    let name: ModelName = args.model.parse().map_err(StoreError::Name)?;
    let mut bar = DownloadBar::transfer("pushing", args.transfer.json);
    let pushed = store.push(&name, &mut bar)?;
    if args.transfer.json {
        println!(
            "{}",
            json!({
                "status": "pushed", "name": name.short(), "id": pushed.id.map(|id| id.to_string()),
                "sent_count": pushed.sent_count, "present_count": pushed.present_count,
                "mounted_count": pushed.mounted_count,
            })
        );
    }
    Ok(())
}
