//! Guessing tokens ahead: what the user asked for, and the draft model.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use lair_compute::cpu::{Cpu, CpuOptions};
use lair_engine::{DraftOptions, Speculation};
use lair_gguf::GgufFile;
use lair_model::Model;
use lair_text::tokenizer::Tokenizer;

use crate::failure::{ExitCode, Failure};
use crate::locate::{self, Located};
use crate::session::LoadOptions;
use crate::weight_cache::ModelWeights;

/// How tokens are guessed ahead, which makes answers faster and leaves them the same.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Speculative decoding (the answers stay the same)")]
pub struct SpeculateArgs {
    /// How to guess tokens ahead [default: draft if --draft is given, else lookup]
    #[arg(long, value_enum, value_name = "HOW")]
    speculate: Option<SpeculateChoice>,
    /// The same as --speculate off
    #[arg(long, conflicts_with_all = ["speculate", "draft"])]
    no_speculate: bool,
    /// A smaller model of the same vocabulary that guesses: a GGUF file or a short name
    #[arg(long, value_name = "MODEL", visible_aliases = ["model-draft", "draft-model"])]
    draft: Option<String>,
    /// Tokens that the draft model guesses in a step at most [default: 8]
    #[arg(long, value_name = "COUNT", requires = "draft")]
    draft_max: Option<usize>,
    /// Fewer guesses of the draft model than this are not used [default: 0]
    #[arg(long, value_name = "COUNT", requires = "draft")]
    draft_min: Option<usize>,
    /// The draft model stops guessing at a token that it gives less than this probability [default: 0.5]
    #[arg(long, value_name = "NUMBER", requires = "draft")]
    draft_p_min: Option<f32>,
}

/// How tokens are guessed ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SpeculateChoice {
    /// From what followed the same words earlier in prompt and answer, as far as that pays
    Lookup,
    /// By the model of --draft, and by lookup where that promises more
    Draft,
    /// Not at all
    Off,
}

/// A draft model that is to be loaded.
#[derive(Clone, Debug)]
pub struct DraftChoice {
    located: Located,
    options: DraftOptions,
}

/// A draft model that is loaded.
pub struct LoadedDraft {
    /// Its weights.
    pub model: Arc<Model<Cpu>>,
    /// What computes it: threads of its own, which are parked while the model computes.
    pub backend: Cpu,
    /// How it guesses.
    pub options: DraftOptions,
    /// Of its file.
    pub size_bytes: u64,
}

impl SpeculateArgs {
    /// These wishes over other options of a session. Fetches the draft model where it is missing.
    pub fn over(&self, options: LoadOptions, is_quiet: bool) -> Result<LoadOptions, Failure> {
        let usage = |cause: &str| Err(Failure::new(ExitCode::Usage, cause));
        let speculation = match (self.speculate, &self.draft) {
            (Some(SpeculateChoice::Draft) | None, Some(_)) => Speculation::Draft,
            (Some(SpeculateChoice::Draft), None) => return usage("--speculate draft needs a model, --draft MODEL"),
            (Some(_), Some(_)) => return usage("--draft is of no use with --speculate lookup or off"),
            (Some(SpeculateChoice::Off), None) => Speculation::Off,
            (Some(SpeculateChoice::Lookup) | None, None) if !self.no_speculate => Speculation::Lookup,
            _ => Speculation::Off,
        };
        let draft = match &self.draft {
            Some(name) => {
                let options = self.draft_options()?;
                Some(DraftChoice { located: locate::locate(Some(name), is_quiet)?, options })
            }
            None => None,
        };
        Ok(LoadOptions { speculation, draft, ..options })
    }

    fn draft_options(&self) -> Result<DraftOptions, Failure> {
        let defaults = DraftOptions::default();
        let options = DraftOptions {
            tokens_max: self.draft_max.unwrap_or(defaults.tokens_max),
            tokens_min: self.draft_min.unwrap_or(defaults.tokens_min),
            probability_min: self.draft_p_min.unwrap_or(defaults.probability_min),
            ..defaults
        };
        let most = DraftOptions::TOKENS_MAX;
        let cause = if !(1..=most).contains(&options.tokens_max) {
            format!("--draft-max is {}, a number from 1 to {most} expected", options.tokens_max)
        } else if options.tokens_min > options.tokens_max {
            format!("--draft-min is {}, but --draft-max is {}", options.tokens_min, options.tokens_max)
        } else if !(0.0..=1.0).contains(&options.probability_min) {
            format!("--draft-p-min is {}, a number from 0 to 1 expected", options.probability_min)
        } else {
            return Ok(options);
        };
        Err(Failure::new(ExitCode::Usage, cause))
    }
}

