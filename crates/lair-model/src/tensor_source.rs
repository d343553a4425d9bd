//! The tensors of a file, checked against what a declaration needs before any weight is touched.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use lair_compute::{MatrixBytes, RowSelection, VectorBytes};
use lair_gguf::{GgufFile, TensorData, TensorInfo, TensorType};

use crate::spec::Architecture;
use crate::tensor_needs::{Fit, Presence, TensorNeed};
use crate::{ModelConfig, ModelError};

/// Tensors that files of any architecture may carry and that no token needs: the parts of a model for pictures and
/// sound, angles that older converters stored, scales of inputs that are quantized by other rules here. Whole names,
/// starts that end in `.`, or ends that begin with `.`.
const IGNORED_EVERYWHERE: [&str; 7] =
    ["v.", "mm.", "a.", "rope.freqs", ".attn_rot_embd.weight", ".attn.rotary_emb.inv_freq", ".input_scale"];

/// Tensors of what is made of pooled hidden states; [`crate::PooledHead`] reads and checks them.
const POOLED: [&str; 3] = ["cls.", "dense_2.", "dense_3."];

/// A file whose tensors fit a declaration.
pub(crate) struct TensorSource<'a> {
    file: &'a GgufFile,
    /// Names that are both declared and there.
    found: HashSet<String>,
    /// Names that are there and are not needed.
    pub(crate) ignored: Vec<String>,
}

impl<'a> TensorSource<'a> {
    /// Checks that every declared tensor is there with its shape, and that every tensor there is declared.
    pub(crate) fn new(
        file: &'a GgufFile,
        architecture: &Architecture,
        config: &ModelConfig,
        needs: &[TensorNeed],
    ) -> Result<TensorSource<'a>, ModelError> {
        let mut found = HashSet::new();
        let left_out = |need: &TensorNeed| need.presence == Presence::Optional && is_listed(&need.name, architecture);
        let unused: HashSet<&str> =
            needs.iter().filter(|need| need.presence == Presence::Unused).map(|need| need.name.as_str()).collect();
        for need in needs.iter().filter(|need| need.presence != Presence::Unused && !left_out(need)) {
            match file.tensor(&need.name) {
                Some(tensor) => {
                    check_shape(need, tensor)?;
                    found.insert(need.name.clone());
                }
                None => {
                    let required = match &need.presence {
                        Presence::Required => true,
                        Presence::Optional | Presence::Unused => false,
                        Presence::Unless(other) => file.tensor(other).is_none(),
                        Presence::With(other) => file.tensor(other).is_some(),
                        Presence::WithUnless(with, unless) => {
                            file.tensor(with).is_some() && file.tensor(unless).is_none()
                        }
                    };
                    if required {
                        return Err(ModelError::MissingTensor { name: need.name.clone(), shape: need.shape.clone() });
                    }
                }
            }
        }
        let is_pooled = |name: &String| POOLED.iter().any(|start| name.starts_with(start));
        let others = file.tensors().iter().map(|tensor| &tensor.name);
        let others = others.filter(|name| !found.contains(*name) && !is_pooled(name));
        let (ignored, undeclared): (Vec<&String>, Vec<&String>) =
            others.partition(|name| unused.contains(name.as_str()) || is_ignored(name, architecture, config));
        if let Some(first) = undeclared.first() {
            return Err(ModelError::UnusedTensors {
                architecture: architecture.gguf_name.to_owned(),
                count: undeclared.len(),
                first: (*first).clone(),
            });
        }
        let ignored = ignored.into_iter().cloned().collect();
        Ok(TensorSource { file, found, ignored })
    }

    /// Gives the pages of the file that are in memory back to the system.
    pub(crate) fn release_pages(&self) {
        self.file.release_pages();
    }

    /// Whether the file has this declared tensor.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.found.contains(name)
    }

    /// The rows of a matrix or a stack of them, `[columns, rows, count]`.
    pub(crate) fn matrix(&self, name: &str, selection: RowSelection) -> MatrixBytes {
        let tensor = self.tensor(name);
        let dimension = |index: usize| tensor.shape.get(index).map_or(1, |length| *length as usize);
        MatrixBytes {
            name: name.to_owned(),
            bytes: Arc::new(LazyTensor { file: self.file.clone(), tensor: tensor.clone(), data: OnceLock::new() }),
            tensor_type: tensor.tensor_type,
            columns: dimension(0),
            stored_rows: dimension(1),
            count: dimension(2),
            selection,
        }
    }

    /// The elements of a tensor, whatever its shape.
    pub(crate) fn vector(&self, name: &str, selection: RowSelection) -> VectorBytes {
        let tensor = self.tensor(name);
        VectorBytes {
            name: name.to_owned(),
            bytes: Arc::new(self.file.tensor_data(tensor)),
            tensor_type: tensor.tensor_type,
            length: tensor.element_count() as usize,
            selection,
        }
    }

    /// The elements of a tensor of whole numbers, all of them below `limit`.
    pub(crate) fn indices(&self, name: &str, limit: usize) -> Result<Vec<u32>, ModelError> {
        let tensor = self.tensor(name);
        let wrong = |found: String| ModelError::TensorValues {
            name: name.to_owned(),
            found,
            expected: format!("whole numbers of 32 bits below {limit}"),
        };
        if tensor.tensor_type != TensorType::I32 {
            return Err(wrong(format!("elements of type {}", tensor.tensor_type)));
        }
        let data = self.file.tensor_data(tensor);
        let (elements, _) = AsRef::<[u8]>::as_ref(&data).as_chunks::<4>();
        // A number below zero is too large, too.
        let indices = elements.iter().map(|bytes| u32::from_le_bytes(*bytes));
        match indices.clone().find(|index| *index as usize >= limit) {
            Some(index) => Err(wrong(index.cast_signed().to_string())),
            None => Ok(indices.collect()),
        }
    }

    /// # Panics
    /// If the tensor was not declared: loading and declaration have come apart.
    fn tensor(&self, name: &str) -> &'a TensorInfo {
        assert!(self.found.contains(name), "`{name}` is loaded but was not declared, or is not there");
        self.file.tensor(name).expect("it was found when the file was checked")
    }
}

