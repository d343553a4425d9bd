//! `lair gguf endian`: a file with its bytes in the other order.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use lair_gguf::{ByteOrder, write_in_order};

use crate::failure::{ExitCode, Failure, Outcome};

/// What to turn.
#[derive(Args, Debug)]
pub struct EndianArgs {
    /// The file; shards are turned one by one
    file: PathBuf,
    /// The order of the new file
    order: OrderChoice,
    /// The new file
    out: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OrderChoice {
    Little,
    Big,
}

/// Runs the command.
pub fn endian(args: &EndianArgs) -> Outcome {
    if args.out.exists() && !args.force {
        return Err(Failure::new(ExitCode::Usage, format!("`{}` is there already", args.out.display()))
            .with_hint("`--force` replaces it".to_string()));
    }
    let order = match args.order {
        OrderChoice::Little => ByteOrder::Little,
        OrderChoice::Big => ByteOrder::Big,
    };
    write_in_order(&args.file, &args.out, order)?;
    println!("{}", args.out.display());
    Ok(())
}
