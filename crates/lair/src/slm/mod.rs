//! Projects of SLM Packager: its YAML files, its folder `~/.slm`, its list of models.
//!
//! Facts (names, defaults, ranges, the list) from slm-packager 0.2.2, Apache-2.0.

pub mod opened;
pub mod project;
pub mod registry;
pub mod served;
pub mod workshop;
mod yaml;

pub use opened::Opened;
pub use project::Project;
pub use served::ServedProjects;
pub use workshop::Workshop;
