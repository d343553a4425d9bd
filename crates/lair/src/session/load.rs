//! From a file to an engine: what fits, and how large the context can be.

use std::sync::Arc;

use lair_compute::KvElement;
use lair_compute::cpu::{ActivationType, Cpu};
use lair_engine::{Engine, EngineError, EngineOptions, MemoryOptions, ModelRunner, Speculation};
use lair_gguf::GgufFile;
use lair_model::Model;

use super::{LoadOptions, model_failure};
use crate::commands::show::bytes_text;
use crate::failure::{ExitCode, Failure};
use crate::speculate::LoadedDraft;

/// Rows a step may have. A prompt is computed in pieces of this length; longer ones use caches no better.
pub const ROWS_MAX: usize = 512;
/// Slots of recurrent state: the running conversation, and checkpoints of it to come back to.
const STATE_SLOTS: usize = 8;
/// Part of the memory that is left after the weights which keys and values may take without being asked to.
const CONTEXT_SHARE: f64 = 0.75;
/// Memory that is left to the rest of the system and of the program.
const RESERVE_BYTES: u64 = 256 << 20;

/// What [`load_model`] makes.
pub(super) struct Loaded {
    pub engine: Engine<ModelRunner<Cpu>>,
    pub context_length: usize,
    pub model_context_length: usize,
    pub kv_token_bytes: f64,
}

/// What the activations of a model are multiplied as, if nothing else is asked for. A file that does not say how wide
/// the model is will be refused when it is loaded.
pub(crate) fn activations_of(file: &GgufFile) -> ActivationType {
    let key = file.architecture().map(|architecture| format!("{architecture}.embedding_length"));
    let hidden_size = key.ok().and_then(|key| file.metadata().optional::<u32>(&key).ok().flatten());
    hidden_size.map_or_else(ActivationType::default, |size| ActivationType::for_hidden_size(size as usize))
}

/// Loads the weights and makes an engine with as large a context as was asked for, or as fits.
pub(super) fn load_model(
    file: &GgufFile,
    backend: Cpu,
    draft: Option<LoadedDraft>,
    options: &LoadOptions,
    available: Option<u64>,
) -> Result<Loaded, Failure> {
    let model_options = lair_model::LoadOptions { context_length: options.context_length };
    let model = Model::load(file, &backend, model_options).map_err(model_failure)?;
    if !model.has_logits() {
        return load_encoder(model, backend, file.size_bytes() + RESERVE_BYTES, options, available);
    }
    let element = options.kv.element();
    let draft_page_bytes = draft.as_ref().map_or(0, |draft| draft.model.kv_layout(element, 1).page_bytes());
    let page_bytes = (model.kv_layout(element, 1).page_bytes() + draft_page_bytes) as u64;
    let left = available.map(|bytes| bytes.saturating_sub(file.size_bytes() + RESERVE_BYTES));
    let context_length = plan_context(options.context_length, model.context_length(), page_bytes, left)?;
    let memory_length = match options.memory_length {
        Some(length) => plan_context(Some(length.max(context_length)), length, page_bytes, left)?,
        None => context_length,
    };
    let memory = MemoryOptions {
        kv_element: element,
        page_count: memory_length.div_ceil(lair_compute::PAGE_LENGTH),
        state_slot_count: STATE_SLOTS.max(2 * options.sequences_max),
        rows_max: ROWS_MAX,
    };
    let model_context_length = model.context_length();
    let runner = ModelRunner::new(Arc::new(model), backend, context_length, memory)
        .map_err(|error| Failure::new(ExitCode::DoesNotFit, error))?;
    let engine_options = EngineOptions {
        context_length,
        rows_max: ROWS_MAX,
        prefill_rows_while_decoding: ROWS_MAX,
        sequences_max: options.sequences_max,
        prefix_cache: options.prefix_cache,
        speculation: options.speculation,
        ..EngineOptions::default()
    };
    let mut engine = Engine::new(runner, engine_options).map_err(engine_failure)?;
    if let Some(LoadedDraft { model, backend, options, .. }) = draft {
        let context_length = context_length.min(model.context_length());
        let runner = ModelRunner::new(model, backend, context_length, memory)
            .map_err(|error| Failure::new(ExitCode::DoesNotFit, error))?;
        engine = engine.with_draft(Box::new(runner), options).map_err(engine_failure)?;
    }
    let kv_token_bytes = page_bytes as f64 / lair_compute::PAGE_LENGTH as f64;
    Ok(Loaded { engine, context_length, model_context_length, kv_token_bytes })
}

