//! Low-rank adapters (LoRA): a file of narrow matrices that change what some products of a model give.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use lair_compute::{MatrixBytes, RowSelection};
use lair_gguf::{GgufFile, TensorInfo};

use crate::tensor_needs::TensorNeed;
use crate::{ModelConfig, ModelError};

/// Ends of the names of the two matrices of a product: `[rank, columns]` and `[rows, rank]`.
const ENDS: [&str; 2] = [".lora_a", ".lora_b"];

/// What a loaded adapter is (Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1).
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterSummary {
    /// The file.
    pub path: PathBuf,
    /// `general.name`.
    pub name: Option<String>,
    /// `adapter.lora.alpha`: what the adapter adds is multiplied by this over its rank; 0 leaves it as it is.
    pub alpha: f32,
    /// The largest rank of its matrices.
    pub rank: usize,
    /// Products that it changes.
    pub product_count: usize,
    /// Bytes of its matrices.
    pub size_bytes: u64,
}

/// An adapter's file, checked against the tensors that a model of its architecture has.
pub(crate) struct Adapter<'a> {
    file: &'a GgufFile,
    alpha: f32,
    /// The two matrices by the name of the tensor that they belong to.
    pairs: BTreeMap<String, [&'a TensorInfo; 2]>,
    used: RefCell<HashSet<String>>,
}

impl<'a> Adapter<'a> {
    /// Checks what the file says it is, and every matrix against the product it changes.
    ///
    /// # Errors
    /// [`ModelError::Adapter`] names the file and what does not fit.
    pub(crate) fn new(
        file: &'a GgufFile,
        config: &ModelConfig,
        needs: &[TensorNeed],
    ) -> Result<Adapter<'a>, ModelError> {
        let refuse = |cause: String| ModelError::Adapter { path: file.path().to_owned(), cause };
        let metadata = file.metadata();
        for (key, expected) in [("general.type", "adapter"), ("adapter.type", "lora")] {
            let found: Option<&str> = metadata.optional(key)?;
            if found != Some(expected) {
                let found = found.map_or("nothing".to_owned(), |found| format!("`{found}`"));
                return Err(refuse(format!("`{key}` holds {found}, expected `{expected}`")));
            }
        }
        let architecture = file.architecture()?;
        if architecture != config.architecture {
            let of_model = &config.architecture;
            return Err(refuse(format!("it was made for `{architecture}`, the model's architecture is `{of_model}`")));
        }
        if metadata.contains("adapter.alora.invocation_tokens") {
            return Err(refuse(
                "it is to be switched on by tokens of the prompt (aLoRA), which cannot be done yet".into(),
            ));
        }
        let alpha = metadata.optional::<f32>("adapter.lora.alpha")?.unwrap_or(0.0);
        if !alpha.is_finite() {
            return Err(refuse(format!("`adapter.lora.alpha` holds {alpha}, expected a finite number")));
        }
        let pairs = pairs(file, needs).map_err(refuse)?;
        Ok(Adapter { file, alpha, pairs, used: RefCell::default() })
    }

    /// The matrices for some rows of the product `stem`, `[rank, columns]` and `[rows, rank]`, and the factor on what they
    /// give.
    pub(crate) fn matrices(&self, stem: &str, rows: &RowSelection) -> Option<([MatrixBytes; 2], f32)> {
        let name = format!("{stem}.weight");
        let [down, up] = self.pairs.get(&name)?;
        let matrix = |tensor: &TensorInfo, selection: RowSelection| MatrixBytes {
            name: tensor.name.clone(),
            bytes: Arc::new(self.file.tensor_data(tensor)),
            tensor_type: tensor.tensor_type,
            columns: dimension(tensor, 0),
            stored_rows: dimension(tensor, 1),
            count: 1,
            selection,
        };
        let rank = dimension(down, 1);
        let scale = if self.alpha == 0.0 { 1.0 } else { self.alpha / rank as f32 };
        let matrices = [matrix(down, RowSelection::All), matrix(up, rows.clone())];
        self.used.borrow_mut().insert(name);
        Some((matrices, scale))
    }

    /// What was loaded, if all of it was.
    ///
    /// # Errors
    /// [`ModelError::Adapter`] names the first product that the forward pass does not adapt.
    pub(crate) fn summary(&self) -> Result<AdapterSummary, ModelError> {
        let used = self.used.borrow();
        if let Some(name) = self.pairs.keys().find(|name| !used.contains(*name)) {
            let cause = format!(
                "it changes `{name}`; what can be changed are the projections of attention and delta nets and dense \
                 feed-forward networks"
            );
            return Err(ModelError::Adapter { path: self.file.path().to_owned(), cause });
        }
        let tensors = || self.pairs.values().flatten();
        Ok(AdapterSummary {
            path: self.file.path().to_owned(),
            name: self.file.metadata().optional::<&str>("general.name")?.map(str::to_owned),
            alpha: self.alpha,
            rank: self.pairs.values().map(|[down, _]| dimension(down, 1)).max().unwrap_or(0),
            product_count: self.pairs.len(),
            size_bytes: tensors().map(|tensor| tensor.size_bytes).sum(),
        })
    }
}

/// Every product's two matrices, with fitting shapes.
fn pairs<'a>(file: &'a GgufFile, needs: &[TensorNeed]) -> Result<BTreeMap<String, [&'a TensorInfo; 2]>, String> {
    let needs: HashMap<&str, &TensorNeed> = needs.iter().map(|need| (need.name.as_str(), need)).collect();
    let mut found: BTreeMap<String, [Option<&TensorInfo>; 2]> = BTreeMap::new();
    for tensor in file.tensors() {
        let part = ENDS.iter().enumerate().find_map(|(index, end)| Some((index, tensor.name.strip_suffix(end)?)));
        let Some((index, base)) = part else {
            return Err(format!(
                "the tensor `{}` is no part of a low-rank adapter: names end in .lora_a or .lora_b",
                tensor.name
            ));
        };
        if !needs.contains_key(base) {
            return Err(format!("`{}` changes `{base}`, which the model does not have", tensor.name));
        }
        found.entry(base.to_owned()).or_default()[index] = Some(tensor);
    }
    if found.is_empty() {
        return Err("it has no tensors".into());
    }
    let mut pairs = BTreeMap::new();
    for (base, parts) in found {
        let [Some(down), Some(up)] = parts else {
            return Err(format!("`{base}` has only one of the two matrices .lora_a and .lora_b"));
        };
        let need = needs[base.as_str()];
        let (columns, rows) = (need.shape.first().copied().unwrap_or(1), need.shape.get(1).copied().unwrap_or(1));
        let rank = dimension(down, 1);
        for (tensor, expected) in [(down, [columns, rank]), (up, [rank, rows])] {
            if [dimension(tensor, 0), dimension(tensor, 1)] != expected || tensor.shape.len() > 2 {
                let found = &tensor.shape;
                return Err(format!("`{}` has the shape {found:?}, expected {expected:?} for `{base}`", tensor.name));
            }
        }
        pairs.insert(base, [down, up]);
    }
    Ok(pairs)
}

fn dimension(tensor: &TensorInfo, index: usize) -> usize {
    tensor.shape.get(index).map_or(1, |length| *length as usize)
}
