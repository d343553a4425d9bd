//! Patterns of schemas, which are expressions of ECMA-262, as expressions for texts in JSON's quotation marks.
//!
//! What a pattern says of a character holds for each of its spellings: `"` is `\"` there, a line feed `\n` or `\u000a`.

use std::fmt::Write;

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, ClassUnicode, Hir, HirKind, Look};

/// Levels of brackets in a pattern.
const NESTING_MAX: u32 = 128;
/// Bytes of a translated pattern: classes of letters are long, what repeats them is not.
const TRANSLATED_MAX: usize = 1 << 20;
/// Characters that stand for themselves in JSON.
const PLAIN: &str = r#"[^"\\\x00-\x1f\x7f]"#;
/// Characters that are written with a backslash.
const ESCAPED: &str = r#"\\(?:["\\bfnrt]|u00(?:[01][0-9a-fA-F]|7[fF]))"#;

/// A class of nothing.
const NO_CHARACTER: &str = r"[^\x00-\x{10FFFF}]";

/// Any character in quotation marks.
pub(super) fn any_character() -> String {
    format!("(?:{PLAIN}|{ESCAPED})")
}

/// What stands in the quotation marks where a pattern is found, as an expression that matches from end to end.
///
/// # Errors
/// In words, if the pattern is none, or has what no automaton can follow.
pub(super) fn found_in_quotes(pattern: &str) -> Result<String, String> {
    let rust = rust_of_ecma(pattern)?;
    let mut parser = ParserBuilder::new().nest_limit(NESTING_MAX).build();
    let hir = parser.parse(&rust).map_err(|error| first_line(&error))?;
    let any = format!("{}*", any_character());
    let mut out = String::new();
    search(&hir, true, true, &any, &mut out)?;
    Ok(out)
}

/// This text in quotation marks, in all its spellings.
pub(super) fn quoted_text(text: &str) -> String {
    text.chars().map(|character| spellings(character).unwrap_or_else(|| escaped(character))).collect()
}

fn first_line(error: &regex_syntax::Error) -> String {
    let text = error.to_string();
    let cause = text.lines().last().unwrap_or_default();
    cause.strip_prefix("error: ").unwrap_or(cause).to_owned()
}

/// Writes what is found anywhere, unless anchors hold it: `open_start` and `open_end` say whether anything may stand there.
fn search(hir: &Hir, open_start: bool, open_end: bool, any: &str, out: &mut String) -> Result<(), String> {
    match hir.kind() {
        HirKind::Capture(capture) => search(&capture.sub, open_start, open_end, any, out),
        HirKind::Alternation(parts) => {
            out.push_str("(?:");
            for (index, part) in parts.iter().enumerate() {
                if index > 0 {
                    out.push('|');
                }
                search(part, open_start, open_end, any, out)?;
            }
            out.push(')');
            Ok(())
        }
        HirKind::Concat(parts) => {
            let is_anchor =
                |part: Option<&Hir>, look: Look| part.is_some_and(|part| part.kind() == &HirKind::Look(look));
            let from = parts.iter().take_while(|part| is_anchor(Some(part), Look::Start)).count();
            let to =
                parts.len() - parts[from..].iter().rev().take_while(|part| is_anchor(Some(part), Look::End)).count();
            let (open_start, open_end) = (open_start && from == 0, open_end && to == parts.len());
            match &parts[from..to] {
                [one] => search(one, open_start, open_end, any, out),
                [first, middle @ .., last] => {
                    // Anchors may stand in the alternatives at both ends.
                    search(first, open_start, false, any, out)?;
                    middle.iter().try_for_each(|part| write(part, out))?;
                    search(last, false, open_end, any, out)
                }
                [] => {
                    out.push_str(if open_start || open_end { any } else { "" });
                    Ok(())
                }
            }
        }
        HirKind::Look(Look::Start) if open_start => {
            out.push_str(if open_end { any } else { "" });
            Ok(())
        }
        HirKind::Look(Look::End) if open_end => {
            out.push_str(if open_start { any } else { "" });
            Ok(())
        }
        _ => {
            out.push_str(if open_start { any } else { "" });
            write(hir, out)?;
            out.push_str(if open_end { any } else { "" });
            Ok(())
        }
    }
}

