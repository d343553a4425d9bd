//! The stages of a `tokenizer.json`: normalizers, pre-tokenizers and decoders by their Hugging Face names.

use serde_json::Value;

use super::character_map::CharacterMap;
use super::error::TokenizerError;
use super::normalize::{Bert, ESCAPED_SPACE, Normalization};
use super::split::{BERT_WORDS, Separator, Step, Whitespace, compile, compile_anchored};

/// The deepest nesting of `Sequence` accepted.
const SEQUENCE_DEPTH_MAX: usize = 8;

/// GPT-2's words, which the `ByteLevel` pre-tokenizer has built in, without its whitespace.
const BYTE_LEVEL_WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+";
/// What BERT calls punctuation.
const PUNCTUATION: &str = r"[!-/:-@\[-`{-~\p{P}]";
/// Endings of an expression that [`Whitespace::KeepLast`] stands for.
const WHITESPACE_ENDINGS: [&str; 3] = [r"|\s+(?!\S)|\s+", r"|\s+(?!\S)|\s", r"|\s+(?!\S)"];
/// Expressions that split digits from the right, and whether a letter behind them matters.
const DIGIT_GROUPS: [(&str, bool); 4] = [
    (r"\d{1,3}(?=(?:\d{3})*\b)", true),
    (r"\p{N}{1,3}(?=(?:\p{N}{3})*\b)", true),
    (r"(?=(\d{3})+(?!\d))", false),
    (r"(?=(?:\d{3})+(?!\d))", false),
];

/// A stage's name.
pub(crate) fn type_name(stage: &Value) -> &str {
    stage["type"].as_str().unwrap_or("(without a type)")
}

/// A stage that is not supported.
pub(crate) fn unsupported(part: &'static str, name: impl Into<String>) -> TokenizerError {
    TokenizerError::UnsupportedPart { part, name: name.into() }
}

fn flag(stage: &Value, key: &str, default: bool) -> bool {
    stage[key].as_bool().unwrap_or(default)
}

/// The members of a `Sequence`, or the stage itself; nothing for `null`.
fn flatten<'v>(
    stage: &'v Value,
    part: &'static str,
    members: &str,
    depth: usize,
    stages: &mut Vec<&'v Value>,
) -> Result<(), TokenizerError> {
    if stage.is_null() {
        return Ok(());
    }
    if type_name(stage) != "Sequence" {
        stages.push(stage);
        return Ok(());
    }
    if depth == SEQUENCE_DEPTH_MAX {
        return Err(unsupported(part, "Sequence nested too deeply"));
    }
    let list = stage[members].as_array().ok_or_else(|| unsupported(part, "Sequence without members"))?;
    list.iter().try_for_each(|member| flatten(member, part, members, depth + 1, stages))
}

/// All stages of `stage` in order.
pub(crate) fn sequence<'v>(
    stage: &'v Value,
    part: &'static str,
    members: &str,
) -> Result<Vec<&'v Value>, TokenizerError> {
    let mut stages = Vec::new();
    flatten(stage, part, members, 0, &mut stages)?;
    Ok(stages)
}

/// The `pattern` of a stage as an expression.
fn pattern_of(stage: &Value, part: &'static str) -> Result<String, TokenizerError> {
    match (&stage["pattern"]["Regex"], &stage["pattern"]["String"]) {
        (Value::String(regex), _) => Ok(regex.clone()),
        (_, Value::String(text)) => Ok(regex::escape(text)),
        _ => Err(unsupported(part, "pattern that is neither Regex nor String")),
    }
}

