//! What a backend is, the CPU backend, and the naive reference.
