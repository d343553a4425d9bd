//! The printable alphabet in which byte-level vocabularies are written.
//!
//! Each byte is one character: itself where that is printable Latin-1, and otherwise the next of U+0100, U+0101, ...
//! (GPT-2, `bytes_to_unicode`). A space is written U+0120.

/// Whether a byte stands for itself.
const fn is_itself(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF)
}

/// The character for each byte.
const CHARACTERS: [u16; 256] = {
    let mut characters = [0u16; 256];
    let mut next = 0x100;
    let mut byte = 0;
    while byte < 256 {
        if is_itself(byte as u8) {
            characters[byte] = byte as u16;
        } else {
            characters[byte] = next;
            next += 1;
        }
        byte += 1;
    }
    characters
};

/// The byte for each character below U+0144; `u16::MAX` where there is none.
const BYTES: [u16; 0x144] = {
    let mut bytes = [u16::MAX; 0x144];
    let mut byte = 0;
    while byte < 256 {
        bytes[CHARACTERS[byte] as usize] = byte as u16;
        byte += 1;
    }
    bytes
};

/// Writes `bytes` in the printable alphabet of byte-level vocabularies.
pub fn to_printable(bytes: &[u8]) -> String {
    bytes.iter().filter_map(|&byte| char::from_u32(u32::from(CHARACTERS[byte as usize]))).collect()
}

/// Appends the bytes that `text` spells; returns `false` and appends nothing if it leaves the alphabet.
pub(crate) fn append_bytes(text: &[u8], output: &mut Vec<u8>) -> bool {
    let start = output.len();
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        let (character, tail) = match (first, tail) {
            (0..=0x7F, tail) => (usize::from(first), tail),
            // Two-byte sequences of U+0080 to U+017F: all that the alphabet needs.
            (0xC2..=0xC5, &[second @ 0x80..=0xBF, ref tail @ ..]) => {
                (usize::from(first & 0x1F) << 6 | usize::from(second & 0x3F), tail)
            }
            _ => (usize::MAX, tail),
        };
        match BYTES.get(character) {
            Some(&byte) if byte != u16::MAX => output.push(byte as u8),
            _ => {
                output.truncate(start);
                return false;
            }
        }
        rest = tail;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_gpt2s() {
        assert_eq!(to_printable(b" a\n\x00\xFF\xAD"), "ĠaĊĀÿŃ");
        let all: Vec<u8> = (0..=255).collect();
        let mut back = Vec::new();
        assert!(append_bytes(to_printable(&all).as_bytes(), &mut back));
        assert_eq!(back, all);
    }

    #[test]
    fn other_characters_are_refused_whole() {
        let mut output = b"kept".to_vec();
        for text in ["ab c", "日", "a\u{AD}", "\u{144}", "é\u{301}"] {
            assert!(!append_bytes(text.as_bytes(), &mut output), "{text:?}");
        }
        assert!(!append_bytes(b"a\xC4", &mut output));
        assert_eq!(output, b"kept");
    }
}
