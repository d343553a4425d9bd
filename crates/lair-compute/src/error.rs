//! What can go wrong before a step starts. A step itself cannot fail: everything it needs was checked and allocated.

use lair_quant::TensorType;

/// Why a weight or a buffer could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ComputeError {
    /// The bytes of a weight do not have the size that its type and shape imply.
    #[error("weight `{name}` has {found} bytes, {expected} expected for {rows} x {columns} x {count} of {tensor_type}")]
    WeightSize {
        /// Name of the tensor.
        name: String,
        /// Type of its elements.
        tensor_type: TensorType,
        /// Elements of a row.
        columns: usize,
        /// Rows of one matrix.
        rows: usize,
        /// Matrices in the tensor.
        count: usize,
        /// Bytes that are there.
        found: usize,
        /// Bytes that shape and type imply.
        expected: usize,
    },
    /// The type can be described but not computed with.
    #[error("weight `{name}` is of type {tensor_type}, which cannot be multiplied with")]
    WeightType {
        /// Name of the tensor.
        name: String,
        /// Type of its elements.
        tensor_type: TensorType,
    },
    /// The rows asked for do not lie in the tensor.
    #[error("weight `{name}` has {found} rows, but rows up to {expected} are asked for")]
    WeightRows {
        /// Name of the tensor.
        name: String,
        /// Rows that are there.
        found: usize,
        /// Rows that are asked for.
        expected: usize,
    },
    /// Memory for the step could not be had.
    #[error("{what} needs {needed_bytes} bytes, which cannot be allocated")]
    Memory {
        /// What it is for.
        what: &'static str,
        /// How much was asked for.
        needed_bytes: usize,
    },
    /// The threads could not be started.
    #[error("{threads} threads cannot be started")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the system says.
        source: std::io::Error,
    },
}
