//! A model that does not fit is refused with the estimator's table: what it would take, and what would fit.

use lair_sizing::MemoryNeeds;
use lair_sizing::fit::RESERVE_BYTES;

use super::{Wishes, subjects};
use crate::commands::show::bytes_text;
use crate::failure::{ExitCode, Failure};
use crate::locate::Located;
use crate::session::LoadOptions;
use crate::{machine, weights};

/// The failure with the table in its details, if it is about memory; any other as it is.
pub fn with_table(failure: Failure, located: &Located, options: &LoadOptions) -> Failure {
    if failure.code != ExitCode::DoesNotFit {
        return failure;
    }
    let subject = weights::open(&located.path).and_then(|file| subjects::of_file(&file));
    // What cannot be estimated is refused all the same.
    let Ok(subject) = subject else { return failure };
    let wishes = Wishes { context_length: options.context_length, kv: options.kv, ..Wishes::default() };
    let wanted = wishes.use_of(&subject);
    let context_length = wanted.context_length.min(subject.context_length);
    let memory = MemoryNeeds::of(&subject, &wanted, context_length);
    let mut details = failure.details.clone();
    for (name, size_bytes) in [
        ("weights".to_owned(), memory.weights_bytes),
        (format!("keys and values of {context_length} positions"), memory.kv_bytes),
        ("recurrent state".to_owned(), memory.state_bytes),
        ("buffers".to_owned(), memory.step_bytes),
        ("vocabulary and program".to_owned(), memory.other_bytes),
        ("in all".to_owned(), memory.total_bytes()),
    ] {
        if size_bytes > 0 {
            details.push(format!("{name}: {}", bytes_text(size_bytes)));
        }
    }
    let available = machine::available_memory_bytes();
    let ledger = options.serving.as_ref().map(|serving| &serving.ledger);
    if let Some(available) = ledger.map_or(available, |ledger| ledger.left(available)) {
        let room = available.saturating_sub(RESERVE_BYTES);
        let longest = MemoryNeeds::longest_context(&subject, &wanted, room);
        details.push(format!("there are {}, less a reserve of {}", bytes_text(available), bytes_text(RESERVE_BYTES)));
        details.push(match longest {
            0 => "no context fits beside the weights".to_owned(),
            _ => format!("the longest context that fits has {longest} positions"),
        });
    }
    Failure { details, ..failure }
}
