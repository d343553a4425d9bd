//! Where the bytes of a weight come from: usually a mapped file, kept alive as long as a backend refers to it.

use std::ops::Range;
use std::sync::Arc;

use lair_quant::TensorType;

use crate::ComputeError;

/// Shared bytes that stay in place and unchanged while they are referred to.
pub type WeightBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Which rows of the stored tensor make the matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowSelection {
    /// All of them.
    All,
    /// A range: a part of a fused tensor (q, k or v of `attn_qkv`).
    Range(Range<usize>),
    /// `count` groups of `length` rows, the first at `start`, each `stride` rows after the one before: a part of a
    /// tensor that is fused per head (queries and gates of Qwen 3.5).
    Groups {
        /// First row of the first group.
        start: usize,
        /// Rows a group.
        length: usize,
        /// Rows from one group's start to the next's.
        stride: usize,
        /// How many groups.
        count: usize,
    },
}

impl RowSelection {
    /// How many rows are selected of `stored` rows.
    pub fn count(&self, stored: usize) -> usize {
        match self {
            RowSelection::All => stored,
            RowSelection::Range(range) => range.len(),
            RowSelection::Groups { length, count, .. } => length * count,
        }
    }

    /// The stored row that is row `index` of the selection.
    pub fn stored_row(&self, index: usize) -> usize {
        match self {
            RowSelection::All => index,
            RowSelection::Range(range) => range.start + index,
            RowSelection::Groups { start, length, stride, .. } => start + index / length * stride + index % length,
        }
    }
}

/// A matrix, or a stack of matrices of one shape, as it lies in the model file: `[count, rows, columns]`, rows whole
/// numbers of quantization blocks.
#[derive(Clone)]
pub struct MatrixBytes {
    /// Name of the tensor, for messages.
    pub name: String,
    /// The bytes of the whole tensor.
    pub bytes: WeightBytes,
    /// Type of its elements.
    pub tensor_type: TensorType,
    /// Elements of a row: the width of the input.
    pub columns: usize,
    /// Rows stored for one matrix.
    pub stored_rows: usize,
    /// Matrices in the stack: 1, or the number of experts.
    pub count: usize,
    /// Which of the stored rows are used.
    pub selection: RowSelection,
}

impl MatrixBytes {
    /// Checks that the bytes have the size that type and shape imply and that the selected rows exist.
    pub fn check(&self) -> Result<(), ComputeError> {
        let length = self.stored_rows.checked_mul(self.count).and_then(|rows| rows.checked_mul(self.columns));
        let row_is_whole = self.columns.is_multiple_of(self.tensor_type.block_length());
        let expected = length.and_then(|length| self.tensor_type.size_bytes(length as u64));
        let found = (*self.bytes).as_ref().len();
        if !row_is_whole || expected != Some(found as u64) {
            return Err(ComputeError::WeightSize {
                name: self.name.clone(),
                tensor_type: self.tensor_type,
                columns: self.columns,
                rows: self.stored_rows,
                count: self.count,
                found,
                expected: expected.unwrap_or(0) as usize,
            });
        }
        let rows = self.rows();
        if rows > 0 && self.selection.stored_row(rows - 1) >= self.stored_rows {
            return Err(ComputeError::WeightRows {
                name: self.name.clone(),
                found: self.stored_rows,
                expected: self.selection.stored_row(rows - 1) + 1,
            });
        }
        Ok(())
    }

    /// What tells this matrix from all others of its model.
    pub(crate) fn part_name(&self) -> String {
        let selection = match &self.selection {
            RowSelection::All => String::new(),
            RowSelection::Range(range) => format!(" rows {}..{}", range.start, range.end),
            RowSelection::Groups { start, length, stride, count } => {
                format!(" {count} groups of {length} rows from {start} every {stride}")
            }
        };
        let (columns, rows, count) = (self.columns, self.stored_rows, self.count);
        format!("{} {} [{count}, {rows}, {columns}]{selection}", self.name, self.tensor_type)
    }

    /// Rows of one matrix: the width of the output.
    pub fn rows(&self) -> usize {
        self.selection.count(self.stored_rows)
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.columns / self.tensor_type.block_length() * self.tensor_type.block_bytes()
    }

    /// The bytes of row `row` of matrix `index`. The source has been checked.
    pub fn row(&self, index: usize, row: usize) -> &[u8] {
        let row_bytes = self.row_bytes();
        let start = (index * self.stored_rows + self.selection.stored_row(row)) * row_bytes;
        &(*self.bytes).as_ref()[start..start + row_bytes]
    }
}

/// A vector as it lies in the model file: a norm's weight, a bias. Backends keep vectors as f32.
#[derive(Clone)]
pub struct VectorBytes {
    /// Name of the tensor, for messages.
    pub name: String,
    /// The bytes of the whole tensor.
    pub bytes: WeightBytes,
    /// Type of its elements.
    pub tensor_type: TensorType,
    /// Elements in the tensor.
    pub length: usize,
    /// Which of the elements are used.
    pub selection: RowSelection,
}

impl VectorBytes {
    /// The selected elements as f32.
    pub fn values(&self) -> Result<Vec<f32>, ComputeError> {
        let bytes = (*self.bytes).as_ref();
        let wrong_size = |expected: usize| ComputeError::WeightSize {
            name: self.name.clone(),
            tensor_type: self.tensor_type,
            columns: self.length,
            rows: 1,
            count: 1,
            found: bytes.len(),
            expected,
        };
        let expected = self.tensor_type.size_bytes(self.length as u64).unwrap_or(0) as usize;
        if bytes.len() != expected {
            return Err(wrong_size(expected));
        }
        let mut stored = vec![0.0; self.length];
        lair_quant::dequantize(self.tensor_type, bytes, &mut stored).map_err(|_| wrong_size(expected))?;
        let count = self.selection.count(self.length);
        if count > 0 && self.selection.stored_row(count - 1) >= self.length {
            return Err(ComputeError::WeightRows {
                name: self.name.clone(),
                found: self.length,
                expected: self.selection.stored_row(count - 1) + 1,
            });
        }
        Ok((0..count).map(|index| stored[self.selection.stored_row(index)]).collect())
    }
}
