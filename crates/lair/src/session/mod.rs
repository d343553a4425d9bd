//! A loaded model with everything around it: tokenizer, chat template, engine.

mod answer;
mod embed;
mod load;
mod memory_plan;
mod prompt;
mod served;
mod template;
mod template_choice;
mod think;

use std::sync::Arc;
use std::time::{Duration, Instant};

use lair_compute::cpu::{ActivationTypes, Cpu, CpuOptions, IsaChoice};
use lair_convert::quantize::FileType;
use lair_engine::{EngineHandle, Refusal, Sampling, SequenceError, Speculation};
use lair_gguf::GgufFile;
use lair_model::ModelError;
use lair_text::grammar::GrammarFactory;
use lair_text::tokenizer::{ShowSpecial, Tokenizer};

pub use answer::{Answer, Wishes};
pub use load::ROWS_MAX;
use load::load_model;
pub(crate) use load::{activations_of, check_weights_fit};
pub use prompt::{Message, Prompt};
pub use template::PromptTemplate;
pub use template_choice::asked_for as chat_template_asked_for;
pub use think::Think;

use crate::adapter_choice::AdapterChoice;
use crate::commands::run::KvChoice;
use crate::commands::show::{bytes_text, print_summary};
use crate::failure::{ExitCode, Failure};
use crate::locate::Located;
use crate::memory_ledger::Promise;
use crate::serving::Serving;
use crate::speculate::DraftChoice;
use crate::weight_cache::{ModelWeights, WeightCache};
use crate::{machine, parameters, sampling, weights};

/// How a model is loaded.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Longest sequence; the largest that model and memory allow if not given.
    pub context_length: Option<usize>,
    /// Threads to compute with; all that the process may use if not given.
    pub threads: Option<usize>,
    /// How keys and values are kept.
    pub kv: KvChoice,
    /// What activations are multiplied as; what the model needs if not given.
    pub activations: Option<ActivationTypes>,
    /// Whether pages of earlier prompts are used again.
    pub prefix_cache: bool,
    /// The best instruction set that may be used.
    pub isa: IsaChoice,
    /// Sequences that are computed at the same time.
    pub sequences_max: usize,
    /// Tokens that all sequences may have together; as many as one of them if not given.
    pub memory_length: Option<usize>,
    /// What a server asks for besides; nothing for one conversation.
    pub serving: Option<Serving>,
    /// Whether tokens are guessed ahead.
    pub speculation: Speculation,
    /// The model that guesses.
    pub draft: Option<DraftChoice>,
    /// Low-rank adapters.
    pub adapters: Vec<AdapterChoice>,
    /// What the weights are quantized to while they are loaded.
    pub quantize: Option<FileType>,
    /// A Jinja template in place of the model's.
    pub chat_template: Option<String>,
    /// Where packed weights are kept.
    pub weight_cache: Option<Arc<WeightCache>>,
}

impl Default for LoadOptions {
    fn default() -> LoadOptions {
        LoadOptions {
            context_length: None,
            threads: None,
            kv: KvChoice::Q8_0,
            activations: None,
            prefix_cache: true,
            isa: IsaChoice::Auto,
            sequences_max: 1,
            memory_length: None,
            serving: None,
            speculation: Speculation::Lookup,
            draft: None,
            adapters: Vec::new(),
            quantize: None,
            chat_template: None,
            weight_cache: None,
        }
    }
}

impl LoadOptions {
    /// The packed weights of this file, where such are kept. Those of adapters are not: each would have the whole model beside
    /// it.
    pub(crate) fn model_weights(&self, file: &GgufFile, threads: usize) -> Option<Arc<ModelWeights>> {
        let cache = self.weight_cache.as_ref().filter(|_| self.adapters.is_empty())?;
        ModelWeights::of(cache, file, self.quantize, threads).map(Arc::new)
    }
}

