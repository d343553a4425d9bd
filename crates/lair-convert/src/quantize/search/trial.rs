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

/// Elements of a tensor that are tried with every type: enough for an error within some percent.
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

/// Rows of a tensor that stand for all of them.
///
/// A few rows can hold nearly all of what a matrix gives: those that write the massive activations of some models. They
/// decide on the relative error, so the largest rows are always among the sample; of the others, in the order of
/// their size, each one stands for the same number.
struct Sample {
    name: String,
    row_length: usize,
    /// `[rows, row_length]`
    values: Vec<f32>,
    /// Of each row, which expert it belongs to, and how many rows it stands for.
    rows: Vec<(usize, f64)>,
    /// `[experts, row_length]`
    importance: Option<Vec<f32>>,
    /// The same as it counts for the error: see [`LARGEST_IMPORTANCE`].
    counted: Option<Vec<f32>>,
    isa: Isa,
}

/// What a column counts for the error of a tensor at most, in medians of its row's importances.
///
/// Single columns with thousands of medians come from a few tokens alone, mostly the first of a text, and what happens to
/// them there is lost in the norm that follows. Counted in full, they hide what quantizing does to all other tokens:
/// SmolLM2 in the size of Q6_K came to three times the divergence of the mix.
const LARGEST_IMPORTANCE: f32 = 64.0;

/// Of the rows of a sample, the part that is for the largest ones: one of so many.
const LARGEST_PART: usize = 8;

impl Sample {
    fn of(model: &GgufFile, options: &Options, tensor: &PlannedTensor) -> Result<Sample, QuantizeError> {
        let row_length = tensor.shape[0].max(1) as usize;
        let rows_of_expert = tensor.shape.get(1).copied().unwrap_or(1).max(1) as usize;
        let row_count = (tensor.shape.iter().product::<u64>() / row_length as u64) as usize;
        let taken = (SAMPLE_ELEMENTS / row_length).clamp(1, row_count.max(1)).min(row_count);
        let info = model.required_tensor(&tensor.name)?;
        let data = model.tensor_data(info);
        let row_bytes = data.len() / row_count.max(1);
        let importance = importance_of(tensor, options)?;
        let counted = importance.as_ref().map(|all| all.chunks_exact(row_length).flat_map(limited).collect());
        let isa = Isa::detect(IsaChoice::Auto);
        let name = tensor.name.clone();
        let mut sample = Sample { name, row_length, values: Vec::new(), rows: Vec::new(), importance, counted, isa };
        let read = |row: usize, values: &mut [f32]| {
            lair_quant::dequantize(tensor.from, &data[row * row_bytes..][..row_bytes], values)
        };

        let mut values = vec![0.0; row_length];
        let mut sizes = Vec::with_capacity(row_count);
        for row in 0..row_count {
            read(row, &mut values)?;
            let size = sample.weighted(row / rows_of_expert, &values, &[]);
            if !size.is_finite() {
                return Err(QuantizeError::NotFinite { tensor: tensor.name.clone(), row: row as u64 });
            }
            sizes.push(size);
        }
        let chosen = standing_for_all(&sizes, taken);
        sample.values = vec![0.0; chosen.len() * row_length];
        for ((row, _), values) in chosen.iter().zip(sample.values.chunks_exact_mut(row_length)) {
            read(*row, values)?;
        }
        sample.rows = chosen.into_iter().map(|(row, count)| (row / rows_of_expert, count)).collect();
        Ok(sample)
    }

