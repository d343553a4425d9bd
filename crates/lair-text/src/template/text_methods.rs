//! The methods of strings. Each copies origins along with bytes.

use std::ops::Range;
use std::rc::Rc;

use super::arguments::CallArguments;
use super::error::{TemplateError, TemplateFault};
use super::format::brace_format;
use super::interpreter::Interpreter;
use super::lexer::is_space;
use super::python_text::write_escaped;
use super::text::{Text, TextBuilder};
use super::value::{SequenceBuilder, SequenceKind, Value};

/// Which end of a string is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
    Both,
}

impl<'t> Interpreter<'t> {
    pub(super) fn call_text_method(
        &mut self,
        text: &Rc<Text>,
        method: &'static str,
        arguments: CallArguments<'t>,
    ) -> Result<Value<'t>, TemplateError> {
        let string = text.as_str();
        self.budget.spend_characters(string.len())?;
        match method {
            "strip" | "lstrip" | "rstrip" => {
                let [characters] = arguments.bind(method, ["chars"])?;
                let side = match method {
                    "lstrip" => Side::Left,
                    "rstrip" => Side::Right,
                    _ => Side::Both,
                };
                return strip(text, characters.as_ref(), side).map(Value::Text);
            }
            "split" | "rsplit" => {
                let [separator, limit] = arguments.bind(method, ["sep", "maxsplit"])?;
                return split(text, separator.as_ref(), limit.as_ref(), method == "rsplit");
            }
            "splitlines" => {
                let [keep_ends] = arguments.bind(method, ["keepends"])?;
                let lines = line_ranges(string, keep_ends.is_some_and(|keep| keep.is_true()));
                return texts(text, lines);
            }
            "partition" | "rpartition" => return partition(text, arguments, method == "rpartition"),
            "replace" => {
                let [old, new, count] = arguments.bind(method, ["old", "new", "count"])?;
                let (old, new) = (expect_text(old.as_ref(), method)?, expect_text(new.as_ref(), method)?);
                return replace(text, old, new, count.as_ref()).map(Value::Text);
            }
            "startswith" | "endswith" => return starts_or_ends(string, method, arguments),
            "find" | "rfind" | "index" | "rindex" | "count" => return find(string, method, arguments),
            "removeprefix" | "removesuffix" => {
                let [affix] = arguments.bind(method, ["affix"])?;
                let affix = expect_text(affix.as_ref(), method)?.as_str();
                let range = if method == "removeprefix" {
                    string.strip_prefix(affix).map_or(0, |rest| string.len() - rest.len())..string.len()
                } else {
                    0..string.strip_suffix(affix).map_or(string.len(), str::len)
                };
                return text.slice(range).map(Value::Text);
            }
            "join" => {
                let [items] = arguments.bind(method, ["iterable"])?;
                let items = items.unwrap_or(Value::None).iterate(&self.budget)?;
                return join_texts(text, &items);
            }
            "format" => return brace_format(text, &arguments),
            "center" | "ljust" | "rjust" | "zfill" => return pad(text, method, arguments),
            _ => {}
        }
        arguments.bind(method, [])?;
        if let Some(answer) = character_test(string, method) {
            return Ok(Value::Bool(answer));
        }
        change_case(text, method).map(Value::Text)
    }
}

/// The answer of an `is...` method.
fn character_test(string: &str, method: &str) -> Option<bool> {
    let all = |test: fn(char) -> bool| !string.is_empty() && string.chars().all(test);
    let cased = |wanted: fn(char) -> bool, unwanted: fn(char) -> bool| {
        string.chars().any(wanted) && !string.chars().any(unwanted)
    };
    Some(match method {
        "isalnum" => all(char::is_alphanumeric),
        "isalpha" => all(char::is_alphabetic),
        "isascii" => string.is_ascii(),
        "isdecimal" | "isdigit" | "isnumeric" => all(char::is_numeric),
        "isspace" => all(is_space),
        "islower" => cased(char::is_lowercase, char::is_uppercase),
        "isupper" => cased(char::is_uppercase, char::is_lowercase),
        "istitle" => string.chars().any(char::is_alphabetic) && title_case(string, false) == string,
        "isidentifier" => {
            let mut characters = string.chars();
            characters.next().is_some_and(|first| first == '_' || first.is_alphabetic())
                && characters.all(|other| other == '_' || other.is_alphanumeric())
        }
        _ => return None,
    })
}

