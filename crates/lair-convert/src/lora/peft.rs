//! From PEFT's folder to an adapter in GGUF's words.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lair_gguf::{AssembledTensor, GgufFile, MappedFile, Metadata, TensorType};
use lair_model::spec::source::{Change, Layers, Values};

use super::Base;
use super::peft_config::PeftConfig;
use crate::checkpoint::Checkpoint;
use crate::error::{ConvertError, printable};
use crate::hf::names::{Target, targets};
use crate::matrix::{Elements, Matrix, Piece, RowMaker, SourceTensor};
use crate::recipe::{Recipe, ValueChange};
use crate::stored::StoredTensor;

/// The weights of an adapter, in the order in which they are looked for.
const WEIGHTS: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];
/// What PEFT puts before the names of the model's own modules.
const PREFIX: &str = "base_model.model.";
/// The two matrices of a module. Older versions and training states name the adapter as well.
const ENDS: [(&str, usize); 4] =
    [(".lora_A.weight", 0), (".lora_B.weight", 1), (".lora_A.default.weight", 0), (".lora_B.default.weight", 1)];

/// Whether a folder is an adapter of PEFT's, as far as names tell.
pub fn is_peft(path: &Path) -> bool {
    path.join("adapter_config.json").is_file() && weights_of(path).is_some()
}

