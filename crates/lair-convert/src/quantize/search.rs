//! Chooses a type for every tensor so that a file has a given size and the model loses as little as it can.
//!
//! What a type costs a tensor is its relative error: of the squares of what the matrix gives, by the importance matrix, the
//! share that quantizing changes. For small errors the divergence of a model is a sum over its tensors, each error times a
//! factor of the tensor (Malinovskii et al., "Pushing the Limits of Large Language Model Quantization via the Linearity
//! Theorem"); the factors by role are [`sensitivity`]. Then a knapsack: all tensors start with their smallest type, and the
//! step up that saves most for its bytes is taken until none fits. Steps lie on each tensor's convex hull of error over
//! size, so this is the Lagrangian optimum up to the last step.

use std::collections::BTreeMap;
use std::sync::Mutex;

use lair_gguf::{GgufFile, GgufWriter, TensorType};
use lair_simd::{Isa, IsaChoice};

use super::{
    error::QuantizeError,
    file_type::{FILE_TYPES, FileType},
    plan::{Options, Plan, PlannedTensor, Reason, importance_of},
    role::Role,
};

/// Elements of a tensor that are tried with every type: enough for an error within about one percent.
const SAMPLE_ELEMENTS: usize = 1 << 19;

/// Types that are tried, where they are not named: those of one size that lose most are left out by the hull.
pub const CANDIDATES: &[TensorType] = &[
    TensorType::IQ2_XS,
    TensorType::Q2_K,
    TensorType::IQ3_XXS,
    TensorType::IQ3_S,
    TensorType::Q3_K,
    TensorType::IQ4_XS,
    TensorType::IQ4_NL,
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

/// How much a tensor's relative error adds to the divergence, in nats, in a model of some thirty layers; only the
/// proportions count.
///
/// Measured on SmolLM2-135M: all tensors of a role in Q4_0 and all others in F16, the divergence over the sum of the relative
/// errors (`docs/decisions/0037-target-size.md`). That model has one matrix as embedding and head; where there are two,
/// the head is taken to have two thirds of it.
fn sensitivity(role: Role, is_tied: bool) -> f64 {
    match role {
        Role::Embedding if is_tied => 8.6,
        Role::Output => 5.7,
        Role::Embedding => 2.9,
        Role::Query => 0.046,
        Role::Key => 0.072,
        Role::Value => 0.107,
        Role::AttentionOutput => 0.058,
        Role::Up => 0.162,
        Role::Gate => 0.117,
        Role::Down => 0.292,
        // Unknown matrices are taken for middling ones.
        Role::Other => 0.12,
    }
}

/// One type for one tensor. In a search the bytes are with what fills up the place of the tensor in the file.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Step {
    tensor_type: TensorType,
    size_bytes: u64,
    loss: f64,
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
    let tried = try_all(model, options, &plan, (&free, is_tied), target, progress)?;
    let before = |(index, steps): (&usize, &Vec<Step>)| {
        let planned = plan.tensors[*index].to;
        steps.iter().find(|step| step.tensor_type == planned).map_or(0.0, |step| step.loss)
    };
    let loss_before = free.iter().zip(&tried).map(before).sum();
    let ladders: Vec<Vec<Step>> = tried.iter().map(|steps| hull(steps)).collect();

    let taken = |index: &usize| plan.tensors[*index].size_after.next_multiple_of(alignment(&plan));
    let overhead = size_of(&plan)?.saturating_sub(free.iter().map(taken).sum::<u64>());
    let least: u64 = ladders.iter().map(|ladder| ladder[0].size_bytes).sum();
    let Some(budget) = target.size_bytes.checked_sub(overhead).filter(|budget| *budget >= least) else {
        return Err(QuantizeError::TargetTooSmall { target: target.size_bytes, least: overhead + least });
    };
    let chosen = climb(&ladders, budget);
    let mut errors = BTreeMap::new();
    let mut expected_loss = 0.0;
    for ((index, ladder), place) in free.iter().zip(&ladders).zip(&chosen) {
        let (tensor, step) = (&mut plan.tensors[*index], ladder[*place]);
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

/// Every candidate for every free tensor, on all threads.
fn try_all(
    model: &GgufFile,
    options: &Options,
    plan: &Plan,
    (free, is_tied): (&[usize], bool),
    target: &Target,
    progress: &(dyn Fn(usize, usize) -> bool + Sync),
) -> Result<Vec<Vec<Step>>, QuantizeError> {
    let queue = Mutex::new((0..free.len()).collect::<Vec<_>>().into_iter());
    let results: Mutex<Vec<Option<Vec<Step>>>> = Mutex::new(vec![None; free.len()]);
    let locked = |at: usize, steps| {
        let mut results = results.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        results[at] = Some(steps);
        results.iter().flatten().count()
    };
    let work = || -> Result<(), QuantizeError> {
        loop {
            let next = queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
            let Some(at) = next else { return Ok(()) };
            let tensor = &plan.tensors[free[at]];
            let factor = sensitivity(Role::of(&tensor.name), is_tied);
            let steps = try_types(model, options, tensor, &target.candidates)?.into_iter().map(|step| Step {
                loss: factor * step.loss,
                size_bytes: step.size_bytes.next_multiple_of(alignment(plan)),
                ..step
            });
            let steps = steps.collect();
            if !progress(locked(at, steps), free.len()) {
                return Err(QuantizeError::Stopped);
            }
        }
    };
    let threads = match options.thread_count {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        count => count,
    };
    std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        let others = helpers.into_iter().map(|helper| helper.join().expect("trying types does not panic"));
        others.fold(own, |first, next| first.and(next))
    })?;
    let results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(results.into_iter().map(|steps| steps.expect("every tensor was tried")).collect())
}

