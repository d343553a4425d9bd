//! What an importance matrix says about a model: how large the inputs of each matrix are, how evenly they are spread, how
//! alike they are from layer to layer.
//!
//! The figures are those of llama-imatrix's `--show-statistics`, so that both can be read side by side. They are of the
//! means of squares, over the columns of all experts that saw something.

use std::collections::BTreeMap;

use super::imatrix::{Entry, ImportanceMatrix};
use super::role::layer_of;

/// Means of squares of this and less are of columns that do nothing.
const INACTIVE_MAX: f32 = 1e-5;

/// Of one tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorStatistics {
    /// Its name.
    pub name: String,
    /// Its layer, if it is in one.
    pub layer: Option<usize>,
    /// Columns, those of all experts that saw something.
    pub columns: usize,
    /// Experts, or 1.
    pub experts: usize,
    /// Of those, how many saw nothing.
    pub unseen_experts: usize,
    /// Rows that were added up, of the expert that saw least and of the one that saw most.
    pub rows: (f64, f64),
    /// Sum of the means of squares.
    pub total: f64,
    /// The least of them.
    pub least: f64,
    /// Their mean.
    pub mean: f64,
    /// The greatest.
    pub greatest: f64,
    /// Their standard deviation.
    pub deviation: f64,
    /// The share of columns that do something, 0 to 1.
    pub active: f64,
    /// Entropy of the means taken as a distribution, in bits.
    pub entropy: f64,
    /// The same over the most it could be, 0 to 1: how evenly importance is spread.
    pub evenness: f64,
    /// The share of columns more than a standard deviation above the mean, 0 to 1 (Dettmers and others call such columns
    /// outliers).
    pub outliers: f64,
    /// Cosine of the angle between the sums and those of the same tensor one layer before, if there is one.
    pub similarity: Option<f64>,
}

/// Of one layer: means of its tensors' figures, each by its columns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerStatistics {
    /// The layer.
    pub layer: usize,
    /// Sum of the means of squares.
    pub total: f64,
    /// Share of outliers, 0 to 1.
    pub outliers: f64,
    /// Similarity to the layer before; 0 for tensors that have none.
    pub similarity: f64,
}

/// The figures of every tensor, by name.
pub fn tensor_statistics(matrix: &ImportanceMatrix) -> Vec<TensorStatistics> {
    let of = |(name, entry): (&String, &Entry)| {
        let before = layer_of(name).and_then(|layer| {
            let name = name.replacen(&format!("blk.{layer}."), &format!("blk.{}.", layer.checked_sub(1)?), 1);
            matrix.entries.get(&name)
        });
        statistics(name, entry, before)
    };
    matrix.entries.iter().filter(|(_, entry)| entry.counts.iter().any(|count| *count > 0.0)).map(of).collect()
}

fn statistics(name: &str, entry: &Entry, before: Option<&Entry>) -> TensorStatistics {
    let columns = (entry.sums.len() / entry.counts.len()).max(1);
    let seen = entry.sums.chunks(columns).zip(&entry.counts).filter(|(_, count)| **count > 0.0);
    let means: Vec<f64> =
        seen.flat_map(|(sums, count)| sums.iter().map(|sum| f64::from(*sum) / f64::from(*count))).collect();
    let count = means.len() as f64;
    let total: f64 = means.iter().sum();
    let mean = total / count;
    let deviation = (means.iter().map(|x| x * x).sum::<f64>() / count - mean * mean).max(0.0).sqrt();
    let share = |holds: &dyn Fn(f64) -> bool| means.iter().filter(|x| holds(**x)).count() as f64 / count;
    let entropy: f64 = -means.iter().map(|x| x / total).filter(|p| *p > 0.0).map(|p| p * p.log2()).sum::<f64>();
    let extreme = |choose: fn(f64, f64) -> f64, first: f64| means.iter().copied().fold(first, choose);
    let rows = entry.counts.iter().map(|count| f64::from(*count));
    TensorStatistics {
        name: name.to_owned(),
        layer: layer_of(name),
        columns: means.len(),
        experts: entry.counts.len(),
        unseen_experts: entry.counts.iter().filter(|count| **count <= 0.0).count(),
        rows: (rows.clone().fold(f64::INFINITY, f64::min), rows.fold(0.0, f64::max)),
        total,
        least: extreme(f64::min, f64::INFINITY),
        mean,
        greatest: extreme(f64::max, f64::NEG_INFINITY),
        deviation,
        active: share(&|x| x.abs() > f64::from(INACTIVE_MAX)),
        entropy,
        evenness: if means.len() > 1 { entropy / count.log2() } else { 0.0 },
        outliers: if deviation > 0.0 { share(&|x| (x - mean) / deviation > 1.0) } else { 0.0 },
        similarity: before.and_then(|before| similarity(&entry.sums, &before.sums)),
    }
}

