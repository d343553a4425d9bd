//! Files of a reference model's predictions: what it finds of every token of its vocabulary at many places of a text.
//!
//! The layout is that of llama-perplexity's `--kl-divergence-base`, so that files of either serve both; all numbers in
//! the order of the machine that all of ours have, the smallest byte first:
//!
//! ```text
//! "_logits_"  u32 tokens of a chunk (n)  i32 size of the vocabulary (v)  i32 chunks (c)
//! i32 [c, n]: the tokens
//! for each chunk, for each of the places n/2 .. n-2, which predict their successors:
//!     f32 step  f32 smallest log-probability  u16 [v]: how many steps above the smallest  u16 if v is odd: nothing
//! ```
//!
//! What is less likely than the likeliest by more than [`SPAN`] nats is stored as that. Two bytes a token of the vocabulary make
//! 25 MB a chunk of 512 tokens for one of 49,000.
//!
//! Source: llama.cpp, `tools/perplexity`.

use std::io::{self, Read, Write};

const MAGIC: &[u8; 8] = b"_logits_";
const HEADER_BYTES: u64 = 20;
/// Nats below the likeliest token at which log-probabilities are cut off.
const SPAN: f32 = 16.0;
/// Tokens of a log-probability of this or less count for nothing in a comparison: they may have been cut off.
pub const BASE_FLOOR: f64 = -16.0;
const STEPS: f32 = 65535.0;
/// The largest vocabularies have some 300,000 tokens.
const VOCABULARY_MAX: u64 = 1 << 24;

/// What is wrong with such a file.
#[derive(Debug, thiserror::Error)]
pub enum BaseFileError {
    /// The disk.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Another kind of file.
    #[error("it begins with {found}, expected `_logits_`")]
    Magic {
        /// What stands there.
        found: String,
    },
    /// Numbers that cannot be.
    #[error("{what} is {found}, expected {expected}")]
    Field {
        /// Which number.
        what: &'static str,
        /// What it is.
        found: i64,
        /// What it may be.
        expected: String,
    },
    /// A file that is cut short or too long.
    #[error("it has {found} bytes, its beginning says {expected}")]
    Size {
        /// Its bytes.
        found: u64,
        /// The bytes that it should have.
        expected: u64,
    },
}

impl BaseFileError {
    /// What one can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            BaseFileError::Io(_) => None,
            BaseFileError::Magic { .. } => {
                Some("a base is written by `lair kl MODEL --text FILE --write-base FILE`".to_owned())
            }
            _ => Some("the writing of it was interrupted, or it is damaged: write it again".to_owned()),
        }
    }
}

/// What such a file is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseShape {
    /// Tokens of a chunk.
    pub chunk_length: usize,
    /// Tokens of the vocabulary.
    pub vocabulary_size: usize,
    /// Chunks.
    pub chunk_count: usize,
}

impl BaseShape {
    /// The first place of a chunk that is stored; the last one is the one before the last.
    pub fn first_place(&self) -> usize {
        self.chunk_length / 2
    }

    /// Places of a chunk that are stored.
    pub fn places(&self) -> usize {
        (self.chunk_length - 1).saturating_sub(self.first_place())
    }

    /// Bytes of a place.
    fn row_bytes(&self) -> u64 {
        8 + 2 * (self.vocabulary_size as u64).next_multiple_of(2)
    }

    /// Bytes of the whole file.
    pub fn size_bytes(&self) -> u64 {
        let (chunks, length) = (self.chunk_count as u64, self.chunk_length as u64);
        HEADER_BYTES + chunks * (4 * length + self.places() as u64 * self.row_bytes())
    }
}

/// Writes such a file, place by place.
#[derive(Debug)]
pub struct BaseWriter<W: Write> {
    out: W,
    shape: BaseShape,
    left: usize,
    row: Vec<u8>,
}

impl<W: Write> BaseWriter<W> {
    /// Begins with the tokens of all chunks.
    ///
    /// # Errors
    /// If `out` fails.
    ///
    /// # Panics
    /// If there are not as many tokens as the shape says.
    pub fn new(mut out: W, shape: BaseShape, tokens: &[u32]) -> io::Result<BaseWriter<W>> {
        assert_eq!(tokens.len(), shape.chunk_count * shape.chunk_length, "the tokens of all chunks");
        out.write_all(MAGIC)?;
        for number in [shape.chunk_length, shape.vocabulary_size, shape.chunk_count] {
            out.write_all(&(number as u32).to_le_bytes())?;
        }
        let tokens: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
        out.write_all(&tokens)?;
        Ok(BaseWriter { out, shape, left: shape.chunk_count * shape.places(), row: Vec::new() })
    }