/// The rewritings of the `normalizer`.
pub(crate) fn normalizations(normalizer: &Value) -> Result<Vec<Normalization>, TokenizerError> {
    const PART: &str = "normalizer";
    let mut steps = Vec::new();
    for stage in sequence(normalizer, PART, "normalizers")? {
        match type_name(stage) {
            "NFC" => steps.push(Normalization::Nfc),
            "NFD" => steps.push(Normalization::Nfd),
            "NFKC" => steps.push(Normalization::Nfkc),
            "NFKD" => steps.push(Normalization::Nfkd),
            "Lowercase" => steps.push(Normalization::Lowercase),
            "StripAccents" => steps.push(Normalization::replace(r"\p{M}+", "")?),
            "Strip" => steps.push(Normalization::Trim {
                left: flag(stage, "strip_left", true),
                right: flag(stage, "strip_right", true),
            }),
            "Prepend" => steps.push(Normalization::Prefix {
                text: stage["prepend"].as_str().unwrap_or_default().to_owned(),
                only_first: false,
                once: false,
            }),
            "Replace" => steps.push(Normalization::replace(
                &pattern_of(stage, PART)?,
                stage["content"].as_str().ok_or_else(|| unsupported(PART, "Replace without content"))?,
            )?),
            "BertNormalizer" => {
                let lowers = flag(stage, "lowercase", true);
                let bert = Bert {
                    cleans: flag(stage, "clean_text", true),
                    sets_ideographs_apart: flag(stage, "handle_chinese_chars", true),
                    strips_accents: flag(stage, "strip_accents", lowers),
                    lowers,
                };
                steps.extend(bert.steps()?);
            }
            "Precompiled" => {
                let text = stage["precompiled_charsmap"].as_str().unwrap_or_default();
                let blob =
                    decode_base64(text).ok_or(TokenizerError::MalformedCharacterMap { reason: "it is not base64" })?;
                steps.extend(CharacterMap::parse(&blob)?.map(Normalization::CharacterMap));
            }
            other => return Err(unsupported(PART, other)),
        }
    }
    Ok(steps)
}

/// What the `pre_tokenizer` says.
#[derive(Debug, Default)]
pub(crate) struct PreTokenizing {
    /// Rewritings that come after those of the normalizer.
    pub(crate) normalizations: Vec<Normalization>,
    /// How words are split.
    pub(crate) steps: Vec<Step>,
    /// Whether words are written in the printable alphabet.
    pub(crate) is_byte_level: bool,
}

/// Reads the `pre_tokenizer`.
pub(crate) fn pre_tokenizing(pre_tokenizer: &Value) -> Result<PreTokenizing, TokenizerError> {
    const PART: &str = "pre-tokenizer";
    let mut result = PreTokenizing::default();
    let stages = sequence(pre_tokenizer, PART, "pretokenizers")?;
    for (index, stage) in stages.iter().enumerate() {
        match type_name(stage) {
            "ByteLevel" => {
                result.is_byte_level = true;
                if flag(stage, "add_prefix_space", true) {
                    if index > 0 {
                        return Err(unsupported(PART, "ByteLevel with add_prefix_space behind another stage"));
                    }
                    let text = " ".to_owned();
                    result.normalizations.push(Normalization::Prefix { text, only_first: false, once: true });
                }
                if flag(stage, "use_regex", true) {
                    result.steps.push(Step::Words(compile_anchored(BYTE_LEVEL_WORDS)?, Whitespace::KeepLast));
                }
            }
            "Metaspace" => {
                let drops_whitespace = index == 1 && type_name(stages[0]) == "WhitespaceSplit";
                if index > 0 && !drops_whitespace {
                    return Err(unsupported(PART, "Metaspace behind another stage"));
                }
                metaspace(stage, drops_whitespace, &mut result)?;
            }
            "Split" => result.steps.push(split(stage)?),
            "Digits" => {
                let pattern = if flag(stage, "individual_digits", false) { r"\p{N}" } else { r"\p{N}+" };
                result.steps.push(Step::Isolate(compile(pattern)?));
            }
            "Punctuation" => result.steps.push(separate(PUNCTUATION, stage["behavior"].as_str())?),
            "Whitespace" => result.steps.push(Step::KeepMatches(compile(r"\w+|[^\w\s]+")?)),
            "WhitespaceSplit" => result.steps.push(Step::DropWhitespace),
            "BertPreTokenizer" => {
                for &pattern in BERT_WORDS {
                    result.steps.push(Step::new(pattern)?);
                }
            }
            "CharDelimiterSplit" => {
                let delimiter = stage["delimiter"].as_str().unwrap_or_default();
                result.steps.push(Step::Separate(compile(&regex::escape(delimiter))?, Separator::Removed));
            }
            other => return Err(unsupported(PART, other)),
        }
    }
    Ok(result)
}

