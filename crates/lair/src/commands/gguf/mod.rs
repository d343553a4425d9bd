//! `lair gguf`: looks into model files, here or on a server, changes their keys, compares, splits and joins them.

mod compare;
mod dump;
mod edit;
mod endian;
mod hash;
mod opened;
mod shards;

use clap::{Args, Subcommand};

use crate::failure::Outcome;

/// What to do with model files.
#[derive(Args, Debug)]
pub struct GgufArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Print keys and tensors
    Dump(dump::DumpArgs),
    /// Change keys of a file: in place where the new value takes as many bytes, else by writing it anew
    Set(edit::SetArgs),
    /// Write a copy with other keys
    New(edit::NewArgs),
    /// Print hashes of each tensor and of all of them
    Hash(hash::HashArgs),
    /// Say in which keys and tensors two models differ
    Diff(compare::DiffArgs),
    /// Cut a model into shards
    Split(shards::SplitArgs),
    /// Join the shards of a model
    Merge(shards::MergeArgs),
    /// Turn a file's bytes into the order of big-endian machines, or back
    Endian(endian::EndianArgs),
    /// Check a file: structure, vocabulary, and with --values every weight
    Check(compare::CheckArgs),
}

impl GgufArgs {
    /// Whether a failure is to be said in JSON.
    pub fn is_json(&self) -> bool {
        match &self.action {
            Action::Dump(args) => args.json,
            Action::Hash(args) => args.json,
            Action::Diff(args) => args.json,
            Action::Check(args) => args.json,
            Action::Set(_) | Action::New(_) | Action::Split(_) | Action::Merge(_) | Action::Endian(_) => false,
        }
    }
}

/// Runs the command.
pub fn gguf(args: &GgufArgs) -> Outcome {
    match &args.action {
        Action::Dump(args) => dump::dump(args),
        Action::Set(args) => edit::set(args),
        Action::New(args) => edit::new(args),
        Action::Hash(args) => hash::hash(args),
        Action::Diff(args) => compare::diff(args),
        Action::Split(args) => shards::split(args),
        Action::Merge(args) => shards::merge(args),
        Action::Endian(args) => endian::endian(args),
        Action::Check(args) => compare::check(args),
    }
}
