//! How fast tokenizers load, encode and decode: `tokenizer_speed TEXT VOCABULARY.gguf...`.
//!
//! For each vocabulary: the time from the open file to the tokenizer, the speed on the text (repeated to 8 MB), and the
//! slowest of 16 MiB of one character.

use std::time::Instant;

use lair_gguf::GgufFile;
use lair_text::tokenizer::{AddSpecial, ShowSpecial, Special, Tokenizer};

/// Characters of different classes, each a text of its own.
const CHARACTERS: [&str; 8] = ["a", " ", "\n", "0", "'", "A", "日", "\u{301}"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let text = std::fs::read_to_string(arguments.next().ok_or("give a text and vocabularies")?)?;
    let text = text.repeat((8_000_000 / text.len().max(1)).max(1));
    for path in arguments {
        let file = GgufFile::open(&path)?;
        let started = Instant::now();
        let tokenizer = Tokenizer::from_gguf(file.metadata())?;
        let load_ms = started.elapsed().as_secs_f64() * 1e3;
        let started = Instant::now();
        let ids = tokenizer.encode(&text, Special::AsText, AddSpecial::No);
        let encode_speed = text.len() as f64 / 1e6 / started.elapsed().as_secs_f64();
        let started = Instant::now();
        tokenizer.decode(&ids, ShowSpecial::Show)?;
        let decode_speed = text.len() as f64 / 1e6 / started.elapsed().as_secs_f64();
        let mut slowest = (0.0, "");
        for character in CHARACTERS {
            let run = character.repeat((16 << 20) / character.len());
            let started = Instant::now();
            tokenizer.encode(&run, Special::AsText, AddSpecial::No);
            slowest = if started.elapsed().as_secs_f64() > slowest.0 {
                (started.elapsed().as_secs_f64(), character)
            } else {
                slowest
            };
        }
        let name = path.rsplit('/').next().unwrap_or_default();
        println!(
            "{name}: {} tokens, load {load_ms:.1} ms, encode {encode_speed:.1} MB/s, decode {decode_speed:.0} MB/s, \
             slowest 16 MiB {:.2} s of {:?}",
            tokenizer.vocabulary_size(),
            slowest.0,
            slowest.1
        );
    }
    Ok(())
}