/// Spaces become U+2581, one more goes in front, and each begins a word.
fn metaspace(stage: &Value, drops_whitespace: bool, result: &mut PreTokenizing) -> Result<(), TokenizerError> {
    let replacement = stage["replacement"].as_str().unwrap_or("\u{2581}");
    if !replacement.chars().eq([ESCAPED_SPACE]) {
        return Err(unsupported("pre-tokenizer", format!("Metaspace with {replacement:?}")));
    }
    if drops_whitespace {
        result.steps.clear();
        result.normalizations.push(Normalization::Trim { left: true, right: true });
        result.normalizations.push(Normalization::replace(r"\s+", " ")?);
    }
    result.normalizations.push(Normalization::EscapeSpaces);
    let scheme = match stage["prepend_scheme"].as_str() {
        Some(scheme) => scheme,
        None if flag(stage, "add_prefix_space", true) => "always",
        None => "never",
    };
    if scheme != "never" {
        let text = replacement.to_owned();
        result.normalizations.push(Normalization::Prefix { text, only_first: scheme == "first", once: true });
    }
    if flag(stage, "split", true) {
        result.steps.push(Step::Separate(compile(replacement)?, Separator::MergedWithNext));
    }
    Ok(())
}

/// A `Split`: its expression runs on an automaton, or is one whose look-ahead has a rule of its own.
fn split(stage: &Value) -> Result<Step, TokenizerError> {
    let pattern = pattern_of(stage, "pre-tokenizer")?;
    let behaviour = stage["behavior"].as_str();
    if flag(stage, "invert", false) {
        return match behaviour {
            Some("Removed") => Ok(Step::KeepMatches(compile(&pattern)?)),
            Some("Isolated") => Ok(Step::Isolate(compile(&pattern)?)),
            _ => Err(unsupported("pre-tokenizer", "Split that is inverted")),
        };
    }
    if behaviour == Some("Isolated") {
        if let Some(&(_, to_word_end)) = DIGIT_GROUPS.iter().find(|(known, _)| *known == pattern) {
            return Ok(Step::DigitGroups { to_word_end });
        }
        if let Some(words) = WHITESPACE_ENDINGS.iter().find_map(|ending| pattern.strip_suffix(ending)) {
            return Ok(Step::Words(compile_anchored(&without_possessive(words))?, Whitespace::KeepLast));
        }
    }
    separate(&without_possessive(&pattern), behaviour)
}

/// `[...]?+\p{L}+` and `[...]++[\r\n]*`: the class before the possessive quantifier shares no character with what
/// follows it, so giving characters back could never help, and the greedy quantifier is the same. Only these are
/// rewritten.
fn without_possessive(pattern: &str) -> String {
    pattern
        .replace(r"[^\r\n\p{L}\p{N}]?+\p{L}", r"[^\r\n\p{L}\p{N}]?\p{L}")
        .replace(r"[^\s\p{L}\p{N}]++[\r\n]", r"[^\s\p{L}\p{N}]+[\r\n]")
}

fn separate(pattern: &str, behaviour: Option<&str>) -> Result<Step, TokenizerError> {
    let pattern = compile(pattern)?;
    Ok(match behaviour {
        None | Some("Isolated") => Step::Isolate(pattern),
        Some("Removed") => Step::Separate(pattern, Separator::Removed),
        Some("MergedWithPrevious") => Step::Separate(pattern, Separator::MergedWithPrevious),
        Some("MergedWithNext") => Step::Separate(pattern, Separator::MergedWithNext),
        Some("Contiguous") => Step::Separate(pattern, Separator::Contiguous),
        Some(other) => return Err(unsupported("pre-tokenizer", format!("Split behaviour {other}"))),
    })
}

