//! What becomes of each tensor: decided from names and shapes, before a byte of weights is read.

use lair_gguf::{GgufFile, Metadata, TensorInfo, TensorType, Value};

use super::{
    error::QuantizeError,
    file_type::FileType,
    imatrix::ImportanceMatrix,
    mix::{self, ModelFacts, Place},
    role::{Role, is_quantizable, layer_of, takes_eight_bits},
};

/// A wish of the user's: tensors whose names match get this type.
#[derive(Clone, Debug)]
pub struct TensorRule {
    /// Looked for anywhere in the name.
    pub pattern: regex::Regex,
    /// The type.
    pub to: TensorType,
}

/// An importance matrix, and what a file says of it.
#[derive(Clone, Debug)]
pub struct Importance {
    /// The matrix.
    pub matrix: ImportanceMatrix,
    /// Where it came from, for `quantize.imatrix.file`.
    pub file: String,
}

/// What is wanted.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The mix; `None` copies every tensor as it is.
    pub file_type: Option<FileType>,
    /// All tensors get the base type, whatever the mix says.
    pub is_pure: bool,
    /// The type of the head.
    pub output: Option<TensorType>,
    /// The type of the embedding.
    pub embedding: Option<TensorType>,
    /// The head stays as it is.
    pub keeps_output: bool,
    /// Wishes for single tensors; the first that matches counts.
    pub rules: Vec<TensorRule>,
    /// Tensors that are quantized already may be quantized again.
    pub allows_requantizing: bool,
    /// What the weights are worth.
    pub importance: Option<Importance>,
    /// Keys that are set in the new file.
    pub overrides: Vec<(String, Value)>,
    /// Threads; 0 for as many as the machine has cores.
    pub thread_count: usize,
}

/// Why a tensor gets its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is left alone: small, a norm, a router, or the type is the same.
    Kept,
    /// The mix, or the base type.
    Mix,
    /// A wish of the user's.
    Wish,
    /// Its rows are no whole blocks of the type it should have had.
    Fallback {
        /// That type.
        wanted: TensorType,
    },
    /// A search for the least loss in a given size.
    Searched,
}

/// What becomes of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedTensor {
    /// Its name.
    pub name: String,
    /// Its shape, the fastest dimension first.
    pub shape: Vec<u64>,
    /// Its type.
    pub from: TensorType,
    /// The type it gets.
    pub to: TensorType,
    /// Its bytes.
    pub size_before: u64,
    /// The bytes it will take.
    pub size_after: u64,
    /// Why it gets this type.
    pub reason: Reason,
    /// Whether the type is worthless without importances.
    pub needs_importance: bool,
}

/// What becomes of a model.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In the order of the file.
    pub tensors: Vec<PlannedTensor>,
    /// The keys of the new file.
    pub metadata: Metadata,
}

/// The version of the block formats, as `general.quantization_version` counts them.
const QUANTIZATION_VERSION: u32 = 2;

impl Plan {
    /// Decides.
    ///
    /// # Errors
    /// If the file names no architecture, or a key that is needed is of another type.
    pub fn new(model: &GgufFile, options: &Options) -> Result<Plan, QuantizeError> {
        let mut tensors: Vec<PlannedTensor> = model.tensors().iter().map(kept).collect();
        if let Some(file_type) = options.file_type {
            let facts = facts(model, options)?;
            let mut counters = Counters::default();
            // Layers count, not the order in which the file happens to have them.
            let mut order: Vec<usize> = (0..tensors.len()).collect();
            order.sort_by(|a, b| sort_key(&tensors[*a].name).cmp(&sort_key(&tensors[*b].name)));
            for index in order {
                let tensor = &mut tensors[index];
                if is_quantizable(facts.architecture, &tensor.name, &tensor.shape) {
                    let (to, reason) = choose(tensor, file_type, &facts, options, &mut counters);
                    retype(tensor, to, reason, file_type);
                }
            }
        }
        let metadata = metadata(model, options);
        Ok(Plan { tensors, metadata })
    }

    /// Bytes of all tensors, now and then.
    pub fn sizes(&self) -> (u64, u64) {
        let sum = |size: fn(&PlannedTensor) -> u64| self.tensors.iter().map(size).sum();
        (sum(|tensor| tensor.size_before), sum(|tensor| tensor.size_after))
    }

