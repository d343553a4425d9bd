//! `lair gguf diff` and `lair gguf check`.

use std::path::PathBuf;

use clap::Args;
use lair_gguf::{GgufFile, TensorInfo, check_vocabulary};
use serde_json::json;

use super::opened::Opened;
use crate::failure::{ExitCode, Failure, Outcome};

/// What to compare.
#[derive(Args, Debug)]
pub struct DiffArgs {
    /// A file, or any shard of a split model
    first: PathBuf,
    /// Another
    second: PathBuf,
    /// Compare names, types and shapes of tensors, not their bytes
    #[arg(long)]
    no_data: bool,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// What to check.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// The file, any shard of a split model, or as `hf.co/USER/REPOSITORY:QUANT` or a link what a server has
    file: String,
    /// Read every weight and look for what is infinite or no number
    #[arg(long)]
    values: bool,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// Says in which keys and tensors two models differ; fails if they do.
pub fn diff(args: &DiffArgs) -> Outcome {
    let (first, second) = (GgufFile::open(&args.first)?, GgufFile::open(&args.second)?);
    let mut keys = Vec::new();
    for (key, value) in first.metadata().iter() {
        match second.metadata().get(key) {
            None => keys.push((key, value.to_string(), "absent".to_owned())),
            Some(other) if other != value => keys.push((key, value.to_string(), other.to_string())),
            Some(_) => {}
        }
    }
    for (key, value) in second.metadata().iter().filter(|(key, _)| !first.metadata().contains(key)) {
        keys.push((key, "absent".to_owned(), value.to_string()));
    }
    let mut tensors = Vec::new();
    for tensor in first.tensors() {
        match second.tensor(&tensor.name) {
            None => tensors.push((tensor.name.as_str(), what(tensor), "absent".to_owned())),
            Some(other) if (&other.shape, other.tensor_type) != (&tensor.shape, tensor.tensor_type) => {
                tensors.push((&tensor.name, what(tensor), what(other)));
            }
            Some(other) if !args.no_data && *first.tensor_data(tensor) != *second.tensor_data(other) => {
                tensors.push((&tensor.name, what(tensor), "other weights".to_owned()));
            }
            Some(_) => {}
        }
        first.release_pages();
        second.release_pages();
    }
    for tensor in second.tensors().iter().filter(|tensor| first.tensor(&tensor.name).is_none()) {
        tensors.push((&tensor.name, "absent".to_owned(), what(tensor)));
    }
    if args.json {
        let list = |entries: &[(&str, String, String)]| -> serde_json::Value {
            entries.iter().map(|(name, a, b)| json!({ "name": name, "first": a, "second": b })).collect()
        };
        println!("{:#}", json!({ "keys": list(&keys), "tensors": list(&tensors) }));
    } else {
        let show = |kind: &str, (name, a, b): &(&str, String, String)| println!("{kind} {name}: {a} | {b}");
        keys.iter().for_each(|entry| show("key", entry));
        tensors.iter().for_each(|entry| show("tensor", entry));
    }
    match keys.len() + tensors.len() {
        0 => Ok(()),
        count => Err(Failure::new(ExitCode::Other, format!("the files differ in {count} place(s)"))),
    }
}

fn what(tensor: &TensorInfo) -> String {
    let shape: Vec<String> = tensor.shape.iter().map(u64::to_string).collect();
    format!("{} {}", tensor.tensor_type, shape.join(" x "))
}

/// Checks a file: opening it checks its structure.
pub fn check(args: &CheckArgs) -> Outcome {
    let opened = Opened::new(&args.file)?;
    let model = opened.model();
    if model.metadata().contains("tokenizer.ggml.tokens") {
        check_vocabulary(model.metadata())?;
    }
    let mut bad = Vec::new();
    if args.values {
        for tensor in model.tensors() {
            if has_bad_values(&opened, tensor)? {
                bad.push(tensor.name.as_str());
            }
        }
    }
    let was_valid = bad.is_empty();
    if args.json {
        let (keys, tensors) = (model.metadata().len(), model.tensors().len());
        println!("{:#}", json!({ "ok": was_valid, "keys": keys, "tensors": tensors, "not_finite": bad }));
    } else {
        bad.iter().for_each(|name| println!("{name}: values that are not finite"));
    }
    if !was_valid {
        return Err(Failure::new(
            ExitCode::BadModel,
            format!("{} tensor(s) with values that are not finite", bad.len()),
        ));
    }
    if !args.json {
        println!("{}: fine, {} keys, {} tensors", opened.name(), model.metadata().len(), model.tensors().len());
    }
    Ok(())
}

/// Blocks read at a time: a few MiB of numbers.
const BLOCKS: usize = 4096;

fn has_bad_values(opened: &Opened, tensor: &TensorInfo) -> Result<bool, Failure> {
    let (length, bytes) = (tensor.tensor_type.block_length(), tensor.tensor_type.block_bytes());
    let mut values = vec![0.0; BLOCKS * length];
    let mut is_bad = false;
    opened.read(tensor, |read| {
        for piece in read.chunks(BLOCKS * bytes) {
            let values = &mut values[..piece.len() / bytes * length];
            lair_quant::dequantize(tensor.tensor_type, piece, values)
                .map_err(|error| Failure::new(ExitCode::BadModel, &error).with_hint(error.hint()))?;
            is_bad |= values.iter().any(|value| !value.is_finite());
        }
        Ok(())
    })?;
    Ok(is_bad)
}
