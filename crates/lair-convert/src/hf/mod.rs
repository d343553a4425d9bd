//! Checkpoints in the layout of Hugging Face, as models.

mod card;
mod config;
mod derived;
mod encoders;
pub(crate) mod extras;
pub(crate) mod facts;
mod layer_parameters;
mod model_name;
pub(crate) mod names;
pub(crate) mod parameters;
pub(crate) mod sources;
mod special;
mod tokenizer;
mod values;
mod vocabularies;

use std::path::Path;
use std::sync::Arc;

use lair_gguf::{AssembledTensor, GgufFile, MappedFile, Metadata, TensorType};
use lair_model::spec::Source;
use lair_model::spec::source::{Derived, Parameter};
use lair_model::{ModelConfig, check_tensors, tensor_needs};

pub(crate) use self::config::HfConfig;
use self::model_name::size_label;
use self::names::{Planned, plan};
use crate::checkpoint::Checkpoint;
use crate::error::{ConvertError, Fault};
use crate::file_types::file_type_of;
use crate::matrix::{Piece, SourceTensor};
use crate::packed;
use crate::recipe::{Recipe, ValueChange};

/// The version of the layout of quantized blocks, which files state.
const QUANTIZATION_VERSION: u32 = 2;

/// A checkpoint put together as a model: all that is needed to run it as it is or to write it.
pub struct Assembly {
    /// Keys and values.
    pub(crate) metadata: Metadata,
    pub(crate) recipes: Vec<Arc<Recipe>>,
    pub(crate) files: Arc<[MappedFile]>,
    /// Tensors of the checkpoint that no model needs.
    pub left_out: Vec<String>,
}

/// The checkpoint at `path` as a model whose tensors are as they are stored: F32, F16 and BF16 in their files, others
/// made when they are asked for. The keys of the model are those that [`crate::Conversion`] writes.
///
/// # Errors
/// If it is no checkpoint, breaks a rule, or is of a class that is not converted: the error names what and where.
pub fn open(path: &Path) -> Result<GgufFile, ConvertError> {
    Assembly::open(path)?.model(|recipe| recipe.weight_type)
}

impl Assembly {
    /// Reads what the checkpoint at `path` says, and plans its tensors; no weight is touched.
    ///
    /// # Errors
    /// As [`open`].
    pub fn open(path: &Path) -> Result<Assembly, ConvertError> {
        let checkpoint = Checkpoint::open(path)?;
        let config = HfConfig::open(&checkpoint)?;
        let (architecture, source) = config.architecture()?;
        let tensors = packed::source_tensors(&checkpoint, &config)?;
        let numbers = numbers_of_tensors(&tensors, source, &checkpoint);
        let Planned { mut recipes, left_out, keys } = plan(tensors, architecture.gguf_name, source, &config)?;

        check_head(&recipes)?;
        let mut metadata = Metadata::default();
        metadata.set("general.architecture", architecture.gguf_name);
        let counts = Counts::of(&recipes);
        card::set_card(&mut metadata, &checkpoint, &config, counts.total, counts.label())?;
        parameters::set_parameters(&mut metadata, architecture, source, &config)?;
        values::set_keys(&mut metadata, keys, &checkpoint.files)?;
        for (key, number) in numbers {
            metadata.set(&format!("{}.{key}", architecture.gguf_name), number);
        }
        encoders::set_pooling(&mut metadata, &checkpoint, architecture)?;
        encoders::set_token_types(&mut metadata, architecture, &config);
        metadata.set("general.quantization_version", QUANTIZATION_VERSION);
        tokenizer::set_tokenizer(&mut metadata, &checkpoint, architecture, source, &config)?;

        let model_config = ModelConfig::from_metadata(&metadata)?;
        let needs = tensor_needs(architecture, &model_config)?;
        recipes.extend(values::constants(source, &needs, &config));
        for (name, values) in extras::rope_factors(&config, architecture, &needs, &mut metadata)? {
            recipes.push(Recipe::of_values(name, SourceTensor::of_values(name, values)));
        }
        cut_vocabulary(&mut recipes, &model_config, &checkpoint)?;
        in_order(&mut recipes);
        let files: Arc<[MappedFile]> = checkpoint.files.into();
        let recipes: Vec<Arc<Recipe>> = recipes.into_iter().map(Arc::new).collect();
        metadata.set("general.file_type", file_type_of(recipes.iter().map(|recipe| (&**recipe, recipe.weight_type))));
        let assembly = Assembly { metadata, recipes, files, left_out };
        check_tensors(&assembly.model(|recipe| recipe.weight_type)?)?;
        Ok(assembly)
    }