/// A loaded model.
pub struct Session {
    /// Asked whether it is still what was loaded.
    file: GgufFile,
    tokenizer: Arc<Tokenizer>,
    grammars: Arc<GrammarFactory>,
    template: Option<PromptTemplate>,
    engine: EngineHandle,
    adapters: Vec<AdapterChoice>,
    default_sampling: Sampling,
    kv: KvChoice,
    context_length: usize,
    model_context_length: usize,
    kv_token_bytes: f64,
    memory_bytes: u64,
    identity: Option<[u8; 32]>,
    /// What was promised of a server's memory.
    _promise: Option<Promise>,
    load: Duration,
    description: String,
}

impl Session {
    /// Loads a model. One that does not fit is refused with the estimator's table.
    pub fn load(located: &Located, options: &LoadOptions) -> Result<Session, Failure> {
        Session::load_if_it_fits(located, options)
            .map_err(|failure| crate::fit::refusal::with_table(failure, located, options))
    }

    fn load_if_it_fits(located: &Located, options: &LoadOptions) -> Result<Session, Failure> {
        let start = Instant::now();
        let file = weights::open_as(&located.path, options.quantize)?;
        let ledger = options.serving.as_ref().map(|serving| &serving.ledger);
        let _one_at_a_time = ledger.map(|ledger| ledger.begin_load());
        let available = machine::available_memory_bytes();
        let available = ledger.map_or(available, |ledger| ledger.left(available));
        check_weights_fit(&file, available)?;
        let draft = options.draft.as_ref().map(|draft| draft.load(&file, options)).transpose()?;
        let available = available.map(|bytes| bytes.saturating_sub(draft.as_ref().map_or(0, |draft| draft.size_bytes)));
        check_weights_fit(&file, available)?;
        let activations = options.activations.unwrap_or_else(|| activations_of(&file));
        let loaded = std::thread::scope(|scope| -> Result<_, Failure> {
            // Reading 150,000 pieces takes as long as packing a small model: side by side.
            let tokenizer = scope.spawn(|| Tokenizer::from_gguf(file.metadata()));
            let cpu_options = CpuOptions { threads: options.threads, isa: options.isa };
            let weights = options.model_weights(&file, cpu_options.thread_count());
            let backend = Cpu::new(cpu_options)
                .map_err(|error| Failure::new(ExitCode::Engine, error))?
                .with_activations(activations);
            let backend = match &weights {
                Some(weights) => backend.with_weight_archive(Arc::clone(weights) as _),
                None => backend,
            };
            let loaded = load_model(&file, backend, draft, options, available);
            let tokenizer = tokenizer
                .join()
                .map_err(|_| Failure::new(ExitCode::Engine, "reading the tokenizer failed"))?
                .map_err(|error| Failure::new(ExitCode::BadModel, &error).with_hint(error.hint()));
            // Of two refusals the model's says more.
            let loaded = loaded?;
            Ok((tokenizer?, loaded, weights))
        });
        let (tokenizer, loaded, weights) = loaded?;
        // A file that was cut while its weights were read gives zeros for what is missing.
        file.check_unchanged()?;
        if let Some(weights) = weights {
            weights.keep();
        }
        let template_choice::Choice { template, note } = template_choice::choose(located, options, &file)?;
        if let Some(cause) = template.as_ref().and_then(PromptTemplate::problem) {
            eprintln!("warning: {cause}");
        }
        let note = note.map(|note| format!(", {note}")).unwrap_or_default();
        let description = format!("{}, {}{note}", file.architecture()?, bytes_text(file.size_bytes()));
        let defaults = sampling::defaults(file.metadata(), located.recommended);
        let adapters_bytes: u64 =
            loaded.engine.runner().model().adapters().iter().map(|adapter| adapter.size_bytes).sum();
        let memory_bytes = file.size_bytes() + adapters_bytes + loaded.engine.runner().memory_bytes();
        let default_sampling = parameters::sampling(&located.settings.parameters, &defaults, loaded.context_length)?;
        let tokenizer = Arc::new(tokenizer);
        Ok(Session {
            file,
            grammars: Arc::new(GrammarFactory::new(Arc::clone(&tokenizer))),
            tokenizer,
            template,
            engine: EngineHandle::spawn("engine", loaded.engine)?,
            adapters: options.adapters.clone(),
            default_sampling,
            kv: options.kv,
            context_length: loaded.context_length,
            model_context_length: loaded.model_context_length,
            kv_token_bytes: loaded.kv_token_bytes,
            memory_bytes,
            identity: loaded.identity,
            _promise: ledger.map(|ledger| ledger.promise(memory_bytes)),
            load: start.elapsed(),
            description,
        })
    }