fn write(hir: &Hir, out: &mut String) -> Result<(), String> {
    if out.len() > TRANSLATED_MAX {
        return Err("it is too large".to_owned());
    }
    match hir.kind() {
        HirKind::Empty => {}
        HirKind::Literal(literal) => {
            let text = std::str::from_utf8(&literal.0).map_err(|_| "it asks for bytes that are no text".to_owned())?;
            out.push_str(&quoted_text(text));
        }
        HirKind::Class(Class::Unicode(class)) => write_class(class, out),
        HirKind::Class(Class::Bytes(class)) if class.ranges().is_empty() => out.push_str(NO_CHARACTER),
        HirKind::Class(Class::Bytes(_)) => return Err("it asks for bytes".to_owned()),
        HirKind::Look(_) => return Err("an anchor or a border of a word stands in its midst".to_owned()),
        HirKind::Repetition(repetition) => {
            out.push_str("(?:");
            write(&repetition.sub, out)?;
            let most = repetition.max.map_or(String::new(), |most| most.to_string());
            let _ = write!(out, "){{{},{most}}}", repetition.min);
        }
        HirKind::Capture(capture) => {
            out.push_str("(?:");
            write(&capture.sub, out)?;
            out.push(')');
        }
        HirKind::Concat(parts) => parts.iter().try_for_each(|part| write(part, out))?,
        HirKind::Alternation(parts) => {
            out.push_str("(?:");
            for (index, part) in parts.iter().enumerate() {
                if index > 0 {
                    out.push('|');
                }
                write(part, out)?;
            }
            out.push(')');
        }
    }
    Ok(())
}

/// Characters that need a backslash in JSON.
fn needs_escape(character: char) -> bool {
    character < ' ' || matches!(character, '"' | '\\' | '\u{7f}')
}

/// The spellings of a character that needs a backslash, as an expression.
fn spellings(character: char) -> Option<String> {
    if !needs_escape(character) {
        return None;
    }
    let short = match character {
        '"' => return Some(r#"\\""#.to_owned()),
        '\\' => return Some(r"\\\\".to_owned()),
        '\u{8}' => Some('b'),
        '\u{c}' => Some('f'),
        '\n' => Some('n'),
        '\r' => Some('r'),
        '\t' => Some('t'),
        _ => None,
    };
    let code = u32::from(character);
    let last = std::char::from_digit(code & 15, 16).unwrap_or('0');
    let long = format!("u00{}[{last}{}]", code >> 4, last.to_ascii_uppercase());
    Some(match short {
        Some(short) => format!(r"\\(?:{short}|{long})"),
        None => format!(r"\\{long}"),
    })
}

/// A character that stands for itself, as an expression.
fn escaped(character: char) -> String {
    if character.is_ascii_alphanumeric() || matches!(character, '_' | ' ') {
        character.to_string()
    } else {
        format!(r"\x{{{:x}}}", u32::from(character))
    }
}

fn write_class(class: &ClassUnicode, out: &mut String) {
    let in_class =
        |character: char| class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&character));
    let special: Vec<char> = (0..=0x7fu8).map(char::from).filter(|character| needs_escape(*character)).collect();
    let mut parts = Vec::new();
    if special.iter().all(|character| in_class(*character)) {
        parts.push(ESCAPED.to_owned());
    } else {
        parts.extend(special.iter().filter(|character| in_class(**character)).filter_map(|c| spellings(*c)));
    }
    let mut plain = String::new();
    for range in class.ranges() {
        let mut start = u32::from(range.start());
        for end in special.iter().map(|character| u32::from(*character)).chain([u32::from(range.end()) + 1]) {
            let end = end.min(u32::from(range.end()) + 1);
            if end > start {
                let _ = write!(plain, r"\x{{{:x}}}-\x{{{:x}}}", start, end - 1);
            }
            start = start.max(end + 1).min(u32::from(range.end()) + 1).max(start);
        }
    }
    if !plain.is_empty() {
        parts.push(format!("[{plain}]"));
    }
    if parts.is_empty() {
        parts.push(NO_CHARACTER.to_owned());
    }
    let _ = write!(out, "(?:{})", parts.join("|"));
}

/// White space of ECMA-262 (section 12.2 and 12.3), for a class.
const SPACES: &str = r"\t\n\x0b\x0c\r \u{a0}\u{feff}\u{2028}\u{2029}\p{Zs}";
/// What is not white space, for a class that has more in it.
const NO_SPACES: &str = r"[^\t\n\x0b\x0c\r \u{a0}\u{feff}\u{2028}\u{2029}\p{Zs}]";

