//! The filters of Jinja for single values; those for sequences are in `sequence_filters`.

use std::rc::Rc;

use super::arguments::CallArguments;
use super::error::{TemplateError, TemplateFault};
use super::interpreter::Interpreter;
use super::python_text::{JsonStyle, to_json, to_text};
use super::text::{Origin, Text, TextBuilder};
use super::text_methods::{
    Side, change_case, escape_html, expect_text, line_ranges, mark_safe, pad_text, replace, strip,
};
use super::value::{SequenceBuilder, SequenceKind, Value};

impl<'t> Interpreter<'t> {
    /// `value | name(arguments)`
    pub(super) fn apply_filter(
        &mut self,
        name: &str,
        value: Value<'t>,
        arguments: CallArguments<'t>,
    ) -> Result<Value<'t>, TemplateError> {
        match name {
            "tojson" => self.tojson(&value, arguments),
            "default" | "d" => {
                let [default, boolean] = arguments.bind("default", ["default_value", "boolean"])?;
                let is_missing = match boolean.is_some_and(|boolean| boolean.is_true()) {
                    true => !value.is_true(),
                    false => matches!(value, Value::Undefined(_)),
                };
                if !is_missing {
                    return Ok(value);
                }
                default.map_or_else(|| Value::text(&self.budget, "", Origin::Template), Ok)
            }
            "length" | "count" => {
                arguments.bind("length", [])?;
                self.length(&value)
            }
            "string" | "safe" => {
                arguments.bind(name, [])?;
                let text = to_text(&value, &self.budget)?;
                Ok(Value::Text(if name == "safe" { mark_safe(&text)? } else { text }))
            }
            "abs" | "int" | "float" | "round" => self.number_filter(name, &value, arguments),
            "trim" | "upper" | "lower" | "title" | "capitalize" | "escape" | "e" | "forceescape" | "replace"
            | "indent" | "center" | "truncate" | "wordcount" | "format" => {
                if let Value::Undefined(message) = &value
                    && matches!(name, "indent" | "truncate" | "format")
                {
                    return Err(TemplateFault::undefined(&**message));
                }
                let text = to_text(&value, &self.budget)?;
                self.budget.spend_characters(text.as_str().len())?;
                self.text_filter(name, &text, arguments)
            }
            _ => self.sequence_filter(name, value, arguments),
        }
    }

    fn text_filter(
        &mut self,
        name: &str,
        text: &Rc<Text>,
        arguments: CallArguments<'t>,
    ) -> Result<Value<'t>, TemplateError> {
        match name {
            "trim" => {
                let [characters] = arguments.bind("trim", ["chars"])?;
                strip(text, characters.as_ref(), Side::Both).map(Value::Text)
            }
            "replace" => {
                let [old, new, count] = arguments.bind("replace", ["old", "new", "count"])?;
                let old = to_text(&old.unwrap_or(Value::None), &self.budget)?;
                let new = to_text(&new.unwrap_or(Value::None), &self.budget)?;
                replace(text, &old, &new, count.as_ref()).map(Value::Text)
            }
            "indent" => self.indent(text, arguments),
            "center" => {
                let [width] = arguments.bind("center", ["width"])?;
                let width = width.as_ref().and_then(Value::as_integer).unwrap_or(80);
                pad_text(text, width, ' ', "center").map(Value::Text)
            }
            "truncate" => self.truncate(text, arguments),
            "format" => {
                let value = if arguments.keyword.is_empty() {
                    Value::tuple(&self.budget, arguments.positional)?
                } else {
                    let mut dict = super::value::Dict::new(&self.budget)?;
                    for (name, value) in arguments.keyword {
                        dict.insert(Value::text(&self.budget, &name, Origin::Template)?, value)?;
                    }
                    Value::Dict(Rc::new(dict))
                };
                super::format::percent_format(text, &value, &self.budget)
            }
            _ => {
                arguments.bind(name, [])?;
                match name {
                    "escape" | "e" | "forceescape" => escape_html(text).map(Value::Text),
                    "wordcount" => {
                        let is_word = |c: char| c.is_alphanumeric() || c == '_';
                        let words = text.as_str().split(|c| !is_word(c)).filter(|word| !word.is_empty()).count();
                        Ok(Value::Integer(words as i128))
                    }
                    "title" => change_case(text, "title words").map(Value::Text),
                    _ => change_case(text, name).map(Value::Text),
                }
            }
        }
    }

    fn length(&mut self, value: &Value<'t>) -> Result<Value<'t>, TemplateError> {
        let length = match value {
            Value::Undefined(_) => 0,
            Value::Text(text) => {
                self.budget.spend_bytes(text.as_str().len())?;
                text.as_str().chars().count()
            }
            Value::Dict(dict) => dict.entries().len(),
            Value::Sequence(sequence) if sequence.kind != SequenceKind::Generator => sequence.items().len(),
            Value::Loop(state) => state.items.len(),
            other => {
                let message = format!("object of type '{}' has no len()", other.type_name());
                return Err(TemplateFault::type_error(message));
            }
        };
        Ok(Value::Integer(length as i128))
    }

    fn tojson(&mut self, value: &Value<'t>, arguments: CallArguments<'t>) -> Result<Value<'t>, TemplateError> {
        let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
        let [ascii, indent, separators, sort_keys] = arguments.bind("tojson", names)?;
        let indent = match indent {
            None | Some(Value::None) => None,
            Some(Value::Text(indent)) => Some(indent.as_str().to_owned()),
            // 80 blanks a level are enough; more would only cost.
            Some(indent) => Some(" ".repeat(indent.as_integer().unwrap_or(0).clamp(0, 80) as usize)),
        };
        let mut style = JsonStyle {
            item_separator: if indent.is_some() { "," } else { ", " }.to_owned(),
            key_separator: ": ".to_owned(),
            indent,
            ascii_only: ascii.is_some_and(|ascii| ascii.is_true()),
            sort_keys: sort_keys.is_some_and(|sort| sort.is_true()),
        };
        if let Some(Value::Sequence(separators)) = separators {
            let [Value::Text(item), Value::Text(key)] = separators.items() else {
                return Err(TemplateFault::type_error("separators must be two strings"));
            };
            style.item_separator = item.as_str().to_owned();
            style.key_separator = key.as_str().to_owned();
        }
        if let Value::Undefined(_) = value {
            return Err(TemplateFault::type_error("Object of type Undefined is not JSON serializable"));
        }
        Ok(Value::Text(to_json(value, &style, &self.budget)?))
    }

    fn number_filter(
        &mut self,
        name: &str,
        value: &Value<'t>,
        arguments: CallArguments<'t>,
    ) -> Result<Value<'t>, TemplateError> {
        match name {
            "int" => {
                let [default, base] = arguments.bind("int", ["default", "base"])?;
                let base = base.as_ref().and_then(Value::as_integer).unwrap_or(10);
                Ok(parse_integer(value, base).map_or_else(|| default.unwrap_or(Value::Integer(0)), Value::Integer))
            }
            "float" => {
                let [default] = arguments.bind("float", ["default"])?;
                let parsed = match value {
                    Value::Text(text) => text.as_str().trim().parse().ok(),
                    other => other.as_float(),
                };
                Ok(parsed.map_or_else(|| default.unwrap_or(Value::Float(0.0)), Value::Float))
            }
            "abs" => {
                arguments.bind("abs", [])?;
                match (value, value.as_integer()) {
                    (Value::Float(number), _) => Ok(Value::Float(number.abs())),
                    (_, Some(number)) => Ok(Value::Integer(number.saturating_abs())),
                    _ => Err(TemplateFault::type_error(format!("bad operand type for abs(): '{}'", value.type_name()))),
                }
            }
            _ => {
                let [precision, method] = arguments.bind("round", ["precision", "method"])?;
                let precision = precision.as_ref().and_then(Value::as_integer).unwrap_or(0).clamp(-300, 300) as i32;
                let Some(number) = value.as_float() else {
                    return Err(TemplateFault::type_error(format!("cannot round '{}'", value.type_name())));
                };
                let is_common = method.as_ref().and_then(Value::as_str).is_none_or(|method| method == "common");
                if let (Value::Integer(_), true, true) = (value, is_common, precision >= 0) {
                    return Ok(value.clone());
                }
                let scale = 10f64.powi(precision);
                let rounded = match method.as_ref().and_then(Value::as_str) {
                    None | Some("common") => (number * scale).round_ties_even(),
                    Some("ceil") => (number * scale).ceil(),
                    Some("floor") => (number * scale).floor(),
                    Some(_) => return Err(TemplateFault::type_error("method must be common, ceil or floor")),
                };
                Ok(Value::Float(rounded / scale))
            }
        }
    }

    fn indent(&mut self, text: &Rc<Text>, arguments: CallArguments<'t>) -> Result<Value<'t>, TemplateError> {
        let [width, first, blank] = arguments.bind("indent", ["width", "first", "blank"])?;
        let indentation = match &width {
            Some(Value::Text(indentation)) => Rc::clone(indentation),
            width => {
                let count = width.as_ref().and_then(Value::as_integer).unwrap_or(4).max(0);
                let mut builder = TextBuilder::new(&self.budget)?;
                builder.push_repeated(' ', usize::try_from(count).unwrap_or(usize::MAX))?;
                builder.finish()
            }
        };
        let indents_first = first.is_some_and(|first| first.is_true());
        let indents_blank = blank.is_some_and(|blank| blank.is_true());
        let string = text.as_str();
        let mut builder = TextBuilder::like(text)?;
        let mut lines = line_ranges(string, false);
        // Jinja adds a newline before it splits, so that a last empty line counts.
        if string.is_empty() || string.ends_with(['\n', '\r']) {
            lines.push(string.len()..string.len());
        }
        for (index, line) in lines.into_iter().enumerate() {
            if index > 0 {
                builder.push_own("\n")?;
            }
            let is_indented = if index == 0 { indents_first } else { indents_blank || !line.is_empty() };
            if is_indented {
                builder.push_text(&indentation)?;
            }
            builder.push_slice(text, line)?;
        }
        Ok(Value::Text(builder.finish()))
    }

    fn truncate(&mut self, text: &Rc<Text>, arguments: CallArguments<'t>) -> Result<Value<'t>, TemplateError> {
        let [length, kill_words, end, leeway] = arguments.bind("truncate", ["length", "killwords", "end", "leeway"])?;
        let length = length.as_ref().and_then(Value::as_integer).unwrap_or(255).max(0) as usize;
        let leeway = leeway.as_ref().and_then(Value::as_integer).unwrap_or(5).max(0) as usize;
        let end = match &end {
            None => Text::new(&self.budget, "...", Origin::Template)?,
            given => Rc::clone(expect_text(given.as_ref(), "truncate")?),
        };
        let string = text.as_str();
        if string.chars().count() <= length.saturating_add(leeway) {
            return Ok(Value::Text(Rc::clone(text)));
        }
        let kept = length.saturating_sub(end.as_str().chars().count());
        let mut cut = string.char_indices().nth(kept).map_or(string.len(), |(position, _)| position);
        if !kill_words.is_some_and(|kill| kill.is_true()) {
            cut = string[..cut].rfind(' ').unwrap_or(cut);
        }
        let mut builder = TextBuilder::like(text)?;
        builder.push_slice(text, 0..cut)?;
        builder.push_text(&end)?;
        Ok(Value::Text(builder.finish()))
    }

    /// `dict | items`
    pub(super) fn items(&mut self, value: &Value<'t>) -> Result<Value<'t>, TemplateError> {
        let mut items = SequenceBuilder::new(&self.budget)?;
        match value {
            Value::Undefined(_) => {}
            Value::Dict(dict) => {
                for (key, value) in dict.entries() {
                    items.push(Value::tuple(&self.budget, vec![key.clone(), value.clone()])?)?;
                }
            }
            _ => return Err(TemplateFault::type_error("Can only get item pairs from a mapping.")),
        }
        items.finish(SequenceKind::Generator)
    }
}

fn parse_integer(value: &Value<'_>, base: i128) -> Option<i128> {
    match value {
        Value::Float(number) => number.is_finite().then_some(number.trunc() as i128),
        Value::Text(text) => {
            let string = text.as_str().trim().replace('_', "");
            let radix = u32::try_from(base).ok().filter(|radix| (2..=36).contains(radix))?;
            let digits = match radix {
                16 => string.strip_prefix("0x").unwrap_or(&string),
                8 => string.strip_prefix("0o").unwrap_or(&string),
                2 => string.strip_prefix("0b").unwrap_or(&string),
                _ => &string,
            };
            let parsed = i128::from_str_radix(digits, radix).ok();
            parsed.or_else(|| string.parse::<f64>().ok().filter(|n| n.is_finite()).map(|n| n.trunc() as i128))
        }
        other => other.as_integer(),
    }
}
