//! The engine over a runner that computes nothing of value, but only from what it finds in pages and state.

#![allow(clippy::unwrap_used)] // A test that meets an error has failed.

mod constraint;
mod embedding;
mod fake;
mod handle;
mod lifecycle;
mod prefix;
mod simulation;
mod speculation;
