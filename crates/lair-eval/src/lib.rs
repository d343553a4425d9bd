//! Tasks that show what a model knows: questions read from local files, how a model is asked, how answers are counted.
//!
//! Nothing here runs a model. A task gives texts to be scored or continued ([`Item`]), the caller scores them, and
//! [`Tally`] counts. Prompts are those of the tasks' own papers and of the tools that made their figures known, so that
//! numbers compare.

mod error;
mod tally;
mod tasks;

pub use error::EvalError;
pub use tally::{Accuracy, Tally, Verdict};
pub use tasks::{Candidate, Choices, Generation, Item, Measure, Shots, Task};