/// An expression of ECMA-262 in the syntax of the `regex` crate: its classes are those of ASCII, and brackets mean other
/// things in its classes.
fn rust_of_ecma(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern.chars().peekable();
    let mut in_class = false;
    while let Some(character) = rest.next() {
        match character {
            '\\' => {
                let escape = rest.next().ok_or("it ends with a backslash")?;
                translate_escape(escape, &mut rest, in_class, &mut out)?;
            }
            '[' if !in_class => {
                in_class = true;
                out.push('[');
                if rest.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                // `[]` is nothing and `[^]` anything.
                if rest.peek() == Some(&']') {
                    rest.next();
                    in_class = false;
                    let is_any = out.ends_with('^');
                    out.truncate(out.len() - if is_any { 2 } else { 1 });
                    out.push_str(if is_any { r"[\x00-\x{10FFFF}]" } else { r"[^\x00-\x{10FFFF}]" });
                }
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '[' | '&' | '~' if in_class => {
                out.push('\\');
                out.push(character);
            }
            // Two of them would take one class from another.
            '-' if in_class && rest.peek() == Some(&'-') => out.push_str(r"\-"),
            '.' if !in_class => out.push_str(r"[^\n\r\u{2028}\u{2029}]"),
            ']' => out.push_str(r"\]"),
            other => out.push(other),
        }
    }
    Ok(out)
}

fn translate_escape(
    escape: char,
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
    in_class: bool,
    out: &mut String,
) -> Result<(), String> {
    let mut class = |inside: &str| {
        let _ = if in_class { write!(out, "{inside}") } else { write!(out, "[{inside}]") };
    };
    match escape {
        'd' => class("0-9"),
        'w' => class("0-9A-Za-z_"),
        's' => class(SPACES),
        'D' => out.push_str("[^0-9]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        'S' => out.push_str(NO_SPACES),
        'c' => {
            let letter = rest.next().filter(char::is_ascii_alphabetic).ok_or("`\\c` stands without a letter")?;
            let _ = write!(out, r"\x{{{:x}}}", u32::from(letter) & 31);
        }
        'u' if rest.peek() != Some(&'{') => {
            let mut code = hex4(rest)?;
            if (0xd800..0xdc00).contains(&code) && rest.next_if_eq(&'\\').is_some() {
                rest.next_if_eq(&'u').ok_or("half of a pair stands alone")?;
                code = 0x10000 + ((code - 0xd800) << 10) + hex4(rest)?.wrapping_sub(0xdc00);
            }
            let _ = write!(out, r"\x{{{code:x}}}");
        }
        '0' if !rest.peek().is_some_and(char::is_ascii_digit) => out.push_str(r"\x00"),
        'b' if in_class => out.push_str(r"\x08"),
        'Z' | 'z' | 'A' => return Err(format!("`\\{escape}` is no escape of ECMA-262")),
        letter if letter.is_ascii_alphanumeric() => {
            out.push('\\');
            out.push(letter);
        }
        other => out.push_str(&format!(r"\x{{{:x}}}", u32::from(other))),
    }
    Ok(())
}

fn hex4(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<u32, String> {
    let digits: String = rest.by_ref().take(4).collect();
    let is_hex = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex
        .then(|| u32::from_str_radix(&digits, 16).unwrap_or(0))
        .ok_or_else(|| "`\\u` stands without four digits".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::terminal::{Terminal, TerminalFacts};
    use super::*;

    #[test]
    fn patterns_are_found_in_quoted_texts() {
        let mut facts = TerminalFacts::default();
        let cases: &[(&str, &[&str], &[&str])] = &[
            ("^a+$", &["a", "aaa"], &["", "ba", "ab"]),
            ("a", &["a", "xay", "\\na"], &["", "b", "A"]),
            ("^(x|yz)*$", &["", "x", "yzx"], &["xy"]),
            ("^a|b$", &["ac", "cb"], &["ca", "bc"]),
            ("(^a$)|(^b)", &["a", "bc"], &["ab", "cb"]),
            ("^$", &[""], &["a"]),
            ("^", &["", "a"], &[]),
            ("^.$", &["a", "\\\"", "\\\\", "ü"], &["", "ab", "\\n"]),
            ("^\\S\\s$", &["a ", "a\\t", "a\\u0009"], &["  ", "ab"]),
            ("^[\\w.-]+$", &["a.b-c_9"], &["ä", "a b"]),
            ("^[^\"]$", &["a", "\\\\", "\\n"], &["\\\"", "ab"]),
            ("^\\/\\u00e4\\x41\\cJ[[&&~~]$", &["/äA\\n[", "/äA\\n&"], &["/äA\\na"]),
            ("^[]$|^b$", &["b"], &["", "a"]),
            ("^\\p{Letter}\\d$", &["ä1"], &["1ä"]),
        ];
        for (pattern, good, bad) in cases {
            let terminal = Terminal::Regex(found_in_quotes(pattern).expect(pattern));
            let mut is_match = |text: &&str| facts.matches(&terminal, text).expect("it answers");
            good.iter().for_each(|text| assert!(is_match(text), "{pattern} should match {text:?}"));
            bad.iter().for_each(|text| assert!(!is_match(text), "{pattern} should not match {text:?}"));
        }
        for pattern in ["(", "a(?=b)", "(a)\\1", "\\bword", "a^b", "\\", "[z-a]", "\\u12"] {
            assert!(found_in_quotes(pattern).is_err(), "{pattern} should be refused");
        }
    }
}