/// Each word with a capital and the rest small; `after_letter` says whether a letter came before.
fn title_case(string: &str, mut after_letter: bool) -> String {
    let mut titled = String::with_capacity(string.len());
    for character in string.chars() {
        if after_letter {
            titled.extend(character.to_lowercase());
        } else {
            titled.extend(character.to_uppercase());
        }
        after_letter = character.is_alphabetic();
    }
    titled
}

pub(super) fn change_case(text: &Rc<Text>, method: &str) -> Result<Rc<Text>, TemplateError> {
    match method {
        "title words" => title_words(text),
        "lower" | "casefold" => text.map_runs(str::to_lowercase),
        "upper" => text.map_runs(str::to_uppercase),
        "swapcase" => text.map_runs(|run| {
            let swap =
                |c: char| if c.is_uppercase() { c.to_lowercase().to_string() } else { c.to_uppercase().to_string() };
            run.chars().map(swap).collect()
        }),
        _ => {
            // The case of a letter depends on the one before it, which may have another origin.
            let mut builder = TextBuilder::like(text)?;
            let mut before = None;
            for (range, origin) in text.runs(0..text.as_str().len()) {
                let run = &text.as_str()[range];
                let changed = match (method, before) {
                    ("capitalize", None) => {
                        let mut rest = run.chars();
                        let first: String = rest.next().into_iter().flat_map(char::to_uppercase).collect();
                        first + &rest.as_str().to_lowercase()
                    }
                    ("capitalize", Some(_)) => run.to_lowercase(),
                    _ => title_case(run, before.is_some_and(char::is_alphabetic)),
                };
                before = run.chars().next_back();
                builder.push(&changed, origin)?;
            }
            Ok(builder.finish())
        }
    }
}

/// The `title` filter: unlike the method, an apostrophe does not begin a word.
fn title_words(text: &Rc<Text>) -> Result<Rc<Text>, TemplateError> {
    let mut builder = TextBuilder::like(text)?;
    let mut begins_word = true;
    for (range, origin) in text.runs(0..text.as_str().len()) {
        let mut titled = String::with_capacity(range.len());
        for character in text.as_str()[range].chars() {
            if begins_word {
                titled.extend(character.to_uppercase());
            } else {
                titled.extend(character.to_lowercase());
            }
            begins_word = is_space(character) || matches!(character, '-' | '(' | '{' | '[' | '<');
        }
        builder.push(&titled, origin)?;
    }
    Ok(builder.finish())
}

pub(super) fn expect_text<'v>(value: Option<&'v Value<'_>>, method: &str) -> Result<&'v Rc<Text>, TemplateError> {
    match value {
        Some(Value::Text(text)) => Ok(text),
        Some(Value::Undefined(message)) => Err(TemplateFault::undefined(&**message)),
        Some(other) => {
            Err(TemplateFault::type_error(format!("{method}() argument must be str, not {}", other.type_name())))
        }
        None => Err(TemplateFault::type_error(format!("{method}() is missing an argument"))),
    }
}

pub(super) fn strip(text: &Rc<Text>, characters: Option<&Value<'_>>, side: Side) -> Result<Rc<Text>, TemplateError> {
    let set = match characters {
        None | Some(Value::None) => None,
        given => Some(expect_text(given, "strip")?.as_str()),
    };
    let string = text.as_str();
    text.budget().spend_bytes(string.len().saturating_mul(1 + set.map_or(0, |set| set.len() / 8)))?;
    let is_stripped = |character: char| set.map_or_else(|| is_space(character), |set| set.contains(character));
    let start = if side == Side::Right { 0 } else { string.len() - string.trim_start_matches(is_stripped).len() };
    let rest = &string[start..];
    let length = if side == Side::Left { rest.len() } else { rest.trim_end_matches(is_stripped).len() };
    text.slice(start..start + length)
}

/// The list of the parts of `text` in `ranges`.
fn texts<'t>(text: &Rc<Text>, ranges: Vec<Range<usize>>) -> Result<Value<'t>, TemplateError> {
    let mut builder = SequenceBuilder::new(text.budget())?;
    for range in ranges {
        builder.push(Value::Text(text.slice(range)?))?;
    }
    builder.finish(SequenceKind::List)
}

