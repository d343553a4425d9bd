//! Transfers against servers on this machine: honest ones, hostile ones, real ones; killed, starved of disk, shared.

#[path = "../fakes/mod.rs"]
mod fakes;

mod disk_full;
mod hostile;
mod hub;
mod kill;
mod mending;
mod parallel;
mod real_hub;
mod real_registry;
