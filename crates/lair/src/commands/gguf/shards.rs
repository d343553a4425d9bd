//! `lair gguf split` and `lair gguf merge`.

use std::path::PathBuf;

use clap::Args;
use lair_gguf::{GgufFile, GgufWriter, SplitLimit};

use super::edit::rewrite;
use crate::failure::{ExitCode, Failure, Outcome};
use crate::human::parse_size;

/// How to cut.
#[derive(Args, Debug)]
pub struct SplitArgs {
    /// The file
    file: PathBuf,
    /// What the names of the shards begin with [default: the file's name without `.gguf`]
    prefix: Option<PathBuf>,
    /// Bytes of tensors a shard at most, for example 2GB
    #[arg(long, value_name = "SIZE", value_parser = parse_size, conflicts_with = "max_tensors")]
    max_size: Option<u64>,
    /// Tensors a shard at most [default: 128]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    max_tensors: Option<u32>,
}

/// What to join.
#[derive(Args, Debug)]
pub struct MergeArgs {
    /// Any shard; the others are found by their names
    shard: PathBuf,
    /// The new file
    out: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

/// Tensors a shard where nothing is said, as llama.cpp's tool has it.
const TENSORS_DEFAULT: usize = 128;

/// Cuts a model into shards.
pub fn split(args: &SplitArgs) -> Outcome {
    let model = GgufFile::open(&args.file)?;
    if model.paths().len() > 1 {
        return Err(Failure::new(ExitCode::Usage, "the model is split already")
            .with_hint("`lair gguf merge` joins it".to_string()));
    }
    let limit = match (args.max_size, args.max_tensors) {
        (Some(bytes), _) => SplitLimit::Bytes(bytes),
        (None, Some(count)) => SplitLimit::Tensors(count as usize),
        (None, None) => SplitLimit::Tensors(TENSORS_DEFAULT),
    };
    let prefix = args.prefix.clone().unwrap_or_else(|| args.file.with_extension(""));
    let mut tensors = model.tensors().iter();
    let paths = GgufWriter::like(&model)?.write_shards(prefix, limit, |_, out| {
        let tensor = tensors.next().expect("as many were declared");
        out.write_all(&model.tensor_data(tensor))
    })?;
    paths.iter().for_each(|path| println!("{}", path.display()));
    Ok(())
}

/// Joins the shards of a model.
pub fn merge(args: &MergeArgs) -> Outcome {
    let model = GgufFile::open(&args.shard)?;
    if args.out.exists() && !args.force {
        return Err(Failure::new(ExitCode::Usage, format!("`{}` is there already", args.out.display()))
            .with_hint("`--force` replaces it".to_string()));
    }
    let mut metadata = model.metadata().clone();
    for key in ["split.no", "split.count", "split.tensors.count"] {
        metadata.remove(key);
    }
    rewrite(&model, metadata, &args.out)?;
    println!("{}", args.out.display());
    Ok(())
}
