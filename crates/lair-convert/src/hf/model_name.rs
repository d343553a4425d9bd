//! What the name of a repository or folder says of a model: `SmolLM2-135M-Instruct` is a `SmolLM2` with 135 million
//! parameters, trained further as `Instruct`.
//!
//! The rules are those that GGUF files are named by (GGUF specification, "Naming convention").

/// The parts of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NameParts {
    /// The name without its owner.
    pub(crate) name: Option<String>,
    /// Who published it.
    pub(crate) organization: Option<String>,
    pub(crate) basename: Option<String>,
    pub(crate) finetune: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) size_label: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Base,
    Size,
    Finetune,
    Version,
    Type,
}

/// Takes a name apart. `parameter_count` tells sizes from lengths of contexts.
pub(crate) fn name_parts(id: &str, parameter_count: u64) -> NameParts {
    if id.contains(' ') {
        return NameParts { name: Some(id.to_owned()), ..NameParts::default() };
    }
    let (organization, name) = match id.split_once('/') {
        Some((organization, name)) => {
            (Some(organization.to_owned()).filter(|o| !o.starts_with('.') && !o.is_empty()), name)
        }
        None => (None, id),
    };
    let mut parts: Vec<(String, Vec<Part>)> = Vec::new();
    for (index, part) in name.split('-').filter(|part| !part.is_empty()).enumerate() {
        parts.push(classify(part, index, parameter_count));
    }
    let is_size = |kinds: &[Part]| kinds.contains(&Part::Size);
    if parts.iter().any(|(text, kinds)| is_size(kinds) && text.contains(|c: char| c.is_ascii_digit())) {
        // Beside a number a word is no size.
        for (text, kinds) in &mut parts {
            if text.chars().all(char::is_alphabetic) {
                kinds.retain(|kind| *kind != Part::Size);
            }
        }
    }
    let mut at_start = true;
    for (text, kinds) in &mut parts {
        let begins_name = kinds.is_empty() && text.starts_with(char::is_alphabetic) || kinds.contains(&Part::Version);
        if at_start && begins_name {
            kinds.push(Part::Base);
        } else {
            at_start = false;
            if kinds.is_empty() {
                kinds.push(Part::Finetune);
            }
        }
    }
    // A version at the end of the base's name is the version.
    for (_, kinds) in parts.iter_mut().rev() {
        if !(kinds.contains(&Part::Base) && kinds.len() > 1) {
            break;
        }
        kinds.retain(|kind| *kind != Part::Base);
    }
    let joined = |wanted: &dyn Fn(&[Part]) -> bool| {
        let mut found: Vec<&str> = Vec::new();
        for (text, _) in parts.iter().filter(|(_, kinds)| wanted(kinds)) {
            found.push(text);
        }
        (!found.is_empty()).then(|| found.join("-"))
    };
    let mut sizes: Vec<&str> = Vec::new();
    for (text, _) in parts.iter().filter(|(_, kinds)| is_size(kinds)) {
        if !sizes.contains(&text.as_str()) {
            sizes.push(text);
        }
    }
    let size_label = (!sizes.is_empty()).then(|| sizes.join("-"));
    let finetune = joined(&|kinds| kinds.contains(&Part::Finetune));
    let version = joined(&|kinds| kinds.contains(&Part::Version) && !kinds.contains(&Part::Base));
    let basename = joined(&|kinds| kinds.contains(&Part::Base));
    // A name without any of these could be anything.
    let is_clear = size_label.is_some() || finetune.is_some() || version.is_some();
    let basename = basename.filter(|_| is_clear);
    NameParts { name: Some(name.to_owned()), organization, basename, finetune, version, size_label }
}

fn classify(part: &str, index: usize, parameter_count: u64) -> (String, Vec<Part>) {
    if is_version(part) {
        return (part.to_owned(), vec![Part::Version]);
    }
    if is_type(part) {
        return (part.to_uppercase(), vec![Part::Type]);
    }
    if index > 0 && is_size(part) {
        return size(part, parameter_count);
    }
    let is_finetune = ["chat", "instruct", "vision", "lora"].contains(&part.to_lowercase().as_str());
    (part.to_owned(), if index > 0 && is_finetune { vec![Part::Finetune] } else { Vec::new() })
}