/// The relative error of each candidate that fits a tensor, on a sample of its rows.
fn try_types(
    model: &GgufFile,
    options: &Options,
    tensor: &PlannedTensor,
    candidates: &[TensorType],
) -> Result<Vec<Step>, QuantizeError> {
    let sample = Sample::of(model, options, tensor)?;
    let element_count: u64 = tensor.shape.iter().product();
    let mut steps = Vec::new();
    // What the plan would take is tried too, so that both can be compared.
    let planned = Some(tensor.to).filter(|planned| !candidates.contains(planned));
    for &candidate in candidates.iter().chain(&planned) {
        let needs_importance = candidate.block_length() > 1 && bits(candidate) < LEAST_BITS_WITHOUT_IMPORTANCE;
        if !tensor.shape[0].is_multiple_of(candidate.block_length() as u64)
            || needs_importance && sample.importance.is_none()
        {
            continue;
        }
        let Some(size_bytes) = candidate.size_bytes(element_count) else { continue };
        steps.push(Step { tensor_type: candidate, size_bytes, loss: sample.error(candidate)? });
    }
    if steps.is_empty() {
        // No candidate fits its rows: it keeps the type of the plan.
        steps.push(Step { tensor_type: tensor.to, size_bytes: tensor.size_after, loss: sample.error(tensor.to)? });
    }
    Ok(steps)
}

/// Types of fewer bits a weight are worthless without importances.
const LEAST_BITS_WITHOUT_IMPORTANCE: f64 = 3.2;

fn bits(tensor_type: TensorType) -> f64 {
    8.0 * tensor_type.block_bytes() as f64 / tensor_type.block_length() as f64
}

/// Some rows of a tensor, all of one distance.
struct Sample {
    name: String,
    row_length: usize,
    /// `[rows, row_length]`
    values: Vec<f32>,
    /// Of each row, which expert it belongs to.
    experts: Vec<usize>,
    /// `[experts, row_length]`
    importance: Option<Vec<f32>>,
    isa: Isa,
}

impl Sample {
    fn of(model: &GgufFile, options: &Options, tensor: &PlannedTensor) -> Result<Sample, QuantizeError> {
        let row_length = tensor.shape[0].max(1) as usize;
        let rows_of_expert = tensor.shape.get(1).copied().unwrap_or(1).max(1) as usize;
        let row_count = (tensor.shape.iter().product::<u64>() / row_length as u64) as usize;
        let taken = (SAMPLE_ELEMENTS / row_length).clamp(1, row_count.max(1)).min(row_count);
        let info = model.required_tensor(&tensor.name)?;
        let data = model.tensor_data(info);
        let row_bytes = data.len() / row_count.max(1);
        let mut values = vec![0.0; taken * row_length];
        let mut experts = Vec::with_capacity(taken);
        for (place, values) in values.chunks_exact_mut(row_length).enumerate() {
            let row = place * row_count / taken;
            lair_quant::dequantize(tensor.from, &data[row * row_bytes..][..row_bytes], values)?;
            if values.iter().any(|value| !value.is_finite()) {
                return Err(QuantizeError::NotFinite { tensor: tensor.name.clone(), row: row as u64 });
            }
            experts.push(row / rows_of_expert);
        }
        let isa = Isa::detect(IsaChoice::Auto);
        let importance = importance_of(tensor, options)?;
        Ok(Sample { name: tensor.name.clone(), row_length, values, experts, importance, isa })
    }

    /// Of the squares of what the rows give, the share that the type changes.
    fn error(&self, tensor_type: TensorType) -> Result<f64, QuantizeError> {
        let row_bytes = tensor_type.size_bytes(self.row_length as u64).unwrap_or(0) as usize;
        let mut bytes = vec![0; row_bytes];
        let mut back = vec![0.0; self.row_length];
        let (mut changed, mut all) = (0.0, 0.0);
        for (row, expert) in self.values.chunks_exact(self.row_length).zip(&self.experts) {
            let importance = self.importance.as_ref().map(|all| &all[expert * self.row_length..][..self.row_length]);
            if tensor_type.block_length() > 1 {
                lair_quant::encode(self.isa, tensor_type, row, self.row_length, importance, &mut bytes)?;
            } else {
                lair_quant::quantize(tensor_type, row, &mut bytes)?;
            }
            lair_quant::dequantize(tensor_type, &bytes, &mut back)?;
            for (column, (x, y)) in row.iter().zip(&back).enumerate() {
                let weight = importance.map_or(1.0, |importance| f64::from(importance[column]));
                changed += weight * f64::from(x - y).powi(2);
                all += weight * f64::from(*x).powi(2);
            }
        }
        let error = if all > 0.0 { changed / all } else { 0.0 };
        if error.is_finite() { Ok(error) } else { Err(QuantizeError::NotFinite { tensor: self.name.clone(), row: 0 }) }
    }
}