    /// Of the squares of what the rows give, the share that the type changes.
    fn error(&self, tensor_type: TensorType) -> Result<f64, QuantizeError> {
        let row_bytes = tensor_type.size_bytes(self.row_length as u64).unwrap_or(0) as usize;
        let mut bytes = vec![0; row_bytes];
        let mut back = vec![0.0; self.row_length];
        let (mut changed, mut all) = (0.0, 0.0);
        for (row, &(expert, count)) in self.values.chunks_exact(self.row_length).zip(&self.rows) {
            let importance = self.importance.as_ref().map(|all| &all[expert * self.row_length..][..self.row_length]);
            if tensor_type.block_length() > 1 {
                lair_quant::encode(self.isa, tensor_type, row, self.row_length, importance, &mut bytes)?;
            } else {
                lair_quant::quantize(tensor_type, row, &mut bytes)?;
            }
            lair_quant::dequantize(tensor_type, &bytes, &mut back)?;
            changed += count * self.weighted(expert, row, &back);
            all += count * self.weighted(expert, row, &[]);
        }
        let error = if all > 0.0 { changed / all } else { 0.0 };
        if error.is_finite() { Ok(error) } else { Err(QuantizeError::NotFinite { tensor: self.name.clone(), row: 0 }) }
    }

    /// The sum of the squares of what lies between a row and another, as columns count; without another, of the row.
    fn weighted(&self, expert: usize, row: &[f32], other: &[f32]) -> f64 {
        let counted = self.counted.as_ref().map(|all| &all[expert * self.row_length..][..self.row_length]);
        let of_column = |(column, x): (usize, &f32)| {
            let weight = counted.map_or(1.0, |counted| f64::from(counted[column]));
            weight * f64::from(x - other.get(column).copied().unwrap_or(0.0)).powi(2)
        };
        row.iter().enumerate().map(of_column).sum()
    }
}

/// The importances of one expert, none of them far above the others.
fn limited(importance: &[f32]) -> impl Iterator<Item = f32> {
    let mut sorted = importance.to_vec();
    sorted.sort_by(f32::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
    // Where half of the columns are never used, nothing says what is far above.
    let most = if median > 0.0 { LARGEST_IMPORTANCE * median } else { f32::INFINITY };
    importance.iter().map(move |value| value.min(most))
}

/// Rows, and how many each stands for, given the sizes of all of them.
fn standing_for_all(sizes: &[f64], taken: usize) -> Vec<(usize, f64)> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    if taken >= sizes.len() {
        return order.into_iter().map(|row| (row, 1.0)).collect();
    }
    order.sort_by(|a, b| sizes[*b].total_cmp(&sizes[*a]).then(a.cmp(b)));
    let (largest, others) = order.split_at(taken / LARGEST_PART);
    let spread = taken - largest.len();
    let each = others.len() as f64 / spread as f64;
    // The middle one of each group.
    let of_others = (0..spread).map(|place| (others[(2 * place + 1) * others.len() / (2 * spread)], each));
    largest.iter().map(|row| (*row, 1.0)).chain(of_others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_rows_stand_for_themselves_and_large_columns_for_no_more_than_they_are_worth() {
        let sizes: Vec<f64> = (0..1000).map(|row| if row == 701 { 1e6 } else { f64::from(row * 37 % 1000) }).collect();
        let chosen = standing_for_all(&sizes, 80);
        assert_eq!(chosen.len(), 80);
        assert_eq!(chosen[0], (701, 1.0));
        assert!(chosen[..10].iter().all(|(row, count)| sizes[*row] >= 990.0 && *count == 1.0), "{chosen:?}");
        assert!((chosen.iter().map(|(_, count)| count).sum::<f64>() - 1000.0).abs() < 1e-9);
        let total: f64 = chosen.iter().map(|(row, count)| sizes[*row] * count).sum();
        assert!((total / sizes.iter().sum::<f64>() - 1.0).abs() < 1e-3, "{total}");
        assert_eq!(limited(&[1.0, 2.0, 3.0, 500.0]).collect::<Vec<_>>(), [1.0, 2.0, 3.0, 192.0]);
        assert_eq!(limited(&[0.0, 0.0, 0.0, 500.0]).collect::<Vec<_>>(), [0.0, 0.0, 0.0, 500.0]);
        assert_eq!(standing_for_all(&sizes[..3], 5), [(0, 1.0), (1, 1.0), (2, 1.0)]);
    }
}