/// The file with the weights of the adapter in a folder, if there is one.
pub fn weights_of(folder: &Path) -> Option<PathBuf> {
    WEIGHTS.iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

/// The adapter in `folder` as one in GGUF, for a model like `base`. Its tensors are stored as `tensor_type`, or as they are.
///
/// # Errors
/// If it breaks a rule, changes what the base model does not have, or asks for what is not built: the error names it.
pub fn open_peft(folder: &Path, base: &Base, tensor_type: Option<TensorType>) -> Result<GgufFile, ConvertError> {
    let config = PeftConfig::open(folder)?;
    let weights = weights_of(folder).ok_or_else(|| ConvertError::NotACheckpoint {
        path: folder.to_owned(),
        found: "no weights".to_owned(),
        expected: "`adapter_model.safetensors` or `adapter_model.bin`",
    })?;
    let checkpoint = Checkpoint::of_files(folder, &[weights])?;
    let modules = modules(&checkpoint)?;
    // One number for all; a module with another one has the difference in its weights.
    let alphas: Vec<f64> = modules.iter().map(|(name, [_, up])| config.alpha_of(name, up.shape[1])).collect();
    let alpha = alphas.first().copied().unwrap_or(0.0);
    let mut recipes = Vec::new();
    for ((name, pair), own) in modules.iter().zip(&alphas) {
        // A factor of nothing says nothing about the others.
        let factor = if *own == alpha { 1.0 } else { own / alpha };
        if !factor.is_finite() {
            return Err(ConvertError::Unsupported {
                what: format!("`{}` with a factor of {own} beside 0", printable(name)),
            });
        }
        recipes.extend(recipes_of(name, pair, factor as f32, base)?);
    }
    let metadata = metadata(folder, base, &config, alpha as f32);
    assemble(recipes, metadata, checkpoint.files, tensor_type)
}

/// Both matrices of each module, by its name in the model.
fn modules(checkpoint: &Checkpoint) -> Result<BTreeMap<String, [StoredTensor; 2]>, ConvertError> {
    let mut halves: BTreeMap<String, [Option<&StoredTensor>; 2]> = BTreeMap::new();
    for (name, tensor) in &checkpoint.tensors {
        let own = name.strip_prefix(PREFIX).unwrap_or(name);
        let end = ENDS.iter().find_map(|(end, index)| Some((own.strip_suffix(end)?, *index)));
        let Some((module, index)) = end else {
            return Err(ConvertError::Unsupported { what: format!("the tensor `{}` of an adapter", printable(name)) });
        };
        halves.entry(module.to_owned()).or_default()[index] = Some(tensor);
    }
    let mut modules = BTreeMap::new();
    for (name, halves) in halves {
        let [Some(down), Some(up)] = halves else {
            let what = format!("`{}` with one of the matrices `lora_A` and `lora_B` alone", printable(&name));
            return Err(ConvertError::Unsupported { what });
        };
        let fits = matches!((&down.shape[..], &up.shape[..]), ([rank, _], [_, other]) if rank == other && *rank > 0);
        if !fits {
            let expected = format!("[rows, rank] beside `lora_A` of {:?}", down.shape);
            return Err(ConvertError::TensorShape { name: printable(&up.name), found: up.shape.clone(), expected });
        }
        modules.insert(name, [down.clone(), up.clone()]);
    }
    if modules.is_empty() {
        return Err(ConvertError::Unsupported { what: "an adapter without tensors".to_owned() });
    }
    Ok(modules)
}

/// The tensors that a module's matrices make: two for each product of the model that it stands for.
fn recipes_of(
    module: &str,
    [down, up]: &[StoredTensor; 2],
    factor: f32,
    base: &Base,
) -> Result<Vec<Recipe>, ConvertError> {
    let targets = targets(&format!("{module}.weight"), base.source, base.facts.has_experts);
    if targets.is_empty() {
        let what =
            format!("an adapter of `{}`, which `{}` does not name,", printable(module), base.architecture.gguf_name);
        return Err(ConvertError::Unsupported { what });
    }
    let mut recipes = Vec::new();
    for Target { name: target, change, values, layers, .. } in targets {
        let is_of_rows = !matches!(
            change,
            Change::LatentKeys | Change::LatentValues | Change::PartTransposed { .. } | Change::NeighbourColumns
        );
        let is_plain = values == Values::Same && is_of_rows && layers == Layers::All && !target.starts_with("blk.+");
        if !is_plain || target.contains("_exps.") || target.starts_with("token_embd") {
            return Err(ConvertError::Unsupported { what: format!("an adapter of `{}`", printable(module)) });
        }
        let stem = target.strip_suffix(".weight").unwrap_or(&target);
        let last = stem.rsplit('.').next().unwrap_or(stem);
        let down_source = SourceTensor::of_stored(down)?;
        let up_source = SourceTensor::of_stored(up)?;
        // PEFT's matrices are those of a product, whichever way the module itself is stored.
        let change = if change == Change::Transposed { Change::None } else { change };
        let matrix = |source: &SourceTensor| source.matrices[0].clone();
        let scaled = if factor == 1.0 { matrix(&up_source) } else { ScaledRows::of(matrix(&up_source), factor) };
        let parts = [
            ("lora_a", Piece::whole(matrix(&down_source)), down_source.weight_type),
            (
                "lora_b",
                Piece::new(scaled, change, last, &base.facts, &up.name)?,
                if factor == 1.0 { up_source.weight_type } else { TensorType::F32 },
            ),
        ];
        for (end, piece, weight_type) in parts {
            let shape = vec![piece.matrix.columns as u64, piece.rows as u64];
            recipes.push(Recipe {
                name: format!("{target}.{end}"),
                shape,
                weight_type,
                pieces: vec![piece],
                values: ValueChange::Same,
            });
        }
    }
    Ok(recipes)
}

/// Rows with a factor on each number.
struct ScaledRows {
    rows: Piece,
    factor: f32,
}

impl ScaledRows {
    fn of(matrix: Matrix, factor: f32) -> Matrix {
        let (rows, columns) = (matrix.rows, matrix.columns);
        let maker = ScaledRows { rows: Piece::whole(matrix), factor };
        Matrix { rows, columns, elements: Elements::Made(Arc::new(maker)) }
    }
}

impl RowMaker for ScaledRows {
    fn row(&self, files: &[MappedFile], row: usize, values: &mut [f32]) {
        self.rows.row(files, row, values);
        values.iter_mut().for_each(|value| *value *= self.factor);
    }
}

/// What the file says of itself; counts of the model go along, so that the way back needs no model.
fn metadata(folder: &Path, base: &Base, config: &PeftConfig, alpha: f32) -> Metadata {
    let architecture = base.architecture.gguf_name;
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", architecture);
    metadata.set("general.type", "adapter");
    metadata.set("adapter.type", "lora");
    metadata.set("adapter.lora.alpha", alpha);
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    if let Some(name) = absolute.file_name() {
        metadata.set("general.name", &*name.to_string_lossy());
    }
    // A name of the hub; a folder of whoever trained it says nothing to others.
    if let Some(id) = config.base_model.as_deref().filter(|id| !Path::new(id).exists() && id.matches('/').count() == 1)
    {
        metadata.set("general.base_model.count", 1u32);
        metadata.set("general.base_model.0.name", id.rsplit('/').next().unwrap_or(id));
        metadata.set("general.base_model.0.repo_url", format!("https://huggingface.co/{id}").as_str());
    }
    for (key, count) in
        [("attention.head_count", base.facts.head_count), ("attention.head_count_kv", base.facts.kv_head_count)]
    {
        if count > 0 {
            metadata.set(&format!("{architecture}.{key}"), count as u32);
        }
    }
    metadata
}

fn assemble(
    recipes: Vec<Recipe>,
    metadata: Metadata,
    files: Vec<MappedFile>,
    tensor_type: Option<TensorType>,
) -> Result<GgufFile, ConvertError> {
    let files: Arc<[MappedFile]> = files.into();
    let tensor = |recipe: Recipe| {
        let recipe = Arc::new(recipe);
        let tensor_type = tensor_type.filter(|wanted| wanted.size_bytes(recipe.shape[0]).is_some());
        let tensor_type = tensor_type.unwrap_or(recipe.weight_type);
        let bytes = recipe.bytes(&files, tensor_type);
        AssembledTensor { name: recipe.name.clone(), shape: recipe.shape.clone(), tensor_type, bytes }
    };
    let tensors = recipes.into_iter().map(tensor).collect();
    Ok(GgufFile::assemble(metadata, files.to_vec(), tensors)?)
}

/// The name that the file of an adapter gets if nobody names it.
pub fn adapter_file_name(adapter: &GgufFile) -> PathBuf {
    let name = adapter.metadata().optional_str("general.name").ok().flatten().unwrap_or("adapter");
    PathBuf::from(format!("{}.gguf", name.replace(['/', '\\', ' '], "-")))
}