    /// Ends the engine; returns when its memory is free.
    pub fn unload(self) {
        self.engine.stop();
    }

    /// One line: what was loaded, and the context with its reason.
    pub fn summary(&self) -> String {
        let context = if self.context_length == self.model_context_length {
            format!("context {}", self.context_length)
        } else {
            format!("context {} of the model's {}", self.context_length, self.model_context_length)
        };
        format!("{}, {context}, loaded in {} ms", self.description, self.load.as_millis())
    }

    /// Whether the context is shorter than the model's own.
    pub fn has_reduced_context(&self) -> bool {
        self.context_length < self.model_context_length
    }

    /// Tokens that prompt and answer may have together.
    pub fn context_length(&self) -> usize {
        self.context_length
    }

    /// How long loading took.
    pub fn load_duration(&self) -> Duration {
        self.load
    }

    /// What the model file says it is, as `lair show` prints it.
    pub fn info(&self) -> Result<String, Failure> {
        let mut text = Vec::new();
        print_summary(&mut text, &self.file)?;
        Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
    }

    /// The licence as the model file states it.
    pub fn license(&self) -> Option<String> {
        self.file.metadata().optional::<&str>("general.license").ok().flatten().map(str::to_owned)
    }

    /// The places of query and document among the words that a reranker is told, where its file says them.
    pub fn rank_template(&self) -> Option<String> {
        let template = self.file.metadata().optional::<&str>("tokenizer.chat_template.rerank");
        template.ok().flatten().map(str::to_owned)
    }

    /// The factors of its adapters, as they were chosen when it was loaded.
    pub fn adapter_scales(&self) -> Vec<f32> {
        self.adapters.iter().map(|adapter| adapter.scale).collect()
    }

    /// The engine itself, for who has tokens instead of text.
    pub fn engine(&self) -> &EngineHandle {
        &self.engine
    }

    /// Bytes of keys and values that a token keeps in all layers.
    pub fn kv_token_bytes(&self) -> f64 {
        self.kv_token_bytes
    }

    /// What the model's author recommends, over the defaults.
    pub fn default_sampling(&self) -> &Sampling {
        &self.default_sampling
    }

    /// The chat template as it is written.
    pub fn template_source(&self) -> Option<&str> {
        self.template.as_ref().map(PromptTemplate::source)
    }

    /// The spelling of a token, control tokens included.
    pub fn text_of_token(&self, token: u32) -> String {
        self.tokenizer.decode(&[token], ShowSpecial::Show).unwrap_or_default()
    }
}

/// The Go template that a model was stored with. Where it names a renderer instead, the template of its file stands for
/// that, and the one it was stored with is only a stand-in.
fn template_of_settings(located: &Located, has_file_template: bool) -> Result<Option<&str>, Failure> {
    let Some(renderer) = &located.settings.renderer else { return Ok(located.settings.template.as_deref()) };
    if !has_file_template {
        let cause =
            format!("`{}` has the RENDERER `{renderer}`, which is not built, and no chat template", located.name);
        return Err(Failure::new(ExitCode::BadModel, cause).with_hint("use another file of the same model".to_owned()));
    }
    Ok(None)
}

pub(crate) fn model_failure(error: ModelError) -> Failure {
    Failure::new(ExitCode::BadModel, &error).with_hint(error.hint())
}

pub(crate) fn refusal(error: Refusal) -> Failure {
    let code = match &error {
        Refusal::ContextTooShort { .. } | Refusal::MemoryTooSmall { .. } | Refusal::PromptTooLongToEncode { .. } => {
            ExitCode::DoesNotFit
        }
        Refusal::EngineStopped => ExitCode::Engine,
        _ => ExitCode::Usage,
    };
    Failure::new(code, &error).with_hint(error.hint())
}

pub(crate) fn broken(error: &SequenceError) -> Failure {
    Failure::new(ExitCode::Engine, error)
}