impl DraftChoice {
    /// The draft model that a model brings, with the defaults of how it guesses.
    pub fn of_file(path: PathBuf) -> DraftChoice {
        DraftChoice { located: Located::file(path), options: DraftOptions::default() }
    }

    /// Options with this draft model, unless another one or none at all is wished.
    pub fn where_none_is_chosen(self, options: LoadOptions) -> LoadOptions {
        match (&options.draft, options.speculation) {
            (None, Speculation::Lookup) => {
                LoadOptions { speculation: Speculation::Draft, draft: Some(self), ..options }
            }
            _ => options,
        }
    }

    /// Loads the draft model for the model of this file.
    pub fn load(&self, file: &GgufFile, options: &LoadOptions) -> Result<LoadedDraft, Failure> {
        let draft_file = crate::weights::open(&self.located.path)?;
        let tokenizer = |file: &GgufFile| {
            Tokenizer::from_gguf(file.metadata())
                .map_err(|error| Failure::new(ExitCode::BadModel, &error).with_hint(error.hint()))
        };
        if let Some(difference) = vocabulary_difference(&tokenizer(file)?, &tokenizer(&draft_file)?) {
            let name = &self.located.name;
            let cause = format!("the draft model `{name}` has another vocabulary than the model: {difference}");
            let hint = "use a smaller model of the same family".to_owned();
            return Err(Failure::new(ExitCode::BadModel, cause).with_hint(hint));
        }
        let cpu_options = CpuOptions { threads: options.threads, ..CpuOptions::default() };
        let weights = match &options.weight_cache {
            Some(cache) => ModelWeights::of(cache, &draft_file, None, cpu_options.thread_count()).map(Arc::new),
            None => None,
        };
        let mut backend = Cpu::new(cpu_options).map_err(|error| Failure::new(ExitCode::Engine, error))?;
        if let Some(weights) = &weights {
            backend = backend.with_weight_archive(Arc::clone(weights) as _);
        }
        let model = Model::load(&draft_file, &backend, lair_model::LoadOptions::default())
            .map_err(|error| Failure::new(ExitCode::BadModel, &error).with_hint(error.hint()))?;
        if !model.generates_one_by_one() {
            let cause = format!("the draft model `{}` does not predict token by token", self.located.name);
            return Err(Failure::new(ExitCode::BadModel, cause));
        }
        draft_file.check_unchanged()?;
        if let Some(weights) = weights {
            weights.keep();
        }
        let size_bytes = draft_file.size_bytes();
        // A step reads the weights.
        let step_cost = size_bytes as f32 / file.size_bytes().max(1) as f32;
        Ok(LoadedDraft {
            model: Arc::new(model),
            backend,
            options: DraftOptions { step_cost, ..self.options },
            size_bytes,
        })
    }
}

/// Tokens that one of two vocabularies of a family may have more than the other: unused ones at the end.
const PADDING_MAX: usize = 512;

/// Where two vocabularies differ first, if they do. Unused tokens at the end are none.
fn vocabulary_difference(model: &Tokenizer, draft: &Tokenizer) -> Option<String> {
    let (size, draft_size) = (model.vocabulary_size(), draft.vocabulary_size());
    if size.abs_diff(draft_size) > PADDING_MAX {
        return Some(format!("{size} tokens in the model, {draft_size} in the draft model"));
    }
    if (model.bos(), model.eos()) != (draft.bos(), draft.eos()) {
        return Some("texts begin or end with other tokens".to_owned());
    }
    let spelling = |tokenizer: &Tokenizer, token: u32| {
        tokenizer.token_bytes(token).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
    };
    (0..size.min(draft_size) as u32).find(|&token| model.token_bytes(token).ok() != draft.token_bytes(token).ok()).map(
        |token| {
            let (left, right) = (spelling(model, token), spelling(draft, token));
            format!("token {token} is `{left}` in the model, `{right}` in the draft model")
        },
    )
}
