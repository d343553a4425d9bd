//! Products that widen compressed keys and values, which checkpoints keep in one and files apart: those of keys turned, so
//! that queries can be brought into the compressed space.

use std::sync::{Arc, Mutex, PoisonError};

use lair_gguf::MappedFile;
use lair_model::spec::source::Change;

use crate::error::ConvertError;
use crate::matrix::{Elements, Matrix, Piece, RowMaker, SourceTensor};

/// How rows fall to heads: of each head those of keys, then those of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LatentRows {
    pub(crate) head_count: usize,
    pub(crate) key_rows: usize,
    pub(crate) value_rows: usize,
}

/// The part of a tensor `[heads * (key rows + value rows), rank]` that a change names, a matrix for each head: of keys
/// `[rank, key rows]`, of values `[value rows, rank]`.
///
/// # Errors
/// If the rows do not fall to heads so.
pub(crate) fn latent_part(
    tensor: SourceTensor,
    change: Change,
    rows: LatentRows,
) -> Result<SourceTensor, ConvertError> {
    let of_head = rows.key_rows + rows.value_rows;
    let wrong = |found: &SourceTensor| ConvertError::TensorShape {
        name: found.name.clone(),
        found: found.shape.clone(),
        expected: format!("{of_head} rows for each of {} heads", rows.head_count),
    };
    let ([all, rank], [matrix]) = (&tensor.shape[..], &tensor.matrices[..]) else { return Err(wrong(&tensor)) };
    if *all == 0 || *all != rows.head_count * of_head {
        return Err(wrong(&tensor));
    }
    let turned = Arc::new(Mutex::new(None));
    let is_of_keys = change == Change::LatentKeys;
    let of_head = |head: usize| {
        let first = head * of_head + if is_of_keys { 0 } else { rows.key_rows };
        match is_of_keys {
            true => columns_of(matrix, first, rows.key_rows, &turned),
            false => rows_of(matrix, first, rows.value_rows),
        }
    };
    let matrices: Vec<Matrix> = (0..rows.head_count).map(of_head).collect();
    let inner = if is_of_keys { [*rank, rows.key_rows] } else { [rows.value_rows, *rank] };
    Ok(SourceTensor { shape: vec![rows.head_count, inner[0], inner[1]], matrices, ..tensor })
}

/// So many rows from one on.
fn rows_of(matrix: &Matrix, first: usize, rows: usize) -> Matrix {
    let elements = match matrix.elements.clone() {
        Elements::Stored { element, file, start, row_stride, column_stride } => {
            let start = start + (first * row_stride * element.size_bytes()) as u64;
            Elements::Stored { element, file, start, row_stride, column_stride }
        }
        _ => Elements::Made(Arc::new(RowsFrom { matrix: Piece::whole(matrix.clone()), first })),
    };
    Matrix { rows, columns: matrix.columns, elements }
}

/// The same rows as columns.
fn columns_of(matrix: &Matrix, first: usize, rows: usize, turned: &Turned) -> Matrix {
    let elements = match rows_of(matrix, first, rows).elements {
        Elements::Stored { element, file, start, row_stride, column_stride } => {
            Elements::Stored { element, file, start, row_stride: column_stride, column_stride: row_stride }
        }
        _ => {
            let (matrix, turned) = (Piece::whole(matrix.clone()), Arc::clone(turned));
            Elements::Made(Arc::new(ColumnsFrom { matrix, first, rows, turned }))
        }
    };
    Matrix { rows: matrix.columns, columns: rows, elements }
}

/// Rows that are made, from one on.
struct RowsFrom {
    matrix: Piece,
    first: usize,
}

impl RowMaker for RowsFrom {
    fn row(&self, files: &[MappedFile], row: usize, values: &mut [f32]) {
        self.matrix.row(files, self.first + row, values);
    }
}

/// The first row of a head and all its numbers, kept for the head that is being read: the next one takes its place.
type Turned = Arc<Mutex<Option<(usize, Arc<[f32]>)>>>;

/// Rows that are made, as columns.
struct ColumnsFrom {
    matrix: Piece,
    first: usize,
    rows: usize,
    turned: Turned,
}

impl ColumnsFrom {
    /// The rows of the head, `[rows, rank]`.
    fn all(&self, files: &[MappedFile]) -> Arc<[f32]> {
        let mut kept = self.turned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((first, numbers)) = &*kept
            && *first == self.first
        {
            return Arc::clone(numbers);
        }
        let columns = self.matrix.matrix.columns;
        let mut numbers = vec![0.0; self.rows * columns];
        for (row, numbers) in numbers.chunks_exact_mut(columns.max(1)).enumerate() {
            self.matrix.row(files, self.first + row, numbers);
        }
        let numbers: Arc<[f32]> = numbers.into();
        *kept = Some((self.first, Arc::clone(&numbers)));
        numbers
    }
}

impl RowMaker for ColumnsFrom {
    fn row(&self, files: &[MappedFile], row: usize, values: &mut [f32]) {
        let (numbers, columns) = (self.all(files), self.matrix.matrix.columns);
        values.iter_mut().enumerate().for_each(|(index, value)| *value = numbers[index * columns + row]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that tell their row and column.
    struct Counted;

    impl RowMaker for Counted {
        fn row(&self, _: &[MappedFile], row: usize, values: &mut [f32]) {
            values.iter_mut().enumerate().for_each(|(column, value)| *value = (10 * row + column) as f32);
        }
    }

    #[test]
    fn rows_that_are_made_fall_to_heads() {
        let tensor = SourceTensor::made("kv", [10, 2], lair_gguf::TensorType::F32, Arc::new(Counted));
        let rows = LatentRows { head_count: 2, key_rows: 3, value_rows: 2 };
        let read = |change| {
            let part = latent_part(tensor.clone(), change, rows).expect("falls to heads");
            let of = |matrix: &Matrix| {
                let piece = Piece::whole(matrix.clone());
                let mut values = vec![0.0; matrix.columns];
                let mut all = Vec::new();
                for row in 0..matrix.rows {
                    piece.row(&[], row, &mut values);
                    all.extend_from_slice(&values);
                }
                all
            };
            (part.shape.clone(), part.matrices.iter().map(of).collect::<Vec<_>>())
        };
        let (shape, keys) = read(Change::LatentKeys);
        assert_eq!(shape, [2, 2, 3]);
        assert_eq!(keys, [[0.0, 10.0, 20.0, 1.0, 11.0, 21.0], [50.0, 60.0, 70.0, 51.0, 61.0, 71.0]]);
        let (shape, values) = read(Change::LatentValues);
        assert_eq!(shape, [2, 2, 2]);
        assert_eq!(values, [[30.0, 31.0, 40.0, 41.0], [80.0, 81.0, 90.0, 91.0]]);
        let other = LatentRows { head_count: 3, ..rows };
        assert!(latent_part(tensor.clone(), Change::LatentKeys, other).is_err());
    }
}
