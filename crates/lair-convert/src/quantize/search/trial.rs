//! What each type costs a tensor, found on a sample of its rows.

use std::sync::Mutex;

use lair_gguf::{GgufFile, TensorType};
use lair_simd::{Isa, IsaChoice};

use super::{
    super::{
        error::QuantizeError,
        plan::{Options, Plan, PlannedTensor, importance_of},
        role::Role,
    },
    Target, alignment,
    knapsack::Step,
    sensitivity::sensitivity,
};

/// Elements of a tensor that are tried with every type: enough for an error within about one percent.
const SAMPLE_ELEMENTS: usize = 1 << 19;

/// Every candidate for every free tensor, on all threads.
pub fn try_all(
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
    // Embeddings are looked up, so that nothing is counted for them; stock mixes give them Q2_K as well.
    let is_embedding = Role::of(&tensor.name) == Role::Embedding;
    for &candidate in candidates.iter().chain(&planned) {
        let needs_importance = candidate.block_length() > 1 && bits(candidate) < LEAST_BITS_WITHOUT_IMPORTANCE;
        let is_allowed = candidate == tensor.to || is_embedding && candidate == TensorType::Q2_K;
        let is_worthless = needs_importance && sample.importance.is_none() && !is_allowed;
        if !tensor.shape[0].is_multiple_of(candidate.block_length() as u64) || is_worthless {
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
