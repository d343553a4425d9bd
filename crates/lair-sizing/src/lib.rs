//! How fast a model can be on a machine, before anything runs: it never loads weights.

pub mod roofline;

pub use roofline::{Bound, Limit, Machine, Roofline};