fn split<'t>(
    text: &Rc<Text>,
    separator: Option<&Value<'t>>,
    limit: Option<&Value<'t>>,
    from_right: bool,
) -> Result<Value<'t>, TemplateError> {
    let string = text.as_str();
    let limit = limit.and_then(Value::as_integer).and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let separator = match separator {
        None | Some(Value::None) => return texts(text, split_words(string, limit, from_right)),
        given => expect_text(given, "split")?.as_str(),
    };
    if separator.is_empty() {
        return Err(TemplateFault::type_error("empty separator"));
    }
    let mut places: Vec<usize> = if from_right {
        let mut places: Vec<usize> = string.rmatch_indices(separator).take(limit).map(|(at, _)| at).collect();
        places.reverse();
        places
    } else {
        string.match_indices(separator).take(limit).map(|(at, _)| at).collect()
    };
    places.push(string.len());
    let mut start = 0;
    let ranges = places.into_iter().map(|place| {
        let range = start..place;
        start = place + separator.len();
        range
    });
    texts(text, ranges.collect())
}

/// The words between whitespace, at most `limit` splits; the rest of the string, with its whitespace,
/// is the last (or first) word.
fn split_words(string: &str, limit: usize, from_right: bool) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut range = 0..string.len();
    loop {
        let rest = &string[range.clone()];
        if from_right {
            range.end = range.start + rest.trim_end_matches(is_space).len();
        } else {
            range.start = range.end - rest.trim_start_matches(is_space).len();
        }
        if range.is_empty() {
            break;
        }
        if words.len() == limit {
            words.push(range);
            break;
        }
        let rest = &string[range.clone()];
        if from_right {
            let start = rest.rfind(is_space).map_or(0, |at| at + rest[at..].chars().next().map_or(0, char::len_utf8));
            words.push(range.start + start..range.end);
            range.end = range.start + start;
        } else {
            let end = rest.find(is_space).unwrap_or(rest.len());
            words.push(range.start..range.start + end);
            range.start += end;
        }
    }
    if from_right {
        words.reverse();
    }
    words
}

/// The lines of `string` as Python's `splitlines` finds them.
pub(super) fn line_ranges(string: &str, keep_ends: bool) -> Vec<Range<usize>> {
    let is_break =
        |c: char| matches!(c, '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let mut lines = Vec::new();
    let mut start = 0;
    while start < string.len() {
        let rest = &string[start..];
        let length = rest.find(is_break).unwrap_or(rest.len());
        let break_length = if rest[length..].starts_with("\r\n") {
            2
        } else {
            rest[length..].chars().next().map_or(0, char::len_utf8)
        };
        lines.push(start..start + length + if keep_ends { break_length } else { 0 });
        start += length + break_length;
    }
    lines
}

fn partition<'t>(text: &Rc<Text>, arguments: CallArguments<'t>, from_right: bool) -> Result<Value<'t>, TemplateError> {
    let [separator] = arguments.bind("partition", ["sep"])?;
    let separator = expect_text(separator.as_ref(), "partition")?.as_str();
    if separator.is_empty() {
        return Err(TemplateFault::type_error("empty separator"));
    }
    let string = text.as_str();
    let found = if from_right { string.rfind(separator) } else { string.find(separator) };
    let (first, second) = match found {
        Some(at) => (at, at + separator.len()),
        None if from_right => (0, 0),
        None => (string.len(), string.len()),
    };
    let parts = [0..first, first..second, second..string.len()];
    let parts = parts.map(|range| text.slice(range).map(Value::Text));
    let parts = parts.into_iter().collect::<Result<Vec<_>, _>>()?;
    Value::tuple(text.budget(), parts)
}

pub(super) fn replace(
    text: &Rc<Text>,
    old: &Text,
    new: &Text,
    count: Option<&Value<'_>>,
) -> Result<Rc<Text>, TemplateError> {
    let limit = count.and_then(Value::as_integer).and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
    let string = text.as_str();
    let mut builder = TextBuilder::new(text.budget())?;
    let mut copied = 0;
    for (at, _) in string.match_indices(old.as_str()).take(limit) {
        builder.push_slice(text, copied..at)?;
        builder.push_text(new)?;
        copied = at + old.as_str().len();
    }
    builder.push_slice(text, copied..string.len())?;
    Ok(builder.finish())
}

fn starts_or_ends<'t>(
    string: &str,
    method: &'static str,
    arguments: CallArguments<'t>,
) -> Result<Value<'t>, TemplateError> {
    let [affix] = arguments.bind(method, ["affix"])?;
    let matches =
        |affix: &str| if method == "startswith" { string.starts_with(affix) } else { string.ends_with(affix) };
    if let Some(Value::Sequence(affixes)) = &affix
        && affixes.kind == SequenceKind::Tuple
    {
        return Ok(Value::Bool(affixes.items().iter().filter_map(Value::as_str).any(matches)));
    }
    Ok(Value::Bool(matches(expect_text(affix.as_ref(), method)?.as_str())))
}

