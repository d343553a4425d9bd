//! What `lair serve` asks of models beyond what one conversation does: room for many, and a cache of prompts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::failure::{ExitCode, Failure};
use crate::human::parse_size;
use crate::locate;
use crate::machine;
use crate::memory_ledger::MemoryLedger;
use crate::prompt_cache::PromptCache;

/// How long a step of prompts may hold up the next token of others: about what a reader notices.
const STEP_TIME_MAX: Duration = Duration::from_millis(150);
/// Requests that wait for a place if nothing else is said; Ollama's number.
const QUEUE_MAX: u16 = 512;
/// Files that are open besides connections.
const OTHER_FILES: usize = 64;
/// What the prompt cache may take if nothing else is said.
const PROMPT_CACHE_BYTES: &str = "8GB";

/// Memory, queue and prompt cache of a server.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Load")]
pub struct ServingArgs {
    /// Requests that wait when as many are computed as --parallel says; one more is answered with 503
    #[arg(long, value_name = "COUNT", default_value_t = QUEUE_MAX)]
    max_queue: u16,
    /// Connections at a time; one more is answered with 503
    #[arg(long, value_name = "COUNT", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=65536))]
    max_connections: u32,
    /// Memory that all models may take together, with what their contexts may come to take: 12GB [default: what is
    /// available when the server starts]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_memory: Option<u64>,
    /// Memory for the keys and values of each model: 4GB [default: a quarter of what is left after the weights, at least
    /// one context, at most --parallel contexts]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    kv_memory: Option<u64>,
    /// Keep computed prompts on disk and use them again, after a restart too: a folder, `on` for the usual one, or `off`.
    /// What was asked can be guessed from the files, which only you can read [default: off]
    #[arg(long, value_name = "FOLDER")]
    prompt_cache: Option<String>,
    /// Disk space for the prompt cache; what was not used for longest goes
    #[arg(long, value_name = "SIZE", default_value = PROMPT_CACHE_BYTES, value_parser = parse_size)]
    prompt_cache_bytes: u64,
    /// A folder in which clients may save computed prompts under names of their own (`POST /slots/N?action=save`)
    #[arg(long, value_name = "FOLDER")]
    slot_save_path: Option<PathBuf>,
}

/// The same for whoever loads models.
#[derive(Clone, Debug)]
pub struct Serving {
    /// What all models share.
    pub ledger: Arc<MemoryLedger>,
    /// Bytes for keys and values of a model, if they were asked for.
    pub kv_bytes: Option<u64>,
    /// Requests that wait.
    pub queue_max: usize,
    /// How long a step of prompts may take.
    pub step_time_max: Duration,
    /// Where computed prompts are kept.
    pub prompt_cache: Option<Arc<PromptCache>>,
    /// Whether clients may save computed prompts.
    pub saves_slots: bool,
}

impl ServingArgs {
    /// Opens the prompt cache, if one is wanted, and counts memory from now on.
    ///
    /// # Errors
    /// If the cache cannot be used.
    pub fn serving(&self) -> Result<Serving, Failure> {
        let prompt_cache = match self.prompt_cache.as_deref() {
            None | Some("off" | "0" | "false") => None,
            Some(folder) => Some(self.open_prompt_cache(folder)?),
        };
        Ok(Serving {
            ledger: MemoryLedger::new(self.max_memory.or_else(machine::available_memory_bytes)),
            kv_bytes: self.kv_memory,
            queue_max: usize::from(self.max_queue),
            step_time_max: STEP_TIME_MAX,
            prompt_cache,
            saves_slots: self.slot_save_path.is_some(),
        })
    }

    /// Where clients save computed prompts, if they may.
    pub fn slot_save_path(&self) -> Option<PathBuf> {
        self.slot_save_path.clone()
    }

    /// Connections at a time: no more than files can be open besides those of models and caches.
    pub fn connections_max(&self) -> usize {
        let files_max = machine::open_files_max().map_or(usize::MAX, |count| count.saturating_sub(OTHER_FILES));
        (self.max_connections as usize).min(files_max.max(1))
    }

    fn open_prompt_cache(&self, folder: &str) -> Result<Arc<PromptCache>, Failure> {
        let folder = match folder {
            "on" | "1" | "true" => locate::store()?.settings().root.join("prompt-cache"),
            folder => PathBuf::from(folder),
        };
        PromptCache::open(&folder, self.prompt_cache_bytes).map(Arc::new).map_err(|error| {
            let cause = format!("the prompt cache {} cannot be used: {error}", folder.display());
            Failure::new(ExitCode::Other, cause).with_hint("name another folder with --prompt-cache".to_owned())
        })
    }
}
