//! Makes a smaller model file of a larger one: which type each tensor gets, and the writing of it.
//!
//! [`Plan::new`] decides, from names and shapes alone; [`write`] does it, a slab of rows at a time, so that neither the
//! model nor a tensor has to fit into memory. [`ImportanceMatrix`] says which columns matter.

mod at_load;
mod error;
mod file_type;
mod imatrix;
mod imatrix_statistics;
mod mix;
mod plan;
mod role;
mod search;
mod write;

pub use self::{
    at_load::at_load,
    error::QuantizeError,
    file_type::{FILE_TYPES, FileType, tensor_type_from_name},
    imatrix::{Counted, Entry, ImportanceMatrix},
    imatrix_statistics::{LayerStatistics, TensorStatistics, layer_statistics, tensor_statistics},
    mix::{ModelFacts, Place},
    plan::{Importance, Options, Plan, PlannedTensor, Reason, TensorRule},
    role::{Role, layer_of},
    search::{CANDIDATES, Found, Target, search, size_of},
    write::{Progress, write},
};
