//! What matrices are multiplied with, added up: the sums of squares that importance matrices are made of.
//!
//! A backend with taps ([`super::Cpu::with_input_taps`]) gives each matrix it loads a place to add to. Without, a matrix
//! has none, and all that is left in a step is the look whether it has.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::matrix::Matrix;
use super::product::Input;

/// Sums over all rows that a matrix was multiplied with.
#[derive(Clone, Debug, PartialEq)]
pub struct InputSums {
    /// Name of the tensor.
    pub name: String,
    /// Columns of the matrix: the width of what it is multiplied with.
    pub columns: usize,
    /// `[experts, columns]`: sums of squares.
    pub sums: Vec<f64>,
    /// `[experts]`: rows that were added up.
    pub counts: Vec<u64>,
}

/// Where the matrices of a backend add up what they are multiplied with.
#[derive(Clone, Debug, Default)]
pub struct InputTaps {
    all: Arc<Mutex<Vec<Arc<Tap>>>>,
}

/// The place of one matrix.
#[derive(Debug)]
pub(super) struct Tap {
    sums: Mutex<InputSums>,
}

impl InputTaps {
    /// The sums so far, in the order in which matrices were loaded; those that were never multiplied with anything are
    /// left out. A tensor that was loaded more than once stands there as often.
    pub fn sums(&self) -> Vec<InputSums> {
        let all = locked(&self.all);
        let sums = all.iter().map(|tap| locked(&tap.sums).clone());
        sums.filter(|sums| sums.counts.iter().any(|count| *count > 0)).collect()
    }

    /// A place for a matrix, or a stack of `count` of them.
    pub(super) fn tap(&self, name: &str, columns: usize, count: usize) -> Arc<Tap> {
        let (sums, counts) = (vec![0.0; columns * count], vec![0; count]);
        let tap = Arc::new(Tap { sums: Mutex::new(InputSums { name: name.to_owned(), columns, sums, counts }) });
        locked(&self.all).push(Arc::clone(&tap));
        tap
    }
}

/// Sums are whole numbers of rows at any time, so a lock that a panic left behind does no harm.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds rows of an input to the sums of all the matrices that are multiplied with it, the same expert of each.
pub(super) fn observe<'a>(
    matrices: impl Iterator<Item = &'a Matrix>,
    expert: usize,
    input: &Input<'_>,
    rows: impl Iterator<Item = usize>,
) {
    let mut taps = matrices.filter_map(|matrix| matrix.tap.as_deref()).peekable();
    if taps.peek().is_none() {
        return;
    }
    let width = input.width;
    let mut squares = vec![0.0_f64; width];
    let mut row_count = 0;
    for row in rows {
        for (square, &x) in squares.iter_mut().zip(&input.values[row * width..][..width]) {
            *square += f64::from(x) * f64::from(x);
        }
        row_count += 1;
    }
    for tap in taps {
        let mut sums = locked(&tap.sums);
        assert_eq!(sums.columns, width, "an input as wide as the matrix");
        sums.sums[expert * width..][..width].iter_mut().zip(&squares).for_each(|(sum, square)| *sum += square);
        sums.counts[expert] += row_count;
    }
}