    /// Elements of all tensors.
    pub fn element_count(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.shape.iter().product::<u64>()).sum()
    }

    /// Whether a tensor gets a type that is worthless without the importances that are missing for it.
    ///
    /// # Errors
    /// If one does, if one is quantized already and may not be again, or if importances do not fit.
    pub fn check(&self, options: &Options) -> Result<(), QuantizeError> {
        for tensor in self.tensors.iter().filter(|tensor| tensor.from != tensor.to) {
            let name = || tensor.name.clone();
            if tensor.from.block_length() > 1 && !options.allows_requantizing {
                return Err(QuantizeError::Requantizes { tensor: name(), from: tensor.from, to: tensor.to });
            }
            let importance = importance_of(tensor, options)?;
            if tensor.needs_importance && importance.is_none() {
                return Err(QuantizeError::NeedsImportance { tensor: name(), to: tensor.to });
            }
        }
        Ok(())
    }
}

/// The sums for a tensor, if there are any.
///
/// # Errors
/// If they are of another shape. Embeddings are looked up, not multiplied: whatever stands there for them is left alone.
pub(super) fn importance_of(tensor: &PlannedTensor, options: &Options) -> Result<Option<Vec<f32>>, QuantizeError> {
    let entry = options.importance.as_ref().and_then(|importance| importance.matrix.entries.get(&tensor.name));
    let Some(entry) = entry else { return Ok(None) };
    let expected = tensor.shape[0] * tensor.shape.get(2).copied().unwrap_or(1);
    let means = entry.means();
    if means.len() as u64 == expected {
        return Ok(Some(means));
    }
    if Role::of(&tensor.name) == Role::Embedding {
        return Ok(None);
    }
    Err(QuantizeError::ImportanceShape { tensor: tensor.name.clone(), found: means.len() as u64, expected })
}

fn kept(tensor: &TensorInfo) -> PlannedTensor {
    PlannedTensor {
        name: tensor.name.clone(),
        shape: tensor.shape.clone(),
        from: tensor.tensor_type,
        to: tensor.tensor_type,
        size_before: tensor.size_bytes,
        size_after: tensor.size_bytes,
        reason: Reason::Kept,
        needs_importance: false,
    }
}

fn retype(tensor: &mut PlannedTensor, to: TensorType, reason: Reason, file_type: FileType) {
    let element_count: u64 = tensor.shape.iter().product();
    // Rows are whole blocks: `fallback` has seen to it; a wish for a plain type always fits.
    let Some(size_after) = to.size_bytes(element_count) else { return };
    let is_readable = lair_quant::is_supported(tensor.from) && !is_integer(tensor.from);
    if to == tensor.from || !is_readable {
        return;
    }
    tensor.needs_importance = mix::needs_importance(&tensor.name, to, file_type);
    (tensor.to, tensor.size_after, tensor.reason) = (to, size_after, reason);
}

fn is_integer(tensor_type: TensorType) -> bool {
    matches!(tensor_type, TensorType::I8 | TensorType::I16 | TensorType::I32 | TensorType::I64)
}

/// How many tensors of a role were decided on.
#[derive(Default)]
struct Counters {
    value: usize,
    down: usize,
    gate: usize,
    up: usize,
}

impl Counters {
    /// The place of the next tensor of this role. In models with experts the layers are counted by their names.
    fn place(&mut self, tensor: &PlannedTensor, role: Role, facts: &ModelFacts<'_>, is_low: bool) -> Place {
        let (counter, count) = match role {
            Role::Value => (&mut self.value, facts.value_count),
            Role::Down => (&mut self.down, facts.layer_count),
            Role::Gate => (&mut self.gate, facts.layer_count),
            Role::Up => (&mut self.up, facts.layer_count),
            _ => return Place { index: 0, count: facts.layer_count },
        };
        let by_number = *counter;
        *counter += 1;
        let by_name = facts.expert_count > 1 && role != Role::Value && !is_low;
        let index = if by_name { layer_of(&tensor.name).unwrap_or(by_number) } else { by_number };
        Place { index, count }
    }
}