fn similarity(a: &[f32], b: &[f32]) -> Option<f64> {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let lengths = (product(a, a) * product(b, b)).sqrt();
    (a.len() == b.len() && lengths > 0.0).then(|| product(a, b) / lengths)
}

/// The figures of every layer, the first one first.
pub fn layer_statistics(tensors: &[TensorStatistics]) -> Vec<LayerStatistics> {
    let mut layers: BTreeMap<usize, Vec<&TensorStatistics>> = BTreeMap::new();
    for tensor in tensors {
        if let Some(layer) = tensor.layer {
            layers.entry(layer).or_default().push(tensor);
        }
    }
    let of = |(layer, tensors): (usize, Vec<&TensorStatistics>)| {
        let columns: f64 = tensors.iter().map(|tensor| tensor.columns as f64).sum();
        let mean = |figure: &dyn Fn(&TensorStatistics) -> f64| {
            tensors.iter().map(|tensor| tensor.columns as f64 * figure(tensor)).sum::<f64>() / columns
        };
        LayerStatistics {
            layer,
            total: mean(&|tensor| tensor.total),
            outliers: mean(&|tensor| tensor.outliers),
            similarity: mean(&|tensor| tensor.similarity.unwrap_or(0.0)),
        }
    };
    layers.into_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(entries: &[(&str, &[f32], &[f32])]) -> ImportanceMatrix {
        let entry = |(name, sums, counts): &(&str, &[f32], &[f32])| {
            ((*name).to_owned(), Entry { sums: sums.to_vec(), counts: counts.to_vec() })
        };
        ImportanceMatrix { entries: entries.iter().map(entry).collect(), ..ImportanceMatrix::default() }
    }

    #[test]
    fn figures_are_of_the_means_of_squares() {
        let found = tensor_statistics(&matrix(&[
            ("blk.0.attn_q.weight", &[2.0, 2.0, 2.0, 10.0], &[2.0]),
            ("blk.1.attn_q.weight", &[4.0, 4.0, 4.0, 20.0], &[2.0]),
        ]));
        let first = &found[0];
        assert_eq!((first.total, first.least, first.mean, first.greatest), (8.0, 1.0, 2.0, 5.0));
        assert!((first.deviation - 3f64.sqrt()).abs() < 1e-9);
        // Shares of 1/8, 1/8, 1/8 and 5/8.
        let entropy = 3.0 / 8.0 * 3.0 + 5.0 / 8.0 * (8f64 / 5.0).log2();
        assert!((first.entropy - entropy).abs() < 1e-9 && (first.evenness - entropy / 2.0).abs() < 1e-9);
        assert_eq!((first.outliers, first.active, first.similarity), (0.25, 1.0, None));
        assert!((found[1].similarity.expect("a layer before") - 1.0).abs() < 1e-9);
        let layers = layer_statistics(&found);
        assert_eq!((layers.len(), layers[1].layer, layers[1].total), (2, 1, 16.0));
    }

    #[test]
    fn experts_that_saw_nothing_are_counted_and_left_out() {
        let found = tensor_statistics(&matrix(&[
            ("blk.0.ffn_up_exps.weight", &[3.0, 3.0, 0.0, 0.0], &[3.0, 0.0]),
            ("blk.0.ffn_down_exps.weight", &[0.0; 2], &[0.0; 2]),
        ]));
        assert_eq!(found.len(), 1, "what saw nothing at all has no figures");
        assert_eq!((found[0].columns, found[0].experts, found[0].unseen_experts), (2, 2, 1));
        assert_eq!((found[0].mean, found[0].rows), (1.0, (0.0, 3.0)));
    }
}
