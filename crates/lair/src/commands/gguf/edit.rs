//! `lair gguf set` and `lair gguf new`: other keys for the same tensors.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use lair_gguf::{GgufFile, GgufWriter, Metadata, Value, encoded_value};

use crate::failure::{ExitCode, Failure, Outcome};

/// What to change.
#[derive(Args, Debug)]
pub struct SetArgs {
    /// The file
    file: PathBuf,
    /// `KEY=VALUE`: of the type that the key has; `KEY=TYPE:VALUE` says it (u8 to i64, f32, f64, bool, str)
    #[arg(required_unless_present = "remove")]
    changes: Vec<String>,
    /// Remove this key; may be repeated
    #[arg(long, value_name = "KEY")]
    remove: Vec<String>,
}

/// What the copy is to have.
#[derive(Args, Debug)]
pub struct NewArgs {
    /// The file, or any shard of a split model
    file: PathBuf,
    /// The new file
    out: PathBuf,
    /// As for `lair gguf set`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
    /// Leave this key out; may be repeated
    #[arg(long, value_name = "KEY")]
    remove: Vec<String>,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

/// Changes keys of a file.
pub fn set(args: &SetArgs) -> Outcome {
    let model = GgufFile::open(&args.file)?;
    if model.paths().len() > 1 {
        return Err(Failure::new(ExitCode::Usage, "a split model's keys stand in several files")
            .with_hint("`lair gguf merge` joins it, `lair gguf new` writes a copy with other keys".to_string()));
    }
    let changed = changed(model.metadata(), &args.changes, &args.remove)?;
    let differing: Vec<(&str, &Value)> =
        changed.iter().filter(|(key, value)| model.metadata().get(key) != Some(value)).collect();
    if args.remove.is_empty() && differing.iter().all(|(key, value)| fits(model.metadata(), key, value)) {
        let places: Option<Vec<u64>> = differing.iter().map(|(key, _)| place(&model, key)).collect();
        if let Some(places) = places {
            drop(model);
            return overwrite(&args.file, &differing, &places);
        }
    }
    rewrite(&model, changed, &args.file)?;
    eprintln!("written anew: {}", args.file.display());
    Ok(())
}

/// Writes a copy with other keys.
pub fn new(args: &NewArgs) -> Outcome {
    let model = GgufFile::open(&args.file)?;
    if args.out.exists() && !args.force {
        return Err(Failure::new(ExitCode::Usage, format!("`{}` is there already", args.out.display()))
            .with_hint("`--force` replaces it".to_string()));
    }
    let mut metadata = changed(model.metadata(), &args.changes, &args.remove)?;
    for key in ["split.no", "split.count", "split.tensors.count"] {
        metadata.remove(key);
    }
    rewrite(&model, metadata, &args.out)
}

/// The keys after the changes.
fn changed(metadata: &Metadata, changes: &[String], remove: &[String]) -> Result<Metadata, Failure> {
    let mut changed = metadata.clone();
    for text in changes {
        let wrong = || Failure::new(ExitCode::Usage, format!("`{text}` is not KEY=VALUE"));
        let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(wrong)?;
        changed.set(key, parse(metadata.get(key), value)?);
    }
    for key in remove {
        if changed.remove(key).is_none() {
            return Err(Failure::new(ExitCode::Usage, format!("there is no key `{key}` to remove")));
        }
    }
    Ok(changed)
}

/// A value as it is written on the command line: of the type that is said, or that the key has, or that it looks like.
fn parse(old: Option<&Value>, text: &str) -> Result<Value, Failure> {
    if let Some((kind, rest)) = text.split_once(':')
        && let Some(value) = typed(kind, rest)
    {
        return value.ok_or_else(|| Failure::new(ExitCode::Usage, format!("`{rest}` is no {kind}")));
    }
    let guess = || {
        let whole = text.parse().map(Value::U32).or_else(|_| text.parse().map(Value::I64));
        let number = whole.ok().or_else(|| text.parse().ok().map(Value::F32));
        number.or_else(|| text.parse().ok().map(Value::Bool)).unwrap_or_else(|| Value::from(text))
    };
    let Some(old) = old else { return Ok(guess()) };
    let kind = old.value_type().name();
    match typed(kind, text) {
        Some(Some(value)) => Ok(value),
        Some(None) => Err(Failure::new(ExitCode::Usage, format!("`{text}` is no {kind}, which the key is"))
            .with_hint("`KEY=TYPE:VALUE` changes the type".to_string())),
        None => Err(Failure::new(ExitCode::Usage, "arrays cannot be set from the command line")),
    }
}

/// `None` if there is no such type, `Some(None)` if the text is no value of it.
fn typed(kind: &str, text: &str) -> Option<Option<Value>> {
    Some(match kind {
        "u8" => text.parse().ok().map(Value::U8),
        "i8" => text.parse().ok().map(Value::I8),
        "u16" => text.parse().ok().map(Value::U16),
        "i16" => text.parse().ok().map(Value::I16),
        "u32" => text.parse().ok().map(Value::U32),
        "i32" => text.parse().ok().map(Value::I32),
        "u64" => text.parse().ok().map(Value::U64),
        "i64" => text.parse().ok().map(Value::I64),
        "f32" => text.parse().ok().map(Value::F32),
        "f64" => text.parse().ok().map(Value::F64),
        "bool" => text.parse().ok().map(Value::Bool),
        "str" | "string" => Some(Value::from(text)),
        _ => return None,
    })
}

/// Whether the new value takes the place of the old one to the byte.
fn fits(metadata: &Metadata, key: &str, value: &Value) -> bool {
    // The alignment decides where the tensors stand.
    let old = metadata.get(key).filter(|_| key != "general.alignment");
    old.is_some_and(|old| encoded_value(old).len() == encoded_value(value).len())
}

/// Where the value of a key stands in the file, if its bytes are really there.
fn place(model: &GgufFile, key: &str) -> Option<u64> {
    if model.version() < 2 {
        return None;
    }
    let mut offset = 24;
    for (name, value) in model.metadata().iter() {
        let bytes = encoded_value(value);
        offset += 8 + name.len() as u64;
        if name == key {
            let mut found = vec![0; bytes.len()];
            let mut file = std::fs::File::open(model.path()).ok()?;
            file.seek(SeekFrom::Start(offset)).ok()?;
            file.read_exact(&mut found).ok()?;
            return (found == bytes).then_some(offset);
        }
        offset += bytes.len() as u64;
    }
    None
}

fn overwrite(path: &Path, changes: &[(&str, &Value)], places: &[u64]) -> Outcome {
    let mut file = std::fs::OpenOptions::new().write(true).open(path)?;
    for ((_, value), place) in changes.iter().zip(places) {
        file.seek(SeekFrom::Start(*place))?;
        file.write_all(&encoded_value(value))?;
    }
    file.sync_all()?;
    eprintln!("{} value(s) changed in place", changes.len());
    Ok(())
}

/// Writes the tensors of a model with these keys.
pub fn rewrite(model: &GgufFile, metadata: Metadata, out: &Path) -> Outcome {
    let mut writer = GgufWriter::new(metadata)?;
    for tensor in model.tensors() {
        writer.add_tensor(&tensor.name, &tensor.shape, tensor.tensor_type)?;
    }
    let mut tensors = model.tensors().iter();
    writer.write_file(out, |_, out| {
        let tensor = tensors.next().expect("as many were declared");
        let written = out.write_all(&model.tensor_data(tensor));
        model.release_pages();
        written
    })?;
    Ok(())
}