/// `v1.2`, `3.1`, `iter2`.
fn is_version(part: &str) -> bool {
    let lower = part.to_lowercase();
    let digits = lower.strip_prefix("iter").or_else(|| lower.strip_prefix('v')).unwrap_or(&lower);
    !digits.is_empty() && digits.split('.').all(|group| !group.is_empty() && group.bytes().all(|b| b.is_ascii_digit()))
}

/// `Q4_0`, `IQ2_XS`, `fp16`, `bf16`, `f32`.
fn is_type(part: &str) -> bool {
    let lower = part.to_lowercase();
    let quantized = lower.strip_prefix('i').unwrap_or(&lower).strip_prefix('q').is_some_and(|rest| {
        let mut rest = rest.chars();
        rest.next().is_some_and(|c| c.is_ascii_digit()) && {
            let rest: String = rest.collect();
            // Pairs of an underscore and a letter or digit.
            let symbols: Vec<char> = rest.chars().collect();
            symbols
                .chunks(2)
                .all(|pair| pair.len() == 2 && pair[0] == '_' && (pair[1].is_alphanumeric() || pair[1] == '_'))
        }
    });
    let float = lower.strip_prefix('b').unwrap_or(&lower).strip_prefix('f');
    quantized || float.is_some_and(|rest| matches!(rest.strip_prefix('p').unwrap_or(rest), "16" | "32"))
}

/// `7B`, `8x7B`, `A3B`, `1.5b`, `7b1`, `small`.
fn is_size(part: &str) -> bool {
    let lower = part.to_lowercase();
    if ["small", "mini", "medium", "large", "l", "xl", "xxl"].contains(&lower.as_str()) && lower != "l" {
        return true;
    }
    let rest = match lower.strip_prefix('a') {
        Some(rest) => rest,
        None => match lower.split_once('x') {
            Some((count, rest)) if !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit()) => rest,
            _ => &lower,
        },
    };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return false;
    }
    let rest = &rest[digits..];
    let rest = match rest.strip_prefix(['.', '_']) {
        Some(fraction) => {
            let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 {
                return false;
            }
            &fraction[digits..]
        }
        None => rest,
    };
    let mut rest = rest.chars();
    matches!(rest.next(), Some('k' | 'm' | 'b' | 't')) && {
        let rest: String = rest.collect();
        rest.is_empty() || rest.len() == 1 && rest.bytes().all(|byte| byte.is_ascii_digit())
    }
}

/// A size in its usual spelling, or, if the model has by far another, the length of a context.
fn size(part: &str, parameter_count: u64) -> (String, Vec<Part>) {
    let mut text = part.replace('_', ".");
    if text.ends_with(|c: char| c.is_ascii_digit()) && text.len() >= 2 {
        // `7b1` is 7.1 billion.
        let (rest, end) = text.split_at(text.len() - 2);
        let (unit, digit) = end.split_at(1);
        text = format!("{rest}.{digit}{unit}");
    }
    let before_unit = text.chars().rev().nth(1);
    if before_unit.is_some_and(|c| c.is_ascii_digit()) && text.ends_with(['k', 'm', 'b', 't']) {
        let (rest, unit) = text.split_at(text.len() - 1);
        text = format!("{rest}{}", unit.to_uppercase());
    }
    let (number, unit) = text.split_at(text.len() - 1);
    let power = " KMBT".find(unit).map(|power| 1000f64.powi(power as i32));
    if let (Ok(number), Some(power)) = (number.parse::<f64>(), power)
        && parameter_count > 0
    {
        let count = parameter_count as f64;
        if (number * power - count).abs() > (7.0 * count / 8.0).floor() {
            let lower = format!("{}{}", &text[..text.len() - 1], unit.to_lowercase());
            return (lower, vec![Part::Finetune]);
        }
    }
    (text, vec![Part::Size])
}

