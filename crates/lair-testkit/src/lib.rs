//! For tests only: where the shared test data lies, tiny models, tolerances.

pub mod counting;
mod error;
pub mod fuzz;
pub mod npy;
pub mod scripted_model;
mod shared;
pub mod tiny_models;
pub mod word_encoders;

pub use error::normalised_mean_squared_error;
pub use shared::{shared_data, skipped};
