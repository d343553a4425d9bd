//! Instruction-set tokens and vectors: the home of intrinsics.
