//! Several models of one architecture made into one, as mergekit's YAML says: a tensor at a time, whatever the size.
//!
//! Checkpoints are merged under their own names and written as a checkpoint; GGUF files, and anything where the result is
//! to be one, under GGUF's names. What is random follows from the seed, the tensor and the element alone.

mod config;
mod error;
mod input;
mod methods;
mod output;
mod plan;
mod setting;

use std::path::{Path, PathBuf};

pub use self::config::{MergeConfig, Method};
pub use self::error::MergeError;
use self::input::{Input, Kind};
use self::plan::Plan;

/// How a merge is made.
#[derive(Clone, Copy, Debug)]
pub struct MergeOptions {
    /// What chance begins from.
    pub seed: u64,
    /// Bytes of a part of a checkpoint at most.
    pub part_bytes_max: u64,
}

/// What transformers takes for a part.
pub const PART_BYTES_MAX: u64 = 5_000_000_000;

impl Default for MergeOptions {
    fn default() -> MergeOptions {
        MergeOptions { seed: 0, part_bytes_max: PART_BYTES_MAX }
    }
}

/// How far a merge is.
#[derive(Clone, Copy, Debug)]
pub struct MergeProgress<'a> {
    /// The tensor that is made now.
    pub tensor: &'a str,
    /// Its index.
    pub index: usize,
    /// How many there are.
    pub count: usize,
}

/// A merge that was planned and checked; no weight was touched.
pub struct Merge {
    plan: Plan,
    inputs: Vec<Input>,
    options: MergeOptions,
    kind: Kind,
}

impl Merge {
    /// Opens the models of `config`, whose places `locate` knows, and plans the merge into `out`: a file that ends in
    /// `.gguf`, or the folder of a checkpoint.
    ///
    /// # Errors
    /// If a model is missing or no model, the models do not fit together, or a parameter is missing or unknown.
    pub fn plan<E: From<MergeError>>(
        config: &MergeConfig,
        out: &Path,
        options: MergeOptions,
        mut locate: impl FnMut(&str) -> Result<PathBuf, E>,
    ) -> Result<Merge, E> {
        let paths: Vec<PathBuf> = config.models().iter().map(|name| locate(name)).collect::<Result<_, _>>()?;
        let is_gguf = out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
        let kind = if is_gguf { Kind::Gguf } else { Kind::Checkpoint };
        let open = || -> Result<Merge, MergeError> {
            let inputs: Vec<Input> = config
                .models()
                .iter()
                .zip(&paths)
                .map(|(name, path)| Input::open(name, path, kind))
                .collect::<Result<_, _>>()?;
            let plan = Plan::new(config, &inputs)?;
            Ok(Merge { plan, inputs, options, kind })
        };
        Ok(open()?)
    }

    /// How many tensors the result has.
    pub fn tensor_count(&self) -> usize {
        self.plan.tensors.len()
    }

    /// Layers of the result.
    pub fn layer_count(&self) -> usize {
        self.plan.layers.len()
    }

    /// Writes the result to `out`, for which the merge was planned.
    ///
    /// # Errors
    /// If it cannot be written, or a file changed meanwhile.
    pub fn write(&self, out: &Path, tell: impl FnMut(MergeProgress<'_>)) -> Result<(), MergeError> {
        match self.kind {
            Kind::Gguf => output::write_gguf(self, out, tell),
            Kind::Checkpoint => output::write_checkpoint(self, out, tell),
        }
    }
}
