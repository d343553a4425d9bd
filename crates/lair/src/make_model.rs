//! Making a stored model of a Modelfile, where that is more than storing files: checkpoints are converted, weights quantized.
//! `lair create` and the server's `/api/create` share it.

use std::path::{Path, PathBuf};

use lair_convert::{Conversion, OutputType};
use lair_store::modelfile::{
    CreateError, CreateRequest, CreateStep, Created, Instruction, Modelfile, QUANTIZATIONS, SaveRequest, create, save,
};
use lair_store::oci::media_type;
use lair_store::{Entry, ModelName, Note, Store};

use crate::commands::{convert, quantize};
use crate::failure::{ExitCode, Failure, Outcome};
use crate::locate;

/// What a model is made of.
#[derive(Clone, Copy)]
pub struct Recipe<'a> {
    /// The name it gets.
    pub name: &'a ModelName,
    /// What it is made of.
    pub modelfile: &'a Modelfile,
    /// What paths in it are relative to.
    pub folder: &'a Path,
    /// The type its weights are quantized to; one that [`check_quantization`] lets pass.
    pub quantization: Option<&'a str>,
    /// Whether no bars are shown on standard error.
    pub is_quiet: bool,
}

/// A step of it.
pub enum MakeStep<'a> {
    /// Files are stored.
    Store(CreateStep<'a>),
    /// The checkpoint that lies here is converted.
    Converting(&'a Path),
    /// The weights are quantized to this type.
    Quantizing(&'a str),
}

/// What is told of the steps, and what fetches a model that is not here yet.
pub struct Maker<'a> {
    /// Takes the steps.
    pub tell: &'a mut dyn FnMut(MakeStep<'_>),
    /// Fetches a model of the catalogue that FROM names.
    pub fetch: &'a mut dyn FnMut(&Store, &Entry) -> Outcome,
}

/// The types that Ollama quantizes to; Lair takes its names for them.
///
/// # Errors
/// Any other, under the name that the caller gives the setting.
pub fn check_quantization(setting: &str, wanted: &str) -> Outcome {
    if QUANTIZATIONS.iter().any(|known| known.eq_ignore_ascii_case(wanted)) {
        return Ok(());
    }
    let cause = format!("`{setting}` is `{wanted}`, none of {}", QUANTIZATIONS.join(", "));
    Err(Failure::new(ExitCode::Usage, cause).with_hint("`lair quantize` makes files of every other type".to_string()))
}

/// Makes the model. With a quantization it is made under a name of its own first, so that the name it is to have never means
/// what is half done; then with the quantized weights and the same settings under that.
pub fn make(store: &Store, recipe: Recipe<'_>, maker: &mut Maker<'_>) -> Result<Created, Failure> {
    let Some(wanted) = recipe.quantization else { return unquantized(store, recipe, maker) };
    let text = recipe.name.short();
    let is_tagged = text.rsplit('/').next().is_some_and(|last| last.contains(':'));
    let draft_text = format!("{text}{}unquantized", if is_tagged { "-" } else { ":" });
    let draft: ModelName = draft_text.parse().map_err(|error| Failure::new(ExitCode::Usage, error))?;
    let created = unquantized(store, Recipe { name: &draft, ..recipe }, maker)?;
    (maker.tell)(MakeStep::Quantizing(wanted));
    let outcome = quantize_draft(store, recipe, wanted, &draft_text, created);
    let removed = store.remove(&draft);
    let created = outcome?;
    removed?;
    Ok(created)
}

fn quantize_draft(
    store: &Store,
    recipe: Recipe<'_>,
    wanted: &str,
    draft: &str,
    created: Created,
) -> Result<Created, Failure> {
    let others = [media_type::PROJECTOR, media_type::ADAPTER, media_type::DRAFT];
    if let Some(layer) = created.manifest.layers.iter().find(|layer| others.contains(&layer.media_type.as_str())) {
        let cause = format!("`quantize` with a layer of the kind {}: only weights are quantized", layer.media_type);
        return Err(Failure::new(ExitCode::Usage, cause)
            .with_hint("quantize the file with `lair quantize` and make the model of that".to_string()));
    }
    let located = locate::locate(Some(draft), recipe.is_quiet)?;
    let root = &store.settings().root;
    std::fs::create_dir_all(root)?;
    let folder = tempfile::tempdir_in(root)?;
    let quantized = folder.path().join("quantized.gguf");
    quantize::quantize_file(&located.path, wanted, &quantized, recipe.is_quiet)?;
    let from = quantized.to_string_lossy();
    let note = Note::from_source(format!("quantized to {wanted} when it was created"));
    let request = SaveRequest { name: recipe.name, from: &from, settings: &located.settings, note };
    let saved = save(store, request)?;
    Ok(Created { warnings: created.warnings, ..saved })
}

/// Makes the model with the weights as they are, fetching the one it is made from if the catalogue knows it.
fn unquantized(store: &Store, recipe: Recipe<'_>, maker: &mut Maker<'_>) -> Result<Created, Failure> {
    let Recipe { name, modelfile, folder, .. } = recipe;
    let request = CreateRequest { name, modelfile, folder };
    let tell = &mut *maker.tell;
    match create(store, request, &mut |step| tell(MakeStep::Store(step))) {
        Err(CreateError::NotHere(entry)) => {
            (maker.fetch)(store, &entry)?;
            Ok(create(store, request, &mut |step| tell(MakeStep::Store(step)))?)
        }
        Err(CreateError::NeedsConversion { path, missing, .. })
            if missing.is_empty() && lair_convert::is_checkpoint(&path) =>
        {
            tell(MakeStep::Converting(&path));
            let place = tempfile::tempdir_in(working_folder(store)?)?;
            let modelfile = converted(recipe, &path, place.path())?;
            let request = CreateRequest { modelfile: &modelfile, ..request };
            Ok(create(store, request, &mut |step| tell(MakeStep::Store(step)))?)
        }
        outcome => Ok(outcome?),
    }
}

/// Where files lie until the store has them: on the store's disk.
pub fn working_folder(store: &Store) -> Result<PathBuf, Failure> {
    let folder = store.settings().models.clone();
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Converts the checkpoint at `path` into `place`; gives the Modelfile that has the file in its stead.
fn converted(recipe: Recipe<'_>, path: &Path, place: &Path) -> Result<Modelfile, Failure> {
    let conversion = Conversion::plan(path, OutputType::Auto)?;
    let file = place.join("model.gguf");
    convert::write(&conversion, &file, recipe.is_quiet)?;
    let same = |text: &str| {
        let canonical = |path: &Path| std::fs::canonicalize(path).ok();
        canonical(&recipe.folder.join(text)).is_some_and(|found| Some(found) == canonical(path))
    };
    let from = || Instruction::From(file.to_string_lossy().into_owned());
    let mut instructions = recipe.modelfile.instructions.clone();
    let replaced = instructions.iter_mut().filter(|known| matches!(known, Instruction::From(text) if same(text)));
    let count = replaced.map(|known| *known = from()).count();
    if count == 0 {
        // The folder of the Modelfile itself, which has no FROM.
        instructions.insert(0, from());
    }
    Ok(Modelfile { instructions })
}
