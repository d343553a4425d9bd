//! How good a model is: tasks that show what it knows, and how far its predictions are from another's.
//!
//! Nothing here runs a model. A task gives texts to be scored or continued ([`Item`]), the caller scores them, and
//! [`Tally`] counts. Prompts are those of the tasks' own papers and of the tools that made their figures known, so that
//! numbers compare. [`Divergence`] compares what two models find of the same text, one of which may be read from a file
//! ([`BaseReader`]).

mod base_file;
mod chart;
mod divergence;
mod error;
mod tally;
mod tasks;

pub use base_file::{BASE_FLOOR, BaseFileError, BaseReader, BaseShape, BaseWriter};
pub use chart::{Chart, ChartPoint, best};
pub use divergence::{Divergence, Estimate, NotFinite, PERCENTILES, Place, Reference, compare, log_sum_exp};
pub use error::EvalError;
pub use tally::{Accuracy, Tally, Verdict};
pub use tasks::{Candidate, Choices, Generation, Item, Measure, Shots, Task};
