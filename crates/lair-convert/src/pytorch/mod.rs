//! Reads files that PyTorch saved (`.bin`, `.pt`, `.pth`): the archives of today and the older sequence of pickles.
//!
//! A pickle is a program. The one here is read by a machine that knows the few instructions and names that tensors
//! need, builds plain values, and runs nothing: any other name or instruction is refused, by name ([`pickle`]).

mod archive;
mod legacy;
mod pickle;
mod state;

use crate::error::Fault;
use crate::stored::StoredTensor;

/// The tensors of the file whose bytes these are.
///
/// # Errors
/// If the file is damaged, is of another kind, or holds anything but plain values and tensors: the fault names it.
pub fn parse(bytes: &[u8]) -> Result<Vec<StoredTensor>, Fault> {
    if bytes.starts_with(b"PK\x03\x04") {
        return archive::tensors(bytes);
    }
    if bytes.starts_with(&[0x80, 2]) {
        return legacy::tensors(bytes);
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return Err(Fault::unsupported("a tar archive, as PyTorch wrote before version 0.1.10,"));
    }
    let found: Vec<String> = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    Err(Fault::malformed("the first bytes", found.join(" "), "those of a zip archive or of a pickle"))
}
