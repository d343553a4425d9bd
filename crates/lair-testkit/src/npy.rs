//! Reads the little-endian f32 arrays of NumPy's `.npy` files (format version 1 and 2), as the golden outputs use them.

use std::path::Path;

/// The values of a `.npy` file of f32, row-major, and its shape.
///
/// # Panics
/// If the file is not such an array: golden files are ours, a wrong one is a bug.
pub fn read_f32(path: &Path) -> (Vec<f32>, Vec<usize>) {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(&bytes[..6], b"\x93NUMPY", "{}: not a .npy file", path.display());
    let (header_start, header_length) = match bytes[6] {
        1 => (10, usize::from(u16::from_le_bytes([bytes[8], bytes[9]]))),
        _ => (12, u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize),
    };
    let data_start = header_start + header_length;
    let header = std::str::from_utf8(&bytes[header_start..data_start]).expect("a .npy header is ASCII");
    assert!(header.contains("'<f4'") && header.contains("'fortran_order': False"), "unexpected header {header}");
    let shape_text = header.split("'shape': (").nth(1).and_then(|rest| rest.split(')').next()).expect("a shape");
    let shape: Vec<usize> = shape_text.split(',').filter_map(|part| part.trim().parse().ok()).collect();
    let values: Vec<f32> =
        bytes[data_start..].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    assert_eq!(values.len(), shape.iter().product::<usize>(), "{}: shape and data disagree", path.display());
    (values, shape)
}
