//! What is made of a pooled hidden state: the classifiers of rerankers, and the layers that some embedding models have
//! behind the pooling.
//!
//! They run once for a text, not for each of its tokens: a few hundred thousand products in plain code, beside billions
//! for the layers. So they are kept in F32 outside of the backend.

use lair_gguf::GgufFile;

use crate::config::{Pooling, limits};
use crate::spec::{Architecture, Classifier, PooledActivation};
use crate::{ModelConfig, ModelError};

/// Classes that a classifier may tell apart.
const CLASSES_MAX: usize = 1 << 16;

/// The layers behind the pooling.
#[derive(Clone, Debug)]
pub struct PooledHead {
    /// Of embeddings, one after the other (EmbeddingGemma).
    layers: Vec<Dense>,
    classifier: Option<LoadedClassifier>,
    pooling: Pooling,
}

#[derive(Clone, Debug)]
struct LoadedClassifier {
    declared: Classifier,
    dense: Option<Dense>,
    /// Weight of a norm by mean and variance, and what it adds under the root.
    norm: Option<(Vec<f32>, f32)>,
    output: Option<Dense>,
}

/// `weight * x + bias`.
#[derive(Clone, Debug)]
struct Dense {
    /// `[rows, columns]`.
    weight: Vec<f32>,
    columns: usize,
    bias: Option<Vec<f32>>,
}

impl PooledHead {
    /// Reads what the file has of it.
    ///
    /// # Errors
    /// If a tensor has a shape that does not fit what stands before it.
    pub(crate) fn load(
        file: &GgufFile,
        config: &ModelConfig,
        architecture: &Architecture,
    ) -> Result<PooledHead, ModelError> {
        let mut layers: Vec<Dense> = Vec::new();
        for stem in ["dense_2", "dense_3"] {
            let width = layers.last().map_or(config.hidden_size, Dense::rows);
            layers.extend(Dense::load(file, stem, width)?);
        }
        let declared = architecture.classifier;
        let dense = Dense::load(file, "cls", config.hidden_size)?;
        let width = dense.as_ref().map_or(config.hidden_size, Dense::rows);
        let output = Dense::load(file, "cls.output", width)?;
        let norm = vector(file, "cls.norm.weight", width)?;
        let norm = norm.map(|weight| (weight, config.layer_norm_epsilon.unwrap_or(0.0)));
        let has_classifier = dense.is_some() || output.is_some();
        Ok(PooledHead {
            layers,
            classifier: has_classifier.then_some(LoadedClassifier { declared, dense, norm, output }),
            pooling: config.classifier_pooling.unwrap_or(declared.pooling),
        })
    }

    /// Numbers in an embedding of a model whose hidden states have `hidden_size`.
    pub fn embedding_size(&self, hidden_size: usize) -> usize {
        self.layers.last().map_or(hidden_size, Dense::rows)
    }

    /// How many scores the classifier gives; 0 without one.
    pub fn class_count(&self) -> usize {
        let last =
            self.classifier.as_ref().and_then(|classifier| classifier.output.as_ref().or(classifier.dense.as_ref()));
        last.map_or(0, Dense::rows)
    }

    /// Whether the scores of the classifier add up to 1.
    pub fn scores_are_shares(&self) -> bool {
        self.classifier.as_ref().is_some_and(|classifier| classifier.declared.has_softmax)
    }

    /// What the classifier reads: the first token's hidden state, the last one's, or the mean.
    pub fn classifier_pooling(&self) -> Pooling {
        self.pooling
    }

    /// The embedding of a pooled hidden state, `[hidden_size]`.
    pub fn embedding(&self, pooled: Vec<f32>) -> Vec<f32> {
        self.layers.iter().fold(pooled, |values, layer| layer.apply(&values))
    }

    /// The scores of a pooled hidden state, `[class_count]`.
    ///
    /// # Panics
    /// If the model has no classifier, which the caller has asked before.
    pub fn scores(&self, pooled: &[f32]) -> Vec<f32> {
        let classifier = self.classifier.as_ref().expect("the caller has asked how many classes there are");
        let mut values = pooled.to_vec();
        if let Some(dense) = &classifier.dense {
            values = dense.apply(&values);
            values.iter_mut().for_each(|value| *value = classifier.declared.activation.of(*value));
            if let Some((weight, epsilon)) = &classifier.norm {
                layer_norm(&mut values, weight, *epsilon);
            }
        }
        if let Some(output) = &classifier.output {
            values = output.apply(&values);
        }
        if classifier.declared.has_softmax {
            let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            values.iter_mut().for_each(|value| *value = (*value - largest).exp());
            let sum: f32 = values.iter().sum();
            values.iter_mut().for_each(|value| *value /= sum);
        }
        values
    }
}

