//! `lair imatrix merge`.

use std::path::PathBuf;

use clap::Args;
use lair_convert::quantize::ImportanceMatrix;
use serde_json::json;

use super::{Format, check_out, format_of, write};
use crate::failure::Outcome;

/// Which files.
#[derive(Args, Debug)]
pub(super) struct MergeArgs {
    /// Importance matrices of one model, in either format
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The new file
    #[arg(long, short)]
    out: PathBuf,
    /// Tokens of a piece of text, for files of the older format, which do not say it
    #[arg(long, value_name = "COUNT", default_value_t = 512)]
    chunk_length: u32,
    /// The format of the new file [default: by its ending]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    /// One JSON object instead of text
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn merge(args: &MergeArgs) -> Outcome {
    check_out(&args.out, args.force)?;
    let mut sum = ImportanceMatrix::default();
    for path in &args.files {
        let mut matrix = ImportanceMatrix::read(path)?;
        matrix.count_rows(args.chunk_length);
        sum.merge(&matrix)?;
    }
    write(&sum, &args.out, format_of(&args.out, args.format))?;
    if args.json {
        let result = json!({
            "path": args.out, "tensors": sum.entries.len(), "chunks": sum.chunk_count,
            "chunk_length": sum.chunk_size, "datasets": sum.datasets,
        });
        println!("{result}");
    } else {
        eprintln!("{} tensors, {} chunks", sum.entries.len(), sum.chunk_count);
        println!("{}", args.out.display());
    }
    Ok(())
}
