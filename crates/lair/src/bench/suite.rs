//! What is measured of a model with one set-up: starts in new processes, tests on the loaded model.

use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
use lair_compute::cpu::IsaChoice;
use lair_compute::cpu::probe::Peaks;
use lair_engine::Speculation;
use lair_gguf::GgufFile;
use lair_sizing::Roofline;

use super::measure::Bench;
use super::noise::Others;
use super::plan::{self, Test};
use super::start::{self, Child, Starts};
use super::{Measured, Unit};
use crate::commands::run::KvChoice;
use crate::failure::Failure;
use crate::locate::Located;
use crate::session::{LoadOptions, Session};
use crate::weight_cache::{ModelWeights, WeightCache};

/// Instruction sets to choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IsaArg {
    /// The best that the machine has
    Auto,
    /// At most AVX2 with AVX-VNNI
    AvxVnni,
    /// At most AVX2
    Avx2,
    /// No vector instructions
    Scalar,
}

impl IsaArg {
    /// The same as the backend says it.
    pub fn choice(self) -> IsaChoice {
        match self {
            IsaArg::Auto => IsaChoice::Auto,
            IsaArg::AvxVnni => IsaChoice::AvxVnni,
            IsaArg::Avx2 => IsaChoice::Avx2,
            IsaArg::Scalar => IsaChoice::Scalar,
        }
    }
}

/// One way to run the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// The best instruction set that may be used.
    pub isa: IsaArg,
    /// Threads; all there are, if not given.
    pub threads: Option<usize>,
}

impl Setup {
    /// How the model is loaded. Nothing is guessed ahead: what repeats in the answers of a model says nothing of its speed.
    pub fn load_options(self, kv: KvChoice) -> LoadOptions {
        LoadOptions {
            threads: self.threads,
            kv,
            isa: self.isa.choice(),
            speculation: Speculation::Off,
            ..LoadOptions::default()
        }
    }

    /// The same as arguments of this command.
    fn arguments(self, kv: KvChoice) -> Vec<String> {
        let name = |value: Option<clap::builder::PossibleValue>| value.map(|value| value.get_name().to_owned());
        let mut arguments = vec!["--isa".to_owned(), name(self.isa.to_possible_value()).unwrap_or_default()];
        arguments.extend(["--kv".to_owned(), name(kv.to_possible_value()).unwrap_or_default()]);
        if let Some(threads) = self.threads {
            arguments.extend(["--threads".to_owned(), threads.to_string()]);
        }
        arguments
    }
}

/// The model, and how it is measured.
pub struct Suite<'a> {
    /// Where it is.
    pub located: &'a Located,
    /// Its file.
    pub file: &'a GgufFile,
    /// How keys and values are kept.
    pub kv: KvChoice,
    /// Where packed weights are kept, and the arguments that say so.
    pub weight_cache: (Option<Arc<WeightCache>>, Vec<String>),
    /// Rounds.
    pub repeats: usize,
}

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// A test on the loaded model.
    Test(Test),
    /// A start with the file in the page cache.
    WarmStart,
    /// A start from the disk, from which reading the file alone takes so long.
    ColdStart {
        /// Seconds.
        read_seconds: f64,
    },
    /// The memory of a process.
    Memory {
        /// Tokens of its prompt.
        prompt: usize,
        /// Tokens of its answer.
        answer: usize,
        /// Bytes of the model's tensors.
        tensor_bytes: u64,
    },
}

/// What was measured with one set-up, before it is compared with what the machine can do.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The set-up.
    pub setup: Setup,
    /// What it is.
    pub what: What,
    /// One sample of each round: tokens a second, milliseconds, or bytes.
    pub samples: Vec<f64>,
    /// Who else used the processors meanwhile.
    pub others: Others,
    /// What else is known.
    pub details: Vec<(&'static str, f64)>,
    /// Bytes of keys and values that each token keeps.
    pub kv_token_bytes: f64,
}