impl Dense {
    fn load(file: &GgufFile, stem: &str, columns: usize) -> Result<Option<Dense>, ModelError> {
        let name = format!("{stem}.weight");
        let Some(tensor) = file.tensor(&name) else { return Ok(None) };
        let count = usize::try_from(tensor.element_count()).unwrap_or(usize::MAX);
        let rows = count / columns.max(1);
        let fits = tensor.shape.first() == Some(&(columns as u64)) && rows > 0 && rows * columns == count;
        if !fits || rows > CLASSES_MAX.max(limits::HIDDEN_SIZE_MAX) {
            let expected = vec![columns, rows.clamp(1, CLASSES_MAX)];
            return Err(ModelError::TensorShape { name, found: tensor.shape.clone(), expected });
        }
        let weight = values(file, &name)?;
        let bias = vector(file, &format!("{stem}.bias"), rows)?;
        Ok(Some(Dense { weight, columns, bias }))
    }

    fn rows(&self) -> usize {
        self.weight.len() / self.columns
    }

    /// Sums in F64, so that the order of sums is of no account.
    fn apply(&self, values: &[f32]) -> Vec<f32> {
        let row = |(index, row): (usize, &[f32])| {
            let sum: f64 = row.iter().zip(values).map(|(weight, value)| f64::from(*weight) * f64::from(*value)).sum();
            (sum + self.bias.as_ref().map_or(0.0, |bias| f64::from(bias[index]))) as f32
        };
        self.weight.chunks_exact(self.columns).enumerate().map(row).collect()
    }
}

impl PooledActivation {
    fn of(self, value: f32) -> f32 {
        match self {
            PooledActivation::Tanh => value.tanh(),
            PooledActivation::Gelu => {
                // The tanh form (Hendrycks and Gimpel, "Gaussian Error Linear Units").
                let inner = (2.0 / std::f32::consts::PI).sqrt() * (value + 0.044_715 * value.powi(3));
                0.5 * value * (1.0 + inner.tanh())
            }
        }
    }
}

fn layer_norm(values: &mut [f32], weight: &[f32], epsilon: f32) {
    let count = values.len() as f64;
    let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
    let variance = values.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>() / count;
    let factor = 1.0 / (variance + f64::from(epsilon)).sqrt();
    for (value, weight) in values.iter_mut().zip(weight) {
        *value = ((f64::from(*value) - mean) * factor * f64::from(*weight)) as f32;
    }
}

/// The elements of a tensor that must be so many, if the file has it.
fn vector(file: &GgufFile, name: &str, length: usize) -> Result<Option<Vec<f32>>, ModelError> {
    let Some(tensor) = file.tensor(name) else { return Ok(None) };
    if tensor.element_count() != length as u64 {
        let found = tensor.shape.clone();
        return Err(ModelError::TensorShape { name: name.to_owned(), found, expected: vec![length] });
    }
    values(file, name).map(Some)
}

fn values(file: &GgufFile, name: &str) -> Result<Vec<f32>, ModelError> {
    let tensor = file.tensor(name).expect("it was looked up before");
    let bytes = lair_compute::VectorBytes {
        name: name.to_owned(),
        bytes: std::sync::Arc::new(file.tensor_data(tensor)),
        tensor_type: tensor.tensor_type,
        length: tensor.element_count() as usize,
        selection: lair_compute::RowSelection::All,
    };
    Ok(bytes.values()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dense(weight: &[f32], columns: usize) -> Dense {
        Dense { weight: weight.to_vec(), columns, bias: None }
    }

    fn classifier(declared: Classifier, dense: Option<Dense>, output: Option<Dense>) -> PooledHead {
        let classifier = Some(LoadedClassifier { declared, dense, norm: None, output });
        PooledHead { layers: Vec::new(), classifier, pooling: Pooling::First }
    }

    #[test]
    fn a_classifier_is_two_products_with_a_tangent_between() {
        let hidden = Dense { bias: Some(vec![0.5, -0.5]), ..dense(&[1.0, 0.0, 0.0, 2.0], 2) };
        let head = classifier(Classifier::TANH, Some(hidden), Some(dense(&[1.0, 10.0], 2)));
        assert_eq!(head.class_count(), 1);
        let expected = 0.75f32.tanh() + 10.0 * 0.5f32.tanh();
        assert!((head.scores(&[0.25, 0.5])[0] - expected).abs() < 1e-6);
    }

    #[test]
    fn scores_of_yes_and_no_are_shares() {
        let declared = Classifier { has_softmax: true, ..Classifier::TANH };
        let head = classifier(declared, None, Some(dense(&[1.0, 0.0, 0.0, 1.0], 2)));
        let scores = head.scores(&[3.0, 1.0]);
        assert!((scores[0] - 1.0 / (1.0 + (-2.0f32).exp())).abs() < 1e-6);
        assert!((scores[0] + scores[1] - 1.0).abs() < 1e-6);
    }

    #[test]
    fn layers_behind_the_pooling_follow_each_other() {
        let head = PooledHead {
            layers: vec![dense(&[1.0, 0.0, 0.0, 1.0, 1.0, 1.0], 2), dense(&[1.0, 1.0, 1.0], 3)],
            classifier: None,
            pooling: Pooling::First,
        };
        assert_eq!((head.embedding_size(2), head.class_count()), (1, 0));
        assert_eq!(head.embedding(vec![2.0, 3.0]), [10.0]);
    }
}
