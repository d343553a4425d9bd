//! Changes of a tensor's shape on its way into a model, before the order of its rows is looked at.

use std::sync::Arc;

use lair_gguf::MappedFile;
use lair_model::spec::source::Change;

use crate::error::ConvertError;
use crate::hf::facts::Facts;
use crate::matrix::{Elements, Matrix, RowMaker, SourceTensor};

/// The tensor in the shape that the model has, for changes of shapes; all others leave it as it is.
///
/// # Errors
/// If it has no such shape.
pub(crate) fn reshaped(tensor: SourceTensor, change: Change, facts: &Facts) -> Result<SourceTensor, ConvertError> {
    let expected = match change {
        Change::Channels | Change::DeltaChannelsInTurn => "[channels, 1, taps] or [channels, taps], stored as numbers",
        Change::Column => "a vector",
        Change::Flat => "numbers in order",
        Change::ExpertRows | Change::ExpertRowsTransposed => "as many rows for each expert, stored as numbers",
        Change::StateGroups => "a vector that falls into the groups of the state space",
        Change::AlternateColumns(_) | Change::AlternateColumnsTransposed(_) => {
            "an even number of columns, stored as numbers"
        }
        Change::Adapters | Change::NeighbourAdapters => "[adapters, 1, rows, columns], stored as numbers in order",
        Change::PartTransposed { .. } => "equal parts of columns, stored as numbers",
        _ => return Ok(tensor),
    };
    let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
    let made = match change {
        Change::Channels | Change::DeltaChannelsInTurn => channels(tensor),
        Change::Column => rows_of_vector(tensor, None),
        Change::Flat => flat(tensor),
        Change::ExpertRows => stack_of_experts(tensor, facts.expert_count, false),
        Change::ExpertRowsTransposed => stack_of_experts(tensor, facts.expert_count, true),
        Change::StateGroups => rows_of_vector(tensor, Some(facts.state_group_count.max(1))),
        Change::Adapters | Change::NeighbourAdapters => adapters(tensor),
        Change::AlternateColumns(index) => columns_of(tensor, (index, 2, 2), false),
        Change::AlternateColumnsTransposed(index) => columns_of(tensor, (index, 2, 2), true),
        Change::PartTransposed { index, count } => {
            let first = tensor.shape.last().map_or(0, |columns| columns / count.max(1) * index);
            columns_of(tensor, (first, 1, count), true)
        }
        _ => None,
    };
    made.ok_or_else(|| ConvertError::TensorShape { name, found: shape, expected: expected.to_owned() })
}

/// `[channels, 1, taps]` as one matrix.
fn channels(tensor: SourceTensor) -> Option<SourceTensor> {
    let taps = match tensor.shape[..] {
        // A matrix already, or a number for each channel.
        [_] | [_, _] => return Some(tensor),
        [_, 1, taps] => taps,
        _ => return None,
    };
    let first = tensor.matrices.first()?;
    let Elements::Stored { element, file, start, column_stride: 1, .. } = first.elements else { return None };
    let elements = Elements::Stored { element, file, start, row_stride: taps, column_stride: 1 };
    let rows = tensor.shape[0];
    Some(SourceTensor { shape: vec![rows, taps], matrices: vec![Matrix { rows, columns: taps, elements }], ..tensor })
}

/// All numbers as one vector.
fn flat(tensor: SourceTensor) -> Option<SourceTensor> {
    let length = tensor.shape.iter().product();
    let first = tensor.matrices.first()?;
    let elements = match first.elements.clone() {
        Elements::Stored { element, file, start, row_stride, column_stride: 1 }
            if tensor.matrices.len() <= 1 && (row_stride == first.columns || first.rows <= 1) =>
        {
            Elements::Stored { element, file, start, row_stride: 1, column_stride: 1 }
        }
        // A stack whose matrices lie one behind the other has the numbers of its first and all behind them.
        Elements::Stored { element, file, start, row_stride, column_stride: 1 }
            if row_stride == first.columns && follow_one_another(&tensor.matrices) =>
        {
            Elements::Stored { element, file, start, row_stride: 1, column_stride: 1 }
        }
        Elements::Values(values) => Elements::Values(values),
        _ => return None,
    };
    Some(SourceTensor { shape: vec![length], matrices: vec![Matrix { rows: length, columns: 1, elements }], ..tensor })
}

/// Whether each matrix begins where the one before it ends.
fn follow_one_another(matrices: &[Matrix]) -> bool {
    let place = |matrix: &Matrix| match matrix.elements {
        Elements::Stored { element, file, start, .. } => {
            Some((file, start, start + (matrix.rows * matrix.columns * element.size_bytes()) as u64))
        }
        _ => None,
    };
    let follows = |pair: &[Matrix]| match (place(&pair[0]), place(&pair[1])) {
        (Some((file, _, end)), Some((other, start, _))) => file == other && end == start,
        _ => false,
    };
    matrices.windows(2).all(follows)
}