/// `find` and its like; positions are counted in characters.
fn find<'t>(string: &str, method: &'static str, arguments: CallArguments<'t>) -> Result<Value<'t>, TemplateError> {
    let [needle] = arguments.bind(method, ["sub"])?;
    let needle = expect_text(needle.as_ref(), method)?.as_str();
    if method == "count" {
        let count = if needle.is_empty() { string.chars().count() + 1 } else { string.matches(needle).count() };
        return Ok(Value::Integer(count as i128));
    }
    let found = if method.starts_with('r') { string.rfind(needle) } else { string.find(needle) };
    match found {
        Some(at) => Ok(Value::Integer(string[..at].chars().count() as i128)),
        None if method.ends_with("index") => Err(TemplateFault::type_error("substring not found")),
        None => Ok(Value::Integer(-1)),
    }
}

fn join_texts<'t>(separator: &Text, items: &[Value<'t>]) -> Result<Value<'t>, TemplateError> {
    let mut builder = TextBuilder::new(separator.budget())?;
    for (index, item) in items.iter().enumerate() {
        let Value::Text(item) = item else {
            let found = item.type_name();
            let message = format!("sequence item {index}: expected str instance, {found} found");
            return Err(TemplateFault::type_error(message));
        };
        if index > 0 {
            builder.push_text(separator)?;
        }
        builder.push_text(item)?;
    }
    Ok(Value::Text(builder.finish()))
}

fn pad<'t>(text: &Rc<Text>, method: &'static str, arguments: CallArguments<'t>) -> Result<Value<'t>, TemplateError> {
    let [width, fill] = arguments.bind(method, ["width", "fillchar"])?;
    let width = width.as_ref().and_then(Value::as_integer);
    let width = width.ok_or_else(|| TemplateFault::type_error(format!("{method}() needs an integer width")))?;
    let fill = match &fill {
        None if method == "zfill" => '0',
        None => ' ',
        Some(fill) => match fill.as_str().map(|fill| fill.chars().collect::<Vec<_>>()).as_deref() {
            Some([fill]) => *fill,
            _ => return Err(TemplateFault::type_error("the fill character must be exactly one character long")),
        },
    };
    pad_text(text, width, fill, method).map(Value::Text)
}

/// Fills `text` up to `width` characters: `ljust`, `rjust`, `center` or `zfill`.
pub(super) fn pad_text(text: &Rc<Text>, width: i128, fill: char, method: &str) -> Result<Rc<Text>, TemplateError> {
    let string = text.as_str();
    let length = string.chars().count() as i128;
    let missing = usize::try_from(width.saturating_sub(length)).unwrap_or(0);
    let left = match method {
        "ljust" => 0,
        "center" => missing / 2 + (missing & width as usize & 1),
        _ => missing,
    };
    let mut builder = TextBuilder::like(text)?;
    let has_sign = method == "zfill" && missing > 0 && string.starts_with(['+', '-']);
    let sign_length = usize::from(has_sign);
    builder.push_slice(text, 0..sign_length)?;
    builder.push_repeated(fill, left)?;
    builder.push_slice(text, sign_length..string.len())?;
    builder.push_repeated(fill, missing - left)?;
    Ok(builder.finish())
}

/// HTML escaping, as the `escape` filter does it: markup stays as it is, the result is markup.
pub(super) fn escape_html(text: &Rc<Text>) -> Result<Rc<Text>, TemplateError> {
    if text.is_markup() {
        return Ok(Rc::clone(text));
    }
    let mut builder = TextBuilder::new(text.budget())?;
    builder.mark_up();
    write_escaped(text, &mut builder, |character| {
        let escaped = match character {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '\'' => "&#39;",
            '"' => "&#34;",
            _ => return None,
        };
        Some(escaped.to_owned())
    })?;
    Ok(builder.finish())
}

/// The same text as markup, without escaping.
pub(super) fn mark_safe(text: &Rc<Text>) -> Result<Rc<Text>, TemplateError> {
    let mut builder = TextBuilder::new(text.budget())?;
    builder.mark_up();
    builder.push_text(text)?;
    Ok(builder.finish())
}