impl Suite<'_> {
    /// The tests on the loaded model.
    ///
    /// # Errors
    /// If the model cannot be loaded, the tests do not fit, or Ctrl-C is pressed.
    pub fn tests(&self, setup: &Setup, tests: &[Test], say: &mut dyn FnMut(&str)) -> Result<Vec<Entry>, Failure> {
        let (context_length, memory_length, sequences_max) = plan::room(tests);
        let options = LoadOptions {
            context_length: Some(context_length),
            memory_length: Some(memory_length),
            sequences_max,
            weight_cache: self.weight_cache.0.clone(),
            ..setup.load_options(self.kv)
        };
        say("loading the model");
        let session = Session::load(self.located, &options)?;
        let samples = Bench::new(&session).measure(tests, self.repeats, say)?;
        let entry = |(test, (samples, others)): (&Test, (Vec<f64>, Others))| Entry {
            setup: *setup,
            what: What::Test(*test),
            samples,
            others,
            details: Vec::new(),
            kv_token_bytes: session.kv_token_bytes(),
        };
        let entries = tests.iter().zip(samples).map(entry).collect();
        // The next set-up needs the memory.
        session.engine().stop();
        Ok(entries)
    }

    /// New processes: their first token with and without the page cache, and the memory of one that computes a prompt and an
    /// answer of these lengths.
    ///
    /// # Errors
    /// If a process fails: with its cause.
    pub fn starts(
        &self,
        setup: &Setup,
        (prompt, answer): (usize, usize),
        warnings: &mut Vec<String>,
        say: &mut dyn FnMut(&str),
    ) -> Result<Vec<Entry>, Failure> {
        let load_arguments = setup.arguments(self.kv).into_iter().chain(self.weight_cache.1.iter().cloned()).collect();
        let child = Child { path: self.located.path.clone(), load_arguments };
        let warm = start::warm(&child, self.repeats, say)?;
        let kv_token_bytes = warm.started[0].kv_token_bytes;
        let entry = |what: What, starts: Starts| {
            let mut loads: Vec<f64> = starts.started.iter().map(|started| 1e3 * started.load_seconds).collect();
            loads.sort_by(f64::total_cmp);
            Entry {
                setup: *setup,
                what,
                samples: starts.started.iter().map(|started| 1e3 * started.seconds).collect(),
                others: starts.others,
                details: loads.get(loads.len() / 2).map(|median| ("load_ms", *median)).into_iter().collect(),
                kv_token_bytes,
            }
        };
        let mut entries = vec![entry(What::WarmStart, warm)];
        let mut files: Vec<PathBuf> = self.file.paths().map(PathBuf::from).collect();
        if let Some(cache) = &self.weight_cache.0
            && let Some(kept) = ModelWeights::path(cache, self.file)
        {
            // Of the model's own file only the beginning is read.
            files = vec![kept];
        }
        match start::cold(&child, &files, self.repeats, say)? {
            Some((cold, read_seconds)) => entries.push(entry(What::ColdStart { read_seconds }, cold)),
            None => warnings.push("the page cache does not forget the model's file here: no cold start".to_owned()),
        }
        say("memory: one prompt and one answer");
        if let Some(memory) = child.run(prompt, answer)?.memory {
            let tensor_bytes = self.file.tensors().iter().map(|tensor| tensor.size_bytes).sum();
            entries.push(Entry {
                samples: vec![memory.peak as f64],
                details: vec![("anonymous_bytes", memory.anonymous as f64), ("file_bytes", memory.file as f64)],
                ..entry(What::Memory { prompt, answer, tensor_bytes }, Starts::default())
            });
        }
        Ok(entries)
    }
}

impl Entry {
    /// The same beside what the machine can do.
    pub fn measured(self, peaks: &Peaks, roofline: &Roofline<'_>) -> Measured {
        let (limit, bound) = self.limit(roofline);
        let measured = Measured {
            name: String::new(),
            kind: "start",
            prompt_tokens: start::PROMPT_TOKENS,
            generated_tokens: 1,
            depth: 0,
            streams: 1,
            thread_count: peaks.thread_count,
            isa_name: peaks.isa_name,
            unit: Unit::Milliseconds,
            samples: self.samples,
            limit,
            bound,
            others: self.others,
            details: self.details,
        };
        match self.what {
            What::WarmStart => Measured { name: "start, warm".to_owned(), ..measured },
            What::ColdStart { .. } => Measured { name: "start, cold".to_owned(), ..measured },
            What::Memory { prompt, answer, .. } => Measured {
                name: "peak memory".to_owned(),
                kind: "memory",
                prompt_tokens: prompt,
                generated_tokens: answer,
                unit: Unit::Bytes,
                ..measured
            },
            What::Test(test) => Measured {
                name: test.name(),
                kind: test.kind(),
                prompt_tokens: if let Test::Decode { .. } = test { 0 } else { test.prompt_tokens() },
                generated_tokens: match test {
                    Test::Prefill { .. } => 0,
                    _ => test.counted_tokens() / test.streams(),
                },
                depth: if let Test::Decode { depth, .. } = test { depth } else { 0 },
                streams: test.streams(),
                unit: Unit::TokensPerSecond,
                ..measured
            },
        }
    }

    /// The best there can be, in the unit of the samples, and what sets it.
    fn limit(&self, roofline: &Roofline<'_>) -> (f64, &'static str) {
        match self.what {
            What::Test(test) => {
                let limit = test.limit(roofline);
                (test.counted_tokens() as f64 / limit.seconds, limit.bound.name())
            }
            What::WarmStart => {
                let limit = roofline.prefill(1, start::PROMPT_TOKENS);
                (1e3 * limit.seconds, limit.bound.name())
            }
            What::ColdStart { read_seconds } => {
                (1e3 * read_seconds.max(roofline.prefill(1, start::PROMPT_TOKENS).seconds), "disk")
            }
            What::Memory { prompt, answer, tensor_bytes } => {
                (tensor_bytes as f64 + (prompt + answer) as f64 * self.kv_token_bytes, "weights, keys and values")
            }
        }
    }
}