/// A name for people: words instead of hyphens, capitals where a word has none and is no version.
pub(crate) fn title(id: &str) -> String {
    let words = id.trim().replace('-', " ");
    let words = words.split_whitespace().map(|word| {
        let has_lower = word.chars().any(char::is_lowercase);
        let is_lower = has_lower && !word.chars().any(char::is_uppercase);
        let is_version = word.starts_with(|c: char| c.is_ascii_digit())
            || word.strip_prefix('v').is_some_and(|rest| !rest.is_empty() && self::is_version(rest));
        if is_lower && !is_version { capitalized(word) } else { word.to_owned() }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A capital for every letter that follows none.
fn capitalized(word: &str) -> String {
    let mut after_letter = false;
    let mut text = String::new();
    for symbol in word.chars() {
        if after_letter {
            text.push(symbol)
        } else {
            text.extend(symbol.to_uppercase())
        }
        after_letter = symbol.is_alphabetic();
    }
    text
}

/// The count of parameters as files are labelled with it: `135M`, `1.5B`, `8x7B`.
pub(crate) fn size_label(shared: u64, of_one_expert: u64, expert_count: u64, total: u64) -> String {
    if expert_count > 0 {
        return format!("{expert_count}x{}", rounded(shared + of_one_expert));
    }
    rounded(total)
}

fn rounded(count: u64) -> String {
    let count = count as f64;
    let (scaled, unit) = match count {
        _ if count > 1e12 => (count * 1e-12, "T"),
        _ if count > 1e9 => (count * 1e-9, "B"),
        _ if count > 1e6 => (count * 1e-6, "M"),
        _ => (count * 1e-3, "K"),
    };
    // Two digits at least.
    let digits = format!("{}", scaled.round_ties_even()).trim_start_matches('0').len();
    format!("{scaled:.*}{unit}", 2usize.saturating_sub(digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_apart_by_their_parts() {
        let check = |id: &str, count: u64, expected: [Option<&str>; 5]| {
            let NameParts { organization, basename, finetune, version, size_label, .. } = name_parts(id, count);
            let found = [organization, basename, finetune, version, size_label];
            let found: Vec<Option<&str>> = found.iter().map(Option::as_deref).collect();
            assert_eq!(found, expected, "{id}");
        };
        let none = None;
        check(
            "HuggingFaceTB/SmolLM2-135M-Instruct",
            134_515_008,
            [Some("HuggingFaceTB"), Some("SmolLM2"), Some("Instruct"), none, Some("135M")],
        );
        check(
            "Qwen2.5-Coder-1.5B-Instruct",
            1_543_714_304,
            [none, Some("Qwen2.5-Coder"), Some("Instruct"), none, Some("1.5B")],
        );
        check(
            "Mistral-7B-Instruct-v0.2",
            7_241_732_096,
            [none, Some("Mistral"), Some("Instruct"), Some("v0.2"), Some("7B")],
        );
        check("Mixtral-8x7B-v0.1", 46_702_792_704, [none, Some("Mixtral"), none, Some("v0.1"), Some("8x7B")]);
        check("Phi-3-mini-4k-instruct", 3_821_079_552, [none, Some("Phi-3"), Some("4k-instruct"), none, Some("mini")]);
        check("gpt2", 124_439_808, [none, none, none, none, none]);
    }

    #[test]
    fn names_and_counts_for_people() {
        assert_eq!(title("SmolLM2-135M-instruct"), "SmolLM2 135M Instruct");
        assert_eq!(title("tiny-llama-v1.1"), "Tiny Llama v1.1");
        assert_eq!(rounded(134_515_008), "135M");
        assert_eq!(rounded(1_543_714_304), "1.5B");
        assert_eq!(rounded(46_128), "46K");
        assert_eq!(size_label(1_000_000_000, 600_000_000, 8, 0), "8x1.6B");
    }
}