    /// The model, its tensors stored as `type_of` says.
    pub(crate) fn model(&self, type_of: impl Fn(&Recipe) -> TensorType) -> Result<GgufFile, ConvertError> {
        let tensors = self.recipes.iter().map(|recipe| {
            let tensor_type = type_of(recipe);
            let bytes = recipe.bytes(&self.files, tensor_type);
            AssembledTensor { name: recipe.name.clone(), shape: recipe.shape.clone(), tensor_type, bytes }
        });
        Ok(GgufFile::assemble(self.metadata.clone(), self.files.to_vec(), tensors.collect())?)
    }
}

/// Refuses a model whose head is its embedding, if the embedding has a factor that is none of the head's.
fn check_head(recipes: &[Recipe]) -> Result<(), ConvertError> {
    let has_factor = |recipe: &Recipe| recipe.name == "token_embd.weight" && recipe.values != ValueChange::Same;
    if recipes.iter().any(has_factor) && !recipes.iter().any(|recipe| recipe.name == "output.weight") {
        let what = "a checkpoint without `lm_head.weight`, whose embedding has a factor of its own,".to_owned();
        return Err(ConvertError::Unsupported { what });
    }
    Ok(())
}

/// Hyper-parameters that are stored as tensors of one element.
fn numbers_of_tensors(tensors: &[SourceTensor], source: &Source, checkpoint: &Checkpoint) -> Vec<(&'static str, f32)> {
    let number = |parameter: &Parameter| {
        let Parameter::Derived(Derived::NumberOfTensor(key, name)) = parameter else { return None };
        let tensor =
            tensors.iter().find(|tensor| tensor.name.strip_prefix("model.").unwrap_or(&tensor.name) == *name)?;
        let [matrix] = &tensor.matrices[..] else { return None };
        let mut value = [0.0];
        if (matrix.rows, matrix.columns) == (1, 1) {
            Piece::whole(matrix.clone()).row(&checkpoint.files, 0, &mut value);
            return Some((*key, value[0]));
        }
        None
    };
    source.parameters.iter().filter_map(number).collect()
}

/// How many parameters there are.
#[derive(Default)]
struct Counts {
    total: u64,
    shared: u64,
    of_one_expert: u64,
    expert_count: u64,
}

impl Counts {
    fn of(recipes: &[Recipe]) -> Counts {
        let mut counts = Counts::default();
        let mut stacks: Vec<u64> = Vec::new();
        for recipe in recipes {
            let size = recipe.shape.iter().product::<u64>();
            counts.total += size;
            match (&recipe.shape[..], recipe.name.contains("_exps.")) {
                ([_, _, experts], true) => {
                    counts.of_one_expert += size / (*experts).max(1);
                    stacks.push(*experts);
                }
                _ => counts.shared += size,
            }
        }
        counts.expert_count = stacks.iter().sum::<u64>().checked_div(stacks.len() as u64).unwrap_or(0);
        counts
    }

    fn label(&self) -> String {
        size_label(self.shared, self.of_one_expert, self.expert_count, self.total)
    }
}

/// Rows of the embedding and of the head behind the last token stand for nothing, and are cut; too few are refused.
fn cut_vocabulary(recipes: &mut [Recipe], config: &ModelConfig, checkpoint: &Checkpoint) -> Result<(), ConvertError> {
    let expected = config.vocabulary_size;
    for recipe in
        recipes.iter_mut().filter(|r| ["token_embd.weight", "output.weight", "output.bias"].contains(&&*r.name))
    {
        let rows: usize = recipe.pieces.iter().map(|piece| piece.rows).sum();
        if rows < expected {
            let (found, expected) = (format!("{rows} rows"), format!("{expected}, one for each token"));
            return Err(Fault::malformed(format!("`{}`", recipe.name), found, expected).in_file(&checkpoint.folder));
        }
        if rows > expected && recipe.pieces.len() == 1 {
            recipe.pieces = recipe.pieces.drain(..).map(|piece| piece.cut(expected)).collect();
            if let Some(last) = recipe.shape.last_mut() {
                *last = expected as u64;
            }
        }
    }
    Ok(())
}

/// What is outside of layers first, then layer by layer.
fn in_order(recipes: &mut [Recipe]) {
    let layer = |name: &str| name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
    recipes.sort_by(|left, right| (layer(&left.name), &left.name).cmp(&(layer(&right.name), &right.name)));
}