/// What the `decoder` says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Decoding {
    /// Tokens are written in the printable alphabet.
    pub(crate) is_byte_level: bool,
    /// U+2581 is a space.
    pub(crate) unescapes_spaces: bool,
    /// One space is taken from the start of the text.
    pub(crate) strips_space: bool,
    /// Tokens are words, but those with this prefix.
    pub(crate) continuing_prefix: Option<String>,
    /// Words written without a space before them have none.
    pub(crate) cleans_up: bool,
}

/// Reads the `decoder`.
pub(crate) fn decoding(decoder: &Value) -> Result<Decoding, TokenizerError> {
    const PART: &str = "decoder";
    let mut result = Decoding::default();
    for stage in sequence(decoder, PART, "decoders")? {
        match type_name(stage) {
            "ByteLevel" => result.is_byte_level = true,
            // Byte tokens are bytes here whether or not a decoder says so.
            "ByteFallback" | "Fuse" => {}
            "Metaspace" => {
                result.unescapes_spaces = true;
                let scheme = stage["prepend_scheme"].as_str();
                result.strips_space |= scheme.map_or(flag(stage, "add_prefix_space", true), |name| name != "never");
            }
            "Replace" if stage["pattern"]["String"] == "\u{2581}" && stage["content"] == " " => {
                result.unescapes_spaces = true;
            }
            "Strip"
                if stage["content"] == " " && stage["stop"] == 0 && matches!(stage["start"].as_u64(), Some(0 | 1)) =>
            {
                result.strips_space |= stage["start"] == 1;
            }
            "WordPiece" => {
                result.continuing_prefix = Some(stage["prefix"].as_str().unwrap_or("##").to_owned());
                result.cleans_up = flag(stage, "cleanup", true);
            }
            other => return Err(unsupported(PART, other)),
        }
    }
    Ok(result)
}

/// Standard base64, padding at the end optional.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let mut bits = 0u32;
    let mut bit_count = 0;
    for character in text.trim_end_matches('=').bytes() {
        let digit = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        bit_count += 6;
        if bit_count >= 8 {
            bit_count -= 8;
            bytes.push((bits >> bit_count) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn base64_is_decoded() {
        assert_eq!(decode_base64("aGVsbG8="), Some(b"hello".to_vec()));
        assert_eq!(decode_base64("AP+/"), Some(vec![0, 0xFF, 0xBF]));
        assert_eq!(decode_base64("a-b"), None);
    }

    #[test]
    fn what_needs_backtracking_is_refused() {
        let split = |pattern: &str| {
            pre_tokenizing(
                &json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false}),
            )
        };
        assert!(matches!(split(r"(?<=a)b"), Err(TokenizerError::UnsupportedRegex { .. })));
        assert!(matches!(split(r"(a)\1"), Err(TokenizerError::UnsupportedRegex { .. })));
        assert!(matches!(split(r"\s+(?!x)"), Err(TokenizerError::UnsupportedRegex { .. })));
        let words = split(r"[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}|\s+(?!\S)|\s+").expect("a known look-ahead");
        assert!(matches!(words.steps[..], [Step::Words(..)]));
        let digits = split(r"\d{1,3}(?=(?:\d{3})*\b)").expect("a known look-ahead");
        assert!(matches!(digits.steps[..], [Step::DigitGroups { to_word_end: true }]));
    }

    #[test]
    fn unknown_stages_are_named() {
        let error = normalizations(&json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Nmt"}]}));
        assert!(matches!(error, Err(TokenizerError::UnsupportedPart { part: "normalizer", name }) if name == "Nmt"));
        let mut nested = json!({"type": "NFC"});
        for _ in 0..9 {
            nested = json!({"type": "Sequence", "normalizers": [nested]});
        }
        assert!(normalizations(&nested).is_err());
        assert!(decoding(&json!({"type": "CTC"})).is_err());
    }
}
