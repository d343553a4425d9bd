//! Architectures as declarations, and the one forward pass that runs them.
