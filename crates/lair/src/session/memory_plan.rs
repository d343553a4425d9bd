//! How much of the memory a model's contexts get: one conversation's, or those of all sequences that a server computes
//! together.

use lair_compute::PAGE_LENGTH;

use super::LoadOptions;
use super::load::plan_context;
use crate::commands::show::bytes_text;
use crate::failure::{ExitCode, Failure};

/// Slots of recurrent state: the running conversation, and checkpoints of it to come back to.
const STATE_SLOTS: usize = 8;
/// Part of the memory left after weights and recurrent state that contexts computed together may take without being asked
/// to: others want to run too, and pages fill with prompts that may never come again.
const PARALLEL_SHARE: f64 = 0.25;
/// Part of the memory left after the weights that checkpoints of recurrent state may take.
const CHECKPOINT_SHARE: f64 = 0.25;

/// A context below this is not what a model was loaded for, unless the memory has no room for more.
const USEFUL_CONTEXT_LENGTH: usize = 4096;

/// What the parts of a model take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    /// Tokens that the model's author allows.
    pub model_length: usize,
    /// Bytes of a page, over all layers.
    pub page_bytes: u64,
    /// Bytes of a slot of recurrent state; 0 without recurrent layers.
    pub state_slot_bytes: u64,
}

/// What a model gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MemoryPlan {
    /// Tokens that a sequence may have.
    pub context_length: usize,
    /// Pages of all sequences.
    pub page_count: usize,
    /// Slots of recurrent state.
    pub state_slot_count: usize,
}

/// Plans with so many bytes `left` after the weights; with all that is wanted if the system does not say.
///
/// # Errors
/// With numbers, if what was asked for does not fit.
pub(super) fn plan(options: &LoadOptions, needs: Needs, left: Option<u64>) -> Result<MemoryPlan, Failure> {
    let state_slot_count = plan_states(options, needs.state_slot_bytes, left)?;
    let states = state_slot_count as u64 * needs.state_slot_bytes;
    let left = left.map(|left| left.saturating_sub(states));
    let asked = options.serving.as_ref().and_then(|serving| serving.kv_bytes);
    if let (Some(asked), Some(left)) = (asked, left)
        && asked > left
    {
        let cause = format!(
            "{} for keys and values are asked for, {} of memory are left after the weights",
            bytes_text(asked),
            bytes_text(left)
        );
        return Err(Failure::new(ExitCode::DoesNotFit, cause).with_hint(format!("use --kv-memory {left} or less")));
    }
    // What is asked for may be used up, so no part of it is kept back.
    let context_length = match (asked, options.context_length) {
        (Some(asked), None) => plan_context(
            Some(held(asked, needs).clamp(1, needs.model_length)),
            usize::MAX,
            needs.page_bytes,
            Some(asked),
        )?,
        (asked, wanted) => plan_context(wanted, needs.model_length, needs.page_bytes, asked.or(left))?,
    };
    check_context_beside_others(options, context_length, needs)?;
    let memory_length = match (options.memory_length, &options.serving) {
        (Some(length), _) => plan_context(Some(length.max(context_length)), length, needs.page_bytes, left)?,
        (None, None) => context_length,
        (None, Some(_)) => {
            let all = context_length.saturating_mul(options.sequences_max);
            let share = left.map(|left| (left as f64 * PARALLEL_SHARE) as u64);
            let budget = asked.or(share).map_or(usize::MAX, |bytes| held(bytes, needs));
            all.min(budget).max(context_length)
        }
    };
    Ok(MemoryPlan { context_length, page_count: memory_length.div_ceil(PAGE_LENGTH), state_slot_count })
}

/// Refuses a context that is short only because of other models: a server then unloads those that are idle.
fn check_context_beside_others(options: &LoadOptions, context_length: usize, needs: Needs) -> Result<(), Failure> {
    let others = options.serving.as_ref().is_some_and(|serving| !serving.ledger.is_empty());
    let useful = needs.model_length.min(USEFUL_CONTEXT_LENGTH);
    if !others || options.context_length.is_some() || context_length >= useful {
        return Ok(());
    }
    let cause = format!(
        "beside the models that are loaded, memory is left for a context of {context_length} tokens, {useful} are wanted"
    );
    let hint = "unload another model, or set a shorter --context-length".to_owned();
    Err(Failure::new(ExitCode::DoesNotFit, cause).with_hint(hint))
}

/// Tokens whose keys and values take so many bytes.
fn held(bytes: u64, needs: Needs) -> usize {
    (bytes / needs.page_bytes.max(1)) as usize * PAGE_LENGTH
}

