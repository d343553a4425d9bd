//! What is changed in the numbers of a tensor, by what `config.json` says; and numbers that files have as keys, or checkpoints
//! not at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use lair_gguf::{MappedFile, Metadata};
use lair_model::TensorNeed;
use lair_model::spec::Source;
use lair_model::spec::source::Values;

use super::config::HfConfig;
use crate::element::ElementType;
use crate::error::{ConvertError, printable};
use crate::matrix::{Elements, Piece, SourceTensor};
use crate::recipe::{Recipe, ValueChange};

/// Numbers of a tensor that becomes a key: one for each layer, or a few.
const KEY_NUMBERS_MAX: usize = 1 << 12;

/// The change of a tensor of so many rows.
pub(crate) fn change_of(
    values: Values,
    name: &str,
    rows: usize,
    config: &HfConfig,
) -> Result<ValueChange, ConvertError> {
    Ok(match values {
        Values::Exponential => ValueChange::Exponential,
        Values::TernaryOfClass(class) if config.class == class => ValueChange::Ternary(Arc::default()),
        Values::Times(keys) => {
            let factor: f64 = keys.iter().filter_map(|key| config.number(&[key])).product();
            if factor == 1.0 { ValueChange::Same } else { ValueChange::Times(factor as f32) }
        }
        Values::TimesRootOfShare if config.flag(&["apply_mla_qkv_lora_rescale"]) == Some(false) => ValueChange::Same,
        Values::TimesRootOfShare => {
            let width = config.number(&["hidden_size"]).unwrap_or(0.0);
            ValueChange::Times((width / rows.max(1) as f64).sqrt() as f32)
        }
        Values::ScaledHead if !scales_head(config) => ValueChange::Same,
        Values::ScaledHead => {
            let width = config.number(&["d_model", "hidden_size"]).filter(|width| *width > 0.0).unwrap_or(1.0);
            ValueChange::Times(width.sqrt().recip() as f32)
        }
        Values::TimesStateInputs(key) => {
            let factors = state_inputs(key, rows, config);
            let factors = factors.ok_or_else(|| ConvertError::TensorShape {
                name: printable(name),
                found: vec![rows],
                expected: "rows of a gate, inputs, two groups of states and time steps, with a factor for each"
                    .to_owned(),
            })?;
            ValueChange::TimesRows(factors.into())
        }
        // What follows from the tensor and its place is known elsewhere.
        _ => ValueChange::Same,
    })
}

/// Whether the model divides what its head reads by the root of its width (T5).
pub(crate) fn scales_head(config: &HfConfig) -> bool {
    let by_word = config.flag(&["scale_decoder_outputs"]);
    // The third generation (mT5) never does; the first does if its head is the embedding's table, as it is if nothing is said.
    let is_third = config.class.starts_with("MT5");
    // An encoder has no head.
    !config.class.ends_with("EncoderModel")
        && by_word.unwrap_or_else(|| !is_third && config.flag(&["tie_word_embeddings"]) != Some(false))
}

/// A factor for each row of a state space's inputs: of its gate, its inputs, both groups of states, its time steps.
fn state_inputs(key: &str, rows: usize, config: &HfConfig) -> Option<Vec<f32>> {
    let all = config.number(&[key]).unwrap_or(1.0);
    let parts = match config.first(&["ssm_multipliers"]) {
        None => vec![1.0; 5],
        Some(list) => list.as_array()?.iter().map(serde_json::Value::as_f64).collect::<Option<Vec<f64>>>()?,
    };
    let inner = config.count(&["mamba_d_ssm"])? as usize;
    let states =
        (config.count(&["mamba_n_groups"])? as usize).checked_mul(config.count(&["mamba_d_state"])? as usize)?;
    let steps = rows.checked_sub(inner.checked_mul(2)?)?.checked_sub(states.checked_mul(2)?)?;
    let widths = [inner, inner, states, states, steps];
    if parts.len() != widths.len() {
        return None;
    }
    let of_part = |(width, part): (&usize, &f64)| std::iter::repeat_n((all * part) as f32, *width);
    Some(widths.iter().zip(&parts).flat_map(of_part).collect())
}

/// Sets the keys that tensors of the checkpoint hold: numbers of all layers, or whole numbers of one tensor.
pub(crate) fn set_keys(
    metadata: &mut Metadata,
    keys: BTreeMap<String, BTreeMap<usize, SourceTensor>>,
    files: &[MappedFile],
) -> Result<(), ConvertError> {
    for (key, layers) in keys {
        let count: usize = layers.values().map(|tensor| tensor.shape.iter().product::<usize>()).sum();
        if count > KEY_NUMBERS_MAX {
            let what = format!("the key `{key}` of {count} numbers");
            return Err(ConvertError::Unsupported { what });
        }
        let whole: Option<Vec<u64>> = layers
            .values()
            .map(|tensor| whole_numbers(tensor, files))
            .collect::<Option<Vec<_>>>()
            .map(|lists| lists.concat());
        match whole {
            Some(numbers) => metadata.set(&key, numbers),
            None => {
                metadata.set(&key, layers.into_values().flat_map(|tensor| numbers(tensor, files)).collect::<Vec<f32>>())
            }
        }
    }
    Ok(())
}

/// The numbers of a tensor.
fn numbers(tensor: SourceTensor, files: &[MappedFile]) -> Vec<f32> {
    let of_matrix = |matrix: crate::matrix::Matrix| {
        let (rows, columns) = (matrix.rows, matrix.columns);
        let piece = Piece::whole(matrix);
        (0..rows).flat_map(move |row| {
            let mut values = vec![0.0; columns];
            piece.row(files, row, &mut values);
            values
        })
    };
    tensor.matrices.into_iter().flat_map(of_matrix).collect()
}

/// The numbers of a vector of whole ones, none of which is negative.
fn whole_numbers(tensor: &SourceTensor, files: &[MappedFile]) -> Option<Vec<u64>> {
    let [matrix] = &tensor.matrices[..] else { return None };
    let Elements::Stored { element: ElementType::I64, file, start, row_stride, column_stride: 1 } = matrix.elements
    else {
        return None;
    };
    let number = |row: usize| {
        let start = start as usize + row * row_stride * 8;
        let bytes = files[file].get(start..start + 8)?;
        u64::try_from(i64::from_le_bytes(bytes.try_into().ok()?)).ok()
    };
    (matrix.columns == 1).then(|| (0..matrix.rows).map(number).collect()).flatten()
}

/// The vectors that a model needs and its checkpoints do not have, since all their numbers are the same.
pub(crate) fn constants(source: &Source, needs: &[TensorNeed], config: &HfConfig) -> Vec<Recipe> {
    let of_need = |need: &TensorNeed| {
        let stem = need.name.strip_suffix(".weight")?.rsplit('.').next()?;
        let (_, key) = source.constants.iter().find(|(constant, _)| *constant == stem)?;
        let number = key.and_then(|key| config.number(&[key])).unwrap_or(1.0) as f32;
        let values = vec![number; need.shape.iter().product()];
        Some(Recipe::of_values(&need.name, SourceTensor::of_values(&need.name, values)))
    };
    needs.iter().filter_map(of_need).collect()
}
