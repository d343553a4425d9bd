//! `lair gguf dump`: keys and tensors, as a table or as JSON.

use std::path::{Path, PathBuf};

use clap::Args;
use lair_convert::safetensors;
use lair_gguf::{Array, GgufFile, MappedFile, Value};
use serde_json::{Value as Json, json};

use super::opened::{Opened, Place};
use crate::commands::show::printable;
use crate::failure::{ExitCode, Failure, Outcome};

/// What to print.
#[derive(Args, Debug)]
pub struct DumpArgs {
    /// The file, any shard of a split model, or what a server has, as `hf.co/USER/REPOSITORY:QUANT` or a link: of that
    /// only the headers are fetched. Safetensors files are shown as well
    file: String,
    /// Leave the tensors out
    #[arg(long)]
    no_tensors: bool,
    /// With --json: the elements of arrays too, which may be a whole vocabulary
    #[arg(long, requires = "json")]
    json_array: bool,
    /// One JSON object, with the fields of `gguf_dump --json`
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub fn dump(args: &DumpArgs) -> Outcome {
    let place = Place::find(&args.file)?;
    if let Some(paths) = place.safetensors() {
        return dump_safetensors(args, &paths);
    }
    let opened = Opened::at(place, &args.file)?;
    let model = opened.model();
    if args.json {
        println!("{:#}", as_json(model, args));
        return Ok(());
    }
    println!(
        "{}: GGUF version {}, {} keys, {} tensors, {} file(s){}",
        opened.name(),
        model.version(),
        model.metadata().len(),
        model.tensors().len(),
        model.paths().len(),
        opened.received_bytes().map(|bytes| format!(", {bytes} bytes fetched")).unwrap_or_default(),
    );
    let width = model.metadata().iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    for (key, value) in model.metadata().iter() {
        println!("{key:width$}  {:8}  {value}", type_text(value));
    }
    if args.no_tensors {
        return Ok(());
    }
    let width = model.tensors().iter().map(|tensor| tensor.name.len()).max().unwrap_or(0);
    for tensor in model.tensors() {
        let shape: Vec<String> = tensor.shape.iter().map(u64::to_string).collect();
        println!(
            "{:width$}  {:>24}  {:7}  {:>12} bytes at {}",
            tensor.name,
            shape.join(" x "),
            tensor.tensor_type.name(),
            tensor.size_bytes,
            tensor.offset,
        );
    }
    Ok(())
}

/// What safetensors files hold: texts of their headers, and tensors with type, shape and place.
fn dump_safetensors(args: &DumpArgs, paths: &[PathBuf]) -> Outcome {
    let mut files = Vec::new();
    for path in paths {
        let bytes = MappedFile::open(path)?;
        let header = safetensors::Header::parse(&bytes)
            .map_err(|fault| Failure::new(ExitCode::BadModel, format!("`{}`: {fault}", file_name(path))))?;
        files.push((file_name(path), bytes.len(), header));
    }
    if args.json {
        let of_file = |(name, size_bytes, header): &(String, usize, safetensors::Header)| {
            let tensors: serde_json::Map<_, _> = header
                .tensors
                .iter()
                .map(|tensor| {
                    let (start, end) = (tensor.start, tensor.start + tensor.size_bytes());
                    let entry = json!({ "type": tensor.element.name(), "shape": tensor.shape, "bytes": [start, end] });
                    (tensor.name.clone(), entry)
                })
                .collect();
            let mut file = json!({ "filename": name, "size_bytes": size_bytes, "metadata": header.metadata });
            if !args.no_tensors {
                file["tensors"] = Json::Object(tensors);
            }
            file
        };
        let files: Vec<Json> = files.iter().map(of_file).collect();
        println!("{:#}", json!({ "filename": args.file, "format": "safetensors", "files": files }));
        return Ok(());
    }
    for (name, size_bytes, header) in &files {
        println!("{name}: safetensors, {} tensors, {size_bytes} bytes", header.tensors.len());
        header.metadata.iter().for_each(|(key, value)| println!("{}  {}", printable(key), printable(value)));
        let tensors = if args.no_tensors { &[][..] } else { &header.tensors[..] };
        let width = tensors.iter().map(|tensor| printable(&tensor.name).chars().count()).max().unwrap_or(0);
        for tensor in tensors {
            let shape: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
            println!(
                "{:width$}  {:>24}  {:7}  {:>12} bytes at {}",
                printable(&tensor.name),
                shape.join(" x "),
                tensor.element.name(),
                tensor.size_bytes(),
                tensor.start,
            );
        }
    }
    Ok(())
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn type_text(value: &Value) -> String {
    match value {
        Value::Array(array) => format!("[{}]", array.element_type().name()),
        other => other.value_type().name().to_owned(),
    }
}

/// The names and places that `gguf_dump` gives: fields are counted from the version, the first of four before the keys.
fn as_json(model: &GgufFile, args: &DumpArgs) -> Json {
    let mut metadata = serde_json::Map::new();
    let mut offset: usize = 24;
    let counts = [
        ("GGUF.version", "UINT32", 4, json!(model.version())),
        ("GGUF.tensor_count", "UINT64", 8, json!(model.tensors().len())),
        ("GGUF.kv_count", "UINT64", 16, json!(model.metadata().len())),
    ];
    for (index, (name, kind, offset, value)) in counts.into_iter().enumerate() {
        metadata.insert(name.into(), json!({ "index": index + 1, "type": kind, "offset": offset, "value": value }));
    }
    for (index, (key, value)) in model.metadata().iter().enumerate() {
        let mut entry = json!({ "index": index + 4, "type": peer_type(value), "offset": offset });
        match value {
            Value::Array(array) => {
                entry["array_types"] = json!([peer_name(array.element_type().name())]);
                if args.json_array {
                    entry["value"] = array_json(array);
                }
            }
            other => entry["value"] = scalar_json(other),
        }
        metadata.insert(key.into(), entry);
        offset += 8 + key.len() + lair_gguf::encoded_value(value).len();
    }
    let mut json = json!({ "filename": args.file, "endian": "LITTLE", "metadata": metadata });
    if !args.no_tensors {
        let mut tensors = serde_json::Map::new();
        for (index, tensor) in model.tensors().iter().enumerate() {
            let entry = json!({
                "index": index, "shape": tensor.shape, "type": tensor.tensor_type.name(), "offset": offset,
            });
            tensors.insert(tensor.name.clone(), entry);
            offset += 8 + tensor.name.len() + 4 + 8 * tensor.shape.len() + 4 + 8;
        }
        json["tensors"] = Json::Object(tensors);
    }
    json
}

fn peer_type(value: &Value) -> String {
    match value {
        Value::Array(_) => "ARRAY".to_owned(),
        other => peer_name(other.value_type().name()),
    }
}

/// The name of a type as the Python package spells it.
fn peer_name(name: &str) -> String {
    let (letter, bits) = name.split_at(1);
    match letter {
        "u" => format!("UINT{bits}"),
        "i" => format!("INT{bits}"),
        "f" => format!("FLOAT{bits}"),
        _ => name.to_uppercase(),
    }
}

fn scalar_json(value: &Value) -> Json {
    match value {
        Value::F32(number) => json!(number),
        Value::F64(number) => json!(number),
        Value::Bool(truth) => json!(truth),
        Value::String(text) => json!(text),
        Value::U64(number) => json!(number),
        other => other.as_integer().and_then(|number| i64::try_from(number).ok()).map_or(Json::Null, |n| json!(n)),
    }
}

fn array_json(array: &Array) -> Json {
    match array {
        Array::String(texts) => texts.iter().collect(),
        Array::F32(numbers) => json!(numbers.to_vec()),
        Array::F64(numbers) => json!(numbers.to_vec()),
        Array::Bool(truths) => json!(truths.to_vec()),
        Array::Array(arrays) => arrays.iter().map(|array| array_json(&array)).collect(),
        other => (0..other.len())
            .map(|index| {
                other.integer(index).and_then(|number| i64::try_from(number).ok()).map_or(Json::Null, |n| json!(n))
            })
            .collect(),
    }
}
