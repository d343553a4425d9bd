//! The engine over a runner that computes nothing of value, but only from what it finds in pages and state.

mod fake;
mod lifecycle;
mod prefix;
mod simulation;
