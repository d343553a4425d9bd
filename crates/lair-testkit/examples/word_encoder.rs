//! Writes the encoders that tests of embeddings use, so that other runtimes can be asked for the same:
//! `cargo run -p lair-testkit --example word_encoder -- FOLDER`.

use std::path::PathBuf;

use lair_testkit::word_encoders::{Ending, write};

fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).expect("a folder"));
    for (name, ending) in [("embedder.gguf", Ending::Mean), ("reranker.gguf", Ending::Classifier)] {
        write(&folder.join(name), ending).expect("the shared data is there");
    }
}