/// The types that are worth their bytes: the smallest one first, each step up saving less for a byte than the one before.
fn hull(steps: &[Step]) -> Vec<Step> {
    let mut sorted = steps.to_vec();
    sorted.sort_by(|a, b| a.size_bytes.cmp(&b.size_bytes).then(a.loss.total_cmp(&b.loss)));
    let mut ladder: Vec<Step> = Vec::new();
    for step in sorted {
        if ladder.last().is_some_and(|last| step.loss >= last.loss) {
            continue;
        }
        while let [.., first, last] = ladder[..]
            && gain(&first, &last) <= gain(&last, &step)
        {
            ladder.pop();
        }
        ladder.push(step);
    }
    ladder
}

/// What a step up saves for each byte.
fn gain(from: &Step, to: &Step) -> f64 {
    (from.loss - to.loss) / (to.size_bytes - from.size_bytes).max(1) as f64
}

/// How far up each ladder the bytes reach.
fn climb(ladders: &[Vec<Step>], budget: u64) -> Vec<usize> {
    let mut places = vec![0; ladders.len()];
    let mut left = budget - ladders.iter().map(|ladder| ladder[0].size_bytes).sum::<u64>();
    let mut is_open = vec![true; ladders.len()];
    loop {
        let next = |at: usize| Some((&ladders[at][places[at]], ladders[at].get(places[at] + 1)?));
        let open = (0..ladders.len()).filter(|at| is_open[*at]);
        let best =
            open.filter_map(|at| next(at).map(|(from, to)| (at, gain(from, to), to.size_bytes - from.size_bytes)));
        let best = best.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
        let Some((at, _, bytes)) = best else { return places };
        if bytes > left {
            // Too large a step: smaller ones elsewhere may still fit.
            is_open[at] = false;
            continue;
        }
        left -= bytes;
        places[at] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(size_bytes: u64, loss: f64) -> Step {
        Step { tensor_type: TensorType::Q4_0, size_bytes, loss }
    }

    #[test]
    fn types_that_are_not_worth_their_bytes_are_left_out() {
        let sizes = |steps: &[Step]| hull(steps).iter().map(|step| step.size_bytes).collect::<Vec<_>>();
        // 20 saves less than 30 does for a byte; 40 loses more than 30; of two equal sizes the better one counts.
        let steps = [step(40, 0.3), step(10, 1.0), step(20, 0.9), step(30, 0.2), step(10, 2.0), step(50, 0.1)];
        assert_eq!(sizes(&steps), [10, 30, 50]);
        assert_eq!(sizes(&[step(7, 0.0)]), [7]);
    }

    #[test]
    fn bytes_go_where_they_save_most_and_never_beyond_the_budget() {
        let ladders = [
            vec![step(10, 8.0), step(20, 2.0), step(40, 0.0)],
            vec![step(10, 3.0), step(20, 1.0)],
            vec![step(10, 0.1), step(11, 0.0)],
        ];
        // Gains a byte: 0.6, 0.1; 0.2; 0.1.
        for (budget, expected) in [
            (30, [0, 0, 0]),
            (39, [0, 0, 1]),
            (40, [1, 0, 0]),
            (50, [1, 1, 0]),
            (51, [1, 1, 1]),
            (70, [2, 1, 0]),
            (71, [2, 1, 1]),
        ] {
            assert_eq!(climb(&ladders, budget), expected, "{budget} bytes");
        }
    }

    #[test]
    fn the_greedy_choice_is_the_best_one_where_steps_are_equally_large() {
        // All choices of two ladders of three steps each, by brute force.
        let ladders =
            [vec![step(10, 5.0), step(20, 2.5), step(30, 1.0)], vec![step(10, 4.0), step(20, 1.2), step(30, 0.9)]];
        for budget in (20..=60).step_by(10) {
            let loss = |places: &[usize]| ladders.iter().zip(places).map(|(ladder, at)| ladder[*at].loss).sum::<f64>();
            let size = |places: &[usize]| ladders.iter().zip(places).map(|(l, at)| l[*at].size_bytes).sum::<u64>();
            let all = (0..3).flat_map(|a| (0..3).map(move |b| [a, b])).filter(|places| size(places) <= budget);
            let best = all.map(|places| loss(&places)).fold(f64::INFINITY, f64::min);
            assert!((loss(&climb(&ladders, budget)) - best).abs() < 1e-12, "{budget} bytes");
        }
    }
}
