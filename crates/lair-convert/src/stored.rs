//! A tensor as a file of a checkpoint holds it.

use crate::element::ElementType;

/// A tensor of a checkpoint: where its elements lie. Whoever makes one has checked that they lie within the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTensor {
    /// Its name, unique in the file.
    pub name: String,
    /// How its elements are stored.
    pub element: ElementType,
    /// Elements in each dimension, the slowest first; empty for a single number.
    pub shape: Vec<usize>,
    /// Elements from one index to the next in each dimension; `None` where they follow one another in order.
    pub strides: Option<Vec<usize>>,
    /// Index of its file.
    pub file: usize,
    /// Where its first element begins, in bytes from the start of the file.
    pub start: u64,
}

impl StoredTensor {
    /// How many elements it has.
    pub fn element_count(&self) -> usize {
        element_count(&self.shape).expect("it was checked when the file was read")
    }

    /// Bytes of its elements.
    pub fn size_bytes(&self) -> u64 {
        (self.element_count() * self.element.size_bytes()) as u64
    }
}

/// The product of the lengths, or `None` if it does not fit. A zero anywhere makes it zero.
pub(crate) fn element_count(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |product, length| product.checked_mul(*length))
}