    /// Adds a place, given its logits and what makes log-probabilities of them when it is taken off.
    ///
    /// # Errors
    /// If `out` fails.
    ///
    /// # Panics
    /// If there are more places than the shape says, or as many numbers as the vocabulary has not.
    pub fn add(&mut self, logits: &[f32], total: f64) -> io::Result<()> {
        assert_eq!(logits.len(), self.shape.vocabulary_size, "a number for each token");
        self.left = self.left.checked_sub(1).expect("no more places than the shape says");
        let (mut least, mut most) = (f32::INFINITY, f32::NEG_INFINITY);
        for &x in logits {
            (least, most) = (least.min(x), most.max(x));
        }
        let least = least.max(most - SPAN);
        let step = (most - least) / STEPS;
        let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
        self.row.clear();
        self.row.extend(step.to_le_bytes());
        self.row.extend(((f64::from(least) - total) as f32).to_le_bytes());
        for &x in logits {
            let steps = ((x - least).max(0.0) * inverse).round_ties_even();
            self.row.extend((steps as u16).to_le_bytes());
        }
        self.row.resize(self.shape.row_bytes() as usize, 0);
        self.out.write_all(&self.row)
    }

    /// Ends the file.
    ///
    /// # Errors
    /// If `out` fails.
    ///
    /// # Panics
    /// If places are missing.
    pub fn finish(mut self) -> io::Result<W> {
        assert_eq!(self.left, 0, "every place was added");
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Reads such a file, place by place.
#[derive(Debug)]
pub struct BaseReader<R: Read> {
    input: R,
    shape: BaseShape,
    tokens: Vec<u32>,
    row: Vec<u8>,
}

impl<R: Read> BaseReader<R> {
    /// Reads the beginning and the tokens of a file of `size_bytes`.
    ///
    /// # Errors
    /// If it is no such file, or has another size than its beginning says.
    pub fn new(mut input: R, size_bytes: u64) -> Result<BaseReader<R>, BaseFileError> {
        let mut magic = [0; 8];
        input.read_exact(&mut magic).map_err(|_| BaseFileError::Magic { found: format!("{size_bytes} bytes") })?;
        if &magic != MAGIC {
            return Err(BaseFileError::Magic { found: format!("`{}`", magic.escape_ascii()) });
        }
        let mut number = |what: &'static str, least: i64, most: u64| -> Result<usize, BaseFileError> {
            let mut bytes = [0; 4];
            input.read_exact(&mut bytes)?;
            let found = i64::from(i32::from_le_bytes(bytes));
            if found < least || found as u64 > most {
                return Err(BaseFileError::Field { what, found, expected: format!("{least} to {most}") });
            }
            Ok(found as usize)
        };
        let shape = BaseShape {
            chunk_length: number("the length of a chunk", 4, u64::from(u32::MAX >> 1))?,
            vocabulary_size: number("the size of the vocabulary", 1, VOCABULARY_MAX)?,
            chunk_count: number("the number of chunks", 1, u64::from(u32::MAX >> 1))?,
        };
        let size = |shape: &BaseShape| {
            let chunk = 4 * shape.chunk_length as u128 + shape.places() as u128 * u128::from(shape.row_bytes());
            u128::from(HEADER_BYTES) + shape.chunk_count as u128 * chunk
        };
        if size(&shape) != u128::from(size_bytes) {
            let expected = u64::try_from(size(&shape)).unwrap_or(u64::MAX);
            return Err(BaseFileError::Size { found: size_bytes, expected });
        }
        let mut bytes = vec![0; 4 * shape.chunk_count * shape.chunk_length];
        input.read_exact(&mut bytes)?;
        let tokens: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        if let Some(token) = tokens.iter().find(|token| **token as usize >= shape.vocabulary_size) {
            let expected = format!("0 to {}", shape.vocabulary_size - 1);
            return Err(BaseFileError::Field { what: "a token", found: i64::from(*token), expected });
        }
        let row = vec![0; shape.row_bytes() as usize];
        Ok(BaseReader { input, shape, tokens, row })
    }

    /// What it is about.
    pub fn shape(&self) -> BaseShape {
        self.shape
    }

    /// The tokens of all chunks.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The log-probabilities of the next place.
    ///
    /// # Errors
    /// If the file ends, or fails, or has numbers that are not finite.
    pub fn next_place(&mut self, log_probabilities: &mut Vec<f32>) -> io::Result<()> {
        self.input.read_exact(&mut self.row)?;
        let (numbers, steps) = self.row.split_at(8);
        let number = |at: usize| f32::from_le_bytes([numbers[at], numbers[at + 1], numbers[at + 2], numbers[at + 3]]);
        let (step, least) = (number(0), number(4));
        if !(step.is_finite() && least.is_finite()) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a place has numbers that are not finite"));
        }
        log_probabilities.clear();
        let steps = steps.as_chunks::<2>().0[..self.shape.vocabulary_size].iter();
        log_probabilities.extend(steps.map(|steps| step * f32::from(u16::from_le_bytes(*steps)) + least));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: BaseShape = BaseShape { chunk_length: 6, vocabulary_size: 3, chunk_count: 2 };

    fn written() -> Vec<u8> {
        let mut writer = BaseWriter::new(Vec::new(), SHAPE, &[0, 1, 2, 0, 1, 2, 2, 1, 0, 2, 1, 0]).expect("memory");
        for place in 0..4 {
            writer.add(&[1.5 - place as f32, -28.0, 1.0], 2.0).expect("memory");
        }
        writer.finish().expect("memory")
    }

    #[test]
    fn what_is_written_is_read_again() {
        let bytes = written();
        assert_eq!(bytes.len() as u64, SHAPE.size_bytes());
        let mut reader = BaseReader::new(&bytes[..], bytes.len() as u64).expect("a base");
        assert_eq!((reader.shape(), reader.tokens().len()), (SHAPE, 12));
        let mut found = Vec::new();
        for place in 0..4 {
            reader.next_place(&mut found).expect("four places");
            let most = f32::max(-0.5 - place as f32, -1.0);
            assert!((found[0] - (-0.5 - place as f32)).abs() < 2e-4, "{found:?}");
            assert!((found[1] - (most - SPAN)).abs() < 2e-4, "cut off: {found:?}");
            assert!((found[2] + 1.0).abs() < 2e-4, "{found:?}");
        }
        assert!(reader.next_place(&mut found).is_err());
    }

    #[test]
    fn the_layout_is_that_of_the_peer() {
        let bytes = written();
        assert_eq!(&bytes[..20], b"_logits_\x06\0\0\0\x03\0\0\0\x02\0\0\0");
        // Two rows a chunk; a vocabulary of three is padded to four.
        assert_eq!(bytes.len(), 20 + 12 * 4 + 4 * (8 + 8));
        // The likeliest token has all steps, the one that is cut off none.
        let row = &bytes[20 + 48..][..16];
        assert_eq!((&row[8..10], &row[10..12], &row[14..]), (&[0xFF; 2][..], &[0; 2][..], &[0; 2][..]));
    }

    #[test]
    fn equal_numbers_make_a_row_of_zeros() {
        let shape = BaseShape { chunk_length: 4, vocabulary_size: 2, chunk_count: 1 };
        let mut writer = BaseWriter::new(Vec::new(), shape, &[0; 4]).expect("memory");
        writer.add(&[0.3; 2], 1.0).expect("memory");
        let bytes = writer.finish().expect("memory");
        let mut found = Vec::new();
        BaseReader::new(&bytes[..], bytes.len() as u64).expect("a base").next_place(&mut found).expect("one place");
        assert_eq!(found, [-0.7; 2]);
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused() {
        let mut bytes = written();
        bytes[20 + 48..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
        let mut reader = BaseReader::new(&bytes[..], bytes.len() as u64).expect("its beginning is well");
        assert!(reader.next_place(&mut Vec::new()).is_err());
    }

    #[test]
    fn what_is_no_base_is_refused_by_what_is_wrong() {
        let bytes = written();
        let error = |bytes: &[u8]| BaseReader::new(bytes, bytes.len() as u64).expect_err("refused").to_string();
        assert_eq!(error(b"GGUF\x03\0\0\0"), "it begins with `GGUF\\x03\\x00\\x00\\x00`, expected `_logits_`");
        assert_eq!(error(&bytes[..bytes.len() - 1]), "it has 131 bytes, its beginning says 132");
        let changed = |at: usize, value: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            error(&bytes)
        };
        assert_eq!(changed(8, 3), "the length of a chunk is 3, expected 4 to 2147483647");
        assert_eq!(changed(12, 0), "the size of the vocabulary is 0, expected 1 to 16777216");
        assert_eq!(changed(19, 0x80), "the number of chunks is -2147483646, expected 1 to 2147483647");
        assert_eq!(changed(20, 9), "a token is 9, expected 0 to 2");
        // Sizes that no memory holds are refused before any is asked for.
        assert!(changed(11, 0x7F).starts_with("it has 132 bytes"));
    }
}
