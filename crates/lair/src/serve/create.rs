//! `/api/create`: makes a model of what a request names. Files are named by the digests of blobs that were sent before: no
//! path of this machine can be named from outside.

use std::path::Path;

use lair_server::{ApiError, CreateWishes, ErrorKind, Progress, ProgressSink};
use lair_store::modelfile::{CreateStep, Instruction, Message, Modelfile};
use lair_store::{Entry, Store};
use serde_json::Value as Json;

use super::{failure, model_name, parse_digest, store};
use crate::failure::{ExitCode, Failure};
use crate::make_model::{self, MakeStep, Maker, Recipe};

/// Files of one checkpoint, at most.
const FILES_MAX: usize = 1024;

/// Makes the model and tells the steps in Ollama's words.
pub fn create(name: &str, wishes: &CreateWishes, progress: ProgressSink<'_>) -> Result<(), ApiError> {
    let store = store()?;
    let name = model_name(name)?;
    let quantization = wishes.quantize.as_deref().filter(|wanted| !wanted.is_empty());
    if let Some(wanted) = quantization {
        make_model::check_quantization("quantize", wanted)
            .map_err(|error| ApiError { parameter: Some("quantize".to_owned()), ..failure(error) })?;
    }
    let checkpoint = Checkpoint::of(&store, wishes)?;
    let modelfile = modelfile_of(wishes, checkpoint.as_ref())?;
    let mut tell = |step: MakeStep<'_>| {
        let status = match step {
            MakeStep::Store(CreateStep::Hashing(_)) => "parsing GGUF".to_owned(),
            MakeStep::Store(CreateStep::Hashed(_)) => return,
            MakeStep::Store(CreateStep::Layer(layer)) => format!("using existing layer {}", layer.digest),
            MakeStep::Store(CreateStep::Manifest) => "writing manifest".to_owned(),
            MakeStep::Converting(_) => "converting model".to_owned(),
            MakeStep::Quantizing(wanted) => format!("quantizing model to {wanted}"),
        };
        progress(Progress { status, ..Progress::default() });
    };
    // What a client names and is not here is its own to pull.
    let mut fetch = |_: &Store, entry: &Entry| {
        let cause = format!("`{}` is not here", entry.name);
        Err(Failure::new(ExitCode::NotFound, cause).with_hint(format!("pull `{}`", entry.name)))
    };
    let recipe =
        Recipe { name: &name, modelfile: &modelfile, folder: Path::new("/nonexistent"), quantization, is_quiet: true };
    let created =
        make_model::make(&store, recipe, &mut Maker { tell: &mut tell, fetch: &mut fetch }).map_err(refused)?;
    for warning in created.warnings {
        progress(Progress { status: format!("warning: {warning}"), ..Progress::default() });
    }
    Ok(())
}

/// What names something that is not there is wrong as a whole: the model that is asked for is the one to be made.
fn refused(error: Failure) -> ApiError {
    let error = failure(error);
    let kind = if error.kind == ErrorKind::NotFound { ErrorKind::BadRequest } else { error.kind };
    ApiError { kind, ..error }
}

/// Blobs that are the files of a checkpoint, under their names in a folder of their own.
struct Checkpoint {
    folder: tempfile::TempDir,
}

impl Checkpoint {
    /// The checkpoint that the files of a request are; nothing where they are models in GGUF.
    fn of(store: &Store, wishes: &CreateWishes) -> Result<Option<Checkpoint>, ApiError> {
        let is_checkpoint = |name: &str| {
            [".safetensors", ".pth", ".pt", "pytorch_model.bin"].iter().any(|ending| name.ends_with(ending))
        };
        if !wishes.files.iter().any(|(name, _)| is_checkpoint(name)) {
            return Ok(None);
        }
        if wishes.files.len() > FILES_MAX {
            let cause = format!("`files` has {} files, at most {FILES_MAX} expected", wishes.files.len());
            return Err(ApiError::bad("files", cause));
        }
        let internal = |error: std::io::Error| ApiError::new(ErrorKind::Internal, error);
        let parent = make_model::working_folder(store).map_err(failure)?;
        let folder = tempfile::tempdir_in(parent).map_err(internal)?;
        for (name, digest) in &wishes.files {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            if name.is_empty() || name.len() > 255 || name.starts_with('.') || !name.bytes().all(is_plain) {
                let cause = format!("`{name}` is no name of a file: letters, digits, `.`, `_` and `-` are expected");
                return Err(ApiError::bad("files", cause));
            }
            let digest = parse_digest(digest)?;
            if store.blobs().size_bytes(&digest).is_none() {
                let cause = format!("the blob {digest} of `{name}` is not here");
                return Err(ApiError::bad("files", cause).with_hint("send it to /api/blobs first".to_owned()));
            }
            // Only read from here on, so the store's bytes need no copy.
            std::fs::hard_link(store.blobs().path(&digest), folder.path().join(name)).map_err(internal)?;
        }
        if !lair_convert::is_checkpoint(folder.path()) {
            let names: Vec<&str> = wishes.files.iter().map(|(name, _)| name.as_str()).collect();
            let cause = format!("the files {} are no whole checkpoint", names.join(", "));
            return Err(ApiError::bad("files", cause)
                .with_hint("config.json, the tokenizer's files and all weights belong to it".to_owned()));
        }
        Ok(Some(Checkpoint { folder }))
    }
}

/// What a request asks for, in the words of a Modelfile.
fn modelfile_of(wishes: &CreateWishes, checkpoint: Option<&Checkpoint>) -> Result<Modelfile, ApiError> {
    let mut instructions = Vec::new();
    if let Some(from) = &wishes.from {
        // A name of this machine's models, not a path.
        model_name(from)?;
        instructions.push(Instruction::From(from.clone()));
    }
    match checkpoint {
        Some(checkpoint) => {
            instructions.push(Instruction::From(checkpoint.folder.path().to_string_lossy().into_owned()));
        }
        None => {
            for (_, digest) in &wishes.files {
                instructions.push(Instruction::From(parse_digest(digest)?.to_string()));
            }
        }
    }
    for (_, digest) in &wishes.adapters {
        instructions.push(Instruction::Adapter(parse_digest(digest)?.to_string()));
    }
    instructions.extend(wishes.template.clone().map(Instruction::Template));
    instructions.extend(wishes.system.clone().map(Instruction::System));
    instructions.extend(wishes.license.iter().cloned().map(Instruction::License));
    for (name, value) in &wishes.parameters {
        let texts = match value {
            Json::Array(items) => items.iter().map(text_of).collect(),
            other => vec![text_of(other)],
        };
        instructions.extend(texts.into_iter().map(|value| Instruction::Parameter { name: name.clone(), value }));
    }
    for message in &wishes.messages {
        let text = |key: &str| message[key].as_str().unwrap_or_default().to_owned();
        instructions.push(Instruction::Message(Message { role: text("role"), content: text("content") }));
    }
    instructions.extend(wishes.renderer.clone().map(Instruction::Renderer));
    instructions.extend(wishes.parser.clone().map(Instruction::Parser));
    instructions.extend(wishes.requires.clone().map(Instruction::Requires));
    Ok(Modelfile { instructions })
}

fn text_of(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