fn choose(
    tensor: &PlannedTensor,
    file_type: FileType,
    facts: &ModelFacts<'_>,
    options: &Options,
    counters: &mut Counters,
) -> (TensorType, Reason) {
    let role = Role::of(&tensor.name);
    if options.keeps_output && tensor.name == "output.weight" {
        return (tensor.from, Reason::Kept);
    }
    let wish = options.rules.iter().find(|rule| rule.pattern.is_match(&tensor.name)).map(|rule| rule.to);
    // The embeddings of single layers are large tables of their own, which a wish may name.
    let is_named = tensor.name == "per_layer_token_embd.weight" && wish.is_some();
    let head = match role {
        Role::Embedding if !is_named => options.embedding,
        Role::Output => options.output,
        _ => None,
    };
    if let Some(to) = head {
        return fitting(to, tensor, Reason::Wish);
    }
    if !file_type.is_quantized() {
        return (file_type.base, Reason::Mix);
    }
    if let Some(to) = wish {
        return fitting(to, tensor, Reason::Wish);
    }
    if options.is_pure {
        return fitting(file_type.base, tensor, Reason::Mix);
    }
    if let (Role::Embedding, true, Some(to)) = (role, facts.has_tied_embedding, options.output) {
        return fitting(to, tensor, Reason::Wish);
    }
    if takes_eight_bits(facts.architecture, &tensor.name) {
        return fitting(TensorType::Q8_0, tensor, Reason::Mix);
    }
    let place = counters.place(tensor, role, facts, mix::is_low(file_type));
    fitting(mix::choose(file_type, facts, role, place, &tensor.shape), tensor, Reason::Mix)
}

/// The type, or the one that stands in for it where rows are no whole blocks.
fn fitting(wanted: TensorType, tensor: &PlannedTensor, reason: Reason) -> (TensorType, Reason) {
    let to = mix::fallback(wanted, tensor.shape[0]);
    (to, if to == wanted { reason } else { Reason::Fallback { wanted } })
}

/// Tensors outside of layers come first, then layer by layer; by name within.
fn sort_key(name: &str) -> (Option<usize>, &str) {
    (layer_of(name), name)
}

fn facts<'m>(model: &'m GgufFile, options: &Options) -> Result<ModelFacts<'m>, QuantizeError> {
    let architecture = model.architecture()?;
    let number = |key: &str| {
        let value = model.metadata().get(&format!("{architecture}.{key}"));
        // Where layers differ, the first one counts.
        let first = value.and_then(|value| {
            value.as_integer().or_else(|| value.as_array().filter(|array| !array.is_empty())?.integer(0))
        });
        first.and_then(|number| u64::try_from(number).ok())
    };
    let layer_count = number("block_count").unwrap_or(0) as usize;
    let head_count = number("attention.head_count").unwrap_or(0);
    let kv_head_count = number("attention.head_count_kv").unwrap_or(head_count);
    let is_70b = match architecture {
        "llama" => layer_count == 80 && head_count != kv_head_count,
        "qwen2" | "olmo" | "deci" => layer_count == 80,
        "jais2" => layer_count == 68,
        _ => false,
    };
    let names = || model.tensors().iter().map(|tensor| Role::of(&tensor.name));
    Ok(ModelFacts {
        architecture,
        is_falcon: architecture == "falcon",
        is_70b,
        group_size: head_count.checked_div(kv_head_count).unwrap_or(0),
        expert_count: number("expert_count").unwrap_or(0),
        layer_count,
        value_count: names().filter(|role| *role == Role::Value).count(),
        has_tied_embedding: !names().any(|role| role == Role::Output),
        has_importance: options.importance.is_some(),
    })
}

/// The keys of the new file: those of the model, what was done to it, and what the user sets.
fn metadata(model: &GgufFile, options: &Options) -> Metadata {
    let mut metadata = model.metadata().clone();
    for key in ["split.no", "split.count", "split.tensors.count"] {
        metadata.remove(key);
    }
    if let Some(file_type) = options.file_type {
        metadata.set("general.quantization_version", QUANTIZATION_VERSION);
        metadata.set("general.file_type", file_type.id);
    }
    if let Some(importance) = &options.importance {
        metadata.set("quantize.imatrix.file", importance.file.as_str());
        if let Some(dataset) = importance.matrix.datasets.first() {
            metadata.set("quantize.imatrix.dataset", dataset.as_str());
        }
        metadata.set("quantize.imatrix.entries_count", importance.matrix.entries.len() as u32);
        if importance.matrix.chunk_count > 0 {
            metadata.set("quantize.imatrix.chunks_count", importance.matrix.chunk_count);
        }
    }
    for (key, value) in &options.overrides {
        metadata.set(key, value.clone());
    }
    metadata
}
