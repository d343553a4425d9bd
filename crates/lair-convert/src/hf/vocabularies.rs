//! Vocabularies in files that only one family has: RWKV's list of byte strings, PLaMo's lines of JSON, Qwen's ranks.
//!
//! Sources: the published tokenizers of each family for the files, and what the converter of GGUF's own runtime makes of them.

use std::collections::BTreeMap;

use base64::Engine;
use lair_gguf::{Metadata, StringArray};
use lair_text::tokenizer::{PIECE_LENGTH_MAX, TOKEN_COUNT_MAX, TokenKind, to_printable};
use serde_json::Value as Json;

use super::tokenizer::{Files, row_count, set_kinds};
use crate::checkpoint::Checkpoint;
use crate::error::{ConvertError, Fault};

/// RWKV's vocabulary of 2023.
const RWKV_FILE: &str = "rwkv_vocab_v20230424.txt";
/// Two line feeds, which end a turn of RWKV's chats.
const RWKV_TURN_END: u32 = 261;
/// PLaMo 2 and 3.
const PLAMO_FILE: &str = "tokenizer.jsonl";
/// What ends a turn of PLaMo's.
const PLAMO_TURN_END: u32 = 4;
const PLAMO_MISSING_SCORE: f32 = -1000.0;
/// Qwen 1.
const QWEN_FILE: &str = "qwen.tiktoken";
/// Control tokens of Qwen 1 behind its ranks; so many others follow, which have numbers.
const QWEN_CONTROLS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
const QWEN_EXTRA_COUNT: usize = 205;

