//! From a file to an engine: what fits, and how large the context can be.

use std::path::PathBuf;
use std::sync::Arc;

use lair_compute::KvElement;
use lair_compute::cpu::{ActivationType, Cpu};
use lair_engine::{Engine, EngineError, EngineOptions, MemoryOptions, ModelRunner, Speculation};
use lair_gguf::GgufFile;
use lair_model::Model;
use lair_sizing::fit;

use super::memory_plan::{MemoryPlan, Needs, plan};
use super::{LoadOptions, model_failure};
use crate::adapter_choice;
use crate::commands::show::bytes_text;
use crate::failure::{ExitCode, Failure};
use crate::prompt_cache::{ModelArchive, Origin};
use crate::speculate::LoadedDraft;

/// Rows a step may have. A prompt is computed in pieces of this length; longer ones use caches no better.
pub const ROWS_MAX: usize = 512;
/// Requests that may be open where no server says how many.
const REQUESTS_MAX: usize = 1024;
/// Part of the memory that is left after the weights which keys and values may take without being asked to.
const CONTEXT_SHARE: f64 = 0.75;

/// What [`load_model`] makes.
pub(super) struct Loaded {
    pub engine: Engine<ModelRunner<Cpu>>,
    pub context_length: usize,
    pub model_context_length: usize,
    pub kv_token_bytes: f64,
    /// What tells its pages from others, where they may be saved.
    pub identity: Option<[u8; 32]>,
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
    let adapters = adapter_choice::open(&options.adapters, file)?;
    let model = Model::load_with_adapters(file, &adapters, &backend, model_options).map_err(model_failure)?;
    for adapter in &adapters {
        adapter.check_unchanged()?;
    }
    if !model.has_logits() {
        return load_encoder(model, backend, fit::least_bytes(file.size_bytes()), options, available);
    }
    let element = options.kv.element();
    let draft_page_bytes = draft.as_ref().map_or(0, |draft| draft.model.kv_layout(element, 1).page_bytes());
    let page_bytes = (model.kv_layout(element, 1).page_bytes() + draft_page_bytes) as u64;
    let left = available.map(|bytes| bytes.saturating_sub(fit::least_bytes(file.size_bytes())));
    let needs = Needs {
        model_length: model.context_length(),
        page_bytes,
        state_slot_bytes: model.state_layout(1).map_or(0, |layout| layout.slot_bytes() as u64),
    };
    let MemoryPlan { context_length, page_count, state_slot_count } = plan(options, needs, left)?;
    let memory = MemoryOptions { kv_element: element, page_count, state_slot_count, rows_max: ROWS_MAX };
    let model_context_length = model.context_length();
    let runner = ModelRunner::new(Arc::new(model), backend, context_length, memory)
        .map_err(|error| Failure::new(ExitCode::DoesNotFit, error))?;
    let serving = options.serving.as_ref();
    let engine_options = EngineOptions {
        step_time_max: serving.map(|serving| serving.step_time_max),
        requests_max: serving.map_or(REQUESTS_MAX, |serving| options.sequences_max + serving.queue_max),
        context_length,
        rows_max: ROWS_MAX,
        prefill_rows_while_decoding: ROWS_MAX,
        sequences_max: options.sequences_max,
        prefix_cache: options.prefix_cache,
        speculation: options.speculation,
    };
    let mut engine = Engine::new(runner, engine_options).map_err(engine_failure)?;
    let saves = options.serving.as_ref().is_some_and(|serving| serving.saves_slots) && options.prefix_cache;
    // Saved pages hold no recurrent state, and do not say which factors of adapters they were computed with.
    let is_plain = engine.runner().model().state_layout(1).is_none() && options.adapters.is_empty();
    let identity = if saves && is_plain { origin(file, options, engine.runner()).ok() } else { None };
    let identity = identity.map(|origin| origin.bytes());
    if let Some(archive) = archive(file, options, engine.runner()) {
        engine = engine.with_archive(Box::new(archive));
    }
    if let Some(LoadedDraft { model, backend, options, .. }) = draft {
        let context_length = context_length.min(model.context_length());
        let runner = ModelRunner::new(model, backend, context_length, memory)
            .map_err(|error| Failure::new(ExitCode::DoesNotFit, error))?;
        engine = engine.with_draft(Box::new(runner), options).map_err(engine_failure)?;
    }
    let kv_token_bytes = page_bytes as f64 / lair_compute::PAGE_LENGTH as f64;
    Ok(Loaded { engine, context_length, model_context_length, kv_token_bytes, identity })
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
    let kv_token_bytes = position_bytes as f64;
    Ok(Loaded { engine, context_length, model_context_length, kv_token_bytes, identity: None })
}

/// What tells the pages of this model in this setup from others.
fn origin(file: &GgufFile, options: &LoadOptions, runner: &ModelRunner<Cpu>) -> std::io::Result<Origin> {
    let activations = options.activations.unwrap_or_else(|| activations_of(file));
    let quantized = options.quantize.map_or(String::new(), |file_type| format!(" of {}", file_type.name));
    let setup = [runner.backend().isa_name(), &format!("{activations:?}"), &format!("{:?}{quantized}", options.kv)];
    // Keys and values of an adapted model are others.
    let adapters: Vec<_> = options.adapters.iter().map(|adapter| adapter.file()).collect();
    Origin::new(file.paths().chain(adapters.iter().map(PathBuf::as_path)), &setup)
}

/// Where the prompts of this model are kept, if they are.
fn archive(file: &GgufFile, options: &LoadOptions, runner: &ModelRunner<Cpu>) -> Option<ModelArchive> {
    let cache = options.serving.as_ref()?.prompt_cache.as_ref().filter(|_| options.prefix_cache)?;
    match origin(file, options, runner) {
        Ok(origin) => Some(ModelArchive::new(Arc::clone(cache), origin)),
        Err(error) => {
            eprintln!("warning: prompts of {} are not kept: {error}", file.path().display());
            None
        }
    }
}

/// Refuses a model whose weights alone are larger than the memory there is.
pub(super) fn check_weights_fit(file: &GgufFile, available: Option<u64>) -> Result<(), Failure> {
    let needed = fit::least_bytes(file.size_bytes());
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
pub(super) fn plan_context(
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
