//! The naive reference: every region as its formula, one row and one element after the other.