/// An engine for a model that gives hidden states only. A text is computed in one step, so the longest one decides how
/// large a step is; its keys and values are of no use afterwards.
fn load_encoder(
    model: Model<Cpu>,
    backend: Cpu,
    taken: u64,
    options: &LoadOptions,
    available: Option<u64>,
) -> Result<Loaded, Failure> {
    let config = model.config();
    let page_length = lair_compute::PAGE_LENGTH;
    // Twice the pages that a full step of long texts needs: the last page of each short one is partly empty.
    let kv_bytes = 2 * model.kv_layout(KvElement::F32, 1).page_bytes() / page_length;
    // What a row of a step takes: some ten buffers as wide as the model, and those of the feed-forward network.
    let ffn_size = config.ffn_sizes.iter().copied().max().unwrap_or(0);
    let position_bytes = (kv_bytes + 4 * (12 * config.hidden_size + 3 * ffn_size)) as u64;
    let wanted = options.context_length.map(|length| length.min(model.context_length()));
    let left = available.map(|bytes| bytes.saturating_sub(taken));
    let page_bytes = position_bytes * page_length as u64;
    let context_length = plan_context(wanted, model.context_length(), page_bytes, left)?;
    let rows_max = context_length.max(ROWS_MAX);
    let model_context_length = model.context_length();
    let memory = MemoryOptions {
        kv_element: KvElement::F32,
        page_count: 2 * rows_max.div_ceil(page_length),
        state_slot_count: 0,
        rows_max,
    };
    let runner = ModelRunner::new(Arc::new(model), backend, context_length, memory)
        .map_err(|error| Failure::new(ExitCode::DoesNotFit, error))?;
    let engine_options = EngineOptions {
        context_length,
        rows_max,
        prefill_rows_while_decoding: rows_max,
        sequences_max: 1,
        prefix_cache: false,
        speculation: Speculation::Off,
        ..EngineOptions::default()
    };
    let engine = Engine::new(runner, engine_options).map_err(engine_failure)?;
    Ok(Loaded { engine, context_length, model_context_length, kv_token_bytes: position_bytes as f64 })
}

/// Refuses a model whose weights alone are larger than the memory there is.
pub(super) fn check_weights_fit(file: &GgufFile, available: Option<u64>) -> Result<(), Failure> {
    let needed = file.size_bytes() + RESERVE_BYTES;
    match available {
        Some(available) if available < needed => Err(Failure::new(
            ExitCode::DoesNotFit,
            format!("the model needs {} of memory, {} are available", bytes_text(needed), bytes_text(available)),
        )
        .with_hint("close other programs, or use a smaller model or a smaller quantization of it".to_owned())),
        _ => Ok(()),
    }
}

/// How long sequences can be: what was asked for if it fits, else as much as model and memory allow.
fn plan_context(
    wanted: Option<usize>,
    model_length: usize,
    page_bytes: u64,
    left: Option<u64>,
) -> Result<usize, Failure> {
    let page_length = lair_compute::PAGE_LENGTH;
    let fitting = |bytes: u64| (bytes / page_bytes.max(1)) as usize * page_length;
    if let Some(wanted) = wanted {
        if wanted == 0 {
            return Err(Failure::new(ExitCode::Usage, "--context-length is 0, at least 1 expected"));
        }
        let most = left.map_or(usize::MAX, fitting);
        if wanted > most {
            return Err(Failure::new(
                ExitCode::DoesNotFit,
                format!("a context of {wanted} tokens is asked for, memory is left for {most}"),
            )
            .with_hint(format!("use --context-length {most} or less")));
        }
        return Ok(wanted);
    }
    let most = left.map_or(model_length, |bytes| fitting((bytes as f64 * CONTEXT_SHARE) as u64));
    if most == 0 {
        return Err(Failure::new(ExitCode::DoesNotFit, "after the weights no memory is left for keys and values")
            .with_hint("close other programs, or use a smaller model".to_owned()));
    }
    Ok(model_length.min(most))
}

fn engine_failure(error: EngineError) -> Failure {
    Failure::new(ExitCode::Engine, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_as_large_as_model_and_memory_allow() {
        let plan = |wanted, left| plan_context(wanted, 8192, 1000, left).map_err(|failure| failure.code);
        assert_eq!(plan(None, None), Ok(8192));
        assert_eq!(plan(None, Some(1 << 40)), Ok(8192));
        assert_eq!(plan(None, Some(100_000)), Ok(75 * 16));
        assert_eq!(plan(None, Some(100)), Err(ExitCode::DoesNotFit));
        assert_eq!(plan(Some(100), Some(1_000_000)), Ok(100));
        assert_eq!(plan(Some(100_000), Some(1_000_000)), Err(ExitCode::DoesNotFit));
        assert_eq!(plan(Some(0), None), Err(ExitCode::Usage));
    }
}
