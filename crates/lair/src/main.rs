//! Lair, the local AI runtime: the program.

fn main() {}