/// Tokens with roles, as GGUF names them.
pub(super) type Roles = Vec<(&'static str, u32)>;

/// Sets the keys of the vocabulary, if the checkpoint has one of these files; what is found are tokens with roles.
pub(super) fn set(
    metadata: &mut Metadata,
    checkpoint: &Checkpoint,
    files: &Files,
    size: Option<usize>,
) -> Result<Option<Roles>, ConvertError> {
    let wrong = |name: &str| {
        let path = checkpoint.folder.join(name);
        move |fault: Fault| fault.in_file(&path)
    };
    if let Some(text) = checkpoint.text(RWKV_FILE)? {
        let pieces = rwkv(&text).map_err(wrong(RWKV_FILE))?;
        set_plain(metadata, "rwkv", pieces, row_count(size, 0, checkpoint)?, checkpoint)?;
        return Ok(Some(vec![("bos", 0), ("eos", 0), ("eot", RWKV_TURN_END)]));
    }
    if let Some(text) = checkpoint.text(PLAMO_FILE)? {
        return plamo(metadata, &text, files, size, checkpoint).map(Some);
    }
    if let Some(text) = checkpoint.text(QWEN_FILE)? {
        let ranks = ranks(&text).map_err(wrong(QWEN_FILE))?;
        return qwen(metadata, &ranks, size, checkpoint).map(Some);
    }
    Ok(None)
}

/// Pieces without scores, and rows without pieces behind them.
fn set_plain(
    metadata: &mut Metadata,
    model: &str,
    mut rows: Vec<(String, TokenKind)>,
    count: usize,
    checkpoint: &Checkpoint,
) -> Result<(), ConvertError> {
    let count = if count == 0 { rows.len() } else { count };
    if rows.len() > count {
        let found = format!("{} tokens", rows.len());
        let expected = format!("at most {count}, as `vocab_size` says");
        return Err(Fault::malformed("the vocabulary", found, expected).in_file(&checkpoint.folder));
    }
    rows.extend((rows.len()..count).map(|id| (format!("[PAD{id}]"), TokenKind::Unused)));
    let (pieces, kinds): (Vec<String>, Vec<TokenKind>) = rows.into_iter().unzip();
    metadata.set("tokenizer.ggml.model", model);
    metadata.set("tokenizer.ggml.tokens", pieces.iter().collect::<StringArray>());
    set_kinds(metadata, &kinds);
    Ok(())
}

/// Lines of an id, a literal of Python's and its length in bytes; the first id is 1, and 0 begins a text.
fn rwkv(text: &str) -> Result<Vec<(String, TokenKind)>, Fault> {
    let mut rows = vec![("<s>".to_owned(), TokenKind::Control)];
    for line in text.lines() {
        let wrong = |expected: &str| Fault::malformed("a line", line.chars().take(80).collect::<String>(), expected);
        let expected = "an id, a literal and its length in bytes";
        let (id, rest) = line.split_once(' ').ok_or_else(|| wrong(expected))?;
        let (literal, length) = rest.rsplit_once(' ').ok_or_else(|| wrong(expected))?;
        if id.parse() != Ok(rows.len()) {
            return Err(wrong("ids in order, from 1 on"));
        }
        let bytes = literal_bytes(literal).ok_or_else(|| wrong("a literal of Python's"))?;
        if length.trim_end().parse() != Ok(bytes.len()) {
            return Err(wrong("the length of the literal in bytes"));
        }
        if rows.len() >= TOKEN_COUNT_MAX {
            return Err(wrong("fewer tokens"));
        }
        rows.push((written(&bytes), TokenKind::Normal));
    }
    Ok(rows)
}

/// The bytes that a literal of Python's stands for: of text, or of bytes where a `b` stands before it.
fn literal_bytes(literal: &str) -> Option<Vec<u8>> {
    let (is_bytes, quoted) = match literal.strip_prefix('b') {
        Some(quoted) => (true, quoted),
        None => (false, literal),
    };
    let quote = quoted.chars().next().filter(|quote| ['\'', '"'].contains(quote))?;
    let mut rest = quoted[1..].strip_suffix(quote)?.chars();
    let mut bytes = Vec::new();
    while let Some(character) = rest.next() {
        let number = match character {
            '\\' => match rest.next()? {
                'x' => hexadecimal(&mut rest, 2)?,
                'u' if !is_bytes => hexadecimal(&mut rest, 4)?,
                'U' if !is_bytes => hexadecimal(&mut rest, 8)?,
                'n' => u32::from('\n'),
                'r' => u32::from('\r'),
                't' => u32::from('\t'),
                escaped @ ('\\' | '\'' | '"') => u32::from(escaped),
                _ => return None,
            },
            // A quote must be escaped, and bytes are written in ASCII.
            character if character == quote || is_bytes && !character.is_ascii() => return None,
            character => u32::from(character),
        };
        match u8::try_from(number) {
            Ok(byte) if is_bytes => bytes.push(byte),
            _ => bytes.extend(char::from_u32(number)?.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    (bytes.len() <= PIECE_LENGTH_MAX).then_some(bytes)
}

/// So many digits as a number.
fn hexadecimal(rest: &mut std::str::Chars<'_>, count: usize) -> Option<u32> {
    (0..count).try_fold(0, |number: u32, _| number.checked_mul(16)?.checked_add(rest.next()?.to_digit(16)?))
}

/// Bytes as the inside of a literal of bytes of Python's, which is how GGUF files have them.
fn written(bytes: &[u8]) -> String {
    // The literal stands between double quotes where that saves escapes.
    let escapes_quote = bytes.contains(&b'"');
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b'\'' if escapes_quote => text.push_str("\\'"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            0x20..=0x7e => text.push(char::from(*byte)),
            byte => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text
}

/// Lines of lists: a piece, its score, what it is.
fn plamo(
    metadata: &mut Metadata,
    text: &str,
    files: &Files,
    size: Option<usize>,
    checkpoint: &Checkpoint,
) -> Result<Roles, ConvertError> {
    let (mut pieces, mut scores, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let wrong = || {
            let found = line.chars().take(80).collect::<String>();
            Fault::malformed("a line", found, "a list of a piece, its score and its kind")
                .in_file(&checkpoint.folder.join(PLAMO_FILE))
        };
        let row: Json = serde_json::from_str(line).map_err(|_| wrong())?;
        let (Some(piece), Some(score)) = (row[0].as_str(), row[1].as_f64()) else { return Err(wrong()) };
        kinds.push(match row[2].as_str() {
            Some("UNKNOWN") => TokenKind::Unknown,
            Some("CONTROL") => TokenKind::Control,
            Some("BYTE") => TokenKind::Byte,
            _ if piece.starts_with("<|plamo:") && piece.ends_with("|>") => TokenKind::Control,
            _ => TokenKind::Normal,
        });
        pieces.push(piece.to_owned());
        scores.push(score as f32);
    }
    let found = pieces.len();
    for index in 1..=row_count(size, found, checkpoint)?.saturating_sub(found) {
        pieces.push(format!("[PAD{index}]"));
        scores.push(PLAMO_MISSING_SCORE);
        kinds.push(TokenKind::Unused);
    }
    let mut roles: Roles = vec![("eot", PLAMO_TURN_END)];
    for (role, key) in [("bos", "bos"), ("eos", "eos"), ("padding", "pad"), ("seperator", "sep"), ("unknown", "unk")] {
        let entry = &files.config[&format!("{key}_token")];
        let text = entry.as_str().or_else(|| entry["content"].as_str());
        let id = text.and_then(|text| pieces.iter().position(|piece| piece == text));
        roles.extend(id.map(|id| (role, id as u32)));
    }
    metadata.set("tokenizer.ggml.model", "plamo2");
    metadata.set("tokenizer.ggml.pre", "default");
    metadata.set("tokenizer.ggml.tokens", pieces.iter().collect::<StringArray>());
    metadata.set("tokenizer.ggml.scores", scores);
    set_kinds(metadata, &kinds);
    metadata.set("tokenizer.ggml.add_space_prefix", false);
    Ok(roles)
}

/// Lines of bytes in base64 and their ranks, which are in order.
fn ranks(text: &str) -> Result<Vec<Vec<u8>>, Fault> {
    let mut tokens = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let token = line.split_once(' ').and_then(|(token, rank)| {
            (rank.trim_end().parse() == Ok(tokens.len())).then_some(())?;
            base64::engine::general_purpose::STANDARD.decode(token).ok()
        });
        let is_sound = |token: &Vec<u8>| !token.is_empty() && token.len() <= PIECE_LENGTH_MAX;
        match token.filter(is_sound) {
            Some(token) if tokens.len() < TOKEN_COUNT_MAX => tokens.push(token),
            _ => {
                let found = line.chars().take(80).collect::<String>();
                return Err(Fault::malformed("a line", found, "bytes in base64 and their rank, in order"));
            }
        }
    }
    Ok(tokens)
}

/// Byte pairs by ranks: the pair that makes a token is the two parts that the pairs before it leave of its bytes.
fn qwen(
    metadata: &mut Metadata,
    tokens: &[Vec<u8>],
    size: Option<usize>,
    checkpoint: &Checkpoint,
) -> Result<Roles, ConvertError> {
    let ranks: BTreeMap<&[u8], usize> = tokens.iter().enumerate().map(|(rank, token)| (&token[..], rank)).collect();
    let mut merges = Vec::new();
    for (rank, token) in tokens.iter().enumerate().filter(|(_, token)| token.len() > 1) {
        let [left, right] = parts(token, rank, &ranks)[..] else {
            let expected = "two parts of lower rank for each token";
            let found = format!("another count for `{}`", to_printable(token));
            return Err(Fault::malformed("the ranks", found, expected).in_file(&checkpoint.folder.join(QWEN_FILE)));
        };
        merges.push(format!("{} {}", to_printable(left), to_printable(right)));
    }
    let mut rows: Vec<(String, TokenKind)> =
        tokens.iter().map(|token| (to_printable(token), TokenKind::Normal)).collect();
    let extra = (0..QWEN_EXTRA_COUNT).map(|index| format!("<|extra_{index}|>"));
    let controls = QWEN_CONTROLS.map(str::to_owned).into_iter().chain(extra);
    rows.extend(controls.map(|text| (text, TokenKind::Control)));
    set_plain(metadata, "gpt2", rows, row_count(size, 0, checkpoint)?, checkpoint)?;
    metadata.set("tokenizer.ggml.pre", "qwen2");
    metadata.set("tokenizer.ggml.merges", merges.iter().collect::<StringArray>());
    let end = tokens.len() as u32;
    Ok(vec![("bos", end), ("eos", end), ("unknown", end)])
}

/// The parts that pairs of a rank below this one leave of a token.
fn parts<'t>(token: &'t [u8], rank: usize, ranks: &BTreeMap<&[u8], usize>) -> Vec<&'t [u8]> {
    // Where each part begins, and the end.
    let mut starts: Vec<usize> = (0..=token.len()).collect();
    loop {
        let pairs = starts.windows(3).enumerate();
        let ranked = pairs.filter_map(|(index, place)| Some((*ranks.get(&token[place[0]..place[2]])?, index)));
        match ranked.filter(|(other, _)| *other < rank).min() {
            Some((_, index)) => drop(starts.remove(index + 1)),
            None => return starts.windows(2).map(|place| &token[place[0]..place[1]]).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_read_as_python_reads_them() {
        let check =
            |literal: &str, bytes: Option<&[u8]>| assert_eq!(literal_bytes(literal).as_deref(), bytes, "{literal}");
        check("'the'", Some(b"the"));
        check(r"'\n\n'", Some(b"\n\n"));
        check(r#""it's""#, Some(b"it's"));
        check(r"'\xad'", Some("\u{ad}".as_bytes()));
        check(r"b'\xe4\xb8'", Some(b"\xe4\xb8"));
        check(r"'\u200b'", Some("\u{200b}".as_bytes()));
        for wrong in ["", "'", "b'", "the", r"'\q'", r"'\x+1'", r"'\xé'", r"b'\u200b'", "b'é'", "'a'b'"] {
            check(wrong, None);
        }
    }

    #[test]
    fn bytes_are_written_as_in_gguf_files() {
        let check = |bytes: &[u8], text: &str| assert_eq!(written(bytes), text);
        check(b"a\n", r"a\n");
        check(b"it's", "it's");
        check(b"\"it's\"", r#""it\'s""#);
        check(b"\\\x00\xff", r"\\\x00\xff");
    }

    #[test]
    fn ranks_that_are_out_of_order_or_no_pair_are_refused() {
        assert!(ranks("YQ== 0\nYg== 2\n").is_err());
        assert!(ranks("YQ== 0\n? 1\n").is_err());
        let table: BTreeMap<&[u8], usize> = [(&b"a"[..], 0), (b"b", 1), (b"ab", 2)].into();
        assert_eq!(parts(b"abab", 3, &table), [b"ab", b"ab"]);
        assert_eq!(parts(b"abab", 2, &table).len(), 4);
    }
}
