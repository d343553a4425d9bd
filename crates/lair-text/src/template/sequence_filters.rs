//! The filters of Jinja for sequences and dicts.

use std::cmp::Ordering;

use super::arguments::CallArguments;
use super::error::{TemplateError, TemplateFault};
use super::interpreter::Interpreter;
use super::operators;
use super::python_text::write_str;
use super::syntax::Operator;
use super::text::{Origin, TextBuilder};
use super::text_methods::change_case;
use super::value::{SequenceBuilder, SequenceKind, Value};

impl<'t> Interpreter<'t> {
    pub(super) fn sequence_filter(
        &mut self,
        name: &str,
        value: Value<'t>,
        arguments: CallArguments<'t>,
    ) -> Result<Value<'t>, TemplateError> {
        match name {
            "items" => {
                arguments.bind("items", [])?;
                self.items(&value)
            }
            "join" => self.join(&value, arguments),
            "list" => {
                arguments.bind("list", [])?;
                let items = value.iterate(&self.budget)?;
                Value::list(&self.budget, items)
            }
            "first" | "last" => {
                arguments.bind(name, [])?;
                let items = value.iterate(&self.budget)?;
                let found = if name == "first" { items.first() } else { items.last() };
                let missing = || Value::Undefined(format!("No {name} item, sequence was empty.").into());
                Ok(found.cloned().unwrap_or_else(missing))
            }
            "reverse" => {
                arguments.bind("reverse", [])?;
                let mut items = value.iterate(&self.budget)?;
                items.reverse();
                match value {
                    Value::Text(_) => operators::concatenate(&items, &self.budget),
                    _ => self.generator(items),
                }
            }
            "map" => self.map(&value, arguments),
            "select" | "reject" | "selectattr" | "rejectattr" => self.select(name, &value, arguments),
            "sort" => {
                let [reverse, case_sensitive, attribute] =
                    arguments.bind("sort", ["reverse", "case_sensitive", "attribute"])?;
                let items = value.iterate(&self.budget)?;
                let keys = self.sort_keys(&items, attribute.as_ref(), is_true(&case_sensitive))?;
                let sorted = self.sorted(keys, items, is_true(&reverse))?;
                Value::list(&self.budget, sorted)
            }
            "dictsort" => self.dictsort(&value, arguments),
            "unique" => {
                let [case_sensitive, attribute] = arguments.bind("unique", ["case_sensitive", "attribute"])?;
                let items = value.iterate(&self.budget)?;
                let keys = self.sort_keys(&items, attribute.as_ref(), is_true(&case_sensitive))?;
                let mut seen: Vec<Value<'t>> = Vec::new();
                let mut kept = Vec::new();
                for (item, key) in items.into_iter().zip(keys) {
                    let mut is_known = false;
                    for other in &seen {
                        is_known = is_known || other.equals(&key, &self.budget)?;
                    }
                    if !is_known {
                        seen.push(key);
                        kept.push(item);
                    }
                }
                self.generator(kept)
            }
            "min" | "max" => {
                let [case_sensitive, attribute] = arguments.bind(name, ["case_sensitive", "attribute"])?;
                let items = value.iterate(&self.budget)?;
                let keys = self.sort_keys(&items, attribute.as_ref(), is_true(&case_sensitive))?;
                let sorted = self.sorted(keys, items, name == "max")?;
                let missing = || Value::Undefined("No aggregated item, sequence was empty.".into());
                Ok(sorted.into_iter().next().unwrap_or_else(missing))
            }
            "sum" => {
                let [attribute, start] = arguments.bind("sum", ["attribute", "start"])?;
                let mut total = start.unwrap_or(Value::Integer(0));
                for item in value.iterate(&self.budget)? {
                    let item = self.attribute_path(item, attribute.as_ref())?;
                    total = operators::arithmetic(Operator::Add, &total, &item, &self.budget)?;
                }
                Ok(total)
            }
            "batch" | "slice" => self.pieces(name, &value, arguments),
            "groupby" => self.groupby(&value, arguments),
            _ => {
                let name: String = name.chars().take(80).collect();
                Err(TemplateFault::type_error(format!("No filter named '{name}' found.")))
            }
        }
    }

    fn generator(&mut self, items: Vec<Value<'t>>) -> Result<Value<'t>, TemplateError> {
        let mut builder = SequenceBuilder::new(&self.budget)?;
        items.into_iter().try_for_each(|item| builder.push(item))?;
        builder.finish(SequenceKind::Generator)
    }

    /// The items for `map`, `select` and their like, which take any false value for an empty list.
    fn items_if_any(&mut self, value: &Value<'t>) -> Result<Vec<Value<'t>>, TemplateError> {
        if value.is_true() { value.iterate(&self.budget) } else { Ok(Vec::new()) }
    }

    fn join(&mut self, value: &Value<'t>, arguments: CallArguments<'t>) -> Result<Value<'t>, TemplateError> {
        let [separator, attribute] = arguments.bind("join", ["d", "attribute"])?;
        let mut builder = TextBuilder::new(&self.budget)?;
        for (index, item) in value.iterate(&self.budget)?.into_iter().enumerate() {
            if let (true, Some(separator)) = (index > 0, &separator) {
                write_str(separator, &mut builder)?;
            }
            let item = self.attribute_path(item, attribute.as_ref())?;
            write_str(&item, &mut builder)?;
        }
        Ok(Value::Text(builder.finish()))
    }

    /// `item.a.b` for the attribute "a.b"; the item itself without one.
    fn attribute_path(&mut self, item: Value<'t>, attribute: Option<&Value<'t>>) -> Result<Value<'t>, TemplateError> {
        let path = match attribute {
            None | Some(Value::None) => return Ok(item),
            Some(Value::Text(path)) => path,
            Some(index) => return self.item(&item, index),
        };
        let mut value = item;
        for part in path.as_str().split('.') {
            let key = match part.parse::<i128>() {
                Ok(index) => Value::Integer(index),
                Err(_) => Value::text(&self.budget, part, Origin::Template)?,
            };
            value = self.item(&value, &key)?;
        }
        Ok(value)
    }

    fn map(&mut self, value: &Value<'t>, arguments: CallArguments<'t>) -> Result<Value<'t>, TemplateError> {
        let items = self.items_if_any(value)?;
        let mut mapped = SequenceBuilder::new(&self.budget)?;
        if arguments.positional.is_empty() {
            let [attribute, default] = arguments.bind("map", ["attribute", "default"])?;
            if attribute.is_none() {
                return Err(TemplateFault::type_error("map requires a filter argument"));
            }
            for item in items {
                let found = self.attribute_path(item, attribute.as_ref())?;
                mapped.push(match (found, &default) {
                    (Value::Undefined(_), Some(default)) => default.clone(),
                    (found, _) => found,
                })?;
            }
            return mapped.finish(SequenceKind::Generator);
        }
        let CallArguments { mut positional, keyword } = arguments;
        let filter = positional.remove(0);
        let Some(filter) = filter.as_str() else {
            return Err(TemplateFault::type_error("map requires the name of a filter"));
        };
        for item in items {
            let arguments = CallArguments { positional: positional.clone(), keyword: keyword.clone() };
            self.enter()?;
            mapped.push(self.apply_filter(filter, item, arguments)?)?;
            self.leave();
        }
        mapped.finish(SequenceKind::Generator)
    }

    fn select(
        &mut self,
        name: &str,
        value: &Value<'t>,
        arguments: CallArguments<'t>,
    ) -> Result<Value<'t>, TemplateError> {
        let items = self.items_if_any(value)?;
        let CallArguments { mut positional, keyword } = arguments;
        let attribute = if name.ends_with("attr") {
            if positional.is_empty() {
                return Err(TemplateFault::type_error("Missing parameter for attribute name"));
            }
            Some(positional.remove(0))
        } else {
            None
        };
        let test = if positional.is_empty() { None } else { Some(positional.remove(0)) };
        let keeps_true = name.starts_with("select");
        let mut kept = SequenceBuilder::new(&self.budget)?;
        for item in items {
            let tested = self.attribute_path(item.clone(), attribute.as_ref())?;
            let passes = match &test {
                None => tested.is_true(),
                Some(test) => {
                    let Some(test) = test.as_str() else {
                        return Err(TemplateFault::type_error(format!("{name} requires the name of a test")));
                    };
                    let comparison = match test {
                        "==" => "eq",
                        "!=" => "ne",
                        "<" => "lt",
                        "<=" => "le",
                        ">" => "gt",
                        ">=" => "ge",
                        other => other,
                    };
                    let arguments = CallArguments { positional: positional.clone(), keyword: keyword.clone() };
                    self.apply_test(comparison, &tested, arguments)?
                }
            };
            if passes == keeps_true {
                kept.push(item)?;
            }
        }
        kept.finish(SequenceKind::Generator)
    }

    /// What each item is sorted by: its attribute, in lower case unless case matters.
    fn sort_keys(
        &mut self,
        items: &[Value<'t>],
        attribute: Option<&Value<'t>>,
        case_sensitive: bool,
    ) -> Result<Vec<Value<'t>>, TemplateError> {
        let mut keys = Vec::with_capacity(items.len());
        for item in items {
            keys.push(match self.attribute_path(item.clone(), attribute)? {
                Value::Text(text) if !case_sensitive => Value::Text(change_case(&text, "lower")?),
                key => key,
            });
        }
        Ok(keys)
    }

    /// `items` in the order of `keys`, stable. A merge sort of our own: the order may fail, and with NaN it is none,
    /// neither of which the standard library's sorts take.
    fn sorted(
        &mut self,
        keys: Vec<Value<'t>>,
        items: Vec<Value<'t>>,
        reverse: bool,
    ) -> Result<Vec<Value<'t>>, TemplateError> {
        let mut order: Vec<usize> = (0..keys.len()).collect();
        let mut merged = Vec::with_capacity(order.len());
        let mut width = 1;
        while width < order.len() {
            for run in order.chunks(2 * width) {
                let (mut left, mut right) = run.split_at(width.min(run.len()));
                while let ([first, left_rest @ ..], [second, right_rest @ ..]) = (left, right) {
                    let found = keys[*second].compare(&keys[*first], "<", &self.budget)?;
                    let precedes = if reverse { Ordering::Greater } else { Ordering::Less };
                    if found == Some(precedes) {
                        merged.push(*second);
                        right = right_rest;
                    } else {
                        merged.push(*first);
                        left = left_rest;
                    }
                }
                merged.extend_from_slice(left);
                merged.extend_from_slice(right);
            }
            std::mem::swap(&mut order, &mut merged);
            merged.clear();
            width *= 2;
        }
        Ok(order.into_iter().map(|index| items[index].clone()).collect())
    }

    fn dictsort(&mut self, value: &Value<'t>, arguments: CallArguments<'t>) -> Result<Value<'t>, TemplateError> {
        let [case_sensitive, by, reverse] = arguments.bind("dictsort", ["case_sensitive", "by", "reverse"])?;
        let place = match by.as_ref().and_then(Value::as_str) {
            None | Some("key") => 0,
            Some("value") => 1,
            Some(_) => return Err(TemplateFault::type_error("You can only sort by either \"key\" or \"value\"")),
        };
        let Value::Dict(dict) = value else {
            let message = format!("'{} object' has no attribute 'items'", value.type_name());
            return Err(TemplateFault::undefined(message));
        };
        let pairs =
            dict.entries().iter().map(|(key, value)| Value::tuple(&self.budget, vec![key.clone(), value.clone()]));
        let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
        let keys = self.sort_keys(&pairs, Some(&Value::Integer(place)), is_true(&case_sensitive))?;
        let sorted = self.sorted(keys, pairs, is_true(&reverse))?;
        Value::list(&self.budget, sorted)
    }

    /// `batch(linecount, fill_with)` makes pieces of a size, `slice(slices, fill_with)` a number of pieces.
    fn pieces(
        &mut self,
        name: &str,
        value: &Value<'t>,
        arguments: CallArguments<'t>,
    ) -> Result<Value<'t>, TemplateError> {
        let [count, fill] = arguments.bind(name, ["count", "fill_with"])?;
        let count = count.as_ref().and_then(Value::as_integer).and_then(|count| usize::try_from(count).ok());
        let Some(count) = count.filter(|count| (1..=100_000).contains(count)) else {
            return Err(TemplateFault::type_error(format!("{name} needs a count from 1 to 100000")));
        };
        let items = value.iterate(&self.budget)?;
        let mut pieces = SequenceBuilder::new(&self.budget)?;
        let (short, longer) = (items.len() / count, items.len() % count);
        let mut start = 0;
        let piece_count = if name == "batch" { items.len().div_ceil(count) } else { count };
        for index in 0..piece_count {
            let full = if name == "batch" { count } else { short + usize::from(longer > 0) };
            let length = if name == "batch" { count } else { short + usize::from(index < longer) };
            let end = items.len().min(start + length);
            let mut piece = SequenceBuilder::new(&self.budget)?;
            piece.extend(&items[start..end])?;
            if let Some(fill) = &fill {
                for _ in end - start..full {
                    piece.push(fill.clone())?;
                }
            }
            pieces.push(piece.finish(SequenceKind::List)?)?;
            start = end;
        }
        pieces.finish(SequenceKind::Generator)
    }

    fn groupby(&mut self, value: &Value<'t>, arguments: CallArguments<'t>) -> Result<Value<'t>, TemplateError> {
        let [attribute] = arguments.bind("groupby", ["attribute"])?;
        let items = value.iterate(&self.budget)?;
        let keys = self.sort_keys(&items, attribute.as_ref(), false)?;
        let sorted = self.sorted(keys, items, false)?;
        let keys = self.sort_keys(&sorted, attribute.as_ref(), true)?;
        let mut groups: Vec<(Value<'t>, Vec<Value<'t>>)> = Vec::new();
        for (key, item) in keys.into_iter().zip(sorted) {
            let continues = match groups.last() {
                Some((last, _)) => last.equals(&key, &self.budget)?,
                None => false,
            };
            match groups.last_mut() {
                Some((_, group)) if continues => group.push(item),
                _ => groups.push((key, vec![item])),
            }
        }
        let mut list = SequenceBuilder::new(&self.budget)?;
        for (key, group) in groups {
            let group = Value::list(&self.budget, group)?;
            list.push(Value::tuple(&self.budget, vec![key, group])?)?;
        }
        list.finish(SequenceKind::List)
    }
}

fn is_true(value: &Option<Value<'_>>) -> bool {
    value.as_ref().is_some_and(Value::is_true)
}
