//! How fast a model can be on a machine and what memory it takes, before anything runs: it never loads weights.

pub mod fit;
pub mod roofline;

pub use roofline::{Bound, Limit, Machine, Roofline};
