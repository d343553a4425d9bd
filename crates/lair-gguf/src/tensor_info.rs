//! What a file says of one tensor.

use crate::TensorType;

/// One row of the tensor table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name, unique in the model.
    pub name: String,
    /// Elements in each dimension, the fastest first: a matrix of `rows` x `columns` is `[columns, rows]`.
    /// One to four dimensions; any may be zero. A file's tensor of no dimensions, a scalar, is given as `[1]`.
    pub shape: Vec<u64>,
    /// How its elements are stored.
    pub tensor_type: TensorType,
    /// Where its bytes begin, counted from the start of the data section of its shard.
    pub offset: u64,
    /// How many bytes it takes, without padding.
    pub size_bytes: u64,
    /// Index of the file it lies in, 0 unless the model is split.
    pub shard: usize,
}

impl TensorInfo {
    /// How many elements it has. The parser has checked that the product fits.
    pub fn element_count(&self) -> u64 {
        self.shape.iter().product()
    }
}