/// Rows of all experts as a matrix for each, whose rows and columns may change places.
fn stack_of_experts(tensor: SourceTensor, count: usize, is_transposed: bool) -> Option<SourceTensor> {
    let ([rows, columns], [matrix]) = (&tensor.shape[..], &tensor.matrices[..]) else { return None };
    let (rows, columns) = (*rows, *columns);
    if count == 0 || !rows.is_multiple_of(count) {
        return None;
    }
    let Elements::Stored { element, file, start, row_stride, column_stride } = matrix.elements else { return None };
    let rows = rows / count;
    let (shape, strides) = match is_transposed {
        true => ([columns, rows], (column_stride, row_stride)),
        false => ([rows, columns], (row_stride, column_stride)),
    };
    let of_expert = |index: usize| {
        let start = start + (index * rows * row_stride * element.size_bytes()) as u64;
        let elements = Elements::Stored { element, file, start, row_stride: strides.0, column_stride: strides.1 };
        Matrix { rows: shape[0], columns: shape[1], elements }
    };
    let matrices = (0..count).map(of_expert).collect();
    Some(SourceTensor { shape: vec![count, shape[0], shape[1]], matrices, ..tensor })
}

/// Adapters as a stack of matrices behind one of zeros.
fn adapters(tensor: SourceTensor) -> Option<SourceTensor> {
    let [count, rows, columns] = match tensor.shape[..] {
        [count, 1, rows, columns] | [count, rows, columns] => [count, rows, columns],
        _ => return None,
    };
    let of_adapter = |matrix: &Matrix| {
        let Elements::Stored { element, file, start, column_stride: 1, .. } = matrix.elements else { return None };
        let elements = Elements::Stored { element, file, start, row_stride: columns, column_stride: 1 };
        Some(Matrix { rows, columns, elements })
    };
    let zeros = Matrix { rows, columns, elements: Elements::Made(Arc::new(Zeros)) };
    let stored = tensor.matrices.iter().map(of_adapter);
    let matrices = std::iter::once(Some(zeros)).chain(stored).collect::<Option<Vec<_>>>()?;
    Some(SourceTensor { shape: vec![count + 1, rows, columns], matrices, ..tensor })
}

/// Rows of nothing.
struct Zeros;

impl RowMaker for Zeros {
    fn row(&self, _files: &[MappedFile], _row: usize, values: &mut [f32]) {
        values.fill(0.0);
    }
}

/// A vector as rows of one number, or as so many equal rows.
fn rows_of_vector(tensor: SourceTensor, count: Option<usize>) -> Option<SourceTensor> {
    let [length] = tensor.shape[..] else { return None };
    let rows = count.unwrap_or(length);
    if rows == 0 || !length.is_multiple_of(rows) {
        return None;
    }
    let columns = length / rows;
    let elements = match tensor.matrices.first()?.elements.clone() {
        Elements::Stored { element, file, start, row_stride: 1, .. } => {
            Elements::Stored { element, file, start, row_stride: columns, column_stride: 1 }
        }
        Elements::Values(values) => Elements::Values(values),
        _ => return None,
    };
    Some(SourceTensor { shape: vec![rows, columns], matrices: vec![Matrix { rows, columns, elements }], ..tensor })
}

/// Columns of each matrix, which then may become rows: from the first on every so-many-th, one of so many. A matrix of a row
/// for each expert is a stack of vectors.
fn columns_of(
    tensor: SourceTensor,
    (index, step, count): (usize, usize, usize),
    is_transposed: bool,
) -> Option<SourceTensor> {
    let columns = tensor.shape.last().copied().filter(|columns| columns.is_multiple_of(count))? / count;
    let chosen = |matrix: &Matrix| {
        let Elements::Stored { element, file, start, row_stride, column_stride } = matrix.elements else { return None };
        let start = start + (index * column_stride * element.size_bytes()) as u64;
        let strides = (row_stride, step * column_stride);
        let (rows, columns, (row_stride, column_stride)) = match is_transposed {
            true => (columns, matrix.rows, (strides.1, strides.0)),
            false => (matrix.rows, columns, strides),
        };
        Some(Matrix { rows, columns, elements: Elements::Stored { element, file, start, row_stride, column_stride } })
    };
    let matrices = tensor.matrices.iter().map(chosen).collect::<Option<Vec<_>>>()?;
    let mut shape = tensor.shape.clone();
    *shape.last_mut()? = columns;
    if is_transposed && shape.len() >= 2 {
        let last = shape.len() - 1;
        shape.swap(last, last - 1);
    }
    Some(SourceTensor { shape, matrices, ..tensor })
}
