//! Where models are and how they arrive: catalogue, sources, downloads.
