//! Chooses a type for every tensor so that a file has a given size and the model loses as little as it can.
//!
//! What a type costs a tensor is its relative error: of the squares of what the matrix gives, by the importance matrix, the
//! share that quantizing changes. For small errors the divergence of a model is a sum over its tensors, each error times a
//! factor of the tensor (Malinovskii et al., "Pushing the Limits of Large Language Model Quantization via the Linearity
//! Theorem"); `sensitivity` has the factors, `trial` finds the errors, and `knapsack` chooses, from the best stock mix that
//! fits.

mod knapsack;
mod sensitivity;
mod trial;

use std::collections::BTreeMap;

use lair_gguf::{GgufFile, GgufWriter, TensorType};

use self::{knapsack::Step, sensitivity::sensitivity, trial::try_all};
use super::{
    error::QuantizeError,
    file_type::{self, FILE_TYPES, FileType},
    plan::{Options, Plan, PlannedTensor, Reason},
    role::Role,
};

/// Types that are tried, where they are not named: those of one size that lose most are left out by the hull. All types of
/// the stock mixes from `IQ2_M` on are among them.
pub const CANDIDATES: &[TensorType] = &[
    TensorType::IQ2_XS,
    TensorType::IQ2_S,
    TensorType::Q2_K,
    TensorType::IQ3_XXS,
    TensorType::IQ3_S,
    TensorType::Q3_K,
    TensorType::IQ4_XS,
    TensorType::IQ4_NL,
    TensorType::Q4_0,
    TensorType::Q4_K,
    TensorType::Q4_1,
    TensorType::Q5_0,
    TensorType::Q5_1,
    TensorType::Q5_K,
    TensorType::Q6_K,
    TensorType::Q8_0,
    TensorType::F16,
];

/// What is wanted of a search.
#[derive(Clone, Debug)]
pub struct Target {
    /// Bytes that the file may have.
    pub size_bytes: u64,
    /// Types that are tried.
    pub candidates: Vec<TensorType>,
}

/// What a search has found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The plan with the types that were chosen.
    pub plan: Plan,
    /// The bytes the file will have.
    pub size_bytes: u64,
    /// The sum that was made small: each tensor's relative error times its factor.
    pub expected_loss: f64,
    /// The same of the plan that the search began with.
    pub loss_before: f64,
    /// The relative error of every tensor that was chosen for, by name.
    pub errors: BTreeMap<String, f64>,
}

/// Searches, beginning with the plan that `options` make. Tensors that it leaves alone or that the user has wishes for keep
/// their types. `progress` is told how many tensors of how many were tried; an answer of false ends the search.
///
/// # Errors
/// As [`Plan::new`] and [`Plan::check`]; if even the smallest types are too large.
pub fn search(
    model: &GgufFile,
    options: &Options,
    target: &Target,
    progress: &(dyn Fn(usize, usize) -> bool + Sync),
) -> Result<Found, QuantizeError> {
    let mut plan = Plan::new(model, options)?;
    let is_free = |tensor: &PlannedTensor| matches!(tensor.reason, Reason::Mix | Reason::Fallback { .. });
    let free: Vec<usize> = (0..plan.tensors.len()).filter(|index| is_free(&plan.tensors[*index])).collect();
    for tensor in free.iter().map(|index| &plan.tensors[*index]) {
        if tensor.from.block_length() > 1 && !options.allows_requantizing {
            return Err(QuantizeError::Requantizes { tensor: tensor.name.clone(), from: tensor.from, to: tensor.to });
        }
    }
    let is_tied = !plan.tensors.iter().any(|tensor| Role::of(&tensor.name) == Role::Output);
    let mut tried = try_all(model, options, &plan, (&free, is_tied), target, progress)?;
    let before = |(index, steps): (&usize, &Vec<Step>)| {
        let planned = plan.tensors[*index].to;
        steps.iter().find(|step| step.tensor_type == planned).map_or(0.0, |step| step.loss)
    };
    let loss_before = free.iter().zip(&tried).map(before).sum();
    for steps in &mut tried {
        only_candidates(steps, &target.candidates);
    }

    let taken = |index: &usize| plan.tensors[*index].size_after.next_multiple_of(alignment(&plan));
    let overhead = size_of(&plan)?.saturating_sub(free.iter().map(taken).sum::<u64>());
    let mixes = mixes(model, options, &free)?;
    let budget = target.size_bytes.saturating_sub(overhead);
    let Some(chosen) = knapsack::choose(&tried, &mixes, budget) else {
        let smallest = |steps: &Vec<Step>| steps.iter().map(|step| step.size_bytes).min().unwrap_or(0);
        let least = overhead + tried.iter().map(smallest).sum::<u64>();
        return Err(QuantizeError::TargetTooSmall { target: target.size_bytes, least });
    };
    let mut errors = BTreeMap::new();
    let mut expected_loss = 0.0;
    for (index, step) in free.iter().zip(&chosen) {
        let tensor = &mut plan.tensors[*index];
        let element_count = tensor.shape.iter().product();
        let size_after =
            step.tensor_type.size_bytes(element_count).expect("its rows are whole blocks of what was tried");
        (tensor.to, tensor.size_after, tensor.reason) = (step.tensor_type, size_after, Reason::Searched);
        tensor.needs_importance = false;
        expected_loss += step.loss;
        errors.insert(tensor.name.clone(), step.loss / sensitivity(Role::of(&tensor.name), is_tied));
    }
    name_file_type(&mut plan);
    let size_bytes = size_of(&plan)?;
    Ok(Found { plan, size_bytes, expected_loss, loss_before, errors })
}

