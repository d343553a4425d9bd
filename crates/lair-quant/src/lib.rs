//! Block formats, one file each: layout and dequantization.