/// A slot for each sequence, and as many checkpoints as are of use and fit.
fn plan_states(options: &LoadOptions, slot_bytes: u64, left: Option<u64>) -> Result<usize, Failure> {
    let sequences = options.sequences_max;
    let wanted = STATE_SLOTS.max(2 * sequences);
    let Some(left) = left.filter(|_| slot_bytes > 0) else { return Ok(wanted) };
    let needed = sequences as u64 * slot_bytes;
    if needed > left / 2 {
        let cause = format!(
            "the recurrent state of {sequences} sequences takes {}, {} of memory are left after the weights",
            bytes_text(needed),
            bytes_text(left)
        );
        let most = (left / 2 / slot_bytes).max(1);
        return Err(Failure::new(ExitCode::DoesNotFit, cause).with_hint(format!("use --parallel {most} or less")));
    }
    let checkpoints = (left as f64 * CHECKPOINT_SHARE / slot_bytes as f64) as usize;
    Ok(wanted.min(sequences + checkpoints))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::memory_ledger::MemoryLedger;
    use crate::serving::Serving;

    const NEEDS: Needs = Needs { model_length: 8192, page_bytes: 1000, state_slot_bytes: 0 };

    fn serving(sequences_max: usize, kv_bytes: Option<u64>) -> LoadOptions {
        let serving = Serving {
            ledger: MemoryLedger::new(None),
            kv_bytes,
            queue_max: 1,
            step_time_max: Duration::ZERO,
            prompt_cache: None,
            saves_slots: false,
        };
        LoadOptions { serving: Some(serving), sequences_max, ..LoadOptions::default() }
    }

    fn pages(options: &LoadOptions, left: Option<u64>) -> Result<(usize, usize), ExitCode> {
        let planned = plan(options, NEEDS, left).map_err(|failure| failure.code)?;
        Ok((planned.context_length, planned.page_count))
    }

    #[test]
    fn sequences_that_are_computed_together_have_room_together() {
        assert_eq!(pages(&LoadOptions::default(), Some(1 << 30)), Ok((8192, 512)));
        // All of them, where that is little.
        assert_eq!(pages(&serving(16, None), None), Ok((8192, 16 * 512)));
        assert_eq!(pages(&serving(16, None), Some(1 << 30)), Ok((8192, 16 * 512)));
        // Else a share, at least a whole context.
        assert_eq!(pages(&serving(16, None), Some(12_000_000)), Ok((8192, 3000)));
        assert_eq!(pages(&serving(16, None), Some(1_000_000)), Ok((8192, 512)));
        assert_eq!(pages(&serving(16, None), Some(100_000)), Ok((75 * 16, 75)));
    }

    #[test]
    fn a_context_is_not_cut_for_the_sake_of_other_models() {
        let options = serving(1, None);
        assert_eq!(pages(&options, Some(100_000)), Ok((1200, 75)));
        let ledger = &options.serving.as_ref().expect("it serves").ledger;
        let other = ledger.promise(1);
        assert_eq!(pages(&options, Some(100_000)), Err(ExitCode::DoesNotFit));
        let short = LoadOptions { context_length: Some(1000), ..options.clone() };
        assert_eq!(pages(&short, Some(100_000)), Ok((1000, 63)));
        drop(other);
        assert_eq!(pages(&options, Some(100_000)), Ok((1200, 75)));
    }

    #[test]
    fn memory_that_is_asked_for_is_used_or_refused() {
        assert_eq!(pages(&serving(16, Some(2_000_000)), Some(12_000_000)), Ok((8192, 2000)));
        assert_eq!(pages(&serving(16, Some(100_000)), Some(12_000_000)), Ok((1600, 100)));
        assert_eq!(pages(&serving(1, Some(2_000_000)), None), Ok((8192, 512)));
        assert_eq!(pages(&serving(16, Some(2_000_000)), Some(1_000_000)), Err(ExitCode::DoesNotFit));
        let longer = LoadOptions { context_length: Some(4096), ..serving(16, Some(100_000)) };
        assert_eq!(pages(&longer, Some(12_000_000)), Err(ExitCode::DoesNotFit));
        assert_eq!(pages(&serving(16, Some(10)), Some(12_000_000)), Err(ExitCode::DoesNotFit));
    }

    #[test]
    fn recurrent_state_is_reckoned_with() {
        let needs = Needs { state_slot_bytes: 1_000_000, ..NEEDS };
        let planned = |left| plan(&serving(16, None), needs, left).map(|plan| plan.state_slot_count);
        assert_eq!(planned(None).ok(), Some(32));
        assert_eq!(planned(Some(1 << 30)).ok(), Some(32));
        assert_eq!(planned(Some(40_000_000)).ok(), Some(26));
        let refused = planned(Some(20_000_000)).expect_err("it does not fit");
        assert_eq!(refused.hint.as_deref(), Some("use --parallel 10 or less"));
    }
}