/// A tensor that is made, or found in its file, when somebody looks at it. A backend that has a matrix already does not.
struct LazyTensor {
    file: GgufFile,
    tensor: TensorInfo,
    data: OnceLock<TensorData>,
}

impl AsRef<[u8]> for LazyTensor {
    fn as_ref(&self) -> &[u8] {
        self.data.get_or_init(|| self.file.tensor_data(&self.tensor)).as_ref()
    }
}

/// Compares shapes; trailing dimensions of 1 count for nothing.
fn check_shape(need: &TensorNeed, tensor: &TensorInfo) -> Result<(), ModelError> {
    let trimmed = |shape: &[u64]| {
        let length = shape.iter().rposition(|dimension| *dimension != 1).map_or(0, |last| last + 1);
        shape[..length].to_vec()
    };
    let expected: Vec<u64> = need.shape.iter().map(|dimension| *dimension as u64).collect();
    let fits = match need.fit {
        Fit::Exact => false,
        Fit::Flat => trimmed(&tensor.shape) == trimmed(&[expected.iter().product()]),
        Fit::Stacked => {
            let (columns, rows) = (expected[0], expected[1..].iter().product());
            trimmed(&tensor.shape) == trimmed(&[columns, rows])
        }
        Fit::MoreRows => {
            let [columns, rows] = [0, 1].map(|index| tensor.shape.get(index).copied().unwrap_or(1));
            tensor.shape.len() <= 2 && columns == expected[0] && rows >= expected[1]
        }
    };
    if fits || trimmed(&tensor.shape) == trimmed(&expected) {
        return Ok(());
    }
    Err(ModelError::TensorShape { name: need.name.clone(), found: tensor.shape.clone(), expected: need.shape.clone() })
}

/// Whether a list of tensors that are not used names this one.
fn is_listed(name: &str, architecture: &Architecture) -> bool {
    let matches = |entry: &&str| {
        let starts = entry.ends_with('.') && name.starts_with(*entry);
        let ends = entry.starts_with('.') && name.ends_with(*entry);
        name == *entry || starts || ends
    };
    IGNORED_EVERYWHERE.iter().any(matches) || architecture.ignored_tensors.iter().any(matches)
}

/// Whether a tensor that was not declared may be there.
fn is_ignored(name: &str, architecture: &Architecture, config: &ModelConfig) -> bool {
    if is_listed(name, architecture) {
        return true;
    }
    // Layers that predict further tokens stand behind those that run.
    let layer_index = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()).map(str::parse::<usize>);
    matches!(layer_index, Some(Ok(index))
        if index >= config.layer_count && index < config.layer_count + config.prediction_layer_count)
}