/// Leaves out what was tried for the comparison alone, unless nothing else fits the tensor.
fn only_candidates(steps: &mut Vec<Step>, candidates: &[TensorType]) {
    if steps.iter().any(|step| candidates.contains(&step.tensor_type)) {
        steps.retain(|step| candidates.contains(&step.tensor_type));
    }
}

/// The types that each stock mix gives the tensors, of those mixes that can be made with the importances at hand.
fn mixes(model: &GgufFile, options: &Options, free: &[usize]) -> Result<Vec<Vec<TensorType>>, QuantizeError> {
    let mut found = Vec::new();
    for file_type in FILE_TYPES.iter().filter(|known| known.is_quantized() && **known != file_type::MXFP4_MOE) {
        let options = Options { file_type: Some(*file_type), ..options.clone() };
        let plan = Plan::new(model, &options)?;
        if plan.check(&options).is_ok() {
            found.push(free.iter().map(|index| plan.tensors[*index].to).collect());
        }
    }
    Ok(found)
}

/// Names the file after the type that most of its elements have.
fn name_file_type(plan: &mut Plan) {
    let mut elements: BTreeMap<&str, (u64, TensorType)> = BTreeMap::new();
    for tensor in plan.tensors.iter().filter(|tensor| tensor.reason == Reason::Searched) {
        let entry = elements.entry(tensor.to.name()).or_insert((0, tensor.to));
        entry.0 += tensor.shape.iter().product::<u64>();
    }
    let Some((_, most)) = elements.into_values().max_by_key(|(count, _)| *count) else { return };
    let of_name = FileType::from_name(most.name()).filter(|file_type| file_type.base == most);
    if let Some(file_type) = of_name.or_else(|| FILE_TYPES.iter().find(|file_type| file_type.base == most).copied()) {
        plan.metadata.set("general.file_type", file_type.id);
    }
}

/// Tensors begin at multiples of so many bytes.
fn alignment(plan: &Plan) -> u64 {
    let wanted = plan.metadata.optional_u32("general.alignment").ok().flatten();
    u64::from(wanted.unwrap_or(ALIGNMENT).max(1))
}

/// Where a file says nothing else.
const ALIGNMENT: u32 = 32;

/// The bytes of the file that a plan makes.
///
/// # Errors
/// If its keys or tensors cannot be written.
pub fn size_of(plan: &Plan) -> Result<u64, QuantizeError> {
    let mut writer = GgufWriter::new(plan.metadata.clone())?;
    for tensor in &plan.tensors {
        writer.add_tensor(&tensor.name, &tensor.shape, tensor.to)?;
    }
    Ok(writer.size_bytes())
}
